import { SparkConnectError } from "../errors.js";
import type { StructType } from "../types/data-type.js";
import type { DayTimeInterval, LocalTimestamp, Timestamp, YearMonthInterval } from "./temporal.js";

/** A VARIANT, not decoded: Spark's binary form. */
export interface VariantValue {
  readonly value: Uint8Array;
  readonly metadata: Uint8Array;
}

/**
 * What a column of a row holds.
 *
 * | Spark | here |
 * |---|---|
 * | TINYINT, SMALLINT, INT, FLOAT, DOUBLE | number |
 * | BIGINT | bigint |
 * | DECIMAL | string with the full scale, `"519.500"` |
 * | STRING, CHAR, VARCHAR | string |
 * | BINARY | Uint8Array |
 * | DATE | string, `"2026-03-01"` |
 * | TIME | string, `"10:00:00.5"` |
 * | TIMESTAMP, TIMESTAMP_NTZ | {@link Timestamp}, {@link LocalTimestamp} |
 * | INTERVAL DAY TO SECOND, YEAR TO MONTH | {@link DayTimeInterval}, {@link YearMonthInterval} |
 * | ARRAY, MAP, STRUCT | array, Map, {@link Row} |
 */
export type Value =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | Timestamp
  | LocalTimestamp
  | DayTimeInterval
  | YearMonthInterval
  | VariantValue
  | Row
  | readonly Value[]
  | ReadonlyMap<Value, Value>;

/** Field names to types of values, for `collect<T>()`. */
export type RowShape = Record<string, unknown>;

/**
 * One row, or one STRUCT value. Columns may share a name, so a row is a list with names rather than an object.
 *
 * @example
 * const row = await spark.sql("SELECT 1 AS a, 2 AS a").then((df) => df.first());
 * row?.toArray(); // [1, 2]
 */
export class Row<T extends RowShape = Record<string, Value>> implements Iterable<Value> {
  readonly schema: StructType;
  readonly #values: readonly Value[];

  constructor(schema: StructType, values: readonly Value[]) {
    this.schema = schema;
    this.#values = values;
  }

  get length(): number {
    return this.#values.length;
  }

  /** Position of a column; the exact name wins over one that differs in case only. Undefined when there is none. */
  indexOf(name: string): number | undefined {
    const { fields } = this.schema;
    const exact = fields.findIndex((field) => field.name === name);
    if (exact >= 0) return exact;
    const lower = name.toLowerCase();
    const loose = fields.findIndex((field) => field.name.toLowerCase() === lower);
    return loose < 0 ? undefined : loose;
  }

  /**
   * The value of a column by its name, or by its position from 0. Of columns with one name it is the first.
   *
   * @throws SparkConnectError `INVALID_ARGUMENT` when there is no such column
   */
  get<K extends keyof T & string>(name: K): T[K];
  get(key: string | number): Value;
  get(key: string | number): unknown {
    const index = typeof key === "number" ? key : this.indexOf(key);
    const value = index === undefined ? undefined : this.#values[index];
    if (value === undefined) {
      const names = this.schema.fields.map((field) => field.name).join(", ");
      throw new SparkConnectError("INVALID_ARGUMENT", `No column ${JSON.stringify(key)} among: ${names}`);
    }
    return value;
  }

  isNullAt(key: string | number): boolean {
    return this.get(key) === null;
  }

  /** A string column (also DECIMAL and DATE), or null. */
  getString(key: string | number): string | null {
    return this.#typed(key, "string", (value) => typeof value === "string") as string | null;
  }

  /** An INT, SMALLINT, TINYINT, FLOAT or DOUBLE column, or null. */
  getNumber(key: string | number): number | null {
    return this.#typed(key, "number", (value) => typeof value === "number") as number | null;
  }

  /** A BIGINT column, or null. Smaller integers are widened. */
  getBigInt(key: string | number): bigint | null {
    const value = this.get(key);
    if (typeof value === "number" && Number.isSafeInteger(value)) return BigInt(value);
    return this.#typed(key, "bigint", (candidate) => typeof candidate === "bigint") as bigint | null;
  }

  getBoolean(key: string | number): boolean | null {
    return this.#typed(key, "boolean", (value) => typeof value === "boolean") as boolean | null;
  }

  getTimestamp(key: string | number): Timestamp | null {
    const check = (value: Value) => typeof value === "object" && value !== null && "epochMicros" in value;
    return this.#typed(key, "timestamp", check) as Timestamp | null;
  }

  getStruct(key: string | number): Row | null {
    return this.#typed(key, "struct", (value) => value instanceof Row) as Row | null;
  }

  /** The values in the order of the columns. */
  toArray(): Value[] {
    return [...this.#values];
  }

  /** Names to values, STRUCT values as objects too. Of columns with one name the last wins: use `toArray` for those. */
  toObject(): T {
    return Object.fromEntries(
      this.schema.fields.map((field, i) => [field.name, plain(this.#values[i] ?? null)]),
    ) as unknown as T;
  }

  /** As `toObject`; a bigint becomes a string, since JSON has none. */
  toJSON(): Record<string, unknown> {
    return Object.fromEntries(this.schema.fields.map((field, i) => [field.name, json(this.#values[i] ?? null)]));
  }

  [Symbol.iterator](): Iterator<Value> {
    return this.#values[Symbol.iterator]();
  }

  #typed(key: string | number, expected: string, check: (value: Value) => boolean): Value {
    const value = this.get(key);
    if (value === null || check(value)) return value;
    throw new SparkConnectError("INVALID_ARGUMENT", `Column ${JSON.stringify(key)} is not a ${expected}`);
  }
}

function plain(value: Value): unknown {
  if (value instanceof Row) return value.toObject();
  if (Array.isArray(value)) return (value as readonly Value[]).map(plain);
  if (value instanceof Map) return new Map([...value].map(([key, item]) => [plain(key), plain(item)]));
  return value;
}

function json(value: Value): unknown {
  if (typeof value === "bigint") return String(value);
  if (typeof value === "number" && !Number.isFinite(value)) return String(value);
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64");
  if (value instanceof Row) return value.toJSON();
  if (Array.isArray(value)) return (value as readonly Value[]).map(json);
  if (value instanceof Map) return [...value].map(([key, item]) => [json(key), json(item)]);
  return value;
}
