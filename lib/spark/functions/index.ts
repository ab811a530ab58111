/**
 * The functions of Spark's `org.apache.spark.sql.functions`, with the same names.
 *
 * Where Scala takes a Column, a string is the name of a column; `lit("text")` is text. Where Scala takes a String or a
 * number (a format, a separator, a scale), so does this.
 *
 * @module
 */

export { and, callFunction, col, col as column, expr, lit, lit as typedLit, or } from "../column.js";
export * from "./aggregate.js";
export * from "./collection.js";
export * from "./conditional.js";
export * from "./datetime.js";
export * from "./lambda.js";
export * from "./math.js";
export * from "./order.js";
export * from "./spark4.js";
export * from "./string.js";
