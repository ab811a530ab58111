import { UserError } from "../../lib/errors.js";
import { type Clock, clockOf, type RowShape } from "../../lib/glue/incremental/index.js";
import type { SourceTable } from "../../lib/postgres/source-tables.js";
import type { SparkColumn } from "../../lib/postgres/spark-columns.js";
import * as f from "../../lib/spark/functions/index.js";
import { type Column, type DataType, quoteName, type StructType, simpleString, types } from "../../lib/spark/index.js";
import type { SqlClock } from "./clock.js";
import type { KnownDetails } from "./state.js";

/** When a row came: the time of its batch's snapshot. The newest batch has the current version of a key. */
export const BATCH_AT = "cdc_batch_at";
/** The key is gone from the source, as `--deletes soft` finds out; `false` for rows that were there. */
export const DELETED = "cdc_deleted";
/** The folders of a table: UTC date of `updated_at`. */
export const PARTITION = "partition_date";

/** What a table's rows are compared by; its clock is there. */
export type ClockedShape = RowShape & { readonly clock: Clock };

/** The shape of a table's rows on Spark. */
export function shapeOf(columns: readonly SparkColumn[], table: SourceTable, clock: SqlClock): ClockedShape {
  const schema: StructType = types.struct(columns.map(({ name, type }) => types.field(name, type)));
  const found = clockOf(schema, clock.name, table.name);
  if (found === undefined) throw new Error("the clock's column is among the columns");
  return { schema, clock: found, key: table.primaryKey };
}

/** Schema of published files, with the columns that the job adds; a column that a file hasn't got reads as NULL. */
export function publishedSchema({ columns }: KnownDetails): string {
  return [
    ...columns.map(({ name, type }) => `${quoteName(name)} ${type}`),
    `${BATCH_AT} TIMESTAMP`,
    `${DELETED} BOOLEAN`,
  ].join(", ");
}

/** A column of rows that were written with another shape; NULL where that one had none. */
export function columnOf({ columns }: KnownDetails, name: string, type: DataType): Column {
  const known = columns.some((column) => column.name === name);
  return (known ? f.col(quoteName(name)) : f.lit(null)).cast(simpleString(type)).as(name);
}

/** A time in the type of the table's clock. */
export function clockValue(columns: readonly SparkColumn[], clock: SqlClock, micros: bigint): Column {
  const type = columns.find(({ name }) => name === clock.name)?.type.kind;
  if (type === "int") return f.lit(micros / 1_000_000n);
  if (type === "bigint") return f.lit(micros);
  return f.timestamp_micros(f.lit(micros));
}

/** @throws UserError `COLUMN_NAMES_UNUSABLE`. */
export function checkNames(columns: readonly { readonly name: string }[]): void {
  const taken = new Set([PARTITION, BATCH_AT, DELETED]);
  const seen = new Map<string, string>();
  const problems = columns.flatMap(({ name }) => {
    const other = seen.get(name.toLowerCase());
    seen.set(name.toLowerCase(), name);
    if (other !== undefined) return [`columns ${other} and ${name} differ in case only, which Spark and Glue ignore`];
    return taken.has(name.toLowerCase()) ? [`column ${name} has the name of a column that this job adds`] : [];
  });
  if (problems.length === 0) return;
  throw new UserError("COLUMN_NAMES_UNUSABLE", "The table's columns can't be written as they are called", {
    problems,
    hint: "Rename them in the source, or leave the table out with --tables",
  });
}
