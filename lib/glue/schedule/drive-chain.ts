import { mayHaveTakenEffect } from "../../aws.js";
import { ExitCode } from "../../errors.js";
import type { Logger } from "../../logger.js";
import type { ObjectStore } from "../../storage/object-store.js";
import type { Definitions } from "../config/schedule-schema.js";
import { describeFailure } from "../failure.js";
import { endChain, endRun, refuseChain, settle, withRun } from "./chain.js";
import { type Document, readDocument, writeDocument } from "./documents.js";
import { isClosed } from "./history.js";
import { type Chain, isOver, type JobRun, type TriggerState } from "./model.js";
import type { Places } from "./places.js";
import { withProperties } from "./run-properties.js";
import { acquireSlot, type Holder, releaseSlot } from "./slots.js";
import type { Clock, Observation, RunInChain, RunStarter } from "./starter.js";

/** What driving a chain needs. */
export interface DriveContext {
  readonly store: ObjectStore;
  readonly places: Places;
  readonly definitions: Definitions;
  readonly starter: RunStarter;
  readonly clock: Clock;
  readonly log: Logger;
  /** Aborted when the scheduler is to end: what fails then says nothing about a run. */
  readonly signal?: AbortSignal;
  stateOf(trigger: string): Promise<TriggerState>;
}

/** What a service gives a run beyond its timeout: it stops it itself when no scheduler is there. */
export const SPARE_MINUTES = 10;

// The order of the steps is what makes them safe to repeat. That a run is about to be started is written down before it is, with
// the request; and it is started under its own id as the token: whoever finds it without a handle starts it again, and gets the
// same run. A place among the concurrent runs is taken before a run is started, and given back before it is written down as over.
// Each put goes over exactly what was read: who was overtaken stops at once, and looks again.

/**
 * Takes a chain as far as it goes now: looks how its runs go, fires the triggers whose conditions are met, starts runs.
 *
 * @returns whether the chain is over; `undefined` when somebody else has changed it meanwhile.
 */
export async function driveChain(context: DriveContext, document: Document<Chain>): Promise<boolean | undefined> {
  const { store, places, clock } = context;
  let seen = document;
  const put = async (chain: Chain): Promise<boolean> => {
    if (chain === seen.value) return true;
    const written = await writeDocument(store, seen.uri, chain, seen);
    if (written !== undefined) seen = written;
    return written !== undefined;
  };

  const isCurrent = async () =>
    (await store.head(seen.uri))?.etag === seen.etag && !(await isClosed(store, places, seen.value));

  for (;;) {
    let chain = seen.value;
    if (chain.ended === undefined) {
      if (await isClosed(store, places, chain)) {
        await drop(context, chain);
        return true;
      }
      const admitted = await admit(context, chain);
      if (admitted === "waiting") return (await put(withAllWaiting(chain))) ? false : undefined;
      chain = admitted;
      for (const run of Object.values(chain.runs)) {
        if (run.handle !== undefined && !isOver(run)) chain = await look(context, { run, chain, isCurrent });
      }
      if (chain.stop === undefined && chain.ended === undefined) chain = await follow(context, chain);
      chain = endChain(chain, clock.now());
      if (chain.ended !== undefined) await leaveWorkflow(context, chain);
      if (!(await put(chain))) return undefined;
    }
    if (chain.ended !== undefined) {
      await store.delete(places.marker(chain.id));
      say(context, chain);
      return true;
    }
    const waiting = Object.values(chain.runs).filter((run) => run.handle === undefined && !isOver(run));
    for (const run of waiting) if (run.starting === undefined) chain = await makeReady(context, chain, run);
    if (!(await put(chain))) return undefined;
    for (const { id, starting } of waiting) {
      const run = chain.runs[id];
      if (run?.starting === undefined || isOver(run)) continue;
      // Whoever was paused here must not go on: others may be further.
      if (!(await isCurrent())) return undefined;
      chain = await begin(context, { run, chain, isCurrent }, starting !== undefined);
    }
    if (!(await put(chain))) return undefined;
    const { runs } = chain;
    const goesOn = ({ id }: JobRun) => runs[id] === undefined || runs[id].handle !== undefined || isOver(runs[id]);
    if (!waiting.some(goesOn)) return false;
  }
}

