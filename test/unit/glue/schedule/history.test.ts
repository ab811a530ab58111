import { describe, expect, test } from "vitest";
import { pruneHistory } from "../../../../lib/glue/schedule/history.js";
import { placesIn } from "../../../../lib/glue/schedule/places.js";
import { createSimulatedClock } from "../../../../lib/glue/schedule/simulate.js";
import { createMemoryStore, type ObjectStore } from "../../../../lib/storage/index.js";
import { createWorld, FOLDER, START } from "./world.js";

const daily = { type: "SCHEDULED", schedule: "cron(0 12 * * ? *)", actions: [{ job: "a" }], startOnCreation: true };
const config = (more: object = {}) => ({
  jobs: { a: { job: "athena-cdc", jobRunQueuingEnabled: true }, b: { job: "jdbc-cdc", timeout: 10_080 } },
  workflows: { w: {} },
  triggers: {
    daily,
    now: { type: "ON_DEMAND", actions: [{ job: "b" }] },
    files: {
      type: "EVENT",
      workflow: "w",
      event: { prefix: "s3://in/" },
      actions: [{ job: "a" }],
      startOnCreation: true,
    },
  },
  scheduler: { history: { keepDays: 2 }, ...more },
});
const places = placesIn(FOLDER);

async function keysOf(store: ObjectStore, prefix: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { uri } of store.list(prefix)) found.push(uri.slice(prefix.length));
  return found;
}

/** Hours go by, with a look after each. */
async function hours(world: ReturnType<typeof createWorld>, count: number): Promise<void> {
  for (let hour = 0; hour < count; hour++) {
    await world.at(new Date(world.clock.now().getTime() + 3_600_000).toISOString());
  }
}

const daysOf = async (world: ReturnType<typeof createWorld>) =>
  (await world.chains()).map(({ cause }) => cause.time.slice(0, 10));

