import { randomBytes } from "node:crypto";
import { UserError } from "../../lib/errors.js";
import {
  commitOnce,
  fitted,
  type IcebergBranch,
  type IcebergCatalog,
  icebergCatalog,
  readAttempt,
  type StoredSchema,
  watermarkOfTable,
} from "../../lib/glue/incremental/index.js";
import * as f from "../../lib/spark/functions/index.js";
import { type DataFrame, quoteName, type SparkSession, simpleString } from "../../lib/spark/index.js";
import { type JsonValue, type ObjectStore, type Publish, publishFiles, type Step } from "../../lib/storage/index.js";
import { BATCH_AT, DELETED } from "./columns.js";
import type { Decision } from "./decision.js";
import type { CommittedBatch, TableOutput } from "./output.js";
import type { Details, Watermark } from "./state.js";

/** What a batch says of its publication; part of the redo log, so that any run can do it. */
interface Commit {
  /** The table's database in Glue; missing in a redo log of an earlier release. */
  readonly database?: string;
  readonly replace: "all" | "range" | "none";
  /** Folder of the batch's rows; `null`: there are none. */
  readonly attempt: string | null;
  readonly key: readonly string[];
  readonly schema: StoredSchema;
  /** The state's watermark as JSON, for the snapshot's properties. */
  readonly watermark: string | null;
  /** With `range`: SQL condition on the rows that go. */
  readonly range: string | null;
  /** The run whose batch it adds to; `null`: there is none. Batches that an earlier release has left don't say. */
  readonly after?: string | null;
}

/**
 * An Iceberg table as the output: with a key it holds the latest row of each, without one every row that was delivered. A batch
 * is some commits on a branch; main moves over all of them at once.
 */
export function icebergOutput(
  spark: SparkSession,
  catalog: IcebergCatalog,
  table: string,
  { database, yes }: { readonly database: string; readonly yes: boolean },
): TableOutput {
  const name = catalog.table(table);
  const last = () => watermarkOfTable(spark, catalog, table);
  // As it was when it was decided what to load.
  let after: string | null = null;
  return {
    target: name,
    partitioned: false,
    async lastBatch() {
      const batch = await last();
      after = batch?.runId ?? null;
      if (batch === undefined) return undefined;
      const watermark = batch.watermark === undefined ? null : (JSON.parse(batch.watermark) as Watermark);
      return { runId: batch.runId, watermark };
    },
    checkShape: (details) => checkShape(spark, name, details),
    async filesToRemove(decision, first) {
      if (decision.kind === "full" && first && !yes && (await hasRows(spark, name)) && (await last()) === undefined) {
        throw new UserError("OUTPUT_NOT_EMPTY", `${name} has rows, and nothing is known of them`, {
          hint: "Give another --s3_output_path, restore max_timestamps.csv, or replace them with --yes",
        });
      }
      return [];
    },
    commit: (batch) => commitOf(batch, database, after) as unknown as JsonValue,
  };
}

/** What Iceberg can make of a column's type without touching a row. */
function fits(present: string, wanted: string): boolean {
  if (present === wanted) return true;
  if (present === "int" && wanted === "bigint") return true;
  if (present === "float" && wanted === "double") return true;
  const [from, to] = [present, wanted].map((type) => /^decimal\((\d+),(\d+)\)$/.exec(type));
  return from != null && to != null && from[2] === to[2] && Number(to[1]) >= Number(from[1]);
}

async function checkShape(spark: SparkSession, table: string, { columns }: Details): Promise<void> {
  if (!(await spark.catalog.tableExists(table))) return;
  const { fields } = await spark.table(table).schema();
  const present = new Map(fields.map(({ name, dataType }) => [name.toLowerCase(), simpleString(dataType)]));
  const problems = columns.flatMap(({ name, type }) => {
    const was = present.get(name.toLowerCase());
    return was === undefined || fits(was, type) ? [] : [`column ${name} is ${was} there, and ${type} in the source`];
  });
  if (problems.length === 0) return;
  throw new UserError("SCHEMA_INCOMPATIBLE", `${table} can't hold the rows as they are now`, {
    problems,
    hint: "Iceberg widens types only. Rename or drop the column there, or drop the table: then it is loaded afresh",
  });
}

async function hasRows(spark: SparkSession, table: string): Promise<boolean> {
  if (!(await spark.catalog.tableExists(table))) return false;
  return (await spark.table(table).limit(1).count()) > 0;
}

function commitOf({ plan, attempt, watermark }: CommittedBatch, database: string, after: string | null): Commit {
  const { decision, details, clock, columns } = plan;
  const type = columns.find(({ name }) => name === clock.name)?.type.kind ?? "";
  const replaced = replacedTimes(decision);
  return {
    database,
    replace: decision.kind === "full" ? "all" : replaced === undefined ? "none" : "range",
    attempt,
    key: details.key,
    schema: [
      ...details.columns.map(({ name, type: columnType }) => [name, columnType] as const),
      [BATCH_AT, "timestamp"],
      [DELETED, "boolean"],
    ],
    watermark: watermark === null ? null : JSON.stringify(watermark),
    range: replaced === undefined ? null : rangeSql(clock.name, type, replaced),
    after: decision.kind === "full" ? null : after,
  };
}

