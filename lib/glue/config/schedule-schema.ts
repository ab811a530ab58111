import * as z from "zod";
import { isRefusedArgument } from "../reserved-arguments.js";
import { cronProblems } from "../schedule/cron.js";

/** States of a job run that a condition can wait for. */
export const WATCHABLE_STATES = ["SUCCEEDED", "STOPPED", "FAILED", "TIMEOUT"] as const;
/** The kinds of triggers. */
export const TRIGGER_TYPES = ["SCHEDULED", "CONDITIONAL", "ON_DEMAND", "EVENT"] as const;

/** Of `predicate.logical`. */
export const LOGICAL_MISSING = "is missing: with several conditions, AND or ANY";

/** Glue's own default from version 5.0 on, in minutes. */
const DEFAULT_TIMEOUT = 480;
const LONGEST_TIMEOUT = 10_080;
const LONGEST_BATCH_WINDOW = 900;

const text = z.string({ error: "is no text" }).trim().min(1, "is empty");
const description = z.string().max(2_048, "is longer than 2048 characters").optional();
const wholeNumber = (least: number, most: number) =>
  z.int({ error: "is not a whole number" }).min(least, `is less than ${least}`).max(most, `is more than ${most}`);
const minutes = (most: number) => wholeNumber(1, most).optional();
/** Glue takes more than these; what makes schedules, state machines and objects of it doesn't. */
const name = z
  .string()
  .regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}$/, "is no name: use up to 255 letters, digits, _, - and .");

/** Set for every run by whoever starts it. */
const OWN_ARGUMENTS = ["JOB_NAME", "WORKFLOW_NAME", "WORKFLOW_RUN_ID"];

/** Arguments by name, with or without the two dashes in front; numbers and flags become texts. */
const jobArguments = z
  .record(z.string(), z.union([z.string(), z.number(), z.boolean()]))
  .superRefine((given, context) => {
    const seen = new Map<string, string>();
    for (const written of Object.keys(given)) {
      const plain = argumentName(written);
      const problem = (message: string) => context.addIssue({ code: "custom", path: [written], message });
      const before = seen.get(plain);
      seen.set(plain, written);
      if (!/^[A-Za-z][A-Za-z0-9_]*$/.test(plain)) problem("is no name of an argument");
      else if (before !== undefined) problem(`is the same argument as ${before}`);
      else if (OWN_ARGUMENTS.includes(plain)) problem("is set for each run by what starts it");
      else if (isRefusedArgument(plain)) problem("belongs to Glue itself");
    }
  })
  .transform(
    (given): Readonly<Record<string, string>> =>
      Object.fromEntries(Object.entries(given).map(([written, value]) => [argumentName(written), String(value)])),
  );

/** `--load-type` and `load_type` are one argument. */
function argumentName(written: string): string {
  return written.replace(/^--/, "").replaceAll("-", "_");
}

/** A job: which module, with what, and how its runs are treated. Its key in `jobs` is its `--JOB_NAME`. */
const job = z.strictObject({
  /** Name of a built-in job, or path of a module from the configuration's folder. */
  job: text,
  description,
  /** For every run; a trigger's action goes over them, name by name. */
  arguments: jobArguments.default({}),
  /** How often a run that failed is tried again. */
  maxRetries: wholeNumber(0, 10).default(0),
  /** Minutes after which a run is stopped and ends as TIMEOUT. */
  timeout: wholeNumber(1, LONGEST_TIMEOUT).default(DEFAULT_TIMEOUT),
  /** Runs at a time; one more is refused with `ConcurrentRunsExceededException`, or waits. */
  maxConcurrentRuns: wholeNumber(1, 1_000).default(1),
  /** A run that is one too many waits (WAITING) until it can start. */
  jobRunQueuingEnabled: z.boolean().default(false),
  /** Minutes after which a run that is still going is told of. */
  notifyDelayAfter: minutes(LONGEST_TIMEOUT),
  /** Where its runs take place; default: the configuration's `target`. */
  target: z.enum(["local", "emr", "glue"], { error: 'is none of "local", "emr", "glue"' }).optional(),
});

/** What a trigger starts. */
const action = z.strictObject({
  /** Key in `jobs`. */
  job: text,
  arguments: jobArguments.default({}),
  /** Minutes, instead of the job's. */
  timeout: minutes(LONGEST_TIMEOUT),
  /** Minutes, instead of the job's. */
  notifyDelayAfter: minutes(LONGEST_TIMEOUT),
});

const condition = z.strictObject({
  /** Key in `jobs`. */
  job: text,
  state: z.enum(WATCHABLE_STATES, { error: `is none of ${WATCHABLE_STATES.join(", ")}` }),
  /** Glue knows no other. */
  logicalOperator: z.literal("EQUALS", { error: "is not EQUALS" }).optional(),
});

const predicate = z
  .strictObject({
    /** Whether all conditions have to be met, or any; needed with more than one. */
    logical: z.enum(["AND", "ANY"], { error: "is neither AND nor ANY" }).optional(),
    conditions: z.array(condition).min(1, "is empty").max(500, "has more than 500"),
  })
  .superRefine(({ logical, conditions }, context) => {
    if (logical === undefined && conditions.length > 1) {
      context.addIssue({
        code: "custom",
        path: ["logical"],
        message: LOGICAL_MISSING,
      });
    }
  })
  .transform(({ logical = "AND", conditions }) => ({ logical, conditions }));

