import { open, writeFile } from "node:fs/promises";
import path from "node:path";
import { ExitCode, UserError } from "../errors.js";
import type { RunReport } from "../glue/report.js";
import { makeFolder } from "../storage/make-folder.js";

/** Found out before the run: a load that is done must not end with an error about its report. */
export async function checkReportFile(file: string): Promise<void> {
  try {
    await makeFolder(path.dirname(path.resolve(file)));
    await (await open(file, "a")).close();
  } catch (error) {
    throw new UserError("REPORT_FILE_UNUSABLE", `The report can't be written to ${file}: ${(error as Error).message}`, {
      hint: "Give --report-file a path that can be written",
      exitCode: ExitCode.usage,
    });
  }
}

/** @returns why it could not be written. */
export async function writeReport(report: RunReport, file: string): Promise<UserError | undefined> {
  try {
    await makeFolder(path.dirname(path.resolve(file)));
    await writeFile(file, `${JSON.stringify(report, null, 2)}\n`);
    return undefined;
  } catch (error) {
    return new UserError("REPORT_FILE_FAILED", `The report can't be written to ${file}: ${(error as Error).message}`);
  }
}
