import { ExitCode, UserError } from "../../lib/errors.js";
import { fixSession } from "../../lib/glue/incremental/index.js";
import type { JobContext } from "../../lib/glue/index.js";
import { clusterText } from "../../lib/keyspaces/index.js";
import {
  type DataFrame,
  SparkConnectError,
  type SparkSession,
  type StructType,
  simpleString,
} from "../../lib/spark/index.js";
import type { FileFormat } from "./arguments.js";
import { cellColumns, withCells } from "./cells.js";
import { type ClusterArguments, openTarget, tableText } from "./cluster.js";
import { readFiles, writeFiles } from "./files.js";
import { claimFolder, dataFiles, inNewFolder } from "./folders.js";

export interface ExportArguments extends ClusterArguments {
  readonly KEYSPACE_NAME: string;
  readonly TABLE_NAME: string;
  readonly S3URI: string;
  readonly FORMAT: FileFormat;
  readonly WHERE: string | undefined;
  readonly KEEP: readonly string[] | undefined;
}

/**
 * Writes a table as it is now to `<S3URI>/snapshot/year=.../`.
 *
 * @param label how the report calls it.
 * @returns the folder; `undefined` when it was only planned.
 */
export async function exportTable(
  context: JobContext<ExportArguments>,
  label = tableText({ keyspace: context.args.KEYSPACE_NAME, table: context.args.TABLE_NAME }),
): Promise<string | undefined> {
  const { args, storage, step, mode } = context;
  const name = { keyspace: args.KEYSPACE_NAME, table: args.TABLE_NAME };
  const report = context.report.table(label);
  const spark = await context.spark({ locations: [args.S3URI] });
  await fixSession(spark);
  await using source = await step("look at the table", () => openTarget(context, spark, args, name));
  const cells = cellColumns(source.table, args.KEEP);
  const hasCells = Object.keys(cells).length > 0;
  const all = withCells(source.rows(), cells);
  const rows = args.WHERE === undefined ? all : all.where(args.WHERE);
  const statics = source.table.columns.filter(({ kind }) => kind === "static").map((column) => column.name);
  const schema = hasCells ? await schemaWithCells(rows) : source.schema;
  report.way = args.WHERE === undefined ? "every row" : `rows where ${args.WHERE}`;
  report.details.cluster = clusterText(source.connection);
  if (mode === "plan") {
    report.read = await step("count", () => rows.count());
    report.changes = true;
    return undefined;
  }
  const claimed = await step("claim a folder", () =>
    claimFolder(storage, args.S3URI, "snapshot", {
      ...name,
      kind: "export",
      runId: context.runId,
      format: args.FORMAT,
      keys: source.table.primaryKey,
      ...(hasCells ? { cells } : {}),
      ...(statics.length === 0 ? {} : { statics: { partitionKey: source.table.partitionKey, columns: statics } }),
      ...(args.WHERE === undefined ? {} : { where: args.WHERE }),
    }),
  );
  report.target = claimed.uri;
  await inNewFolder(context, claimed, async () => {
    await step("write the rows", () =>
      writeWhole(spark, schema, () => writeFiles(rows, schema, claimed.uri, args.FORMAT)),
    );
    const uris = await dataFiles(storage, claimed.uri);
    const count =
      uris.length === 0 ? 0 : await step("count", () => readFiles(spark, uris, schema, args.FORMAT).count());
    report.read = count;
    report.inserted = count;
    return { rowSchema: schema, rows: count };
  });
  return claimed.uri;
}

/**
 * Numbers that are too big for the connector's types become NULL in silence, unless the session is ANSI's: then they are an error.
 *
 * @throws UserError `NUMBER_TOO_BIG`.
 */
async function writeWhole(spark: SparkSession, schema: StructType, write: () => Promise<void>): Promise<void> {
  await spark.conf.set({ "spark.sql.ansi.enabled": "true" });
  try {
    await write();
  } catch (error) {
    const tooBig = /NUMERIC_VALUE_OUT_OF_RANGE|DECIMAL_PRECISION_EXCEEDS|exceeds? max precision/i;
    if (!(error instanceof SparkConnectError) || !tooBig.test(`${error.code} ${error.message}`)) throw error;
    const decimals = schema.fields.filter(({ dataType }) => dataType.kind === "decimal");
    throw new UserError("NUMBER_TOO_BIG", "A number is too big for the Spark connector", {
      problems: decimals.map(({ name, dataType }) => `${name} is ${simpleString(dataType)} to Spark`),
      hint: "Leave its row out with --WHERE; such a table can't be exported as it is",
      cause: error,
    });
  } finally {
    await spark.conf.set({ "spark.sql.ansi.enabled": "false" });
  }
}

/** @throws UserError `SPARK_WITHOUT_EXTENSION`. */
async function schemaWithCells(rows: DataFrame): Promise<StructType> {
  try {
    return await rows.schema();
  } catch (error) {
    if (!(error instanceof SparkConnectError) || !/UNRESOLVED_ROUTINE/.test(`${error.code} ${error.message}`))
      throw error;
    throw new UserError("SPARK_WITHOUT_EXTENSION", "The Spark server doesn't know ttl() and writetime() of Cassandra", {
      hint: "Start it with spark.sql.extensions=com.datastax.spark.connector.CassandraSparkExtensions, or leave --KEEP out",
      exitCode: ExitCode.configuration,
      cause: error,
    });
  }
}
