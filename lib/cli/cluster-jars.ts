import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { ExitCode, UserError } from "../errors.js";
import type { Logger } from "../logger.js";
import type { ObjectStore } from "../storage/object-store.js";
import type { SparkPackage } from "../targets/aws/packages.js";
import { cacheHome, type Environment } from "../targets/local/directories.js";
import { findJava } from "../targets/local/java.js";
import { ensureSparkJars, type SparkProfile, sparkJarsName } from "../targets/local/spark-jars.js";
import { uploadArtifact } from "../targets/runs/artifacts.js";
import type { CloudPlace } from "./aws-targets.js";

/**
 * The connector with all that it needs in one jar, because a session of EMR Serverless takes no long list of jars; and the sink
 * of ours.
 */
const CONNECTOR = "spark-cassandra-connector_";
/** Such a jar, as it is called here and as DataStax calls it; without "assembly" it has none of its dependencies in it. */
const CONNECTOR_ASSEMBLY = /^spark-cassandra-connector(-assembly_|_.*-assembly)/;
/** Our classes, among them the sinks. */
const OURS = "glue-connect-spark-";
const CASSANDRA_JARS = [CONNECTOR, OURS];

/** The jars that a package needs and a service's image doesn't bring, by the beginnings of their names. */
const JARS: Readonly<Record<SparkPackage, Readonly<Record<CloudPlace, readonly string[]>>>> = {
  iceberg: { emr: [], glue: [] },
  postgresql: { emr: ["postgresql-"], glue: [] },
  cassandra: { emr: CASSANDRA_JARS, glue: CASSANDRA_JARS },
};

/** What makes a package's jobs faster, who do without it where there is no place to upload it to. */
const FASTER_WITH: Readonly<Record<SparkPackage, readonly string[]>> = {
  iceberg: [],
  postgresql: [OURS],
  cassandra: [],
};

/** What a job run has beside its packages: the Spark Connect server, and the guard before it. */
export const CONNECT_JARS: readonly string[] = ["spark-connect_", OURS];

/** Beginnings of the names of the jars that packages need, without those that the user names himself. */
export function neededJars(
  packages: readonly SparkPackage[],
  place: CloudPlace,
  own: readonly string[] = [],
): readonly string[] {
  return withoutNamed(
    packages.flatMap((name) => JARS[name][place]),
    own,
  );
}

/** Beginnings of the names of the jars that packages' jobs are faster with, without those that the user names himself. */
export function usefulJars(packages: readonly SparkPackage[], own: readonly string[] = []): readonly string[] {
  return withoutNamed(
    packages.flatMap((name) => FASTER_WITH[name]),
    own,
  );
}

function withoutNamed(beginnings: readonly string[], own: readonly string[]): readonly string[] {
  const files = own.map((uri) => uri.slice(uri.lastIndexOf("/") + 1));
  return beginnings.filter((beginning) => !files.some((file) => isJar(file, beginning)));
}

/** Whether a file is the jar that is known by this beginning, with all that has to be in it. */
function isJar(file: string, beginning: string): boolean {
  return beginning === CONNECTOR ? CONNECTOR_ASSEMBLY.test(file) : file.startsWith(beginning);
}

/**
 * Uploads jars out of the local server's folder, which Maven has filled.
 *
 * @param folder URI that ends with a slash.
 * @returns their URIs.
 */
export async function uploadJars(
  beginnings: readonly string[],
  store: ObjectStore,
  folder: string,
  log: Logger,
  signal: AbortSignal,
): Promise<string[]> {
  const uris: string[] = [];
  for (const file of await jarFiles([...new Set(beginnings)], log, signal)) {
    uris.push(await uploadArtifact(store, folder, path.basename(file), await readFile(file), log));
  }
  return uris;
}

/** Which of the local server's folders has these jars. */
export function profileOf(beginnings: readonly string[]): SparkProfile {
  return beginnings.some((beginning) => beginning === CONNECTOR) ? "cassandra" : "base";
}

/** Whether the local server's folder is there already, so that Maven has nothing to fetch. */
export function haveJars(env: Environment = process.env): boolean {
  return existsSync(path.join(cacheHome(env), sparkJarsName()));
}

/** Paths of jars in the local server's folder, which Maven fills if need be. */
export async function jarFiles(
  beginnings: readonly string[],
  log: Logger,
  signal: AbortSignal,
  profile: SparkProfile = profileOf(beginnings),
): Promise<string[]> {
  if (beginnings.length === 0) return [];
  const { folder } = await ensureSparkJars({ java: await findJava(process.env), logger: log, signal, profile });
  const files = await readdir(folder);
  return beginnings.map((beginning) => {
    const file = files.find((candidate) => isJar(candidate, beginning));
    if (file !== undefined) return path.join(folder, file);
    throw new UserError("JAR_MISSING", `There is no jar ${beginning}* in ${folder}`, {
      hint: "Name one on S3 under `jars` in glue-connect.config.ts",
      exitCode: ExitCode.configuration,
    });
  });
}
