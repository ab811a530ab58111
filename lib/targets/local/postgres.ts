import { execFile, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import pg from "pg";
import { ExitCode, UserError } from "../../errors.js";
import { type Logger, silentLogger } from "../../logger.js";
import {
  type Environment,
  type LocalDirectories,
  localDirectories,
  makeLocalDirectories,
  stateHome,
} from "./directories.js";
import { withFileLock } from "./file-lock.js";
import { freePort, isPortFree } from "./free-port.js";
import { lastLines, openLog } from "./log-lines.js";
import { modulesRoot } from "./package-root.js";
import { poll } from "./poll.js";
import { canReach, ROOT_SHARED_FOLDER, type ServiceAccount, serviceAccount } from "./postgres-account.js";
import { findPostgresBinaries, type PostgresBinaries } from "./postgres-binaries.js";
import { identifyProcess, isAlive, type ProcessIdentity } from "./process-identity.js";
import { hasFields, readStateFile, writeSecretFile, writeStateFile } from "./state-file.js";
import { stopProcess } from "./stop-process.js";

/** How the local PostgreSQL is started. All of it counts for a start only: a server that is up is used as it is. */
export interface LocalPostgresOptions {
  /** Where state, logs and data are; default: {@link stateHome}. */
  readonly home?: string;
  /** Default: one that is free. */
  readonly port?: number;
  /** Minutes without a client after which the server ends by itself; 0 is never. Default: 30. */
  readonly idleMinutes?: number;
  /** For tests: fast and forgetful. Nothing is flushed to disk, and the data goes when the server is stopped. */
  readonly ephemeral?: boolean;
  /** Server settings beside and over our own. */
  readonly settings?: Readonly<Record<string, string>>;
  /** The server ends with this process, however that ends. */
  readonly ownerPid?: number;
  /** Milliseconds until it must answer; default: 60,000. */
  readonly startTimeoutMs?: number;
  readonly env?: Environment;
  readonly logger?: Logger;
  readonly signal?: AbortSignal;
}

/** A PostgreSQL server of this machine. */
export interface LocalPostgres {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** A secret, made at random for this state home. */
  readonly password: string;
  readonly database: string;
  /** With the password in it: never for a log. */
  readonly url: string;
  readonly pid: number;
  /** False when the server was up already. */
  readonly started: boolean;
  readonly logFile: string;
}

interface PostgresState extends ProcessIdentity {
  readonly port: number;
  readonly password: string;
  readonly logFile: string;
  readonly dataFolder: string;
  readonly ephemeral: boolean;
  /** False from the process's start until it answers. */
  readonly ready: boolean;
}

const HOST = "127.0.0.1";
const USER = "postgres";
const DATABASE = "postgres";
const START_TIMEOUT = 60_000;

/**
 * The local PostgreSQL: the one that is up, else a new one on the same data, which goes on after this process ends.
 *
 * Callers in any number of processes get the same server.
 *
 * @example
 * const { host, port, user, password, database } = await ensurePostgres();
 * @throws UserError POSTGRES_MISSING, POSTGRES_PORT_BUSY, POSTGRES_START_FAILED, POSTGRES_START_TIMEOUT,
 * POSTGRES_DATA_UNUSABLE, POSTGRES_NOT_ANSWERING
 */
export async function ensurePostgres(options: LocalPostgresOptions = {}): Promise<LocalPostgres> {
  const env = options.env ?? process.env;
  const logger = options.logger ?? silentLogger;
  const home = resolve(options.home ?? stateHome(env));
  const directories = makeLocalDirectories(home);

  const up = await findRunning(directories, options);
  if (up !== undefined) return up;
  return withFileLock(
    join(home, "postgres.lock"),
    async () => (await findRunning(directories, options, { wait: true })) ?? start(directories, options),
    {
      signal: options.signal,
      onWait: (pid) => logger.info(`Waiting for process ${pid}, which is starting PostgreSQL`),
    },
  );
}

/** A PostgreSQL process that lives; whether it answers is another question. */
export interface PostgresProcess {
  readonly pid: number;
  readonly port: number;
  /** With the password in it. */
  readonly url: string;
  readonly logFile: string;
}

/** The local PostgreSQL's process if it lives, without starting one and without asking it anything. */
export function findPostgresProcess(home: string): PostgresProcess | undefined {
  const state = readState(localDirectories(home));
  if (state === undefined || !isAlive(state)) return undefined;
  const { pid, port, url, logFile } = describe(state, false);
  return { pid, port, url, logFile };
}

/** Does the local PostgreSQL answer a query? */
export async function postgresAnswers(home: string, timeoutMs = 10_000): Promise<boolean> {
  const state = readState(localDirectories(home));
  return state !== undefined && (await refusal(state, timeoutMs)) === undefined;
}

/**
 * Ends the local PostgreSQL: its clients are cut off and what they committed is kept.
 *
 * @returns its pid, or undefined when none was up.
 */
export async function stopPostgres(home: string): Promise<number | undefined> {
  const directories = localDirectories(home);
  const state = readState(directories);
  if (state === undefined) return undefined;
  // INT ends clients and then shuts down in order; QUIT leaves the rest to the next start's recovery.
  const stopped = await stopProcess(state, ["SIGINT", "SIGQUIT"], 15_000);
  forget(directories, state);
  return stopped ? state.pid : undefined;
}

async function findRunning(
  directories: LocalDirectories,
  options: LocalPostgresOptions,
  { wait = false } = {},
): Promise<LocalPostgres | undefined> {
  const state = readState(directories);
  if (state === undefined || !isAlive(state)) return undefined;
  if (!state.ready) {
    if (!wait) return undefined;
    const ready = await awaitReady(directories, state, options);
    return ready === undefined ? undefined : describe(ready, false);
  }
  const problem = await refusal(state, 10_000);
  if (problem === undefined) return describe(state, false);
  if (!wait) return undefined;
  // It may be on its way down: give it the time to go. One that stays and doesn't answer needs its user.
  const gone = await poll(() => (isAlive(state) ? undefined : true), { timeoutMs: 10_000, signal: options.signal });
  if (gone) return undefined;
  throw new UserError(
    "POSTGRES_NOT_ANSWERING",
    `The local PostgreSQL (process ${state.pid}, port ${state.port}) does not answer: ${problem}`,
    {
      hint: "`glue-connect local down` ends it, the next run starts it again on the same data",
      problems: [`Its log is ${state.logFile}`],
      exitCode: ExitCode.unreachable,
    },
  );
}

async function start(directories: LocalDirectories, options: LocalPostgresOptions): Promise<LocalPostgres> {
  const logger = options.logger ?? silentLogger;
  if (options.port !== undefined && !(await isPortFree(options.port))) throw portBusy(options.port);
  const account = serviceAccount();
  const binaries = findPostgresBinaries(account, options.env);
  // What a killed server of tests left is worth nothing to the next one.
  const before = readState(directories);
  if (before?.ephemeral) forget(directories, before);

  const cluster = await makeCluster(directories, binaries, account, options);
  const logFile = join(directories.logs, "postgres.log");
  logger.info("Starting PostgreSQL");
  // Between finding a port and using it somebody else may take it.
  for (let attempt = 1; ; attempt++) {
    const port = options.port ?? (await freePort());
    const state = launch({ directories, binaries, account, cluster, port, logFile, options });
    const ready = state === undefined ? undefined : await awaitReady(directories, state, options);
    if (ready !== undefined) {
      logger.info(`PostgreSQL answers on ${HOST}:${ready.port}; its log is ${logFile}`);
      return describe(ready, true);
    }
    const lines = lastLines(logFile, 50);
    const busy = lines.some((line) => /could not bind .*address already in use/i.test(line));
    if (busy && options.port === undefined && attempt < 5) continue;
    if (cluster.ephemeral) rmSync(cluster.folder, { recursive: true, force: true });
    if (busy) throw portBusy(port);
    throw new UserError("POSTGRES_START_FAILED", "The local PostgreSQL ended while it was starting", {
      problems: [
        ...lines.filter((line) => /FATAL|PANIC|ERROR|HINT|DETAIL|error/.test(line)).slice(-5),
        `Its log is ${logFile}`,
      ],
      hint: "Put right what the log says and run the command again, or name a running server with --postgres-url",
    });
  }
}

interface Cluster {
  /** What initdb made. */
  readonly folder: string;
  readonly password: string;
  readonly ephemeral: boolean;
}

/** The data folder and its password: those that are there, else new ones. */
async function makeCluster(
  directories: LocalDirectories,
  binaries: PostgresBinaries,
  account: ServiceAccount | undefined,
  options: LocalPostgresOptions,
): Promise<Cluster> {
  const ephemeral = options.ephemeral ?? false;
  const parent = dataParent(directories, account, ephemeral);
  const folder = join(parent, "pgdata");
  const passwordFile = join(directories.postgres, "password");
  if (existsSync(join(folder, "PG_VERSION"))) {
    if (!existsSync(passwordFile)) {
      throw new UserError(
        "POSTGRES_DATA_UNUSABLE",
        `The password of the data in ${folder} is gone: ${passwordFile} is missing`,
        {
          hint: `Put that file back, or delete ${folder} to begin with an empty database`,
          exitCode: ExitCode.configuration,
        },
      );
    }
    await checkVersion(folder, binaries);
    return { folder, password: readFileSync(passwordFile, "utf8").trim(), ephemeral };
  }
  const password = randomBytes(24).toString("base64url");
  await initialise(parent, folder, password, binaries, account, options, ephemeral);
  if (!ephemeral) writeSecretFile(passwordFile, `${password}\n`);
  return { folder, password, ephemeral };
}

/** Made under another name and renamed, so that an initdb that was killed leaves no half of a database behind. */
async function initialise(
  parent: string,
  folder: string,
  password: string,
  binaries: PostgresBinaries,
  account: ServiceAccount | undefined,
  options: LocalPostgresOptions,
  ephemeral: boolean,
): Promise<void> {
  for (const name of readdirSync(parent)) {
    if (name.startsWith("making-")) rmSync(join(parent, name), { recursive: true, force: true });
  }
  const work = mkdtempSync(join(parent, "making-"));
  const passwordFile = join(work, "password");
  const data = join(work, "pgdata");
  writeFileSync(passwordFile, password, { mode: 0o600 });
  if (account !== undefined) {
    for (const path of [work, passwordFile]) chownSync(path, account.uid, account.gid);
  }
  try {
    await promisify(execFile)(
      binaries.initdb,
      [
        "-D",
        data,
        "-U",
        USER,
        "-A",
        "scram-sha-256",
        `--pwfile=${passwordFile}`,
        "-E",
        "UTF8",
        "--locale=C",
        ...(ephemeral ? ["--no-sync"] : []),
      ],
      { cwd: work, env: serverEnvironment(options), ...account },
    );
    renameSync(data, folder);
  } catch (error) {
    const { stdout, stderr } = error as { stdout?: string; stderr?: string };
    throw new UserError("POSTGRES_START_FAILED", "initdb could not make the local PostgreSQL's data folder", {
      problems: [`${stderr ?? ""}\n${stdout ?? ""}`, (error as Error).message]
        .flatMap((text) => text.split("\n"))
        .filter((line) => /error|fatal|could not|cannot|no such|denied/i.test(line))
        .slice(0, 5),
      hint: "Set GLUE_CONNECT_PG_BIN to the bin folder of an installed PostgreSQL, or name a running server with --postgres-url",
      cause: error,
    });
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** The folder around `pgdata`: ours, or one that the other account can get to when we are root under a closed folder. */
function dataParent(directories: LocalDirectories, account: ServiceAccount | undefined, ephemeral: boolean): string {
  const elsewhere = join(directories.postgres, "data-is-in");
  // Once there, it stays there: a folder that was opened since must not make the data seem gone.
  if (!ephemeral && existsSync(elsewhere)) return readlinkSync(elsewhere);
  if (account === undefined || canReach(directories.postgres, account)) {
    return ephemeral ? opened(mkdtempSync(join(directories.postgres, "ephemeral-"))) : directories.postgres;
  }
  if (ephemeral)
    return opened(mkdtempSync(join(canReach(tmpdir(), account) ? tmpdir() : sharedFolder(), "glue-connect-postgres-")));
  const other = join(sharedFolder(), createHash("sha256").update(directories.home).digest("hex").slice(0, 16));
  mkdirSync(other, { recursive: true, mode: 0o711 });
  rmSync(elsewhere, { force: true });
  symlinkSync(other, elsewhere);
  return other;
}

/** Others may pass through to the data, which is closed itself. */
function opened(folder: string): string {
  chmodSync(folder, 0o711);
  return folder;
}

function sharedFolder(): string {
  mkdirSync(ROOT_SHARED_FOLDER, { recursive: true, mode: 0o755 });
  return ROOT_SHARED_FOLDER;
}

async function checkVersion(folder: string, binaries: PostgresBinaries): Promise<void> {
  const data = readFileSync(join(folder, "PG_VERSION"), "utf8").trim();
  const { stdout } = await promisify(execFile)(binaries.postgres, ["--version"]);
  const program = /(\d+)/.exec(stdout)?.[1];
  if (program === data) return;
  throw new UserError(
    "POSTGRES_DATA_UNUSABLE",
    `The data in ${folder} is of PostgreSQL ${data}, the programs are ${stdout.trim()}`,
    {
      hint: `Set GLUE_CONNECT_PG_BIN to the bin folder of a PostgreSQL ${data}, or delete ${folder} to begin with an empty database`,
      exitCode: ExitCode.configuration,
    },
  );
}

interface Launch {
  readonly directories: LocalDirectories;
  readonly binaries: PostgresBinaries;
  readonly account: ServiceAccount | undefined;
  readonly cluster: Cluster;
  readonly port: number;
  readonly logFile: string;
  readonly options: LocalPostgresOptions;
}

/** Undefined when it ended at once. */
function launch({
  directories,
  binaries,
  account,
  cluster,
  port,
  logFile,
  options,
}: Launch): PostgresState | undefined {
  const settings: Readonly<Record<string, string>> = {
    listen_addresses: HOST,
    unix_socket_directories: "",
    timezone: "UTC",
    log_timezone: "UTC",
    ...(cluster.ephemeral ? { fsync: "off", synchronous_commit: "off", full_page_writes: "off" } : {}),
    ...options.settings,
    port: String(port),
  };
  const log = openLog(logFile);
  const child = spawn(
    binaries.postgres,
    ["-D", cluster.folder, ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`])],
    { cwd: cluster.folder, detached: true, stdio: ["ignore", log, log], env: serverEnvironment(options), ...account },
  );
  closeSync(log);
  child.on("error", () => {});
  child.unref();
  const self = child.pid === undefined ? undefined : identifyProcess(child.pid);
  if (self === undefined) return undefined;
  const state: PostgresState = {
    ...self,
    port,
    password: cluster.password,
    logFile,
    dataFolder: cluster.folder,
    ephemeral: cluster.ephemeral,
    ready: false,
  };
  writeStateFile(stateFile(directories), state);
  return state;
}

/** Undefined when the process ended instead. */
async function awaitReady(
  directories: LocalDirectories,
  state: PostgresState,
  options: LocalPostgresOptions,
): Promise<PostgresState | undefined> {
  const timeoutMs = options.startTimeoutMs ?? START_TIMEOUT;
  const outcome = await poll(
    async () => {
      if (!isAlive(state)) return "ended" as const;
      return saysReady(state) && (await refusal(state, 5_000)) === undefined ? ("ready" as const) : undefined;
    },
    { timeoutMs, signal: options.signal },
  );
  if (outcome === "ready") {
    // Before anyone is told that it is up: a launcher that is killed here leaves a server that is waited for again.
    startGuard(directories, state, options);
    const ready = { ...state, ready: true };
    writeStateFile(stateFile(directories), ready);
    return ready;
  }
  if (outcome === "ended") return undefined;
  await stopProcess(state, ["SIGQUIT"], 5_000);
  forget(directories, state);
  throw new UserError(
    "POSTGRES_START_TIMEOUT",
    `The local PostgreSQL did not answer within ${timeoutMs / 1000} s and was ended`,
    {
      problems: [...lastLines(state.logFile, 5), `Its log is ${state.logFile}`],
      hint: "See what keeps this machine busy, and run the command again",
      exitCode: ExitCode.retryable,
    },
  );
}

/** PostgreSQL's own note in its data folder, cheaper to look at than a connection that fails. */
function saysReady({ dataFolder, pid }: PostgresState): boolean {
  try {
    const lines = readFileSync(join(dataFolder, "postmaster.pid"), "utf8").split("\n");
    return lines[0] === String(pid) && lines[7]?.trim() === "ready";
  } catch {
    return false;
  }
}

/** Why a query isn't answered; undefined when it is. */
async function refusal({ port, password }: PostgresState, timeoutMs: number): Promise<string | undefined> {
  const client = new pg.Client({
    host: HOST,
    port,
    user: USER,
    password,
    database: DATABASE,
    connectionTimeoutMillis: timeoutMs,
    query_timeout: timeoutMs,
    application_name: "glue-connect local",
  });
  // A server that goes down ends the connection, and an event that nobody hears ends the process.
  client.on("error", () => {});
  try {
    await client.connect();
    await client.query("select 1");
    return undefined;
  } catch (error) {
    return (error as Error).message;
  } finally {
    await client.end().catch(() => {});
  }
}

/** Stops the server when nobody uses it. PostgreSQL has no such setting, so a small process keeps an eye on it. */
function startGuard(directories: LocalDirectories, state: PostgresState, options: LocalPostgresOptions): void {
  const idleSeconds = (options.idleMinutes ?? 30) * 60;
  if (idleSeconds <= 0 && options.ownerPid === undefined) return;
  const guard = spawn(
    process.execPath,
    [
      join(modulesRoot(), "lib", "targets", "local", "postgres-guard.mjs"),
      stateFile(directories),
      String(state.pid),
      String(idleSeconds),
      String(options.ownerPid ?? 0),
    ],
    { cwd: directories.home, detached: true, stdio: "ignore", env: {} },
  );
  guard.on("error", () => {});
  guard.unref();
}

/** Nothing of the caller's: PGHOST, PGDATA and the like would change what the programs do. */
function serverEnvironment(options: LocalPostgresOptions): Record<string, string> {
  return { LC_ALL: "C", PATH: (options.env ?? process.env).PATH ?? "", TZ: "UTC" };
}

function portBusy(port: number): UserError {
  return new UserError("POSTGRES_PORT_BUSY", `Port ${port} is in use by another program`, {
    hint: "Leave the port out, and a free one is found, or name another",
    exitCode: ExitCode.configuration,
  });
}

function stateFile(directories: LocalDirectories): string {
  return join(directories.home, "postgres.json");
}

function readState(directories: LocalDirectories): PostgresState | undefined {
  return readStateFile(stateFile(directories), (value) =>
    hasFields(value, {
      pid: "number",
      began: "string",
      port: "number",
      password: "string",
      logFile: "string",
      dataFolder: "string",
      ephemeral: "boolean",
      ready: "boolean",
    })
      ? (value as PostgresState)
      : undefined,
  );
}

/** Only what this server left: another may have taken its place. */
function forget(directories: LocalDirectories, state: PostgresState): void {
  if (state.ephemeral) rmSync(join(state.dataFolder, ".."), { recursive: true, force: true });
  const now = readState(directories);
  if (now?.pid === state.pid && now.began === state.began) rmSync(stateFile(directories), { force: true });
}

function describe(state: PostgresState, started: boolean): LocalPostgres {
  const { port, password, pid, logFile } = state;
  return {
    host: HOST,
    port,
    user: USER,
    password,
    database: DATABASE,
    url: `postgresql://${USER}:${encodeURIComponent(password)}@${HOST}:${port}/${DATABASE}`,
    pid,
    started,
    logFile,
  };
}
