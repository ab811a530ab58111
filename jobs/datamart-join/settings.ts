import { readWindowArguments } from "../../lib/glue/incremental/index.js";
import { argumentsInvalid, stateFolderBeside } from "../../lib/glue/index.js";
import { canonicalUri, childUri, isFileUri } from "../../lib/storage/index.js";
import type { Configuration } from "./configuration.js";

export const JOB = "datamart-join";

/** The arguments as they were given. */
export interface Arguments {
  readonly database_name: string;
  readonly timestamp_s3_path: string;
  readonly load_type: "full" | "incremental";
  readonly output_path: string | undefined;
  readonly lookback: string;
  readonly from: string | undefined;
  readonly to: string | undefined;
  readonly full_refresh: boolean;
  readonly parallelism: number;
  readonly on_schema_change: "evolve" | "fail";
  readonly output_format: "parquet" | "iceberg";
}

/** What the arguments come to, once they are known to make sense together. */
export interface Settings {
  readonly database: string;
  /** `<output_path>/datamart`, without a slash at the end. */
  readonly output: string;
  /** The documented file. */
  readonly timestampFile: string;
  readonly stateFolder: string;
  readonly full: boolean;
  readonly fullBecause: string;
  /** Microseconds. */
  readonly lookback: bigint;
  readonly backfill: { readonly from: bigint; readonly to: bigint | undefined } | undefined;
  readonly evolve: boolean;
  readonly format: "parquet" | "iceberg";
  readonly parallelism: number;
}

const NO_OUTPUT = "--output_path is missing: say there, or in the configuration as output_path, where to write";

/** What is wrong with the arguments beyond what each of them says of itself, as far as it can be said without the configuration. */
export function argumentProblems(args: Partial<Arguments & { readonly config: string | undefined }>): string[] {
  const problems: string[] = [];
  const unconfigured = Object.hasOwn(args, "config") && args.config === undefined;
  if (unconfigured && args.output_path === undefined) problems.push(NO_OUTPUT);
  readWindowArguments(args, problems);
  return problems;
}

/**
 * @param args that {@link argumentProblems} has nothing to say of.
 * @throws UserError `ARGUMENTS_INVALID` when neither they nor the configuration say where to write.
 */
export function readSettings(args: Arguments, configuration: Configuration): Settings {
  const outputPath = args.output_path ?? configuration.outputPath;
  if (outputPath === undefined) throw argumentsInvalid([NO_OUTPUT]);
  const { lookback, backfill } = readWindowArguments(args);
  return {
    database: args.database_name,
    // Files are listed by their absolute path.
    output: childUri(isFileUri(outputPath) ? canonicalUri(outputPath) : outputPath, "datamart"),
    timestampFile: args.timestamp_s3_path.replace(/\/+$/, ""),
    stateFolder: stateFolderBeside(args.timestamp_s3_path.replace(/\/+$/, ""), JOB),
    full: args.load_type === "full" || args.full_refresh,
    fullBecause: args.full_refresh ? "--full-refresh" : "--load_type full",
    lookback,
    backfill,
    format: args.output_format,
    evolve: args.on_schema_change === "evolve",
    parallelism: args.parallelism,
  };
}
