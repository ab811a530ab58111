import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { ExitCode, UserError } from "../../errors.js";
import type { Logger } from "../../logger.js";
import {
  cassandraAnswers,
  ensureCassandra,
  findCassandraProcess,
  type LocalCassandra,
  type LocalCassandraOptions,
  stopCassandra,
} from "./cassandra.js";
import { type Environment, localDirectories, stateHome } from "./directories.js";
import { lastLines } from "./log-lines.js";
import {
  ensurePostgres,
  findPostgresProcess,
  type LocalPostgres,
  type LocalPostgresOptions,
  postgresAnswers,
  stopPostgres,
} from "./postgres.js";
import {
  ensureSpark,
  findSparkProcess,
  type LocalSpark,
  type LocalSparkOptions,
  sparkAnswers,
  stopSpark,
} from "./spark.js";
import { DEFAULT_SPARK_VERSION, SPARK_VERSIONS, type SparkVersion, sparkPlaces } from "./spark-version.js";

/** The servers that run on this machine when no other is named. */
export const LOCAL_SERVERS = ["spark", "postgres", "cassandra"] as const;

/** Those that start when none is named; Cassandra is for the jobs of Amazon Keyspaces only, and they start it. */
export const USUAL_SERVERS: readonly LocalServerName[] = ["spark", "postgres"];

export type LocalServerName = (typeof LOCAL_SERVERS)[number];

/** What every function here takes. */
export interface LocalOptions {
  /** Default: {@link stateHome}. */
  readonly home?: string;
  readonly env?: Environment;
  readonly logger?: Logger;
  readonly signal?: AbortSignal;
}

/** How each server is started by {@link localUp}. */
export interface LocalUpOptions extends LocalOptions {
  readonly idleMinutes?: number;
  readonly spark?: Pick<LocalSparkOptions, "version" | "port" | "conf" | "profile">;
  readonly postgres?: Pick<LocalPostgresOptions, "port" | "ephemeral">;
  readonly cassandra?: Pick<LocalCassandraOptions, "port" | "ephemeral">;
}

/** The servers that were asked for. */
export interface LocalUp {
  readonly spark?: LocalSpark;
  readonly postgres?: LocalPostgres;
  readonly cassandra?: LocalCassandra;
}

/** How a server is doing. Holds no secret. */
export interface LocalServerStatus {
  readonly name: LocalServerName;
  /** Which Spark, of one that is there. */
  readonly version?: SparkVersion;
  readonly state: "up" | "starting" | "not answering" | "down";
  readonly pid?: number;
  readonly port?: number;
  /** `sc://127.0.0.1:PORT`, `postgresql://127.0.0.1:PORT/postgres` or `127.0.0.1:PORT`, without token and password. */
  readonly endpoint?: string;
  readonly logFile?: string;
}

/**
 * Starts the servers named, side by side; one that is up is used.
 *
 * @example
 * const { spark, postgres } = await localUp(["spark", "postgres"]);
 * @throws UserError as {@link ensureSpark}, {@link ensurePostgres} and {@link ensureCassandra} do.
 */
export async function localUp(
  names: readonly LocalServerName[] = USUAL_SERVERS,
  options: LocalUpOptions = {},
): Promise<LocalUp> {
  const { spark, postgres, cassandra, ...common } = options;
  // All are waited for even when one fails, so that no start goes on behind its caller's back.
  const [sparkUp, postgresUp, cassandraUp] = await Promise.allSettled([
    names.includes("spark") ? ensureSpark({ ...common, ...spark }) : undefined,
    names.includes("postgres") ? ensurePostgres({ ...common, ...postgres }) : undefined,
    names.includes("cassandra") ? ensureCassandra({ ...common, ...cassandra }) : undefined,
  ]);
  if (sparkUp.status === "rejected") throw sparkUp.reason;
  if (postgresUp.status === "rejected") throw postgresUp.reason;
  if (cassandraUp.status === "rejected") throw cassandraUp.reason;
  return {
    ...(sparkUp.value === undefined ? {} : { spark: sparkUp.value }),
    ...(postgresUp.value === undefined ? {} : { postgres: postgresUp.value }),
    ...(cassandraUp.value === undefined ? {} : { cassandra: cassandraUp.value }),
  };
}

/**
 * Stops the servers named, Spark in every version; what they hold on disk stays.
 *
 * @returns those that were up, with the pid they had.
 */
