import { setTimeout as sleep } from "node:timers/promises";
import { ExitCode, UserError } from "../errors.js";
import type { Logger } from "../logger.js";
import type { HeaderProvider, SparkSession } from "../spark/index.js";
import type { SparkNeeds } from "./context.js";

const LOST_CLOSE_MS = 500;

/** Where a Spark Connect server answers, and what goes with it. */
export interface SparkEndpoint {
  /** `sc://host:port/;...`; may hold a token, so it is never logged. */
  readonly remote: string;
  /** Headers for each call, asked for every time so that a token can be renewed. */
  readonly headers?: HeaderProvider;
  /** PEM certificates to trust instead of the system's. */
  readonly rootCertificates?: Buffer;
  /** Milliseconds between small queries that keep the server from taking the session for an idle one. */
  readonly heartbeatMs?: number;
  /** Calls the listener when the server has gone for good, so that nobody waits for it. */
  onLost?(listener: (error: UserError) => void): void;
  /** Gives the server back, after the session on it was closed. Never throws. */
  close?(): Promise<void>;
}

/** What the environment of a run says of Spark. */
export interface SparkSettings {
  readonly sparkRemote?: string | ((needs: SparkNeeds, signal: AbortSignal) => Promise<SparkEndpoint>);
  readonly sparkHeaders?: HeaderProvider;
}

/** What a run says of itself when it opens Spark. */
export interface SparkRun {
  readonly runId: string;
  readonly signal: AbortSignal;
  readonly log: Logger;
  readonly needs?: SparkNeeds;
  /** Aborted when the run ends, while a server may still be on its way up. */
  readonly over: AbortSignal;
  /** Told that the server has gone for good. */
  readonly onLost: (error: UserError) => void;
}

/** The session of a run, and what ends it. */
export interface OpenSpark {
  readonly session: SparkSession;
  close(): Promise<void>;
}

/** The one session of a run. Aborting the signal interrupts whatever runs in it. */
export async function openSparkSession(settings: SparkSettings, run: SparkRun): Promise<OpenSpark> {
  run.signal.throwIfAborted();
  const { sparkRemote } = settings;
  if (sparkRemote === undefined) {
    throw new UserError("SPARK_REMOTE_MISSING", "The job needs Spark, and no server is set", {
      hint: "Give --remote sc://host:port, or set SPARK_REMOTE",
      exitCode: ExitCode.configuration,
    });
  }
  const endpoint =
    typeof sparkRemote === "string"
      ? { remote: sparkRemote }
      : await sparkRemote(run.needs ?? {}, AbortSignal.any([run.signal, run.over]));
  let lost = false;
  endpoint.onLost?.((error) => {
    lost = true;
    run.onLost(error);
  });
  try {
    const session = await connect(endpoint, settings.sparkHeaders, run);
    const heartbeat = endpoint.heartbeatMs === undefined ? undefined : beat(session, endpoint.heartbeatMs, run.log);
    return {
      session,
      async close() {
        clearInterval(heartbeat);
        const closed = session
          .close()
          .catch((error: unknown) => run.log.debug("closing the Spark session failed", { error: String(error) }));
        // A server that has gone won't answer, however often it is asked.
        await (lost ? Promise.race([closed, sleep(LOST_CLOSE_MS, undefined, { ref: false })]) : closed);
        await endpoint.close?.();
      },
    };
  } catch (error) {
    await endpoint.close?.();
    throw error;
  }
}

async function connect(
  endpoint: SparkEndpoint,
  sparkHeaders: HeaderProvider | undefined,
  run: SparkRun,
): Promise<SparkSession> {
  const { SparkSession } = await import("../spark/index.js");
  const builder = SparkSession.builder().remote(endpoint.remote).signal(run.signal);
  const headers = endpoint.headers ?? sparkHeaders;
  if (headers !== undefined) builder.headers(headers);
  if (endpoint.rootCertificates !== undefined) builder.rootCertificates(endpoint.rootCertificates);
  const session = await builder.getOrCreate();
  // What the run does on the server can be told from other work by its id, and interrupted by it.
  session.addTag(run.runId);
  run.log.debug("opened a Spark session", { sessionId: session.sessionId });
  return session;
}

/** A job may be busy for long with things that aren't Spark's, such as a transaction. */
function beat(session: SparkSession, ms: number, log: Logger): NodeJS.Timeout {
  let busy = false;
  return setInterval(async () => {
    if (busy) return;
    busy = true;
    try {
      // A query of constants, which takes no executor.
      await (await session.sql("SELECT 1")).collect();
    } catch (error) {
      log.debug("a heartbeat failed", { error: String(error) });
    } finally {
      busy = false;
    }
  }, ms).unref();
}
