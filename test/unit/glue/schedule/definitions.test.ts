import { describe, expect, expectTypeOf, test } from "vitest";
import { UserError } from "../../../../lib/errors.js";
import { resolveConfig } from "../../../../lib/glue/config/resolve.js";
import type { Definitions, TriggerEntry } from "../../../../lib/glue/config/schedule-schema.js";
import { defineConfig } from "../../../../lib/glue/config/schema.js";

function read(content: unknown): Definitions {
  return resolveConfig({ file: { path: "c.ts", content, line: () => undefined }, env: {} }).definitions;
}

function problemsOf(content: unknown): readonly string[] {
  try {
    read(content);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    expect(error).toMatchObject({ code: "CONFIG_INVALID", exitCode: 66 });
    return error.problems.map((problem) => problem.replace(" (c.ts)", ""));
  }
  return [];
}

const jobs = { a: { job: "athena-cdc" }, b: { job: "./b.ts" }, c: { job: "jdbc-cdc" } };
const daily = { type: "SCHEDULED", schedule: "cron(0 3 * * ? *)", actions: [{ job: "a" }] };
const behind = (job: string, next: string, more: object = {}) => ({
  type: "CONDITIONAL",
  predicate: { conditions: [{ job, state: "SUCCEEDED" }] },
  actions: [{ job: next }],
  ...more,
});

test("what isn't said has Glue's defaults; arguments lose their dashes and become texts", () => {
  const { jobs, triggers, workflows, scheduler } = read({
    jobs: {
      orders: { job: "athena-cdc", arguments: { "--load-type": "full", tables: 3, force: true } },
      orders2: { job: "jdbc-cdc" },
    },
    triggers: {
      nightly: { ...daily, actions: [{ job: "orders" }], workflow: "night" },
      next: behind("orders", "orders2", { workflow: "night" }),
      chain: { type: "ON_DEMAND", actions: [{ job: "orders" }] },
      files: { type: "EVENT", event: { prefix: "s3://in/x/" }, workflow: "files", actions: [{ job: "orders" }] },
      bags: {
        type: "EVENT",
        event: { prefix: "file:in/" },
        eventBatching: { batchSize: 5 },
        workflow: "bags",
        actions: [{ job: "orders" }],
      },
    },
    workflows: { night: {}, files: { maxConcurrentRuns: 2, defaultRunProperties: { day: "today" } }, bags: {} },
    scheduler: { state: "s3://state/scheduler" },
  });
  expect(jobs.orders).toEqual({
    job: "athena-cdc",
    arguments: { load_type: "full", tables: "3", force: "true" },
    maxRetries: 0,
    timeout: 480,
    maxConcurrentRuns: 1,
    jobRunQueuingEnabled: false,
  });
  expect(triggers.nightly).toMatchObject({ startOnCreation: false, actions: [{ job: "orders", arguments: {} }] });
  expect(triggers.next).toMatchObject({ predicate: { logical: "AND" } });
  expect(triggers.files).toMatchObject({ eventBatching: { batchSize: 1, batchWindow: 900 } });
  expect(triggers.bags).toMatchObject({ eventBatching: { batchSize: 5, batchWindow: 900 } });
  expect(workflows.files).toEqual({ maxConcurrentRuns: 2, defaultRunProperties: { day: "today" } });
  expect(scheduler).toEqual({ state: "s3://state/scheduler/" });
});

test("without a file, or without them in it, there are none", () => {
  const none = { jobs: {}, triggers: {}, workflows: {}, scheduler: {} };
  expect(read({})).toEqual(none);
  expect(resolveConfig({ env: {} }).definitions).toEqual(none);
});

test("the definitions are typed", () => {
  defineConfig({
    jobs: { a: { job: "athena-cdc", arguments: { load_type: "full" } } },
    triggers: {
      nightly: { type: "SCHEDULED", schedule: "cron(0 3 * * ? *)", actions: [{ job: "a" }], startOnCreation: true },
      next: {
        type: "CONDITIONAL",
        predicate: { logical: "ANY", conditions: [{ job: "a", state: "FAILED" }] },
        actions: [{ job: "a", timeout: 5, notifyDelayAfter: 2 }],
      },
    },
  });
  // @ts-expect-error no such type of trigger
  defineConfig({ triggers: { a: { type: "HOURLY", actions: [{ job: "a" }] } } });
  // @ts-expect-error a SCHEDULED trigger has a schedule
  defineConfig({ triggers: { a: { type: "SCHEDULED", actions: [{ job: "a" }] } } });
  // @ts-expect-error a schedule is only for SCHEDULED triggers
  defineConfig({ triggers: { a: { type: "ON_DEMAND", schedule: "cron(0 3 * * ? *)", actions: [{ job: "a" }] } } });
  // @ts-expect-error RUNNING can't be waited for
  defineConfig({ triggers: { a: { ...daily, predicate: { conditions: [{ job: "a", state: "RUNNING" }] } } } });
  expectTypeOf<TriggerEntry["type"]>().toEqualTypeOf<"SCHEDULED" | "CONDITIONAL" | "ON_DEMAND" | "EVENT">();
  expectTypeOf<Definitions["jobs"][string]["arguments"]>().toEqualTypeOf<Readonly<Record<string, string>>>();
});

