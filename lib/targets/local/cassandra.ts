import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { ExitCode, UserError } from "../../errors.js";
import { type Logger, silentLogger } from "../../logger.js";
import { cassandraRefusal } from "./cassandra-probe.js";
import { cassandraJvmOptions, cassandraYaml } from "./cassandra-settings.js";
import {
  type Environment,
  type LocalDirectories,
  localDirectories,
  makeLocalDirectories,
  stateHome,
} from "./directories.js";
import { withFileLock } from "./file-lock.js";
import { freePort, isPortFree } from "./free-port.js";
import { findJava, type Java } from "./java.js";
import { lastLines, openLog, reasonsIn } from "./log-lines.js";
import { ensureMavenJars } from "./maven-jars.js";
import { packageRoot } from "./package-root.js";
import { poll } from "./poll.js";
import { identifyProcess, isAlive, type ProcessIdentity } from "./process-identity.js";
import { hasFields, readStateFile, writeStateFile } from "./state-file.js";
import { stopProcess } from "./stop-process.js";

/** How the local Cassandra is started. All of it counts for a start only: a node that is up is used as it is. */
export interface LocalCassandraOptions {
  /** Where state, logs and data are; default: {@link stateHome}. */
  readonly home?: string;
  /** Default: one that is free. */
  readonly port?: number;
  /** Minutes without a client after which the node ends by itself; 0 is never. Default: 30. */
  readonly idleMinutes?: number;
  /** For tests: fast and forgetful. The data goes when the node is stopped. */
  readonly ephemeral?: boolean;
  /** The node ends with this process, however that ends. */
  readonly ownerPid?: number;
  /** Milliseconds until it must answer; default: 120,000. Fetching the jars doesn't count. */
  readonly startTimeoutMs?: number;
  readonly env?: Environment;
  readonly logger?: Logger;
  readonly signal?: AbortSignal;
}

/** A Cassandra node of this machine, which stands in for Amazon Keyspaces. */
export interface LocalCassandra {
  readonly host: string;
  readonly port: number;
  readonly localDataCenter: string;
  readonly username: string;
  /** A secret, made at random for each start. */
  readonly password: string;
  readonly pid: number;
  /** False when the node was up already. */
  readonly started: boolean;
  readonly logFile: string;
}

interface CassandraState extends ProcessIdentity {
  readonly port: number;
  readonly password: string;
  readonly logFile: string;
  readonly folder: string;
  readonly ephemeral: boolean;
  /** False from the process's start until it answers. */
  readonly ready: boolean;
}

const HOST = "127.0.0.1";
const USER = "cassandra";
/** How SimpleSnitch calls the only one there is. */
const DATA_CENTER = "datacenter1";
const START_TIMEOUT = 120_000;
const ANSWER_TIMEOUT = 20_000;

/**
 * The local Cassandra: the node that is up, else a new one on the same data, which goes on after this process ends.
 *
 * Callers in any number of processes get the same node.
 *
 * @example
 * const { host, port, username, password, localDataCenter } = await ensureCassandra();
 * @throws UserError JAVA_MISSING, JAVA_UNSUPPORTED, MAVEN_MISSING, MAVEN_FAILED, CASSANDRA_PORT_BUSY, CASSANDRA_START_FAILED,
 * CASSANDRA_START_TIMEOUT, CASSANDRA_NOT_ANSWERING
 */
export async function ensureCassandra(options: LocalCassandraOptions = {}): Promise<LocalCassandra> {
  const env = options.env ?? process.env;
  const logger = options.logger ?? silentLogger;
  const home = resolve(options.home ?? stateHome(env));
  const directories = makeLocalDirectories(home);

  const up = await findRunning(directories, options);
  if (up !== undefined) return up;
  return withFileLock(
    join(home, "cassandra.lock"),
    async () => {
      const meanwhile = await findRunning(directories, options, { wait: true });
      if (meanwhile !== undefined) return meanwhile;
      const java = await findJava(env);
      return start(directories, java, await ensureCassandraJars({ ...options, java }), options);
    },
    {
      signal: options.signal,
      onWait: (pid) => logger.info(`Waiting for process ${pid}, which is starting Cassandra`),
    },
  );
}

/** A Cassandra process that lives; whether it answers is another question. */
export interface CassandraProcess {
  readonly pid: number;
  readonly port: number;
  readonly ready: boolean;
  readonly logFile: string;
}

/** The local Cassandra's process if it lives, without starting one and without asking it anything. */
export function findCassandraProcess(home: string): CassandraProcess | undefined {
  const state = readState(localDirectories(home));
  if (state === undefined || !isAlive(state)) return undefined;
  const { pid, port, ready, logFile } = state;
  return { pid, port, ready, logFile };
}