function replacedTimes(decision: Decision): { readonly from: bigint; readonly to: bigint | undefined } | undefined {
  if (decision.kind === "backfill") return decision;
  if (decision.kind === "changes" && decision.replaceFrom !== undefined) {
    return { from: decision.replaceFrom, to: undefined };
  }
  return undefined;
}

/** Spark SQL: rows with a time in a range, and not those that mark a key as gone. */
function rangeSql(
  clock: string,
  type: string,
  { from, to }: { readonly from: bigint; readonly to: bigint | undefined },
): string {
  const micros = microsSql(quoteName(clock), type);
  const end = to === undefined ? "" : ` AND ${micros} <= ${to}`;
  return `${micros} >= ${from}${end} AND NOT COALESCE(${DELETED}, false)`;
}

function microsSql(column: string, type: string): string {
  switch (type) {
    case "timestamp":
      return `unix_micros(${column})`;
    case "timestamp_ntz":
    case "date":
      return `unix_micros(CAST(${column} AS TIMESTAMP))`;
    default: {
      const number = `CAST(${column} AS BIGINT)`;
      return `CASE WHEN abs(${number}) < 100000000000 THEN ${number} * 1000000 WHEN abs(${number}) < 100000000000000 THEN ${number} * 1000 ELSE ${number} END`;
    }
  }
}

/** What publishing one table's batches takes. */
export interface PublishPlace {
  /** Opened when a batch goes to an Iceberg table. */
  readonly spark: () => Promise<SparkSession>;
  readonly store: ObjectStore;
  /** Folder of all tables. */
  readonly output: string;
  /** Database of the Iceberg tables for a batch that doesn't say it. */
  readonly database: string;
  readonly table: string;
  readonly step: Step;
}

/**
 * Publishes a batch in the format that it was made for, whatever the format of the run that finishes it: without a commit its
 * files are moved, with one its rows go to an Iceberg table.
 */
export function publishBatch({ spark: open, store, output, database, table, step }: PublishPlace): Publish {
  const files = publishFiles(store, step);
  return async (batch, check) => {
    const commit = batch.commit as unknown as Commit | null;
    if (commit === null) return await files(batch, check);
    const { runId } = batch;
    const { schema, watermark, after = null } = commit;
    const spark = await open();
    const catalog = await icebergCatalog(spark, output, commit.database ?? database);
    // Also a batch without rows is committed: the table says which one is its last.
    await commitOnce({ spark, catalog, table, step }, { runId, schema, watermark, after }, check, (branch) =>
      commitTo(spark, branch, commit),
    );
  };
}

async function commitTo(spark: SparkSession, branch: IcebergBranch, commit: Commit): Promise<void> {
  const types = commit.schema.map(([column, type]) => `${quoteName(column)} ${type}`).join(", ");
  const none = fitted(spark.range(0), [], branch.schema);
  const rows =
    commit.attempt === null
      ? undefined
      : fitted(readAttempt(spark, commit.attempt, types), commit.schema, branch.schema);
  if (commit.replace === "all") {
    await branch.write(rows ?? none).overwrite(f.lit(true));
    return;
  }
  if (commit.range !== null) await spark.sql(`DELETE FROM ${branch.name} WHERE ${commit.range}`);
  if (rows === undefined || commit.key.length === 0) {
    await branch.write(rows ?? none).append();
    return;
  }
  await merge(spark, branch, commit.key, rows);
  // A MERGE can't be given properties; the commit after it carries them, and main moves over all of them at once.
  await branch.write(none).append();
}

/** Each batch is of a later snapshot of the database than those before it, so its rows win whatever their time. */
async function merge(
  spark: SparkSession,
  { name, schema }: IcebergBranch,
  key: readonly string[],
  rows: DataFrame,
): Promise<void> {
  const view = `glue_connect_batch_${randomBytes(8).toString("hex")}`;
  await rows.createOrReplaceTempView(view);
  try {
    const columns = schema.fields.map((field) => quoteName(field.name));
    const on = key.map((column) => `t.${quoteName(column)} = s.${quoteName(column)}`).join(" AND ");
    await spark.sql(
      `MERGE INTO ${name} AS t USING ${view} AS s ON ${on}
        WHEN MATCHED AND s.${DELETED} THEN UPDATE SET t.${DELETED} = true, t.${BATCH_AT} = s.${BATCH_AT}
        WHEN MATCHED THEN UPDATE SET ${columns.map((column) => `t.${column} = s.${column}`).join(", ")}
        WHEN NOT MATCHED AND NOT s.${DELETED} THEN INSERT (${columns.join(", ")}) VALUES (${columns.map((column) => `s.${column}`).join(", ")})`,
    );
  } finally {
    await spark.catalog.dropTempView(view).catch(() => false);
  }
}
