import { SparkConnectError } from "../errors.js";
import { type DataType, JSON_NAMES, type StructField, type StructType, simpleString, types } from "./data-type.js";

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined };

/**
 * A type in Spark's JSON form, as it lies in Parquet footers and Iceberg's Spark properties.
 *
 * @example
 * JSON.stringify(typeToJson(types.bigint)); // "\"long\""
 */
export function typeToJson(type: DataType): Json {
  switch (type.kind) {
    case "struct":
      return {
        type: "struct",
        fields: type.fields.map((field) => ({
          name: field.name,
          type: typeToJson(field.dataType),
          nullable: field.nullable,
          metadata: field.metadata as Json,
        })),
      };
    case "array":
      return { type: "array", elementType: typeToJson(type.elementType), containsNull: type.containsNull };
    case "map":
      return {
        type: "map",
        keyType: typeToJson(type.keyType),
        valueType: typeToJson(type.valueType),
        valueContainsNull: type.valueContainsNull,
      };
    default:
      return JSON_NAMES[type.kind] ?? simpleString(type);
  }
}

/**
 * The reverse of {@link typeToJson}.
 *
 * @throws SparkConnectError `INVALID_ARGUMENT`
 */
export function typeFromJson(json: unknown): DataType {
  if (typeof json === "string") return atomicFromJson(json);
  if (typeof json === "object" && json !== null && "type" in json) {
    const node = json as Record<string, unknown>;
    if (node.type === "struct" && Array.isArray(node.fields)) return types.struct(node.fields.map(fieldFromJson));
    if (node.type === "array") return types.array(typeFromJson(node.elementType), node.containsNull !== false);
    if (node.type === "map") {
      return types.map(typeFromJson(node.keyType), typeFromJson(node.valueType), node.valueContainsNull !== false);
    }
    if (node.type === "udt") return { kind: "opaque", name: "udt" };
  }
  throw invalid(JSON.stringify(json));
}

/** As {@link typeFromJson}, for a schema. */
export function schemaFromJson(json: unknown): StructType {
  const type = typeFromJson(json);
  if (type.kind !== "struct") throw invalid(simpleString(type));
  return type;
}

function fieldFromJson(json: unknown): StructField {
  const { name, type, nullable, metadata } = json as Record<string, unknown>;
  return types.field(String(name), typeFromJson(type), nullable !== false, (metadata ?? {}) as StructField["metadata"]);
}

const BY_NAME: Readonly<Record<string, DataType>> = {
  void: types.void,
  null: types.void,
  boolean: types.boolean,
  byte: types.tinyint,
  tinyint: types.tinyint,
  short: types.smallint,
  smallint: types.smallint,
  integer: types.int,
  int: types.int,
  long: types.bigint,
  bigint: types.bigint,
  float: types.float,
  double: types.double,
  string: types.string,
  binary: types.binary,
  date: types.date,
  timestamp: types.timestamp,
  timestamp_ltz: types.timestamp,
  timestamp_ntz: types.timestampNtz,
  interval: types.calendarInterval,
  variant: types.variant,
  decimal: types.decimal(),
};

function atomicFromJson(text: string): DataType {
  const name = text.trim().toLowerCase();
  const known = BY_NAME[name];
  if (known !== undefined) return known;
  const parameters = /^(decimal|char|varchar|time)\s*\(\s*(\d+)\s*(?:,\s*(-?\d+)\s*)?\)$/.exec(name);
  if (parameters !== null) {
    const first = Number(parameters[2]);
    if (parameters[1] === "decimal") return types.decimal(first, Number(parameters[3] ?? 0));
    if (parameters[1] === "char") return types.char(first);
    if (parameters[1] === "varchar") return types.varchar(first);
    return types.time(first);
  }
  const interval = /^interval (\w+)(?: to (\w+))?$/.exec(name);
  if (interval !== null) {
    const start = interval[1] ?? "";
    const end = interval[2] ?? start;
    const dayTime = ["day", "hour", "minute", "second"];
    const yearMonth = ["year", "month"];
    if (dayTime.includes(start) && dayTime.includes(end)) {
      return types.dayTimeInterval(dayTime.indexOf(start), dayTime.indexOf(end));
    }
    if (yearMonth.includes(start) && yearMonth.includes(end)) {
      return types.yearMonthInterval(yearMonth.indexOf(start), yearMonth.indexOf(end));
    }
  }
  const collated = /^string collate ([\w]+)$/i.exec(text.trim());
  if (collated?.[1] !== undefined) return { kind: "string", collation: collated[1] };
  throw invalid(text);
}

function invalid(what: string): SparkConnectError {
  return new SparkConnectError("INVALID_ARGUMENT", `Not a type of Spark: ${what}`);
}
