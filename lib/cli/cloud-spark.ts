import type { Settings } from "../glue/config/schema.js";
import type { SparkNeeds } from "../glue/context.js";
import { processMark } from "../glue/process-mark.js";
import type { SparkEndpoint } from "../glue/spark-session.js";
import type { Logger } from "../logger.js";
import { createObjectStore } from "../storage/create-object-store.js";
import type { SparkPackage } from "../targets/aws/packages.js";
import { awsOptions, type CloudPlace, sessionService } from "./aws-targets.js";
import { neededJars, uploadJars } from "./cluster-jars.js";

/** How a command wants its session. */
export interface CloudSparkOptions {
  readonly place: CloudPlace;
  readonly settings: Settings;
  readonly log: Logger;
  /** A session that is there already. */
  readonly sessionId?: string | undefined;
}

/** Opens a session on AWS when the job first asks for Spark, with what the job needs. */
export function cloudSpark(
  options: CloudSparkOptions,
): (needs: SparkNeeds, signal: AbortSignal) => Promise<SparkEndpoint> {
  const { place, settings, log, sessionId } = options;
  return async ({ packages = [] }, signal) => {
    const jars = await packageJars(packages, options, signal);
    const service = await sessionService(place, withJars(settings, place, jars), packages);
    const { openSession } = await import("../targets/sessions/open.js");
    const session = await openSession({
      service,
      log,
      signal,
      owner: processMark().self,
      id: sessionId,
      keep: settings[place]?.keepSession === true,
    });
    const idleMinutes = settings[place]?.idleMinutes ?? 30;
    return {
      remote: session.remote,
      headers: session.headers,
      heartbeatMs: Math.max(20_000, (idleMinutes * 60_000) / 4),
      onLost: session.onLost,
      close: session.close,
    };
  };
}

/** Jars that the service lacks; without a place to upload them to, the user has to know. */
async function packageJars(
  packages: readonly SparkPackage[],
  { place, settings, log }: CloudSparkOptions,
  signal: AbortSignal,
): Promise<string[]> {
  const wanted = neededJars(packages, place, settings[place]?.jars);
  if (wanted.length === 0) return [];
  if (settings.artifacts === undefined) {
    log.warn(
      `the job needs ${wanted.map((beginning) => `${beginning}*.jar`).join(", ")}, which ${place} does not bring: set artifacts (a folder on S3) to have them uploaded, or name them under ${place}.jars`,
    );
    return [];
  }
  return uploadJars(wanted, createObjectStore(awsOptions(settings)), settings.artifacts, log, signal);
}

function withJars(settings: Settings, place: CloudPlace, jars: readonly string[]): Settings {
  const own = settings[place];
  return jars.length === 0 ? settings : { ...settings, [place]: { ...own, jars: [...(own?.jars ?? []), ...jars] } };
}
