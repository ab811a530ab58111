import { ExitCode, UserError } from "../../lib/errors.js";
import { fixSession } from "../../lib/glue/incremental/index.js";
import type { JobContext } from "../../lib/glue/index.js";
import { clusterText, type WriteSettings } from "../../lib/keyspaces/index.js";
import * as f from "../../lib/spark/functions/index.js";
import { type DataFrame, quoteName, type SparkSession } from "../../lib/spark/index.js";
import type { FileFormat } from "./arguments.js";
import { keptCells } from "./cells.js";
import { type ClusterArguments, openTarget, tableText } from "./cluster.js";
import { type ColumnPlan, columnsOf } from "./columns.js";
import { readFiles, readForeign } from "./files.js";
import { type Folder, type Manifest, openFolder } from "./folders.js";
import { ImportProgress } from "./progress.js";
import { writerOf } from "./writer.js";

/** The driver's code of lists. */
const LIST = 32;

export interface ImportArguments extends ClusterArguments {
  readonly KEYSPACE_NAME: string;
  readonly TABLE_NAME: string;
  readonly S3URI: string;
  readonly FORMAT: FileFormat;
  readonly DISTINCT_KEYS: readonly string[] | undefined;
  readonly WRITE_TIMESTAMP: string;
  readonly RATE_LIMIT: number | undefined;
  readonly RETRIES: number;
  readonly BATCH_MB: number;
}

/**
 * Brings files into a table: every row of an export, or the changes of an incremental one. Inserts and changes are upserts, with NULL
 * for cells that became NULL; deletes are deletes. Whatever is done twice has the same outcome.
 */
export async function importFiles(
  context: JobContext<ImportArguments>,
  kind: Manifest["kind"],
  label = tableText({ keyspace: context.args.KEYSPACE_NAME, table: context.args.TABLE_NAME }),
): Promise<void> {
  const { args, storage, step, report: run } = context;
  const name = { keyspace: args.KEYSPACE_NAME, table: args.TABLE_NAME };
  const report = run.table(label);
  const settings = { ...writeSettings(args), retries: args.RETRIES };
  const folder = await step("look at the files", () =>
    openFolder(storage, args.S3URI, { what: "S3URI", format: args.FORMAT, kind }),
  );
  const timestamp = writeTimestamp(args.WRITE_TIMESTAMP, folder);
  const spark = await context.spark({ locations: [args.S3URI] });
  await fixSession(spark);
  await using target = await step("look at the table", () => openTarget(context, spark, args, name));
  report.target = `${clusterText(target.connection)}/${tableText(name)}`;
  const plan = await step("match the columns", () => columnsOf(context, spark, target, folder, kind));
  const lists = target.table.columns.filter(({ code, elements }) => elements && code === LIST);
  if (timestamp !== undefined && lists.length > 0) {
    run.warn(
      "LISTS_WITHOUT_TIMESTAMP",
      `Lists written twice with one timestamp have all elements twice, so the cluster's time is used: ${lists.map((column) => column.name).join(", ")}`,
    );
  }
  const writer = await writerOf(context, spark, target, {
    ...settings,
    ...(timestamp === undefined || lists.length > 0 ? {} : { timestamp }),
  });
  report.way = kind === "export" ? "every row written" : "changes written, deleted rows deleted";
  report.reason = writer.sink
    ? "on the executors"
    : "upserts on the executors; deletes from this process, as the Spark server has no sink of ours";

  if (context.mode === "plan") {
    if (folder.files.length === 0) return;
    const counts = await step("count", async () =>
      countKinds(plan, await readBatch(spark, folder, folder.files, plan)),
    );
    Object.assign(report, counts);
    return;
  }
  const progress = await ImportProgress.open(storage, folder, `${report.target} ${args.WRITE_TIMESTAMP}`);
  if (progress.filesDone > 0) report.details.resumed = `${progress.filesDone} files were in already`;
  const batches = progress.batches(folder.files, args.BATCH_MB * 1024 * 1024);
  if (batches.length === 0) return progress.finish();
  // All of it before the first write: it tells whether the rows make sense.
  const counts = await step("count", async () =>
    countKinds(plan, await readBatch(spark, folder, batches.flat(), plan)),
  );
  for (const [index, files] of batches.entries()) {
    const which = batches.length === 1 ? "" : ` ${index + 1} of ${batches.length}`;
    const rows = await readBatch(spark, folder, files, plan);
    await step(`write${which}`, async () => {
      for (const write of plan.upserts(rows)) await writer.upsert(write.rows, write.options);
    });
    if (plan.deletes !== undefined) {
      const gone = plan.deletes(rows);
      await step(`delete${which}`, () => writer.delete(gone));
    }
    await progress.note(files);
  }
  Object.assign(report, counts);
  await progress.finish();
}

