import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { type Command, Option } from "commander";
import { ExitCode, UserError } from "../errors.js";
import type { Settings } from "../glue/config/schema.js";
import type { Logger } from "../logger.js";
import { createObjectStore } from "../storage/create-object-store.js";
import { makeFolder } from "../storage/make-folder.js";
import { findOnPath } from "../targets/local/java.js";
import { awsOptions } from "./aws-targets.js";
import { addConfigOptions, type ConfigFlags, loadConfig } from "./config-options.js";
import { interruptible } from "./interrupt.js";
import { type CliIo, write } from "./io.js";
import type { Finish } from "./job-command.js";
import { createProgress } from "./progress.js";

type Cdk = typeof import("../../infra/cdk/index.js");

interface Flags extends ConfigFlags {
  readonly out?: string;
  readonly to?: string;
  readonly parameter?: readonly string[];
  readonly yes?: true;
  readonly color: boolean;
}

/** What the commands have in common. */
interface Context {
  readonly flags: Flags;
  readonly io: CliIo;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/** `glue-connect infra synth | deploy | diff | upload`: the jobs, triggers and workflows of the configuration in an AWS account. */
export function registerInfraCommand(program: Command, io: CliIo, finish: Finish): void {
  const infra = program
    .command("infra")
    .description("Bring the jobs, triggers and workflows of the configuration into an AWS account");
  const add = (command: Command, work: (context: Context, args: readonly string[]) => Promise<ExitCode>): Command => {
    addConfigOptions(command).addOption(new Option("--no-color", "no colours"));
    return command.action(async () => {
      const flags = command.opts<Flags>();
      const progress = createProgress(io, { debug: false, color: flags.color });
      const interrupt = interruptible(() => progress.log.warn("interrupted"));
      try {
        finish(await work({ flags, io, log: progress.log, signal: interrupt.signal }, command.args));
      } finally {
        progress.end();
        interrupt.stop();
      }
    });
  };

  add(infra.command("synth"), synth)
    .description("Print a CloudFormation template; needs neither an account nor a network")
    .argument("[STACK]", "jobs, or data: the buckets and tables, which the jobs stand on", "jobs")
    .option("--out <folder>", "write both templates there, with all that the CDK's own command needs");
  add(infra.command("deploy"), deploy)
    .description(
      "Make buckets and tables, upload what the jobs run with, then bring up the jobs; npx cdk does the work",
    )
    .argument("[CDK...]", "after --: more options for cdk deploy")
    .addOption(parameterOption())
    .option("--yes", "don't ask before roles and policies change");
  add(infra.command("diff"), diff)
    .description("Show what deploy would change; npx cdk does the work")
    .argument("[CDK...]", "after --: more options for cdk diff");
  add(infra.command("upload"), upload)
    .description("Only upload what the jobs run with, for templates that something else deploys")
    .option("--to <uri>", "folder on S3; default: the configuration's artifacts");
}

function parameterOption(): Option {
  return new Option("--parameter <name=value>", "a parameter of the stack with the jobs").argParser(
    (value: string, before: readonly string[] | undefined) => [...(before ?? []), value],
  );
}

async function synth({ flags, io, log }: Context, [stack = "jobs"]: readonly string[]): Promise<ExitCode> {
  if (stack !== "jobs" && stack !== "data") {
    throw new UserError("USAGE", `There is no stack ${JSON.stringify(stack)}`, {
      hint: "Write jobs or data",
      exitCode: ExitCode.usage,
    });
  }
  const { cdk, infrastructure } = await load(flags, io, log);
  const out = flags.out === undefined ? undefined : path.resolve(flags.out);
  if (out !== undefined) await makeFolder(out);
  const templates = await cdk.synthesize(infrastructure, out);
  if (out === undefined) {
    const template = templates.get(`${infrastructure.infra.name}-${stack}`);
    await write(io.stdout, `${JSON.stringify(template, null, 2)}\n`);
    return ExitCode.ok;
  }
  for (const [name, template] of templates) {
    const file = path.join(out, `${name}.template.json`);
    await writeFile(file, `${JSON.stringify(template, null, 2)}\n`);
    await write(io.stdout, `${file}\n`);
  }
  return ExitCode.ok;
}

async function deploy(context: Context, args: readonly string[]): Promise<ExitCode> {
  const { flags, io, log, signal } = context;
  const command = cdkCommand(io);
  const { cdk, infrastructure, settings } = await load(flags, io, log);
  const { name } = infrastructure.infra;
  return withFolder(async (folder) => {
    await cdk.synthesize(infrastructure, path.join(folder, "assembly"));
    const outputs = path.join(folder, "outputs.json");
    const stack = (id: string, more: readonly string[]) =>
      runCdk(command, context, settings, [
        ...["deploy", `${name}-${id}`, "--exclusively", "--app", path.join(folder, "assembly")],
        ...(flags.yes ? ["--require-approval", "never"] : []),
        ...more,
        ...args,
      ]);

    log.info(`1 of 3: buckets and tables (${name}-data)`);
    const data = await stack("data", ["--outputs-file", outputs]);
    if (data !== ExitCode.ok) return data;
    const bucket = JSON.parse(await readFile(outputs, "utf8"))[`${name}-data`]?.ArtifactsBucket as string | undefined;
    const artifacts = settings.artifacts ?? (bucket === undefined ? undefined : `s3://${bucket}/`);
    if (artifacts === undefined) throw new Error(`Stack ${name}-data has no output ArtifactsBucket`);
    log.info(`2 of 3: what the jobs run with (${artifacts})`);
    await cdk.uploadArtifacts(
      infrastructure.artifacts,
      createObjectStore(awsOptions(settings)),
      artifacts,
      log,
      signal,
    );
    log.info(`3 of 3: jobs (${name}-jobs)`);
    const jobs = await stack(
      "jobs",
      (flags.parameter ?? []).flatMap((parameter) => ["--parameters", parameter]),
    );
    if (jobs === ExitCode.ok && settings.artifacts === undefined) {
      log.info(`for \`run\` and \`submit\`, say in glue-connect.config.ts: artifacts: ${JSON.stringify(artifacts)}`);
    }
    return jobs;
  });
}

async function diff(context: Context, args: readonly string[]): Promise<ExitCode> {
  const { flags, io, log } = context;
  const command = cdkCommand(io);
  const { cdk, infrastructure, settings } = await load(flags, io, log);
  return withFolder(async (folder) => {
    await cdk.synthesize(infrastructure, folder);
    return runCdk(command, context, settings, ["diff", "--all", "--app", folder, ...args]);
  });
}

async function upload({ flags, io, log, signal }: Context): Promise<ExitCode> {
  const { cdk, infrastructure, settings } = await load(flags, io, log);
  const folder = flags.to ?? settings.artifacts;
  if (folder === undefined || !/^s3a?:\/\/[^/]+/.test(folder)) {
    throw new UserError("USAGE", folder === undefined ? "No folder was named" : `${folder} is no folder on S3`, {
      hint: "Add --to s3://<output ArtifactsBucket of the data stack>/, or set artifacts in glue-connect.config.ts",
      exitCode: ExitCode.usage,
    });
  }
  const target = folder.endsWith("/") ? folder : `${folder}/`;
  await cdk.uploadArtifacts(infrastructure.artifacts, createObjectStore(awsOptions(settings)), target, log, signal);
  for (const { key } of infrastructure.artifacts) await write(io.stdout, `${target}${key}\n`);
  return ExitCode.ok;
}

async function load(flags: Flags, io: CliIo, log: Logger) {
  const { settings, infra, definitions, file } = await loadConfig(flags, io);
  const folder = file === undefined ? process.cwd() : path.dirname(path.resolve(file));
  const cdk = await importCdk();
  const infrastructure = await cdk.loadInfrastructure({ settings, infra, definitions, folder, env: io.env });
  for (const warning of infrastructure.warnings) log.warn(warning);
  return { cdk, infrastructure, settings };
}

/** The CDK's library is big and of use to few: it is the user's to install, and loaded when it is asked for. */
async function importCdk(): Promise<Cdk> {
  try {
    return await import("../../infra/cdk/index.js");
  } catch (error) {
    const { code, message } = error as { code?: string; message?: string };
    const missing = /'(aws-cdk-lib|constructs)['/]/.exec(message ?? "")?.[1];
    if (code !== "ERR_MODULE_NOT_FOUND" || missing === undefined) throw error;
    throw new UserError("CDK_MISSING", `The infrastructure is made with the AWS CDK, and ${missing} isn't installed`, {
      hint: "npm install --save-dev aws-cdk-lib constructs aws-cdk",
      exitCode: ExitCode.configuration,
      cause: error,
    });
  }
}

