import { ExitCode, UserError } from "../../lib/errors.js";
import { fixSession } from "../../lib/glue/incremental/index.js";
import type { JobContext } from "../../lib/glue/index.js";
import {
  clusterText,
  deleteStatement,
  updateStatement,
  type WriteSettings,
  type WriteTimes,
} from "../../lib/keyspaces/index.js";
import * as f from "../../lib/spark/functions/index.js";
import { type DataFrame, quoteName, type SparkSession } from "../../lib/spark/index.js";
import { type FileFormat, writeTime } from "./arguments.js";
import { keptCells } from "./cells.js";
import { type ClusterArguments, checkKeyTypes, openTarget, tableText } from "./cluster.js";
import { type ColumnPlan, columnsOf, LIST, type TableWrite } from "./columns.js";
import { readFiles, readForeign } from "./files.js";
import { type Folder, type Manifest, openFolder } from "./folders.js";
import { ListTimes } from "./list-times.js";
import { ImportProgress } from "./progress.js";
import { writerOf } from "./writer.js";

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
  readonly RESUME: boolean;
}

/**
 * Brings files into a table: every row of an export, or the changes of an incremental one. Inserts and changes are upserts, with NULL
 * for cells that became NULL; deletes are deletes. Whatever is done twice has the same outcome.
 *
 * @throws UserError what {@link openTarget}, {@link openFolder} and {@link columnsOf} throw, `KEY_TYPE_UNSUPPORTED`, `KEYS_NULL`,
 *   `DIFF_UNKNOWN`, `ARGUMENTS_INVALID`.
 */
export async function importFiles(
  context: JobContext<ImportArguments>,
  kind: Manifest["kind"],
  label = tableText({ keyspace: context.args.KEYSPACE_NAME, table: context.args.TABLE_NAME }),
): Promise<void> {
  const { args, storage, step, report: run } = context;
  const name = { keyspace: args.KEYSPACE_NAME, table: args.TABLE_NAME };
  const report = run.table(label);
  const pace: WriteSettings = args.RATE_LIMIT === undefined ? {} : { rowsPerSecond: args.RATE_LIMIT };
  const settings = { ...pace, retries: args.RETRIES };
  const folder = await step("look at the files", () =>
    openFolder(storage, args.S3URI, { what: "S3URI", format: args.FORMAT, kind }),
  );
  const timestamp = writeTimestamp(args.WRITE_TIMESTAMP, folder);
  const spark = await context.spark({ locations: [args.S3URI] });
  await fixSession(spark);
  await using target = await step("look at the table", () => openTarget(context, spark, args, name));
  const { table } = target;
  checkKeyTypes(table);
  report.target = `${clusterText(target.connection)}/${tableText(name)}`;
  if (!folder.isMarked) {
    run.warn("FILES_UNMARKED", `Nothing says that the files in ${folder.uri} are complete: no manifest, no _SUCCESS`);
  }
  const plan = await step("match the columns", () => columnsOf(context, spark, target, folder, kind, timestamp));
  if (table.defaultTtl > 0 && !keptCells(folder).expiring) {
    run.warn(
      "DEFAULT_TTL_UNUSED",
      `The table has rows expire after ${table.defaultTtl} s; what is imported stays, as the files say nothing of TTLs (--KEEP ttl)`,
    );
  }
  const times = timestamp === undefined ? {} : { timestamp };
  const writer = await writerOf(context, spark, target, { ...settings, ...times });
  report.way = kind === "export" ? "every row written" : "changes written, deleted rows deleted";
  report.reason = writer.sink
    ? "on the executors"
    : "upserts on the executors; deletes, lists and static columns from this process, as the Spark server has no sink of ours";

  if (context.mode === "plan") {
    if (folder.files.length === 0) return;
    Object.assign(report, await step("count", () => countKinds(plan, readRows(spark, folder, folder.files, plan))));
    return;
  }
  // A cluster has several names, a table one id.
  const which = table.id ?? report.target;
  const listTimes = await ListTimes.open(storage, folder, which, timestamp);
  const hasLists = table.columns.some(({ code, elements }) => code === LIST && elements);
  if (hasLists && !listTimes.isSure) {
    run.warn(
      "LISTS_MAY_DOUBLE",
      `Nothing says which lists were written with the timestamp ${timestamp} before, but by imports of ${folder.uri} itself: elements that others of that very time have are added to`,
    );
  }
  const progress = await ImportProgress.open(storage, folder, `${which} ${timestamp ?? "none"}`, args.RESUME);
  if (progress.filesDone > 0) report.details.resumed = `${progress.filesDone} files were in already`;
  const batches = progress.batches(folder.files, args.BATCH_MB * 1024 * 1024);
  if (batches.length === 0) return progress.finish();
  // All of it before the first write: it tells whether the rows make sense.
  const counts = await step("count", () => countKinds(plan, readRows(spark, folder, batches.flat(), plan)));
  const upsert = async ({ of, rows, values, lists, ttl, writetime }: TableWrite) => {
    if (of === "rows" && !lists) {
      const options = { ...(ttl === undefined ? {} : { ttl }), ...(writetime === undefined ? {} : { writetime }) };
      return writer.upsert(rows, options);
    }
    const written = { keys: of === "rows" ? table.primaryKey : table.partitionKey, values };
    const own = { ...times, ...(ttl === undefined ? {} : { ttl }), ...(writetime === undefined ? {} : { writetime }) };
    if (!lists) return writer.execute(rows, async () => updateStatement(table, written, timesOf(own)));
    return writer.execute(rows, async () =>
      updateStatement(table, written, { ...timesOf(own), timestamp: await listTimes.next() }, "lists"),
    );
  };
  const goneTimes = plan.goneAt === undefined ? times : { timestamp: plan.goneAt };
  // What there is none of needs no look at the files.
  const [someWritten, someGone] = [counts.inserted + counts.updated > 0, counts.deleted > 0];
  if (plan.staticDeletes !== undefined && someGone) {
    const gone = plan.staticDeletes(readRows(spark, folder, folder.files, plan));
    const values = table.columns.filter((column) => column.kind === "static").map((column) => column.name);
    const statement = deleteStatement(table, { keys: table.partitionKey, values }, goneTimes);
    await step("delete static columns", () => writer.execute(gone, async () => statement));
  }
  for (const [index, files] of batches.entries()) {
    const number = batches.length === 1 ? "" : ` ${index + 1} of ${batches.length}`;
    const rows = readRows(spark, folder, files, plan);
    await step(`write${number}`, async () => {
      for (const write of someWritten ? plan.upserts(rows) : []) await upsert(write);
    });
    if (plan.deletes !== undefined) {
      const gone = plan.deletes(rows);
      const statement = deleteStatement(table, { keys: table.primaryKey, values: [] }, goneTimes);
      await step(`delete${number}`, async () => {
        if (!someGone) return;
        await (plan.goneAt === undefined ? writer.delete(gone) : writer.execute(gone, async () => statement));
      });
    }
    await progress.note(files);
  }
  Object.assign(report, counts);
  await progress.finish();
}

