import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { type Command, Option } from "commander";
import { ExitCode } from "../errors.js";
import { parseArguments } from "../glue/args.js";
import type { FlagSetting } from "../glue/config/resolve.js";
import type { Settings } from "../glue/config/schema.js";
import type { Job } from "../glue/define-job.js";
import type { Logger } from "../logger.js";
import { createObjectStore } from "../storage/create-object-store.js";
import type { ObjectStore } from "../storage/object-store.js";
import { packageRoot } from "../targets/local/package-root.js";
import { uploadArtifact } from "../targets/runs/artifacts.js";
import { nodeArchive } from "../targets/runs/node-archive.js";
import type { RunRequest, RunService } from "../targets/runs/service.js";
import { awsOptions } from "./aws-targets.js";
import { bundleJob } from "./bundle-job.js";
import { CONNECT_JARS, neededJars, uploadJars } from "./cluster-jars.js";
import { addConfigOptions, type ConfigFlags, loadConfig } from "./config-options.js";
import { interruptible } from "./interrupt.js";
import { type CliIo, write } from "./io.js";
import { type Finish, optionNames, refuseTakenNames } from "./job-command.js";
import { loadJob } from "./load-job.js";
import { createProgress } from "./progress.js";
import { follow, reportUri, runService } from "./run-tracking.js";

interface Flags extends ConfigFlags {
  readonly target?: "emr" | "glue";
  readonly name?: string;
  readonly wait?: true;
  readonly follow?: true;
  readonly json?: true;
  readonly color: boolean;
}

/** `glue-connect submit JOB`: the job runs in the cluster, driver and all, and nobody needs to stay. */
export function registerSubmitCommand(program: Command, io: CliIo, finish: Finish): void {
  const command = addConfigOptions(program.command("submit"))
    .description("Start a job run on AWS, with the driver there; prints the run's id")
    .usage("JOB --JOB_NAME <name> [arguments of the job] [options]")
    .argument("<JOB>", "name of a built-in job, or path of a module")
    .addOption(new Option("--target <service>", "default: the configuration's target").choices(["emr", "glue"]))
    .option("--wait", "wait until the run is over; the exit code is the run's, and Ctrl-C cancels it")
    .option("--follow", "wait, and show the job's log as it grows")
    .option("--json", "with --wait: print the job's report as JSON at the end")
    .option("--no-color", "no colours; NO_COLOR does the same")
    .allowUnknownOption()
    .allowExcessArguments();
  command.action(async (name: string, flags: Flags) => {
    const progress = createProgress(io, { debug: false, color: flags.color });
    const interrupt = interruptible(() => progress.log.warn("interrupted"));
    try {
      const job = await loadJob(name);
      refuseTakenNames(job, command);
      finish(
        await submit({
          name,
          job,
          argv: command.args.slice(1),
          options: optionNames(command),
          flags,
          io,
          log: progress.log,
          signal: interrupt.signal,
        }),
      );
    } finally {
      progress.end();
      interrupt.stop();
    }
  });
}

interface Submission {
  /** Name of a built-in job, or path of a module. */
  readonly name: string;
  readonly job: Job;
  readonly argv: readonly string[];
  readonly options: readonly string[];
  readonly flags: Flags;
  readonly io: CliIo;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

async function submit({ name, job, argv, options, flags, io, log, signal }: Submission): Promise<ExitCode> {
  const said: FlagSetting[] =
    flags.target === undefined ? [] : [{ path: ["target"], value: flags.target, flag: "--target" }];
  const { settings } = await loadConfig(flags, io, said);
  const token = randomBytes(16).toString("hex");
  const { service, request, store } = await prepareRun({
    name,
    job,
    argv,
    options,
    settings,
    token,
    env: io.env,
    log,
    signal,
  });
  signal.throwIfAborted();
  const id = await service.start(await service.prepare(request));
  // First of all, and alone on its line: scripts read it.
  await write(io.stdout, `${id}\n`);
  log.info(`${service.title} job run ${id} was started; \`glue-connect status ${id}\` tells how it goes`);
  if (flags.wait !== true && flags.follow !== true) return ExitCode.ok;
  const exitCode = await follow({ service, id, log, signal, io, settings, showLog: flags.follow === true });
  if (flags.json) {
    const report = await store.get(request.report);
    if (report !== undefined) await write(io.stdout, Buffer.from(report.body).toString("utf8"));
  }
  return exitCode;
}

/** What a run of a job in the cluster is prepared from. */
export interface RunPreparation {
  /** Name of a built-in job, or path of a module. */
  readonly name: string;
  readonly job: Job;
  readonly argv: readonly string[];
  /** Options of the command line, for suggestions. */
  readonly options?: readonly string[];
  readonly settings: Settings;
  readonly token: string;
  readonly env: CliIo["env"];
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/** Uploads what a run needs, each under the hash of its content. */
export async function prepareRun({
  name,
  job,
  argv,
  options,
  settings,
  token,
  env,
  log,
  signal,
}: RunPreparation): Promise<{
  readonly service: RunService;
  readonly request: RunRequest;
  readonly store: ObjectStore;
}> {
  // Found out here, not ten minutes later in a log.
  const { jobName } = parseArguments(job.args, argv, { options, check: job.check });
  const packages = job.needs ?? [];
  const service = await runService(settings, packages, jobName, "job run");
  const { artifacts = "" } = settings;
  await service.check();
  const store = createObjectStore(awsOptions(settings));
  const bundle = await bundleJob(name);
  const upload = (file: string, content: Uint8Array) => uploadArtifact(store, artifacts, file, content, log);
  const launcher = await readFile(path.join(packageRoot(), "infra", "emr", "launcher.py"));
  const archive = await nodeArchive(settings.emr?.architecture ?? "x86_64", log, env);
  const place = settings.target === "glue" ? "glue" : "emr";
  const wanted = [...CONNECT_JARS, ...neededJars(packages, place, settings[place]?.jars)];
  const jars = await uploadJars(wanted, store, artifacts, log, signal);
  const request = {
    token,
    name: jobName,
    launcher: await upload("launcher.py", launcher),
    bundle: await upload(`${job.name}.mjs`, bundle),
    node: await upload(path.basename(archive), await readFile(archive)),
    jars,
    report: reportUri(artifacts, token),
    argv,
  };
  return { service, request, store };
}
