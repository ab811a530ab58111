import type { ConditionalTrigger, Definitions, TriggerAction, TriggerEntry } from "../config/schedule-schema.js";
import {
  type Cause,
  type Chain,
  chainId,
  chainOfRun,
  type FiredTrigger,
  isOver,
  type JobRun,
  runId,
  type Statistics,
  type TriggerState,
} from "./model.js";
import { eventProperties } from "./run-properties.js";

// What happens in a chain, as functions of what was before. Nothing here has an effect outside of the value it returns.

/** What the start of a chain is made of. */
export interface Beginning {
  readonly namespace: string;
  readonly name: string;
  readonly trigger: TriggerEntry;
  readonly cause: Cause;
  readonly definitions: Definitions;
  readonly now: Date;
}

/** The chain that begins when a trigger fires, with the runs that its actions start. */
export function beginChain({ namespace, name, trigger, cause, definitions, now }: Beginning): Chain {
  const { workflow } = trigger;
  const chain: Chain = {
    id: chainId(namespace, name, cause),
    trigger: name,
    cause,
    ...(workflow === undefined ? {} : { workflow }),
    state: "RUNNING",
    created: now.toISOString(),
    properties: {
      ...(workflow === undefined ? {} : definitions.workflows[workflow]?.defaultRunProperties),
      ...eventProperties(cause),
    },
    triggers: {},
    runs: {},
  };
  return fire(chain, name, trigger, [], definitions, now);
}

/**
 * Fires every CONDITIONAL trigger whose condition is met, each once in a chain. Only triggers of the chain's own workflow
 * look at it, or with a chain outside of workflows those outside.
 *
 * @param stateOf a trigger that isn't ACTIVATED when its condition is met doesn't fire, also not later.
 */
export function settle(
  chain: Chain,
  definitions: Definitions,
  stateOf: (trigger: string) => TriggerState,
  now: Date,
): Chain {
  let settled = chain;
  for (const [name, trigger] of Object.entries(definitions.triggers)) {
    if (trigger.type !== "CONDITIONAL" || trigger.workflow !== chain.workflow) continue;
    if (Object.hasOwn(settled.triggers, name)) continue;
    const met = metBy(trigger, settled);
    if (met === undefined) continue;
    const state = stateOf(name);
    settled =
      state === "ACTIVATED"
        ? fire(settled, name, trigger, met, definitions, now)
        : mark(settled, name, { at: now.toISOString(), skipped: state });
  }
  return settled;
}

/** The runs that meet a trigger's condition; `undefined` when it isn't met. */
export function metBy(trigger: ConditionalTrigger, chain: Chain): readonly JobRun[] | undefined {
  const { logical, conditions } = trigger.predicate;
  const runs = Object.values(chain.runs).filter((run) => isOver(run) && run.retried !== true);
  const met = conditions.flatMap((wanted) => {
    const run = runs.find(({ job, state }) => job === wanted.job && state === wanted.state);
    return run === undefined ? [] : [run];
  });
  const enough = logical === "AND" ? met.length === conditions.length : met.length > 0;
  return enough ? met : undefined;
}

function fire(
  chain: Chain,
  name: string,
  trigger: TriggerEntry,
  predecessors: readonly JobRun[],
  definitions: Definitions,
  now: Date,
): Chain {
  const fired = mark(chain, name, { at: now.toISOString() });
  const runs = trigger.actions.map((action, index) =>
    newRun(chain.id, name, action, index, predecessors, definitions, now),
  );
  return { ...fired, runs: { ...fired.runs, ...Object.fromEntries(runs.map((run) => [run.id, run])) } };
}

function mark(chain: Chain, name: string, fired: FiredTrigger): Chain {
  return { ...chain, triggers: { ...chain.triggers, [name]: fired } };
}

function newRun(
  chain: string,
  trigger: string,
  action: TriggerAction,
  index: number,
  predecessors: readonly JobRun[],
  definitions: Definitions,
  now: Date,
): JobRun {
  const { job } = action;
  const definition = definitions.jobs[job];
  if (definition === undefined) throw new Error(`no job ${job}: the configuration was checked`);
  const notifyDelayAfter = action.notifyDelayAfter ?? definition.notifyDelayAfter;
  return {
    id: runId(chain, trigger, index, 0),
    job,
    trigger,
    attempt: 0,
    predecessors: predecessors.map(({ job, id }) => ({ job, runId: id })),
    module: definition.job,
    ...(definition.target === undefined ? {} : { target: definition.target }),
    arguments: { ...definition.arguments, ...action.arguments },
    timeout: action.timeout ?? definition.timeout,
    ...(notifyDelayAfter === undefined ? {} : { notifyDelayAfter }),
    maxRetries: definition.maxRetries,
    state: "STARTING",
    created: now.toISOString(),
  };
}

/** A chain in which a run is another. */
export function withRun(chain: Chain, run: JobRun): Chain {
  return { ...chain, runs: { ...chain.runs, [run.id]: run } };
}

/**
 * A run is over. One that FAILED is tried again as often as its job's `maxRetries` say; TIMEOUT, STOPPED and ERROR aren't.
 */
export function endRun(chain: Chain, run: JobRun, now: Date): Chain {
  const ended: JobRun = { ...run, ended: now.toISOString() };
  if (run.state !== "FAILED" || run.attempt >= run.maxRetries || chain.stop === true) return withRun(chain, ended);
  const attempt = run.attempt + 1;
  const first = run.id.replace(/_attempt_\d+$/, "");
  const next: JobRun = {
    ...unstarted(ended),
    id: `${first}_attempt_${attempt}`,
    attempt,
    previousRunId: run.id,
    state: "STARTING",
    created: now.toISOString(),
  };
  return withRun(withRun(chain, { ...ended, retried: true }), next);
}

