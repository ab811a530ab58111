import type { Chain, JobRun } from "./model.js";

/** What a run is started with. */
export interface StartRequest {
  /** Its `id` is the token: the same id, the same run. */
  readonly run: JobRun;
  readonly chain: Chain;
  /** The job's arguments, without those that every run has (`JOB_NAME`, and in a workflow `WORKFLOW_NAME`, `WORKFLOW_RUN_ID`). */
  readonly arguments: Readonly<Record<string, string>>;
}

/** How a run goes, where it takes place. */
export interface Observation {
  readonly state: "STARTING" | "RUNNING" | "STOPPING" | "SUCCEEDED" | "FAILED" | "STOPPED" | "TIMEOUT";
  readonly reason?: string;
}

/** Where runs take place. */
export interface RunStarter {
  /**
   * Starts a run. Asked again for the same run id, by whoever, it starts no other one.
   *
   * @returns what the run is known by: goes into `run.handle`.
   * @throws UserError with exit code 69 or 75 when it is worth trying again; any other error ends the run as FAILED.
   */
  start(request: StartRequest): Promise<string>;
  observe(run: JobRun): Promise<Observation>;
  /** Asks a run to stop; it is over when {@link observe} says so. */
  cancel(run: JobRun): Promise<void>;
}

/** Time as the scheduler sees it; tests and `trigger test` have one of their own. */
export interface Clock {
  now(): Date;
  /** Waits; returns early when the signal is aborted. */
  wait(ms: number, signal: AbortSignal): Promise<void>;
}
