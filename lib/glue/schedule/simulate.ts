import { silentLogger } from "../../logger.js";
import { createMemoryStore } from "../../storage/memory-store.js";
import type { ObjectStore } from "../../storage/object-store.js";
import type { Definitions, WatchableState } from "../config/schedule-schema.js";
import { createControl } from "./control.js";
import { writeDocument } from "./documents.js";
import { type Chain, isOver, type JobRun } from "./model.js";
import { placesIn } from "./places.js";
import { createScheduler } from "./scheduler.js";
import type { Clock, Observation, RunStarter } from "./starter.js";

/** A clock that goes on only when it is told to. */
export interface SimulatedClock extends Clock {
  /** Sets it; it never goes back. */
  advanceTo(time: Date): void;
}

/** Time begins at `from`. Whoever waits is woken when it has gone far enough. */
export function createSimulatedClock(from: Date): SimulatedClock {
  let now = from.getTime();
  const waiting = new Set<{ readonly until: number; readonly wake: () => void }>();
  return {
    now: () => new Date(now),
    wait: (ms, signal) =>
      new Promise((resolve) => {
        const entry = {
          until: now + ms,
          wake: () => {
            waiting.delete(entry);
            resolve();
          },
        };
        if (ms <= 0 || signal.aborted) return resolve();
        waiting.add(entry);
        signal.addEventListener("abort", entry.wake, { once: true });
      }),
    advanceTo(time) {
      now = Math.max(now, time.getTime());
      for (const entry of [...waiting]) if (entry.until <= now) entry.wake();
    },
  };
}

/** How a made-up run ends. */
export interface MadeUpResult {
  readonly state: WatchableState;
  readonly minutes: number;
}

/** Runs that only take time. The same run id is the same run. */
export interface SimulatedStarter extends RunStarter {
  /** When the next of them ends. */
  nextEnd(): Date | undefined;
  /** Ids of the runs that were started, each once, in their order. */
  readonly started: readonly string[];
}

/** Runs that end as they are told to, `minutes` after they were started, or when they are cancelled. */
export function createSimulatedStarter(clock: Clock, resultOf: (run: JobRun) => MadeUpResult): SimulatedStarter {
  const ends = new Map<string, { readonly time: number; readonly state: WatchableState }>();
  return {
    get started() {
      return [...ends.keys()];
    },
    async start({ run }) {
      const { minutes, state } = resultOf(run);
      if (!ends.has(run.id)) ends.set(run.id, { time: clock.now().getTime() + minutes * 60_000, state });
      return run.id;
    },
    async observe({ run: { id } }): Promise<Observation> {
      const end = ends.get(id);
      if (end === undefined) return { state: "FAILED", reason: "it was never started" };
      return { state: end.time <= clock.now().getTime() ? end.state : "RUNNING" };
    },
    async cancel({ run: { id } }) {
      ends.set(id, { time: clock.now().getTime(), state: "STOPPED" });
    },
    nextEnd() {
      const now = clock.now().getTime();
      const times = [...ends.values()].map(({ time }) => time).filter((time) => time > now);
      return times.length === 0 ? undefined : new Date(Math.min(...times));
    },
  };
}

/** What {@link simulate} plays. */
export interface SimulationOptions {
  readonly definitions: Definitions;
  readonly from: Date;
  /** Schedules fire up to here; what has begun is played to its end. */
  readonly to: Date;
  /** This trigger fires once, at `from`, whatever its type; schedules don't count then. */
  readonly only?: string;
  resultOf(run: JobRun): MadeUpResult;
}

/** One thing that would happen. */
export interface SimulatedEvent {
  readonly time: Date;
  readonly chain: string;
  readonly what:
    | { readonly kind: "fired"; readonly trigger: string; readonly workflow?: string }
    | { readonly kind: "run"; readonly run: JobRun }
    | { readonly kind: "workflow"; readonly chain: Chain };
}

const FOLDER = "memory:/scheduler/";