/** The CDK's command of the project, else that of the PATH; what `npx cdk` takes without fetching anything. */
function cdkCommand(io: CliIo): string {
  for (let folder = process.cwd(); ; folder = path.dirname(folder)) {
    const own = path.join(folder, "node_modules", ".bin", "cdk");
    if (existsSync(own)) return own;
    if (path.dirname(folder) === folder) break;
  }
  const command = findOnPath("cdk", io.env);
  if (command !== undefined) return command;
  throw new UserError("CDK_CLI_MISSING", "The CDK's command (cdk) is neither in this project nor on the PATH", {
    hint: "npm install --save-dev aws-cdk; `glue-connect infra synth` prints templates without it",
    exitCode: ExitCode.configuration,
  });
}

/** Runs the CDK's command, with this terminal for its questions. */
async function runCdk(
  command: string,
  { io, log, flags }: Context,
  { region, profile }: Settings,
  args: readonly string[],
): Promise<ExitCode> {
  const child = spawn(command, [...args, ...(flags.color ? [] : ["--no-color"])], {
    stdio: "inherit",
    env: {
      ...io.env,
      ...(region === undefined ? {} : { AWS_REGION: region, AWS_DEFAULT_REGION: region }),
      ...(profile === undefined ? {} : { AWS_PROFILE: profile }),
    },
  });
  const status = await new Promise<number | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
  if (status === 0) return ExitCode.ok;
  log.error(`cdk ${args[0]} ended with ${status ?? "a signal"}`);
  return status === null ? ExitCode.interrupted : ExitCode.failed;
}

async function withFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(path.join(tmpdir(), "glue-connect-infra-"));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
