import path from "node:path";
import type { CloudPlace } from "../../lib/cli/aws-targets.js";
import { isModulePath } from "../../lib/cli/import-module.js";
import { loadJob } from "../../lib/cli/load-job.js";
import { ExitCode, UserError } from "../../lib/errors.js";
import { parseArguments } from "../../lib/glue/args.js";
import { type InfraSettings, type JobAccess, NO_ACCESS } from "../../lib/glue/config/infra-schema.js";
import type { Definitions, JobEntry } from "../../lib/glue/config/schedule-schema.js";
import type { Settings } from "../../lib/glue/config/schema.js";
import type { Job } from "../../lib/glue/define-job.js";
import { EVENT_PROPERTIES, hasProperties, propertiesIn } from "../../lib/glue/schedule/run-properties.js";
import { nearest } from "../../lib/glue/suggest.js";
import type { Environment } from "../../lib/targets/local/directories.js";
import { type Artifact, type Bundles, type JobArtifacts, jobArtifacts } from "./artifacts.js";
import { type Chain, chainsOf } from "./chains.js";

/** A job of the configuration as the stacks need it. */
export interface InfraJob {
  /** Key in `jobs`, and its `--JOB_NAME`. */
  readonly name: string;
  readonly entry: JobEntry;
  readonly job: Job;
  readonly place: CloudPlace;
  readonly artifacts: JobArtifacts;
  /** The arguments of each way in which it is started: its own, and with those of each action. */
  readonly calls: readonly Readonly<Record<string, string>>[];
  /** What the configuration gives its role, beside what the arguments say. */
  readonly access: JobAccess;
}

/** What the stacks are made from: a configuration that was checked, with its jobs loaded. */
export interface Infrastructure {
  readonly settings: Settings;
  readonly infra: InfraSettings;
  readonly definitions: Definitions;
  readonly jobs: ReadonlyMap<string, InfraJob>;
  readonly chains: readonly Chain[];
  /** Each once. */
  readonly artifacts: readonly Artifact[];
  /** What works on AWS otherwise than the configuration sounds. */
  readonly warnings: readonly string[];
}

/** What {@link loadInfrastructure} needs of a configuration. */
export interface InfrastructureOptions {
  readonly settings: Settings;
  readonly infra: InfraSettings;
  readonly definitions: Definitions;
  /** Folder that the paths of the jobs' modules begin at. */
  readonly folder: string;
  readonly env: Environment;
  /** Bundles that were made before, by their modules, for several configurations of the same jobs; others are added. */
  readonly bundles?: Bundles;
}

/**
 * Loads the jobs of a configuration, bundles them, and checks the arguments of every action. Needs neither an account nor a network.
 *
 * @throws UserError `INFRA_INVALID` (exit 66) with everything that can't be brought to AWS, and what `loadJob` and `bundleJob` throw.
 */
