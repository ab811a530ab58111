import { type Column, type ColumnOrName, callFunction, col } from "../column.js";

const column = (nameOrColumn: ColumnOrName): Column =>
  typeof nameOrColumn === "string" ? col(nameOrColumn) : nameOrColumn;

/** Ascending, NULLs first. */
export const asc = (name: ColumnOrName): Column => column(name).asc();
export const asc_nulls_first = (name: ColumnOrName): Column => column(name).ascNullsFirst();
export const asc_nulls_last = (name: ColumnOrName): Column => column(name).ascNullsLast();
/** Descending, NULLs last. */
export const desc = (name: ColumnOrName): Column => column(name).desc();
export const desc_nulls_first = (name: ColumnOrName): Column => column(name).descNullsFirst();
export const desc_nulls_last = (name: ColumnOrName): Column => column(name).descNullsLast();

/** The same as `callFunction`, under its older name. */
export const call_function = callFunction;