/**
 * A place among the concurrent runs of a workflow; without one the run is refused, as Glue does. One that objects started waits:
 * they don't come again.
 */
async function admit(context: DriveContext, chain: Chain): Promise<Chain | "waiting"> {
  const { store, places, definitions, clock } = context;
  const { workflow, admitted } = chain;
  const most = workflow === undefined ? undefined : definitions.workflows[workflow]?.maxConcurrentRuns;
  if (workflow === undefined || most === undefined || admitted === true || chain.stop === true) return chain;
  const answer = await acquireSlot(store, places.slots("workflow", workflow), {
    holder: { chain: chain.id, run: "" },
    most,
    queue: chain.cause.events !== undefined,
    isOver: (holder) => holderIsOver(context, holder),
  });
  if (answer === "granted") return { ...chain, admitted: true };
  return answer === "waiting" ? answer : refuseChain(chain, tooMany(`workflow ${workflow}`, most), clock.now());
}

function withAllWaiting(chain: Chain): Chain {
  const runs = Object.values(chain.runs);
  if (runs.every((run) => isOver(run) || run.state === "WAITING")) return chain;
  return runs.reduce((all, run) => (isOver(run) ? all : withRun(all, { ...run, state: "WAITING" })), chain);
}

/** The firing is over, and was deleted: somebody who was paused meanwhile has made its chain once more. */
async function drop(context: DriveContext, chain: Chain): Promise<void> {
  const { store, places, log } = context;
  await leaveWorkflow(context, chain);
  for (const { id, job } of Object.values(chain.runs)) {
    await releaseSlot(store, places.slots("job", job), { chain: chain.id, run: id });
  }
  await store.delete(places.chain(chain.id));
  await store.delete(places.marker(chain.id));
  log.warn(`${chain.id} isn't begun: what ${chain.trigger} was to do at ${chain.cause.time} is in no history any more`);
}

async function leaveWorkflow({ store, places }: DriveContext, { id, workflow }: Chain): Promise<void> {
  if (workflow !== undefined) await releaseSlot(store, places.slots("workflow", workflow), { chain: id, run: "" });
}

async function follow(context: DriveContext, chain: Chain): Promise<Chain> {
  const { definitions, clock } = context;
  const states = new Map<string, TriggerState>();
  // Only those that look at this chain are worth reading.
  const candidates = settle(chain, definitions, () => "CREATED", clock.now());
  for (const name of Object.keys(candidates.triggers)) {
    if (!Object.hasOwn(chain.triggers, name)) states.set(name, await context.stateOf(name));
  }
  return states.size === 0 ? chain : settle(chain, definitions, (name) => states.get(name) ?? "CREATED", clock.now());
}

/** Takes a place for a run, and makes its request. What comes back is written down before {@link begin}. */
async function makeReady(context: DriveContext, chain: Chain, run: JobRun): Promise<Chain> {
  const { store, places, definitions, starter, clock, log } = context;
  const slots = places.slots("job", run.job);
  const holder: Holder = { chain: chain.id, run: run.id };
  if (chain.stop === true || run.stop !== undefined) {
    await releaseSlot(store, slots, holder);
    return endRun(chain, { ...run, state: "STOPPED" }, clock.now());
  }
  const job = definitions.jobs[run.job];
  const most = job?.maxConcurrentRuns ?? 1;
  const answer = await acquireSlot(store, slots, {
    holder,
    most,
    queue: job?.jobRunQueuingEnabled === true || chain.cause.events !== undefined,
    isOver: (other) => holderIsOver(context, other),
  });
  if (answer === "refused") {
    log.warn(`${run.job} can't be started by ${run.trigger}: ${tooMany(`job ${run.job}`, most)}`);
    return endRun(chain, { ...run, state: "ERROR", reason: tooMany(`job ${run.job}`, most) }, clock.now());
  }
  if (answer === "waiting") return run.state === "WAITING" ? chain : withRun(chain, { ...run, state: "WAITING" });
  try {
    const place = starter.place?.(run);
    const given = withProperties(run.arguments, chain.properties);
    const ready: JobRun = { ...run, state: "STARTING", given, ...(place === undefined ? {} : { place }) };
    const request = await starter.prepare?.({ run: ready, chain });
    return withRun(chain, {
      ...ready,
      starting: clock.now().toISOString(),
      ...(request === undefined ? {} : { request }),
    });
  } catch (error) {
    return notStarted(context, chain, run, error);
  }
}