async function readBatch(
  spark: SparkSession,
  folder: Folder,
  files: Folder["files"],
  plan: ColumnPlan,
): Promise<DataFrame> {
  const uris = files.map(({ uri }) => uri);
  if (plan.schema !== undefined) return readFiles(spark, uris, plan.schema, plan.format);
  return (await readForeign(spark, uris.length === 0 ? [folder.uri] : uris, plan.format)).rows;
}

async function countKinds({ diffColumn, check }: ColumnPlan, rows: DataFrame) {
  const kind = diffColumn === undefined ? f.lit("I") : f.col(quoteName(diffColumn));
  const found = await rows
    .groupBy(kind.as("kind"))
    .agg(f.count(f.lit(1)).as("count"), ...(check === undefined ? [] : [f.max(f.length(check)).as("checked")]))
    .collect();
  const counts = new Map(found.map((row) => [row.get("kind") as string | null, Number(row.get("count"))]));
  const of = (kind: string) => counts.get(kind) ?? 0;
  const unknown = [...counts.keys()].filter((kind) => kind === null || !"ICDN".includes(kind));
  if (unknown.length > 0) {
    throw new UserError(
      "DIFF_UNKNOWN",
      `The column ${diffColumn} holds ${unknown.map((kind) => JSON.stringify(kind)).join(", ")}`,
      {
        hint: "It can hold I, C, D and N",
      },
    );
  }
  return {
    read: [...counts.values()].reduce((sum, count) => sum + count, 0),
    inserted: of("I"),
    updated: of("C"),
    deleted: of("D"),
  };
}

function writeSettings({ RATE_LIMIT, RETRIES, BATCH_MB }: ImportArguments): WriteSettings {
  const problems = [
    ...(RATE_LIMIT === undefined || RATE_LIMIT > 0 ? [] : ["--RATE_LIMIT must be more than 0"]),
    ...(RETRIES >= 0 ? [] : ["--RETRIES must be 0 or more"]),
    ...(BATCH_MB > 0 ? [] : ["--BATCH_MB must be more than 0"]),
  ];
  if (problems.length > 0) {
    throw new UserError("ARGUMENTS_INVALID", "Arguments are wrong", { problems, exitCode: ExitCode.usage });
  }
  return RATE_LIMIT === undefined ? {} : { rowsPerSecond: RATE_LIMIT };
}

/** Microseconds since 1970. */
function writeTimestamp(given: string, folder: Folder): bigint | undefined {
  const { manifest, uri } = folder;
  // Beside cells that are as old as they were in the source, what is cleared and deleted needs its time, too.
  const text = given === "none" && keptCells(folder).timed ? "export" : given;
  if (text === "none") return undefined;
  const time = text === "export" ? manifest?.exportedAt : text;
  const millis =
    time === undefined || !/^\d{4}-\d\d-\d\dT.*(Z|[+-]\d\d:\d\d)$/.test(time) ? Number.NaN : Date.parse(time);
  if (!Number.isNaN(millis)) return BigInt(millis) * 1000n;
  throw new UserError("ARGUMENTS_INVALID", "--WRITE_TIMESTAMP can't be used", {
    problems: [
      text === "export"
        ? `${uri} has no manifest of ours that says when it was exported`
        : `it is ${JSON.stringify(text)}`,
    ],
    hint: "Give none, export, or a time with its zone: 2026-01-31T10:00:00Z",
    exitCode: ExitCode.usage,
  });
}