/** A run without what came to it when it was started. */
function unstarted(run: JobRun): JobRun {
  const { handle: _h, given: _g, starting: _s, place: _p, request: _q, ...before } = run;
  const { reason: _r, started: _a, ended: _e, notified: _n, ...same } = before;
  return same;
}

/** Ends a chain whose runs are all over; any other is given back as it is. */
export function endChain(chain: Chain, now: Date): Chain {
  if (chain.ended !== undefined || !Object.values(chain.runs).every(isOver)) return chain;
  const state = chain.state === "ERROR" ? "ERROR" : chain.stop === true ? "STOPPED" : "COMPLETED";
  return { ...chain, state, ended: now.toISOString() };
}

/** A workflow's run that can't begin, because too many are at work. */
export function refuseChain(chain: Chain, reason: string, now: Date): Chain {
  const runs = Object.values(chain.runs).map((run): [string, JobRun] => [
    run.id,
    // What a resumed run takes over has gone well, or not, before.
    isOver(run) ? run : { ...run, state: "ERROR", reason, ended: now.toISOString() },
  ]);
  return { ...chain, state: "ERROR", reason, runs: Object.fromEntries(runs), ended: now.toISOString() };
}

/** Glue's numbers of a workflow run: COMPLETED alone doesn't say that all went well. */
export function statisticsOf(chain: Chain): Statistics {
  const runs = Object.values(chain.runs).filter(({ retried }) => retried !== true);
  const count = (...states: readonly JobRun["state"][]) => runs.filter(({ state }) => states.includes(state)).length;
  return {
    TotalActions: runs.length,
    SucceededActions: count("SUCCEEDED"),
    FailedActions: count("FAILED"),
    TimeoutActions: count("TIMEOUT"),
    StoppedActions: count("STOPPED"),
    ErroredActions: count("ERROR"),
    RunningActions: count("STARTING", "RUNNING", "STOPPING"),
    WaitingActions: count("WAITING"),
  };
}

/** The index of the action that started a run: one trigger may start a job twice. -1 when there is none for its job any more. */
function actionOf(run: JobRun, definition: TriggerEntry | undefined, taken: ReadonlySet<string>): number {
  const { id, job, trigger } = run;
  const actions = definition?.actions ?? [];
  const chain = chainOfRun(id) ?? "";
  const first = id.replace(/_attempt_\d+$/, "");
  const isFree = (action: TriggerAction, index: number) => action.job === job && !taken.has(`${trigger} ${index}`);
  const same = actions.findIndex((action, index) => isFree(action, index) && runId(chain, trigger, index, 0) === first);
  return same >= 0 ? same : actions.findIndex(isFree);
}

/** What resuming begins with. */
export interface Resumption {
  readonly namespace: string;
  readonly from: Chain;
  /** Jobs to run again; what followed them is forgotten, and follows anew. */
  readonly jobs: readonly string[];
  readonly definitions: Definitions;
  readonly cause: Cause;
  readonly now: Date;
}

/**
 * A new run of a workflow that takes over what went well in an earlier one, and runs some jobs again with all that follows
 * them, as Glue's ResumeWorkflowRun does.
 */
export function resumeChain({ namespace, from, jobs, definitions, cause, now }: Resumption): Chain {
  const id = chainId(namespace, from.trigger, cause);
  const last = Object.values(from.runs).filter(({ retried }) => retried !== true);
  const again = last.filter(({ job }) => jobs.includes(job));
  // Whatever was started because of a run that takes place again.
  const dropped = new Set(again.map((run) => run.id));
  for (let before = -1; before !== dropped.size; ) {
    before = dropped.size;
    for (const run of last) if (run.predecessors.some(({ runId }) => dropped.has(runId))) dropped.add(run.id);
  }
  const firstAgain = again.filter((run) => !run.predecessors.some(({ runId }) => dropped.has(runId)));
  const kept = last.filter((run) => !dropped.has(run.id)).map((run): JobRun => ({ ...run, carried: true }));
  const taken = new Set<string>();
  const begun = firstAgain.map((run): JobRun => {
    const trigger = definitions.triggers[run.trigger];
    const index = actionOf(run, trigger, taken);
    taken.add(`${run.trigger} ${index}`);
    const action = trigger?.actions[index];
    const { stop: _, ...same } = unstarted(run);
    const predecessors = kept.filter((one) => run.predecessors.some(({ runId }) => runId === one.id));
    if (action !== undefined) return newRun(id, run.trigger, action, index, predecessors, definitions, now);
    // Its action is in the configuration no more: a number that no action has.
    const after = (trigger?.actions.length ?? 0) + last.indexOf(run);
    return { ...same, id: runId(id, run.trigger, after, 0), attempt: 0, state: "STARTING", created: now.toISOString() };
  });
  const { [from.trigger]: started, ...others } = from.triggers;
  const stillFired = Object.entries(others).filter(([name]) => [...kept, ...begun].some((run) => run.trigger === name));
  const runs = [...kept, ...begun];
  return {
    id,
    trigger: from.trigger,
    cause,
    ...(from.workflow === undefined ? {} : { workflow: from.workflow }),
    previousRunId: from.id,
    state: "RUNNING",
    created: now.toISOString(),
    properties: from.properties,
    triggers: { [from.trigger]: started ?? { at: now.toISOString() }, ...Object.fromEntries(stillFired) },
    runs: Object.fromEntries(runs.map((run) => [run.id, run])),
  };
}
