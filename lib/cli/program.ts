import { readFileSync } from "node:fs";
import path from "node:path";
import { Command, CommanderError } from "commander";
import { ExitCode } from "../errors.js";
import { describeFailure } from "../glue/failure.js";
import { registerLocalCommand } from "../targets/local/command.js";
import { packageRoot } from "../targets/local/package-root.js";
import { registerConfigCommand } from "./config.js";
import { registerDemoCommand } from "./demo.js";
import { registerInfraCommand } from "./infra.js";
import { type CliIo, write } from "./io.js";
import { registerJobsCommand } from "./jobs.js";
import { registerPlanCommand } from "./plan.js";
import { registerRunCommand } from "./run.js";
import { registerRunsCommands } from "./runs.js";
import { registerSampleCommand } from "./sample.js";
import { registerSchedulerCommand } from "./schedule/scheduler.js";
import { registerTriggerCommand } from "./schedule/trigger.js";
import { registerWorkflowCommand } from "./schedule/workflow.js";
import { registerSessionCommand } from "./session.js";
import { printable } from "./style.js";
import { registerSubmitCommand } from "./submit.js";
import { writeError } from "./write-error.js";

/**
 * Runs a command line.
 *
 * @param argv without node and script: `["run", "iceberg-to-aurora", ...]`.
 * @returns what the process ends with; nothing is thrown.
 */
export async function runCommandLine(argv: readonly string[], io: CliIo): Promise<ExitCode> {
  let exitCode: ExitCode = ExitCode.ok;
  const program = createProgram(io, (code) => {
    exitCode = code;
  });
  if (argv.length === 0) {
    await write(io.stderr, program.helpInformation());
    return ExitCode.usage;
  }
  try {
    await program.parseAsync([...argv], { from: "user" });
    return exitCode;
  } catch (error) {
    return showError(error, argv, io);
  }
}

function createProgram(io: CliIo, finish: (exitCode: ExitCode) => void): Command {
  const program = new Command("glue-connect")
    .description("AWS-Glue-style ETL jobs in TypeScript, run on Spark through Spark Connect")
    .version(readVersion(), "-V, --version")
    // So that `--version` or `--help` after a job's name is not taken for the program's.
    .enablePositionalOptions()
    .showSuggestionAfterError()
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void io.stdout.write(text),
      // Shown once, by showError.
      writeErr: () => {},
    })
    .addHelpText(
      "after",
      "\nExit codes: 0 done, 1 the job failed, 2 plan found work, 64 wrong usage, 66 wrong configuration,\n69 endpoint unreachable, 75 try again, 130 interrupted",
    );
  registerRunCommand(program, io, finish);
  registerPlanCommand(program, io, finish);
  registerJobsCommand(program, io);
  registerSampleCommand(program, io);
  registerConfigCommand(program, io);
  registerSessionCommand(program, io);
  registerSubmitCommand(program, io, finish);
  registerRunsCommands(program, io, finish);
  registerSchedulerCommand(program, io);
  registerTriggerCommand(program, io);
  registerWorkflowCommand(program, io, finish);
  registerInfraCommand(program, io, finish);
  registerDemoCommand(program, io, finish);
  registerLocalCommand(program, {
    stdout: (text) => void io.stdout.write(text),
    stderr: (text) => void io.stderr.write(text),
  });
  return program;
}

async function showError(error: unknown, argv: readonly string[], io: CliIo): Promise<ExitCode> {
  const failure = error instanceof CommanderError ? usageError(error) : describeFailure(error);
  if (failure === undefined) return ExitCode.ok;
  if (argv.includes("--debug") && failure.stack !== undefined) await write(io.stderr, `${printable(failure.stack)}\n`);
  await writeError(failure.error, io, !argv.includes("--no-color"));
  if (argv.includes("--json")) await write(io.stdout, `${JSON.stringify({ error: failure.error }, null, 2)}\n`);
  return failure.exitCode;
}

/** `undefined` for what commander throws although all is well: help and version were asked for and shown. */
function usageError(error: CommanderError): ReturnType<typeof describeFailure> | undefined {
  // A command with subcommands that was given none has shown its help.
  if (error.exitCode === 0 || error.code === "commander.help") return undefined;
  return {
    error: {
      code: "USAGE",
      message: error.message.replace(/^error: /, "").replaceAll("\n", " "),
      problems: [],
      hint: "glue-connect --help lists the commands, and each of them has --help",
    },
    exitCode: ExitCode.usage,
  };
}

function readVersion(): string {
  const { version } = JSON.parse(readFileSync(path.join(packageRoot(), "package.json"), "utf8")) as { version: string };
  return version;
}
