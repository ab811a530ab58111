import { ExitCode, UserError } from "../../lib/errors.js";
import {
  diff,
  duplicateKeys,
  duplicateKeysError,
  isDuplicateKey,
  keyText,
  type StoredRows,
} from "../../lib/glue/diff/index.js";
import { fixSession } from "../../lib/glue/incremental/index.js";
import type { JobContext } from "../../lib/glue/index.js";
import * as f from "../../lib/spark/functions/index.js";
import {
  type DataFrame,
  quoteName,
  SparkConnectError,
  type SparkSession,
  type StructType,
} from "../../lib/spark/index.js";
import type { FileFormat } from "./arguments.js";
import type { Cells } from "./cells.js";
import { tableText } from "./cluster.js";
import { foreignSchema, readFiles, readForeign, storedFiles, writeFiles } from "./files.js";
import {
  claimFolder,
  dataFiles,
  type Folder,
  holdsKeysOnce,
  inNewFolder,
  manifestSchema,
  openFolder,
} from "./folders.js";
import { staticColumns, withPartitionsGone } from "./partitions.js";

export interface IncrementalExportArguments {
  readonly KEYSPACE_NAME: string;
  readonly TABLE_NAME: string;
  readonly S3URI: string;
  readonly FORMAT: FileFormat;
  readonly DISTINCT_KEYS: readonly string[] | undefined;
  readonly PASTURI: string;
  readonly CURRENTURI: string;
  readonly values: "both" | "right";
  readonly duplicates: "fail" | "report" | "skip";
  readonly allow_empty: boolean;
  readonly allow_unmarked: boolean;
}

/**
 * Writes what changed between two exports to `<S3URI>/incremental/year=.../`.
 *
 * @returns the folder; `undefined` when it was only planned.
 */
