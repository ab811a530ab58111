import { randomBytes } from "node:crypto";
import {
  clockOf,
  commitOnce,
  fitted,
  type IcebergBranch,
  type IcebergTable,
  newestByKey,
  readAttempt,
  rowsWithin,
  type StoredSchema,
} from "../../lib/glue/incremental/index.js";
import * as f from "../../lib/spark/functions/index.js";
import { type DataFrame, quoteName, type SparkSession, type StructType } from "../../lib/spark/index.js";
import { type Publish, parseTrackerTime } from "../../lib/storage/index.js";

/** What a batch says of its publication; part of the redo log, so that any run can do it. */
interface Commit {
  readonly mode: "replace" | "add" | "range";
  /** Folder of the batch's rows; `null`: there are none. */
  readonly attempt: string | null;
  readonly key: readonly string[];
  readonly clock: string | null;
  readonly schema: StoredSchema;
  readonly watermark: string | null;
  readonly range?: { readonly from: string; readonly to: string };
}

/** Publishes a batch to an Iceberg table: all of it, in addition, or in place of a range. */
export function publishToIceberg(table: IcebergTable): Publish {
  return async (batch, check) => {
    const commit = batch.commit as unknown as Commit;
    if (commit.mode === "add" && commit.attempt === null) return;
    const { runId } = batch;
    const { schema, watermark } = commit;
    await commitOnce(table, { runId, schema, watermark }, check, (branch) => commitTo(table.spark, branch, commit));
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
  if (clock === undefined || from === undefined || to === undefined) return rows;
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
    const columns = schema.fields.map((field) => quoteName(field.name));
    const on = commit.key.map((column) => `t.${quoteName(column)} = s.${quoteName(column)}`).join(" AND ");
    const clock = quoteName(commit.clock ?? "");
    const newer = commit.clock === null ? "" : ` AND (t.${clock} IS NULL OR s.${clock} >= t.${clock})`;
    const set = columns.map((column) => `t.${column} = s.${column}`).join(", ");
    await spark.sql(
      `MERGE INTO ${target} AS t USING ${view} AS s ON ${on}
        WHEN MATCHED${newer} THEN UPDATE SET ${set}
        WHEN NOT MATCHED THEN INSERT (${columns.join(", ")}) VALUES (${columns.map((column) => `s.${column}`).join(", ")})`,
    );
  } finally {
    await spark.catalog.dropTempView(view).catch(() => false);
  }
}
