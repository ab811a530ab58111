import * as f from "../../spark/functions/index.js";
import { type DataFrame, quoteName } from "../../spark/index.js";
import type { ComparedColumn, ComparedSchemas } from "./schemas.js";
import { widened } from "./values.js";

export type Side = "l" | "r";

/**
 * One side inside of the plan: columns by number (`lk0`, `rv3`), so that no name of a table matters, and `lthere` or `rthere`, that it has the
 * row.
 */
export function sideOf(rows: DataFrame, name: Side, { keys, values }: ComparedSchemas): DataFrame {
  const of = (column: ComparedColumn) => {
    const field = name === "l" ? column.left : column.right;
    if (field === undefined) return f.lit(null).cast(column.dataType);
    return widened(f.col(quoteName(field.name)), field.dataType, column.dataType);
  };
  return rows.select(
    ...keys.map((column, index) => of(column).as(`${name}k${index}`)),
    ...values.map((column, index) => of(column).as(`${name}v${index}`)),
    f.lit(true).as(`${name}there`),
  );
}
