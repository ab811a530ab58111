import { describe, expect, test } from "vitest";
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
});
