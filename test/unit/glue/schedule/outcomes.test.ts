import { describe, expect, test } from "vitest";
import { awsFailure } from "../../../../lib/aws.js";
import { UserError } from "../../../../lib/errors.js";
import type { JobRun } from "../../../../lib/glue/schedule/model.js";
import { createSimulatedClock, type SimulatedStarter } from "../../../../lib/glue/schedule/simulate.js";
import type { RunStarter } from "../../../../lib/glue/schedule/starter.js";
import { createMemoryStore } from "../../../../lib/storage/index.js";
import { DEFAULT_RUN_BEHAVIOUR, fakeJobRuns } from "../../../support/fake-job-runs.js";
import { createWorld, START, type WorldOptions } from "./world.js";

const config = {
  jobs: { a: { job: "x", maxRetries: 2, timeout: 20, arguments: { day: "{{run.day}}" } } },
  workflows: { w: { defaultRunProperties: { day: "monday" } } },
  triggers: { now: { type: "ON_DEMAND", workflow: "w", actions: [{ job: "a" }] } },
};

const call = {
  service: "EMR Serverless",
  doing: "starting a job run",
  deniedCode: "EMR_ACCESS_DENIED",
  permission: "p",
};

/** An error as the SDK throws it. */
function sdkError(name: string, httpStatusCode: number | undefined, attempts = 1): UserError {
  const $metadata = { ...(httpStatusCode === undefined ? {} : { httpStatusCode }), attempts };
  return awsFailure(Object.assign(new Error("no"), { name, $metadata }), call);
}

const wrapped = (change: (starter: SimulatedStarter) => Partial<RunStarter>, options: WorldOptions = {}) =>
  createWorld(config, {
    ...options,
    wrap: (starter) => ({
      start: (run) => starter.start(run),
      observe: (run) => starter.observe(run),
      cancel: (run) => starter.cancel(run),
      ...change(starter),
    }),
  });

