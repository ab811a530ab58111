import { ExitCode, UserError } from "../errors.js";
import type { Job } from "../glue/define-job.js";
import { nearest } from "../glue/suggest.js";

/** The jobs that come with the package. Loaded by name when asked for: each brings a good part of the Spark client. */
const BUILT_IN: Readonly<Record<string, () => Promise<{ readonly default: Job }>>> = {
  "iceberg-to-aurora": () => import("../../jobs/iceberg-to-aurora/job.js"),
  "athena-cdc": () => import("../../jobs/athena-cdc/job.js"),
  "jdbc-cdc": () => import("../../jobs/jdbc-cdc/job.js"),
  "datamart-join": () => import("../../jobs/datamart-join/job.js"),
  "keyspaces-diff": () => import("../../jobs/keyspaces-diff/job.js"),
  "keyspaces-export": () => import("../../jobs/keyspaces-diff/export-job.js"),
  "keyspaces-import": () => import("../../jobs/keyspaces-diff/import-job.js"),
  "keyspaces-incremental-export": () => import("../../jobs/keyspaces-diff/incremental-export-job.js"),
  "keyspaces-incremental-import": () => import("../../jobs/keyspaces-diff/incremental-import-job.js"),
};

/** The modules of those that aren't `jobs/<name>/job`. */
const MODULES: Readonly<Record<string, string>> = {
  "keyspaces-export": "jobs/keyspaces-diff/export-job",
  "keyspaces-import": "jobs/keyspaces-diff/import-job",
  "keyspaces-incremental-export": "jobs/keyspaces-diff/incremental-export-job",
  "keyspaces-incremental-import": "jobs/keyspaces-diff/incremental-import-job",
};

/** The module of a built-in job within the package, without its ending. */
export function builtInModule(name: string): string {
  return MODULES[name] ?? `jobs/${name}/job`;
}

/** Names of the jobs that come with the package. */
export const BUILT_IN_JOBS: readonly string[] = Object.keys(BUILT_IN);

/** @throws UserError `JOB_UNKNOWN` (exit 64) that says what was likely meant. */
export async function loadBuiltInJob(name: string): Promise<Job> {
  const load = Object.hasOwn(BUILT_IN, name) ? BUILT_IN[name] : undefined;
  if (load !== undefined) return (await load()).default;
  const meant = nearest(name, BUILT_IN_JOBS);
  throw new UserError("JOB_UNKNOWN", `There is no job ${JSON.stringify(name)}`, {
    hint: `${meant === undefined ? "" : `Did you mean ${meant}? `}\`glue-connect jobs\` lists the built-in ones; a job of yours is given by its path, e.g. ./my-job.ts`,
    exitCode: ExitCode.usage,
  });
}