describe("history", () => {
  test("days that are over for longer than keepDays are deleted, and with them what dead schedulers have left", async () => {
    const world = createWorld(config());
    await world.scheduler.tick();
    await world.store.put(places.scheduler("dead-1"), "{}");
    await hours(world, 5 * 24);
    // It is the 10th: all since the 8th is kept.
    expect(await daysOf(world)).toEqual(["2026-01-08", "2026-01-09"]);
    expect((await keysOf(world.store, places.chains)).map((key) => key.slice(0, 10))).toEqual([
      "2026-01-08",
      "2026-01-09",
    ]);
    expect(await keysOf(world.store, places.schedulers)).toEqual([`${world.scheduler.id}.json`]);
    expect(world.starter.started).toHaveLength(5);
  });

  test("without a setting 90 days are kept", async () => {
    const world = createWorld({ ...config(), scheduler: {} });
    await world.scheduler.tick();
    for (let day = 0; day < 93; day++) {
      for (const time of ["12:00", "12:05"]) {
        const date = new Date(START.getTime() + day * 86_400_000).toISOString().slice(0, 10);
        await world.at(`${date}T${time}:00Z`);
      }
    }
    expect(await daysOf(world)).toHaveLength(91);
    expect((await daysOf(world))[0]).toBe("2026-01-07");
  });

  test("a run that is still at work keeps its day, and all after it", async () => {
    const world = createWorld(config());
    world.result("b", { minutes: 4 * 24 * 60 });
    await hours(world, 26);
    await world.control.startTrigger("now");
    await hours(world, 4 * 24);
    expect(await daysOf(world)).toEqual(["06", "06", "07", "08", "09"].map((day) => `2026-01-${day}`));
    expect((await world.run("b")).state).toBe("RUNNING");
    await hours(world, 24);
    expect(await daysOf(world)).toEqual(["2026-01-09", "2026-01-10"]);
  });

  test.each(["all", "latest"])(
    "a scheduler that comes back makes up for what was missed (%s), and for nothing that was deleted",
    async (missedFirings) => {
      const first = createWorld(config({ missedFirings }));
      await first.scheduler.tick();
      await hours(first, 30);
      await first.scheduler.leave();
      const { store, clock } = first;
      clock.advanceTo(new Date("2026-01-20T13:00:00Z"));
      const second = createWorld(config({ missedFirings }), { store, clock });
      await second.scheduler.tick();
      await hours(second, 30);
      const third = createWorld(config({ missedFirings }), { store, clock });
      await hours(third, 24);
      // The 5th was before the stop; the 6th to the 20th were missed.
      expect(third.starter.started.length + second.starter.started.length).toBe(missedFirings === "all" ? 17 : 3);
      expect(await daysOf(third)).toEqual(["2026-01-20", "2026-01-21", "2026-01-22"]);
    },
  );

  /** A store whose user stands still at its first operation that is wanted, until it is told to go on. */
  function pausing(store: ObjectStore, isWanted: (what: string, uri: string) => boolean) {
    let goOn = () => {};
    const going = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    let reached = () => {};
    const paused = new Promise<void>((resolve) => {
      reached = resolve;
    });
    let waits = true;
    const step = async (what: string, uri: string) => {
      if (!waits || !isWanted(what, uri)) return;
      waits = false;
      reached();
      await going;
    };
    const slow: ObjectStore = {
      ...store,
      head: async (uri) => {
        await step("head", uri);
        return store.head(uri);
      },
      put: async (uri, body, options) => {
        await step("put", uri);
        return store.put(uri, body, options);
      },
    };
    return { slow, paused, goOn };
  }

  test.each([
    ["before it looks whether the firing has begun", "head", places.chains],
    ["before it says that it begins it", "put", places.active],
    // Nobody is told of it then; it goes with the next day that is deleted.
    ["before it begins it", "put", places.chains],
  ])(
    "a scheduler that was paused %s, and wakes up when all is over and deleted, starts nothing",
    async (_, step, prefix) => {
      const clock = createSimulatedClock(START);
      const store = createMemoryStore(clock.now);
      const { slow, paused, goOn } = pausing(store, (what, uri) => what === step && uri.startsWith(prefix));
      const late = createWorld(config(), { store: slow, clock });
      await late.scheduler.tick();
      clock.advanceTo(new Date("2026-01-05T12:00:00Z"));
      const tick = late.scheduler.tick();
      await paused;
      const other = createWorld(config(), { store, clock });
      await hours(other, 4 * 24);
      // The 5th was in nobody's hands but the paused one's, or the other's; it has run once, and is deleted.
      expect(other.starter.started).toHaveLength(5);
      expect(await daysOf(other)).toEqual(["2026-01-07", "2026-01-08", "2026-01-09"]);
      goOn();
      await tick;
      await hours(late, 1);
      await hours(other, 1);
      expect(late.starter.started).toEqual([]);
      expect(other.starter.started).toHaveLength(5);
      expect(await daysOf(other)).toEqual(["2026-01-07", "2026-01-08", "2026-01-09"]);
      expect(await keysOf(store, places.active)).toEqual([]);
      const dropped = [...late.said, ...other.said].filter((line) => line.includes("is in no history any more"));
      expect(dropped.length).toBe(step === "put" && prefix === places.chains ? 0 : 1);
      // The places that it may have taken are free.
      await hours(other, 24);
      expect(other.starter.started.length + late.starter.started.length).toBe(6);
    },
  );

  test("a batch of events that a paused scheduler finds late isn't from before what is deleted", async () => {
    const clock = createSimulatedClock(START);
    const store = createMemoryStore(clock.now);
    const other = createWorld(config(), { store, clock });
    await hours(other, 1);
    const { slow, paused, goOn } = pausing(store, (what, uri) => what === "put" && uri.startsWith(places.watches));
    const late = createWorld(config(), { store: slow, clock });
    await store.put("s3://in/x", "1");
    const tick = late.scheduler.tick();
    await paused;
    await store.delete("s3://in/x");
    await hours(other, 5 * 24);
    await store.put("s3://in/x", "2");
    goOn();
    await tick;
    await hours(other, 2);
    const events = (await other.chains()).filter(({ cause }) => cause.events !== undefined);
    expect(events.map(({ state }) => state)).toEqual(["COMPLETED"]);
  });

  test("a clock that is ten years ahead for some minutes deletes nothing", async () => {
    const clock = settableClock(START);
    const store = createMemoryStore(clock.now);
    const world = createWorld(config(), { store, clock });
    const run = async ({ scheduler }: typeof world, minutes: number) => {
      for (let passed = 0; passed < minutes; passed += 2) {
        clock.pass(120_000);
        await scheduler.tick();
      }
    };
    await world.control.startTrigger("now");
    await run(world, 90);
    const chains = await keysOf(store, places.chains);
    expect(chains).toHaveLength(1);
    clock.set(TEN_YEARS);
    await run(world, 50);
    // Also when the scheduler itself begins with it.
    const other = createWorld(config(), { store, clock });
    await run(other, 50);
    clock.set(-TEN_YEARS);
    await run(other, 90);
    await run(world, 2);
    expect(await keysOf(store, places.chains)).toEqual(expect.arrayContaining(chains));
    expect(await keysOf(store, places.history)).toEqual([]);
  });

  test("one that stays ahead closes no more than what there was, and what is started when it is right again runs", async () => {
    const world = createWorld(config());
    await world.scheduler.tick();
    await hours(world, 2 * 24);
    const before = new Date(world.clock.now().getTime() + TEN_YEARS);
    const closed = await pruneHistory({ store: world.store, places, before });
    expect(closed?.toISOString()).toBe("2026-01-07T00:00:00.000Z");
    expect(await daysOf(world)).toEqual([]);
    await hours(world, 1);
    await world.control.startTrigger("now");
    await world.pass(3);
    expect(await world.runs()).toEqual(["b SUCCEEDED"]);
    await hours(world, 24);
    expect(await world.runs()).toEqual(["b SUCCEEDED", "a SUCCEEDED"]);
  });

  test("what a trigger that isn't in the configuration any more has left waiting holds up nothing", async () => {
    const world = createWorld(config());
    await world.scheduler.tick();
    await hours(world, 13);
    const time = "2026-01-05T12:00:00.000Z";
    const gone = { state: "ACTIVATED", since: START.toISOString(), pending: [time] };
    const value = { ...gone, schedule: "cron(0 12 * * ? *)", through: time };
    await world.store.put(places.trigger("nightly"), JSON.stringify({ value }));
    const events = { since: START.toISOString(), seen: [], waiting: [], pending: [{ time, key: "k", events: [] }] };
    await world.store.put(places.events("arrivals"), JSON.stringify({ value: events }));
    await hours(world, 4 * 24 + 12);
    expect(await daysOf(world)).toEqual(["2026-01-08", "2026-01-09"]);
    const givenUp = world.said.filter((line) => line.endsWith(`its firings of ${time} are given up`));
    expect(givenUp.map((line) => line.split(" ")[0])).toEqual([places.trigger("nightly"), places.events("arrivals")]);
  });

  test("what a trigger of the configuration has left waiting keeps its day", async () => {
    const world = createWorld(config());
    await world.scheduler.tick();
    await hours(world, 5 * 24);
    await world.store.put(
      places.trigger("daily"),
      JSON.stringify({ value: { state: "DEACTIVATED", since: "", pending: ["2026-01-08T12:00:00.000Z"] } }),
    );
    const before = new Date("2026-01-10T00:00:00Z");
    const closed = await pruneHistory({ store: world.store, places, before, triggers: ["daily"] });
    expect(closed?.toISOString()).toBe("2026-01-08T00:00:00.000Z");
  });
});

const TEN_YEARS = 3_652 * 86_400_000;

/** A machine's clock: somebody may set it, also back. */
function settableClock(from: Date) {
  let now = from.getTime();
  let elapsed = 0;
  return {
    now: () => new Date(now),
    elapsed: () => elapsed,
    wait: async () => {},
    pass: (ms: number) => {
      now += ms;
      elapsed += ms;
    },
    set: (ms: number) => {
      now += ms;
    },
    advanceTo: (time: Date) => {
      now = time.getTime();
    },
  };
}
