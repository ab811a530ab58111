import { ExitCode, UserError } from "../../lib/errors.js";
import { fixSession, icebergCatalog, sessionsForFewRows } from "../../lib/glue/incremental/index.js";
import {
  arg,
  defineJob,
  type JobContext,
  runTables,
  type TableReport,
  tableFilter,
  warnOfUnknownTables,
} from "../../lib/glue/index.js";
import { readKeys } from "./keys.js";
import { type Arguments, argumentProblems, JOB, readSettings } from "./settings.js";
import { TableLoad } from "./table-load.js";

const args = {
  athena_database_name: arg.string({ description: "Glue (Athena) database whose tables are loaded" }),
  output_path: arg.uri({ description: "Where the tables are written, each in a folder of its name" }),
  cdc_path: arg.uri({ description: "Where the trackers are, <cdc_path>/<table>.txt, and the states beside them" }),
  load_type: arg.choice(["full", "incremental"], { description: "Everything, or what came since the last run" }),
  primary_key_s3_prefix: arg.uri({
    description:
      "Prefix of the CSV files with the primary keys; the latest one counts. Without it nothing is deduplicated",
    optional: true,
  }),
  tables: arg.string({ description: "Only these tables, as patterns: 'acc*,!tmp_*'", optional: true }),
  parallelism: arg.integer({ description: "Tables at once", default: 4, min: 1 }),
  lookback: arg.string({
    description: "How far before the last timestamp late rows are looked for: 15m, 2h, 1d",
    default: "0",
  }),
  from: arg.string({
    description: "Backfill: load this time range again, and leave the trackers alone",
    optional: true,
  }),
  to: arg.string({ description: "End of the backfill, included; default: what was loaded last", optional: true }),
  full_refresh: arg.boolean({ description: "Load the tables afresh and replace what is there", default: false }),
  yes: arg.boolean({ description: "Don't ask before --full-refresh", default: false }),
  continue: arg.boolean({ description: "Only the tables that failed in the last run", default: false }),
  on_schema_change: arg.choice(["evolve", "fail"], {
    description: "When a table's columns changed",
    default: "evolve",
  }),
  output_format: arg.choice(["parquet", "iceberg"], { description: "What is written", default: "parquet" }),
  iceberg_database: arg.string({
    description: "For Iceberg tables on S3: their database in Glue; default: <athena_database_name>_cdc",
    optional: true,
  }),
};

const MANY_TABLES = 10;

type Context = JobContext<
  Arguments & {
    readonly primary_key_s3_prefix: string | undefined;
    readonly tables: string | undefined;
    readonly yes: boolean;
    readonly continue: boolean;
  }
>;

/**
 * Loads every table of a Glue database to Parquet (or Iceberg): everything, or what came since the last run, the newest row of
 * each key.
 *
 * Each table has its own state and fails alone. Whatever dies and when: a row is delivered once.
 */
export default defineJob({
  name: JOB,
  summary: "Load every table of a Glue (Athena) database to Parquet or Iceberg: full, then only new and changed rows",
  args,
  needs: ["iceberg"],
  check: argumentProblems,
  run,
});

async function run(context: Context): Promise<void> {
  const { args } = context;
  const settings = readSettings(args);
  const isWanted = tableFilter(args.tables);
  if (args.full_refresh && context.mode === "run" && !args.yes) {
    await context.confirm(
      `--full-refresh replaces what is in ${settings.output} for the tables of ${settings.database}.`,
    );
  }
  const spark = await context.spark({ locations: [args.output_path, args.cdc_path] });
  const [entries, keys] = await Promise.all([
    context.step("list the tables", () => context.catalog.tables(settings.database)),
    context.step("read the primary keys", () => readKeys(context.storage, args.primary_key_s3_prefix)),
    fixSession(spark),
  ]);
  if (args.primary_key_s3_prefix !== undefined && keys.uri === undefined) {
    context.report.warn(
      "PRIMARY_KEYS_MISSING",
      `There is no CSV below ${args.primary_key_s3_prefix}: nothing is deduplicated`,
    );
  }
  const wanted = entries.filter(({ name }) => isWanted(name));
  if (wanted.length === 0 && entries.length > 0) {
    throw new UserError("NO_TABLES", `There are no tables to load in ${settings.database}`, {
      hint: `Check --tables ${JSON.stringify(args.tables)}`,
      exitCode: ExitCode.configuration,
    });
  }
  if (wanted.length === 0) context.report.warn("NO_TABLES", `Database ${settings.database} has no table`);
  const names = entries.map(({ name }) => name);
  warnOfUnknownTables(context.report, settings.database, args.tables, names);
  const byName = new Map(wanted.map((entry) => [entry.name, entry]));
  const catalog =
    settings.format === "iceberg" ? await icebergCatalog(spark, settings.output, settings.icebergDatabase) : undefined;
  const sessionForFewRows = sessionsForFewRows(spark, context.log);
  // Each session resolves a table for itself: of many tables most are small.
  const sessionForPlans = byName.size >= MANY_TABLES ? sessionForFewRows : async () => spark;
  const parts = { keys, catalog, spark, sessionForFewRows, sessionForPlans };
  await runTables(
    context,
    {
      job: JOB,
      output: settings.output,
      stateFolder: settings.stateFolder,
      parallelism: args.parallelism,
      onlyFailed: args.continue,
    },
    [...byName.keys()],
    async (tableRun) => {
      const entry = byName.get(tableRun.table);
      if (entry === undefined) return;
      await new TableLoad(context, settings, { ...parts, entry }, tableRun).run();
      if (context.mode === "run") context.log.info(`${entry.name}: ${inWords(context.report.table(entry.name))}`);
    },
  );
}

/** What was done with a table, for the log. */
function inWords({ way = "done", reason, read, inserted, updated, deleted }: TableReport): string {
  const why = reason === undefined ? "" : ` (${reason})`;
  return `${way}${why}: ${read} read, ${inserted} inserted, ${updated} updated, ${deleted} deleted`;
}