/** Does the local Cassandra answer clients? */
export async function cassandraAnswers(home: string, timeoutMs = ANSWER_TIMEOUT): Promise<boolean> {
  const state = readState(localDirectories(home));
  return state !== undefined && (await cassandraRefusal(HOST, state.port, timeoutMs)) === undefined;
}

/**
 * Ends the local Cassandra; what it was told is kept.
 *
 * @returns its pid, or undefined when none was up.
 */
export async function stopCassandra(home: string): Promise<number | undefined> {
  const directories = localDirectories(home);
  const state = readState(directories);
  if (state === undefined) return undefined;
  // One whose data goes anyway needs no orderly end, which takes five seconds.
  const stopped = await stopProcess(state, state.ephemeral ? [] : ["SIGTERM"], 20_000);
  forget(directories, state);
  return stopped ? state.pid : undefined;
}

/**
 * The folder with the node's jars; Maven fills it the first time.
 *
 * @throws UserError MAVEN_MISSING, MAVEN_FAILED
 */
export function ensureCassandraJars(
  options: Pick<LocalCassandraOptions, "env" | "logger" | "signal"> & { readonly java: Java },
): Promise<string> {
  const project = join(packageRoot(), "infra", "cassandra");
  const version = /<cassandra\.version>([^<]+)</.exec(readFileSync(join(project, "pom.xml"), "utf8"))?.[1] ?? "";
  return ensureMavenJars({
    ...options,
    project,
    folderName: `cassandra-${version}-`,
    server: "Cassandra",
    version,
    instead: "or name a cluster that runs elsewhere with --CLUSTER",
  });
}

async function findRunning(
  directories: LocalDirectories,
  options: LocalCassandraOptions,
  { wait = false } = {},
): Promise<LocalCassandra | undefined> {
  const state = readState(directories);
  if (state === undefined || !isAlive(state)) return undefined;
  if (!state.ready) {
    if (!wait) return undefined;
    const ready = await awaitReady(directories, state, options);
    return ready === undefined ? undefined : describe(ready, false);
  }
  const problem = await cassandraRefusal(HOST, state.port, ANSWER_TIMEOUT);
  if (problem === undefined) return describe(state, false);
  if (!wait) return undefined;
  // It may be on its way down: give it the time to go. One that stays and doesn't answer needs its user.
  const gone = await poll(() => (isAlive(state) ? undefined : true), { timeoutMs: 20_000, signal: options.signal });
  if (gone) return undefined;
  throw new UserError(
    "CASSANDRA_NOT_ANSWERING",
    `The local Cassandra (process ${state.pid}, port ${state.port}) does not answer: ${problem}`,
    {
      hint: "`glue-connect local down cassandra` ends it, the next run starts it again on the same data",
      problems: [`Its log is ${state.logFile}`],
      exitCode: ExitCode.unreachable,
    },
  );
}

async function start(
  directories: LocalDirectories,
  java: Java,
  jars: string,
  options: LocalCassandraOptions,
): Promise<LocalCassandra> {
  const logger = options.logger ?? silentLogger;
  if (options.port !== undefined && !(await isPortFree(options.port))) throw portBusy(options.port);
  // What a killed node of tests left is worth nothing to the next one.
  for (const name of readdirSync(directories.cassandra)) {
    if (name.startsWith("ephemeral-")) rmSync(join(directories.cassandra, name), { recursive: true, force: true });
  }
  const logFile = join(directories.logs, "cassandra.log");
  logger.info("Starting Cassandra");
  // Between finding a port and using it somebody else may take it.
  for (let attempt = 1; ; attempt++) {
    const state = await launch(directories, java, jars, logFile, options);
    const ready = state === undefined ? undefined : await awaitReady(directories, state, options);
    if (ready !== undefined) {
      logger.info(`Cassandra answers on ${HOST}:${ready.port}; its log is ${logFile}`);
      return describe(ready, true);
    }
    const lines = lastLines(logFile, 200);
    const busy = lines.some((line) => /address already in use|failed to bind/i.test(line));
    if (busy && options.port === undefined && attempt < 5) continue;
    if (busy && options.port !== undefined) throw portBusy(options.port);
    throw new UserError("CASSANDRA_START_FAILED", "The local Cassandra ended while it was starting", {
      problems: [...reasonsIn(lines), `Its log is ${logFile}`],
      hint: "Put right what the log says and run the command again, or name a cluster that runs elsewhere with --CLUSTER",
    });
  }
}

