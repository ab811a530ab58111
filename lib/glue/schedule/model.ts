import { createHash } from "node:crypto";
import type { WatchableState } from "../config/schedule-schema.js";

/** States of a job run, in Glue's words. */
export type JobRunState =
  | "STARTING"
  | "WAITING"
  | "RUNNING"
  | "STOPPING"
  | WatchableState
  // It could not be started: one run too many, an argument without its property.
  | "ERROR";

/** States of a workflow's run, in Glue's words. */
export type WorkflowRunState = "RUNNING" | "STOPPING" | "COMPLETED" | "STOPPED" | "ERROR";

/** States of a trigger. Glue's ACTIVATING and DEACTIVATING take no time here: a change is one conditional put. */
export type TriggerState = "CREATED" | "ACTIVATED" | "DEACTIVATED";

/** One run of a job; times are ISO texts, in UTC. */
export interface JobRun {
  readonly id: string;
  /** Key in `jobs`. */
  readonly job: string;
  readonly trigger: string;
  /** 0 for the first; a retry has the id of the run before in `previousRunId`. */
  readonly attempt: number;
  readonly previousRunId?: string;
  readonly predecessors: readonly { readonly job: string; readonly runId: string }[];
  /** Built-in name or path, and place, as they were configured when the trigger fired. */
  readonly module: string;
  readonly target?: "local" | "emr" | "glue";
  readonly arguments: Readonly<Record<string, string>>;
  /** The arguments that it was started with, with the workflow run's properties in them. */
  readonly given?: Readonly<Record<string, string>>;
  /** Minutes. */
  readonly timeout: number;
  /** Minutes. */
  readonly notifyDelayAfter?: number;
  readonly maxRetries: number;

  readonly state: JobRunState;
  readonly reason?: string;
  readonly created: string;
  readonly started?: string;
  readonly ended?: string;
  /** Since when it may have been started: written down before it is. */
  readonly starting?: string;
  /** The machine that it is started on, when no other can see to it. */
  readonly place?: string;
  /** The request that it is started with, kept until it has a handle: the same id never goes with another. */
  readonly request?: unknown;
  /** What the run is known by where it takes place. */
  readonly handle?: string;
  /** Why it is to be stopped. */
  readonly stop?: "requested" | "timeout";
  /** It was said that it takes longer than `notifyDelayAfter`. */
  readonly notified?: true;
  /** It failed, and another attempt follows. */
  readonly retried?: true;
  /** Of an earlier run of the workflow, which this one resumes. */
  readonly carried?: true;
}

/** What made a start trigger fire. */
export interface Cause {
  /** When it was due, or asked for. */
  readonly time: string;
  /** Who asked, or which objects came; nothing for a schedule. */
  readonly key?: string;
  readonly events?: readonly WatchedObject[];
}

/** An object whose creation is an event. */
export interface WatchedObject {
  readonly uri: string;
  readonly etag: string;
  /** By the store's clock. */
  readonly modified: string;
}

/** A trigger that fired, or whose condition was met while it wasn't active. */
export interface FiredTrigger {
  readonly at: string;
  readonly skipped?: Exclude<TriggerState, "ACTIVATED">;
}

/** Everything that follows when a start trigger fires once. With a workflow it is that workflow's run. */
export interface Chain {
  readonly id: string;
  readonly trigger: string;
  readonly cause: Cause;
  readonly workflow?: string;
  readonly previousRunId?: string;
  readonly state: WorkflowRunState;
  readonly reason?: string;
  readonly created: string;
  readonly ended?: string;
  readonly properties: Readonly<Record<string, string>>;
  readonly triggers: Readonly<Record<string, FiredTrigger>>;
  readonly runs: Readonly<Record<string, JobRun>>;
  /** It has its place among the workflow's concurrent runs. */
  readonly admitted?: true;
  readonly stop?: true;
  /** The scheduler that sees to it. */
  readonly owner?: string;
}

/** Numbers of a workflow run's actions, as Glue counts them. */
export interface Statistics {
  readonly TotalActions: number;
  readonly SucceededActions: number;
  readonly FailedActions: number;
  readonly TimeoutActions: number;
  readonly StoppedActions: number;
  readonly ErroredActions: number;
  readonly RunningActions: number;
  readonly WaitingActions: number;
}

const OVER: ReadonlySet<JobRunState> = new Set(["SUCCEEDED", "STOPPED", "FAILED", "TIMEOUT", "ERROR"]);

/** Whether nothing will change any more. */
export function isOver({ state }: { readonly state: JobRunState }): boolean {
  return OVER.has(state);
}

/** Minutes beyond its timeout after which a run on a machine that no scheduler is on any more counts as over. */
const OVERDUE_MINUTES = 60;

/** Whether a run should have ended long ago, by its timeout. */
export function isOverdue({ started, starting, created, timeout }: JobRun, now: Date): boolean {
  const since = Date.parse(started ?? starting ?? created);
  return now.getTime() - since >= (timeout + OVERDUE_MINUTES) * 60_000;
}

/**
 * The id of what follows a firing: whoever fires it, however often, it is the same. The time in it tells where it is kept.
 *
 * @param namespace of the store, so that two stores never ask AWS for runs of the same token.
 */
export function chainId(namespace: string, trigger: string, cause: Cause): string {
  return `wr_${stamp(cause.time)}_${hash(namespace, trigger, cause.time, cause.key ?? "").slice(0, 12)}`;
}

/** The id of a run that a trigger's action starts in a chain; it is also the client token on AWS. */
export function runId(chain: string, trigger: string, action: number, attempt: number): string {
  const base = `jr_${chain.slice("wr_".length)}_${hash(trigger, String(action)).slice(0, 8)}`;
  return attempt === 0 ? base : `${base}_attempt_${attempt}`;
}

const CHAIN_ID = /^wr_(\d{4})(\d{2})(\d{2})T\d{6}Z_[0-9a-f]{12}$/;
const STAMP = /(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})Z/;
const RUN_ID = /^jr_(\d{8}T\d{6}Z_[0-9a-f]{12})_[0-9a-f]{8}(_attempt_\d+)?$/;

/** The day in an id, as 2026-11-21; `undefined` when it is none of ours. */
export function dayOfChain(id: string): string | undefined {
  return CHAIN_ID.exec(id)?.slice(1, 4).join("-");
}

/** The time of the firing in an id, without its milliseconds; `undefined` when it is none of ours. */
export function stampOfChain(id: string): Date | undefined {
  const [, year, month, day, hour, minute, second] = STAMP.exec(CHAIN_ID.test(id) ? id : "") ?? [];
  return year === undefined ? undefined : new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
}

/** The chain that a run belongs to; `undefined` when the id is none of ours. */
export function chainOfRun(id: string): string | undefined {
  const chain = RUN_ID.exec(id)?.[1];
  return chain === undefined ? undefined : `wr_${chain}`;
}

/** `20261121T030000Z`. */
function stamp(time: string): string {
  return `${time.slice(0, 19).replaceAll(/[-:]/g, "")}Z`;
}

export function hash(...parts: readonly string[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}
