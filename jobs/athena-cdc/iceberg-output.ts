import { randomBytes } from "node:crypto";
import { UserError } from "../../lib/errors.js";
import {
  type Clock,
  clockOf,
  commitOnce,
  fitted,
  fullLoadsOf,
  type IcebergBranch,
  icebergCatalog,
  markFullLoad,
  microsSql,
  newestByKey,
  readAttempt,
  rowsWithin,
  type StoredSchema,
} from "../../lib/glue/incremental/index.js";
import * as f from "../../lib/spark/functions/index.js";
import { type DataFrame, quoteName, type SparkSession, type StructType } from "../../lib/spark/index.js";
import { type ObjectStore, type Publish, parseTrackerTime, publishFiles, type Step } from "../../lib/storage/index.js";

/** What a batch says of its publication to an Iceberg table; part of the redo log, so that any run can do it. */
export type Commit = {
  readonly mode: "replace" | "add" | "range";
  /** The table's database in Glue. */
  readonly database: string;
  /** The full load that the batch adds to; `null`: none is known. */
  readonly fullLoad: string | null;
  /** The run whose batch it adds to; `null`: there is none. Batches that an earlier release has left don't say. */
  readonly after?: string | null;
  /** Folder of the batch's rows; `null`: there are none. */
  readonly attempt: string | null;
  readonly key: readonly string[];
  readonly clock: string | null;
  readonly schema: StoredSchema;
  readonly watermark: string | null;
  readonly range: { readonly from: string; readonly to: string } | null;
};

interface Place {
  readonly spark: SparkSession;
  readonly store: ObjectStore;
  /** Folder of all tables. */
  readonly output: string;
  readonly table: string;
  readonly step: Step;
}

/**
 * Publishes a batch in the format that it was made for, whatever the format of the run that finishes it: without a commit its
 * files are moved, with one its rows go to an Iceberg table: as all of it, in addition, or in place of a range.
 */
export function publishBatch({ spark, store, output, table, step }: Place): Publish {
  const files = publishFiles(store, step);
  return async (batch, check) => {
    const commit = batch.commit as Commit | null;
    if (commit === null) return await files(batch, check);
    const catalog = await icebergCatalog(spark, output, commit.database);
    const replace = commit.mode === "replace";
    const fullLoads = await fullLoadsOf(spark, catalog, table);
    if (!replace && commit.fullLoad !== null && !fullLoads.has(commit.fullLoad)) {
      throw new UserError(
        "ICEBERG_TABLE_REPLACED",
        `${catalog.table(table)} isn't the table that run ${batch.runId} was to add rows to`,
        { hint: "It was dropped or made anew meanwhile. Load it afresh with --full-refresh" },
      );
    }
    const { runId } = batch;
    const { schema, watermark, after = null } = commit;
    const part = { runId, schema, watermark, after, replace };
    await commitOnce({ spark, catalog, table, step }, part, check, (branch) => commitTo(spark, branch, commit));
    if (!replace) return;
    // Only now: a load that is too late has ended above, and leaves the mark of the later one.
    await check();
    await step("mark the full load", () => markFullLoad(spark, catalog.table(table), runId, fullLoads));
  };
}

async function commitTo(
  spark: SparkSession,
  { table: name, name: target, schema, write }: IcebergBranch,
  commit: Commit,
): Promise<void> {
  const types = commit.schema.map(([column, type]) => `${quoteName(column)} ${type}`).join(", ");
  const rows =
    commit.attempt === null ? undefined : fitted(readAttempt(spark, commit.attempt, types), commit.schema, schema);
  const none = fitted(spark.range(0), [], schema);
  if (commit.mode === "replace") {
    await write(rows ?? none).overwrite(f.lit(true));
  } else if (commit.mode === "range") {
    await write(withRange(spark, name, commit, rows ?? none, schema)).overwrite(f.lit(true));
  } else if (rows === undefined || commit.key.length === 0) {
    await write(rows ?? none).append();
  } else {
    await merge(spark, target, commit, rows, schema);
    // A MERGE can't be given properties; the commit after it carries them, and main moves over both at once.
    await write(none).append();
  }
}

/** The whole table with a range of it replaced; main can't move between this and the branch without being noticed. */
function withRange(spark: SparkSession, name: string, commit: Commit, rows: DataFrame, schema: StructType): DataFrame {
  const clock = clockOf(schema, commit.clock ?? "", name);
  const { range } = commit;
  const [from, to] = [parseTrackerTime(range?.from ?? ""), parseTrackerTime(range?.to ?? "")];
  if (clock === undefined || from === undefined || to === undefined) {
    throw new TypeError(`a batch that replaces a range of ${name} has no range, or the table has no clock`);
  }
  const inRange = clock.micros.geq(from).and(clock.micros.leq(to));
  const others = spark.table(name).where(f.not(f.coalesce(inRange, f.lit(false))));
  const later = commit.key.length === 0 ? rows : rowsWithin(rows, clock, { from, to, withoutTime: false });
  return newestByKey(others.unionByName(later), { schema, clock, key: commit.key });
}

async function merge(
  spark: SparkSession,
  target: string,
  commit: Commit,
  rows: DataFrame,
  schema: StructType,
): Promise<void> {
  const view = `glue_connect_batch_${randomBytes(8).toString("hex")}`;
  await rows.createOrReplaceTempView(view);
  try {
    const clock = commit.clock === null ? undefined : clockOf(schema, commit.clock, target);
    await spark.sql(mergeSql(target, view, schema, commit.key, clock));
  } finally {
    await spark.catalog.dropTempView(view).catch(() => false);
  }
}

/** A row goes over the one of its key, unless that one is newer by the clock, whatever the clock's type. */
export function mergeSql(
  target: string,
  view: string,
  schema: StructType,
  key: readonly string[],
  clock: Clock | undefined,
): string {
  const columns = schema.fields.map((field) => quoteName(field.name));
  const on = key.map((column) => `t.${quoteName(column)} = s.${quoteName(column)}`).join(" AND ");
  const [was, is] = ["t", "s"].map((side) =>
    clock === undefined ? "" : microsSql(clock, `${side}.${quoteName(clock.name)}`),
  );
  const newer = clock === undefined ? "" : ` AND (${was} IS NULL OR ${is} >= ${was})`;
  const set = columns.map((column) => `t.${column} = s.${column}`).join(", ");
  return `MERGE INTO ${target} AS t USING ${view} AS s ON ${on}
    WHEN MATCHED${newer} THEN UPDATE SET ${set}
    WHEN NOT MATCHED THEN INSERT (${columns.join(", ")}) VALUES (${columns.map((column) => `s.${column}`).join(", ")})`;
}
