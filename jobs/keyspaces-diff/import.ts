import { ExitCode, UserError } from "../../lib/errors.js";
import { commonType, diffNames } from "../../lib/glue/diff/index.js";
import { fixSession } from "../../lib/glue/incremental/index.js";
import type { JobContext } from "../../lib/glue/index.js";
import {
  CONNECTOR_FORMAT,
  clusterText,
  deleteFromHere,
  SINK_FORMAT,
  type WriteSettings,
  writeOptions,
} from "../../lib/keyspaces/index.js";
import * as f from "../../lib/spark/functions/index.js";
import {
  type DataFrame,
  type DataType,
  quoteName,
  type SparkSession,
  type StructType,
  sameType,
  simpleString,
  types,
} from "../../lib/spark/index.js";
import type { FileFormat } from "./arguments.js";
import { type ClusterArguments, hasSink, openTarget, type Target, tableText } from "./cluster.js";
import { checkedCast } from "./encoding.js";
import { readFiles, readForeign } from "./files.js";
import { type Folder, type Manifest, manifestSchema, openFolder } from "./folders.js";
import { ImportProgress } from "./progress.js";
import { withRetries } from "./retries.js";

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
  const writer = await writerOf(context, spark, target, {
    ...settings,
    ...(timestamp === undefined ? {} : { timestamp }),
  });
  report.way = kind === "export" ? "every row written" : "changes written, deleted rows deleted";
  report.reason = writer.sink
    ? "on the executors"
    : "upserts on the executors; deletes from this process, as the Spark server has no sink of ours";

  if (context.mode === "plan") {
    if (folder.files.length === 0) return;
    await step("count", async () => {
      const counts = await countKinds(plan, readBatch(spark, folder, folder.files, plan));
      Object.assign(report, counts);
    });
    return;
  }
  const progress = await ImportProgress.open(storage, folder, `${report.target} ${args.WRITE_TIMESTAMP}`);
  if (progress.filesDone > 0) report.details.resumed = `${progress.filesDone} files were in already`;
  const batches = progress.batches(folder.files, args.BATCH_MB * 1024 * 1024);
  for (const [index, files] of batches.entries()) {
    const which = batches.length === 1 ? "" : ` ${index + 1} of ${batches.length}`;
    const rows = readBatch(spark, folder, files, plan);
    // First, because it tells whether the rows make sense.
    const counts = await step(`count${which}`, () => countKinds(plan, rows));
    await step(`write${which}`, () => writer.upsert(plan.upserts(rows)));
    if (plan.deletes !== undefined) {
      const gone = plan.deletes(rows);
      await step(`delete${which}`, () => writer.delete(gone));
    }
    report.read += counts.read;
    report.inserted += counts.inserted;
    report.updated += counts.updated;
    report.deleted += counts.deleted;
    await progress.note(files);
  }
  await progress.finish();
}

/** How the files' columns become the table's. */
interface ColumnPlan {
  /** The schema to read our own files with; `undefined`: as Spark finds it. */
  readonly schema: StructType | undefined;
  readonly format: FileFormat;
  readonly diffColumn: string | undefined;
  upserts(rows: DataFrame): DataFrame;
  readonly deletes: ((rows: DataFrame) => DataFrame) | undefined;
}

async function columnsOf(
  context: JobContext<ImportArguments>,
  spark: SparkSession,
  target: Target,
  folder: Folder,
  kind: Manifest["kind"],
): Promise<ColumnPlan> {
  const { args } = context;
  const { table } = target;
  const name = tableText(table);
  const known = manifestSchema(folder);
  const format = args.FORMAT;
  const uris = folder.files.map(({ uri }) => uri);
  const schema = known ?? (await readForeign(spark, uris, format).schema());
  const tableSchema = target.schema;
  const keys = args.DISTINCT_KEYS ?? folder.manifest?.keys ?? table.primaryKey;
  const problems: string[] = [];
  if (!sameNames(keys, table.primaryKey)) {
    problems.push(`the keys are (${keys.join(", ")}), the primary key of ${name} is (${table.primaryKey.join(", ")})`);
  }
  const values =
    folder.manifest?.columns ?? table.columns.map((column) => column.name).filter((c) => !keys.includes(c));
  const names =
    kind === "diff"
      ? diffNames(keys, values, folder.manifest?.values === "right" ? { values: "right" } : {})
      : undefined;
  const has = new Map(schema.fields.map((field) => [field.name.toLowerCase(), field]));
  if (names !== undefined && !has.has(names.diffColumn.toLowerCase())) {
    problems.push(`the column ${names.diffColumn}, which says what is to be done with a row, is missing in the files`);
  }
  const columns = tableSchema.fields.flatMap(({ name: column, dataType }) => {
    const isKey = table.primaryKey.includes(column);
    const from = isKey || names === undefined ? column : names.right(column);
    const field = has.get(from.toLowerCase());
    if (field !== undefined) {
      const value = converted(f.col(quoteName(field.name)), field.dataType, dataType);
      if (value === undefined) {
        problems.push(
          `${field.name} is ${simpleString(field.dataType)} in the files and ${simpleString(dataType)} in ${name}`,
        );
        return [];
      }
      return [{ column, isKey, value }];
    }
    if (isKey) problems.push(`the key column ${column} is missing in the files`);
    return [];
  });
  const wanted = names === undefined ? schema.fields.map((field) => field.name) : values;
  const inTable = new Set(tableSchema.fields.map((field) => field.name.toLowerCase()));
  const unknown = wanted.filter((column) => !inTable.has(column.toLowerCase()));
  if (unknown.length > 0) problems.push(`${name} has no column ${unknown.join(", ")}`);
  if (table.columns.some((column) => column.code === COUNTER))
    problems.push(`${name} has counters, which can't be set`);
  if (problems.length > 0) {
    throw new UserError("IMPORT_COLUMNS_UNLIKE", `The files in ${folder.uri} don't fit the table ${name}`, {
      problems: [
        ...problems,
        `the files' columns are ${schema.fields.map((field) => `${field.name} ${simpleString(field.dataType)}`).join(", ") || "none"}`,
      ],
      hint: "Import into a table with the columns of the one that was exported; nothing was written",
      exitCode: ExitCode.configuration,
    });
  }
  const untouched = table.columns.filter(({ name: column }) => !columns.some((known) => known.column === column));
  if (untouched.length > 0) {
    context.report.warn(
      "COLUMNS_UNTOUCHED",
      `The files have no ${untouched.map((c) => c.name).join(", ")}: left as they are`,
    );
  }
  if (kind === "diff" && table.columns.some((column) => column.kind === "static")) {
    context.report.warn(
      "STATIC_COLUMNS",
      "Static columns belong to a partition: a deleted row leaves them, also when it was the partition's last",
    );
  }
  const kindOf = names === undefined ? undefined : f.col(quoteName(names.diffColumn));
  const select = (rows: DataFrame, onlyKeys: boolean) =>
    rows.select(...columns.filter(({ isKey }) => isKey || !onlyKeys).map(({ column, value }) => value.as(column)));
  return {
    schema: known,
    format,
    diffColumn: names?.diffColumn,
    upserts: (rows) =>
      select(
        kindOf === undefined || names === undefined
          ? rows
          : rows.where(kindOf.isin(names.labels.insert, names.labels.change)),
        false,
      ),
    deletes:
      kindOf === undefined || names === undefined
        ? undefined
        : (rows) => select(rows.where(kindOf.eqTo(names.labels.delete)), true),
  };
}

