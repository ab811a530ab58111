import type * as z from "zod";
import { nearest } from "../suggest.js";
import {
  type ConditionalTrigger,
  type Definitions,
  LOGICAL_MISSING,
  scheduleShape,
  TRIGGER_TYPES,
  type TriggerEntry,
} from "./schedule-schema.js";

/** One thing that is wrong, and the setting where it stands. */
export interface DefinitionProblem {
  readonly path: readonly string[];
  /** Goes after the setting's name: `is missing`. */
  readonly message: string;
}

type Triggers = ReadonlyMap<string, TriggerEntry>;
/** A trigger as it was written, right or wrong. */
type Written = Readonly<Record<string, unknown>>;

/**
 * What is wrong between jobs, triggers and workflows, each of which may be right by itself. Of entries that aren't right by
 * themselves, whose own problems are told by the schema, the names are looked at all the same.
 */
export function definitionProblems(content: Readonly<Record<string, unknown>>): DefinitionProblem[] {
  const triggers = validEntries(content.triggers, scheduleShape.triggers.unwrap().valueType);
  const jobs = Object.keys(record(content.jobs));
  const workflows = Object.keys(record(content.workflows));
  const problems: DefinitionProblem[] = [];
  const written = Object.entries(record(content.triggers)).map(([name, trigger]) => [name, record(trigger)] as const);
  for (const [name, trigger] of written) {
    problems.push(...unknownNames(name, trigger, jobs, workflows), ...missingLogical(name, trigger));
  }
  problems.push(...startProblems(written, workflows));
  // What can't be read may be the trigger that starts a chain.
  if (triggers.size < written.length) return problems;
  for (const workflow of [undefined, ...workflows]) {
    const scope: Triggers = new Map([...triggers].filter(([, trigger]) => trigger.workflow === workflow));
    const place = workflow === undefined ? "outside of workflows" : `of workflow ${workflow}`;
    problems.push(...chainProblems(scope, place));
  }
  return problems;
}

/** Jobs and triggers that are right by themselves, whatever else is not. */
export function validDefinitions(content: Written): Pick<Definitions, "jobs" | "triggers"> & Partial<Definitions> {
  return {
    jobs: Object.fromEntries(validEntries(content.jobs, scheduleShape.jobs.unwrap().valueType)),
    triggers: Object.fromEntries(validEntries(content.triggers, scheduleShape.triggers.unwrap().valueType)),
  };
}

/** Whether a chain, or a workflow's run, may begin with it. */
export function isStartTrigger({ type }: TriggerEntry): boolean {
  return type !== "CONDITIONAL";
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}

/** The records of a list, with their places in it. */
function list(value: unknown): (readonly [index: string, Written])[] {
  return Array.isArray(value) ? value.map((item: unknown, index) => [String(index), record(item)] as const) : [];
}

function validEntries<S extends z.ZodType>(value: unknown, schema: S): Map<string, z.output<S>> {
  const entries = new Map<string, z.output<S>>();
  for (const [name, entry] of Object.entries(record(value))) {
    const read = schema.safeParse(entry);
    if (read.success) entries.set(name, read.data);
  }
  return entries;
}

function unknownNames(
  name: string,
  trigger: Written,
  jobs: readonly string[],
  workflows: readonly string[],
): DefinitionProblem[] {
  const problems: DefinitionProblem[] = [];
  const check = (path: readonly string[], kind: string, wanted: unknown, known: readonly string[]) => {
    // What is no name is told by the schema.
    if (typeof wanted !== "string" || wanted.trim() === "" || known.includes(wanted.trim())) return;
    const meant = nearest(wanted, known);
    const more = meant === undefined ? "" : `; did you mean ${meant}?`;
    problems.push({
      path: ["triggers", name, ...path],
      message: `is ${JSON.stringify(wanted)}, and \`${kind}\` has none of that name${more}`,
    });
  };
  for (const [index, action] of list(trigger.actions)) check(["actions", index, "job"], "jobs", action.job, jobs);
  for (const [index, condition] of list(record(trigger.predicate).conditions)) {
    check(["predicate", "conditions", index, "job"], "jobs", condition.job, jobs);
  }
  if (trigger.workflow !== undefined) check(["workflow"], "workflows", trigger.workflow, workflows);
  else if (trigger.type === "EVENT") {
    problems.push({
      path: ["triggers", name, "workflow"],
      message: "is missing: an EVENT trigger starts a workflow, and can't start jobs outside of one",
    });
  }
  return problems;
}

/** The schema looks at this only when the conditions are right; its words are the same. */
function missingLogical(name: string, { predicate }: Written): DefinitionProblem[] {
  const { logical, conditions } = record(predicate);
  if (logical !== undefined || list(conditions).length < 2) return [];
  return [{ path: ["triggers", name, "predicate", "logical"], message: LOGICAL_MISSING }];
}

