import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { createControl } from "../../../../lib/glue/schedule/control.js";
import { nextFirings } from "../../../../lib/glue/schedule/cron.js";
import { readDocument } from "../../../../lib/glue/schedule/documents.js";
import type { Chain } from "../../../../lib/glue/schedule/model.js";
import { createScheduler, type Scheduler } from "../../../../lib/glue/schedule/scheduler.js";
import { createSimulatedClock, createSimulatedStarter } from "../../../../lib/glue/schedule/simulate.js";
import type { RunStarter } from "../../../../lib/glue/schedule/starter.js";
import { silentLogger } from "../../../../lib/logger.js";
import { createFileStore } from "../../../../lib/storage/file-store.js";
import { createMemoryStore, fileUriOfPath, type ObjectStore } from "../../../../lib/storage/index.js";
import { definitionsOf, START } from "./world.js";

const folders: string[] = [];
afterAll(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true, force: true }))));

const condition = (job: string) => ({ job, state: "SUCCEEDED" });
const schedule = (expression: string, ...jobs: string[]) => ({
  type: "SCHEDULED",
  schedule: expression,
  actions: jobs.map((job) => ({ job })),
  startOnCreation: true,
});

/** Two schedules; what follows one of them is a job of which two may run at a time, and then a workflow of its own. */
const DEFINITIONS = definitionsOf({
  jobs: {
    a: { job: "x", maxConcurrentRuns: 1_000 },
    b: { job: "x", maxConcurrentRuns: 1_000, maxRetries: 1 },
    c: { job: "x", maxConcurrentRuns: 2, jobRunQueuingEnabled: true },
  },
  workflows: { w: {} },
  triggers: {
    five: schedule("cron(0/5 * * * ? *)", "a"),
    ten: { ...schedule("cron(3/10 * * * ? *)", "a", "b"), workflow: "w" },
    both: {
      type: "CONDITIONAL",
      predicate: { logical: "AND", conditions: [condition("a"), condition("b")] },
      actions: [{ job: "c" }],
      workflow: "w",
      startOnCreation: true,
    },
  },
  scheduler: { missedFirings: "all" },
});

