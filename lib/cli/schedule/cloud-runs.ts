import type { Settings } from "../../glue/config/schema.js";
import { SPARE_MINUTES } from "../../glue/schedule/drive-chain.js";
import { argumentsOf, type Observation, type RunStarter } from "../../glue/schedule/starter.js";
import type { Logger } from "../../logger.js";
import type { PreparedRun, RunInfo, RunService } from "../../targets/runs/service.js";
import type { CliIo } from "../io.js";
import { loadJob } from "../load-job.js";
import { runService } from "../run-tracking.js";
import { prepareRun } from "../submit.js";

/** Glue allows no more. */
const LONGEST_MINUTES = 10_080;

/** What runs on AWS are started with. */
export interface CloudRunsOptions {
  /** Settings whose target is `emr` or `glue`. */
  readonly settings: Settings;
  readonly env: CliIo["env"];
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** Of a job of the configuration. */
  maxConcurrentRuns(job: string): number | undefined;
}

/**
 * Runs as job runs of EMR Serverless or Glue, as `submit` starts them. The run's id is EMR's client token; Glue has none, so its
 * runs are looked through first.
 */
export function createCloudRuns(options: CloudRunsOptions): RunStarter {
  const { settings, env, log, signal, maxConcurrentRuns } = options;
  let asking: Promise<RunService> | undefined;
  const service = () => {
    asking ??= runService(settings, [], undefined);
    return asking;
  };
  return {
    async prepare(inChain) {
      const { run } = inChain;
      const job = await loadJob(run.module);
      const own = settingsOf(settings, run.timeout);
      const all = argumentsOf(inChain);
      // On Glue these two are for Glue's own workflows to set.
      const argv = settings.target === "glue" ? all.filter((one) => !one.startsWith("--WORKFLOW_")) : all;
      const most = maxConcurrentRuns(run.job);
      const from = { name: run.module, job, argv, settings: own, token: run.id, env, log, signal };
      const { service, request } = await prepareRun(from);
      return service.prepare({
        ...request,
        mayHaveStarted: true,
        ...(most === undefined ? {} : { maxConcurrentRuns: most }),
      });
    },
    async start({ run }) {
      return (await service()).start(run.request as PreparedRun);
    },
    async observe({ run }) {
      return observationOf(await (await service()).get(run.handle ?? ""));
    },
    async cancel({ run }) {
      await (await service()).cancel(run.handle ?? "");
    },
  };
}

/**
 * The scheduler itself tries again, and stops what takes too long. The service does so later, for the case that no scheduler is
 * there.
 */
function settingsOf(settings: Settings, timeout: number): Settings {
  const own = { timeoutMinutes: Math.min(timeout + SPARE_MINUTES, LONGEST_MINUTES), attempts: 1 };
  return { ...settings, emr: { ...settings.emr, ...own }, glue: { ...settings.glue, ...own } };
}

/** A service's phase, in the scheduler's words. */
export function observationOf({ phase, state, reason }: RunInfo): Observation {
  const why = reason === undefined ? {} : { reason };
  switch (phase) {
    case "waiting":
      return { state: "STARTING" };
    case "running":
      return { state: "RUNNING" };
    case "cancelling":
      return { state: "STOPPING" };
    case "succeeded":
      return { state: "SUCCEEDED" };
    case "cancelled":
      return { state: "STOPPED", ...why };
    case "failed":
      return { state: state === "TIMEOUT" ? "TIMEOUT" : "FAILED", ...why };
  }
}
