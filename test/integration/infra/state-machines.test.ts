import { expect, test } from "vitest";
import { type Chain, chainsOf } from "../../../infra/cdk/chains.js";
import { type RunTask, stateMachineOf } from "../../../infra/cdk/state-machine.js";
import { resolveConfig } from "../../../lib/glue/config/resolve.js";
import type { Definitions, WatchableState } from "../../../lib/glue/config/schedule-schema.js";
import type { Config } from "../../../lib/glue/config/schema.js";
import { type MachineCase, type MachineRun, runMachines } from "../../support/infra-python.js";

type Ends = Readonly<Record<string, WatchableState>>;

const ENDS: Readonly<Record<Exclude<WatchableState, "SUCCEEDED">, string>> = {
  FAILED: 'States.TaskFailed: {"JobRunId":"1","State":"FAILED","StateDetails":"it said \\"CANCELLED\\""}',
  STOPPED: 'States.TaskFailed: {"JobRunId":"1","State":"CANCELLED"}',
  TIMEOUT: "States.Timeout: ",
};

function definitionsOf(config: Config): Definitions {
  return resolveConfig({ file: { path: "test", content: config, line: () => undefined }, env: {} }).definitions;
}

/** Jobs of these names. */
const jobs = (...names: string[]) => Object.fromEntries(names.map((name) => [name, { job: "athena-cdc" }]));
const start = (...names: string[]) => ({
  type: "SCHEDULED" as const,
  schedule: "cron(0 1 * * ? *)",
  actions: names.map((job) => ({ job })),
});
const after = (conditions: string, names: string[], logical: "AND" | "ANY" = "AND") => ({
  type: "CONDITIONAL" as const,
  actions: names.map((job) => ({ job })),
  predicate: {
    logical,
    conditions: conditions.split(", ").map((condition) => {
      const [job = "", state = "SUCCEEDED"] = condition.split(" ");
      return { job, state: state as WatchableState };
    }),
  },
});

function task(name: string): RunTask {
  return {
    resource: "arn:aws:states:::emr-serverless:startJobRun.sync",
    parameters: { Name: name },
    timeoutSeconds: 60,
    retryable: ["EMRServerless.ThrottlingException"],
    causes: { STOPPED: '*"State":*"CANCELLED"*' },
  };
}

function caseOf(chain: Chain, ends: Ends, input: object = {}): MachineCase {
  const definition = stateMachineOf(chain, ({ action, trigger }) => task(`${trigger}/${action.job}`));
  const byState: Record<string, string> = {};
  for (const [name, state] of Object.entries(statesOf(definition))) {
    const run = (state as { Parameters?: { Name?: string } }).Parameters?.Name;
    const end = run === undefined ? undefined : ends[run];
    if (end !== undefined && end !== "SUCCEEDED") byState[name] = ENDS[end];
  }
  return { definition, input, ends: byState };
}

/** All states, those of branches too. */
function statesOf(machine: {
  readonly States?: object;
  readonly Branches?: readonly object[];
}): Record<string, object> {
  const found: Record<string, object> = {};
  for (const [name, state] of Object.entries(machine.States ?? {})) {
    found[name] = state;
    for (const branch of (state as { Branches?: readonly object[] }).Branches ?? [])
      Object.assign(found, statesOf(branch));
  }
  return found;
}

function started({ tasks }: MachineRun): string[] {
  return tasks.map(({ parameters }) => (parameters as { Name: string }).Name);
}

function only(config: Config): Chain {
  const [chain] = chainsOf(definitionsOf(config));
  if (chain === undefined) throw new Error("no chain");
  return chain;
}

