import { randomUUID } from "node:crypto";
import { STAGED_DELETE, STAGED_INSERT, STAGED_UPDATE } from "../../lib/postgres/staging.js";
import * as f from "../../lib/spark/functions/index.js";
import { type DataFrame, quoteName, Window } from "../../lib/spark/index.js";
import { type IcebergField, schemaOfSnapshot, snapshotsBetween } from "./iceberg-metadata.js";
import { containsMap } from "./nested.js";
import { columnName, fieldColumns, type Source } from "./source.js";

/** What stands against `create_changelog_view`, or `undefined`. Any doubt counts: the comparison is always right. */
export function changelogObstacle(
  source: Source,
  from: string,
  to: string,
  fields: readonly IcebergField[],
): string | undefined {
  const range = snapshotsBetween(source.metadata, from, to);
  if (range === undefined) return "the old snapshot is no ancestor of the new one";
  if (fields.some((field) => containsMap(field.type))) return "the table has a map column, which can't be grouped by";
  const ends = [source.metadata.snapshots.get(from), ...range].filter((snapshot) => snapshot !== undefined);
  for (const snapshot of ends) {
    if (snapshot.schemaId !== source.metadata.currentSchemaId) return "the schema changed within the range";
    if (snapshot.summary["total-delete-files"] !== "0")
      return `snapshot ${snapshot.id} has delete files (merge-on-read)`;
    if (snapshot.summary["total-records"] === undefined) return `snapshot ${snapshot.id} has no totals`;
  }
  // The view carries columns of its own beside the table's.
  const reserved = ["_change_type", "_change_ordinal", "_commit_snapshot_id"];
  const taken = schemaOfSnapshot(source.metadata, to).fields.find((field) => reserved.includes(field.name));
  return taken === undefined ? undefined : `the table has a column ${taken.name} of its own`;
}

/**
 * Iceberg's own changelog, which reads only the files that were added or removed.
 *
 * Its rows are netted here, by value: over all snapshots of the range, the inserts of a row less its deletes say whether
 * the row came or went. Iceberg's own netting compares byte arrays by reference, and leaves the rows of a rewritten file
 * standing when one of its columns is binary.
 */
export async function fromChangelog(
  source: Source,
  from: string,
  to: string,
  fields: readonly IcebergField[],
  keys: readonly number[],
): Promise<DataFrame> {
  const view = `glue_connect_changes_${randomUUID().replaceAll("-", "")}`;
  await source.spark.sql(
    `CALL ${quoteName(source.catalog)}.system.create_changelog_view(table => '${source.identifier.replaceAll("'", "\\'")}', ` +
      `changelog_view => '${view}', options => map('start-snapshot-id', '${from}', 'end-snapshot-id', '${to}'))`,
  );
  const columns = fieldColumns(fields);
  const change = f.col("_change_type");
  const net = source.spark
    .table(view)
    .select(
      f.when(change.eqTo("INSERT"), f.lit(1)).otherwise(f.lit(-1)).as("change"),
      ...fields.map((field, index) => f.col(quoteName(field.name)).as(columnName(index))),
    )
    .groupBy(...columns)
    .agg(f.sum("change").as("net"))
    .where(f.col("net").notEqual(0));
  // A changed row is there twice: its old form went, its new one came. The new one carries the row.
  const ofKey = Window.partitionBy(...keys.map((key) => f.col(columnName(key))));
  const came = f.col("net").gt(0);
  const changed = net
    .withColumn("was", f.max(f.not(came)).over(ofKey))
    .withColumn("is", f.max(came).over(ofKey))
    .where(came.or(f.not(f.col("is"))));
  return changed.select(
    f
      .when(f.not(came), f.lit(STAGED_DELETE))
      .when(f.col("was"), f.lit(STAGED_UPDATE))
      .otherwise(f.lit(STAGED_INSERT))
      .as("op"),
    ...fields.map((_field, index) => {
      const name = columnName(index);
      return keys.includes(index) ? f.col(name) : f.when(came, f.col(name)).as(name);
    }),
    f.col("net").as("copies"),
  );
}
