import { describe, expect, test } from "vitest";
import { createWorld, FOLDER, hourly, jobs, on } from "./world.js";

describe("SCHEDULED", () => {
  test("fires when it is due, and counts from its activation", async () => {
    const world = createWorld({ jobs, triggers: { hourly } });
    await world.scheduler.tick();
    expect(await world.runs()).toEqual([]);
    await world.pass(59);
    expect(await world.runs()).toEqual([]);
    await world.pass(1);
    expect(await world.runs()).toEqual(["a RUNNING"]);
    const [chain] = await world.chains();
    expect(chain).toMatchObject({ trigger: "hourly", cause: { time: "2026-01-05T01:00:00.000Z" }, state: "RUNNING" });
    await world.pass(1);
    expect(await world.runs()).toEqual(["a SUCCEEDED"]);
    await world.pass(120);
    expect(await world.runs()).toEqual(["a SUCCEEDED", "a SUCCEEDED", "a SUCCEEDED"]);
    expect(world.scheduler.nextFiring()?.toISOString()).toBe("2026-01-05T04:00:00.000Z");
  });

  test("looking at a trigger activates nothing: it has missed nothing when a scheduler sees it for the first time", async () => {
    const world = createWorld({ jobs, triggers: { hourly } });
    expect(await world.control.trigger("hourly")).toMatchObject({ state: "ACTIVATED" });
    for await (const { uri } of world.store.list(FOLDER)) expect.unreachable(uri);
    await world.at("2026-01-12T00:30:00Z");
    expect(await world.runs()).toEqual([]);
    await world.pass(31);
    expect(await world.runs()).toEqual(["a SUCCEEDED"]);
  });

  test("CREATED, ACTIVATED, DEACTIVATED, ACTIVATED: it fires only while it is ACTIVATED, and makes up for nothing", async () => {
    const world = createWorld({ jobs, triggers: { hourly: { ...hourly, startOnCreation: false } } });
    await world.pass(70);
    expect(await world.control.trigger("hourly")).toMatchObject({
      state: "CREATED",
      since: "2026-01-05T00:01:00.000Z",
    });
    expect(world.scheduler.nextFiring()).toBeUndefined();
    const { record } = await world.control.startTrigger("hourly");
    expect(record).toMatchObject({ state: "ACTIVATED", since: "2026-01-05T01:10:00.000Z" });
    expect((await world.control.startTrigger("hourly")).record).toEqual(record);
    await world.pass(60);
    expect(await world.runs()).toHaveLength(1);
    expect(await world.control.stopTrigger("hourly")).toMatchObject({ state: "DEACTIVATED" });
    await world.pass(180);
    expect(await world.runs()).toHaveLength(1);
    await world.control.startTrigger("hourly");
    await world.pass(1);
    expect(await world.runs()).toHaveLength(1);
    await world.at("2026-01-05T06:00:00Z");
    expect(await world.runs()).toHaveLength(2);
  });

  test.each([
    ["latest", ["2026-01-05T09:00:00.000Z"]],
    ["skip", []],
    ["all", ["01", "02", "03", "04", "05", "06", "07", "08", "09"].map((hour) => `2026-01-05T${hour}:00:00.000Z`)],
  ])("missed firings: %s", async (missedFirings, expected) => {
    const world = createWorld({ jobs, triggers: { hourly }, scheduler: { missedFirings } });
    await world.scheduler.tick();
    await world.at("2026-01-05T09:40:00Z");
    expect((await world.chains()).map(({ cause }) => cause.time)).toEqual(expected);
    await world.at("2026-01-05T10:04:59Z");
    expect((await world.chains()).map(({ cause }) => cause.time)).toEqual([...expected, "2026-01-05T10:00:00.000Z"]);
  });

  test("another schedule counts from when it is seen", async () => {
    const first = createWorld({ jobs, triggers: { hourly }, scheduler: { missedFirings: "all" } });
    await first.scheduler.tick();
    const often = { ...hourly, schedule: "cron(0/5 * * * ? *)" };
    const { store, clock } = first;
    const second = createWorld(
      { jobs, triggers: { hourly: often }, scheduler: { missedFirings: "all" } },
      { store, clock },
    );
    await second.at("2026-01-05T00:52:00Z");
    expect(await second.runs()).toEqual([]);
    await second.at("2026-01-05T00:55:00Z");
    expect(await second.runs()).toEqual(["a RUNNING"]);
  });

  test("two configurations on one state: each of the two schedules fires when it is due", async () => {
    const first = createWorld({ jobs, triggers: { hourly } });
    const { store, clock } = first;
    const half = { ...hourly, schedule: "cron(30 * * * ? *)" };
    const second = createWorld({ jobs, triggers: { hourly: half } }, { store, clock });
    for (let minute = 0; minute < 121; minute++) {
      await first.pass(1);
      await second.scheduler.tick();
    }
    expect((await first.chains()).map(({ cause }) => cause.time.slice(11, 16))).toEqual([
      "00:30",
      "01:00",
      "01:30",
      "02:00",
    ]);
  });

  test("a trigger's arguments go over the job's, and so do its minutes", async () => {
    const world = createWorld({
      jobs: { a: { job: "x", arguments: { one: "1", two: "2" }, timeout: 60 } },
      triggers: { hourly: { ...hourly, actions: [{ job: "a", arguments: { "--two": "zwei" }, timeout: 3 }] } },
    });
    await world.scheduler.tick();
    await world.pass(60);
    expect(await world.run("a")).toMatchObject({ arguments: { one: "1", two: "zwei" }, timeout: 3, module: "x" });
  });
});

