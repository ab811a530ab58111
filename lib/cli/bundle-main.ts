import { silenceNodeVersionWarning } from "../aws.js";
import { ExitCode } from "../errors.js";
import { resolveConfig } from "../glue/config/resolve.js";
import type { Job } from "../glue/define-job.js";
import { runJob } from "../glue/run-job.js";
import { interruptible } from "./interrupt.js";
import { processIo, widthOf, write } from "./io.js";
import { createProgress } from "./progress.js";
import { writeReport } from "./report-file.js";
import { reportText } from "./report-text.js";
import { printable, styleFor } from "./style.js";
import { writeError } from "./write-error.js";

/**
 * The main program of a bundle that `submit` has made: runs its one job on the Spark of `SPARK_REMOTE`, logs to stderr, prints
 * the report, and writes it to `GLUE_CONNECT_REPORT_FILE` as JSON. Never returns.
 */
export async function runBundle(job: Job): Promise<never> {
  silenceNodeVersionWarning();
  const io = processIo;
  // When the driver has died its pipes are closed: that must not cut short what the job still has to undo.
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
  const progress = createProgress(io, { debug: (io.env.GLUE_CONNECT_DEBUG ?? "") !== "", color: false });
  const interrupt = interruptible(() => progress.log.warn("interrupted: stopping the query and rolling back"));
  const { settings } = resolveConfig({ env: io.env });
  const { postgresUrl, catalog = "glue", remote } = settings;
  const { report, exitCode, stack } = await runJob(job, process.argv.slice(2), {
    catalog,
    ...(remote === undefined ? {} : { sparkRemote: remote }),
    ...(postgresUrl === undefined ? {} : { postgresUrl }),
    log: progress.log,
    onStep: progress.onStep,
    signal: interrupt.signal,
  });
  progress.end();
  if (stack !== undefined) await write(io.stderr, `${printable(stack)}\n`);
  const style = styleFor(io.stdout, io.env, false);
  await write(io.stdout, reportText(report.toJSON(), style, widthOf(io.stdout)));
  if (report.error !== undefined) await writeError(report.error, io, false);
  const file = io.env.GLUE_CONNECT_REPORT_FILE ?? "";
  const problem = file === "" ? undefined : await writeReport(report, file);
  if (problem !== undefined) await write(io.stderr, `${printable(problem.describe())}\n`);
  process.exit(exitCode === ExitCode.ok && problem !== undefined ? problem.exitCode : exitCode);
}
