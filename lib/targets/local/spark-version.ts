import { join } from "node:path";
import { localDirectories } from "./directories.js";

/**
 * The lines of Spark that a local server can be of. The first is what EMR and Glue run, and what is meant when none is named;
 * each of the others is a Maven profile `spark-<line>` of infra/spark.
 */
export const SPARK_VERSIONS = ["3.5", "4.1"] as const;

export type SparkVersion = (typeof SPARK_VERSIONS)[number];

export const DEFAULT_SPARK_VERSION: SparkVersion = SPARK_VERSIONS[0];

/** Where the server of one version keeps what is its own, so that one of each can be up side by side. */
export interface SparkPlaces {
  readonly home: string;
  readonly stateFile: string;
  readonly lockFile: string;
  readonly logFile: string;
  readonly logs: string;
  /** Its temporary files and settings. */
  readonly folder: string;
  /** Iceberg tables of the catalog `lake`, which all versions share. */
  readonly warehouse: string;
}

/** Names of the places; makes none. */
export function sparkPlaces(home: string, version: SparkVersion): SparkPlaces {
  const name = version === DEFAULT_SPARK_VERSION ? "spark" : `spark-${version}`;
  const { logs, warehouse } = localDirectories(home);
  return {
    home,
    stateFile: join(home, `${name}.json`),
    lockFile: join(home, `${name}.lock`),
    logFile: join(logs, `${name}.log`),
    logs,
    folder: join(home, name),
    warehouse,
  };
}