test("what follows a job starts as its end says, and a failure is seen at the end", async () => {
  const config: Config = {
    jobs: jobs("load", "mart", "tell", "clean", "again"),
    triggers: {
      night: start("load"),
      good: after("load SUCCEEDED", ["mart"]),
      bad: after("load FAILED", ["tell"]),
      late: after("load TIMEOUT", ["again"]),
      stopped: after("load STOPPED", ["clean"]),
    },
  };
  const chain = only(config);
  const states: WatchableState[] = ["SUCCEEDED", "FAILED", "TIMEOUT", "STOPPED"];
  const runs = await runMachines(states.map((state) => caseOf(chain, { "night/load": state })));
  expect(runs.map(({ status, error }) => [status, error])).toEqual([
    ["SUCCEEDED", null],
    ["FAILED", "JobRunFailed"],
    ["FAILED", "JobRunFailed"],
    ["FAILED", "JobRunFailed"],
  ]);
  expect(runs.map(started)).toEqual([
    ["night/load", "good/mart"],
    ["night/load", "bad/tell"],
    ["night/load", "late/again"],
    ["night/load", "stopped/clean"],
  ]);
});

test("a request that was throttled is sent again, the same one; one that failed is not", async () => {
  const chain = only({ jobs: jobs("load"), triggers: { night: start("load") } });
  const definition = stateMachineOf(chain, () => ({
    ...task("load"),
    parameters: { "Token.$": "States.Hash(States.Format('{}/r0', $$.Execution.Id), 'SHA-256')" },
  }));
  // The interpreter waits in earnest between two tries.
  const quick = JSON.parse(
    JSON.stringify(definition).replaceAll('"IntervalSeconds":10', '"IntervalSeconds":1'),
  ) as object;
  const ends = { "run load": ["EMRServerless.ThrottlingException: slow down", "SUCCESS"] };
  const [run] = await runMachines([{ definition: quick, input: {}, ends }]);
  expect(run?.status).toBe("SUCCEEDED");
  const tokens = run?.tasks.map(({ parameters }) => (parameters as { Token: string }).Token) ?? [];
  expect(tokens).toHaveLength(2);
  expect(tokens[0]).toMatch(/^[0-9a-f]{64}$/);
  expect(tokens[1]).toBe(tokens[0]);
});

test("jobs take properties from the workflow, from the input and from the event", async () => {
  const workflow = { nightly: { defaultRunProperties: { day: "today", "a.b": "it's {this}" } } };
  const read = { ...task("x"), parameters: { "Day.$": "$.properties['day']", "Other.$": "$.properties['a.b']" } };
  const byInput = only({
    jobs: jobs("load"),
    workflows: workflow,
    triggers: { begin: { type: "ON_DEMAND", workflow: "nightly", actions: [{ job: "load" }] } },
  });
  const byEvent = only({
    jobs: jobs("load"),
    workflows: workflow,
    triggers: {
      begin: {
        type: "EVENT",
        workflow: "nightly",
        actions: [{ job: "load" }],
        event: { prefix: "s3://lake/exports/" },
      },
    },
  });
  const event = {
    ...task("x"),
    parameters: {
      "Uri.$": "$.properties['event.uri']",
      "Folder.$": "$.properties['event.folder']",
      "Uris.$": "$.properties['event.uris']",
      "Other.$": "$.properties['a.b']",
    },
  };
  const uris = ["s3://lake/exports/a b/_SUCCESS", "s3://lake/exports/c/_SUCCESS"];
  const runs = await runMachines([
    { definition: stateMachineOf(byInput, () => read), input: {} },
    { definition: stateMachineOf(byInput, () => read), input: { properties: { day: "2026-01-31" } } },
    { definition: stateMachineOf(byEvent, () => event), input: { uri: uris[0] } },
    { definition: stateMachineOf(byEvent, () => event), input: uris.map((uri) => ({ uri })) as unknown as object },
  ]);
  expect(runs.map(({ status, tasks }) => [status, tasks[0]?.parameters])).toEqual([
    ["SUCCEEDED", { Day: "today", Other: "it's {this}" }],
    ["SUCCEEDED", { Day: "2026-01-31", Other: "it's {this}" }],
    [
      "SUCCEEDED",
      { Uri: uris[0], Folder: "s3://lake/exports/a b", Uris: JSON.stringify([uris[0]]), Other: "it's {this}" },
    ],
    ["SUCCEEDED", { Uri: uris[0], Folder: "s3://lake/exports/a b", Uris: JSON.stringify(uris), Other: "it's {this}" }],
  ]);
});

