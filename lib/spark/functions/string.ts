import { type Column, type ColumnOrName, lit, type Operand } from "../column.js";
import { f0, f1, f1opt, f2, f2opt, f3, fn, invoke, withValues } from "./call.js";

export const ascii = f1("ascii");
export const base64 = f1("base64");
export const bit_length = f1("bit_length");
export const btrim = f1opt("btrim");
export const char = f1("char");
export const char_length = f1("char_length");
export const character_length = f1("character_length");
export const chr = f1("chr");
/** NULL when one of them is NULL; of arrays it makes a longer one. */
export const concat = fn("concat");
/** Skips NULLs. */
export const concat_ws = (separator: string, ...columns: readonly (ColumnOrName | readonly ColumnOrName[])[]): Column =>
  invoke("concat_ws", [lit(separator), ...(columns.flat() as ColumnOrName[])]);
export const contains = f2("contains");
export const decode = (column: ColumnOrName, charset: string): Column => withValues("decode", [column], charset);
export const elt = fn("elt");
export const encode = (column: ColumnOrName, charset: string): Column => withValues("encode", [column], charset);
export const endswith = f2("endswith");
export const find_in_set = f2("find_in_set");
export const format_number = (column: ColumnOrName, decimals: number): Column =>
  withValues("format_number", [column], decimals);
export const format_string = (format: string, ...columns: readonly ColumnOrName[]): Column =>
  invoke("format_string", [lit(format), ...columns]);
export const ilike = f2opt("ilike");
export const initcap = f1("initcap");
/** Position from 1 of a text; 0 when it isn't there. */
export const instr = (column: ColumnOrName, substring: string): Column => withValues("instr", [column], substring);
export const lcase = f1("lcase");
export const left = f2("left");
export const len = f1("len");
/** Characters of a string, bytes of a binary. */
export const length = f1("length");
export const levenshtein = (first: ColumnOrName, second: ColumnOrName, threshold?: number): Column =>
  withValues("levenshtein", [first, second], threshold);
export const like = f2opt("like");
export const locate = (substring: string, column: ColumnOrName, position?: number): Column =>
  invoke("locate", [lit(substring), column, ...(position === undefined ? [] : [lit(position)])]);
export const lower = f1("lower");
export const lpad = (column: ColumnOrName, length: number, pad: Operand): Column =>
  withValues("lpad", [column], length, pad);
/** @param trim characters to cut; default: spaces */
export const ltrim = (column: ColumnOrName, trim?: string): Column => trimmed("ltrim", column, trim);
export const luhn_check = f1("luhn_check");
export const mask = f1opt("mask");
export const octet_length = f1("octet_length");
export const overlay = (
  source: ColumnOrName,
  replacement: ColumnOrName,
  position: ColumnOrName,
  length?: ColumnOrName,
): Column => invoke("overlay", [source, replacement, position, ...(length === undefined ? [lit(-1)] : [length])]);
export const parse_url = f2opt("parse_url");
export const position = f2opt("position");
export const printf = f1opt("printf");
export const regexp = f2("regexp");
export const regexp_count = f2("regexp_count");
/** @param group 0 is the whole match */
export const regexp_extract = (column: ColumnOrName, pattern: string, group: number): Column =>
  withValues("regexp_extract", [column], pattern, group);
export const regexp_extract_all = f2opt("regexp_extract_all");
export const regexp_instr = f2opt("regexp_instr");
export const regexp_like = f2("regexp_like");
/** Pattern and replacement are text, or columns. */
export const regexp_replace = (column: ColumnOrName, pattern: Operand, replacement: Operand): Column =>
  withValues("regexp_replace", [column], pattern, replacement);
export const regexp_substr = f2("regexp_substr");
export const repeat = (column: ColumnOrName, times: Operand): Column => withValues("repeat", [column], times);
export const replace = f2opt("replace");
export const right = f2("right");
export const rlike = f2("rlike");
export const rpad = (column: ColumnOrName, length: number, pad: Operand): Column =>
  withValues("rpad", [column], length, pad);
export const rtrim = (column: ColumnOrName, trim?: string): Column => trimmed("rtrim", column, trim);
export const sentences = f1opt("sentences");
export const soundex = f1("soundex");
export const split = (column: ColumnOrName, pattern: Operand, limit: number = -1): Column =>
  withValues("split", [column], pattern, limit);
export const split_part = f3("split_part");
export const startswith = f2("startswith");
export const substr = f2opt("substr");
/** Positions start at 1. */
export const substring = (column: ColumnOrName, position: number, length: number): Column =>
  withValues("substring", [column], position, length);
export const substring_index = (column: ColumnOrName, delimiter: string, count: number): Column =>
  withValues("substring_index", [column], delimiter, count);
export const to_binary = f1opt("to_binary");
export const to_char = f2("to_char");
export const to_number = f2("to_number");
export const to_varchar = f2("to_varchar");
export const translate = (column: ColumnOrName, matching: string, replacement: string): Column =>
  withValues("translate", [column], matching, replacement);
export const trim = (column: ColumnOrName, characters?: string): Column => trimmed("trim", column, characters);
export const try_to_binary = f1opt("try_to_binary");
export const try_to_number = f2("try_to_number");
export const ucase = f1("ucase");
export const unbase64 = f1("unbase64");
export const upper = f1("upper");
export const url_decode = f1("url_decode");
export const url_encode = f1("url_encode");

// XML
export const xpath = f2("xpath");
export const xpath_boolean = f2("xpath_boolean");
export const xpath_double = f2("xpath_double");
export const xpath_float = f2("xpath_float");
export const xpath_int = f2("xpath_int");
export const xpath_long = f2("xpath_long");
export const xpath_number = f2("xpath_number");
export const xpath_short = f2("xpath_short");
export const xpath_string = f2("xpath_string");

export const current_timezone = f0("current_timezone");

/** In the function form the characters come first. */
function trimmed(name: string, column: ColumnOrName, characters: string | undefined): Column {
  return characters === undefined ? invoke(name, [column]) : invoke(name, [lit(characters), column]);
}
