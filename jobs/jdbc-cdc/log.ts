import type { JobContext, KeptLogLine } from "../../lib/glue/index.js";
import { childUri } from "../../lib/storage/index.js";
import type { Arguments } from "./arguments.js";

/**
 * The log of the run, kept in memory and put into `log_folder_path` at the end, however the run ends. A log that can't be put
 * there is a warning: it changes nothing about the rows.
 */
export async function withLog(context: JobContext<Arguments>, work: () => Promise<void>): Promise<void> {
  const { args, log, report, jobName, runId } = context;
  const lines = context.keepLog();
  const warned = report.warnings.map(
    ({ code, message }): KeptLogLine => ({ at: report.startedAt, level: "warn", message: `${code}: ${message}` }),
  );
  log.info(`${jobName} ${runId} begins: ${args.load_type} of ${args.database_name}`);
  try {
    await work();
    const failed = [...report.tables.values()].filter(({ status }) => status === "FAILED").length;
    log.info(`${jobName} ${runId} is done: ${report.tables.size - failed} tables without an error, ${failed} failed`);
  } catch (error) {
    log.error(`${jobName} ${runId} ends with an error: ${error instanceof Error ? error.message : String(error)}`);
    throw error;
  } finally {
    if (context.mode === "run") {
      const uri = childUri(args.log_folder_path, `${logName(args.environment, report.startedAt)}_${runId}.log`);
      const text = [...warned, ...lines()].map((line) => format(line, args.environment));
      await context.storage
        .put(uri, `${text.join("\n")}\n`, { contentType: "text/plain; charset=utf-8" })
        .catch((error) => {
          report.warn("LOG_NOT_UPLOADED", `The log could not be put to ${uri}: ${(error as Error).message}`);
        });
    }
  }
}

function format({ at, level, message }: KeptLogLine, environment: string): string {
  const word = level === "warn" ? "WARNING" : level.toUpperCase();
  return `${at.toISOString().replace("T", " ").replace(".", ",").replace("Z", "")} ${word} [${environment}] ${message}`;
}

function logName(environment: string, startedAt: Date): string {
  const time = startedAt.toISOString().replaceAll(/[-:]/g, "").replace("T", "_").slice(0, 15);
  return `jdbc_cdc_${environment.replaceAll(/[^\w.-]/g, "_")}_${time}`;
}