export async function exportChanges(
  context: JobContext<IncrementalExportArguments>,
  label = tableText({ keyspace: context.args.KEYSPACE_NAME, table: context.args.TABLE_NAME }),
): Promise<string | undefined> {
  const { args, storage, step } = context;
  const name = { keyspace: args.KEYSPACE_NAME, table: args.TABLE_NAME };
  const report = context.report.table(label);
  const [past, current] = await step("look at the exports", async () => [
    await openFolder(storage, args.PASTURI, { what: "PASTURI", format: args.FORMAT, kind: "export" }),
    await openFolder(storage, args.CURRENTURI, { what: "CURRENTURI", format: args.FORMAT, kind: "export" }),
  ]);
  if (!args.allow_unmarked) checkMarked({ PASTURI: past, CURRENTURI: current });
  checkOrder(past, current);
  if (current.manifest?.rows === 0 && !args.allow_empty) {
    throw new UserError("EXPORT_EMPTY", `CURRENTURI has no rows: ${current.uri}`, {
      hint: "Every row would count as deleted. If that is meant, add --allow_empty",
    });
  }
  const keys = args.DISTINCT_KEYS ?? current.manifest?.keys ?? past.manifest?.keys;
  if (keys === undefined) {
    throw new UserError("KEYS_MISSING", "DISTINCT_KEYS is missing, and the exports have no manifest that names them", {
      hint: "Name the table's primary key: --DISTINCT_KEYS pk1,ck1",
      exitCode: ExitCode.usage,
    });
  }
  const spark = await context.spark({ locations: [args.S3URI, args.PASTURI, args.CURRENTURI] });
  await fixSession(spark);
  const sides = { left: "PASTURI", right: "CURRENTURI" };
  const [left, right] = await step("read the schemas", async () => [
    await readExport(context, spark, past, args.FORMAT, "PASTURI", current),
    await readExport(context, spark, current, args.FORMAT, "CURRENTURI", past),
  ]);
  // What cells have left differs between any two exports; a renewed one has another write time.
  const cells = { ...past.manifest?.cells, ...current.manifest?.cells };
  checkValues(args.values, cells);
  const duplicates = [past, current].every((folder) => holdsKeysOnce(folder, keys)) ? "skip" : args.duplicates;
  const compared = await diff(
    left.rows,
    right.rows,
    {
      keys,
      values: args.values,
      ignore: Object.values(cells).flatMap(({ ttl }) => ttl ?? []),
      duplicates: duplicates === "fail" ? "fail" : "pair",
    },
    {
      leftSchema: left.schema,
      rightSchema: right.schema,
      sides,
      // Nearly all rows are the same text on both sides.
      stored: left.texts && right.texts && { l: left.texts, r: right.texts },
    },
  );
  const { schemas, names } = compared;
  const statics = staticColumns(past, current);
  const changes =
    statics === undefined
      ? compared.rows
      : await withPartitionsGone(compared, left.rows, right.rows, statics, past.manifest?.cells);
  report.way = `a full outer join by ${schemas.keys.map((key) => key.name).join(", ")}`;
  const { added, dropped, widened } = schemas.differences;
  if (added.length + dropped.length + widened.length > 0) report.details.schemas = { added, dropped, widened };
  const checkBoth = () =>
    step("check the keys", async () => {
      await checkKeys(context, left.rows, keys, "PASTURI");
      await checkKeys(context, right.rows, keys, "CURRENTURI");
    });
  if (duplicates !== "skip" && !compared.failsOnDuplicates) await checkBoth();
  /** When the comparison met a key that isn't unique, it is found out which. */
  const telling = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      const aborted = error instanceof SparkConnectError && /Job aborted|TASK_WRITE_FAILED/.test(error.message);
      if (compared.failsOnDuplicates && (aborted || isDuplicateKey(error))) await checkBoth();
      throw error;
    }
  };
  const count = async (rows: DataFrame) => {
    const { insert, change, delete: gone } = names.labels;
    const kind = f.col(quoteName(names.diffColumn));
    // Without groups there is no exchange.
    const [counts] = await rows
      .agg(...[insert, change, gone].map((label) => f.count(f.when(kind.eqTo(label), f.lit(1))).as(label)))
      .collect();
    const of = (label: string) => Number(counts?.get(label) ?? 0);
    Object.assign(report, { inserted: of(insert), updated: of(change), deleted: of(gone) });
  };
  if (context.mode === "plan") {
    await telling(() => step("count", () => count(changes)));
    return undefined;
  }

  const schema = await changes.schema();
  const claimed = await step("claim a folder", () =>
    claimFolder(storage, args.S3URI, "incremental", {
      ...name,
      kind: "diff",
      runId: context.runId,
      format: args.FORMAT,
      keys: schemas.keys.map((key) => key.name),
      columns: schemas.values.map((column) => column.name),
      values: args.values,
      ...(Object.keys(cells).length === 0 ? {} : { cells }),
      ...(statics === undefined ? {} : { statics }),
      past: past.uri,
      current: current.uri,
      ...(current.manifest?.exportedAt === undefined ? {} : { exportedAt: current.manifest.exportedAt }),
      ...(current.manifest?.finishedAt === undefined ? {} : { exportedUntil: current.manifest.finishedAt }),
      ...(past.manifest?.exportedAt === undefined ? {} : { pastExportedAt: past.manifest.exportedAt }),
    }),
  );
  report.target = claimed.uri;
  await inNewFolder(context, claimed, async () => {
    await telling(() => step("write the changes", () => writeFiles(changes, schema, claimed.uri, args.FORMAT)));
    const uris = await dataFiles(storage, claimed.uri);
    if (uris.length > 0) await step("count", () => count(readFiles(spark, uris, schema, args.FORMAT)));
    const { inserted, updated, deleted } = report;
    return { rowSchema: schema, rows: inserted + updated + deleted, counts: { inserted, updated, deleted } };
  });
  return claimed.uri;
}