const COUNTER = 5;

function converted(value: ReturnType<typeof f.col>, from: DataType, to: DataType) {
  if (sameType(from, to)) return value;
  // Text is what CSV and Spark's guesses at JSON have for everything; wider numbers are right.
  if (from.kind === "string") return checkedCast(value, to);
  const common = commonType(from, to);
  if (common !== undefined && sameType(common, to)) return value.cast(to);
  // What Spark guesses a JSON number to be.
  if (from.kind === "bigint" && ["tinyint", "smallint", "int", "double", "float", "decimal"].includes(to.kind)) {
    return checkedCast(value.cast(types.string), to);
  }
  if (from.kind === "double" && (to.kind === "float" || to.kind === "decimal"))
    return checkedCast(value.cast(types.string), to);
  // A decimal of Cassandra has any scale, and 18 digits of it here.
  return from.kind === "decimal" && to.kind === "decimal" ? value.cast(to) : undefined;
}

function readBatch(spark: SparkSession, folder: Folder, files: Folder["files"], plan: ColumnPlan): DataFrame {
  const uris = files.map(({ uri }) => uri);
  if (plan.schema !== undefined) return readFiles(spark, uris, plan.schema, plan.format);
  return readForeign(spark, uris.length === 0 ? [folder.uri] : uris, plan.format);
}

async function countKinds({ diffColumn, deletes }: ColumnPlan, rows: DataFrame) {
  if (diffColumn === undefined || deletes === undefined) {
    const read = await rows.count();
    return { read, inserted: read, updated: 0, deleted: 0 };
  }
  const found = await rows
    .groupBy(f.col(quoteName(diffColumn)).as("kind"))
    .count()
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

interface TableWriter {
  readonly sink: boolean;
  upsert(rows: DataFrame): Promise<void>;
  delete(keys: DataFrame): Promise<void>;
}

async function writerOf(
  context: JobContext<ImportArguments>,
  spark: SparkSession,
  { connection, driverConf, session, table }: Target,
  settings: WriteSettings & { readonly retries: number },
): Promise<TableWriter> {
  const sink = await hasSink(spark);
  if (!sink && settings.rowsPerSecond !== undefined) {
    context.report.warn(
      "RATE_LIMIT_PARTIAL",
      "The Spark server has no sink of ours: RATE_LIMIT holds for deletes only",
    );
  }
  const options = writeOptions(table, connection, settings, driverConf);
  const write = (rows: DataFrame, format: string, operation: string) =>
    rows.write
      .format(format)
      .options({ ...options, operation })
      .mode("append")
      .save();
  // Rows of one partition go together to a Cassandra; Amazon Keyspaces wants them spread, or one partition is throttled.
  const arranged = (rows: DataFrame) =>
    connection.region === undefined
      ? rows.repartition(...(table.partitionKey.map((name) => f.col(quoteName(name))) as [ReturnType<typeof f.col>]))
      : rows.repartition(64);
  return {
    sink,
    upsert: (rows) =>
      withRetries(context, settings.retries, () =>
        write(arranged(rows), sink ? SINK_FORMAT : CONNECTOR_FORMAT, "upsert"),
      ),
    delete: (keys) =>
      withRetries(context, settings.retries, async () => {
        if (sink) await write(arranged(keys), SINK_FORMAT, "delete");
        else await deleteFromHere(session, table, keys, { ...settings, signal: context.signal });
      }),
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
function writeTimestamp(text: string, { manifest, uri }: Folder): bigint | undefined {
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

function sameNames(a: readonly string[], b: readonly string[]): boolean {
  const sorted = (names: readonly string[]) =>
    names
      .map((name) => name.toLowerCase())
      .toSorted()
      .join("\n");
  return sorted(a) === sorted(b);
}
