import type { Settings } from "../glue/config/schema.js";
import type { SparkNeeds } from "../glue/context.js";
import { processMark } from "../glue/process-mark.js";
import type { SparkEndpoint } from "../glue/spark-session.js";
import type { Logger } from "../logger.js";
import { createObjectStore } from "../storage/create-object-store.js";
import { LONGEST_PROPERTY } from "../targets/aws/emr-properties.js";
import type { SparkPackage } from "../targets/aws/packages.js";
import { awsOptions, type CloudPlace, checkTarget, sessionService } from "./aws-targets.js";
import { haveJars, neededJars, uploadJars, usefulJars } from "./cluster-jars.js";

/** Characters that the list may have besides, for jars of the image. */
const IMAGE_JARS = 128;

/** How a command wants its session. */
export interface CloudSparkOptions {
  readonly place: CloudPlace;
  readonly settings: Settings;
  readonly log: Logger;
  /** A session that is there already. */
  readonly sessionId?: string | undefined;
}

/**
 * Opens a session on AWS when the job first asks for Spark, with what the job needs.
 *
 * @throws UserError of `checkTarget`, at once.
 */
export function cloudSpark(
  options: CloudSparkOptions,
): (needs: SparkNeeds, signal: AbortSignal) => Promise<SparkEndpoint> {
  const { place, settings, log, sessionId } = options;
  // Said before the job asks AWS for something else, and asks for credentials with it.
  const use = sessionId === undefined ? "session" : "look";
  checkTarget(place, settings, use);
  return async ({ packages = [] }, signal) => {
    const jars = await packageJars(packages, options, signal);
    const service = await sessionService(place, withJars(settings, place, jars), packages, use);
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
  const own = settings[place]?.jars;
  const needed = neededJars(packages, place, own);
  if (settings.artifacts === undefined) {
    if (needed.length === 0) return [];
    log.warn(
      `the job needs ${needed.map((beginning) => `${beginning}*.jar`).join(", ")}, which ${place} does not bring: set artifacts (a folder on S3) to have them uploaded, or name them under ${place}.jars`,
    );
    return [];
  }
  const upload = (beginnings: readonly string[]) =>
    uploadJars(beginnings, createObjectStore(awsOptions(settings)), settings.artifacts ?? "", log, signal);
  const jars = await upload(needed);
  if (!haveJars()) return jars;
  const useful = await upload(usefulJars(packages, own));
  // What is only useful must not be what makes the list too long.
  const fits = [...jars, ...useful, ...(own ?? [])].join(",").length <= LONGEST_PROPERTY - IMAGE_JARS;
  return fits ? [...jars, ...useful] : jars;
}

function withJars(settings: Settings, place: CloudPlace, jars: readonly string[]): Settings {
  const own = settings[place];
  return jars.length === 0 ? settings : { ...settings, [place]: { ...own, jars: [...(own?.jars ?? []), ...jars] } };
}
