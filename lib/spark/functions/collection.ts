import { type Column, type ColumnOrName, lit, type Operand } from "../column.js";
import { type DataType, type StructType, simpleString, toDDL } from "../types/data-type.js";
import { f1, f1opt, f2, f2opt, fn, invoke, optionsMap, withValues } from "./call.js";

export const array = fn("array");
export const array_append = (column: ColumnOrName, value: Operand): Column =>
  withValues("array_append", [column], value);
export const array_compact = f1("array_compact");
export const array_contains = (column: ColumnOrName, value: Operand): Column =>
  withValues("array_contains", [column], value);
export const array_distinct = f1("array_distinct");
export const array_except = f2("array_except");
export const array_insert = (array: ColumnOrName, position: ColumnOrName, value: ColumnOrName): Column =>
  invoke("array_insert", [array, position, value]);
export const array_intersect = f2("array_intersect");
export const array_join = (column: ColumnOrName, delimiter: string, nullReplacement?: string): Column =>
  withValues("array_join", [column], delimiter, nullReplacement);
export const array_max = f1("array_max");
export const array_min = f1("array_min");
export const array_position = (column: ColumnOrName, value: Operand): Column =>
  withValues("array_position", [column], value);
export const array_prepend = (column: ColumnOrName, value: Operand): Column =>
  withValues("array_prepend", [column], value);
export const array_remove = (column: ColumnOrName, value: Operand): Column =>
  withValues("array_remove", [column], value);
export const array_repeat = (column: ColumnOrName, count: Operand): Column =>
  withValues("array_repeat", [column], count);
export const array_size = f1("array_size");
export const array_union = f2("array_union");
export const arrays_overlap = f2("arrays_overlap");
export const arrays_zip = fn("arrays_zip");
export const cardinality = f1("cardinality");
/** Keys and values in turn: `create_map(lit("a"), col("x"))`. */
export const create_map = fn("map");
export const map = fn("map");
/** From 1; an index out of bounds is an error in ANSI mode. */
export const element_at = (column: ColumnOrName, key: Operand): Column => withValues("element_at", [column], key);
export const explode = f1("explode");
export const explode_outer = f1("explode_outer");
export const flatten = f1("flatten");
/** From 0. */
export const get = f2("get");
export const inline = f1("inline");
export const inline_outer = f1("inline_outer");
export const map_concat = fn("map_concat");
export const map_contains_key = (column: ColumnOrName, key: Operand): Column =>
  withValues("map_contains_key", [column], key);
export const map_entries = f1("map_entries");
export const map_from_arrays = f2("map_from_arrays");
export const map_from_entries = f1("map_from_entries");
export const map_keys = f1("map_keys");
export const map_values = f1("map_values");
export const posexplode = f1("posexplode");
export const posexplode_outer = f1("posexplode_outer");
export const reverse = f1("reverse");
export const sequence = f2opt("sequence");
export const shuffle = f1("shuffle");
export const size = f1("size");
/** Positions start at 1. */
export const slice = (column: ColumnOrName, start: Operand, length: Operand): Column =>
  withValues("slice", [column], start, length);
export const sort_array = (column: ColumnOrName, ascending = true): Column =>
  withValues("sort_array", [column], ascending);
export const stack = fn("stack");
export const str_to_map = f1opt("str_to_map");
export const try_element_at = f2("try_element_at");

// JSON and CSV

export const from_json = (
  column: ColumnOrName,
  schema: string | DataType,
  options?: Readonly<Record<string, string>>,
): Column => invoke("from_json", [column, lit(ddl(schema)), ...optionsMap(options)]);
export const from_csv = (
  column: ColumnOrName,
  schema: string | StructType,
  options?: Readonly<Record<string, string>>,
): Column => invoke("from_csv", [column, lit(ddl(schema)), ...optionsMap(options)]);
/** NULL fields are left out unless the option `ignoreNullFields` is "false". */
export const to_json = (column: ColumnOrName, options?: Readonly<Record<string, string>>): Column =>
  invoke("to_json", [column, ...optionsMap(options)]);
export const to_csv = (column: ColumnOrName, options?: Readonly<Record<string, string>>): Column =>
  invoke("to_csv", [column, ...optionsMap(options)]);
export const schema_of_json = (json: string, options?: Readonly<Record<string, string>>): Column =>
  invoke("schema_of_json", [lit(json), ...optionsMap(options)]);
export const schema_of_csv = (csv: string, options?: Readonly<Record<string, string>>): Column =>
  invoke("schema_of_csv", [lit(csv), ...optionsMap(options)]);
export const get_json_object = (column: ColumnOrName, path: string): Column =>
  withValues("get_json_object", [column], path);
export const json_array_length = f1("json_array_length");
export const json_object_keys = f1("json_object_keys");
export const json_tuple = (column: ColumnOrName, ...fields: readonly string[]): Column =>
  invoke("json_tuple", [column, ...fields.map((field) => lit(field))]);

function ddl(schema: string | DataType): string {
  if (typeof schema === "string") return schema;
  return schema.kind === "struct" ? toDDL(schema) : simpleString(schema);
}
