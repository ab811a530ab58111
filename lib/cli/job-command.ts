import { type Command, Option } from "commander";
import { ExitCode, UserError } from "../errors.js";
import type { CatalogKind } from "../glue/catalog/catalog.js";
import type { FlagSetting } from "../glue/config/resolve.js";
import type { RunMode } from "../glue/context.js";
import type { Job } from "../glue/define-job.js";
import { type RunResult, runJob } from "../glue/run-job.js";
import { sparkVersionOption } from "../targets/local/command.js";
import type { SparkVersion } from "../targets/local/spark-version.js";
import { ask, canAsk } from "./ask.js";
import { awsOptions, type Place, placeOf } from "./aws-targets.js";
import { cloudSpark } from "./cloud-spark.js";
import { addConfigOptions, type ConfigFlags, loadConfig } from "./config-options.js";
import { interruptible } from "./interrupt.js";
import { type CliIo, isScreen, widthOf, write } from "./io.js";
import { jobHelp } from "./job-help.js";
import { loadJob } from "./load-job.js";
import { localServers } from "./local-servers.js";
import { createProgress } from "./progress.js";
import { checkReportFile, writeReport } from "./report-file.js";
import { reportText } from "./report-text.js";
import { claimRun } from "./run-claim.js";
import { printable, styleFor } from "./style.js";
import { writeError } from "./write-error.js";

/** Told the exit code of what a command did. */
export type Finish = (exitCode: ExitCode) => void;

interface Flags extends ConfigFlags {
  readonly target?: Place;
  readonly session?: string;
  readonly remote?: string;
  readonly spark?: SparkVersion;
  readonly postgresUrl?: string;
  readonly catalog?: CatalogKind;
  readonly reportFile?: string;
  readonly json?: true;
  readonly debug?: true;
  readonly color: boolean;
  readonly help?: true;
}

/** Adds what `run` and `plan` have in common: they take the same way, and `plan` leaves it before the first write. */
export function addJobCommand(
  program: Command,
  mode: RunMode,
  texts: { readonly description: string; readonly examples: readonly string[] },
  io: CliIo,
  finish: Finish,
): void {
  const command = addConfigOptions(program.command(mode))
    .description(texts.description)
    .usage("JOB --JOB_NAME <name> [arguments of the job] [options]")
    .argument("[JOB]", "name of a built-in job, or path of a module (.ts, .js, .mjs) whose default export is a job")
    .addOption(
      new Option(
        "--target <place>",
        "where Spark is: on this machine, in an EMR Serverless or a Glue session; default: the configuration's",
      ).choices(["local", "emr", "glue"]),
    )
    .option("--session <id>", "with --target emr or glue: use this session, and leave it up")
    .option("--remote <sc://...>", "Spark Connect server; default: SPARK_REMOTE, else one on this machine")
    .addOption(sparkVersionOption("version of the Spark on this machine, also where SPARK_REMOTE names another"))
    .option(
      "--postgres-url <url>",
      "PostgreSQL database to use instead of the configured one; default: GLUE_CONNECT_POSTGRES_URL",
    )
    .addOption(
      new Option(
        "--catalog <glue|spark>",
        "where the tables of a database are listed; default: AWS Glue, with a Spark of this machine that Spark's own",
      ).choices(["glue", "spark"]),
    )
    .option("--report-file <path>", "also write the report there, as JSON")
    .option("--json", "print the report as JSON")
    .option("--debug", "log more, and show the stack trace of an unexpected error")
    .option("--no-color", "no colours; NO_COLOR does the same")
    .helpOption(false)
    .option("-h, --help", "with a job: its arguments; without: this text")
    // What isn't an option of ours is an argument of the job.
    .allowUnknownOption()
    .allowExcessArguments()
    .addHelpText("after", `\nExamples:\n${texts.examples.map((example) => `  ${example}`).join("\n")}`);

  command.action(async (name: string | undefined, flags: Flags) => {
    const argv = command.args.slice(1);
    if (name === undefined || name.startsWith("-")) {
      if (flags.help && name === undefined) {
        command.outputHelp();
        return;
      }
      throw new UserError("JOB_MISSING", "No job was named", {
        hint: `Write \`glue-connect ${mode} JOB ...\`; \`glue-connect jobs\` lists the built-in ones`,
        exitCode: ExitCode.usage,
      });
    }
    if (flags.remote !== undefined && flags.spark !== undefined) {
      throw new UserError("USAGE", "--spark names a Spark of this machine, and --remote one that runs already", {
        hint: "Leave one of them out",
        exitCode: ExitCode.usage,
      });
    }
    if (flags.target !== undefined && (flags.remote ?? flags.spark) !== undefined && flags.target !== "local") {
      throw new UserError("USAGE", `--target ${flags.target} names a Spark, and --remote or --spark another one`, {
        hint: "Leave one of them out",
        exitCode: ExitCode.usage,
      });
    }
    const job = await loadJob(name);
    refuseTakenNames(job, command);
    if (flags.help) {
      await write(io.stdout, jobHelp(job, name, command, Math.min(widthOf(io.stdout), 120)));
      return;
    }
    finish(await execute(job, argv, mode, flags, io, optionNames(command)));
  });
}