/** Numbers as from a die, the same in every run of the tests. */
function dice(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Of a run, from its chain's hash: the same whoever asks. */
function chance(id: string): number {
  return Number.parseInt(id.split("_")[2]?.slice(0, 4) ?? "", 16) / 2 ** 16;
}

/** What befalls a process at one of its steps. */
type Fate = "killed before" | "killed after" | "paused before" | "paused after" | undefined;

/** A process with a scheduler in it; every operation on the store, and every start of a run, is a step. */
interface Process {
  readonly scheduler: Scheduler;
  state(): "alive" | "paused" | "dead";
  wake(): void;
  tick: Promise<void>;
}

interface Counts {
  kills: number;
  pauses: number;
}

const counts = (): Counts => ({ kills: 0, pauses: 0 });

async function play(options: {
  store: ObjectStore;
  folder: string;
  seed: number;
  firings: number;
  fates: { kill: number; pause: number };
  clock: ReturnType<typeof createSimulatedClock>;
  /** Days that are kept, if that isn't all. */
  keepDays?: number;
}) {
  const { store, folder, clock, fates, keepDays } = options;
  const definitions =
    keepDays === undefined
      ? DEFINITIONS
      : { ...DEFINITIONS, scheduler: { ...DEFINITIONS.scheduler, history: { keepDays } } };
  /** What was over when it was deleted. */
  const deleted = new Map<string, Chain>();
  /** Runs that were started, and whose chain was deleted before it was over. */
  const lost: string[] = [];
  const random = dice(options.seed);
  const happened = counts();
  const gone = new Set<string>();
  let processes = 0;
  let mostAtOnce = 0;
  let firstOfB: string | undefined;
  const starter = createSimulatedStarter(clock, ({ job, attempt, id }) => {
    const number = Number.parseInt(id.replace(/_attempt_\d+$/, "").slice(-4), 16);
    if (job === "b" && attempt === 0) firstOfB ??= id;
    // The first one and a quarter of the other first attempts of b fail; minutes differ so that ends don't fall together.
    return {
      state: job === "b" && attempt === 0 && (id === firstOfB || chance(id) < 0.25) ? "FAILED" : "SUCCEEDED",
      minutes: 1 + (number % 9),
    };
  });
  const atWork = new Map<string, string>();
  let peaceful = false;

  const fate = (): Fate => {
    if (peaceful) return undefined;
    const roll = random();
    if (roll < fates.kill) return random() < 0.5 ? "killed before" : "killed after";
    if (roll < fates.kill + fates.pause) return random() < 0.5 ? "paused before" : "paused after";
    return undefined;
  };

  const spawn = (): Process => {
    const mark = `process ${++processes}`;
    let state: "alive" | "paused" | "dead" = "alive";
    let wake = () => {};
    let gate = Promise.resolve();
    const now = () => state;
    const suffer = (what: Fate) => {
      if (what === undefined || now() !== "alive") return;
      if (what.startsWith("paused")) {
        happened.pauses += 1;
        state = "paused";
        gate = new Promise((resolve) => {
          wake = resolve;
        });
      } else {
        happened.kills += 1;
        state = "dead";
        gone.add(mark);
      }
    };
    /** Whatever a paused process has begun side by side stands still, too. */
    const mayGoOn = async () => {
      while (now() === "paused") await gate;
      if (now() === "dead") throw new Error("killed");
    };
    const step = async <T>(work: () => Promise<T>): Promise<T> => {
      const what = fate();
      if (what?.endsWith("before")) suffer(what);
      await mayGoOn();
      const result = await work();
      if (what?.endsWith("after")) suffer(what);
      await mayGoOn();
      return result;
    };
    const killable: ObjectStore = {
      ...store,
      get: (uri) => step(() => store.get(uri)),
      head: (uri) => step(() => store.head(uri)),
      put: (uri, body, put) => step(() => store.put(uri, body, put)),
      delete: (uri) => step(() => store.delete(uri)),
      deleteAll: (within) =>
        step(async () => {
          for await (const { uri } of store.list(within)) {
            const chain = (await readDocument<Chain>(store, uri))?.value;
            // Another one is nobody's, made by who was paused: it has started nothing.
            if (chain?.ended !== undefined) deleted.set(JSON.stringify(chain), chain);
            else for (const { id, handle } of Object.values(chain?.runs ?? {})) if (handle !== undefined) lost.push(id);
          }
          await store.deleteAll(within);
        }),
      async *list(prefix) {
        const found = await step(async () => {
          const all = [];
          for await (const object of store.list(prefix)) all.push(object);
          return all;
        });
        yield* found;
      },
    };
    const killableStarter: RunStarter = {
      start: (request) =>
        step(async () => {
          const { id, job } = request.run;
          if (!starter.started.includes(id)) atWork.set(id, job);
          const handle = await starter.start(request);
          mostAtOnce = Math.max(mostAtOnce, [...atWork.values()].filter((one) => one === "c").length);
          return handle;
        }),
      observe: (run) =>
        step(async () => {
          const seen = await starter.observe(run);
          if (seen.state !== "RUNNING") atWork.delete(run.run.id);
          return seen;
        }),
      cancel: (run) => step(() => starter.cancel(run)),
    };
    return {
      state: now,
      wake: () => {
        if (state === "paused") state = "alive";
        wake();
      },
      tick: Promise.resolve(),
      scheduler: createScheduler({
        store: killable,
        folder,
        definitions,
        starter: killableStarter,
        clock,
        log: silentLogger,
        process: { self: mark, isGone: (other) => gone.has(other) },
        expiresAfterMs: 4 * 60_000,
      }),
    };
  };

  const crew = [spawn(), spawn()];
  const asleep: Process[] = [];
  const doneOrPaused = async (process: Process) => {
    let done = false;
    void process.tick.then(() => {
      done = true;
    });
    while (!done && process.state() !== "paused") await new Promise((resolve) => setImmediate(resolve));
  };
  const round = async (minutes: number) => {
    clock.advanceTo(new Date(clock.now().getTime() + minutes * 60_000));
    for (const [index, process] of crew.entries()) {
      if (process.state() === "alive") continue;
      if (process.state() === "paused") asleep.push(process);
      crew[index] = spawn();
    }
    for (const process of crew) process.tick = process.scheduler.tick().catch(() => undefined);
    // One that was paused wakes up late, in the midst of the others' work.
    const late = peaceful || random() < 0.4 ? asleep.shift() : undefined;
    late?.wake();
    const awake = late === undefined ? crew : [...crew, late];
    await Promise.all(awake.map(doneOrPaused));
    if (late?.state() === "paused") asleep.push(late);
  };

  for (let first = 0; first < 20; first++) await round(0);
  // The triggers fire three times in ten minutes.
  const until = new Date(START.getTime() + (options.firings / 3) * 10 * 60_000);
  while (clock.now() < until) await round(2.5);
  const end = clock.now();
  peaceful = true;
  // Whatever was due until now is decided on.
  await round(0);
  const control = createControl({ store, folder, definitions, now: clock.now });
  for (const name of ["five", "ten"]) await control.stopTrigger(name);
  let chains: Chain[] = [];
  for (let left = 400; left > 0; left--) {
    await round(2.5);
    chains = [];
    for await (const chain of control.chains()) chains.push(chain);
    if (asleep.length === 0 && chains.every(({ ended }) => ended !== undefined)) break;
  }
  return { chains: [...deleted.values(), ...chains], deleted: deleted.size, lost, end, starter, happened, mostAtOnce };
}

function check({ chains, lost, end, starter, mostAtOnce }: Awaited<ReturnType<typeof play>>): number {
  // Not where it happens: a scheduler would only log it, and go on.
  expect(lost).toEqual([]);
  const expected = (["five", "ten"] as const).flatMap((name) => {
    const trigger = DEFINITIONS.triggers[name];
    const times = trigger?.type === "SCHEDULED" ? nextFirings(trigger.schedule, START, 10_000) : [];
    return times.filter((time) => time <= end).map((time) => `${name} ${time.toISOString()}`);
  });
  const fired = chains.map(({ trigger, cause }) => `${trigger} ${cause.time}`);
  expect(fired.sort()).toEqual(expected.sort());
  expect(chains.filter(({ state }) => state !== "COMPLETED")).toEqual([]);
  const runs = chains.flatMap((chain) => Object.values(chain.runs));
  // What was started is exactly what is on record, and each is on record as it ended.
  expect([...starter.started].sort()).toEqual(runs.map(({ id }) => id).sort());
  for (const chain of chains) {
    const last = Object.values(chain.runs).filter(({ retried }) => retried !== true);
    expect(last.map(({ job, state }) => `${job} ${state}`).sort(), chain.id).toEqual(
      chain.workflow === undefined ? ["a SUCCEEDED"] : ["a SUCCEEDED", "b SUCCEEDED", "c SUCCEEDED"],
    );
  }
  expect(runs.some(({ attempt }) => attempt === 1)).toBe(true);
  expect(mostAtOnce).toBeLessThanOrEqual(2);
  return expected.length;
}

describe("two schedulers on one store, killed and paused at random steps", () => {
  test("over 1,000 firings, whose history they delete meanwhile, each fires once, and each run is started once", async () => {
    const clock = createSimulatedClock(START);
    const result = await play({
      store: createMemoryStore(clock.now),
      folder: "s3://state/",
      seed: 1,
      firings: 1_000,
      fates: { kill: 0.01, pause: 0.002 },
      clock,
      keepDays: 0.01,
    });
    expect(check(result)).toBeGreaterThanOrEqual(1_000);
    expect(result.deleted).toBeGreaterThan(600);
    expect(result.happened.kills).toBeGreaterThan(300);
    expect(result.happened.pauses).toBeGreaterThan(50);
  }, 60_000);

  test.each([2, 3, 4])(
    "killed at almost every step (seed %i)",
    async (seed) => {
      const clock = createSimulatedClock(START);
      const result = await play({
        store: createMemoryStore(clock.now),
        folder: "s3://state/",
        seed,
        firings: 60,
        fates: { kill: 0.08, pause: 0.03 },
        clock,
      });
      expect(check(result)).toBeGreaterThanOrEqual(60);
    },
    60_000,
  );

  test("on files", async () => {
    const folder = await mkdtemp(path.join(tmpdir(), "scheduler-"));
    folders.push(folder);
    const clock = createSimulatedClock(START);
    const result = await play({
      store: createFileStore(),
      folder: `${fileUriOfPath(folder)}/`,
      seed: 5,
      firings: 30,
      // The store's clock is the machine's, so that a paused process isn't found out: kills only.
      fates: { kill: 0.03, pause: 0 },
      clock,
    });
    expect(check(result)).toBeGreaterThanOrEqual(30);
    expect(result.happened.kills).toBeGreaterThan(20);
  }, 180_000);
});
