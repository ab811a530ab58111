import type { ConditionalTrigger, WatchableState } from "../../lib/glue/config/schedule-schema.js";
import type { Chain, ChainRun } from "./chains.js";

/** How a state machine starts a job run, and waits for its end. */
export interface RunTask {
  /** `arn:aws:states:::emr-serverless:startJobRun.sync` */
  readonly resource: string;
  readonly parameters: object;
  readonly timeoutSeconds: number;
  /** Errors after which the same request may be sent again: it starts no second run. */
  readonly retryable: readonly string[];
  /** What is in the cause of the failure when the run was stopped, or ran out of its time: with `*` for anything. */
  readonly causes: Readonly<Partial<Record<"STOPPED" | "TIMEOUT", string>>>;
}

/** A state machine in Amazon States Language. */
export interface StateMachineDefinition {
  readonly Comment?: string;
  readonly StartAt: string;
  readonly States: Readonly<Record<string, object>>;
}

/** What can be done in a step: the actions of a trigger, or triggers that are decided on together. */
type Unit =
  | { readonly kind: "run"; readonly run: ChainRun }
  | { readonly kind: "trigger"; readonly name: string; readonly trigger: ConditionalTrigger };

type Triggers = ReadonlyMap<string, ConditionalTrigger>;
type States = Record<string, object>;

/** The state of every run of a chain: `{"r0": {"state": "SUCCEEDED"}}`; `NONE` until it is over. */
const RUNS = "$.runs";

/**
 * The state machine of a chain: starts the jobs of its first trigger side by side, and after each of them those of the triggers
 * whose conditions are decided by then. A trigger that waits for jobs of several branches is decided on when these have
 * come together, also when it is an ANY that one of them would do for; a trigger fires once at the most.
 *
 * An execution takes `{"properties": {"name": "value"}}`: properties of the workflow's run that its jobs' arguments name as
 * `{{run.name}}`. It fails at its end when a run did, so that a failure is seen; what was to follow the failure has run by then.
 */
export function stateMachineOf(chain: Chain, taskOf: (run: ChainRun) => RunTask): StateMachineDefinition {
  return new Writer(chain, taskOf).write();
}

class Writer {
  readonly #chain: Chain;
  readonly #taskOf: (run: ChainRun) => RunTask;
  readonly #names = new Set<string>();

  constructor(chain: Chain, taskOf: (run: ChainRun) => RunTask) {
    this.#chain = chain;
    this.#taskOf = taskOf;
  }

  write(): StateMachineDefinition {
    const { name, start, runs, followers, workflow } = this.#chain;
    const states: States = {};
    const over = this.#name("has a run failed?");
    const failed = this.#name("failed");
    const done = this.#name("done");
    const first = runs.filter(({ trigger }) => trigger === name).map((run): Unit => ({ kind: "run", run }));
    const begin = this.#begin(states, this.#scope(states, first, followers, new Set(), over));
    const ended = (state: WatchableState) => runs.map(({ id }) => isState(id, state));
    states[over] = {
      Type: "Choice",
      Choices: [{ Or: [...ended("FAILED"), ...ended("TIMEOUT"), ...ended("STOPPED")], Next: failed }],
      Default: done,
    };
    states[failed] = {
      Type: "Fail",
      Error: "JobRunFailed",
      Cause: `Not every job run of ${name} has succeeded; the states above show which`,
    };
    states[done] = { Type: "Succeed" };
    const what = start.description ?? (workflow === undefined ? `Trigger ${name}` : `Workflow ${workflow}`);
    return { Comment: what, StartAt: begin, States: states };
  }

