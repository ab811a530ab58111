import { SparkConnectError } from "../errors.js";

const MICROS_PER_SECOND = 1_000_000n;
const SECONDS_PER_DAY = 86_400;
const TEXT =
  /^([+-]?\d{4,})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,6}))?)?)?(Z|[+-]\d{2}:?\d{2})?$/;

/**
 * A point in time with microseconds, as Spark's TIMESTAMP holds it. A JavaScript `Date` would lose the last three digits.
 *
 * @example
 * Timestamp.parse("2026-03-01T10:00:00.342680Z").epochMicros; // 1772359200342680n
 */
export class Timestamp {
  /** Microseconds since 1970-01-01T00:00:00Z. */
  readonly epochMicros: bigint;

  constructor(epochMicros: bigint) {
    this.epochMicros = epochMicros;
  }

  static fromDate(date: Date): Timestamp {
    const millis = date.getTime();
    if (Number.isNaN(millis)) throw new SparkConnectError("INVALID_ARGUMENT", "An invalid Date is not a timestamp");
    return new Timestamp(BigInt(millis) * 1000n);
  }

  /**
   * Reads ISO 8601 with up to six digits of a second. Text without an offset is taken as UTC.
   *
   * @throws SparkConnectError `INVALID_ARGUMENT`
   */
  static parse(text: string): Timestamp {
    return new Timestamp(parseMicros(text, true));
  }

  /** Cuts to milliseconds. */
  toDate(): Date {
    return new Date(Number(floorDiv(this.epochMicros, 1000n)));
  }

  /** UTC, always six digits of a second: `2026-03-01T10:00:00.342680Z`. Texts of the years 0 to 9999 sort by time. */
  toISOString(): string {
    return `${formatMicros(this.epochMicros)}Z`;
  }

  toString(): string {
    return this.toISOString();
  }

  toJSON(): string {
    return this.toISOString();
  }

  equals(other: Timestamp): boolean {
    return this.epochMicros === other.epochMicros;
  }
}

/**
 * A date and time of day without a zone, as Spark's TIMESTAMP_NTZ holds it.
 *
 * @example
 * LocalTimestamp.parse("2026-03-01 10:00:00").toISOString(); // "2026-03-01T10:00:00.000000"
 */
export class LocalTimestamp {
  /** Microseconds since 1970-01-01T00:00:00 on the same clock. */
  readonly epochMicros: bigint;

  constructor(epochMicros: bigint) {
    this.epochMicros = epochMicros;
  }

  /**
   * Reads ISO 8601 without an offset.
   *
   * @throws SparkConnectError `INVALID_ARGUMENT`
   */
  static parse(text: string): LocalTimestamp {
    return new LocalTimestamp(parseMicros(text, false));
  }

  /** Always six digits of a second, and no zone. */
  toISOString(): string {
    return formatMicros(this.epochMicros);
  }

  toString(): string {
    return this.toISOString();
  }

  toJSON(): string {
    return this.toISOString();
  }

  equals(other: LocalTimestamp): boolean {
    return this.epochMicros === other.epochMicros;
  }
}

/** INTERVAL DAY TO SECOND: an exact span, in microseconds. */
export class DayTimeInterval {
  readonly micros: bigint;

  constructor(micros: bigint) {
    this.micros = micros;
  }

  /** As Spark prints it: `1 02:03:04.500000`. */
  toString(): string {
    const sign = this.micros < 0n ? "-" : "";
    const micros = this.micros < 0n ? -this.micros : this.micros;
    const seconds = micros / MICROS_PER_SECOND;
    const days = seconds / BigInt(SECONDS_PER_DAY);
    const fraction = String(micros % MICROS_PER_SECOND).padStart(6, "0");
    return `${sign}${days} ${clock(Number(seconds % BigInt(SECONDS_PER_DAY)))}.${fraction}`;
  }

  toJSON(): string {
    return this.toString();
  }
}

/** INTERVAL YEAR TO MONTH: a number of months. */
export class YearMonthInterval {
  readonly months: number;

  constructor(months: number) {
    this.months = months;
  }

  /** As Spark prints it: `1-2` is a year and two months. */
  toString(): string {
    const months = Math.abs(this.months);
    return `${this.months < 0 ? "-" : ""}${Math.floor(months / 12)}-${months % 12}`;
  }

  toJSON(): string {
    return this.toString();
  }
}