const eventBatching = z.strictObject({
  /** Events that fire the trigger together. */
  batchSize: wholeNumber(1, 100),
  /** Seconds after the first event, when it fires with fewer. */
  batchWindow: wholeNumber(1, LONGEST_BATCH_WINDOW).default(LONGEST_BATCH_WINDOW),
});

const event = z.strictObject({
  /** Objects whose URI begins with it, `s3://bucket/exports/`; on this machine also `file:exports/`. */
  prefix: z
    .string()
    .regex(/^(s3:\/\/[a-z0-9][a-z0-9.-]+(\/.*)?|file:.+)$/, 'is no prefix such as "s3://bucket/exports/"'),
  /** Only those whose URI ends with it: `/_SUCCESS`. */
  suffix: text.optional(),
});

const common = {
  description,
  /** Key in `workflows`. */
  workflow: text.optional(),
  actions: z.array(action).min(1, "is empty: a trigger starts at least one job"),
};
const startOnCreation = z.boolean().default(false);
const onlyFor = (type: string) => z.undefined({ error: `is only for ${type} triggers` }).optional();
const notScheduled = { schedule: onlyFor("SCHEDULED") };
const notConditional = { predicate: onlyFor("CONDITIONAL") };
const notByEvent = { event: onlyFor("EVENT"), eventBatching: onlyFor("EVENT") };

const scheduled = z.strictObject({
  type: z.literal("SCHEDULED"),
  ...common,
  ...notConditional,
  ...notByEvent,
  /** `cron(minutes hours day-of-month month day-of-week year)`, UTC. */
  schedule: z.string().superRefine((expression, context) => {
    for (const problem of cronProblems(expression)) {
      context.addIssue({ code: "custom", message: `${JSON.stringify(expression)} can't be used: ${problem}` });
    }
  }),
  /** Active from the first time that a scheduler sees it; else `trigger start` makes it so. */
  startOnCreation,
});

const conditional = z.strictObject({
  type: z.literal("CONDITIONAL"),
  ...common,
  ...notScheduled,
  ...notByEvent,
  predicate,
  startOnCreation,
});

const onDemand = z.strictObject({
  type: z.literal("ON_DEMAND"),
  ...common,
  ...notScheduled,
  ...notConditional,
  ...notByEvent,
  startOnCreation: z
    .literal(false, { error: "is not for ON_DEMAND triggers: they stay CREATED, and `trigger start` fires them" })
    .default(false),
});

const byEvent = z.strictObject({
  type: z.literal("EVENT"),
  ...common,
  ...notScheduled,
  ...notConditional,
  event,
  eventBatching: eventBatching.default({ batchSize: 1, batchWindow: LONGEST_BATCH_WINDOW }),
  startOnCreation,
});

const trigger = z.discriminatedUnion("type", [scheduled, conditional, onDemand, byEvent], {
  error: ({ code }) => (code === "invalid_union" ? `is none of ${TRIGGER_TYPES.join(", ")}` : undefined),
});

const workflow = z.strictObject({
  description,
  /** Texts that a run begins with; its jobs can read and change them. */
  defaultRunProperties: z.record(z.string().min(1), z.string()).default({}),
  /** Runs at a time; default: no limit. */
  maxConcurrentRuns: wholeNumber(1, 1_000).optional(),
});

/** How the local scheduler works; Glue has no such settings. */
const scheduler = z.strictObject({
  /** Folder on S3 or of this machine for its state; several schedulers on one folder share the work. */
  state: z
    .string()
    .regex(/^(s3:\/\/[^/]+(\/.*)?|file:.+)$/, 'is no folder; write "s3://bucket/folder/" or "file:folder/"')
    .transform((uri) => (uri.endsWith("/") ? uri : `${uri}/`))
    .optional(),
  /**
   * What happens with the firings that nobody was there for: only the latest is made up for, none, or all of them, the
   * earliest first.
   */
  missedFirings: z.enum(["latest", "skip", "all"], { error: 'is none of "latest", "skip", "all"' }).optional(),
  /** What is kept of firings and runs. */
  history: z
    .strictObject({
      /** Days after which firings, their runs, and the output of runs on this machine are deleted; default: 90. */
      keepDays: wholeNumber(1, 36_500),
    })
    .optional(),
});

/** Jobs, triggers and workflows, by name: what stands beside the settings in `glue-connect.config.ts`. */
export const scheduleShape = {
  jobs: z.record(name, job).optional(),
  triggers: z.record(name, trigger).optional(),
  workflows: z.record(name, workflow).optional(),
  scheduler: scheduler.optional(),
};

export type JobEntry = z.output<typeof job>;
export type TriggerEntry = z.output<typeof trigger>;
export type ScheduledTrigger = z.output<typeof scheduled>;
export type ConditionalTrigger = z.output<typeof conditional>;
export type OnDemandTrigger = z.output<typeof onDemand>;
export type EventTrigger = z.output<typeof byEvent>;
export type TriggerAction = z.output<typeof action>;
export type TriggerCondition = z.output<typeof condition>;
export type WorkflowEntry = z.output<typeof workflow>;
export type SchedulerSettings = z.output<typeof scheduler>;
export type WatchableState = (typeof WATCHABLE_STATES)[number];

/** The jobs, triggers and workflows of a configuration, checked and with their defaults. */
export interface Definitions {
  readonly jobs: Readonly<Record<string, JobEntry>>;
  readonly triggers: Readonly<Record<string, TriggerEntry>>;
  readonly workflows: Readonly<Record<string, WorkflowEntry>>;
  readonly scheduler: SchedulerSettings;
}
