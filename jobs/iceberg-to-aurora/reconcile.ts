import { randomUUID } from "node:crypto";
import { jdbcOptions } from "../../lib/postgres/connection.js";
import { quoteIdentifier } from "../../lib/postgres/identifiers.js";
import { STAGED_DELETE, STAGED_INSERT, STAGED_UPDATE } from "../../lib/postgres/staging.js";
import type { TableRange } from "../../lib/postgres/table-ranges.js";
import * as f from "../../lib/spark/functions/index.js";
import type { DataFrame } from "../../lib/spark/index.js";
import type { Changes } from "./changes.js";
import type { ColumnMapping, CommonForm } from "./columns.js";
import { columnName, readSnapshot, type Source } from "./source.js";

/** Why Spark can't compare all of the columns, or `undefined`. */
export function incomparable(columns: readonly ColumnMapping[]): string | undefined {
  const without = columns.filter((column) => column.common === undefined);
  return without.length === 0
    ? undefined
    : `only PostgreSQL can compare ${without.map((column) => `${column.target} (${column.type})`).join(", ")}`;
}

/** @throws Error for a column of {@link incomparable}, which the caller has ruled out. */
function commonForm(column: ColumnMapping): CommonForm {
  if (column.common === undefined) throw new Error(`Spark can't compare column ${column.target}`);
  return column.common;
}

/**
 * What turns the target's rows into those of a snapshot, found by Spark: the executors read the target through JDBC and hold it
 * against the source by key.
 *
 * Both sides are brought into a common form first, in which unlike values never look equal. Equal ones may look unlike; what is
 * staged for them in vain changes nothing, since the transaction compares again.
 *
 * @param ranges the target in parts, each read by one task.
 * @param live SQL condition on the rows that count, those that aren't deleted softly.
 */
export async function targetDifferences(
  source: Source,
  snapshotId: string | undefined,
  columns: readonly ColumnMapping[],
  target: {
    readonly connection: Parameters<typeof jdbcOptions>[0];
    readonly ranges: readonly TableRange[];
    readonly live: string;
    readonly applicationName: string;
  },
  reason: string,
): Promise<Changes> {
  const fields = columns.map((column) => column.field);
  const snapshot = await readSnapshot(source, snapshotId, fields);
  const form = (index: number) => `g${index}`;
  const wanted = snapshot.select(
    ...fields.map((_field, index) => f.col(columnName(index))),
    ...columns.map((column, index) =>
      commonForm(column)
        .ofSource(f.col(columnName(index)))
        .as(form(index)),
    ),
  );
  const list = columns.map(
    (column, index) => `${commonForm(column).ofTarget(`t.${quoteIdentifier(column.target)}`)} AS ${form(index)}`,
  );
  const parts = target.ranges.map(({ from, where }) =>
    source.spark.read
      .format("jdbc")
      .options({
        ...jdbcOptions(target.connection, target.applicationName),
        query: `SELECT ${list.join(", ")} FROM ${from} AS t WHERE ${where} AND ${target.live}`,
        fetchsize: "10000",
      })
      .load(),
  );
  const [first, ...others] = parts;
  if (first === undefined) throw new Error("a table has at least one range");
  // Each query would plan the reading anew, and Spark holds two plans of JDBC for different, so that what is cached would be read again:
  // a view keeps the plan that it was made of.
  const view = `glue_connect_target_${randomUUID().replaceAll("-", "")}`;
  await others.reduce((all: DataFrame, part) => all.unionAll(part), first).createOrReplaceTempView(view);
  const present = source.spark.table(view);

  const keys = columns.flatMap((column, index) => (column.key ? [index] : []));
  const side = (name: string) => f.struct(...columns.map((_column, index) => f.col(`${name}.${form(index)}`)));
  const on = keys
    .map((key) => f.col(`present.${form(key)}`).eqTo(f.col(`wanted.${form(key)}`)))
    .reduce((all, one) => all.and(one));
  const firstKey = form(keys[0] ?? 0);
  const rows = present
    .as("present")
    .join(wanted.as("wanted"), on, "full_outer")
    .where(f.not(side("present").eqNullSafe(side("wanted"))))
    .select(
      f
        .when(f.col(`wanted.${firstKey}`).isNull(), f.lit(STAGED_DELETE))
        .when(f.col(`present.${firstKey}`).isNull(), f.lit(STAGED_INSERT))
        .otherwise(f.lit(STAGED_UPDATE))
        .as("op"),
      ...columns.map((column, index) => {
        const value = f.col(`wanted.${columnName(index)}`);
        // A row that goes has a key, and nothing else.
        return (column.key ? f.coalesce(value, commonForm(column).parse(f.col(`present.${form(index)}`))) : value).as(
          columnName(index),
        );
      }),
    );
  return { rows, way: "reconcile", reason };
}