/** Days since 1970-01-01 of `YYYY-MM-DD`. Years may have a sign and more digits. */
export function parseDate(text: string): number {
  const match = /^([+-]?\d{4,})-(\d{2})-(\d{2})$/.exec(text);
  if (match === null) throw new SparkConnectError("INVALID_ARGUMENT", `Not a date (YYYY-MM-DD): "${text}"`);
  return epochDay(text, Number(match[1]), Number(match[2]), Number(match[3]));
}

/** The reverse of {@link parseDate}. */
export function formatDate(day: number): string {
  // Days to a civil date: http://howardhinnant.github.io/date_algorithms.html, exact for every year that Spark has.
  const z = day + 719_468;
  const era = Math.floor(z / 146_097);
  const dayOfEra = z - era * 146_097;
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const shifted = Math.floor((5 * dayOfYear + 2) / 153);
  const dayOfMonth = dayOfYear - Math.floor((153 * shifted + 2) / 5) + 1;
  const month = shifted < 10 ? shifted + 3 : shifted - 9;
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0);
  const digits = String(Math.abs(year)).padStart(4, "0");
  const sign = year < 0 ? "-" : year > 9999 ? "+" : "";
  return `${sign}${digits}-${pad(month)}-${pad(dayOfMonth)}`;
}

/** Nanoseconds since midnight as `HH:MM:SS.fffffffff`, without trailing zeros. */
export function formatTime(nanos: bigint): string {
  const seconds = nanos / 1_000_000_000n;
  const fraction = String(nanos % 1_000_000_000n)
    .padStart(9, "0")
    .replace(/0+$/, "");
  return `${clock(Number(seconds))}${fraction === "" ? "" : `.${fraction}`}`;
}

function parseMicros(text: string, withOffset: boolean): bigint {
  const match = TEXT.exec(text);
  if (match === null || (!withOffset && match[8] !== undefined)) {
    throw new SparkConnectError("INVALID_ARGUMENT", `Not a timestamp${withOffset ? "" : " without a zone"}: "${text}"`);
  }
  const [hour, minute, second] = [Number(match[4] ?? 0), Number(match[5] ?? 0), Number(match[6] ?? 0)];
  if (hour > 23 || minute > 59 || second > 59) {
    throw new SparkConnectError("INVALID_ARGUMENT", `Not a time of day: "${text}"`);
  }
  const days = epochDay(text, Number(match[1]), Number(match[2]), Number(match[3]));
  const seconds = days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second - offsetSeconds(match[8]);
  return BigInt(seconds) * MICROS_PER_SECOND + BigInt((match[7] ?? "").padEnd(6, "0"));
}

function offsetSeconds(text: string | undefined): number {
  if (text === undefined || text === "Z") return 0;
  const digits = text.replace(":", "");
  const seconds = Number(digits.slice(1, 3)) * 3600 + Number(digits.slice(3, 5)) * 60;
  return digits.startsWith("-") ? -seconds : seconds;
}

function epochDay(text: string, year: number, month: number, day: number): number {
  const y = month <= 2 ? year - 1 : year;
  const era = Math.floor(y / 400);
  const yearOfEra = y - era * 400;
  const dayOfYear = Math.floor((153 * (month > 2 ? month - 3 : month + 9) + 2) / 5) + day - 1;
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
  const result = era * 146_097 + dayOfEra - 719_468;
  const sign = year < 0 ? "-" : year > 9999 ? "+" : "";
  const normal = `${sign}${String(Math.abs(year)).padStart(4, "0")}-${pad(month)}-${pad(day)}`;
  // A day that does not exist (February 30th) comes back as another one.
  if (formatDate(result) !== normal) throw new SparkConnectError("INVALID_ARGUMENT", `No such day: "${text}"`);
  return result;
}

function formatMicros(epochMicros: bigint): string {
  const seconds = floorDiv(epochMicros, MICROS_PER_SECOND);
  const fraction = String(epochMicros - seconds * MICROS_PER_SECOND).padStart(6, "0");
  const days = floorDiv(seconds, BigInt(SECONDS_PER_DAY));
  return `${formatDate(Number(days))}T${clock(Number(seconds - days * BigInt(SECONDS_PER_DAY)))}.${fraction}`;
}

function clock(seconds: number): string {
  return `${pad(Math.floor(seconds / 3600))}:${pad(Math.floor(seconds / 60) % 60)}:${pad(seconds % 60)}`;
}

function pad(value: number): string {
  return String(value).padStart(2, "0");
}

function floorDiv(a: bigint, b: bigint): bigint {
  const quotient = a / b;
  return a % b !== 0n && a < 0n ? quotient - 1n : quotient;
}