/** What would make rows look deleted or new that aren't. */
function checkOrder(past: Folder, current: Folder): void {
  const [before, after] = [past.manifest, current.manifest];
  if (before === undefined || after === undefined) return;
  if (before.keyspace !== after.keyspace || before.table !== after.table) {
    throw new UserError("EXPORTS_UNLIKE", "The exports are of two tables", {
      problems: [`PASTURI: ${tableText(before)}`, `CURRENTURI: ${tableText(after)}`],
      hint: "Name two exports of one table",
      exitCode: ExitCode.configuration,
    });
  }
  if (before.where !== after.where) {
    throw new UserError("EXPORTS_UNLIKE", "The exports are of different parts of the table", {
      problems: [`PASTURI: ${before.where ?? "every row"}`, `CURRENTURI: ${after.where ?? "every row"}`],
      hint: "Rows that only one of them was to have would count as deleted or new: name exports with the same --WHERE",
      exitCode: ExitCode.configuration,
    });
  }
  const [earlier, later] = [before, after].map(({ exportedAt, startedAt }) => exportedAt ?? startedAt) as [
    string,
    string,
  ];
  if (Date.parse(earlier) >= Date.parse(later)) {
    throw new UserError("EXPORTS_REVERSED", "PASTURI is not older than CURRENTURI", {
      problems: [`PASTURI: ${earlier}`, `CURRENTURI: ${later}`],
      hint: "Name the older export with --PASTURI and the newer one with --CURRENTURI",
      exitCode: ExitCode.usage,
    });
  }
}

/** An export of which a part is missing makes the rows of that part look deleted, or new. */
function checkMarked(exports: Readonly<Record<string, Folder>>): void {
  const unmarked = Object.entries(exports).filter(([, { isMarked }]) => !isMarked);
  if (unmarked.length === 0) return;
  throw new UserError("EXPORT_UNMARKED", "Nothing says that the exports are complete", {
    problems: unmarked.map(([what, { uri }]) => `${what}: ${uri} has neither a manifest of ours nor Spark's _SUCCESS`),
    hint: "Rows that one of them lacks would count as deleted or new. If all files are there, add --allow_unmarked",
    exitCode: ExitCode.configuration,
  });
}

/** A cell that became NULL is cleared only where there was something: later values may be older than this export. */
function checkValues(values: "both" | "right", cells: Cells): void {
  if (values === "both" || Object.values(cells).every(({ writetime }) => writetime === undefined)) return;
  throw new UserError("ARGUMENTS_INVALID", "--values right can't be used", {
    problems: ["the exports keep the write times of cells, and imports then need the old values, too"],
    hint: "Leave --values out, or export without --KEEP writetime",
    exitCode: ExitCode.usage,
  });
}

async function readExport(
  context: JobContext<unknown>,
  spark: SparkSession,
  folder: Folder,
  format: FileFormat,
  what: string,
  other: Folder,
): Promise<{ readonly rows: DataFrame; readonly schema: StructType; readonly texts?: StoredRows }> {
  const uris = folder.files.map(({ uri }) => uri);
  const known = manifestSchema(folder);
  if (known !== undefined) {
    const texts = format === "csv" ? { texts: storedFiles(spark, uris, known, format) } : {};
    if (uris.length > 0) return { rows: readFiles(spark, uris, known, format), schema: known, ...texts };
    return { rows: await spark.createDataFrame([], known), schema: known };
  }
  if (format !== "parquet") {
    const like = manifestSchema(other) === undefined ? "both sides as Spark finds them" : "found by Spark";
    context.report.warn(
      "SCHEMA_INFERRED",
      `${what} has no manifest of ours: its types are ${like}; ${format === "csv" ? "CSV's columns are all text, and its empty cells NULL" : "a column that is NULL in every row counts as missing"}`,
    );
  }
  const schema = await foreignSchema(spark, uris, format, "as Spark finds them");
  return { rows: readForeign(spark, uris, format, schema), schema };
}

async function checkKeys(
  context: JobContext<IncrementalExportArguments>,
  rows: DataFrame,
  keys: readonly string[],
  what: string,
): Promise<void> {
  const found = await duplicateKeys(rows, keys);
  if (found.keys === 0) return;
  if (context.args.duplicates === "fail") throw duplicateKeysError(found, keys, what);
  const examples = found.examples.map(({ key, rows: copies }) => `${keyText(key)} (${copies} rows)`).join("; ");
  context.report.warn("DUPLICATE_KEYS", `${found.keys} keys have more than one row in ${what}: ${examples}`);
}
