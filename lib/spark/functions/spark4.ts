/**
 * Functions that came with Spark 4. An older server answers `UNRESOLVED_ROUTINE` when the plan is analyzed.
 *
 * @module
 */
import { type Column, type ColumnOrName, lit } from "../column.js";
import { type DataType, simpleString } from "../types/data-type.js";
import { f0, f1, f1opt, f2, f2opt, f3, fn, invoke, optionsMap, withValues } from "./call.js";

// Variant
export const is_variant_null = f1("is_variant_null");
export const parse_json = f1("parse_json");
export const try_parse_json = f1("try_parse_json");
export const schema_of_variant = f1("schema_of_variant");
export const schema_of_variant_agg = f1("schema_of_variant_agg");
export const to_variant_object = f1("to_variant_object");
export const variant_get = (column: ColumnOrName, path: string, type: string | DataType): Column =>
  withValues("variant_get", [column], path, typeName(type));
export const try_variant_get = (column: ColumnOrName, path: string, type: string | DataType): Column =>
  withValues("try_variant_get", [column], path, typeName(type));

// Strings
export const collate = (column: ColumnOrName, collation: string): Column => withValues("collate", [column], collation);
export const collation = f1("collation");
export const is_valid_utf8 = f1("is_valid_utf8");
export const make_valid_utf8 = f1("make_valid_utf8");
export const validate_utf8 = f1("validate_utf8");
export const try_validate_utf8 = f1("try_validate_utf8");
export const listagg = (column: ColumnOrName, delimiter?: string): Column => withValues("listagg", [column], delimiter);
export const string_agg = (column: ColumnOrName, delimiter?: string): Column =>
  withValues("string_agg", [column], delimiter);
export const listagg_distinct = (column: ColumnOrName, delimiter?: string): Column =>
  invoke("listagg", [column, ...(delimiter === undefined ? [] : [lit(delimiter)])], true);
export const string_agg_distinct = (column: ColumnOrName, delimiter?: string): Column =>
  invoke("string_agg", [column, ...(delimiter === undefined ? [] : [lit(delimiter)])], true);
export const quote = f1("quote");
export const randstr = f1opt("randstr");
export const uniform = f2opt("uniform");
export const try_parse_url = f2opt("try_parse_url");
export const try_url_decode = f1("try_url_decode");

// XML
export const from_xml = (
  column: ColumnOrName,
  schema: string | DataType,
  options?: Readonly<Record<string, string>>,
): Column => invoke("from_xml", [column, lit(typeName(schema)), ...optionsMap(options)]);
export const to_xml = (column: ColumnOrName, options?: Readonly<Record<string, string>>): Column =>
  invoke("to_xml", [column, ...optionsMap(options)]);
export const schema_of_xml = (xml: string, options?: Readonly<Record<string, string>>): Column =>
  invoke("schema_of_xml", [lit(xml), ...optionsMap(options)]);

// Date and time
export const dayname = f1("dayname");
export const monthname = f1("monthname");
export const try_make_interval = fn("try_make_interval");
export const try_make_timestamp = fn("try_make_timestamp");
export const try_make_timestamp_ltz = fn("try_make_timestamp_ltz");
export const try_make_timestamp_ntz = fn("try_make_timestamp_ntz");
export const try_to_date = (column: ColumnOrName, format?: string): Column =>
  withValues("try_to_date", [column], format);
export const timestamp_add = (unit: string, quantity: ColumnOrName, timestamp: ColumnOrName): Column =>
  invoke("timestampadd", [lit(unit), quantity, timestamp]);
export const timestamp_diff = (unit: string, start: ColumnOrName, end: ColumnOrName): Column =>
  invoke("timestampdiff", [lit(unit), start, end]);
export const current_time = (precision?: number): Column => withValues("current_time", [], precision);
export const make_time = f3("make_time");
export const time_diff = f3("time_diff");
export const time_trunc = f2("time_trunc");
export const to_time = f1opt("to_time");
export const try_to_time = f1opt("try_to_time");

// The rest
export const bitmap_and_agg = f1("bitmap_and_agg");
export const nullifzero = f1("nullifzero");
export const zeroifnull = f1("zeroifnull");
export const session_user = f0("session_user");
export const try_mod = f2("try_mod");
export const try_reflect = f2opt("try_reflect");

function typeName(type: string | DataType): string {
  return typeof type === "string" ? type : simpleString(type);
}
