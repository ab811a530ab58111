import * as f from "../../spark/functions/index.js";
import { type Column, type DataFrame, quoteName, sameType } from "../../spark/index.js";
import type { ComparedColumn, ComparedSchemas } from "./schemas.js";
import { widened } from "./values.js";

export type Side = "l" | "r";

/** Rows in the form that their files have, as CSV has every value as text. The same text is the same value, another one may be, too. */
export interface StoredRows {
  /** The columns of the side; Spark compares their stored form by `<=>`. */
  readonly rows: DataFrame;
  /** @param name of the column that the stored value is of. */
  decode(stored: Column, name: string): Column;
}

/** The stored forms of both sides. */
export type StoredSides = Readonly<Record<Side, StoredRows>>;

/**
 * One side inside of the plan: columns by number (`lk0`, `rv3`), so that no name of a table matters, and `lthere` or `rthere`, that it has the
 * row. With stored rows its {@link staysStored} columns are as they are stored.
 */
export function sideOf(
  rows: DataFrame,
  name: Side,
  { keys, values }: ComparedSchemas,
  stored: StoredRows | undefined,
): DataFrame {
  const of = (column: ComparedColumn) => {
    const field = name === "l" ? column.left : column.right;
    if (field === undefined) return f.lit(null).cast(column.dataType);
    const given = f.col(quoteName(field.name));
    return widened(stored?.decode(given, field.name) ?? given, field.dataType, column.dataType);
  };
  const kept = (column: ComparedColumn) => stored !== undefined && staysStored(column);
  return (stored?.rows ?? rows).select(
    ...keys.map((column, index) => of(column).as(`${name}k${index}`)),
    ...values.map((column, index) =>
      (kept(column) ? f.col(quoteName(nameIn(column, name))) : of(column)).as(`${name}v${index}`),
    ),
    f.lit(true).as(`${name}there`),
  );
}

/** Whether both sides store a column alike. */
export function staysStored({ left, right }: ComparedColumn): boolean {
  return left !== undefined && right !== undefined && sameType(left.dataType, right.dataType);
}

/** A column's name as one side has it. */
export function nameIn({ name, left, right }: ComparedColumn, side: Side): string {
  return (side === "l" ? left : right)?.name ?? name;
}
