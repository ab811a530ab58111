import { readWindowArguments } from "../../lib/glue/incremental/index.js";
import { patternProblems, stateFolderBeside } from "../../lib/glue/index.js";
import { canonicalUri, isFileUri, isS3Uri } from "../../lib/storage/index.js";

export const JOB = "athena-cdc";

export type Format = "parquet" | "iceberg";

/** The arguments as they were given. */
export interface Arguments {
  readonly athena_database_name: string;
  readonly output_path: string;
  readonly cdc_path: string;
  readonly load_type: "full" | "incremental";
  readonly parallelism: number;
  readonly lookback: string;
  readonly from: string | undefined;
  readonly to: string | undefined;
  readonly full_refresh: boolean;
  readonly on_schema_change: "evolve" | "fail";
  readonly output_format: Format;
  readonly iceberg_database: string | undefined;
}

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
  readonly format: Format;
  /** In Glue, for tables on S3. */
  readonly icebergDatabase: string;
}

/** What is wrong with the arguments beyond what each of them says of itself. */
export function argumentProblems(args: Partial<Arguments & { readonly tables: string | undefined }>): string[] {
  const problems: string[] = [];
  readWindowArguments(args, problems);
  problems.push(...patternProblems(args.tables));
  const { athena_database_name: database, iceberg_database: iceberg, output_path: output } = args;
  const isOwn = iceberg !== undefined && iceberg.toLowerCase() === database?.toLowerCase();
  if (args.output_format === "iceberg" && isOwn && output !== undefined && isS3Uri(output)) {
    problems.push(
      "--iceberg_database is the database that is read: its tables would be replaced by what is made of them",
    );
  }
  return problems;
}

/** @param args that {@link argumentProblems} has nothing to say of. */
export function readSettings(args: Arguments): Settings {
  const { lookback, backfill } = readWindowArguments(args);
  const cdcPath = folderOf(args.cdc_path);
  return {
    database: args.athena_database_name,
    output: folderOf(args.output_path),
    cdcPath,
    stateFolder: stateFolderBeside(`${cdcPath}/`, JOB),
    full: args.load_type === "full" || args.full_refresh,
    fullBecause: args.full_refresh ? "--full-refresh" : "--load_type full",
    lookback,
    backfill,
    evolve: args.on_schema_change === "evolve",
    format: args.output_format,
    icebergDatabase: args.iceberg_database ?? `${args.athena_database_name}_cdc`,
  };
}

/** Spark is given the user's own spelling of a place on S3; files are listed by their absolute path, whatever they were asked for by. */
function folderOf(uri: string): string {
  return isFileUri(uri) ? canonicalUri(uri) : uri.replace(/\/+$/, "");
}