/** A workflow has one trigger that begins its runs. */
function startProblems(
  triggers: readonly (readonly [string, Written])[],
  workflows: readonly string[],
): DefinitionProblem[] {
  return workflows.flatMap((workflow) => {
    const own = triggers.filter(([, trigger]) => trigger.workflow === workflow);
    // Of what type a trigger was meant to be isn't known here.
    if (own.some(([, { type }]) => !TRIGGER_TYPES.some((known) => known === type))) return [];
    const starts = own.filter(([, { type }]) => type !== "CONDITIONAL");
    if (starts.length === 1) return [];
    const message =
      starts.length === 0
        ? `has no trigger that starts it: one SCHEDULED, ON_DEMAND or EVENT trigger needs \`workflow: ${JSON.stringify(workflow)}\``
        : `has ${starts.length} triggers that start it (${starts.map(([name]) => name).join(", ")}), and only one is possible`;
    return [{ path: ["workflows", workflow], message }];
  });
}

/** Circles, and triggers that nothing leads to, among those of one workflow or of none. */
function chainProblems(scope: Triggers, place: string): DefinitionProblem[] {
  const conditional = [...scope].flatMap(([name, trigger]) =>
    trigger.type === "CONDITIONAL" ? [[name, trigger] as const] : [],
  );
  const circles = findCircles(new Map(conditional));
  const problems: DefinitionProblem[] = circles.map((circle) => ({
    path: ["triggers", circle[0] ?? "", "predicate"],
    message: `makes a circle: ${[...circle, circle[0]].join(" → ")}`,
  }));
  const started = new Set([...scope.values()].flatMap(({ actions }) => actions.map(({ job }) => job)));
  const chains = [...scope].filter(([, trigger]) => isStartTrigger(trigger)).map(([name]) => reachOf(scope, name));
  for (const [name, trigger] of conditional) {
    if (circles.some((circle) => circle.includes(name)) || chains.some(({ triggers }) => triggers.has(name))) continue;
    const { logical, conditions } = trigger.predicate;
    const jobs = [...new Set(conditions.map(({ job }) => job))];
    const orphans = jobs.filter((job) => !started.has(job));
    const path = ["triggers", name, "predicate"];
    if (logical === "AND" ? orphans.length > 0 : orphans.length === jobs.length) {
      const which = orphans.join(", ");
      const message = `waits for ${which}, and no trigger ${place} starts ${orphans.length === 1 ? "it" : "them"}: only runs that a trigger started count`;
      problems.push({ path, message });
    } else if (jobs.every((job) => chains.some((chain) => chain.jobs.has(job)))) {
      const message = `waits for all of ${jobs.join(", ")}, and no single SCHEDULED, ON_DEMAND or EVENT trigger leads to all of them`;
      problems.push({ path, message });
    }
    // Else it hangs on a trigger that is told of itself.
  }
  return problems;
}

/** The jobs and triggers that may follow when a trigger fires. */
export function reachOf(
  scope: Triggers,
  start: string,
): { readonly jobs: Set<string>; readonly triggers: Set<string> } {
  const jobs = new Set<string>();
  const triggers = new Set<string>();
  const add = (name: string) => {
    triggers.add(name);
    for (const { job } of scope.get(name)?.actions ?? []) jobs.add(job);
  };
  add(start);
  for (let before = -1; before !== triggers.size; ) {
    before = triggers.size;
    for (const [name, trigger] of scope) {
      if (trigger.type !== "CONDITIONAL" || triggers.has(name)) continue;
      const { logical, conditions } = trigger.predicate;
      const met = ({ job }: { readonly job: string }) => jobs.has(job);
      if (logical === "AND" ? conditions.every(met) : conditions.some(met)) add(name);
    }
  }
  return { jobs, triggers };
}

/** Each circle once, beginning with the trigger of it that comes first in the configuration. */
function findCircles(triggers: ReadonlyMap<string, ConditionalTrigger>): string[][] {
  const followers = (name: string) => {
    const jobs = new Set(triggers.get(name)?.actions.map(({ job }) => job));
    return [...triggers].filter(([, { predicate }]) => predicate.conditions.some(({ job }) => jobs.has(job)));
  };
  const done = new Set<string>();
  const circles: string[][] = [];
  const visit = (name: string, path: readonly string[]) => {
    const index = path.indexOf(name);
    if (index >= 0) circles.push(path.slice(index));
    if (index >= 0 || done.has(name)) return;
    for (const [follower] of followers(name)) visit(follower, [...path, name]);
    done.add(name);
  };
  for (const name of triggers.keys()) visit(name, []);
  return circles;
}