/** @param before it may have been started before: then no error says that it wasn't. */
async function begin(context: DriveContext, request: RunInChain, before: boolean): Promise<Chain> {
  const { starter, clock, log } = context;
  const { run, chain } = request;
  try {
    const handle = await starter.start(request);
    log.info(`${run.job} was started by ${run.trigger}: ${run.id}`);
    const { request: _, ...started } = run;
    return withRun(chain, { ...started, handle });
  } catch (error) {
    if (!before && !mayHaveTakenEffect(error)) {
      const { starting: _, request: __, ...unstarted } = run;
      return notStarted(context, withRun(chain, unstarted), unstarted, error);
    }
    const reason = `it isn't known whether it was started: ${reasonOf(error)}`;
    const minutes = minutesSince(run.starting, clock.now());
    if ((isToStop(chain, run) && !isWorthAnotherTry(error)) || minutes >= run.timeout + SPARE_MINUTES) {
      return giveUp(context, chain, run, reason);
    }
    log.warn(`${run.id}: ${reason}; the same run is started again`);
    return chain;
  }
}

/** Nothing was started, for sure. */
async function notStarted(context: DriveContext, chain: Chain, run: JobRun, error: unknown): Promise<Chain> {
  const { store, places, clock, log } = context;
  const reason = reasonOf(error);
  if (isWorthAnotherTry(error) || context.signal?.aborted === true) {
    log.warn(`${run.id} can't be started yet: ${reason}`);
    return chain;
  }
  await releaseSlot(store, places.slots("job", run.job), { chain: chain.id, run: run.id });
  log.error(`${run.id} can't be started: ${reason}`);
  return endRun(chain, { ...run, state: "FAILED", reason }, clock.now());
}

/** Ends a run that nothing can be found out about. It isn't tried again: it may be at work. */
async function giveUp(context: DriveContext, chain: Chain, run: JobRun, reason: string): Promise<Chain> {
  const { store, places, clock, log } = context;
  await releaseSlot(store, places.slots("job", run.job), { chain: chain.id, run: run.id });
  const state = isToStop(chain, run) ? "STOPPED" : "TIMEOUT";
  log.error(`${run.job} is ${state}: ${run.id}: ${reason}`);
  return endRun(chain, { ...run, state, reason }, clock.now());
}

/** Looks how a run goes; stops it when it is to be stopped. */
async function look(context: DriveContext, request: RunInChain): Promise<Chain> {
  const { store, places, starter, clock, log } = context;
  const { run, chain } = request;
  let seen: Observation;
  try {
    seen = await starter.observe(request);
  } catch (error) {
    return unseen(context, chain, run, error);
  }
  const now = clock.now();
  if (seen.state !== "STARTING" && seen.state !== "RUNNING" && seen.state !== "STOPPING") {
    await releaseSlot(store, places.slots("job", run.job), { chain: chain.id, run: run.id });
    const state = stateAtEnd(run, seen.state);
    const reason = state === "TIMEOUT" ? `it took longer than ${run.timeout} min` : seen.reason;
    log[state === "SUCCEEDED" ? "info" : "warn"](`${run.job} is ${state}${because(reason)}: ${run.id}`);
    const ended = {
      ...run,
      state,
      started: run.started ?? now.toISOString(),
      ...(reason === undefined ? {} : { reason }),
    };
    return endRun(chain, ended, now);
  }
  let next = run;
  if (seen.state !== "STARTING" && run.started === undefined) next = { ...next, started: now.toISOString() };
  if (run.state !== "STOPPING" && seen.state !== run.state) next = { ...next, state: seen.state };
  const minutes = next.started === undefined ? 0 : (now.getTime() - Date.parse(next.started)) / 60_000;
  if (next.notifyDelayAfter !== undefined && minutes >= next.notifyDelayAfter && next.notified === undefined) {
    log.warn(`${run.job} takes longer than ${next.notifyDelayAfter} min: ${run.id}`);
    next = { ...next, notified: true };
  }
  const asked = isToStop(chain, run);
  if (next.state !== "STOPPING" && (asked || minutes >= next.timeout)) {
    try {
      await starter.cancel({ run, chain });
      next = { ...next, state: "STOPPING", stop: asked ? "requested" : "timeout" };
    } catch (error) {
      log.warn(`${run.id} can't be stopped now: ${reasonOf(error)}`);
    }
  }
  return next === run ? chain : withRun(chain, next);
}