/** Plays the whole graph, with the scheduler as it is, on a clock of its own and with made-up results. */
export async function* simulate(options: SimulationOptions): AsyncGenerator<SimulatedEvent, void> {
  const { from, to, only } = options;
  const definitions = everythingActive(options.definitions, only);
  const clock = createSimulatedClock(from);
  const store = createMemoryStore(clock.now);
  const starter = createSimulatedStarter(clock, options.resultOf);
  const process = { self: "simulation", isGone: () => false };
  const scheduler = createScheduler({ store, folder: FOLDER, definitions, starter, clock, log: silentLogger, process });
  const control = createControl({ store, folder: FOLDER, definitions, now: clock.now });
  // The same ids in every simulation, and so the same order of what happens at once.
  await writeDocument(store, placesIn(FOLDER).store, "simulation", undefined);
  if (only !== undefined) await control.startTrigger(only);
  const seen = new Map<string, Chain>();
  for (;;) {
    await scheduler.tick();
    yield* changesSince(seen, await chainsOf(store, definitions), clock.now());
    // Of runs that wait for one that has just ended, the next look starts one.
    await scheduler.tick();
    yield* changesSince(seen, await chainsOf(store, definitions), clock.now());
    const times = [scheduler.nextFiring(), nextDeadline(seen, starter)].filter((time) => time !== undefined);
    const next = new Date(Math.min(...times.map((time) => time.getTime())));
    const busy = [...seen.values()].some(({ ended }) => ended === undefined);
    if (times.length === 0 || (next > to && !busy)) return;
    if (next > to) for (const name of Object.keys(definitions.triggers)) await stopSchedule(control, definitions, name);
    clock.advanceTo(next);
  }
}

async function stopSchedule(
  control: ReturnType<typeof createControl>,
  definitions: Definitions,
  name: string,
): Promise<void> {
  if (definitions.triggers[name]?.type === "SCHEDULED") await control.stopTrigger(name);
}

/** With `only`, no schedule fires, and that trigger fires when it is asked to. */
function everythingActive(definitions: Definitions, only: string | undefined): Definitions {
  const triggers = Object.entries(definitions.triggers).map(([name, trigger]): [string, typeof trigger] => {
    if (name === only && trigger.type !== "CONDITIONAL") {
      const { description, workflow, actions } = trigger;
      const same = {
        ...(description === undefined ? {} : { description }),
        ...(workflow === undefined ? {} : { workflow }),
      };
      return [name, { type: "ON_DEMAND", ...same, actions, startOnCreation: false }];
    }
    if (trigger.type === "CONDITIONAL") return [name, { ...trigger, startOnCreation: true }];
    if (trigger.type === "SCHEDULED") return [name, { ...trigger, startOnCreation: only === undefined }];
    return [name, trigger.type === "EVENT" ? { ...trigger, startOnCreation: false } : trigger];
  });
  return { ...definitions, triggers: Object.fromEntries(triggers) };
}

/** When something happens by itself: a run ends, or has to be stopped, or takes too long. */
function nextDeadline(seen: ReadonlyMap<string, Chain>, starter: SimulatedStarter): Date | undefined {
  const times = [...seen.values()].flatMap(({ runs }) =>
    Object.values(runs).flatMap((run) =>
      isOver(run) || run.started === undefined || run.state === "STOPPING"
        ? []
        : [Date.parse(run.started) + run.timeout * 60_000],
    ),
  );
  const end = starter.nextEnd();
  if (end !== undefined) times.push(end.getTime());
  return times.length === 0 ? undefined : new Date(Math.min(...times));
}

async function chainsOf(store: ObjectStore, definitions: Definitions): Promise<Chain[]> {
  const control = createControl({ store, folder: FOLDER, definitions, now: () => new Date() });
  const chains: Chain[] = [];
  for await (const chain of control.chains()) chains.push(chain);
  const order = Object.keys(definitions.triggers);
  return chains.sort(
    (left, right) =>
      left.cause.time.localeCompare(right.cause.time) || order.indexOf(left.trigger) - order.indexOf(right.trigger),
  );
}

function* changesSince(
  seen: Map<string, Chain>,
  chains: readonly Chain[],
  time: Date,
): Generator<SimulatedEvent, void> {
  for (const chain of chains) {
    const before = seen.get(chain.id);
    seen.set(chain.id, chain);
    // Ends first: they are why the others happen.
    const runs = Object.values(chain.runs).filter((run) => run.state !== before?.runs[run.id]?.state);
    const event = (what: SimulatedEvent["what"]): SimulatedEvent => ({ time, chain: chain.id, what });
    for (const run of runs.filter((one) => isOver(one) && before?.runs[one.id] !== undefined))
      yield event({ kind: "run", run });
    for (const trigger of Object.keys(chain.triggers)) {
      if (before !== undefined && Object.hasOwn(before.triggers, trigger)) continue;
      const { workflow } = chain;
      yield event({ kind: "fired", trigger, ...(workflow === undefined ? {} : { workflow }) });
    }
    for (const run of runs.filter((one) => !isOver(one) || before?.runs[one.id] === undefined))
      yield event({ kind: "run", run });
    if (chain.workflow !== undefined && chain.ended !== undefined && before?.ended === undefined) {
      yield event({ kind: "workflow", chain });
    }
  }
}
