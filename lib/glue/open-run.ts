import { randomBytes } from "node:crypto";
import { setMaxListeners } from "node:events";
import type { AwsOptions } from "../aws.js";
import { ExitCode, UserError } from "../errors.js";
import type { CassandraConnection } from "../keyspaces/connection.js";
import { type Logger, type LogLevel, silentLogger } from "../logger.js";
import type { HeaderProvider, SparkSession } from "../spark/index.js";
import { createObjectStore } from "../storage/create-object-store.js";
import type { SparkPackage } from "../targets/aws/packages.js";
import { resolveCassandra } from "./cassandra-settings.js";
import type { CatalogKind, DataCatalog } from "./catalog/catalog.js";
import { createSparkCatalog } from "./catalog/spark-catalog.js";
import type { JobContext, KeptLogLine, RunMode, Secrets, SparkNeeds } from "./context.js";
import { describeFailure } from "./failure.js";
import { createMetadataTable } from "./metadata.js";
import { EMBEDDED_HOST, type EmbeddedPostgres, resolvePostgres } from "./postgres-settings.js";
import { RunReport } from "./report.js";
import { SecretMask } from "./secret-mask.js";
import { createSecrets } from "./secrets.js";
import { type OpenSpark, openSparkSession, type SparkEndpoint } from "./spark-session.js";
import type { JobOrigin } from "./thrown-at.js";

/** Before and after the work of a step. */
export interface StepEvent {
  readonly name: string;
  readonly phase: "start" | "end";
  /** With phase `end`. */
  readonly seconds?: number;
  /** With phase `end`: the work threw. */
  readonly failed?: true;
  /** Set for a step of one of many tables. */
  readonly table?: string;
}

/** Everything around a run that the job doesn't decide. All of it may be left out for a job that needs none of it. */
export interface RunEnvironment {
  /** Default: `run`. */
  readonly mode?: RunMode;
  /** Options of the command line that aren't the job's, without their dashes: an argument that is none may be one of them mistyped. */
  readonly options?: readonly string[];
  /** `sc://...`, or what starts or finds a server when the job first asks for Spark. */
  readonly sparkRemote?: string | ((needs: SparkNeeds, signal: AbortSignal) => Promise<SparkEndpoint>);
  /** Headers for each call to Spark, asked for every time so that a token can be renewed. */
  readonly sparkHeaders?: HeaderProvider;
  /** Wins over the database of the configuration. */
  readonly postgresUrl?: string;
  /** Starts or finds the local PostgreSQL; asked when a configuration says host `embedded`. */
  readonly embeddedPostgres?: EmbeddedPostgres;
  /** Starts or finds the local Cassandra; asked when a job's cluster is `embedded`. */
  readonly embeddedCassandra?: () => Promise<CassandraConnection>;
  /** Which catalog names the tables. Default: Glue's when `sparkRemote` is an address, Spark's own when one is started. */
  readonly catalog?: CatalogKind;
  /** Asks the user; without it, nobody can be asked. */
  readonly confirm?: (question: string) => Promise<boolean>;
  readonly aws?: AwsOptions;
  readonly log?: Logger;
  /**
   * Where the report's warnings are said when they arise: in the log (the default), so that a run that is killed has said them; or in the
   * report alone, for whoever is shown it at the end on the same screen.
   */
  readonly warnings?: "log" | "report";
  /** Awaited before the step goes on. */
  readonly onStep?: (event: StepEvent) => void | Promise<void>;
  readonly signal?: AbortSignal;
}

/** A run under way: what the job gets, and what ends it. */
export interface OpenRun<Args> {
  readonly context: JobContext<Args>;
  readonly report: RunReport;
  readonly mask: SecretMask;
  /** Closes what the job opened. Never throws: the outcome of the run is known by then. */
  close(): Promise<void>;
}

