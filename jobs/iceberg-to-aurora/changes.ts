import { randomUUID } from "node:crypto";
import { STAGED_DELETE } from "../../lib/postgres/staging.js";
import * as f from "../../lib/spark/functions/index.js";
import { type DataFrame, quoteName, type Row, Window } from "../../lib/spark/index.js";
import { type IcebergField, type IcebergSnapshot, schemaOfSnapshot, snapshotsBetween } from "./iceberg-metadata.js";
import { comparable, containsMap } from "./nested.js";
import { columnName, readSnapshot, type Source } from "./source.js";

/** How to find what changed; `auto` takes the cheaper way that applies. */
export type FindChanges = "auto" | "compare" | "changelog";

/**
 * What is to be done to the target, as a plan that Spark has not run yet: a column `op` (`I` insert, `U` update, `D`
 * delete; `U` throughout when the rows are the whole table) and the row as `f0`, `f1`, ...; deleted rows have their key only.
 */
export interface Changes {
  readonly rows: DataFrame;
  readonly way: "compare" | "changelog" | "reconcile" | "everything";
  /** Why this way, in a sentence. */
  readonly reason: string;
}

export const INSERT = "I";
export const UPDATE = "U";
export const DELETE = STAGED_DELETE;

/** Up to this share of rows in touched files, reading only those was faster than comparing whole snapshots. */
const CHANGELOG_SHARE = 0.125;

/** Every row of a snapshot, to replace whatever the target holds. */
export async function everything(
  source: Source,
  snapshotId: string | undefined,
  fields: readonly IcebergField[],
  reason: string,
): Promise<Changes> {
  const rows = await readSnapshot(source, snapshotId, fields);
  return { rows: rows.select(f.lit(UPDATE).as("op"), ...fieldColumns(fields)), way: "everything", reason };
}

/**
 * What turns the rows of snapshot `from` into those of `to`, by key.
 *
 * @param keys positions of the key fields in `fields`.
 */
export async function changesBetween(
  source: Source,
  from: string,
  to: string,
  fields: readonly IcebergField[],
  keys: readonly number[],
  find: FindChanges,
): Promise<Changes> {
  const obstacle = changelogObstacle(source, from, to, fields);
  if (find !== "compare" && obstacle === undefined) {
    const before = source.metadata.snapshots.get(from);
    const share = touchedShare(before, snapshotsBetween(source.metadata, from, to) ?? []);
    const percent = `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;
    if (find === "changelog" || share <= CHANGELOG_SHARE) {
      return {
        rows: await fromChangelog(source, from, to, fields, keys),
        way: "changelog",
        reason:
          find === "changelog" ? "asked for" : `files with ${percent} of both snapshots' rows were added or removed`,
      };
    }
    return {
      rows: await fromComparison(source, from, to, fields, keys),
      way: "compare",
      reason: `files with ${percent} of both snapshots' rows were added or removed, so comparing them is cheaper`,
    };
  }
  return {
    rows: await fromComparison(source, from, to, fields, keys),
    way: "compare",
    reason: find === "compare" ? "asked for" : `the changelog can't be used: ${obstacle}`,
  };
}

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

/** Rows in files that were added or removed, relative to those of both snapshots, which a comparison would read. */
function touchedShare(before: IcebergSnapshot | undefined, range: readonly IcebergSnapshot[]): number {
  const number = (snapshot: IcebergSnapshot | undefined, key: string) => Number(snapshot?.summary[key] ?? 0);
  const touched = range
    .filter((snapshot) => snapshot.operation !== "replace")
    .reduce((sum, snapshot) => sum + number(snapshot, "added-records") + number(snapshot, "deleted-records"), 0);
  const compared = number(before, "total-records") + number(range[0], "total-records");
  return compared === 0 ? 1 : touched / compared;
}

/** One full outer join by key and one null-safe comparison of whole rows. */
async function fromComparison(
  source: Source,
  from: string,
  to: string,
  fields: readonly IcebergField[],
  keys: readonly number[],
): Promise<DataFrame> {
  const [before, after] = await Promise.all([readSnapshot(source, from, fields), readSnapshot(source, to, fields)]);
  const side = (name: string) =>
    f.struct(
      ...fields.map((field, index) =>
        comparable(f.col(`${name}.${columnName(index)}`), field.type).as(columnName(index)),
      ),
    );
  const on = keys
    .map((key) => f.col(`before.${columnName(key)}`).eqTo(f.col(`after.${columnName(key)}`)))
    .reduce((all, one) => all.and(one));
  const firstKey = columnName(keys[0] ?? 0);
  const gone = f.col(`after.${firstKey}`).isNull();
  const fresh = f.col(`before.${firstKey}`).isNull();
  return before
    .as("before")
    .join(after.as("after"), on, "full_outer")
    .where(f.not(side("before").eqNullSafe(side("after"))))
    .select(
      f.when(gone, f.lit(DELETE)).when(fresh, f.lit(INSERT)).otherwise(f.lit(UPDATE)).as("op"),
      ...fields.map((_field, index) => {
        const name = columnName(index);
        return keys.includes(index)
          ? f.coalesce(f.col(`after.${name}`), f.col(`before.${name}`)).as(name)
          : f.col(`after.${name}`).as(name);
      }),
    );
}

/**
 * Iceberg's own changelog, which reads only the files that were added or removed.
 *
 * Its rows are netted here, by value: over all snapshots of the range, the inserts of a row less its deletes say whether
 * the row came or went. Iceberg's own netting compares byte arrays by reference, and leaves the rows of a rewritten file
 * standing when one of its columns is binary.
 */
async function fromChangelog(
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
    f.when(f.not(came), f.lit(DELETE)).when(f.col("was"), f.lit(UPDATE)).otherwise(f.lit(INSERT)).as("op"),
    ...fields.map((_field, index) => {
      const name = columnName(index);
      return keys.includes(index) ? f.col(name) : f.when(came, f.col(name)).as(name);
    }),
  );
}

const fieldColumns = (fields: readonly IcebergField[]) => fields.map((_field, index) => f.col(columnName(index)));

/** Rows of each kind in a change set. */
export interface ChangeCounts {
  readonly inserts: bigint;
  readonly updates: bigint;
  readonly deletes: bigint;
  readonly total: bigint;
}

/** Runs the plan and counts its rows by kind. */
export async function countChanges(rows: DataFrame): Promise<ChangeCounts> {
  const counted = await rows.groupBy("op").count().collect();
  const of = (op: string) =>
    counted.filter((row: Row) => row.getString(0) === op).reduce((sum, row) => sum + (row.getBigInt(1) ?? 0n), 0n);
  const inserts = of(INSERT);
  const updates = of(UPDATE);
  const deletes = of(DELETE);
  return { inserts, updates, deletes, total: inserts + updates + deletes };
}
