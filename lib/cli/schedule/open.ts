import path from "node:path";
import type { Command } from "commander";
import { ExitCode, UserError } from "../../errors.js";
import { parseArguments } from "../../glue/args.js";
import { ConfigInvalid } from "../../glue/config/resolve.js";
import type { Definitions } from "../../glue/config/schedule-schema.js";
import type { Settings } from "../../glue/config/schema.js";
import type { Job } from "../../glue/define-job.js";
import { describeFailure } from "../../glue/failure.js";
import { type Control, createControl } from "../../glue/schedule/control.js";
import { placesIn } from "../../glue/schedule/places.js";
import { hasProperties } from "../../glue/schedule/run-properties.js";
import { namespaceOf } from "../../glue/schedule/scheduler.js";
import type { RunStarter } from "../../glue/schedule/starter.js";
import type { Logger } from "../../logger.js";
import { createObjectStore } from "../../storage/create-object-store.js";
import type { ObjectStore } from "../../storage/object-store.js";
import { fileUriOfPath, isFileUri, pathOfFileUri } from "../../storage/uri.js";
import { makeLocalDirectories, stateHome } from "../../targets/local/directories.js";
import { awsOptions } from "../aws-targets.js";
import { addConfigOptions, type ConfigFlags, loadConfig } from "../config-options.js";
import { isModulePath } from "../import-module.js";
import type { CliIo } from "../io.js";
import { loadJob } from "../load-job.js";
import { createCloudRuns } from "./cloud-runs.js";
import { createLocalRuns } from "./local-runs.js";

/** What the options of {@link addScheduleOptions} say. */
export interface ScheduleFlags extends ConfigFlags {
  readonly state?: string;
}

/** Adds the options of every command that works on triggers. */
export function addScheduleOptions(command: Command): Command {
  return addConfigOptions(command).option(
    "--state <uri>",
    "folder of the scheduler's state; default: the configuration's scheduler.state, else one on this machine",
  );
}

/** The configuration's triggers, and their state. */
export interface Schedule {
  readonly definitions: Definitions;
  readonly settings: Settings;
  readonly store: ObjectStore;
  /** Folder of the state, with a slash at its end. */
  readonly state: string;
  readonly control: Control;
  /** Where the configuration is: paths in it are taken from there. */
  readonly folder: string;
  /** Where runs on this machine keep their output. */
  readonly runs: string;
  /** `.glue-connect`. */
  readonly home: string;
  /** Options that name the configuration, for processes of runs. */
  readonly options: readonly string[];
}

/** Reads the configuration, and opens the state of its triggers. */
export async function openSchedule(flags: ScheduleFlags, io: CliIo): Promise<Schedule> {
  const { settings, definitions: read, file, environment } = await loadConfig(flags, io);
  const folder = path.resolve(file === undefined ? "." : path.dirname(file));
  const home = stateHome(io.env, folder);
  const definitions = withPaths(read, folder);
  const said = flags.state ?? read.scheduler.state ?? fileUriOfPath(path.join(home, "scheduler"));
  const state = absolute(said.endsWith("/") ? said : `${said}/`, flags.state === undefined ? folder : process.cwd());
  // With its .gitignore.
  if (flags.state === undefined && read.scheduler.state === undefined) makeLocalDirectories(home);
  const store = createObjectStore(awsOptions(settings));
  return {
    definitions,
    settings,
    store,
    state,
    control: createControl({ store, folder: state, definitions, now: () => new Date() }),
    folder,
    runs: path.join(home, "runs"),
    home,
    options: [
      ...(file === undefined ? [] : ["--config-file", path.resolve(file)]),
      ...(environment === undefined ? [] : ["--env", environment]),
      ...(flags.region === undefined ? [] : ["--region", flags.region]),
      ...(flags.set ?? []).flatMap((setting) => ["--set", setting]),
    ],
  };
}

/**
 * The same, for what is about to run jobs: each job is loaded, and the arguments of each action are held against it. What is wrong
 * with the configuration itself, and with its jobs, is said at once.
 *
 * @throws UserError `CONFIG_INVALID`, `TRIGGERS_INVALID` (exit 66).
 */
export async function openCheckedSchedule(flags: ScheduleFlags, io: CliIo): Promise<Schedule> {
  try {
    const schedule = await openSchedule(flags, io);
    await checkJobs(schedule);
    return schedule;
  } catch (error) {
    if (!(error instanceof ConfigInvalid) || error.file === undefined) throw error;
    const definitions = withPaths(error.readable, path.resolve(path.dirname(error.file.path)));
    const { code, message, hint, exitCode } = error;
    const problems = [...error.problems, ...(await jobProblems(definitions))];
    throw new UserError(code, message, { problems, ...(hint === undefined ? {} : { hint }), exitCode });
  }
}

