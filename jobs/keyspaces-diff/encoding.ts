import * as f from "../../lib/spark/functions/index.js";
import {
  type Column,
  type DataFrame,
  type DataType,
  quoteName,
  type StructType,
  simpleString,
  types,
} from "../../lib/spark/index.js";
import type { FileFormat } from "./arguments.js";

/**
 * JSON and CSV don't hold every value: CSV has texts only and no NULL, JSON's maps have texts as keys. So values are put into a form
 * that the format holds, and back: `decoded(encoded(rows))` has the same rows, NULL and the empty text apart.
 */
export interface Encoding {
  /** The schema of the files. */
  readonly fileSchema: StructType;
  encode(rows: DataFrame): DataFrame;
  /** @param rows read with {@link fileSchema}. */
  decode(rows: DataFrame): DataFrame;
  /** One column's value, as {@link decode} has it. */
  decodeValue(value: Column, name: string): Column;
}

/** How CSV says NULL. No text is written like that: those that begin with a backslash are written in hex. */
export const CSV_NULL = "\\N";
const HEX = "\\x";

/** The encoding of a schema for a format. */
export function encodingOf(schema: StructType, format: FileFormat): Encoding {
  if (format === "parquet") {
    return { fileSchema: schema, encode: (rows) => rows, decode: (rows) => rows, decodeValue: (value) => value };
  }
  const columns = schema.fields.map((field) => ({
    ...field,
    ...(format === "json" ? jsonValue(field.dataType) : csvValue(field.dataType)),
  }));
  const each = (rows: DataFrame, change: (column: (typeof columns)[number]) => (value: Column) => Column) =>
    rows.select(...columns.map((column) => change(column)(f.col(quoteName(column.name))).as(column.name)));
  return {
    fileSchema: types.struct(columns.map(({ name, type }) => types.field(name, type))),
    encode: (rows) => each(rows, ({ encode }) => encode),
    decode: (rows) => each(rows, ({ decode }) => decode),
    decodeValue: (value, name) => columns.find((column) => column.name === name)?.decode(value) ?? value,
  };
}

/** One value's way into a file and back. */
interface ValueEncoding {
  readonly type: DataType;
  encode(value: Column): Column;
  decode(value: Column): Column;
}

const same = (type: DataType): ValueEncoding => ({ type, encode: (value) => value, decode: (value) => value });

/** JSON holds everything but maps whose keys are no texts: those are arrays of entries. */
function jsonValue(type: DataType): ValueEncoding {
  return nested(type, same, (key) => key.kind === "string");
}

/** CSV: texts. What is nested becomes JSON, in which every value is a text again. */
export function csvValue(type: DataType): ValueEncoding {
  if (type.kind !== "array" && type.kind !== "map" && type.kind !== "struct") return textValue(type, true);
  const inner = nested(
    type,
    (leaf) => textValue(leaf, false),
    () => false,
  );
  const wrapper = types.struct([types.field("v", inner.type)]);
  return {
    type: types.string,
    encode: (value) =>
      f.when(value.isNotNull(), f.to_json(f.struct(inner.encode(value).as("v")), { ignoreNullFields: "false" })),
    decode: (value) => inner.decode(f.from_json(value, wrapper, { mode: "FAILFAST" }).getField("v")),
  };
}

function nested(
  type: DataType,
  leaf: (type: DataType) => ValueEncoding,
  isMapKey: (type: DataType) => boolean,
): ValueEncoding {
  switch (type.kind) {
    case "array": {
      const element = nested(type.elementType, leaf, isMapKey);
      return {
        type: types.array(element.type),
        encode: (value) => f.transform(value, (item: Column) => element.encode(item)),
        decode: (value) => f.transform(value, (item: Column) => element.decode(item)),
      };
    }
    case "struct": {
      const fields = type.fields.map((field) => ({ name: field.name, ...nested(field.dataType, leaf, isMapKey) }));
      const rebuilt = (value: Column, change: (field: (typeof fields)[number], part: Column) => Column) =>
        f.when(
          value.isNotNull(),
          f.struct(...fields.map((field) => change(field, value.getField(field.name)).as(field.name))),
        );
      return {
        type: types.struct(fields.map((field) => types.field(field.name, field.type))),
        encode: (value) => rebuilt(value, (field, part) => field.encode(part)),
        decode: (value) => rebuilt(value, (field, part) => field.decode(part)),
      };
    }
    case "map": {
      const [key, item] = [nested(type.keyType, leaf, isMapKey), nested(type.valueType, leaf, isMapKey)];
      if (isMapKey(type.keyType)) {
        return {
          type: types.map(type.keyType, item.type),
          encode: (value) => f.transform_values(value, (_key, part) => item.encode(part)),
          decode: (value) => f.transform_values(value, (_key, part) => item.decode(part)),
        };
      }
      const entries = (value: Column, change: "encode" | "decode") =>
        f.transform(value, (entry: Column) =>
          f.struct(key[change](entry.getField("key")).as("key"), item[change](entry.getField("value")).as("value")),
        );
      return {
        type: types.array(types.struct([types.field("key", key.type), types.field("value", item.type)])),
        encode: (value) => entries(f.map_entries(value), "encode"),
        decode: (value) => f.map_from_entries(entries(value, "decode")),
      };
    }
    default:
      return leaf(type);
  }
}

/** @param cell in a cell of CSV, where some texts can't stand as they are. */
function textValue(type: DataType, cell: boolean): ValueEncoding {
  switch (type.kind) {
    case "string":
    case "char":
    case "varchar":
      return cell ? { type: types.string, encode: cellText, decode: textOfCell } : same(types.string);
    case "binary":
      return { type: types.string, encode: (value) => f.hex(value), decode: (value) => f.unhex(value) };
    default:
      return {
        type: types.string,
        encode: (value) => value.cast("string"),
        decode: (value) => checkedCast(value, type),
      };
  }
}

/** A carriage return or a NUL may get lost on the way, and a backslash may be taken for our NULL: hex is none of them. */
function cellText(value: Column): Column {
  const risky = value.rlike("^\\\\|[\\r\\u0000]");
  return f.when(risky, f.concat(f.lit(HEX), f.hex(value))).otherwise(value);
}

function textOfCell(value: Column): Column {
  return f.when(value.startsWith(HEX), f.unhex(value.substr(3, 2_147_483_647)).cast("string")).otherwise(value);
}

/** A text that is no value of the type is an error, never a NULL in silence. */
export function checkedCast(value: Column, type: DataType): Column {
  const cast = value.cast(type);
  const wrong = f.raise_error(f.concat(f.lit(`This is no ${simpleString(type)}: `), value));
  return f.when(value.isNotNull().and(cast.isNull()), wrong).otherwise(cast);
}