/** Builds the context of a run. Nothing is connected yet: each thing is when the job first uses it. */
export function openRun<Args>(
  job: { readonly name: string; readonly needs?: readonly SparkPackage[]; readonly origin?: JobOrigin | undefined },
  parsed: { readonly jobName: string; readonly args: Args },
  environment: RunEnvironment,
): OpenRun<Args> {
  const runId = `jr_${randomBytes(16).toString("hex")}`;
  const mode = environment.mode ?? "run";
  const report = new RunReport({ job: job.name, jobName: parsed.jobName, runId, mode });
  const mask = new SecretMask();
  const kept: KeptLogLine[][] = [];
  const log = maskedLogger(teed(environment.log ?? silentLogger, kept), mask);
  // What jobs keep of the log is read without the report.
  const forWarnings = environment.warnings === "report" ? maskedLogger(teed(silentLogger, kept), mask) : log;
  report.onWarning = ({ code, message }) => forWarnings.warn(`${code}: ${message}`);
  const lost = new AbortController();
  const over = new AbortController();
  const signal = environment.signal === undefined ? lost.signal : AbortSignal.any([environment.signal, lost.signal]);
  // Every operation listens while it runs, and tables side by side have many: more than ten are no leak to warn users of.
  setMaxListeners(0, signal);
  const aws = environment.aws ?? {};
  const secrets = maskedSecrets(createSecrets(aws), mask);
  let opened: Promise<OpenSpark> | undefined;
  const spark: JobContext<Args>["spark"] = async (needs) => {
    opened ??= openSparkSession(environment, {
      runId,
      signal,
      log,
      over: over.signal,
      needs: { packages: job.needs ?? [], ...needs },
      onLost: (error) => lost.abort(error),
    });
    return (await opened).session;
  };

  const context: JobContext<Args> = {
    args: parsed.args,
    jobName: parsed.jobName,
    runId,
    mode,
    spark,
    storage: createObjectStore(aws),
    catalog: createCatalog(environment, () => spark()),
    secrets,
    metadata: createMetadataTable(aws),
    postgresGiven: environment.postgresUrl !== undefined,
    async postgres(settings) {
      const connection = await resolvePostgres(settings, {
        url: environment.postgresUrl,
        embedded: environment.embeddedPostgres,
        secrets,
      });
      mask.add(connection.password);
      const { host } = settings;
      if (environment.postgresUrl !== undefined && host !== "" && host !== EMBEDDED_HOST) {
        const where = `${connection.host}:${connection.port}/${connection.database}`;
        report.warn("POSTGRES_URL_WINS", `--postgres-url leads to ${where}; the configuration names host ${host}`);
      }
      return connection;
    },
    async cassandra(cluster, reference) {
      const connection = await resolveCassandra(cluster, reference, {
        embedded: environment.embeddedCassandra,
        secrets,
      });
      if (connection.password !== undefined) mask.add(connection.password);
      return connection;
    },
    log,
    keepLog() {
      const lines: KeptLogLine[] = [];
      kept.push(lines);
      return () => lines;
    },
    report,
    signal,
    async step(name, work, table) {
      signal.throwIfAborted();
      const about = { name, ...(table === undefined ? {} : { table }) };
      await environment.onStep?.({ ...about, phase: "start" });
      const endStep = report.beginStep(name, table !== undefined);
      let failed = true;
      try {
        const result = await work();
        failed = false;
        return result;
      } finally {
        const seconds = endStep(failed);
        await environment.onStep?.({ ...about, phase: "end", seconds, ...(failed ? { failed: true as const } : {}) });
      }
    },
    tableFailed(name, error) {
      const table = report.table(name);
      const failure = describeFailure(error, job.origin);
      table.status = "FAILED";
      table.error = mask.error(failure.error);
      const { code, message, problems = [] } = failure.error;
      log.error([`${name}: ${code}: ${message}`, ...problems].join("; "));
      if (failure.stack !== undefined) log.debug(failure.stack);
    },
    async confirm(question) {
      if (environment.confirm === undefined) {
        throw new UserError("CONFIRMATION_NEEDED", `${question} Nobody can be asked here`, {
          hint: "Add --yes",
          exitCode: ExitCode.usage,
        });
      }
      if (await environment.confirm(question)) return;
      throw new UserError("NOT_CONFIRMED", "Nothing was done", { exitCode: ExitCode.usage });
    },
  };

  return {
    context,
    report,
    mask,
    async close() {
      over.abort(new Error("the run is over"));
      // What could not be opened has said so to the job.
      await (await opened?.catch(() => undefined))?.close();
    },
  };
}

/** The AWS SDK is loaded when Glue is first asked. */
function createCatalog(environment: RunEnvironment, spark: () => Promise<SparkSession>): DataCatalog {
  const kind = environment.catalog ?? (typeof environment.sparkRemote === "string" ? "glue" : "spark");
  if (kind === "spark") return createSparkCatalog(spark);
  let glue: Promise<DataCatalog> | undefined;
  const open = () => {
    glue ??= import("./catalog/glue-catalog.js").then(({ createGlueCatalog }) =>
      createGlueCatalog(environment.aws ?? {}),
    );
    return glue;
  };
  return {
    kind,
    tables: async (database) => (await open()).tables(database),
    connection: async (name) => (await open()).connection(name),
  };
}

function maskedSecrets(secrets: Secrets, mask: SecretMask): Secrets {
  return {
    async get(reference) {
      const secret = await secrets.get(reference);
      mask.addFields(secret);
      return secret;
    },
  };
}

/** A logger whose lines also go into what jobs keep. */
function teed(log: Logger, kept: readonly KeptLogLine[][]): Logger {
  const level =
    (name: Exclude<LogLevel, "debug">): Logger["info"] =>
    (message, given) => {
      for (const lines of kept) lines.push({ at: new Date(), level: name, message });
      log[name](message, given);
    };
  return {
    debug: (message, given) => log.debug(message, given),
    info: level("info"),
    warn: level("warn"),
    error: level("error"),
  };
}

function maskedLogger(log: Logger, mask: SecretMask): Logger {
  const fields = (given: Readonly<Record<string, unknown>> | undefined) =>
    given === undefined
      ? undefined
      : Object.fromEntries(
          Object.entries(given).map(([name, value]) => [name, typeof value === "string" ? mask.text(value) : value]),
        );
  return {
    debug: (message, given) => log.debug(mask.text(message), fields(given)),
    info: (message, given) => log.info(mask.text(message), fields(given)),
    warn: (message, given) => log.warn(mask.text(message), fields(given)),
    error: (message, given) => log.error(mask.text(message), fields(given)),
  };
}
