import { resolveConfig } from "../../../../lib/glue/config/resolve.js";
import type { Definitions } from "../../../../lib/glue/config/schedule-schema.js";
import { type Control, createControl } from "../../../../lib/glue/schedule/control.js";
import type { Chain, JobRun } from "../../../../lib/glue/schedule/model.js";
import { createScheduler, type Scheduler } from "../../../../lib/glue/schedule/scheduler.js";
import {
  createSimulatedClock,
  createSimulatedStarter,
  type MadeUpResult,
  type SimulatedClock,
  type SimulatedStarter,
} from "../../../../lib/glue/schedule/simulate.js";
import type { RunStarter } from "../../../../lib/glue/schedule/starter.js";
import type { Logger } from "../../../../lib/logger.js";
import { createMemoryStore, type ObjectStore } from "../../../../lib/storage/index.js";

export const FOLDER = "s3://state/scheduler/";
export const START = new Date("2026-01-05T00:00:00Z");

export const jobs = { a: { job: "athena-cdc" }, b: { job: "jdbc-cdc" }, c: { job: "./c.ts" } };
export const hourly = {
  type: "SCHEDULED",
  schedule: "cron(0 * * * ? *)",
  actions: [{ job: "a" }],
  startOnCreation: true,
};
/** A CONDITIONAL trigger that starts one job after another. */
export const on = (job: string, state: string, next: string, more: object = {}) => ({
  type: "CONDITIONAL",
  predicate: { conditions: [{ job, state }] },
  actions: [{ job: next }],
  startOnCreation: true,
  ...more,
});

/** Checked definitions, as a configuration file would give them. */
export function definitionsOf(content: unknown): Definitions {
  return resolveConfig({ file: { path: "c.ts", content, line: () => undefined }, env: {} }).definitions;
}

/** A scheduler on a store and a clock of its own, with runs that are made up. */
export interface World {
  readonly store: ObjectStore;
  readonly clock: SimulatedClock;
  readonly starter: SimulatedStarter;
  readonly scheduler: Scheduler;
  readonly control: Control;
  readonly said: readonly string[];
  /** How the runs of a job end; by default SUCCEEDED after one minute. */
  result(job: string, ...results: readonly Partial<MadeUpResult>[]): void;
  /** Goes on in steps of one minute, and ticks after each. */
  pass(minutes: number): Promise<void>;
  at(time: string): Promise<void>;
  chains(): Promise<Chain[]>;
  /** `job STATE` of every run, the oldest chain first. */
  runs(): Promise<string[]>;
  run(job: string, index?: number): Promise<JobRun>;
}

export interface WorldOptions {
  readonly store?: ObjectStore;
  readonly clock?: SimulatedClock;
  readonly wrap?: (starter: SimulatedStarter) => RunStarter;
}

export function createWorld(content: unknown, options: WorldOptions = {}): World {
  const definitions = definitionsOf(content);
  const clock = options.clock ?? createSimulatedClock(START);
  const store = options.store ?? createMemoryStore(clock.now);
  const results = new Map<string, Partial<MadeUpResult>[]>();
  const starter = createSimulatedStarter(clock, ({ job }) => {
    const given = results.get(job) ?? [];
    const next = given.length > 1 ? given.shift() : given[0];
    return { state: "SUCCEEDED", minutes: 1, ...next };
  });
  const said: string[] = [];
  const say = (message: string) => void said.push(message);
  const log: Logger = { debug: () => {}, info: say, warn: say, error: say };
  const scheduler = createScheduler({
    store,
    folder: FOLDER,
    definitions,
    starter: options.wrap?.(starter) ?? starter,
    clock,
    log,
    process: { self: "me", isGone: () => false },
  });
  const control = createControl({ store, folder: FOLDER, definitions, now: clock.now });
  const world: World = {
    store,
    clock,
    starter,
    scheduler,
    control,
    said,
    result: (job, ...given) => void results.set(job, [...given]),
    async pass(minutes) {
      for (let minute = 0; minute < minutes; minute++) {
        clock.advanceTo(new Date(clock.now().getTime() + 60_000));
        await scheduler.tick();
      }
    },
    async at(time) {
      clock.advanceTo(new Date(time));
      await scheduler.tick();
    },
    async chains() {
      const chains: Chain[] = [];
      for await (const chain of control.chains()) chains.push(chain);
      return chains.sort((left, right) => `${left.created}${left.id}`.localeCompare(`${right.created}${right.id}`));
    },
    async runs() {
      const chains = await world.chains();
      return chains.flatMap(({ runs }) => Object.values(runs).map(({ job, state }) => `${job} ${state}`));
    },
    async run(job, index = 0) {
      const found = (await world.chains()).flatMap(({ runs }) => Object.values(runs).filter((run) => run.job === job));
      const run = found.at(index);
      if (run === undefined) throw new Error(`no run ${index} of ${job}`);
      return run;
    },
  };
  return world;
}