describe("a start whose outcome is open", () => {
  test.each([
    ["InternalServerException", 500],
    ["InternalServiceException", 500],
    ["OperationTimeoutException", 400],
    ["BadGateway", 502],
    ["GatewayTimeout", 504],
  ])("%s with %i is worth another try", (name, status) => {
    expect(sdkError(name, status)).toMatchObject({ exitCode: 75 });
  });

  test.each([
    ["the service's own failure", sdkError("InternalServerException", 500)],
    ["an answer that can't be read", sdkError("SyntaxError", undefined)],
    ["a refusal after an attempt without an answer", sdkError("ValidationException", 400, 2)],
  ])("%s: the same run is started again, and no other", async (_, failure) => {
    const asked: string[] = [];
    const world = wrapped((starter) => ({
      start: async (request) => {
        asked.push(request.run.id);
        const handle = await starter.start(request);
        if (asked.length === 1) throw failure;
        // By now the permission is gone: nothing is known of the run that is at work.
        if (asked.length === 2) throw sdkError("AccessDeniedException", 403);
        return handle;
      },
    }));
    world.result("a", { minutes: 5 });
    await world.control.startTrigger("now");
    await world.pass(10);
    expect(await world.runs()).toEqual(["a SUCCEEDED"]);
    expect(new Set(asked).size).toBe(1);
    expect(asked).toHaveLength(3);
  });

  test("it ends by its timeout, and isn't tried again", async () => {
    const world = wrapped(() => ({
      start: async () => {
        throw sdkError("InternalServerException", 500);
      },
    }));
    await world.control.startTrigger("now");
    await world.pass(29);
    expect(await world.runs()).toEqual(["a STARTING"]);
    await world.pass(3);
    expect(await world.runs()).toEqual(["a TIMEOUT"]);
    expect((await world.run("a")).reason).toMatch(/isn't known whether it was started/);
  });

  test("a refusal is one; credentials that have expired burn no attempts", async () => {
    const answers = [sdkError("ExpiredTokenException", 400), sdkError("ValidationException", 400)];
    const world = wrapped((starter) => ({
      start: async (request) => {
        const answer = answers.shift();
        if (answer !== undefined) throw answer;
        return starter.start(request);
      },
    }));
    await world.control.startTrigger("now");
    await world.pass(1);
    expect(await world.runs()).toEqual(["a STARTING"]);
    await world.pass(3);
    expect(await world.runs()).toEqual(["a FAILED", "a SUCCEEDED"]);
  });

  test("what fails while the scheduler is told to end says nothing about the run", async () => {
    const interrupt = new AbortController();
    const world = wrapped((starter) => ({
      prepare: async () => {
        if (interrupt.signal.aborted) return undefined;
        interrupt.abort();
        throw new UserError("COMMAND_FAILED", "mvn was interrupted");
      },
      start: (request) => starter.start(request),
    }));
    await world.control.startTrigger("now");
    await world.scheduler.tick(interrupt.signal);
    expect(await world.runs()).toEqual(["a STARTING"]);
    await world.pass(2);
    expect(await world.runs()).toEqual(["a SUCCEEDED"]);
  });
});

describe("a run that is being started", () => {
  test("stopped in the midst of it, it is cancelled, not forgotten", async () => {
    const cancelled: string[] = [];
    const world = wrapped((starter) => ({
      start: async (request) => {
        const handle = await starter.start(request);
        // `cancel` of somebody else, before the handle is written down.
        if (cancelled.length === 0 && request.run.stop === undefined) await world.control.stop(request.chain.id);
        return handle;
      },
      cancel: async (request) => {
        cancelled.push(request.run.id);
        await starter.cancel(request);
      },
    }));
    world.result("a", { minutes: 15 });
    await world.control.startTrigger("now");
    await world.pass(3);
    const run = await world.run("a");
    expect(cancelled).toEqual([run.id]);
    expect(run.state).toBe("STOPPED");
  });

  test("is started with the request that was written down, whatever properties and settings are now", async () => {
    const service = fakeJobRuns(
      { ...DEFAULT_RUN_BEHAVIOUR, runMs: 0 },
      { applicationId: "00f", arn: "arn", releaseLabel: "emr-7.13.0" },
    );
    let settings = 1;
    let dies = true;
    const start: RunStarter["start"] = async ({ run }) => {
      const { jobRunId } = service.emr("StartJobRun", "", run.request as Record<string, unknown>) as {
        jobRunId: string;
      };
      if (!dies) return jobRunId;
      dies = false;
      settings = 2;
      await world.control.putProperties((await world.chains())[0]?.id ?? "", { day: "tuesday" });
      throw new Error("killed");
    };
    const world = wrapped(() => ({
      prepare: async ({ run }) => ({ clientToken: run.id, settings, arguments: run.given }),
      start,
      observe: async () => ({ state: "SUCCEEDED" }),
    }));
    await world.control.startTrigger("now");
    await world.pass(3);
    expect(await world.runs()).toEqual(["a SUCCEEDED"]);
    expect([...service.runs.values()].map(({ request }) => request)).toEqual([
      { clientToken: (await world.run("a")).id, settings: 1, arguments: { day: "monday" } },
    ]);
    expect((await world.run("a")).request).toBeUndefined();
    expect(() =>
      service.emr("StartJobRun", "", { clientToken: [...service.runs.values()][0]?.request.clientToken }),
    ).toThrow(/other parameters/);
  });
});

describe("a run that can't be looked at", () => {
  const lookedAt = (failure: () => UserError | undefined) => {
    const cancelled: JobRun[] = [];
    const world = wrapped((starter) => ({
      observe: async (request) => {
        const error = failure();
        if (error !== undefined) throw error;
        return starter.observe(request);
      },
      cancel: async ({ run }) => void cancelled.push(run),
    }));
    return { world, cancelled };
  };

  test("one that isn't there any more is ERROR, and isn't tried again", async () => {
    const { world } = lookedAt(() => new UserError("EMR_NOT_FOUND", "no such job run", { exitCode: 66 }));
    await world.control.startTrigger("now");
    await world.pass(2);
    expect(await world.runs()).toEqual(["a STARTING"]);
    await world.pass(3);
    expect(await world.runs()).toEqual(["a ERROR"]);
    expect((await world.chains())[0]).toMatchObject({ state: "COMPLETED" });
  });

  test("a permission that is withdrawn: it goes on when it is given back, or ends by its timeout", async () => {
    let denied = true;
    const first = lookedAt(() => (denied ? sdkError("AccessDeniedException", 403) : undefined));
    await first.world.control.startTrigger("now");
    await first.world.pass(10);
    expect(await first.world.runs()).toEqual(["a STARTING"]);
    denied = false;
    await first.world.pass(1);
    expect(await first.world.runs()).toEqual(["a SUCCEEDED"]);
    const second = lookedAt(() => sdkError("AccessDeniedException", 403));
    await second.world.control.startTrigger("now");
    await second.world.pass(23);
    expect(await second.world.runs()).toEqual(["a TIMEOUT"]);
    expect(second.cancelled).toHaveLength(1);
  });
});

describe("a run on a machine", () => {
  test("is taken over only there; nothing is said of it elsewhere, until it is long overdue", async () => {
    const clock = createSimulatedClock(START);
    const store = createMemoryStore(clock.now);
    const on = (place: string) => wrapped(() => ({ place: () => place }), { store, clock });
    const first = on("one");
    first.result("a", { minutes: 100_000 });
    await first.control.startTrigger("now");
    await first.pass(2);
    await first.scheduler.leave();
    const second = on("two");
    await second.pass(10);
    expect(await second.runs()).toEqual(["a RUNNING"]);
    expect(second.starter.started).toEqual([]);
    expect(second.said.at(-1)).toMatch(/waits for a scheduler on one/);
    await second.pass(70);
    // The made-up runs of the second machine know nothing of it.
    expect((await second.run("a")).state).not.toBe("RUNNING");
  });
});

test("who is gone is told by the store's clock alone", async () => {
  const clock = createSimulatedClock(START);
  const memory = createMemoryStore(clock.now);
  // As S3: a put answers with this machine's time, which is an hour ahead.
  const store: typeof memory = {
    ...memory,
    put: async (uri, body, put) => ({
      ...(await memory.put(uri, body, put)),
      modified: new Date(clock.now().getTime() + 3_600_000),
    }),
  };
  const [first, second] = [createWorld(config, { store, clock }), createWorld(config, { store, clock })];
  first.result("a", { minutes: 10 });
  await first.control.startTrigger("now");
  await first.scheduler.tick();
  const owner = (await first.chains())[0]?.owner;
  expect(owner).toBe(first.scheduler.id);
  await second.scheduler.tick();
  expect((await first.chains())[0]?.owner).toBe(owner);
});
