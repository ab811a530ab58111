import { randomBytes } from "node:crypto";
import { rm, stat } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { ExitCode, UserError } from "../errors.js";
import { isJob, type Job } from "../glue/define-job.js";
import { loadBuiltInJob } from "./registry.js";

const TYPESCRIPT = /\.[mc]?ts$/;
const JAVASCRIPT = /\.[mc]?js$/;

/**
 * The job that a command line names: a built-in one by its name, else a module by its path, whose default export is a job.
 * TypeScript is bundled on the fly.
 *
 * @throws UserError `JOB_UNKNOWN`, `JOB_NOT_FOUND`, `JOB_INVALID` (exit 64), `JOB_LOAD_FAILED` (66).
 */
export async function loadJob(name: string): Promise<Job> {
  const isPath = name.includes("/") || name.includes(path.sep) || TYPESCRIPT.test(name) || JAVASCRIPT.test(name);
  return isPath ? loadModule(path.resolve(name)) : loadBuiltInJob(name);
}

async function loadModule(file: string): Promise<Job> {
  const found = await stat(file).catch(() => undefined);
  if (found === undefined || !found.isFile()) {
    throw new UserError("JOB_NOT_FOUND", `There is no file ${file}`, { exitCode: ExitCode.usage });
  }
  const module = TYPESCRIPT.test(file) ? await importTypeScript(file) : await importModule(file, file);
  if (isJob(module.default)) return module.default;
  throw new UserError("JOB_INVALID", `${file} has no job as its default export`, {
    hint: 'Write `export default defineJob({ ... })`, with defineJob from "glue-connect"',
    exitCode: ExitCode.usage,
  });
}

type Module = { readonly default?: unknown };

async function importModule(file: string, shown: string): Promise<Module> {
  try {
    return (await import(pathToFileURL(file).href)) as Module;
  } catch (error) {
    throw loadFailed(shown, error instanceof Error ? error.message : String(error), error);
  }
}

/** The bundle lies beside its source for the moment of the import: there its packages are found as the source's are. */
async function importTypeScript(file: string): Promise<Module> {
  const { build } = await import("esbuild");
  const bundle = path.join(
    path.dirname(file),
    `.${path.basename(file)}.${process.pid}.${randomBytes(4).toString("hex")}.mjs`,
  );
  const require = createRequire(import.meta.url);
  try {
    try {
      await build({
        entryPoints: [file],
        outfile: bundle,
        bundle: true,
        platform: "node",
        target: "node20",
        format: "esm",
        packages: "external",
        sourcemap: "inline",
        logLevel: "silent",
        plugins: [
          {
            // The glue-connect that runs is the one the job gets, wherever it is installed.
            name: "this-package",
            setup({ onResolve }) {
              onResolve({ filter: /^glue-connect(\/|$)/ }, ({ path: wanted }) => ({
                path: pathToFileURL(require.resolve(wanted)).href,
                external: true,
              }));
            },
          },
        ],
      });
    } catch (error) {
      throw loadFailed(file, bundlingErrors(error), error);
    }
    process.setSourceMapsEnabled(true);
    return await importModule(bundle, file);
  } finally {
    await rm(bundle, { force: true });
  }
}

function loadFailed(file: string, why: string, cause: unknown): UserError {
  return new UserError("JOB_LOAD_FAILED", `${file} can't be loaded: ${why}`, {
    exitCode: ExitCode.configuration,
    cause,
  });
}

function bundlingErrors(error: unknown): string {
  const { errors } = error as {
    errors?: readonly { text: string; location?: { line: number; column: number } | null }[];
  };
  if (errors === undefined || errors.length === 0) return error instanceof Error ? error.message : String(error);
  return errors
    .map(({ text, location }) => (location ? `${text} (line ${location.line}, column ${location.column + 1})` : text))
    .join("; ");
}
