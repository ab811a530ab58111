import * as f from "../spark/functions/index.js";
import { type Column, type DataType, types } from "../spark/index.js";
import { MICROS } from "./exported-snapshot.js";
import { quoteIdentifier } from "./identifiers.js";
import type { SourceColumn } from "./source-tables.js";

/** How the values of a PostgreSQL column get into Spark without a loss. */
export interface SparkColumn {
  readonly name: string;
  /** What it becomes. */
  readonly type: DataType;
  /** PostgreSQL's type, for messages. */
  readonly sourceType: string;
  /** The SQL expression that Spark's JDBC source reads; of a type that nothing on the way bends. */
  readonly sql: string;
  /** The value out of what was read. */
  readonly decode: (read: Column) => Column;
  /** SQL condition: the value has no place in Spark's type (NaN in a decimal, infinity in a date). NULL counts as false. */
  readonly special?: string;
  /** What such values are, for messages. */
  readonly specialValues?: string;
}

const asRead = (read: Column) => read;

/**
 * The columns as Spark is to have them. Spark's own JDBC source makes decimal(38,18) of a bare `numeric`, ends on NaN and on
 * infinite dates, and takes timestamps through the JVM's time zone; here what goes over is whole numbers and text.
 *
 * | PostgreSQL | Spark |
 * |---|---|
 * | boolean, integer, bigint, real, double precision, bytea | the same; smallint becomes INT, oid BIGINT |
 * | numeric(p,s) up to 38 digits | DECIMAL(p,s) |
 * | numeric without or with more digits | STRING, every digit; also `NaN`, `Infinity` |
 * | date | DATE |
 * | timestamptz, timestamp | TIMESTAMP, TIMESTAMP_NTZ, to the microsecond |
 * | arrays of boolean, numbers, text, uuid, enums | ARRAY |
 * | other arrays, composite types, json, jsonb | STRING with JSON |
 * | anything else (text, uuid, enums, time, interval, inet, ranges, ...) | STRING as PostgreSQL prints it, intervals as ISO 8601 |
 *
 * @param row alias of the table in the SQL.
 */
export function sparkColumn({ name, type, kind }: SourceColumn, row = "t"): SparkColumn {
  const value = `${row}.${quoteIdentifier(name)}`;
  const base = { name, sourceType: type, decode: asRead };
  const text: SparkColumn = { ...base, type: types.string, sql: `${value}::text` };
  if (type.endsWith("[]")) return arrayColumn(text, value, type.slice(0, -2));
  if (kind === "c") return { ...text, sql: `to_json(${value})::text` };

  const plain: Readonly<Partial<Record<string, DataType>>> = {
    boolean: types.boolean,
    integer: types.int,
    bigint: types.bigint,
    real: types.float,
    "double precision": types.double,
    bytea: types.binary,
    text: types.string,
    "character varying": types.string,
  };
  const same = plain[type.replace(/\(.*\)/, "")];
  if (same !== undefined) return { ...base, type: same, sql: value };
  if (type === "smallint") return { ...base, type: types.int, sql: `${value}::integer` };
  if (type === "oid") return { ...base, type: types.bigint, sql: `${value}::bigint` };

  const numeric = /^numeric\((\d+),(-?\d+)\)$/.exec(type);
  if (numeric !== null) {
    const [precision, scale] = [Number(numeric[1]), Number(numeric[2])];
    if (precision > 38 || scale < 0 || scale > precision) return text;
    return {
      ...base,
      type: types.decimal(precision, scale),
      // Unlike CASE it keeps precision and scale. The cast is one of domains only: of a column's own type PostgreSQL makes none.
      sql: `NULLIF(${value}::${type}, 'NaN')`,
      special: `${value} = 'NaN'`,
      specialValues: "NaN",
    };
  }
  if (type === "date") {
    const within = `${value} BETWEEN '0001-01-01' AND '9999-12-31'`;
    return {
      ...base,
      type: types.date,
      sql: `CASE WHEN ${within} THEN ${value} - '1970-01-01'::date END`,
      decode: (read) => f.date_from_unix_date(read),
      special: `NOT (${within})`,
      specialValues: "infinite or outside the years 1 to 9999",
    };
  }
  if (/^timestamp(\(\d\))? with(out)? time zone$/.test(type)) {
    const withZone = type.includes("with time zone");
    const zone = withZone ? "+00" : "";
    const within = `${value} BETWEEN '0001-01-01 00:00:00${zone}' AND '9999-12-31 23:59:59.999999${zone}'`;
    return {
      ...base,
      type: withZone ? types.timestamp : types.timestampNtz,
      sql: `CASE WHEN ${isExactAsDouble(value, zone)} THEN (date_part('epoch', ${value}) * 1000000)::bigint WHEN ${within} THEN ${MICROS(value)} END`,
      // The session's time zone is UTC, so the cast keeps the wall clock.
      decode: (read) => (withZone ? f.timestamp_micros(read) : f.timestamp_micros(read).cast("timestamp_ntz")),
      special: `NOT (${within})`,
      specialValues: "infinite or outside the years 1 to 9999",
    };
  }
  return text;
}

/**
 * SQL condition on times that a double of seconds holds to the microsecond: below 2^32 s seconds are off by 2^-22 at the most, and below 2^52 us
 * microseconds by a quarter, together less than half a microsecond. Whole numbers out of doubles take PostgreSQL a third of the time that
 * they take out of `extract`, whose result is numeric.
 */
function isExactAsDouble(value: string, zone: string): string {
  return `${value} BETWEEN '1900-01-01 00:00:00${zone}' AND '2100-01-01 00:00:00${zone}'`;
}

const ELEMENTS: Readonly<Partial<Record<string, DataType>>> = {
  boolean: types.boolean,
  smallint: types.int,
  integer: types.int,
  bigint: types.bigint,
  real: types.float,
  "double precision": types.double,
  text: types.string,
  "character varying": types.string,
  uuid: types.string,
};

/** Arrays travel as JSON. Only those with one dimension fit Spark's type; PostgreSQL's says nothing of dimensions. */
function arrayColumn(text: SparkColumn, value: string, elementType: string): SparkColumn {
  const element = ELEMENTS[elementType.replace(/\(.*\)/, "")];
  const json = `to_json(${value})::text`;
  if (element === undefined) return { ...text, sql: json };
  const flat = `COALESCE(array_ndims(${value}), 1) = 1`;
  return {
    ...text,
    type: types.array(element),
    sql: `CASE WHEN ${flat} THEN ${json} END`,
    decode: (read) => f.from_json(read, `array<${element.kind}>`),
    special: `NOT (${flat})`,
    specialValues: "of more than one dimension",
  };
}
