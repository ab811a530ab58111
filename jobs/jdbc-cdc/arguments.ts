import { parseDuration } from "../../lib/glue/incremental/index.js";
import { type ArgValues, arg, patternProblems } from "../../lib/glue/index.js";
import { isObjectUri } from "../../lib/storage/batches/tracker.js";
import { parseTrackerTime } from "../../lib/storage/index.js";

/** The documented arguments first, then those of our own. */
export const definitions = {
  database_name: arg.string({ description: "The database in the Glue Data Catalog whose tables are loaded" }),
  s3_output_path: arg.uri({ description: "Where the tables' folders are" }),
  environment: arg.string({ description: "Label of this environment (dev, prod) in logs and report" }),
  csv_file_name: arg.uri({ description: "The max_timestamps.csv: table_name,max_timestamp" }),
  log_folder_path: arg.uri({ description: "Where the log of the run is put at its end" }),
  load_type: arg.choice(["full", "cdc"], {
    description: "full: everything, in place of what is there; cdc: what changed since the last run",
  }),
  connection: arg.string({
    description:
      "A connection, by its name in Glue or as file:<path> of JSON in the shape of Glue's GetConnection; left out: Glue's tables name theirs, and without Glue it is the embedded PostgreSQL",
    optional: true,
  }),
  schemas: arg.list({
    description: "Schemas whose tables are loaded, where PostgreSQL itself lists them",
    default: ["public"],
  }),
  tables: arg.string({ description: "Only these tables: patterns like 'acc*,!tmp_*'", optional: true }),
  batch_size: arg.integer({
    description: "Tables that are read from one snapshot of the database",
    default: 20,
    min: 1,
  }),
  parallelism: arg.integer({ description: "Tables at once", default: 4, min: 1 }),
  readers: arg.integer({ description: "Connections of the executors at the most for one table", default: 4, min: 1 }),
  lookback: arg.string({ description: "How far before the last timestamp a run begins, e.g. 15m", default: "0" }),
  late_rows: arg.choice(["xmin", "clock"], {
    description:
      "xmin: rows of transactions that ended late are found whatever their timestamp; clock: only by it, which needs an index scan only",
    default: "xmin",
  }),
  deletes: arg.choice(["ignore", "soft"], {
    description: "soft: keys that are gone are found by comparing key sets, and marked in cdc_deleted",
    default: "ignore",
  }),
  output_format: arg.choice(["parquet", "iceberg"], { description: "What is written", default: "parquet" }),
  iceberg_database: arg.string({
    description: "For Iceberg tables on S3: their database in Glue; default: <database_name>_cdc",
    optional: true,
  }),
  special_values: arg.choice(["fail", "null"], {
    description:
      "What Parquet can't hold (NaN in a decimal, infinite dates) fails the table, or becomes NULL with a warning",
    default: "fail",
  }),
  on_schema_change: arg.choice(["evolve", "fail"], {
    description: "When a table's columns changed since the last batch: go on and report it, or fail the table",
    default: "evolve",
  }),
  from: arg.string({ description: "Backfill: load again from this time (UTC)", optional: true }),
  to: arg.string({ description: "Backfill: up to this time (UTC)", optional: true }),
  full_refresh: arg.boolean({ description: "Load everything afresh, in place of what is there", default: false }),
  yes: arg.boolean({ description: "Don't ask before what can't be undone", default: false }),
  continue: arg.boolean({ description: "Only the tables that failed in the last run", default: false }),
};

export type Arguments = ArgValues<typeof definitions>;

/** The arguments as the job goes by them; times and durations are microseconds. */
export interface Settings {
  readonly lookback: bigint;
  /** Both ends of a backfill; `undefined`: none. */
  readonly backfill: { readonly from: bigint | undefined; readonly to: bigint | undefined } | undefined;
}

/** What is wrong with the arguments beyond what each of them says of itself. */
export function argumentProblems(args: Partial<Arguments>): readonly string[] {
  const problems: string[] = [];
  const { csv_file_name: tracker } = args;
  if (tracker !== undefined && !isObjectUri(tracker))
    problems.push("--csv_file_name names a bucket, and no object in it");
  readWindow(args, problems);
  problems.push(...patternProblems(args.tables));
  return problems;
}

/** @param args that {@link argumentProblems} has nothing to say of. */
export function readSettings(args: Arguments): Settings {
  return readWindow(args, []);
}

function readWindow(args: Partial<Arguments>, problems: string[]): Settings {
  const lookback = parseDuration(args.lookback ?? "0");
  if (lookback === undefined)
    problems.push(`--lookback must be like 90s, 15m, 2h or 1d; it is ${JSON.stringify(args.lookback)}`);
  const time = (name: "from" | "to") => {
    const text = args[name];
    const micros = text === undefined ? undefined : parseTrackerTime(text);
    if (text !== undefined && micros === undefined) {
      problems.push(`--${name} must be a time like 2026-03-01 10:00:00 (UTC); it is ${JSON.stringify(text)}`);
    }
    return micros;
  };
  const [from, to] = [time("from"), time("to")];
  if (from !== undefined && to !== undefined && from > to) problems.push("--from is later than --to");
  const backfill = args.from !== undefined || args.to !== undefined;
  if (backfill && (args.load_type === "full" || args.full_refresh)) {
    problems.push("--from and --to are for --load_type cdc, and not together with --full_refresh");
  }
  return { lookback: lookback ?? 0n, backfill: backfill ? { from, to } : undefined };
}