describe("what is wrong with an entry", () => {
  test.each([
    [{ jobs: { a: {} } }, ["jobs.a.job is no text"]],
    [{ jobs: { a: { job: "x", maxRetrys: 1 } } }, ["jobs.a.maxRetrys is no setting; did you mean maxRetries?"]],
    [
      { jobs: { a: { job: "x", maxRetries: 11, timeout: 0 } } },
      ["jobs.a.maxRetries is more than 10", "jobs.a.timeout is less than 1"],
    ],
    [{ jobs: { a: { job: "x", timeout: 10_081 } } }, ["jobs.a.timeout is more than 10080"]],
    [{ jobs: { a: { job: "x", maxConcurrentRuns: 0 } } }, ["jobs.a.maxConcurrentRuns is less than 1"]],
    [{ jobs: { a: { job: "x", target: "moon" } } }, ['jobs.a.target is none of "local", "emr", "glue"']],
    [{ jobs: { "a b": { job: "x" } } }, ["jobs.a b is no name: use up to 255 letters, digits, _, - and ."]],
    [
      { jobs: { a: { job: "x", arguments: { "--JOB_NAME": "y", "job-bookmark-from": "1", "a b": "1" } } } },
      [
        "jobs.a.arguments.--JOB_NAME is set for each run by what starts it",
        "jobs.a.arguments.job-bookmark-from belongs to Glue itself",
        "jobs.a.arguments.a b is no name of an argument",
      ],
    ],
    [
      { jobs: { a: { job: "x", arguments: { "--load-type": "full", load_type: "incremental" } } } },
      ["jobs.a.arguments.load_type is the same argument as --load-type"],
    ],
    [
      { jobs, triggers: { t: { actions: [] } } },
      ["triggers.t.type is none of SCHEDULED, CONDITIONAL, ON_DEMAND, EVENT"],
    ],
    [{ jobs, triggers: { t: "daily" } }, ["triggers.t is not an object"]],
    [
      { jobs, triggers: { t: { ...daily, actions: [] } } },
      ["triggers.t.actions is empty: a trigger starts at least one job"],
    ],
    [
      { jobs, triggers: { t: { ...daily, schedul: "" } } },
      ["triggers.t.schedul is no setting; did you mean schedule?"],
    ],
    [
      { jobs, triggers: { t: { ...daily, actions: [{ job: "a", argument: {} }] } } },
      ["triggers.t.actions.0.argument is no setting; did you mean arguments?"],
    ],
    [
      { jobs, triggers: { t: { ...daily, schedule: "cron(61 3 * * * *)" } } },
      [
        'triggers.t.schedule "cron(61 3 * * * *)" can\'t be used: minutes 61 is not in 0 to 59',
        'triggers.t.schedule "cron(61 3 * * * *)" can\'t be used: day of month and day of week are both given: one of them must be ?',
      ],
    ],
    [
      { jobs, triggers: { t: { ...daily, predicate: {}, event: { prefix: "s3://b/" } } } },
      ["triggers.t.predicate is only for CONDITIONAL triggers", "triggers.t.event is only for EVENT triggers"],
    ],
    [
      { jobs, triggers: { t: { type: "ON_DEMAND", actions: [{ job: "a" }], startOnCreation: true } } },
      ["triggers.t.startOnCreation is not for ON_DEMAND triggers: they stay CREATED, and `trigger start` fires them"],
    ],
    [
      { jobs, triggers: { t: { ...behind("a", "b"), predicate: { conditions: [{ job: "a", state: "RUNNING" }] } } } },
      ["triggers.t.predicate.conditions.0.state is none of SUCCEEDED, STOPPED, FAILED, TIMEOUT"],
    ],
    [
      {
        jobs,
        triggers: {
          d: daily,
          t: {
            ...behind("a", "b"),
            predicate: {
              conditions: [
                { job: "a", state: "FAILED" },
                { job: "a", state: "TIMEOUT" },
              ],
            },
          },
        },
      },
      ["triggers.t.predicate.logical is missing: with several conditions, AND or ANY"],
    ],
    [
      {
        jobs,
        triggers: {
          t: {
            type: "EVENT",
            workflow: "w",
            event: { prefix: "bucket/x" },
            eventBatching: { batchSize: 101, batchWindow: 901 },
            actions: [{ job: "a" }],
          },
        },
      },
      [
        'triggers.t.event.prefix is no prefix such as "s3://bucket/exports/"',
        "triggers.t.eventBatching.batchSize is more than 100",
        "triggers.t.eventBatching.batchWindow is more than 900",
        'triggers.t.workflow is "w", and `workflows` has none of that name',
      ],
    ],
    [{ workflows: { w: { maxConcurrentRuns: 0 } } }, ["workflows.w.maxConcurrentRuns is less than 1"]],
    [
      { scheduler: { state: "x", missedFirings: "no", history: { keepDays: 0 } } },
      [
        'scheduler.state is no folder; write "s3://bucket/folder/" or "file:folder/"',
        'scheduler.missedFirings is none of "latest", "skip", "all"',
        "scheduler.history.keepDays is less than 1",
      ],
    ],
  ])("%j", (content, expected) => {
    expect(problemsOf(content).filter((problem) => !problem.includes("no trigger that starts it"))).toEqual(expected);
  });
});