/** Undefined when it ended at once. */
async function launch(
  directories: LocalDirectories,
  java: Java,
  jars: string,
  logFile: string,
  options: LocalCassandraOptions,
): Promise<CassandraState | undefined> {
  const ephemeral = options.ephemeral ?? false;
  const port = options.port ?? (await freePort());
  const folder = ephemeral
    ? mkdtempSync(join(directories.cassandra, "ephemeral-"))
    : join(directories.cassandra, "node");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const yaml = join(folder, "cassandra.yaml");
  writeFileSync(yaml, cassandraYaml({ folder, host: HOST, port, storagePort: await freePort() }));
  const password = randomBytes(24).toString("base64url");
  const log = openLog(logFile);
  const child = spawn(
    java.command,
    [...cassandraJvmOptions(folder, yaml, ephemeral), "-cp", join(jars, "*"), "io.glueconnect.cassandra.Node"],
    {
      cwd: folder,
      detached: true,
      stdio: ["ignore", log, log],
      env: {
        PATH: (options.env ?? process.env).PATH ?? "",
        LC_ALL: "C.UTF-8",
        TZ: "UTC",
        GLUE_CONNECT_CASSANDRA_PASSWORD: password,
        GLUE_CONNECT_CASSANDRA_IDLE_SECONDS: String((options.idleMinutes ?? 30) * 60),
        GLUE_CONNECT_CASSANDRA_OWNER_PID: String(options.ownerPid ?? 0),
      },
    },
  );
  closeSync(log);
  child.on("error", () => {});
  child.unref();
  const self = child.pid === undefined ? undefined : identifyProcess(child.pid);
  if (self === undefined) return undefined;
  const state: CassandraState = { ...self, port, password, logFile, folder, ephemeral, ready: false };
  // Noted before it is up: if we are killed now, the next caller finds it instead of starting a second one.
  writeStateFile(stateFile(directories), state);
  return state;
}

/** Undefined when the process ended instead. */
async function awaitReady(
  directories: LocalDirectories,
  state: CassandraState,
  options: LocalCassandraOptions,
): Promise<CassandraState | undefined> {
  const timeoutMs = options.startTimeoutMs ?? START_TIMEOUT;
  const outcome = await poll(
    async () => {
      if (!isAlive(state)) return "ended" as const;
      return (await cassandraRefusal(HOST, state.port, 5_000)) === undefined ? ("ready" as const) : undefined;
    },
    { timeoutMs, intervalMs: 100, signal: options.signal },
  );
  if (outcome === "ready") {
    const ready = { ...state, ready: true };
    writeStateFile(stateFile(directories), ready);
    return ready;
  }
  if (outcome === undefined) await stopProcess(state, [], 5_000);
  forget(directories, state);
  if (outcome === "ended") return undefined;
  throw new UserError(
    "CASSANDRA_START_TIMEOUT",
    `The local Cassandra did not answer within ${timeoutMs / 1000} s and was ended`,
    {
      problems: [...reasonsIn(lastLines(state.logFile, 200)), `Its log is ${state.logFile}`],
      hint: "See what keeps this machine busy, and run the command again",
      exitCode: ExitCode.retryable,
    },
  );
}

function portBusy(port: number): UserError {
  return new UserError("CASSANDRA_PORT_BUSY", `Port ${port} is in use by another program`, {
    hint: "Leave the port out, and a free one is found, or name another",
    exitCode: ExitCode.configuration,
  });
}

function stateFile(directories: LocalDirectories): string {
  return join(directories.home, "cassandra.json");
}

function readState(directories: LocalDirectories): CassandraState | undefined {
  return readStateFile(stateFile(directories), (value) =>
    hasFields(value, {
      pid: "number",
      began: "string",
      port: "number",
      password: "string",
      logFile: "string",
      folder: "string",
      ephemeral: "boolean",
      ready: "boolean",
    })
      ? (value as CassandraState)
      : undefined,
  );
}

/** Only what this node left: another may have taken its place. */
function forget(directories: LocalDirectories, state: CassandraState): void {
  if (state.ephemeral) rmSync(state.folder, { recursive: true, force: true });
  const now = readState(directories);
  if (now?.pid === state.pid && now.began === state.began) rmSync(stateFile(directories), { force: true });
}

function describe({ port, password, pid, logFile }: CassandraState, started: boolean): LocalCassandra {
  return {
    host: HOST,
    port,
    localDataCenter: DATA_CENTER,
    username: USER,
    password,
    pid,
    started,
    logFile,
  };
}