  /** The run's properties: those that the workflow begins with, then what the event or the input of the execution says. */
  #begin(states: States, next: string): string {
    const { start, runs, properties } = this.#chain;
    const begin = this.#name("begin");
    const none = Object.fromEntries(runs.map(({ id }) => [id, { state: "NONE" }]));
    if (start.type === "EVENT") {
      states[begin] = {
        Type: "Pass",
        QueryLanguage: "JSONata",
        Output: { properties: eventProperties(properties), runs: none },
        Next: next,
      };
      return begin;
    }
    const given = this.#name("with properties");
    const usual = this.#name("without properties");
    states[begin] = {
      Type: "Choice",
      Choices: [{ Variable: "$.properties", IsPresent: true, Next: given }],
      Default: usual,
    };
    const both = this.#name("both");
    states[given] = { Type: "Pass", Parameters: { usual: properties, "given.$": "$.properties" }, Next: both };
    states[both] = {
      Type: "Pass",
      Parameters: { "properties.$": "States.JsonMerge($.usual, $.given, false)", runs: none },
      Next: next,
    };
    states[usual] = { Type: "Pass", Parameters: { properties, runs: none }, Next: next };
    return begin;
  }

  /**
   * Writes units that run side by side, and what follows them.
   *
   * @param open triggers that may follow.
   * @param known ids of the runs that are over by now.
   * @returns name of the first state; `next` where there is nothing to do.
   */
  #scope(states: States, units: readonly Unit[], open: Triggers, known: ReadonlySet<string>, next: string): string {
    const [only] = units;
    if (only === undefined) return next;
    const closures = units.map((unit) => this.#closure(unit, open, known));
    const taken = new Set(closures.flatMap(({ triggers }) => [...triggers.keys()]));
    const rest = without(open, taken);
    const over = new Set([...known, ...closures.flatMap(({ runs }) => [...runs])]);
    const after = this.#follow(states, rest, over, next);
    if (units.length === 1) return this.#unit(states, only, closures[0]?.triggers ?? new Map(), known, after);

    const together = this.#name("side by side");
    const merge = this.#name("together again");
    const branches = units.map((unit, index) => {
      const inside: States = {};
      const end = this.#name(`${titleOf(unit)}: over`);
      const first = this.#unit(inside, unit, closures[index]?.triggers ?? new Map(), known, end);
      const runs = [...(closures[index]?.runs ?? [])];
      inside[end] = { Type: "Pass", Parameters: paths(runs, (id) => `${RUNS}.${id}`), End: true };
      return { StartAt: first, States: inside };
    });
    states[together] = {
      Type: "Parallel",
      Branches: branches,
      ResultSelector: Object.fromEntries(branches.map((_, index) => [`b${index}.$`, `$[${index}]`])),
      ResultPath: "$.branches",
      Next: merge,
    };
    const places = new Map(closures.flatMap(({ runs }, index) => [...runs].map((id) => [id, index] as const)));
    const ids = this.#chain.runs.map(({ id }) => id);
    states[merge] = {
      Type: "Pass",
      Parameters: {
        "properties.$": "$.properties",
        runs: paths(ids, (id) => (places.has(id) ? `$.branches.b${places.get(id)}.${id}` : `${RUNS}.${id}`)),
      },
      Next: after,
    };
    return together;
  }

  /** Writes the triggers that can be decided on now, and what follows them. */
  #follow(states: States, open: Triggers, known: ReadonlySet<string>, next: string): string {
    const ready = [...open].filter(([, trigger]) => this.#watched(trigger).every((id) => known.has(id)));
    const units = ready.map(([name, trigger]): Unit => ({ kind: "trigger", name, trigger }));
    return this.#scope(states, units, without(open, new Set(ready.map(([name]) => name))), known, next);
  }

  #unit(states: States, unit: Unit, open: Triggers, known: ReadonlySet<string>, next: string): string {
    if (unit.kind === "run") {
      return this.#run(states, unit.run, this.#follow(states, open, new Set([...known, unit.run.id]), next));
    }
    const runs = this.#chain.runs.filter(({ trigger }) => trigger === unit.name);
    const actions = runs.map((run): Unit => ({ kind: "run", run }));
    const decide = this.#name(`fires ${unit.name}?`);
    states[decide] = {
      Type: "Choice",
      Choices: [
        { ...this.#met(unit.trigger), Next: this.#scope(states, actions, without(open, [unit.name]), known, next) },
      ],
      Default: next,
    };
    return decide;
  }

  #run(states: States, run: ChainRun, next: string): string {
    const { resource, parameters, timeoutSeconds, retryable, causes } = this.#taskOf(run);
    const { job } = run.action;
    const title = titleOf({ kind: "run", run });
    const name = this.#name(`run ${title}`);
    const ended = (state: WatchableState): string => {
      const end = this.#name(`${title}: ${state}`);
      states[end] = { Type: "Pass", Result: { state }, ResultPath: `${RUNS}.${run.id}`, Next: next };
      return end;
    };
    const timeout = ended("TIMEOUT");
    const how = this.#name(`${title}: how did it end?`);
    const cause = "$.error.Cause";
    const causeLike = (pattern: string) => ({
      And: [
        { Variable: cause, IsPresent: true },
        { Variable: cause, StringMatches: pattern },
      ],
    });
    states[name] = {
      Type: "Task",
      Comment: `A run of job ${job}, started by trigger ${run.trigger}`,
      Resource: resource,
      Parameters: parameters,
      TimeoutSeconds: timeoutSeconds,
      ResultSelector: { state: "SUCCEEDED" },
      ResultPath: `${RUNS}.${run.id}`,
      Retry: [
        {
          ErrorEquals: [...retryable],
          IntervalSeconds: 10,
          BackoffRate: 2,
          MaxAttempts: 8,
          MaxDelaySeconds: 300,
          JitterStrategy: "FULL",
        },
      ],
      Catch: [
        { ErrorEquals: ["States.Timeout"], ResultPath: "$.error", Next: timeout },
        { ErrorEquals: ["States.ALL"], ResultPath: "$.error", Next: how },
      ],
      Next: next,
    };
    states[how] = {
      Type: "Choice",
      Choices: [
        ...(causes.STOPPED === undefined ? [] : [{ ...causeLike(causes.STOPPED), Next: ended("STOPPED") }]),
        ...(causes.TIMEOUT === undefined ? [] : [{ ...causeLike(causes.TIMEOUT), Next: timeout }]),
      ],
      Default: ended("FAILED"),
    };
    return name;
  }

  /** Ids of the runs that a trigger's conditions are about; those of other chains can't be met here. */
  #watched({ predicate }: ConditionalTrigger): string[] {
    return predicate.conditions.flatMap(({ job }) => this.#runsOf(job));
  }

  #runsOf(job: string): string[] {
    return this.#chain.runs.filter(({ action }) => action.job === job).map(({ id }) => id);
  }

  #met({ predicate }: ConditionalTrigger): object {
    // A job that several triggers start meets a condition by any of its runs.
    const conditions = predicate.conditions.map(({ job, state }) =>
      either(this.#runsOf(job).map((id) => isState(id, state))),
    );
    if (predicate.logical === "ANY") return either(conditions.filter((condition) => condition !== NEVER));
    return conditions.length === 1 && conditions[0] !== undefined ? conditions[0] : { And: conditions };
  }

  /**
   * What a unit leads to, all by itself. Of a trigger only what can't be without it: when it doesn't fire, all of it is left out.
   */
  #closure(unit: Unit, open: Triggers, known: ReadonlySet<string>) {
    const runs = new Set<string>();
    const triggers = new Map<string, ConditionalTrigger>();
    const add = (name: string) => {
      for (const run of this.#chain.runs) if (run.trigger === name) runs.add(run.id);
    };
    if (unit.kind === "run") runs.add(unit.run.id);
    else add(unit.name);
    for (let before = -1; before !== triggers.size; ) {
      before = triggers.size;
      for (const [name, trigger] of open) {
        if (triggers.has(name)) continue;
        if (!this.#watched(trigger).every((id) => known.has(id) || runs.has(id))) continue;
        if (unit.kind === "trigger" && !this.#needs(trigger, runs)) continue;
        triggers.set(name, trigger);
        add(name);
      }
    }
    return { runs, triggers };
  }

  /** Whether a trigger can't fire when none of some runs takes place: an ANY may be met by others. */
  #needs({ predicate }: ConditionalTrigger, runs: ReadonlySet<string>): boolean {
    const needed = predicate.conditions.map(({ job }) => this.#runsOf(job).every((id) => runs.has(id)));
    return predicate.logical === "ANY" ? needed.every(Boolean) : needed.some(Boolean);
  }

  /** Names are unique in the whole machine, and have 80 characters at the most. */
  #name(wanted: string): string {
    const short = wanted.length <= 76 ? wanted : `${wanted.slice(0, 75)}…`;
    for (let count = 1; ; count++) {
      const name = count === 1 ? short : `${short} ${count}`;
      if (this.#names.has(name)) continue;
      this.#names.add(name);
      return name;
    }
  }
}

/** As the local scheduler has them; the rule and the pipe before it give the objects as `{"uri": ...}`, one or a list of them. */
function eventProperties(properties: Readonly<Record<string, string>>): string {
  const event =
    '{"event.uri": $uris[0], "event.folder": $replace($uris[0], /\\/[^\\/]*$/, ""), "event.uris": $string($uris)}';
  return `{% ($uris := [$states.input.uri]; $merge([${JSON.stringify(properties)}, ${event}])) %}`;
}

const NEVER = { Variable: "$$.Execution.Id", IsPresent: false };

function isState(id: string, state: WatchableState): object {
  return { Variable: `${RUNS}.${id}.state`, StringEquals: state };
}

function either(conditions: readonly object[]): object {
  const [only = NEVER] = conditions;
  return conditions.length <= 1 ? only : { Or: conditions };
}

function titleOf(unit: Unit): string {
  return unit.kind === "run" ? unit.run.action.job : unit.name;
}

function paths(ids: readonly string[], pathOf: (id: string) => string): Record<string, string> {
  return Object.fromEntries(ids.map((id) => [`${id}.$`, pathOf(id)]));
}

function without<T>(map: ReadonlyMap<string, T>, names: Iterable<string>): ReadonlyMap<string, T> {
  const left = new Set(names);
  return new Map([...map].filter(([name]) => !left.has(name)));
}