export async function loadInfrastructure(options: InfrastructureOptions): Promise<Infrastructure> {
  const { settings, infra, definitions } = options;
  const problems: string[] = [];
  const chains = chainsOf(definitions);
  const jobs = new Map<string, InfraJob>();
  const bundles = options.bundles ?? new Map();
  for (const [name, entry] of Object.entries(definitions.jobs)) {
    const module = isModulePath(entry.job) ? path.resolve(options.folder, entry.job) : entry.job;
    const place = placeOf(entry, settings);
    if (place === undefined) {
      const starters = Object.entries(definitions.triggers).filter(([, { actions }]) =>
        actions.some((action) => action.job === name),
      );
      for (const [trigger] of starters) {
        problems.push(`triggers.${trigger} starts ${name}, whose target is local: AWS can't start it`);
      }
      continue;
    }
    const job = await loadJob(module);
    const calls = [entry.arguments];
    for (const [trigger, { actions }] of Object.entries(definitions.triggers)) {
      for (const action of actions) {
        if (action.job !== name) continue;
        const call = { ...entry.arguments, ...action.arguments };
        calls.push(call);
        problems.push(
          ...argumentProblems(job, name, call).map((problem) => `triggers.${trigger} with ${name}: ${problem}`),
        );
      }
    }
    const artifacts = await jobArtifacts(module, job, place, settings, options.env, bundles);
    jobs.set(name, { name, entry, job, place, artifacts, calls, access: infra.access[name] ?? NO_ACCESS });
  }
  const unknown = new Set(chains.flatMap((chain) => propertyProblems(chain, definitions)));
  problems.push(...unknown);
  for (const name of Object.keys(infra.access)) {
    if (definitions.jobs[name] === undefined) problems.push(`infra.access.${name}: there is no such job in \`jobs\``);
  }
  if (problems.length > 0) {
    throw new UserError("INFRA_INVALID", "The configuration can't be brought to AWS", {
      problems,
      hint: `Correct glue-connect.config.ts${unknown.size === 0 ? "" : "; a property that the input of an execution gives has its default in the workflow's defaultRunProperties"}`,
      exitCode: ExitCode.configuration,
    });
  }
  const artifacts = new Map<string, Artifact>();
  for (const { artifacts: own } of jobs.values()) {
    for (const artifact of [own.launcher, own.bundle, own.node, ...own.jars]) artifacts.set(artifact.key, artifact);
  }
  return {
    settings,
    infra,
    definitions,
    jobs,
    chains,
    artifacts: [...artifacts.values()],
    warnings: [...warningsOf(definitions, jobs), ...queueWarnings(jobs, settings, infra)],
  };
}

/** How a chain is brought to AWS. */
export type ChainKind = "glue" | "schedule" | "state machine";

/**
 * Glue's own triggers where all of its jobs are Glue's; a schedule that starts job runs where nothing follows them; else a state
 * machine.
 */
export function kindOf(chain: Chain, jobs: ReadonlyMap<string, InfraJob>): ChainKind {
  const places = new Set(chain.runs.map(({ action }) => jobs.get(action.job)?.place));
  const dynamic = chain.runs.some(({ action }) =>
    Object.values({ ...jobs.get(action.job)?.entry.arguments, ...action.arguments }).some(hasProperties),
  );
  if (!dynamic && places.size === 1 && places.has("glue")) return "glue";
  const alone = chain.followers.size === 0 && chain.workflow === undefined;
  if (!dynamic && chain.start.type === "SCHEDULED" && alone && !places.has("glue")) return "schedule";
  return "state machine";
}

/** `--JOB_NAME` and the rest, as a run gets them. */
export function commandLine(name: string, call: Readonly<Record<string, string>>): string[] {
  return ["--JOB_NAME", name, ...Object.entries(call).flatMap(([argument, value]) => [`--${argument}`, value])];
}

/** Where nothing says otherwise it is EMR Serverless: a configuration's usual target is this machine. */
function placeOf({ target }: JobEntry, settings: Settings): CloudPlace | undefined {
  if (target !== undefined) return target === "local" ? undefined : target;
  return settings.target === "glue" ? "glue" : "emr";
}

function argumentProblems(job: Job, name: string, call: Readonly<Record<string, string>>): readonly string[] {
  // What a property will be is known when the run starts.
  const checked = Object.entries(call).filter(([, value]) => !hasProperties(value));
  const open = new Set(Object.keys(call).filter((argument) => hasProperties(call[argument] ?? "")));
  try {
    // Nor is it known whether it goes with the rest.
    const rules = open.size === 0 ? { check: job.check } : {};
    parseArguments(job.args, commandLine(name, Object.fromEntries(checked)), rules);
    return [];
  } catch (error) {
    if (!(error instanceof UserError) || error.code !== "ARGUMENTS_INVALID") throw error;
    return error.problems.filter(
      (problem) => ![...open].some((argument) => problem.startsWith(`--${argument} is missing`)),
    );
  }
}

/**
 * Properties that no run of a chain has. An execution has what its workflow begins with, and what the event says; its input goes
 * over the former. One that has neither would fail where the argument is put together.
 */
