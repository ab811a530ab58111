import { describe, expect, test } from "vitest";
import { UserError } from "../../../../lib/errors.js";
import { createWorld, hourly, jobs, on } from "./world.js";

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