test("random graphs start what Glue's rules say, and nothing before what it waits for", async () => {
  const random = mulberry(20_261_121);
  const cases: { chain: Chain; ends: Ends; machine: MachineCase }[] = [];
  while (cases.length < 40) {
    const chain = randomChain(random);
    const ends: Record<string, WatchableState> = {};
    for (const { trigger, action } of chain.runs) ends[`${trigger}/${action.job}`] = pick(random, STATES);
    // Of those in which little happens a few will do.
    if (following(byTheRules(chain, ends)).length < 2 && random() < 0.7) continue;
    cases.push({ chain, ends, machine: caseOf(chain, ends) });
  }
  const runs = await runMachines(cases.map(({ machine }) => machine));
  let followed = 0;
  for (const [index, run] of runs.entries()) {
    const { chain, ends } = cases[index] as (typeof cases)[number];
    const wanted = byTheRules(chain, ends);
    const what = JSON.stringify({ followers: [...chain.followers], ends });
    expect(run.error ?? "JobRunFailed", `${run.cause}`).toBe("JobRunFailed");
    expect([...started(run)].sort(), what).toEqual([...wanted].sort());
    expect(run.status, what).toBe(wanted.every((name) => ends[name] === "SUCCEEDED") ? "SUCCEEDED" : "FAILED");
    followed += following(wanted).length;
    const order = started(run);
    for (const [name, { predicate }] of chain.followers) {
      const mine = order.findIndex((one) => one.startsWith(`${name}/`));
      if (mine < 0 || predicate.logical !== "AND") continue;
      for (const { job } of predicate.conditions) {
        expect(
          order.slice(0, mine).some((one) => one.endsWith(`/${job}`)),
          what,
        ).toBe(true);
      }
    }
  }
  // Else it would hold of graphs in which nothing happens.
  expect(followed).toBeGreaterThan(60);
}, 300_000);

const STATES: readonly WatchableState[] = ["SUCCEEDED", "SUCCEEDED", "SUCCEEDED", "FAILED", "TIMEOUT", "STOPPED"];

/** What starts when a trigger fires as soon as its condition is met, once: Glue's rules without any order of a machine. */
function byTheRules(chain: Chain, ends: Ends): string[] {
  const fired = new Set([chain.name]);
  const over = () => chain.runs.filter(({ trigger }) => fired.has(trigger));
  for (let before = 0; before !== fired.size; ) {
    before = fired.size;
    for (const [name, { predicate }] of chain.followers) {
      const met = predicate.conditions.map(({ job, state }) =>
        over().some(({ trigger, action }) => action.job === job && ends[`${trigger}/${job}`] === state),
      );
      if (predicate.logical === "AND" ? met.every(Boolean) : met.some(Boolean)) fired.add(name);
    }
  }
  return over().map(({ trigger, action }) => `${trigger}/${action.job}`);
}

/** Runs that a CONDITIONAL trigger has started. */
function following(runs: readonly string[]): readonly string[] {
  return runs.filter((name) => !name.startsWith("start/"));
}

/** A trigger with one to three jobs, and up to six that follow, each waiting for jobs that were there before it. */
function randomChain(random: () => number): Chain {
  const names: string[] = [];
  const fresh = () => {
    const name = `j${names.length}`;
    names.push(name);
    return name;
  };
  const many = (most: number) => Array.from({ length: 1 + Math.floor(random() * most) }, fresh);
  const triggers: NonNullable<Config["triggers"]> = { start: start(...many(3)) };
  for (let index = 0; index < Math.floor(random() * 7); index++) {
    const known = [...names];
    const conditions = Array.from(
      { length: 1 + Math.floor(random() * 3) },
      () => `${pick(random, known)} ${pick(random, STATES)}`,
    );
    // One state of a job at a time, so that an AND can be met.
    const distinct = [...new Map(conditions.map((condition) => [condition.split(" ")[0], condition])).values()];
    triggers[`t${index}`] = after(distinct.join(", "), many(2), random() < 0.5 ? "AND" : "ANY");
  }
  return only({ jobs: jobs(...names), triggers });
}

function pick<T>(random: () => number, from: readonly T[]): T {
  return from[Math.floor(random() * from.length)] as T;
}

/** Numbers from 0 to 1, the same for the same seed. */
function mulberry(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
