import { setTimeout as sleep } from "node:timers/promises";
import { ExitCode, UserError } from "../errors.js";
import type { Settings } from "../glue/config/schema.js";
import type { Logger } from "../logger.js";
import type { SparkPackage } from "../targets/aws/packages.js";
import { isOver, type RunInfo, type RunService } from "../targets/runs/service.js";
import { adviceOn } from "../targets/sessions/errors.js";
import { emrTarget, glueTarget } from "./aws-targets.js";
import type { CliIo } from "./io.js";
import { createLogReader } from "./run-log.js";

const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 5_000;

/** Job runs of the service that the settings name. */
export async function runService(
  settings: Settings,
  packages: readonly SparkPackage[],
  jobName: string | undefined,
  use: "job run" | "look" = "look",
): Promise<RunService> {
  if (settings.target === "emr") {
    const { createEmrRuns } = await import("../targets/runs/emr-runs.js");
    return createEmrRuns({ ...emrTarget(settings, packages, use), logs: settings.logs });
  }
  if (settings.target === "glue") {
    const { createGlueRuns } = await import("../targets/runs/glue-runs.js");
    return createGlueRuns({ ...glueTarget(settings, packages, use), jobName, artifacts: settings.artifacts });
  }
  throw new UserError("USAGE", `Job runs are on AWS, and the target is ${settings.target ?? "local"}`, {
    hint: "Add --target emr or --target glue; `glue-connect runs --scheduled` lists the runs that a scheduler has started",
    exitCode: ExitCode.usage,
  });
}

/** Where the launcher puts the report of the run that was started with a token. */
export function reportUri(artifacts: string, token: string): string {
  return `${artifacts}reports/${token}.json`;
}

/** What {@link follow} needs. */
export interface FollowOptions {
  readonly service: RunService;
  readonly id: string;
  readonly log: Logger;
  /** Aborting it cancels the run, and goes on waiting for its end. */
  readonly signal: AbortSignal;
  readonly io: CliIo;
  readonly settings: Settings;
  readonly showLog: boolean;
}

/**
 * Waits until a run is over; says each change of its state.
 *
 * @returns 0, 1, or 130 when it was cancelled.
 */
export async function follow(options: FollowOptions): Promise<ExitCode> {
  const { service, id, log, signal } = options;
  let reader = options.showLog ? createLogReader(options) : undefined;
  let shown = "";
  let cancelled = false;
  let info: RunInfo | undefined;
  for (let wait = FIRST_WAIT_MS; ; wait = Math.min(wait * 1.3, LONGEST_WAIT_MS)) {
    if (signal.aborted && !cancelled) {
      cancelled = true;
      log.warn(`asking ${service.title} to cancel ${id}; once more ends only this command`);
      await cancelUnlessOver(service, id);
      wait = FIRST_WAIT_MS;
    }
    info = (await unlessThrottled(() => service.get(id))) ?? info;
    if (info !== undefined && info.state !== shown) {
      shown = info.state;
      log.info(`${service.title} job run ${id} is ${shown}${info.reason === undefined ? "" : `: ${info.reason}`}`);
    }
    await reader?.read(info?.attempt).catch((error: unknown) => {
      // The run goes on without its log.
      log.warn(`the log can't be read: ${error instanceof Error ? error.message : String(error)}`);
      reader = undefined;
    });
    if (info !== undefined && isOver(info)) break;
    await sleep(wait, undefined, cancelled ? {} : { signal }).catch(() => {});
  }
  await reader?.finish();
  if (info.billed !== undefined) log.info(`billed: ${info.billed}`);
  if (info.phase === "succeeded") return ExitCode.ok;
  if (info.phase === "cancelled") return ExitCode.interrupted;
  log.error(describeFailedRun(service, info));
  return ExitCode.failed;
}

/** Services refuse to cancel what has ended, and a run may end while it is asked for. */
async function cancelUnlessOver(service: RunService, id: string): Promise<void> {
  try {
    await service.cancel(id);
  } catch (error) {
    if (!isOver(await service.get(id))) throw error;
  }
}

function describeFailedRun(service: RunService, { id, state, reason }: RunInfo): string {
  const log = `\`glue-connect logs ${id}\` shows what the job said`;
  const advice = adviceOn(reason ?? "");
  const hint = advice === undefined ? log : `${advice}. If the job began, ${log}`;
  return `${service.title} job run ${id} is ${state}${reason === undefined ? "" : `: ${reason}`}. What to do: ${hint}`;
}

async function unlessThrottled<T>(ask: () => Promise<T>): Promise<T | undefined> {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof UserError && (error.code === "AWS_THROTTLED" || error.code === "AWS_UNREACHABLE"))
      return undefined;
    throw error;
  }
}
