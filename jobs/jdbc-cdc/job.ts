import { fixSession, icebergCatalog, sessionsForFewRows } from "../../lib/glue/incremental/index.js";
import { defineJob, type JobContext, runTables, stateFolderBeside, type TableRun } from "../../lib/glue/index.js";
import { applicationName } from "../../lib/postgres/connection.js";
import type { SparkSession } from "../../lib/spark/index.js";
import { canonicalUri, childUri, MaxTimestampsFile, type Publish } from "../../lib/storage/index.js";
import { isFileUri } from "../../lib/storage/uri.js";
import { type Arguments, argumentProblems, definitions, readSettings } from "./arguments.js";
import { icebergOutput, publishBatch } from "./iceberg-output.js";
import { withLog } from "./log.js";
import type { TableOutput } from "./output.js";
import { parquetOutput } from "./parquet-output.js";
import { loadTable } from "./plan-table.js";
import { Snapshots } from "./snapshots.js";
import { findSources } from "./sources.js";

/** Name that the state and the lease of this job go by. */
export const JOB = "jdbc-cdc";

/**
 * Loads the tables of a PostgreSQL database to Parquet through JDBC on Spark's executors: everything at first, then what
 * changed by `updated_at`.
 *
 * All readers of a table read one exported snapshot of the database. Rows of transactions that ended late are found by the
 * number of the transaction that wrote them.
 */
export default defineJob({
  name: JOB,
  summary: "Load the tables of a PostgreSQL database to Parquet or Iceberg: full, then what changed by updated_at",
  args: definitions,
  needs: ["iceberg", "postgresql"],
  check: argumentProblems,
  run,
});

async function run(context: JobContext<Arguments>): Promise<void> {
  const settings = readSettings(context.args);
  await withLog(context, async () => {
    const { args } = context;
    const output = isFileUri(args.s3_output_path)
      ? canonicalUri(args.s3_output_path)
      : args.s3_output_path.replace(/\/+$/, "");
    if (args.full_refresh && !args.yes && context.mode === "run") {
      await context.confirm(`Replace all tables of ${args.database_name} in ${output} by what the database holds now?`);
    }
    const sources = await context.step("find the tables", () => findSources(context));
    const byName = new Map(sources.map((source) => [source.name, source]));
    await using snapshots = new Snapshots(args.batch_size, {
      applicationName: applicationName(context.runId),
      signal: context.signal,
    });
    let session: Promise<SparkSession> | undefined;
    const spark = () => {
      session ??= openSpark(context, output);
      return session;
    };
    let forFewRows: ReturnType<typeof sessionsForFewRows> | undefined;
    const parts = {
      context,
      settings,
      place: canonicalUri(output),
      snapshots,
      trackers: new MaxTimestampsFile(context.storage, args.csv_file_name),
      ...(await outputs(context, output, spark)),
      spark,
      sparkForFewRows: async () => {
        const own = await spark();
        forFewRows ??= sessionsForFewRows(own, context.log);
        return await forFewRows();
      },
    };
    await runTables(
      context,
      {
        job: JOB,
        output,
        stateFolder: stateFolderBeside(args.csv_file_name, JOB),
        parallelism: args.parallelism,
        onlyFailed: args.continue,
      },
      [...byName.keys()],
      async (table) => {
        const source = byName.get(table.table);
        if (source === undefined) return;
        if ("error" in source) throw source.error;
        await loadTable(parts, table, source);
      },
    );
  });
}

/** Where the tables go, by the format; a batch of a dead run goes where that one was to bring it. */
async function outputs(
  context: JobContext<Arguments>,
  output: string,
  open: () => Promise<SparkSession>,
): Promise<{
  readonly outputOf: (run: TableRun) => TableOutput;
  readonly publishOf: (run: TableRun) => Publish;
}> {
  const { args, storage: store } = context;
  const database = args.iceberg_database ?? `${args.database_name}_cdc`;
  const publishOf = ({ table, step }: TableRun) => publishBatch({ spark: open, store, output, database, table, step });
  if (args.output_format === "parquet") {
    return { publishOf, outputOf: ({ table }) => parquetOutput(context, childUri(output, table)) };
  }
  const spark = await open();
  const catalog = await icebergCatalog(spark, output, database);
  return { publishOf, outputOf: ({ table }) => icebergOutput(spark, catalog, table, { database, yes: args.yes }) };
}

async function openSpark(context: JobContext<Arguments>, output: string): Promise<SparkSession> {
  const spark = await context.spark({ locations: [output] });
  await fixSession(spark);
  return spark;
}
