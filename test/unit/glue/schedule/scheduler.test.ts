import { mkdtemp, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { UserError } from "../../../../lib/errors.js";
import { statisticsOf } from "../../../../lib/glue/schedule/chain.js";
import { pollEvents } from "../../../../lib/glue/schedule/events.js";
import { createSimulatedClock } from "../../../../lib/glue/schedule/simulate.js";
import { createFileStore } from "../../../../lib/storage/file-store.js";
import { createMemoryStore, fileUriOfPath, isFileUri, type ObjectStore } from "../../../../lib/storage/index.js";
import { createWorld, definitionsOf, START } from "./world.js";

const jobs = { a: { job: "athena-cdc" }, b: { job: "jdbc-cdc" }, c: { job: "./c.ts" } };
const hourly = { type: "SCHEDULED", schedule: "cron(0 * * * ? *)", actions: [{ job: "a" }], startOnCreation: true };
const on = (job: string, state: string, next: string, more: object = {}) => ({
  type: "CONDITIONAL",
  predicate: { conditions: [{ job, state }] },
  actions: [{ job: next }],
  startOnCreation: true,
  ...more,
});

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

describe("runs", () => {
  test("MaxRetries: another attempt after FAILED, and only the last one counts", async () => {
    const world = createWorld({
      jobs: { ...jobs, a: { job: "x", maxRetries: 2 } },
      triggers: { hourly, bad: on("a", "FAILED", "b"), good: on("a", "SUCCEEDED", "c") },
    });
    world.result("a", { state: "FAILED" }, { state: "FAILED" }, { state: "SUCCEEDED" });
    await world.scheduler.tick();
    await world.pass(65);
    expect(await world.runs()).toEqual(["a FAILED", "a FAILED", "a SUCCEEDED", "c SUCCEEDED"]);
    const [first, second, third] = await Promise.all([world.run("a", 0), world.run("a", 1), world.run("a", 2)]);
    expect(second).toMatchObject({ id: `${first?.id}_attempt_1`, attempt: 1, previousRunId: first?.id });
    expect(third).toMatchObject({ id: `${first?.id}_attempt_2`, attempt: 2, previousRunId: second?.id });
    world.result("a", { state: "FAILED" });
    await world.pass(60);
    expect((await world.runs()).slice(4)).toEqual(["a FAILED", "a FAILED", "a FAILED", "b SUCCEEDED"]);
  });

  test("Timeout: the run is stopped, ends as TIMEOUT, and isn't tried again", async () => {
    const world = createWorld({
      jobs: { ...jobs, a: { job: "x", timeout: 10, maxRetries: 3 } },
      triggers: { hourly, late: on("a", "TIMEOUT", "b") },
    });
    world.result("a", { minutes: 30 });
    await world.scheduler.tick();
    await world.pass(69);
    expect(await world.runs()).toEqual(["a RUNNING"]);
    await world.pass(3);
    expect(await world.runs()).toEqual(["a TIMEOUT", "b SUCCEEDED"]);
    expect((await world.run("a")).reason).toBe("it took longer than 10 min");
  });

  test("NotifyDelayAfter is said once", async () => {
    const world = createWorld({ jobs: { a: { job: "x", notifyDelayAfter: 3 } }, triggers: { hourly } });
    world.result("a", { minutes: 20 });
    await world.scheduler.tick();
    await world.pass(62);
    expect(world.said.filter((line) => line.includes("takes longer"))).toEqual([]);
    await world.pass(10);
    expect(world.said.filter((line) => line.includes("takes longer"))).toEqual([
      `a takes longer than 3 min: ${(await world.run("a")).id}`,
    ]);
  });

  test("MaxConcurrentRuns: one too many ends as ERROR", async () => {
    const world = createWorld({ jobs, triggers: { hourly, now: { type: "ON_DEMAND", actions: [{ job: "a" }] } } });
    world.result("a", { minutes: 10 });
    await world.control.startTrigger("now");
    await world.pass(1);
    await world.control.startTrigger("now");
    await world.pass(1);
    expect(await world.runs()).toEqual(["a RUNNING", "a ERROR"]);
    expect((await world.run("a", 1)).reason).toBe(
      "ConcurrentRunsExceededException: a run of job a is at work, and no more is allowed",
    );
    await world.pass(10);
    await world.control.startTrigger("now");
    await world.pass(1);
    expect((await world.runs())[2]).toBe("a RUNNING");
  });

  test("JobRunQueuingEnabled: it waits, first come, first served", async () => {
    const world = createWorld({
      jobs: { a: { job: "x", jobRunQueuingEnabled: true, maxConcurrentRuns: 2 } },
      triggers: { now: { type: "ON_DEMAND", actions: [{ job: "a" }] } },
    });
    world.result("a", { minutes: 10 });
    for (let run = 0; run < 5; run++) {
      await world.control.startTrigger("now");
      await world.pass(1);
    }
    expect(await world.runs()).toEqual(["a RUNNING", "a RUNNING", "a WAITING", "a WAITING", "a WAITING"]);
    const waiting = await world.run("a", 3);
    await world.control.stop(waiting.id);
    await world.pass(8);
    expect(await world.runs()).toEqual(["a SUCCEEDED", "a SUCCEEDED", "a RUNNING", "a STOPPED", "a RUNNING"]);
    await world.pass(12);
    expect(await world.runs()).toEqual(["a SUCCEEDED", "a SUCCEEDED", "a SUCCEEDED", "a STOPPED", "a SUCCEEDED"]);
  });

  test("a run that is stopped ends as STOPPED", async () => {
    const world = createWorld({ jobs, triggers: { hourly, stopped: on("a", "STOPPED", "b") } });
    world.result("a", { minutes: 30 });
    await world.scheduler.tick();
    await world.pass(61);
    await world.control.stop((await world.run("a")).id);
    await world.pass(2);
    expect(await world.runs()).toEqual(["a STOPPED", "b RUNNING"]);
    await expect(world.control.stop("jr_20260101T000000Z_000000000000_00000000")).rejects.toMatchObject({
      code: "RUN_NOT_FOUND",
    });
  });

  test("what can't be started now is tried again; what can't be started at all has FAILED", async () => {
    let answer: "busy" | "wrong" | undefined = "busy";
    const world = createWorld(
      { jobs, triggers: { hourly, bad: on("a", "FAILED", "b") } },
      {
        wrap: (starter) => ({
          start: async (request) => {
            if (request.run.job === "a" && answer === "busy") {
              throw new UserError("AWS_THROTTLED", "Too many requests", { exitCode: 75 });
            }
            if (request.run.job === "a" && answer === "wrong") throw new UserError("JOB_UNKNOWN", "There is no job");
            return starter.start(request);
          },
          observe: (run) => starter.observe(run),
          cancel: (run) => starter.cancel(run),
        }),
      },
    );
    await world.scheduler.tick();
    await world.pass(63);
    expect(await world.runs()).toEqual(["a STARTING"]);
    answer = undefined;
    await world.pass(1);
    expect(await world.runs()).toEqual(["a RUNNING"]);
    answer = "wrong";
    await world.pass(58);
    expect(await world.runs()).toEqual(["a SUCCEEDED", "a FAILED", "b SUCCEEDED"]);
    expect((await world.run("a", 1)).reason).toBe("There is no job");
  });
});

test("a start that takes long holds up neither other chains nor triggers; at the end it is waited for", async () => {
  let release = () => {};
  const slow = new Promise<void>((resolve) => {
    release = resolve;
  });
  const daily = { ...hourly, schedule: "cron(30 0 * * ? *)", actions: [{ job: "b" }] };
  const world = createWorld(
    { jobs, triggers: { hourly: { ...hourly, schedule: "cron(0/10 * * * ? *)" }, daily } },
    {
      wrap: (starter) => ({
        ...starter,
        start: async (request) => {
          if (request.run.job === "a") await slow;
          return starter.start(request);
        },
      }),
    },
  );
  const stopped = new AbortController();
  let over = false;
  const running = world.scheduler.run(stopped.signal).then(() => {
    over = true;
  });
  for (let minute = 0; minute < 34; minute++) {
    await new Promise((resolve) => setTimeout(resolve, 2));
    world.clock.advanceTo(new Date(world.clock.now().getTime() + 60_000));
  }
  await expect.poll(() => world.runs()).toContain("b SUCCEEDED");
  const starting = async () => (await world.runs()).filter((run) => run === "a STARTING").length;
  await expect.poll(starting).toBe(1);
  stopped.abort();
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(over).toBe(false);
  release();
  await running;
  expect(world.starter.started).toContain((await world.run("a")).id);
});

describe("workflows", () => {
  const inside = { workflow: "w" };
  const config = (more: object = {}) => ({
    jobs,
    workflows: { w: { defaultRunProperties: { day: "monday", mode: "full" }, ...more } },
    triggers: {
      start: { type: "ON_DEMAND", actions: [{ job: "a", arguments: { day: "on {{run.day}}" } }], ...inside },
      next: on("a", "SUCCEEDED", "b", inside),
      last: on("b", "SUCCEEDED", "c", inside),
    },
  });

  test("a run has its properties, its graph and Glue's statistics", async () => {
    const given: unknown[] = [];
    const world = createWorld(config(), {
      wrap: (starter) => ({
        ...starter,
        start: (request) => {
          given.push(request.run.given);
          return starter.start(request);
        },
      }),
    });
    const id = await world.control.runWorkflow("w", { day: "friday" });
    await world.pass(2);
    expect(await world.control.chain(id)).toMatchObject({
      workflow: "w",
      state: "RUNNING",
      properties: { day: "friday", mode: "full" },
    });
    expect(given[0]).toEqual({ day: "on friday" });
    await world.control.putProperties(id, { mode: "incremental", rows: "5" });
    await world.pass(5);
    const chain = await world.control.chain(id);
    expect(chain).toMatchObject({ state: "COMPLETED", properties: { day: "friday", mode: "incremental", rows: "5" } });
    expect(statisticsOf(chain)).toEqual({
      TotalActions: 3,
      SucceededActions: 3,
      FailedActions: 0,
      TimeoutActions: 0,
      StoppedActions: 0,
      ErroredActions: 0,
      RunningActions: 0,
      WaitingActions: 0,
    });
    expect(await world.control.chain((await world.run("b")).id)).toEqual(chain);
    await expect(world.control.runWorkflow("v", {})).rejects.toMatchObject({ code: "WORKFLOW_UNKNOWN" });
  });

  test("a property that isn't there fails the run, and says so", async () => {
    const world = createWorld({ ...config(), workflows: { w: {} } });
    await world.control.runWorkflow("w", {});
    await world.pass(1);
    expect((await world.run("a")).reason).toBe(
      'Arguments name properties that the run doesn\'t have; --day: the run has no property "day"',
    );
  });

  test("COMPLETED says that it is over, not that all went well", async () => {
    const world = createWorld(config());
    world.result("b", { state: "FAILED" });
    const id = await world.control.runWorkflow("w", {});
    await world.pass(5);
    const chain = await world.control.chain(id);
    expect(chain.state).toBe("COMPLETED");
    expect(statisticsOf(chain)).toMatchObject({ TotalActions: 2, SucceededActions: 1, FailedActions: 1 });
  });

  test("MaxConcurrentRuns refuses a run, as Glue does", async () => {
    const world = createWorld(config({ maxConcurrentRuns: 1 }));
    await world.control.runWorkflow("w", {});
    await world.pass(1);
    const second = await world.control.runWorkflow("w", {});
    await world.pass(1);
    expect(await world.control.chain(second)).toMatchObject({
      state: "ERROR",
      reason: "ConcurrentRunsExceededException: a run of workflow w is at work, and no more is allowed",
    });
    await world.pass(5);
    const third = await world.control.runWorkflow("w", {});
    await world.pass(6);
    expect(await world.control.chain(third)).toMatchObject({ state: "COMPLETED" });
  });

  test("stopping stops what is at work, and starts nothing more", async () => {
    const world = createWorld(config());
    world.result("a", { minutes: 30 });
    const id = await world.control.runWorkflow("w", {});
    await world.pass(1);
    await world.control.stop(id);
    expect(await world.control.chain(id)).toMatchObject({ state: "STOPPING" });
    await world.pass(3);
    expect(await world.control.chain(id)).toMatchObject({ state: "STOPPED" });
    expect(await world.runs()).toEqual(["a STOPPED"]);
  });

  test("resuming runs what failed again, and all that follows; what succeeded counts as done", async () => {
    const world = createWorld(config());
    world.result("b", { state: "FAILED" }, { state: "SUCCEEDED" });
    const first = await world.control.runWorkflow("w", { day: "friday" });
    await world.pass(1);
    await expect(world.control.resumeWorkflow(first, [])).rejects.toMatchObject({ code: "WORKFLOW_RUN_INVALID" });
    await world.pass(4);
    const second = await world.control.resumeWorkflow(first, []);
    await world.pass(5);
    const chain = await world.control.chain(second);
    expect(chain).toMatchObject({ state: "COMPLETED", previousRunId: first, properties: { day: "friday" } });
    expect(Object.values(chain.runs).map(({ job, state, carried = false }) => [job, state, carried])).toEqual([
      ["a", "SUCCEEDED", true],
      ["b", "SUCCEEDED", false],
      ["c", "SUCCEEDED", false],
    ]);
    expect(world.starter.started).toHaveLength(4);
    await expect(world.control.resumeWorkflow(second, [])).rejects.toThrow("all of its jobs have succeeded");
    await expect(world.control.resumeWorkflow(second, ["d"])).rejects.toMatchObject({ code: "JOB_UNKNOWN" });
    const third = await world.control.resumeWorkflow(second, ["a"]);
    await world.pass(6);
    expect(Object.values((await world.control.chain(third)).runs).map(({ carried }) => carried)).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    expect(world.starter.started).toHaveLength(7);
  });

  test("resuming starts both runs of a job that one trigger starts twice", async () => {
    const twice = {
      type: "ON_DEMAND",
      actions: ["x", "y"].map((day) => ({ job: "a", arguments: { day } })),
      ...inside,
    };
    const many = { ...jobs, a: { job: "x", maxConcurrentRuns: 5 } };
    const world = createWorld({ jobs: many, workflows: { w: {} }, triggers: { start: twice } });
    world.result("a", { state: "FAILED" }, { state: "FAILED" }, { state: "SUCCEEDED" });
    const chain = await world.control.runWorkflow("w", {});
    await world.pass(3);
    await world.control.resumeWorkflow(chain, []);
    await world.pass(3);
    const runs = Object.values((await world.chains()).at(-1)?.runs ?? {});
    expect(runs.map(({ state, arguments: { day } }) => `${day} ${state}`)).toEqual(["x SUCCEEDED", "y SUCCEEDED"]);
  });

  test("a workflow's triggers don't see runs of others", async () => {
    const world = createWorld({ ...config(), triggers: { ...config().triggers, hourly } });
    await world.scheduler.tick();
    await world.pass(65);
    expect(await world.runs()).toEqual(["a SUCCEEDED"]);
  });
});

describe("EVENT", () => {
  const config = (batchSize: number, batchWindow: number, prefix = "s3://in/exports/") => ({
    jobs,
    workflows: { w: {} },
    triggers: {
      files: {
        type: "EVENT",
        workflow: "w",
        event: { prefix, suffix: ".parquet" },
        eventBatching: { batchSize, batchWindow },
        actions: [{ job: "a", arguments: { input: "{{run.event.uri}}" } }],
        startOnCreation: true,
      },
    },
  });
  const urisOf = async (world: ReturnType<typeof createWorld>) =>
    (await world.chains()).map(({ cause }) => cause.events?.map(({ uri }) => uri.replace(/.*\//, "")));

  test("an object that comes after the activation fires it, once; so does one that is written over", async () => {
    const world = createWorld(config(1, 900));
    await world.store.put("s3://in/exports/old.parquet", "old");
    await world.pass(1);
    await world.store.put("s3://in/exports/new.parquet", "1");
    await world.store.put("s3://in/exports/readme.txt", "1");
    await world.store.put("s3://in/other/x.parquet", "1");
    await world.pass(3);
    expect(await urisOf(world)).toEqual([["new.parquet"]]);
    expect(await world.run("a")).toMatchObject({ state: "SUCCEEDED" });
    expect((await world.chains())[0]?.properties).toEqual({
      "event.uri": "s3://in/exports/new.parquet",
      "event.folder": "s3://in/exports",
      "event.uris": '["s3://in/exports/new.parquet"]',
    });
    await world.store.put("s3://in/exports/new.parquet", "2");
    await world.pass(3);
    await world.store.delete("s3://in/exports/new.parquet");
    await world.pass(3);
    expect(await urisOf(world)).toEqual([["new.parquet"], ["new.parquet"]]);
  });

  test("a full batch fires at once, a smaller one when the window is over, which opens with its first event", async () => {
    const world = createWorld(config(3, 300));
    await world.scheduler.tick();
    for (const name of ["1", "2", "3", "4"]) await world.store.put(`s3://in/exports/${name}.parquet`, name);
    await world.pass(1);
    expect(await urisOf(world)).toEqual([["1.parquet", "2.parquet", "3.parquet"]]);
    await world.pass(4);
    expect(await urisOf(world)).toHaveLength(1);
    await world.pass(1);
    expect((await urisOf(world))[1]).toEqual(["4.parquet"]);
  });

  test("an object that comes between the activation and the first look is an event", async () => {
    const world = createWorld(config(1, 900));
    await world.store.put("s3://in/exports/old.parquet", "1");
    world.clock.advanceTo(new Date("2026-01-05T00:01:00.400Z"));
    await world.control.startTrigger("files");
    await world.store.put("s3://in/exports/early.parquet", "1");
    await world.pass(2);
    expect(await urisOf(world)).toEqual([["early.parquet"]]);
  });

  test("events that wait for a full batch when it is deactivated aren't lost", async () => {
    const world = createWorld(config(3, 300));
    await world.scheduler.tick();
    await world.pass(1);
    await world.store.put("s3://in/exports/1.parquet", "1");
    await world.pass(1);
    await world.control.stopTrigger("files");
    await world.pass(2);
    await world.control.startTrigger("files");
    await world.pass(10);
    expect(await urisOf(world)).toEqual([["1.parquet"]]);
  });

  test("a batch that comes while the workflow or its job is at work waits for it", async () => {
    const { workflows: _, ...rest } = config(1, 900);
    const world = createWorld({ ...rest, workflows: { w: { maxConcurrentRuns: 1 } } });
    world.result("a", { minutes: 5 });
    await world.scheduler.tick();
    await world.pass(1);
    for (const name of ["1", "2"]) await world.store.put(`s3://in/exports/${name}.parquet`, name);
    await world.pass(2);
    expect(await world.runs()).toEqual(expect.arrayContaining(["a RUNNING", "a WAITING"]));
    await world.pass(12);
    expect(await world.runs()).toEqual(["a SUCCEEDED", "a SUCCEEDED"]);
    const job = createWorld(config(1, 900));
    job.result("a", { minutes: 5 });
    await job.scheduler.tick();
    await job.pass(1);
    for (const name of ["1", "2"]) await job.store.put(`s3://in/exports/${name}.parquet`, name);
    await job.pass(14);
    expect(await job.runs()).toEqual(["a SUCCEEDED", "a SUCCEEDED"]);
  });

  test("a list that is made again in one poll doesn't make a file look the same twice", async () => {
    const clock = createSimulatedClock(START);
    const store = createMemoryStore(clock.now);
    const uri = "s3://state/events";
    const trigger = definitionsOf(config(1, 900, "file:///in/")).triggers.files;
    if (trigger?.type !== "EVENT") throw new Error("no trigger");
    const files = new Map<string, string>();
    let conflicts = 0;
    const conflicting: ObjectStore = {
      ...store,
      async *list() {
        for (const [name, etag] of files) yield { uri: `file:///in/${name}`, etag, modified: clock.now(), size: 1 };
      },
      put: async (where, body, condition) => {
        if (conflicts-- > 0) throw new UserError("PRECONDITION_FAILED", "somebody was faster");
        return store.put(where, body, condition);
      },
    };
    const fired: string[] = [];
    const record = { state: "ACTIVATED", since: START.toISOString(), pending: [] } as const;
    const watch = { looks: new Map<string, string>() };
    const poll = () =>
      pollEvents({
        store: conflicting,
        uri,
        trigger,
        record,
        watch,
        now: clock.now(),
        begin: async ({ events }) => void fired.push(...(events ?? []).map(({ etag }) => etag)),
      });
    await poll();
    files.set("other.parquet", "other");
    await poll();
    // The other file is whole now, and is to be written down; but somebody else is faster.
    files.set("large.parquet", "half");
    conflicts = 1;
    await poll();
    files.set("large.parquet", "whole");
    await poll();
    expect(fired).toEqual(["other"]);
    await poll();
    expect(fired).toEqual(["other", "whole"]);
  });

  test("while it isn't active, nothing is an event; what came meanwhile isn't one afterwards", async () => {
    const world = createWorld(config(1, 900));
    await world.scheduler.tick();
    await world.control.stopTrigger("files");
    await world.store.put("s3://in/exports/meanwhile.parquet", "1");
    await world.pass(2);
    await world.control.startTrigger("files");
    await world.pass(2);
    await world.store.put("s3://in/exports/after.parquet", "1");
    await world.pass(2);
    expect(await urisOf(world)).toEqual([["after.parquet"]]);
  });

  test("a file counts when it looks the same twice: it may still be written", async () => {
    const folder = await mkdtemp(path.join(tmpdir(), "events-"));
    try {
      const clock = createSimulatedClock(START);
      const [state, files] = [createMemoryStore(clock.now), createFileStore()];
      const store: ObjectStore = { ...state, list: (prefix) => (isFileUri(prefix) ? files : state).list(prefix) };
      await writeFile(path.join(folder, "before.parquet"), "x");
      const before = new Date(START.getTime() - 60_000);
      await utimes(path.join(folder, "before.parquet"), before, before);
      const world = createWorld(config(1, 900, `${fileUriOfPath(folder)}/`), { store, clock });
      await world.pass(2);
      await writeFile(path.join(folder, "large.parquet"), "half");
      await world.pass(1);
      await writeFile(path.join(folder, "large.parquet"), "half, and the other half");
      await world.pass(1);
      expect(await urisOf(world)).toEqual([]);
      await world.pass(3);
      expect(await urisOf(world)).toEqual([["large.parquet"]]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test("two schedulers on one state: each object is one event", async () => {
    const clock = createSimulatedClock(START);
    const store = createMemoryStore(clock.now);
    const worlds = [
      createWorld(config(1, 900), { store, clock }),
      createWorld(config(1, 900), { store, clock }),
    ] as const;
    await Promise.all(worlds.map(({ scheduler }) => scheduler.tick()));
    for (let round = 0; round < 20; round++) {
      await store.put(`s3://in/exports/${round}.parquet`, "x");
      if (round % 5 === 4) await store.delete(`s3://in/exports/${round - 2}.parquet`);
      await Promise.all(worlds.map((world) => world.pass(1)));
    }
    const names = (await urisOf(worlds[0])).flat();
    expect(names.sort()).toEqual(Array.from({ length: 20 }, (_, round) => `${round}.parquet`).sort());
  });
});
