import { spawn } from "node:child_process";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { closeSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { ExitCode, UserError } from "../../errors.js";
import { type Logger, silentLogger } from "../../logger.js";
import { type Environment, makeLocalDirectories, stateHome } from "./directories.js";
import { withFileLock } from "./file-lock.js";
import { isPortFree } from "./free-port.js";
import { findJava, type Java } from "./java.js";
import { lastLines, openLog, reasonsIn } from "./log-lines.js";
import { poll } from "./poll.js";
import { identifyProcess, isAlive, type ProcessIdentity } from "./process-identity.js";
import {
  ensureSparkJars,
  featuresInWords,
  type SparkFeature,
  type SparkJars,
  type SparkProfile,
  sparkFeatures,
} from "./spark-jars.js";
import { probeSpark } from "./spark-probe.js";
import { accessEnvironment, sparkSettings, toProperties } from "./spark-settings.js";
import { DEFAULT_SPARK_VERSION, type SparkPlaces, type SparkVersion, sparkPlaces } from "./spark-version.js";
import { hasFields, readStateFile, writeSecretFile, writeStateFile } from "./state-file.js";
import { stopProcess } from "./stop-process.js";

/** How the local Spark is started. A server of that version that is up is used as it is, if it can do what the profile says. */
export interface LocalSparkOptions {
  /** Default: 3.5, as EMR and Glue run it. One server of each version can be up. */
  readonly version?: SparkVersion;
  /** Where state, logs and the warehouse are; default: {@link stateHome}. */
  readonly home?: string;
  /** Default: one that is free. */
  readonly port?: number;
  /** Minutes without a call or a job after which the server ends by itself; 0 is never. Default: 30. */
  readonly idleMinutes?: number;
  /** Spark settings beside and over our own. */
  readonly conf?: Readonly<Record<string, string>>;
  /** Default: "base". A server with more features does for less, too. */
  readonly profile?: SparkProfile;
  /** The server ends with this process, however that ends. */
  readonly ownerPid?: number;
  /** Milliseconds from the JVM's start to its first answer; default: 120,000. Fetching the jars doesn't count. */
  readonly startTimeoutMs?: number;
  readonly env?: Environment;
  readonly logger?: Logger;
  readonly signal?: AbortSignal;
}

/** A Spark Connect server of this machine. */
export interface LocalSpark {
  /** `sc://127.0.0.1:PORT/;use_ssl=false;token=...`: a secret, whoever has it runs code as this user. */
  readonly remote: string;
  readonly port: number;
  readonly pid: number;
  /** False when the server was up already. */
  readonly started: boolean;
  readonly logFile: string;
  /** Folder of the Iceberg catalog `lake`. */
  readonly warehouse: string;
}

interface SparkState extends ProcessIdentity {
  readonly token: string;
  /** Null from the JVM's start until it listens. */
  readonly port: number | null;
  /** Where the JVM writes its port. */
  readonly readyFile: string;
  readonly logFile: string;
  /** What it was started with, to notice that a caller wants something else. */
  readonly settings: string;
  /** Left out in the notes of older versions, which had no other. */
  readonly profile?: SparkProfile;
}

const START_TIMEOUT = 120_000;
/** A server in the middle of a big job on two cores may take its time, and must not be taken for dead. */
const ANSWER_TIMEOUT = 20_000;

/**
 * The local Spark Connect server: the one that is up, else a new one, which goes on after this process ends.
 *
 * Callers in any number of processes get the same server.
 *
 * @example
 * const { remote } = await ensureSpark();
 * const spark = await SparkSession.builder().remote(remote).getOrCreate();
 * @throws UserError JAVA_MISSING, JAVA_UNSUPPORTED, MAVEN_MISSING, MAVEN_FAILED, SPARK_PORT_BUSY, SPARK_START_FAILED,
 * SPARK_START_TIMEOUT, SPARK_NOT_ANSWERING, SPARK_WITHOUT_S3, SPARK_WITHOUT_CASSANDRA
 */
export async function ensureSpark(options: LocalSparkOptions = {}): Promise<LocalSpark> {
  const env = options.env ?? process.env;
  const logger = options.logger ?? silentLogger;
  const home = resolve(options.home ?? stateHome(env));
  const places = makePlaces(home, options.version);

  // The usual case needs no lock: it is up.
  const up = await findRunning(places, options);
  if (up !== undefined) return up;
  return withFileLock(
    places.lockFile,
    async () => {
      const meanwhile = await findRunning(places, options, { wait: true });
      if (meanwhile !== undefined) return meanwhile;
      const java = await findJava(env);
      const jars = await ensureSparkJars({
        java,
        env,
        logger,
        signal: options.signal,
        ...(options.version === undefined ? {} : { version: options.version }),
        ...(options.profile === undefined ? {} : { profile: options.profile }),
      });
      return start(places, java, jars, options);
    },
    { signal: options.signal, onWait: (pid) => logger.info(`Waiting for process ${pid}, which is starting Spark`) },
  );
}

function makePlaces(home: string, version: SparkVersion = DEFAULT_SPARK_VERSION): SparkPlaces {
  makeLocalDirectories(home);
  const places = sparkPlaces(home, version);
  mkdirSync(places.folder, { recursive: true, mode: 0o700 });
  return places;
}

/** A Spark process that lives; whether it answers is another question. */
export interface SparkProcess {
  readonly pid: number;
  /** Null until it listens. */
  readonly port: number | null;
  /** With the token in it; undefined until it listens. */
  readonly remote: string | undefined;
  readonly logFile: string;
}

/** The local Spark's process if it lives, without starting one and without asking it anything. */
export function findSparkProcess(
  home: string,
  version: SparkVersion = DEFAULT_SPARK_VERSION,
): SparkProcess | undefined {
  const state = readState(sparkPlaces(home, version));
  if (state === undefined || !isAlive(state)) return undefined;
  return {
    pid: state.pid,
    port: state.port,
    remote: state.port === null ? undefined : remoteOf(state.port, state.token),
    logFile: state.logFile,
  };
}

/** Does the local Spark answer a real call? */
export async function sparkAnswers(
  home: string,
  version: SparkVersion = DEFAULT_SPARK_VERSION,
  timeoutMs = ANSWER_TIMEOUT,
): Promise<boolean> {
  const state = readState(sparkPlaces(home, version));
  if (state?.port == null) return false;
  return (await probeSpark({ port: state.port, token: state.token, timeoutMs })).kind === "version";
}

/**
 * Ends the local Spark: asks first, kills after ten seconds.
 *
 * @returns its pid, or undefined when none was up.
 */
export async function stopSpark(
  home: string,
  version: SparkVersion = DEFAULT_SPARK_VERSION,
): Promise<number | undefined> {
  const places = sparkPlaces(home, version);
  const state = readState(places);
  if (state === undefined) return undefined;
  const stopped = await stopProcess(state);
  forget(places, state);
  return stopped ? state.pid : undefined;
}

/** The server of the state file, when that very process lives and answers. With `wait`, one on its way up or down is waited for. */
async function findRunning(
  places: SparkPlaces,
  options: LocalSparkOptions,
  { wait = false } = {},
): Promise<LocalSpark | undefined> {
  let state = readState(places);
  if (state === undefined || !isAlive(state)) return undefined;
  if (state.port === null) {
    // Its launcher is at work, or was killed at it: in that case, under the lock, the JVM is ours to wait for.
    if (!wait) return undefined;
    state = await awaitPort(places, state, options);
  }
  const port = state.port;
  if (port === null) return undefined;
  const answer = await probeSpark({ port, token: state.token, timeoutMs: ANSWER_TIMEOUT });
  if (answer.kind === "version") {
    const has = sparkFeatures(state.profile ?? "base");
    const missing = sparkFeatures(options.profile ?? "base").filter((feature) => !has.includes(feature));
    if (missing.length > 0) throw withoutFeatures(state, missing);
    if (options.conf !== undefined && state.settings !== settingsOf(options)) {
      (options.logger ?? silentLogger).warn(
        "The local Spark that is up was started with other settings and is used as it is; `glue-connect local down` first starts it anew",
      );
    }
    return describe(state, port, false, places);
  }
  if (answer.kind === "silent" || answer.kind === "refused") {
    throw new UserError(
      "SPARK_NOT_ANSWERING",
      `The local Spark (process ${state.pid}, port ${port}) does not answer: ${answer.message}`,
      {
        hint: "`glue-connect local down` ends it, the next run starts another",
        problems: [`Its log is ${state.logFile}`],
        exitCode: ExitCode.unreachable,
      },
    );
  }
  // It is on its way out, as an idle server is: the next one may start when it is gone.
  if (wait) await stopProcess(state, ["SIGTERM"], 20_000);
  return undefined;
}

async function start(
  places: SparkPlaces,
  java: Java,
  jars: SparkJars,
  options: LocalSparkOptions,
): Promise<LocalSpark> {
  const env = options.env ?? process.env;
  const logger = options.logger ?? silentLogger;
  const { port = 0, version = DEFAULT_SPARK_VERSION, profile = "base" } = options;
  if (port !== 0 && !(await isPortFree(port))) throw portBusy(port);

  const token = randomBytes(24).toString("base64url");
  const readyFile = join(places.folder, `${randomUUID()}.port`);
  const { logFile } = places;
  const propertiesFile = join(places.folder, "spark.properties");
  const temporary = join(places.folder, "tmp");
  mkdirSync(temporary, { recursive: true, mode: 0o700 });
  // A file of our own, as a command line shows to every user of the machine and settings may hold keys.
  const own = sparkSettings({ places, temporary, port, version, profile, env });
  writeSecretFile(propertiesFile, toProperties({ ...own, ...options.conf }));

  logger.info(`Starting Spark ${jars.sparkVersion}`);
  const log = openLog(logFile);
  const child = spawn(
    java.command,
    [
      ...JVM_OPTIONS,
      ...ownJavaOptions(env),
      `-Djava.io.tmpdir=${temporary}`,
      "-cp",
      join(jars.folder, "*"),
      ...submit(propertiesFile),
    ],
    {
      cwd: places.folder,
      detached: true,
      stdio: ["ignore", log, log],
      env: {
        ...withoutSparkSettings(env),
        SPARK_LOCAL_IP: "127.0.0.1",
        ...accessEnvironment(version, token),
        GLUE_CONNECT_SPARK_READY_FILE: readyFile,
        GLUE_CONNECT_SPARK_IDLE_SECONDS: String((options.idleMinutes ?? 30) * 60),
        GLUE_CONNECT_SPARK_OWNER_PID: String(options.ownerPid ?? 0),
      },
    },
  );
  closeSync(log);
  child.on("error", () => {});
  child.unref();
  const self = child.pid === undefined ? undefined : identifyProcess(child.pid);
  if (self === undefined) throw startFailed(logFile, port);

  const state: SparkState = { ...self, token, port: null, readyFile, logFile, settings: settingsOf(options), profile };
  // Noted before it is up: if we are killed now, the next caller finds it instead of starting a second one.
  writeStateFile(places.stateFile, state);
  const ready = await awaitPort(places, state, options);
  if (ready.port === null) throw startFailed(logFile, port);
  const answer = await probeSpark({ port: ready.port, token, timeoutMs: ANSWER_TIMEOUT });
  if (answer.kind !== "version") {
    await stopProcess(ready);
    forget(places, ready);
    throw startFailed(logFile, port, [answer.message]);
  }
  logger.info(`Spark ${answer.version} answers on 127.0.0.1:${ready.port}; its log is ${logFile}`);
  return describe(ready, ready.port, true, places);
}

/** Waits until the JVM says where it listens; `port` stays null when it ended instead. */
async function awaitPort(places: SparkPlaces, state: SparkState, options: LocalSparkOptions): Promise<SparkState> {
  const timeoutMs = options.startTimeoutMs ?? START_TIMEOUT;
  const outcome = await poll(() => readPort(state.readyFile) ?? (isAlive(state) ? undefined : ("ended" as const)), {
    timeoutMs,
    signal: options.signal,
  });
  if (typeof outcome === "number") {
    const ready = { ...state, port: outcome };
    writeStateFile(places.stateFile, ready);
    rmSync(state.readyFile, { force: true });
    return ready;
  }
  if (outcome === undefined) await stopProcess(state);
  forget(places, state);
  if (outcome === "ended") return state;
  throw new UserError(
    "SPARK_START_TIMEOUT",
    `The local Spark did not answer within ${timeoutMs / 1000} s and was ended`,
    {
      problems: [...reasonsIn(lastLines(state.logFile, 200)), `Its log is ${state.logFile}`],
      hint: "See what keeps this machine busy, and run the command again",
      exitCode: ExitCode.retryable,
    },
  );
}

function readPort(readyFile: string): number | undefined {
  try {
    return Number(readFileSync(readyFile, "ascii"));
  } catch {
    return undefined;
  }
}

function startFailed(logFile: string, port: number, more: readonly string[] = []): UserError {
  const lines = lastLines(logFile, 200);
  if (port !== 0 && lines.some((line) => /address already in use|BindException/i.test(line))) return portBusy(port);
  const noMemory = lines.some((line) =>
    /could not reserve enough space|insufficient memory|OutOfMemoryError/i.test(line),
  );
  return new UserError("SPARK_START_FAILED", "The local Spark ended while it was starting", {
    problems: [...more, ...reasonsIn(lines), `Its log is ${logFile}`],
    hint: noMemory
      ? "The local Spark needs 3 GB of memory: end other programs, set GLUE_CONNECT_SPARK_JAVA_OPTIONS (such as -Xmx6g), or use a Spark that runs elsewhere with --remote sc://..."
      : "Put right what the log says and run the command again; --remote sc://... or SPARK_REMOTE uses a Spark that runs elsewhere",
  });
}

function withoutFeatures(state: SparkState, missing: readonly SparkFeature[]): UserError {
  const code = missing.includes("aws") ? "SPARK_WITHOUT_S3" : "SPARK_WITHOUT_CASSANDRA";
  const flags = missing.map((feature) => `--${feature}`).join(" ");
  return new UserError(
    code,
    `The local Spark that is up (process ${state.pid}) was started without the jars for ${featuresInWords(missing)}, which are needed now`,
    {
      hint: `When nobody needs it any more, \`glue-connect local down spark\` ends it, and the next run starts one with them; so does \`glue-connect local up ${flags}\``,
      exitCode: ExitCode.configuration,
    },
  );
}

function portBusy(port: number): UserError {
  return new UserError("SPARK_PORT_BUSY", `Port ${port} is in use by another program`, {
    hint: "Leave the port out, and a free one is found, or name another",
    exitCode: ExitCode.configuration,
  });
}

/** What Spark's own launch script adds for Java 17, and what keeps the JVM to itself. */
const JVM_OPTIONS: readonly string[] = [
  "-Xmx3g",
  "-XX:+IgnoreUnrecognizedVMOptions",
  ...[
    "java.lang",
    "java.lang.invoke",
    "java.lang.reflect",
    "java.io",
    "java.net",
    "java.nio",
    "java.util",
    "java.util.concurrent",
    "java.util.concurrent.atomic",
  ].map((name) => `--add-opens=java.base/${name}=ALL-UNNAMED`),
  ...["jdk.internal.ref", "sun.nio.ch", "sun.nio.cs", "sun.security.action", "sun.util.calendar"].map(
    (name) => `--add-opens=java.base/${name}=ALL-UNNAMED`,
  ),
  "--add-opens=java.security.jgss/sun.security.krb5=ALL-UNNAMED",
  "-Djdk.reflect.useDirectMethodHandle=false",
  "-Djava.net.preferIPv4Stack=true",
  "-Dlog4j2.configurationFile=classpath:io/glueconnect/spark/log4j2.properties",
  "-Dfile.encoding=UTF-8",
];

/** The user's own come after ours, as of two equal ones the JVM takes the last. */
function ownJavaOptions(env: Environment): readonly string[] {
  return (env.GLUE_CONNECT_SPARK_JAVA_OPTIONS ?? "").split(/\s+/).filter((option) => option !== "");
}

function submit(propertiesFile: string): readonly string[] {
  return [
    "org.apache.spark.deploy.SparkSubmit",
    "--properties-file",
    propertiesFile,
    "--class",
    "org.apache.spark.sql.connect.service.SparkConnectServer",
    "spark-internal",
  ];
}

/** A Spark installation of the user's must not leak into ours: its jars and settings are of another version. */
function withoutSparkSettings(env: Environment): Environment {
  return Object.fromEntries(
    Object.entries(env).filter(
      ([name]) =>
        !/^(SPARK_|PYSPARK_|HADOOP_CONF_DIR$|YARN_CONF_DIR$|CLASSPATH$|JAVA_TOOL_OPTIONS$|_JAVA_OPTIONS$)/.test(name),
    ),
  );
}

function settingsOf({ conf = {}, profile = "base" }: LocalSparkOptions): string {
  const sorted = Object.entries(conf).sort(([a], [b]) => (a < b ? -1 : 1));
  return createHash("sha256")
    .update(JSON.stringify([profile, sorted]))
    .digest("hex");
}

function readState(places: SparkPlaces): SparkState | undefined {
  return readStateFile(places.stateFile, (value) =>
    hasFields(value, {
      pid: "number",
      began: "string",
      token: "string",
      port: "number|null",
      readyFile: "string",
      logFile: "string",
      settings: "string",
    })
      ? (value as SparkState)
      : undefined,
  );
}

/** Only what this server left: another may have taken its place. */
function forget(places: SparkPlaces, state: SparkState): void {
  rmSync(state.readyFile, { force: true });
  const now = readState(places);
  if (now?.pid === state.pid && now.began === state.began) rmSync(places.stateFile, { force: true });
}

function describe(state: SparkState, port: number, started: boolean, places: SparkPlaces): LocalSpark {
  return {
    remote: remoteOf(port, state.token),
    port,
    pid: state.pid,
    started,
    logFile: state.logFile,
    warehouse: places.warehouse,
  };
}

function remoteOf(port: number, token: string): string {
  // A token alone would mean TLS, which a server that only loopback reaches does not need.
  return `sc://127.0.0.1:${port}/;use_ssl=false;token=${token}`;
}
