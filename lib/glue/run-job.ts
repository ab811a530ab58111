import { ExitCode, UserError } from "../errors.js";
import { type ArgDefinitions, type ArgValues, argumentsInvalid, type ParsedArguments, parseArguments } from "./args.js";
import type { Job } from "./define-job.js";
import { describeFailure, type Failure } from "./failure.js";
import { openRun, type RunEnvironment } from "./open-run.js";
import { type ErrorReport, RunReport, type TableReport } from "./report.js";

/** How a run ended. */
export interface RunResult {
  readonly report: RunReport;
  readonly exitCode: ExitCode;
  /** What was thrown, when the run didn't succeed. */
  readonly error?: unknown;
  /** Stack of an error nobody foresaw, for `--debug`. */
  readonly stack?: string;
}

/**
 * Runs a job in this process: reads its arguments, gives it a context, and turns whatever happens into a report and an exit
 * code. It never throws; a job that fails is a result too.
 *
 * With mode `plan` the exit code is 2 when there is work to do, 0 when there is none.
 *
 * @param input the command line (`["--JOB_NAME", "nightly", "--day", "2026-01-31"]`), or arguments that are parsed already.
 * @example
 * const { report, exitCode } = await runJob(job, ["--JOB_NAME", "nightly"], { sparkRemote: "sc://localhost:15002" });
 */
export async function runJob<Definitions extends ArgDefinitions>(
  job: Job<Definitions>,
  input: readonly string[] | ParsedArguments<ArgValues<Definitions>>,
  environment: RunEnvironment = {},
): Promise<RunResult> {
  let parsed: ParsedArguments<ArgValues<Definitions>>;
  try {
    const { positional, check } = job;
    parsed = isCommandLine(input)
      ? parseArguments(job.args, input, { positional, options: environment.options, check })
      : input;
    const problems = parsed === input ? (check?.(parsed.args) ?? []) : [];
    if (problems.length > 0) throw argumentsInvalid(problems);
  } catch (error) {
    const report = new RunReport({ job: job.name, jobName: "", runId: "", mode: environment.mode ?? "run" });
    return failed(report, error, describeFailure(error, job.origin));
  }

  const run = openRun(job, parsed, environment);
  const { report, context, mask } = run;
  report.state = "RUNNING";
  let result: RunResult;
  try {
    context.signal.throwIfAborted();
    await job.run(context);
    result = succeeded(report);
  } catch (error) {
    const failure = context.signal.aborted ? interrupted(context.signal.reason) : describeFailure(error, job.origin);
    if (context.signal.aborted) context.log.debug("the run was interrupted", { error: describe(error) });
    const masked: Failure = { ...failure, error: mask.error(failure.error) };
    result = failed(report, error, masked.stack === undefined ? masked : { ...masked, stack: mask.text(masked.stack) });
  } finally {
    await run.close();
  }
  return result;
}

function isCommandLine(input: readonly string[] | ParsedArguments<unknown>): input is readonly string[] {
  return Array.isArray(input);
}

/** The job returned; still, one of its tables may have failed alone. */
function succeeded(report: RunReport): RunResult {
  const failures = [...report.tables].filter(([, table]) => table.status === "FAILED");
  if (failures.length > 0) {
    report.finish("FAILED", tablesFailed(failures, report.tables.size), "DONE");
    return { report, exitCode: ExitCode.failed };
  }
  report.finish("SUCCEEDED");
  const exitCode = report.mode === "plan" && report.hasChanges ? ExitCode.changes : ExitCode.ok;
  return { report, exitCode };
}

/** What each of them has to say, and what to do about it: once where that is the same for all. */
function tablesFailed(failures: readonly (readonly [string, TableReport])[], of: number): ErrorReport {
  const hints = new Set(failures.map(([, { error }]) => error?.hint));
  const [hint] = hints.size === 1 ? hints : [];
  // What several of them have in common, like a file that all of them read, is said once.
  const alike = new Map<string, { readonly names: string[]; readonly lines: readonly string[] }>();
  for (const [name, { error }] of failures) {
    const lines = error === undefined ? [] : [error.message, ...error.problems];
    if (hint === undefined && error?.hint !== undefined) lines.push(`what to do: ${error.hint}`);
    const key = JSON.stringify(lines);
    alike.set(key, { names: [...(alike.get(key)?.names ?? []), name], lines });
  }
  const problems = [...alike.values()].flatMap(({ names, lines }) => {
    const those =
      names.length > 10 ? `${names.slice(0, 10).join(", ")} and ${names.length - 10} more` : names.join(", ");
    if (lines.length === 0) return [those];
    return lines.map((line) => (line.startsWith(`${those}: `) ? line : `${those}: ${line}`));
  });
  const message = `${failures.length} of ${of} tables failed`;
  return { code: "TABLES_FAILED", message, problems, ...(hint === undefined ? {} : { hint }) };
}

function failed(report: RunReport, error: unknown, failure: Failure): RunResult {
  const state =
    failure.error.code === "INTERRUPTED" ? "STOPPED" : failure.error.code === "TIMEOUT" ? "TIMEOUT" : "FAILED";
  report.finish(state, failure.error);
  return {
    report,
    exitCode: failure.exitCode,
    error,
    ...(failure.stack === undefined ? {} : { stack: failure.stack }),
  };
}

/** Once the signal is aborted, whatever is thrown is its consequence. */
function interrupted(reason: unknown): Failure {
  if (reason instanceof UserError) return describeFailure(reason);
  const timeout = reason instanceof Error && reason.name === "TimeoutError";
  return {
    error: {
      code: timeout ? "TIMEOUT" : "INTERRUPTED",
      message: timeout ? "The run took longer than it may" : "The run was interrupted before it was done",
      problems: [],
      hint: timeout ? "Give it more time, or less to do" : "Run it again to go on",
    },
    exitCode: timeout ? ExitCode.failed : ExitCode.interrupted,
  };
}

function describe(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}
