import { describe, expect, test } from "vitest";
import { statisticsOf } from "../../../../lib/glue/schedule/chain.js";
import { createWorld, hourly, jobs, on } from "./world.js";

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

  test("a resumption that is refused leaves alone what it has taken over, and can be resumed itself", async () => {
    const world = createWorld(config({ maxConcurrentRuns: 1 }));
    world.result("b", { state: "FAILED" }, { state: "FAILED" }, { state: "SUCCEEDED" });
    const first = await world.control.runWorkflow("w", {});
    await world.pass(5);
    await world.control.resumeWorkflow(first, []);
    await world.pass(1);
    const refused = await world.control.resumeWorkflow(first, []);
    await world.pass(6);
    const chain = await world.control.chain(refused);
    expect(chain).toMatchObject({ state: "ERROR", reason: expect.stringContaining("ConcurrentRunsExceeded") });
    expect(Object.values(chain.runs).map(({ job, state }) => `${job} ${state}`)).toEqual(["a SUCCEEDED", "b ERROR"]);
    const last = await world.control.resumeWorkflow(refused, []);
    await world.pass(6);
    const runs = Object.values((await world.control.chain(last)).runs);
    expect(runs.map(({ job, state, carried = false }) => `${job} ${state} ${carried}`)).toEqual([
      "a SUCCEEDED true",
      "b SUCCEEDED false",
      "c SUCCEEDED false",
    ]);
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
