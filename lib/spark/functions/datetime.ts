import { type Column, type ColumnOrName, lit, type Operand } from "../column.js";
import { f0, f1, f1opt, f2, fn, invoke, withValues } from "./call.js";

/** @param months a number or a column */
export const add_months = (start: ColumnOrName, months: Operand): Column => withValues("add_months", [start], months);
export const convert_timezone = (
  source: ColumnOrName | undefined,
  target: ColumnOrName,
  timestamp: ColumnOrName,
): Column => invoke("convert_timezone", source === undefined ? [target, timestamp] : [source, target, timestamp]);
export const curdate = f0("curdate");
export const current_date = f0("current_date");
export const current_timestamp = f0("current_timestamp");
export const date_add = (start: ColumnOrName, days: Operand): Column => withValues("date_add", [start], days);
export const dateadd = date_add;
export const date_diff = f2("date_diff");
export const datediff = f2("datediff");
/** @example date_format("ts", "yyyy-MM-dd HH:mm:ss.SSSSSS") */
export const date_format = (column: ColumnOrName, format: string): Column =>
  withValues("date_format", [column], format);
export const date_from_unix_date = f1("date_from_unix_date");
export const date_part = f2("date_part");
export const datepart = f2("datepart");
export const date_sub = (start: ColumnOrName, days: Operand): Column => withValues("date_sub", [start], days);
/** @param unit "year", "month", "day", "hour", ... */
export const date_trunc = (unit: string, timestamp: ColumnOrName): Column =>
  invoke("date_trunc", [lit(unit), timestamp]);
export const day = f1("day");
export const dayofmonth = f1("dayofmonth");
/** 1 is Sunday. */
export const dayofweek = f1("dayofweek");
export const dayofyear = f1("dayofyear");
export const extract = f2("extract");
export const from_unixtime = (seconds: ColumnOrName, format?: string): Column =>
  withValues("from_unixtime", [seconds], format ?? "yyyy-MM-dd HH:mm:ss");
export const from_utc_timestamp = (timestamp: ColumnOrName, zone: Operand): Column =>
  withValues("from_utc_timestamp", [timestamp], zone);
export const hour = f1("hour");
export const last_day = f1("last_day");
export const localtimestamp = f0("localtimestamp");
export const make_date = (year: ColumnOrName, month: ColumnOrName, dayOfMonth: ColumnOrName): Column =>
  invoke("make_date", [year, month, dayOfMonth]);
export const make_dt_interval = fn("make_dt_interval");
export const make_interval = fn("make_interval");
export const make_timestamp = fn("make_timestamp");
export const make_timestamp_ltz = fn("make_timestamp_ltz");
export const make_timestamp_ntz = fn("make_timestamp_ntz");
export const make_ym_interval = fn("make_ym_interval");
export const minute = f1("minute");
export const month = f1("month");
export const months_between = (end: ColumnOrName, start: ColumnOrName, roundOff?: boolean): Column =>
  withValues("months_between", [end, start], roundOff);
export const next_day = (date: ColumnOrName, dayOfWeek: Operand): Column => withValues("next_day", [date], dayOfWeek);
export const now = f0("now");
export const quarter = f1("quarter");
export const second = f1("second");
/** A tumbling or sliding window of time. @example window("ts", "10 minutes", "5 minutes") */
export const window = (
  time: ColumnOrName,
  windowDuration: string,
  slideDuration?: string,
  startTime?: string,
): Column => withValues("window", [time], windowDuration, slideDuration ?? windowDuration, startTime ?? "0 second");
export const session_window = (time: ColumnOrName, gap: Operand): Column => withValues("session_window", [time], gap);
export const window_time = f1("window_time");
export const timestamp_micros = f1("timestamp_micros");
export const timestamp_millis = f1("timestamp_millis");
export const timestamp_seconds = f1("timestamp_seconds");
export const to_date = (column: ColumnOrName, format?: string): Column => withValues("to_date", [column], format);
export const to_timestamp = (column: ColumnOrName, format?: string): Column =>
  withValues("to_timestamp", [column], format);
export const to_timestamp_ltz = f1opt("to_timestamp_ltz");
export const to_timestamp_ntz = f1opt("to_timestamp_ntz");
export const to_unix_timestamp = f1opt("to_unix_timestamp");
export const to_utc_timestamp = (timestamp: ColumnOrName, zone: Operand): Column =>
  withValues("to_utc_timestamp", [timestamp], zone);
/** @param unit "year", "quarter", "month" or "week" */
export const trunc = (date: ColumnOrName, unit: string): Column => withValues("trunc", [date], unit);
export const try_to_timestamp = f1opt("try_to_timestamp");
export const unix_date = f1("unix_date");
/** Microseconds since 1970, exact: what a watermark should hold. */
export const unix_micros = f1("unix_micros");
export const unix_millis = f1("unix_millis");
export const unix_seconds = f1("unix_seconds");
export const unix_timestamp = (column?: ColumnOrName, format?: string): Column =>
  column === undefined ? invoke("unix_timestamp", []) : withValues("unix_timestamp", [column], format);
/** Monday is 0. */
export const weekday = f1("weekday");
export const weekofyear = f1("weekofyear");
export const year = f1("year");

// Partition transforms, for `writeTo(...).partitionedBy(...)`
export const years = f1("years");
export const months = f1("months");
export const days = f1("days");
export const hours = f1("hours");
export const bucket = (buckets: number, column: ColumnOrName): Column => invoke("bucket", [lit(buckets), column]);