describe("what is wrong between entries", () => {
  test("everything is said in one error, beside what is wrong with single entries", () => {
    const problems = problemsOf({
      jobs: { ...jobs, d: { job: "" } },
      triggers: {
        nightly: { ...daily, actions: [{ job: "aa" }, { job: "b" }], workflow: "nigth" },
        files: { type: "EVENT", event: { prefix: "s3://bucket/x" }, actions: [{ job: "b" }] },
        next: behind("x", "b"),
      },
      workflows: { night: {} },
    });
    expect(problems).toEqual([
      "jobs.d.job is empty",
      'triggers.nightly.actions.0.job is "aa", and `jobs` has none of that name; did you mean a?',
      'triggers.nightly.workflow is "nigth", and `workflows` has none of that name; did you mean night?',
      "triggers.files.workflow is missing: an EVENT trigger starts a workflow, and can't start jobs outside of one",
      'triggers.next.predicate.conditions.0.job is "x", and `jobs` has none of that name; did you mean a?',
      'workflows.night has no trigger that starts it: one SCHEDULED, ON_DEMAND or EVENT trigger needs `workflow: "night"`',
      "triggers.next.predicate waits for x, and no trigger outside of workflows starts it: only runs that a trigger started count",
    ]);
  });

  test("a workflow has one trigger that starts it", () => {
    const inside = { ...daily, workflow: "w" };
    expect(problemsOf({ jobs, workflows: { w: {} }, triggers: { one: inside, two: inside } })).toEqual([
      "workflows.w has 2 triggers that start it (one, two), and only one is possible",
    ]);
  });

  test("a chain begins at a trigger that isn't CONDITIONAL; triggers behind a broken one aren't told of", () => {
    expect(problemsOf({ jobs, triggers: { first: behind("a", "b"), second: behind("b", "c") } })).toEqual([
      "triggers.first.predicate waits for a, and no trigger outside of workflows starts it: only runs that a trigger started count",
    ]);
    expect(problemsOf({ jobs, triggers: { d: daily, first: behind("a", "b"), second: behind("b", "c") } })).toEqual([]);
  });

  test("a workflow's triggers see only its own runs, others only those outside", () => {
    const workflow = { workflows: { w: {} } };
    const inside = { ...daily, workflow: "w" };
    expect(problemsOf({ jobs, ...workflow, triggers: { inside, next: behind("a", "b") } })).toEqual([
      "triggers.next.predicate waits for a, and no trigger outside of workflows starts it: only runs that a trigger started count",
    ]);
    const start = { ...inside, actions: [{ job: "c" }] };
    expect(
      problemsOf({ jobs, ...workflow, triggers: { daily, start, next: behind("a", "b", { workflow: "w" }) } }),
    ).toEqual([
      "triggers.next.predicate waits for a, and no trigger of workflow w starts it: only runs that a trigger started count",
    ]);
  });

  test("AND needs one trigger that leads to all of its jobs, ANY any of them", () => {
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
    });
    const other = { type: "ON_DEMAND", actions: [{ job: "b" }] };
    expect(problemsOf({ jobs, triggers: { daily, other, next: both("AND") } })).toEqual([
      "triggers.next.predicate waits for all of a, b, and no single SCHEDULED, ON_DEMAND or EVENT trigger leads to all of them",
    ]);
    expect(problemsOf({ jobs, triggers: { daily, other, next: both("ANY") } })).toEqual([]);
    expect(problemsOf({ jobs, triggers: { daily, middle: behind("a", "b"), next: both("AND") } })).toEqual([]);
    expect(problemsOf({ jobs, triggers: { daily, next: both("ANY") } })).toEqual([]);
  });

  test("circles are shown, each once", () => {
    const triggers = { daily, one: behind("a", "b"), two: behind("b", "c"), three: behind("c", "b") };
    expect(problemsOf({ jobs, triggers })).toEqual(["triggers.two.predicate makes a circle: two → three → two"]);
    expect(problemsOf({ jobs, triggers: { daily, self: behind("a", "a") } })).toEqual([
      "triggers.self.predicate makes a circle: self → self",
    ]);
    // The same jobs in two workflows are no circle.
    const w = { workflow: "w" };
    expect(
      problemsOf({
        jobs,
        workflows: { w: {} },
        triggers: {
          daily,
          one: behind("a", "b"),
          start: { ...daily, ...w, actions: [{ job: "b" }] },
          two: behind("b", "a", w),
        },
      }),
    ).toEqual([]);
  });
});