describe("ON_DEMAND", () => {
  test("stays CREATED, and fires each time it is started", async () => {
    const world = createWorld({
      jobs,
      triggers: { now: { type: "ON_DEMAND", actions: [{ job: "a" }, { job: "b" }] } },
    });
    const first = await world.control.startTrigger("now");
    expect(first.record.state).toBe("CREATED");
    await world.pass(2);
    const second = await world.control.startTrigger("now");
    expect(second.chain).not.toBe(first.chain);
    await world.pass(3);
    expect(await world.runs()).toEqual(["a SUCCEEDED", "b SUCCEEDED", "a SUCCEEDED", "b SUCCEEDED"]);
    await expect(world.control.stopTrigger("now")).rejects.toMatchObject({ code: "TRIGGER_INVALID", exitCode: 64 });
    await expect(world.control.startTrigger("nwo")).rejects.toMatchObject({
      code: "TRIGGER_UNKNOWN",
      hint: "Did you mean now?",
    });
  });
});

describe("CONDITIONAL", () => {
  test.each(["SUCCEEDED", "FAILED", "TIMEOUT", "STOPPED"] as const)("on %s, and on no other state", async (state) => {
    const others = ["SUCCEEDED", "FAILED", "TIMEOUT", "STOPPED"].filter((other) => other !== state);
    const world = createWorld({
      jobs,
      triggers: {
        hourly,
        wanted: on("a", state, "b"),
        ...Object.fromEntries(others.map((other) => [`not-${other}`, on("a", other, "c")])),
      },
    });
    world.result("a", { state });
    await world.scheduler.tick();
    await world.pass(62);
    expect(await world.runs()).toEqual([`a ${state}`, "b SUCCEEDED"]);
    expect(await world.run("b")).toMatchObject({
      trigger: "wanted",
      predecessors: [{ job: "a", runId: (await world.run("a")).id }],
    });
  });

  const both = (logical: string) => ({
    type: "CONDITIONAL",
    predicate: {
      logical,
      conditions: [
        { job: "a", state: "SUCCEEDED" },
        { job: "b", state: "SUCCEEDED" },
      ],
    },
    actions: [{ job: "c" }],
    startOnCreation: true,
  });
  const pair = { ...hourly, actions: [{ job: "a" }, { job: "b" }] };

  test("AND waits for all, and takes only runs of one firing together", async () => {
    const world = createWorld({ jobs, triggers: { pair, all: both("AND") } });
    world.result("a", { minutes: 1 }, { state: "FAILED" });
    world.result("b", { minutes: 5 });
    await world.scheduler.tick();
    await world.pass(63);
    expect(await world.runs()).toEqual(["a SUCCEEDED", "b RUNNING"]);
    await world.pass(3);
    expect(await world.runs()).toEqual(["a SUCCEEDED", "b SUCCEEDED", "c SUCCEEDED"]);
    expect((await world.run("c")).predecessors.map(({ job }) => job)).toEqual(["a", "b"]);
    // In the next hour a fails: that it succeeded an hour ago doesn't count.
    await world.pass(60);
    expect((await world.runs()).slice(3)).toEqual(["a FAILED", "b SUCCEEDED"]);
  });

  test("ANY fires at the first, and once for a firing", async () => {
    const world = createWorld({ jobs, triggers: { pair, any: both("ANY") } });
    world.result("b", { minutes: 5 });
    await world.scheduler.tick();
    await world.pass(62);
    expect(await world.runs()).toEqual(["a SUCCEEDED", "b RUNNING", "c SUCCEEDED"]);
    await world.pass(10);
    expect(await world.runs()).toEqual(["a SUCCEEDED", "b SUCCEEDED", "c SUCCEEDED"]);
  });

  test("one that isn't active when its condition is met doesn't fire, also not later", async () => {
    const world = createWorld({
      jobs,
      triggers: { hourly, next: on("a", "SUCCEEDED", "b", { startOnCreation: false }) },
    });
    await world.scheduler.tick();
    await world.pass(61);
    expect((await world.chains())[0]?.triggers).toMatchObject({ next: { skipped: "CREATED" } });
    await world.control.startTrigger("next");
    await world.pass(10);
    expect(await world.runs()).toEqual(["a SUCCEEDED"]);
    await world.pass(60);
    expect(await world.runs()).toEqual(["a SUCCEEDED", "a SUCCEEDED", "b SUCCEEDED"]);
    await world.control.stopTrigger("next");
    await world.pass(60);
    expect((await world.chains())[2]?.triggers).toMatchObject({ next: { skipped: "DEACTIVATED" } });
  });

  test("chains go on from trigger to trigger", async () => {
    const world = createWorld({
      jobs,
      triggers: { hourly, second: on("a", "SUCCEEDED", "b"), third: on("b", "FAILED", "c") },
    });
    world.result("b", { state: "FAILED" });
    await world.scheduler.tick();
    await world.pass(64);
    expect(await world.runs()).toEqual(["a SUCCEEDED", "b FAILED", "c SUCCEEDED"]);
  });
});
