import { Column, type ColumnOrName, columnExpression, lit, type Operand } from "../column.js";
import { call } from "../plan/nodes.js";

/** Functions with a fixed number of columns, in the form of Scala's `functions`. A string is the name of a column. */
export type F0 = () => Column;
export type F1 = (column: ColumnOrName) => Column;
export type F2 = (first: ColumnOrName, second: ColumnOrName) => Column;
export type F3 = (first: ColumnOrName, second: ColumnOrName, third: ColumnOrName) => Column;
export type FN = (...columns: readonly (ColumnOrName | readonly ColumnOrName[])[]) => Column;

/** A call whose arguments are all columns. */
export function invoke(name: string, columns: readonly ColumnOrName[], isDistinct = false): Column {
  return new Column(call(name, columns.map(columnExpression), isDistinct));
}

export const f0 =
  (name: string): F0 =>
  () =>
    invoke(name, []);

export const f1 =
  (name: string): F1 =>
  (column) =>
    invoke(name, [column]);

export const f2 =
  (name: string): F2 =>
  (first, second) =>
    invoke(name, [first, second]);

export const f3 =
  (name: string): F3 =>
  (first, second, third) =>
    invoke(name, [first, second, third]);

/** Any number of columns, also as one array. */
export const fn =
  (name: string): FN =>
  (...columns) =>
    invoke(name, columns.flat() as ColumnOrName[]);

/** A required column and then columns that may be left out. */
export const f1opt =
  (name: string): ((column: ColumnOrName, ...more: readonly ColumnOrName[]) => Column) =>
  (column, ...more) =>
    invoke(name, [column, ...more]);

/** Two required columns and then columns that may be left out. */
export const f2opt =
  (name: string): ((first: ColumnOrName, second: ColumnOrName, ...more: readonly ColumnOrName[]) => Column) =>
  (first, second, ...more) =>
    invoke(name, [first, second, ...more]);

/** A column, then values (a string is text, not a name). Left-out values at the end are left out of the call. */
export function withValues(
  name: string,
  columns: readonly ColumnOrName[],
  ...values: readonly (Operand | undefined)[]
): Column {
  const given = values.filter((value) => value !== undefined);
  return invoke(name, [...columns, ...given.map((value) => lit(value))]);
}

/** Options as the map that `from_json` and its like take. */
export function optionsMap(options: Readonly<Record<string, string>> | undefined): Column[] {
  if (options === undefined || Object.keys(options).length === 0) return [];
  return [
    invoke(
      "map",
      Object.entries(options).flatMap(([key, value]) => [lit(key), lit(value)]),
    ),
  ];
}