/** A run that can't be looked at holds up no others. What can't be looked at for good ends when it is stopped, or too late. */
async function unseen(context: DriveContext, chain: Chain, run: JobRun, error: unknown): Promise<Chain> {
  const { store, places, starter, clock, log } = context;
  const reason = `it can't be looked at: ${reasonOf(error)}`;
  const minutes = minutesSince(run.started ?? run.starting, clock.now());
  if (!isWorthAnotherTry(error)) {
    const { code } = describeFailure(error).error;
    // A service may not know yet what it has just started.
    if (code.endsWith("_NOT_FOUND") && minutes >= 2) {
      await releaseSlot(store, places.slots("job", run.job), { chain: chain.id, run: run.id });
      log.error(`${run.job} is ERROR: ${run.id}: ${reason}`);
      return endRun(chain, { ...run, state: "ERROR", reason }, clock.now());
    }
    if (isToStop(chain, run) || minutes >= run.timeout) {
      try {
        await starter.cancel({ run, chain });
      } catch (refusal) {
        if (isWorthAnotherTry(refusal)) return chain;
      }
      return giveUp(context, chain, run, reason);
    }
  }
  log.warn(`${run.id}: ${reason}`);
  return chain;
}

function stateAtEnd({ stop }: JobRun, seen: "SUCCEEDED" | "FAILED" | "STOPPED" | "TIMEOUT"): JobRun["state"] {
  // It may have been done before it could be stopped.
  if (seen === "SUCCEEDED" || stop === undefined) return seen;
  return stop === "timeout" ? "TIMEOUT" : "STOPPED";
}

async function holderIsOver({ store, places }: DriveContext, { chain, run }: Holder): Promise<boolean> {
  const found = (await readDocument<Chain>(store, places.chain(chain)))?.value;
  if (found === undefined || found.ended !== undefined) return true;
  const held = found.runs[run];
  return held !== undefined && isOver(held);
}

/** Also with other credentials: those of a scheduler that goes on for weeks expire, and are renewed. */
function isWorthAnotherTry(error: unknown): boolean {
  const { error: failure, exitCode } = describeFailure(error);
  if (failure.code.startsWith("AWS_CREDENTIALS_")) return true;
  return exitCode === ExitCode.retryable || exitCode === ExitCode.unreachable;
}

function reasonOf(error: unknown): string {
  const { error: failure } = describeFailure(error);
  return [failure.message, ...failure.problems].join("; ");
}

function isToStop(chain: Chain, run: JobRun): boolean {
  return chain.stop === true || run.stop === "requested";
}

function minutesSince(time: string | undefined, now: Date): number {
  return time === undefined ? 0 : (now.getTime() - Date.parse(time)) / 60_000;
}

function tooMany(what: string, most: number): string {
  return `ConcurrentRunsExceededException: ${most === 1 ? "a run" : `${most} runs`} of ${what} ${most === 1 ? "is" : "are"} at work, and no more ${most === 1 ? "is" : "are"} allowed`;
}

function because(reason: string | undefined): string {
  return reason === undefined ? "" : ` (${reason})`;
}

function say({ log }: DriveContext, { workflow, state, id, reason }: Chain): void {
  if (workflow === undefined) return;
  log[state === "ERROR" ? "warn" : "info"](`workflow ${workflow} is ${state}${because(reason)}: ${id}`);
}