/** A write time takes the place of the timestamp. */
function timesOf({ timestamp, ttl, writetime }: WriteTimes & { readonly writetime?: string }): WriteTimes {
  const at = writetime ?? timestamp;
  return { ...(at === undefined ? {} : { timestamp: at }), ...(ttl === undefined ? {} : { ttl }) };
}

function readRows(spark: SparkSession, folder: Folder, files: Folder["files"], plan: ColumnPlan): DataFrame {
  const uris = files.map(({ uri }) => uri);
  if (plan.isOurs) return readFiles(spark, uris, plan.schema, plan.format);
  return readForeign(spark, uris.length === 0 ? [folder.uri] : uris, plan.format, plan.schema);
}

async function countKinds({ diffColumn, check, hasNoKey, wentBack }: ColumnPlan, rows: DataFrame) {
  const kind = diffColumn === undefined ? f.lit("I") : f.col(quoteName(diffColumn));
  const found = await rows
    .groupBy(kind.as("kind"))
    .agg(
      f.count(f.lit(1)).as("count"),
      f.count(f.when(hasNoKey, f.lit(1))).as("keyless"),
      ...(wentBack === undefined ? [] : [f.count(f.when(wentBack, f.lit(1))).as("back")]),
      ...(check === undefined ? [] : [f.max(f.length(check)).as("checked")]),
    )
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
  const sumOf = (name: string) => found.reduce((sum, row) => sum + Number(row.get(name)), 0);
  const back = wentBack === undefined ? 0 : sumOf("back");
  if (back > 0) {
    throw new UserError(
      "WRITE_TIMES_OLDER",
      `${back} rows have cells that are older than they were in the export before`,
      {
        hint: "The table was likely restored from a backup. What is older loses in the target: make it anew, and import everything. Nothing was written",
        exitCode: ExitCode.configuration,
      },
    );
  }
  const keyless = sumOf("keyless");
  if (keyless > 0) {
    throw new UserError("KEYS_NULL", `${keyless} rows of the files have NULL in a column of the key`, {
      hint: "No row of a table can have that; nothing was written",
      exitCode: ExitCode.configuration,
    });
  }
  return {
    read: [...counts.values()].reduce((sum, count) => sum + count, 0),
    inserted: of("I"),
    updated: of("C"),
    deleted: of("D"),
  };
}

/** Microseconds since 1970. */
function writeTimestamp(given: string, folder: Folder): bigint | undefined {
  const { manifest, uri } = folder;
  // Beside cells that are as old as they were in the source, what is cleared and deleted needs its time, too.
  const text = given === "none" && keptCells(folder).timed ? "export" : given;
  if (text === "none") return undefined;
  const time = text === "export" ? manifest?.exportedAt : text;
  const millis = time === undefined ? undefined : writeTime(time);
  if (millis !== undefined) return BigInt(millis) * 1000n;
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
