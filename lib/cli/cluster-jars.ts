import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { ExitCode, UserError } from "../errors.js";
import type { Logger } from "../logger.js";
import type { ObjectStore } from "../storage/object-store.js";
import type { SparkPackage } from "../targets/aws/packages.js";
import { findJava } from "../targets/local/java.js";
import { ensureSparkJars } from "../targets/local/spark-jars.js";
import { uploadArtifact } from "../targets/runs/artifacts.js";
import type { CloudPlace } from "./aws-targets.js";

/** The jars that a package needs and a service's image doesn't bring, by the beginnings of their names. */
const JARS: Readonly<Record<SparkPackage, Readonly<Record<CloudPlace, readonly string[]>>>> = {
  iceberg: { emr: [], glue: [] },
  postgresql: { emr: ["postgresql-"], glue: [] },
  cassandra: { emr: ["spark-cassandra-connector"], glue: ["spark-cassandra-connector"] },
};

/** What a job run has beside its packages: the Spark Connect server, and the guard before it. */
export const CONNECT_JARS: readonly string[] = ["spark-connect_", "glue-connect-spark-"];

/** Beginnings of the names of the jars that packages need, without those that the user names himself. */
export function neededJars(
  packages: readonly SparkPackage[],
  place: CloudPlace,
  own: readonly string[] = [],
): readonly string[] {
  const named = (beginning: string) => own.some((uri) => uri.split("/").at(-1)?.startsWith(beginning));
  return packages.flatMap((name) => JARS[name][place]).filter((beginning) => !named(beginning));
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
  if (beginnings.length === 0) return [];
  const { folder: local } = await ensureSparkJars({ java: await findJava(process.env), logger: log, signal });
  const files = await readdir(local);
  const uris: string[] = [];
  for (const beginning of beginnings) {
    const file = files.find((candidate) => candidate.startsWith(beginning));
    if (file === undefined) {
      throw new UserError("JAR_MISSING", `There is no jar ${beginning}* in ${local}`, {
        hint: "Name one on S3 under `jars` in glue-connect.config.ts",
        exitCode: ExitCode.configuration,
      });
    }
    uris.push(await uploadArtifact(store, folder, file, await readFile(path.join(local, file)), log));
  }
  return uris;
}
