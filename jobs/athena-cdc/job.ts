import { ExitCode, UserError } from "../../lib/errors.js";
import { fixSession, icebergCatalog, parseDuration } from "../../lib/glue/incremental/index.js";
import { arg, defineJob, type JobContext, runTables, stateFolderBeside, tableFilter } from "../../lib/glue/index.js";
import { parseTrackerTime } from "../../lib/storage/index.js";
import { readKeys } from "./keys.js";
import { TableLoad } from "./table-load.js";

export const JOB = "athena-cdc";

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

type Context = JobContext<Parameters<Parameters<typeof defineJob<typeof args>>[0]["run"]>[0]["args"]>;

/** What the arguments come to, once they are known to make sense together. */
export interface Settings {
  readonly database: string;
  /** Without a slash at the end. */
  readonly output: string;
  readonly cdcPath: string;
  readonly stateFolder: string;
  readonly full: boolean;
  readonly fullBecause: string;
  /** Microseconds. */
  readonly lookback: bigint;
  readonly backfill: { readonly from: bigint; readonly to: bigint | undefined } | undefined;
  readonly evolve: boolean;
  readonly format: "parquet" | "iceberg";
}

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
  run,
});

async function run(context: Context): Promise<void> {
  const { args } = context;
  const settings = readSettings(args);
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
  const wanted = entries.filter(({ name }) => tableFilter(args.tables)(name));
  if (wanted.length === 0) {
    context.report.warn(
      "NO_TABLES",
      `Database ${settings.database} has no table${args.tables === undefined ? "" : ` like ${args.tables}`}`,
    );
  }
  const byName = new Map(wanted.map((entry) => [entry.name, entry]));
  const catalog =
    settings.format === "iceberg"
      ? await icebergCatalog(spark, settings.output, args.iceberg_database ?? `${settings.database}_cdc`)
      : undefined;
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
      if (entry !== undefined) await new TableLoad(context, settings, { entry, keys, catalog, spark }, tableRun).run();
    },
  );
}

/** @throws UserError `ARGUMENTS_INVALID` with all that is wrong. */
function readSettings(args: Context["args"]): Settings {
  const problems: string[] = [];
  const lookback = parseDuration(args.lookback);
  if (lookback === undefined)
    problems.push(`--lookback must be like 90s, 15m, 2h or 1d; it is ${JSON.stringify(args.lookback)}`);
  const time = (name: "from" | "to") => {
    const text = args[name];
    const micros = text === undefined ? undefined : parseTrackerTime(text);
    if (text !== undefined && micros === undefined) {
      problems.push(
        `--${name} must be a UTC time like 2026-03-01 or "2026-03-01 10:00:00"; it is ${JSON.stringify(text)}`,
      );
    }
    return micros;
  };
  const [from, to] = [time("from"), time("to")];
  if (args.to !== undefined && args.from === undefined) problems.push("--to needs --from");
  if (from !== undefined && to !== undefined && to < from) problems.push("--to is before --from");
  if (args.from !== undefined && (args.full_refresh || args.load_type === "full")) {
    problems.push("--from is for a part of what was loaded, and a full load takes everything: leave one of them out");
  }
  if (args.parallelism < 1) problems.push("--parallelism must be 1 or more");
  if (problems.length > 0) {
    throw new UserError(
      "ARGUMENTS_INVALID",
      problems.length === 1 ? "One argument is wrong" : `${problems.length} arguments are wrong`,
      {
        problems,
        exitCode: ExitCode.usage,
      },
    );
  }
  const cdcPath = args.cdc_path.replace(/\/+$/, "");
  return {
    database: args.athena_database_name,
    output: args.output_path.replace(/\/+$/, ""),
    cdcPath,
    stateFolder: stateFolderBeside(`${cdcPath}/`, JOB),
    full: args.load_type === "full" || args.full_refresh,
    fullBecause: args.full_refresh ? "--full-refresh" : "--load_type full",
    lookback: lookback ?? 0n,
    backfill: from === undefined ? undefined : { from, to },
    evolve: args.on_schema_change === "evolve",
    format: args.output_format,
  };
}
