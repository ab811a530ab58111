import { type Column, type ColumnOrName, lit, type Operand } from "../column.js";
import { f1, f1opt, f2, f2opt, fn, invoke, withValues } from "./call.js";

export const any = f1("any");
export const any_value = f1opt("any_value");
export const approx_count_distinct = (column: ColumnOrName, relativeError?: number): Column =>
  withValues("approx_count_distinct", [column], relativeError);
export const approx_percentile = f2opt("approx_percentile");
export const array_agg = f1("array_agg");
export const avg = f1("avg");
export const bit_and = f1("bit_and");
export const bit_or = f1("bit_or");
export const bit_xor = f1("bit_xor");
export const bitmap_construct_agg = f1("bitmap_construct_agg");
export const bitmap_or_agg = f1("bitmap_or_agg");
export const bool_and = f1("bool_and");
export const bool_or = f1("bool_or");
export const collect_list = f1("collect_list");
export const collect_set = f1("collect_set");
export const corr = f2("corr");
/** Rows where the column is not NULL; `count("*")` and `count(lit(1))` count all rows. */
export const count = (column: ColumnOrName): Column => invoke("count", [column === "*" ? lit(1) : column]);
/** Distinct combinations without a NULL. */
export const count_distinct = (first: ColumnOrName, ...rest: readonly ColumnOrName[]): Column =>
  invoke("count", [first, ...rest], true);
export const countDistinct = count_distinct;
export const count_if = f1("count_if");
export const count_min_sketch = (
  column: ColumnOrName,
  eps: ColumnOrName,
  confidence: ColumnOrName,
  seed: ColumnOrName,
): Column => invoke("count_min_sketch", [column, eps, confidence, seed]);
export const covar_pop = f2("covar_pop");
export const covar_samp = f2("covar_samp");
export const every = f1("every");
const withIgnoreNulls =
  (name: string) =>
  (column: ColumnOrName, ignoreNulls = false): Column =>
    withValues(name, [column], ignoreNulls);
export const first = withIgnoreNulls("first");
export const first_value = f1opt("first_value");
export const last = withIgnoreNulls("last");
export const last_value = f1opt("last_value");
export const histogram_numeric = f2("histogram_numeric");
export const hll_sketch_agg = (column: ColumnOrName, lgConfigK?: number): Column =>
  withValues("hll_sketch_agg", [column], lgConfigK);
export const hll_sketch_estimate = f1("hll_sketch_estimate");
export const hll_union = (first: ColumnOrName, second: ColumnOrName, allowDifferentLgConfigK?: boolean): Column =>
  withValues("hll_union", [first, second], allowDifferentLgConfigK);
export const hll_union_agg = (column: ColumnOrName, allowDifferentLgConfigK?: boolean): Column =>
  withValues("hll_union_agg", [column], allowDifferentLgConfigK);
export const kurtosis = f1("kurtosis");
export const max = f1("max");
/** The value of the first column where the second is greatest. */
export const max_by = f2("max_by");
export const mean = f1("mean");
export const median = f1("median");
export const min = f1("min");
export const min_by = f2("min_by");
export const mode = f1opt("mode");
export const percentile = f2opt("percentile");
/** @param accuracy greater is more exact; default 10,000 */
export const percentile_approx = (column: ColumnOrName, percentage: Operand, accuracy: number = 10_000): Column =>
  withValues("percentile_approx", [column], percentage, accuracy);
export const product = f1("product");
export const regr_avgx = f2("regr_avgx");
export const regr_avgy = f2("regr_avgy");
export const regr_count = f2("regr_count");
export const regr_intercept = f2("regr_intercept");
export const regr_r2 = f2("regr_r2");
export const regr_slope = f2("regr_slope");
export const regr_sxx = f2("regr_sxx");
export const regr_sxy = f2("regr_sxy");
export const regr_syy = f2("regr_syy");
export const skewness = f1("skewness");
export const some = f1("some");
export const std = f1("std");
export const stddev = f1("stddev");
export const stddev_pop = f1("stddev_pop");
export const stddev_samp = f1("stddev_samp");
export const sum = f1("sum");
export const sum_distinct = (column: ColumnOrName): Column => invoke("sum", [column], true);
export const try_avg = f1("try_avg");
export const try_sum = f1("try_sum");
export const var_pop = f1("var_pop");
export const var_samp = f1("var_samp");
export const variance = f1("variance");

// Window functions; `over` gives them their window
export const cume_dist = () => invoke("cume_dist", []);
export const dense_rank = () => invoke("dense_rank", []);
const shifted =
  (name: string) =>
  (column: ColumnOrName, offset = 1, defaultValue?: Operand, ignoreNulls = false): Column =>
    // The server reads the fourth argument only after a third, so a missing default is a NULL.
    invoke(name, [
      column,
      lit(offset),
      ...(defaultValue === undefined && !ignoreNulls ? [] : [lit(defaultValue ?? null)]),
      ...(ignoreNulls ? [lit(true)] : []),
    ]);
export const lag = shifted("lag");
export const lead = shifted("lead");
export const nth_value = (column: ColumnOrName, offset: number, ignoreNulls = false): Column =>
  withValues("nth_value", [column], offset, ignoreNulls ? true : undefined);
export const ntile = (groups: number): Column => withValues("ntile", [], groups);
export const percent_rank = () => invoke("percent_rank", []);
export const rank = () => invoke("rank", []);
export const row_number = () => invoke("row_number", []);

// Gathering columns
export const struct = fn("struct");
export const named_struct = fn("named_struct");