/** Commands in other folders mean the same module. */
function withPaths(definitions: Definitions, folder: string): Definitions {
  const jobs = Object.entries(definitions.jobs).map(([name, job]): [string, typeof job] => [
    name,
    isModulePath(job.job) ? { ...job, job: path.resolve(folder, job.job) } : job,
  ]);
  return { ...definitions, jobs: Object.fromEntries(jobs) };
}

/** `file:state/` is taken from a folder. */
function absolute(uri: string, folder: string): string {
  if (!isFileUri(uri)) return uri;
  const place = uri.startsWith("file:/") ? pathOfFileUri(uri) : path.resolve(folder, uri.slice("file:".length));
  return fileUriOfPath(place).replace(/\/*$/, "/");
}

/** Starts each run where its job's configuration, or the settings, say. */
export function runStarter(schedule: Schedule, io: CliIo, log: Logger, signal: AbortSignal): RunStarter {
  const { settings, folder, home } = schedule;
  const local = createLocalRuns({
    command: [process.execPath, ...process.execArgv, process.argv[1] ?? ""],
    // Said only where it has to be: it goes over SPARK_REMOTE.
    options: [...schedule.options, ...(settings.target === "local" ? [] : ["--target", "local"])],
    folder: schedule.runs,
    state: () => namespaceOf(schedule.store, placesIn(schedule.state)),
    cwd: folder,
    env: { ...io.env, GLUE_CONNECT_HOME: home },
    log,
  });
  const maxConcurrentRuns = (job: string) => schedule.definitions.jobs[job]?.maxConcurrentRuns;
  const cloud = new Map<string, RunStarter>();
  const of = (target: "local" | "emr" | "glue" = settings.target ?? "local"): RunStarter => {
    if (target === "local") return local;
    const known =
      cloud.get(target) ??
      createCloudRuns({ settings: { ...settings, target }, env: io.env, log, signal, maxConcurrentRuns });
    cloud.set(target, known);
    return known;
  };
  return {
    place: (run) => of(run.target).place?.(run),
    prepare: async (run) => of(run.run.target).prepare?.(run),
    start: (run) => of(run.run.target).start(run),
    observe: (run) => of(run.run.target).observe(run),
    cancel: (run) => of(run.run.target).cancel(run),
    // Services see to what they keep themselves.
    forget: async (before, signal) => local.forget?.(before, signal),
  };
}

/**
 * Loads every job, and checks the arguments of each action against it.
 *
 * @throws UserError `TRIGGERS_INVALID` (exit 66) with everything that is wrong.
 */
export async function checkJobs({ definitions }: Pick<Schedule, "definitions">): Promise<void> {
  const problems = await jobProblems(definitions);
  if (problems.length === 0) return;
  throw new UserError("TRIGGERS_INVALID", "The triggers can't be used: their jobs could not run", {
    problems,
    hint: "Correct them in the configuration; `glue-connect run JOB --help` shows a job's arguments",
    exitCode: ExitCode.configuration,
  });
}

async function jobProblems(definitions: Definitions): Promise<readonly string[]> {
  const problems: string[] = [];
  for (const [name, { job: module, arguments: own }] of Object.entries(definitions.jobs)) {
    try {
      const job = await loadJob(module);
      for (const [trigger, { actions }] of Object.entries(definitions.triggers)) {
        for (const action of actions.filter((one) => one.job === name)) {
          const given = { ...own, ...action.arguments };
          const found = argumentProblems(job, given);
          problems.push(...found.map((problem) => `triggers.${trigger} starts jobs.${name}: ${problem}`));
        }
      }
    } catch (error) {
      const { message, hint } = describeFailure(error).error;
      problems.push(`jobs.${name}: ${message}${hint === undefined ? "" : `. ${hint}`}`);
    }
  }
  return [...new Set(problems)];
}

function argumentProblems(job: Job, given: Readonly<Record<string, string>>): readonly string[] {
  const argv = Object.entries(given).map(([name, value]) => `--${name}=${value}`);
  // What a run's properties will say isn't known yet, nor whether it goes with the rest.
  const later = Object.keys(given).filter((name) => hasProperties(given[name] ?? ""));
  try {
    parseArguments(job.args, ["--JOB_NAME=x", ...argv], later.length === 0 ? { check: job.check } : {});
    return [];
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return error.problems.filter((problem) => !later.some((name) => problem.startsWith(`--${name} `)));
  }
}
