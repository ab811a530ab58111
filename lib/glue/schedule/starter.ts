import type { Chain, JobRun } from "./model.js";

/** A run, and what it belongs to. */
export interface RunInChain {
  /** Its `id` is the token: the same id, the same run. What it is given stands in `given`. */
  readonly run: JobRun;
  readonly chain: Chain;
  /**
   * Whether the chain is still as it is given here. Who starts a run asks once more, when nobody else can start it any more: a process
   * that was paused may have in hand what is over long since.
   */
  isCurrent?(): Promise<boolean>;
}

/** Arguments of a run's command line: `JOB_NAME`, in a workflow `WORKFLOW_NAME` and `WORKFLOW_RUN_ID`, and its own. */
export function argumentsOf({ run, chain }: RunInChain): string[] {
  const { workflow, id } = chain;
  const all = {
    JOB_NAME: run.job,
    ...(workflow === undefined ? {} : { WORKFLOW_NAME: workflow, WORKFLOW_RUN_ID: id }),
    ...(run.given ?? run.arguments),
  };
  return Object.entries(all).map(([name, value]) => `--${name}=${value}`);
}

/** How a run goes, where it takes place. */
export interface Observation {
  readonly state: "STARTING" | "RUNNING" | "STOPPING" | "SUCCEEDED" | "FAILED" | "STOPPED" | "TIMEOUT";
  readonly reason?: string;
}

/** Where runs take place. */
export interface RunStarter {
  /**
   * The machine that alone can start a run, and see to it afterwards; `undefined`: any can. Goes into `run.place`.
   */
  place?(run: JobRun): string | undefined;
  /**
   * Makes all that the run is started with, and starts nothing. Goes into `run.request`, as JSON, before {@link start}.
   *
   * @throws UserError as {@link start} does.
   */
  prepare?(run: RunInChain): Promise<unknown>;
  /**
   * Starts a run. Asked again for the same run id, by whoever, it starts no other one.
   *
   * @returns what the run is known by: goes into `run.handle`.
   * @throws UserError with exit code 69 or 75 when it is worth trying again. Any other error ends the run as FAILED, unless it
   *   leaves open whether the run was started: then the same one is started again.
   */
  start(run: RunInChain): Promise<string>;
  observe(run: RunInChain): Promise<Observation>;
  /** Deletes what is kept of runs whose firings are from before a time, when they are over. */
  forget?(before: Date, signal?: AbortSignal): Promise<void>;
  /** Asks a run to stop; it is over when {@link observe} says so. */
  cancel(run: RunInChain): Promise<void>;
}

/** Time as the scheduler sees it; tests and `trigger test` have one of their own. */
export interface Clock {
  now(): Date;
  /** Milliseconds from some moment on, which nobody can set. One that can't be set itself has none. */
  elapsed?(): number;
  /** Waits; returns early when the signal is aborted. */
  wait(ms: number, signal: AbortSignal): Promise<void>;
}