function propertyProblems({ name: start, start: trigger, workflow, properties, runs }: Chain, { jobs }: Definitions) {
  const known = [...Object.keys(properties), ...(trigger.type === "EVENT" ? EVENT_PROPERTIES : [])];
  const problems: string[] = [];
  for (const { trigger: name, action } of runs) {
    for (const [argument, value] of Object.entries({ ...jobs[action.job]?.arguments, ...action.arguments })) {
      for (const property of propertiesIn(value)) {
        if (known.includes(property)) continue;
        const meant = nearest(property, known);
        const whose =
          workflow === undefined
            ? `triggers.${start} is in no workflow, so that its runs have no properties`
            : `runs of workflow ${workflow} have ${known.length === 0 ? "no properties" : known.join(", ")}`;
        problems.push(
          `triggers.${name} with ${action.job}: --${argument} asks for {{run.${property}}}, and ${whose}${meant === undefined ? "" : `; did you mean {{run.${meant}}}?`}`,
        );
      }
    }
  }
  return problems;
}

function warningsOf({ triggers, workflows }: Definitions, jobs: ReadonlyMap<string, InfraJob>): string[] {
  const warnings: string[] = [];
  for (const [name, trigger] of Object.entries(triggers)) {
    if ((trigger.type === "SCHEDULED" || trigger.type === "EVENT") && !trigger.startOnCreation) {
      warnings.push(`triggers.${name} is made, and stays switched off: startOnCreation isn't true`);
    }
    if (trigger.type === "EVENT" && trigger.eventBatching.batchSize > 1 && trigger.eventBatching.batchWindow > 300) {
      warnings.push(
        `triggers.${name} waits 300 seconds for a full batch, not ${trigger.eventBatching.batchWindow}: queues can't wait longer`,
      );
    }
    if (trigger.type === "EVENT" && !trigger.event.prefix.startsWith("s3://")) {
      warnings.push(`triggers.${name} watches ${trigger.event.prefix}, which is no folder on S3: left out`);
    }
  }
  for (const [name, { maxConcurrentRuns }] of Object.entries(workflows)) {
    if (maxConcurrentRuns !== undefined)
      warnings.push(`workflows.${name}.maxConcurrentRuns holds for workflows of Glue's own only`);
  }
  for (const { name, entry, place } of jobs.values()) {
    if (place === "emr" && entry.notifyDelayAfter !== undefined) {
      warnings.push(`jobs.${name}.notifyDelayAfter holds for Glue jobs only`);
    }
    if (place === "emr" && entry.maxRetries > 9)
      warnings.push(`jobs.${name} is tried 10 times at the most on EMR Serverless`);
  }
  return warnings;
}

/** What becomes of runs that are one too many, where the configuration says nothing of it or something else. */
export function queueWarnings(
  jobs: ReadonlyMap<string, Pick<InfraJob, "name" | "entry" | "place">>,
  { emr = {} }: Settings,
  { capacity }: InfraSettings,
): string[] {
  const onEmr = [...jobs.values()].filter(({ place }) => place === "emr");
  const queued = onEmr.filter(({ entry }) => entry.jobRunQueuingEnabled);
  const warnings = queued.map(
    ({ name }) =>
      `jobs.${name}.jobRunQueuingEnabled: on EMR Serverless runs wait for the application (15 at a time), not for maxConcurrentRuns, which the job's own lease holds: a run beside another of the same job is refused`,
  );
  // Without a limit one run takes what it can get.
  const executors = emr.maxExecutors ?? Number.POSITIVE_INFINITY;
  const most = (emr.driver?.cores ?? 0) + (emr.executor?.cores ?? 0) * executors;
  const wanted = onEmr.reduce((sum, { entry }) => sum + most * entry.maxConcurrentRuns, 0);
  if (queued.length === 0 && onEmr.length > 1 && wanted > capacity.cores) {
    const each = Number.isFinite(most) ? `up to ${most} vCPU` : "as many vCPU as there are";
    warnings.push(
      `the application has no queue: ${onEmr.length} jobs may ask for ${each} each, infra.capacity has ${capacity.cores}, and what finds none left may fail instead of waiting. Set jobRunQueuingEnabled on the jobs, emr.maxExecutors lower, or infra.capacity.cores higher`,
    );
  }
  return warnings;
}