export async function localDown(
  names: readonly LocalServerName[] = LOCAL_SERVERS,
  options: LocalOptions = {},
): Promise<readonly { readonly name: LocalServerName; readonly pid: number }[]> {
  const home = homeOf(options);
  const stop: Readonly<Record<LocalServerName, () => readonly Promise<number | undefined>[]>> = {
    spark: () => SPARK_VERSIONS.map((version) => stopSpark(home, version)),
    postgres: () => [stopPostgres(home)],
    cassandra: () => [stopCassandra(home)],
  };
  const stopped = await Promise.all(
    names.flatMap((name) => stop[name]().map(async (pid) => ({ name, pid: await pid }))),
  );
  return stopped.flatMap(({ name, pid }) => (pid === undefined ? [] : [{ name, pid }]));
}

/** How each server is doing, by asking it: each Spark that is there, PostgreSQL and Cassandra. Starts nothing. */
export async function localStatus(options: LocalOptions = {}): Promise<readonly LocalServerStatus[]> {
  const home = homeOf(options);
  const [postgres, cassandra, ...sparks] = await Promise.all([
    postgresStatus(home),
    cassandraStatus(home),
    ...SPARK_VERSIONS.map((version) => sparkStatus(home, version)),
  ]);
  const present = sparks.filter((spark) => spark !== undefined);
  return [...(present.length === 0 ? [{ name: "spark", state: "down" } as const] : present), postgres, cassandra];
}

async function sparkStatus(home: string, version: SparkVersion): Promise<LocalServerStatus | undefined> {
  const found = findSparkProcess(home, version);
  if (found === undefined) return undefined;
  const { pid, port, logFile } = found;
  if (port === null) return { name: "spark", version, state: "starting", pid, logFile };
  const state = (await sparkAnswers(home, version, 5_000)) ? "up" : "not answering";
  return { name: "spark", version, state, pid, port, endpoint: `sc://127.0.0.1:${port}`, logFile };
}

async function postgresStatus(home: string): Promise<LocalServerStatus> {
  const found = findPostgresProcess(home);
  if (found === undefined) return { name: "postgres", state: "down" };
  const { pid, port, logFile } = found;
  const state = (await postgresAnswers(home, 5_000)) ? "up" : "not answering";
  return { name: "postgres", state, pid, port, endpoint: `postgresql://127.0.0.1:${port}/postgres`, logFile };
}

async function cassandraStatus(home: string): Promise<LocalServerStatus> {
  const found = findCassandraProcess(home);
  if (found === undefined) return { name: "cassandra", state: "down" };
  const { pid, port, ready, logFile } = found;
  if (!ready) return { name: "cassandra", state: "starting", pid, logFile };
  const state = (await cassandraAnswers(home, 5_000)) ? "up" : "not answering";
  return { name: "cassandra", state, pid, port, endpoint: `127.0.0.1:${port}`, logFile };
}

/** A server's log: where it is, and its last lines. */
export function localLogs(
  name: LocalServerName,
  {
    lines = 100,
    version = DEFAULT_SPARK_VERSION,
    ...options
  }: LocalOptions & { readonly lines?: number; readonly version?: SparkVersion } = {},
): { readonly logFile: string; readonly lines: readonly string[] } {
  const home = homeOf(options);
  const logFile =
    name === "spark" ? sparkPlaces(home, version).logFile : join(localDirectories(home).logs, `${name}.log`);
  if (!existsSync(logFile)) {
    throw new UserError("LOCAL_LOG_MISSING", `There is no log of ${name} yet: ${logFile} does not exist`, {
      hint: `glue-connect local up ${name} starts it`,
      exitCode: ExitCode.configuration,
    });
  }
  return { logFile, lines: lastLines(logFile, lines) };
}

/**
 * The environment variables that make other programs use the servers that are up. They hold the token and the password: for a
 * shell of the user's, at the user's request, and nowhere else.
 *
 * @param options `version`: which Spark; default: the first that is up, 3.5 before others.
 * @throws UserError LOCAL_NOT_UP when none is.
 */
export async function localEnvironment(
  options: LocalOptions & { readonly version?: SparkVersion } = {},
): Promise<Readonly<Record<string, string>>> {
  const home = homeOf(options);
  const versions = options.version === undefined ? SPARK_VERSIONS : [options.version];
  const spark = versions.map((version) => findSparkProcess(home, version)?.remote).find((remote) => remote);
  const postgres = findPostgresProcess(home)?.url;
  if (spark === undefined && postgres === undefined) {
    throw new UserError("LOCAL_NOT_UP", `No local server of ${home} is up`, {
      hint: "glue-connect local up starts Spark and PostgreSQL",
      exitCode: ExitCode.configuration,
    });
  }
  return {
    ...(spark === undefined ? {} : { SPARK_REMOTE: spark }),
    ...(postgres === undefined ? {} : { DATABASE_URL: postgres }),
  };
}

function homeOf({ home, env }: LocalOptions): string {
  return resolve(home ?? stateHome(env));
}
