import { ExitCode, UserError } from "../errors.js";
import type { Logger } from "../logger.js";
import type { HeaderProvider, SparkSession } from "../spark/index.js";
import type { SparkNeeds } from "./context.js";

/** Where a Spark Connect server answers. */
export interface SparkEndpoint {
  /** `sc://host:port/;...`; may hold a token, so it is never logged. */
  readonly remote: string;
}

/** What the environment of a run says of Spark. */
export interface SparkSettings {
  readonly sparkRemote?: string | ((needs: SparkNeeds) => Promise<SparkEndpoint>);
  readonly sparkHeaders?: HeaderProvider;
}

/** The one session of a run. Aborting the signal interrupts whatever runs in it. */
export async function openSparkSession(
  settings: SparkSettings,
  run: { readonly runId: string; readonly signal: AbortSignal; readonly log: Logger; readonly needs?: SparkNeeds },
): Promise<SparkSession> {
  run.signal.throwIfAborted();
  const { sparkRemote } = settings;
  if (sparkRemote === undefined) {
    throw new UserError("SPARK_REMOTE_MISSING", "The job needs Spark, and no server is set", {
      hint: "Give --remote sc://host:port, or set SPARK_REMOTE",
      exitCode: ExitCode.configuration,
    });
  }
  const remote = typeof sparkRemote === "string" ? sparkRemote : (await sparkRemote(run.needs ?? {})).remote;
  const { SparkSession } = await import("../spark/index.js");
  const builder = SparkSession.builder().remote(remote).signal(run.signal);
  if (settings.sparkHeaders !== undefined) builder.headers(settings.sparkHeaders);
  const session = await builder.getOrCreate();
  // What the run does on the server can be told from other work by its id, and interrupted by it.
  session.addTag(run.runId);
  run.log.debug("opened a Spark session", { sessionId: session.sessionId });
  return session;
}
