import { stat } from "node:fs/promises";
import path from "node:path";
import { ExitCode, UserError } from "../errors.js";
import { isJob, type Job } from "../glue/define-job.js";
import { importUserModule, isModulePath } from "./import-module.js";
import { loadBuiltInJob } from "./registry.js";

/**
 * The job that a command line names: a built-in one by its name, else a module by its path, whose default export is a job.
 * TypeScript is bundled on the fly.
 *
 * @throws UserError `JOB_UNKNOWN`, `JOB_NOT_FOUND`, `JOB_INVALID` (exit 64), `JOB_LOAD_FAILED` (66).
 */
export async function loadJob(name: string): Promise<Job> {
  return isModulePath(name) ? loadModule(path.resolve(name)) : loadBuiltInJob(name);
}

async function loadModule(file: string): Promise<Job> {
  const found = await stat(file).catch(() => undefined);
  if (found === undefined || !found.isFile()) {
    throw new UserError("JOB_NOT_FOUND", `There is no file ${file}`, { exitCode: ExitCode.usage });
  }
  const module = await importUserModule(file, "JOB_LOAD_FAILED");
  if (isJob(module.default)) return module.default;
  throw new UserError("JOB_INVALID", `${file} has no job as its default export`, {
    hint: 'Write `export default defineJob({ ... })`, with defineJob from "glue-connect"',
    exitCode: ExitCode.usage,
  });
}
