import { UserError } from "../../errors.js";
import * as f from "../../spark/functions/index.js";
import { type Column, LocalTimestamp, quoteName, type StructType, simpleString, Timestamp } from "../../spark/index.js";

/** How a column holds points in time. */
export type ClockKind = "timestamp" | "timestamp_ntz" | "date" | "epoch" | "text";

/**
 * The column that tells which rows are new, whatever its type. Points in time are microseconds since 1970 in UTC everywhere:
 *
 * - `timestamp` as it is, `timestamp_ntz` taken as UTC, `date` its midnight;
 * - whole numbers are seconds, milliseconds or microseconds since 1970, by their magnitude (below 10^11, 10^14, else);
 * - text is ISO 8601 (`2026-03-01`, `2026-03-01 10:00:00.123456`, with `T`, `Z` or an offset), without a zone UTC.
 */
export interface Clock {
  /** The column's name as the table spells it. */
  readonly name: string;
  readonly kind: ClockKind;
  /** The column itself. */
  readonly column: Column;
  /** BIGINT microseconds; NULL for NULL, and for text that is no time. */
  readonly micros: Column;
}

const KINDS: Readonly<Partial<Record<string, ClockKind>>> = {
  timestamp: "timestamp",
  timestamp_ntz: "timestamp_ntz",
  date: "date",
  bigint: "epoch",
  int: "epoch",
  string: "text",
};

const ISO_TEXT =
  "^\\s*[0-9]{4,}-[0-9]{1,2}-[0-9]{1,2}([T ][0-9]{1,2}:[0-9]{1,2}(:[0-9]{1,2}([.][0-9]{1,9})?)?\\s*(Z|UTC|[+-][0-9]{1,2}(:?[0-9]{2})?)?)?\\s*$";

/** The name of a column as a table spells it; case doesn't matter in Spark and Glue. */
export function findColumn(
  schema: { readonly fields: readonly { readonly name: string }[] },
  name: string,
): string | undefined {
  const exact = schema.fields.find((field) => field.name === name);
  return (exact ?? schema.fields.find((field) => field.name.toLowerCase() === name.toLowerCase()))?.name;
}

/**
 * The clock in a column, or `undefined` when the table has no such column.
 *
 * @throws UserError `INCREMENTAL_COLUMN_UNUSABLE` for a type that holds no points in time.
 */
export function clockOf(schema: StructType, name: string, table: string): Clock | undefined {
  const found = findColumn(schema, name);
  const field = schema.fields.find((candidate) => candidate.name === found);
  if (field === undefined) return undefined;
  const type = simpleString(field.dataType);
  const kind = clockKind(type);
  if (kind === undefined) {
    throw new UserError(
      "INCREMENTAL_COLUMN_UNUSABLE",
      `${table}: column ${field.name} is ${type}, which holds no time`,
      {
        hint: "It can be timestamp, timestamp_ntz, date, int, bigint (since 1970) or string (ISO 8601)",
      },
    );
  }
  const column = f.col(quoteName(field.name));
  return { name: field.name, kind, column, micros: microsOf(column, kind) };
}

/** How a type of SQL holds points in time; `undefined`: it holds none. */
export function clockKind(type: string): ClockKind | undefined {
  return /^(var)?char/i.test(type) ? "text" : KINDS[type.toLowerCase()];
}

function microsOf(column: Column, kind: ClockKind): Column {
  switch (kind) {
    case "timestamp":
      return f.unix_micros(column);
    case "timestamp_ntz":
    case "date":
      // The session's zone is UTC.
      return f.unix_micros(column.cast("timestamp"));
    case "epoch": {
      const value = column.cast("bigint");
      const size = f.abs(value);
      return f
        .when(size.lt(100_000_000_000n), value.multiply(1_000_000n))
        .when(size.lt(100_000_000_000_000n), value.multiply(1_000n))
        .otherwise(value);
    }
    case "text":
      return f.when(column.rlike(ISO_TEXT), f.unix_micros(column.cast("timestamp")));
  }
}

/**
 * {@link Clock.micros} as SQL, for statements in which a column needs a table before it.
 *
 * @param column quoted, e.g. "t.`updated_at`".
 */
export function microsSql({ kind }: Pick<Clock, "kind">, column: string): string {
  switch (kind) {
    case "timestamp":
      return `unix_micros(${column})`;
    case "timestamp_ntz":
    case "date":
      return `unix_micros(CAST(${column} AS TIMESTAMP))`;
    case "epoch": {
      const value = `CAST(${column} AS BIGINT)`;
      return `CASE WHEN abs(${value}) < 100000000000 THEN ${value} * 1000000 WHEN abs(${value}) < 100000000000000 THEN ${value} * 1000 ELSE ${value} END`;
    }
    case "text":
      return `CASE WHEN ${column} RLIKE r'${ISO_TEXT}' THEN unix_micros(CAST(${column} AS TIMESTAMP)) END`;
  }
}

/**
 * How much wider the filter is that sources may skip files by. ORC's statistics of timestamps are off by up to a millisecond
 * (Spark 3.5 drops rows of the bound's own millisecond), and by the change to winter time when the JVM's zone has one.
 */
const MARGIN = 3n * 3_600_000_000n;

/** `clock >= micros`, and a wider filter in the column's own type where it can be, so that sources skip files and partitions by it. */
export function atOrAfter(clock: Clock, bound: bigint): Column {
  const wide = wideFrom(clock, bound);
  const exact = clock.micros.geq(bound);
  return wide === undefined ? exact : wide.and(exact);
}

/** {@link atOrAfter}, or no time at all (also for text that is none); sources skip files by this too. */
export function atOrAfterOrWithout(clock: Clock, bound: bigint): Column {
  const wide = wideFrom(clock, bound);
  // Sources take an OR only when they know both sides, and Spark makes (a OR n) AND (b OR n) one OR: so there is no second n.
  const exact = f.coalesce(clock.micros.geq(bound), f.lit(true));
  return wide === undefined ? exact : wide.or(clock.column.isNull()).and(exact);
}

function wideFrom({ kind, column }: Clock, bound: bigint): Column | undefined {
  switch (kind) {
    case "timestamp":
      return column.geq(f.lit(new Timestamp(bound - MARGIN)));
    case "timestamp_ntz":
      return column.geq(f.lit(new LocalTimestamp(bound - MARGIN)));
    case "date":
      // Midnight counts: a day that began before the bound isn't at or after it.
      return column.geq(day(bound + 86_399_999_999n));
    default:
      return undefined;
  }
}

/** `clock <= micros`, see {@link atOrAfter}. */
export function atOrBefore({ kind, column, micros }: Clock, bound: bigint): Column {
  switch (kind) {
    case "timestamp":
      return column.leq(f.lit(new Timestamp(bound + MARGIN))).and(micros.leq(bound));
    case "timestamp_ntz":
      return column.leq(f.lit(new LocalTimestamp(bound + MARGIN))).and(micros.leq(bound));
    case "date":
      return column.leq(day(bound));
    default:
      return micros.leq(bound);
  }
}

function day(micros: bigint): Column {
  return f.lit(new LocalTimestamp(micros).toISOString().slice(0, 10)).cast("date");
}
