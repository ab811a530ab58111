import { Column, type ColumnOrName, lit, type Operand, toExpression } from "../column.js";
import type { DataFrame } from "../dataframe/dataframe.js";
import { call } from "../plan/nodes.js";
import { f0, f1, f2, f2opt, f3, fn, invoke } from "./call.js";

/**
 * A CASE: `when(condition, value).when(...).otherwise(value)`; NULL when nothing matches and there is no `otherwise`.
 *
 * @example
 * when(col("n").gt(0), "some").otherwise("none");
 */
export function when(condition: Column, value: Operand): Column {
  return new Column(call("when", [condition.expression, toExpression(value)]));
}

/** Negates a condition. */
export const not = (condition: Column): Column => condition.not();

/** The first that is not NULL. */
export const coalesce = fn("coalesce");
export const isnull = f1("isnull");
export const isnotnull = f1("isnotnull");
export const isnan = f1("isnan");
export const ifnull = f2("ifnull");
export const nvl = f2("nvl");
export const nvl2 = f3("nvl2");
export const nullif = f2("nullif");
export const nanvl = f2("nanvl");
export const equal_null = f2("equal_null");
export const greatest = fn("greatest");
export const least = fn("least");

/** Fails the query where the condition isn't true. */
export const assert_true = (condition: ColumnOrName, message?: Operand): Column =>
  message === undefined ? invoke("assert_true", [condition]) : invoke("assert_true", [condition, lit(message)]);
export const raise_error = (message: Operand): Column => invoke("raise_error", [lit(message)]);

// About the row's origin and the session
export const input_file_name = f0("input_file_name");
export const input_file_block_length = f0("input_file_block_length");
export const input_file_block_start = f0("input_file_block_start");
export const monotonically_increasing_id = f0("monotonically_increasing_id");
export const spark_partition_id = f0("spark_partition_id");
export const current_catalog = f0("current_catalog");
export const current_database = f0("current_database");
export const current_schema = f0("current_schema");
export const current_user = f0("current_user");
export const user = f0("user");
export const version = f0("version");
export const uuid = f0("uuid");
/** The type of a value, as text: `f.typeof("x")`. */
const typeOf = f1("typeof");

export { typeOf as typeof };
export const java_method = f2opt("java_method");
export const reflect = f2opt("reflect");
/** Advises Spark to send a small side of a join to all executors. */
export const broadcast = (df: DataFrame): DataFrame => df.hint("broadcast");
export const grouping = f1("grouping");
export const grouping_id = fn("grouping_id");