/** The long names of a command's options, without their dashes in front. */
export function optionNames(command: Command): string[] {
  return command.options.flatMap(({ long }) => (long === undefined || long === null ? [] : [long.replace(/^--/, "")]));
}

/** An argument that the CLI reads itself would never reach the job. */
export function refuseTakenNames(job: Job, command: Command): void {
  const taken = new Set(optionNames(command).map((option) => option.replaceAll("-", "_")));
  const problems = Object.keys(job.args).filter((name) => taken.has(name));
  if (problems.length === 0) return;
  throw new UserError("JOB_INVALID", `Job ${job.name} has arguments that glue-connect takes for itself`, {
    problems: problems.map((name) => `--${name}`),
    hint: "Give them other names",
    exitCode: ExitCode.usage,
  });
}

async function execute(
  job: Job,
  argv: readonly string[],
  mode: RunMode,
  flags: Flags,
  io: CliIo,
  options: readonly string[],
): Promise<ExitCode> {
  claimRun(io.env);
  if (flags.reportFile !== undefined) await checkReportFile(flags.reportFile);
  const progress = createProgress(io, { debug: flags.debug === true, color: flags.color });
  const interrupt = interruptible(() =>
    progress.log.warn("interrupted: stopping the query and rolling back; once more ends this process at once"),
  );
  try {
    const config = await loadConfig(flags, io, flagSettings(flags));
    const { settings } = config;
    const { postgresUrl, remote } = settings;
    const servers = localServers(progress.log, interrupt.signal, settings.spark);
    const place = placeOf(config);
    const cloud = place === "emr" || place === "glue" ? place : undefined;
    // A session's Spark knows the tables by Glue's catalog, one of this machine by its own.
    const catalog = settings.catalog ?? (cloud === undefined ? undefined : "glue");
    const result = await runJob(job, argv, {
      mode,
      options,
      sparkRemote:
        cloud !== undefined
          ? cloudSpark({
              place: cloud,
              settings,
              log: progress.log,
              sessionId: flags.session,
            })
          : place === "remote" && remote !== undefined
            ? remote
            : servers.spark,
      aws: awsOptions(settings),
      ...(postgresUrl === undefined ? {} : { postgresUrl }),
      embeddedPostgres: servers.postgres,
      embeddedCassandra: servers.cassandra,
      ...(catalog === undefined ? {} : { catalog }),
      ...(canAsk(io) ? { confirm: (question: string) => ask(question, interrupt.signal) } : {}),
      log: progress.log,
      warnings: flags.json !== true && isScreen(io) ? "report" : "log",
      onStep: progress.onStep,
      signal: interrupt.signal,
    });
    progress.end();
    return await deliver(result, flags, io);
  } finally {
    progress.end();
    interrupt.stop();
  }
}

/** Shows how the run ended. The outcome of the run counts, unless only its report file couldn't be written. */
async function deliver(result: RunResult, flags: Flags, io: CliIo): Promise<ExitCode> {
  const { report, stack } = result;
  const unstarted = report.runId === "";
  const problem = flags.reportFile === undefined ? undefined : await writeReport(report, flags.reportFile);
  if (flags.debug && stack !== undefined) await write(io.stderr, `${printable(stack)}\n`);
  if (flags.json) {
    await write(io.stdout, `${JSON.stringify(report, null, 2)}\n`);
  } else if (!unstarted) {
    const style = styleFor(io.stdout, io.env, flags.color);
    await write(io.stdout, reportText(report.toJSON(), style, widthOf(io.stdout)));
  }
  if (report.error !== undefined) await writeError(report.error, io, flags.color);
  if (problem === undefined) return result.exitCode;
  await write(io.stderr, `${printable(problem.describe())}\n`);
  return result.exitCode === ExitCode.ok ? problem.exitCode : result.exitCode;
}

/** The options that say a setting of the configuration. */
function flagSettings(flags: Flags): FlagSetting[] {
  const said: [string, string, unknown][] = [
    // --spark names a Spark of this machine, whatever server a variable names.
    ["target", "--target", flags.target ?? (flags.spark === undefined ? undefined : "local")],
    ["remote", "--remote", flags.remote],
    ["spark", "--spark", flags.spark],
    ["postgresUrl", "--postgres-url", flags.postgresUrl],
    ["catalog", "--catalog", flags.catalog],
  ];
  return said.flatMap(([key, flag, value]) => (value === undefined ? [] : [{ path: [key], value, flag }]));
}
