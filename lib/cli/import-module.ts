import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import type { Plugin } from "esbuild";
import { ExitCode, UserError } from "../errors.js";

const TYPESCRIPT = /\.[mc]?ts$/;
const JAVASCRIPT = /\.[mc]?js$/;

/** Whether a name looks like that of a module, and not like that of a built-in job. */
export function isModulePath(name: string): boolean {
  return name.includes("/") || name.includes(path.sep) || TYPESCRIPT.test(name) || JAVASCRIPT.test(name);
}

/** What a module exports. */
export type Module = { readonly default?: unknown };

/**
 * Imports a module of the user's; TypeScript is bundled on the fly.
 *
 * @param code of the error when it can't be loaded.
 * @throws UserError with `code` (exit 66): the message has file, line and column of what esbuild or the module complained of.
 */
export async function importUserModule(file: string, code: string): Promise<Module> {
  return TYPESCRIPT.test(file) ? importTypeScript(file, code) : importModule(file, file, code);
}

async function importModule(file: string, shown: string, code: string): Promise<Module> {
  try {
    return (await import(pathToFileURL(file).href)) as Module;
  } catch (error) {
    throw loadFailed(code, shown, [thrownAt(error, shown)], error);
  }
}

/** The bundle lies beside its source for the moment of the import: there its packages are found as the source's are. */
async function importTypeScript(file: string, code: string): Promise<Module> {
  const { build } = await import("esbuild");
  const bundle = path.join(
    path.dirname(file),
    `.${path.basename(file)}.${process.pid}.${randomBytes(4).toString("hex")}.mjs`,
  );
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
        plugins: [thisPackage({ external: true })],
      });
    } catch (error) {
      throw loadFailed(code, file, bundlingErrors(error), error);
    }
    process.setSourceMapsEnabled(true);
    return await importModule(bundle, file, code);
  } finally {
    await rm(bundle, { force: true });
  }
}

/** The glue-connect that runs is the one that a module gets, wherever it is installed. */
export function thisPackage({ external }: { readonly external: boolean }): Plugin {
  const require = createRequire(import.meta.url);
  return {
    name: "this-package",
    setup({ onResolve }) {
      onResolve({ filter: /^glue-connect(\/|$)/ }, ({ path: wanted }) => {
        const file = require.resolve(wanted);
        return external ? { path: pathToFileURL(file).href, external } : { path: file };
      });
    },
  };
}

/** @param reasons each on a line of its own where there are several. */
export function loadFailed(code: string, file: string, reasons: readonly string[], cause: unknown): UserError {
  const [only = ""] = reasons;
  return new UserError(code, `${file} can't be loaded${reasons.length > 1 ? "" : `: ${only}`}`, {
    ...(reasons.length > 1 ? { problems: reasons } : {}),
    exitCode: ExitCode.configuration,
    cause,
  });
}

/** What esbuild found wrong, each with file, line and column. */
export function bundlingErrors(error: unknown): string[] {
  const { errors } = error as {
    errors?: readonly { text: string; location?: { file: string; line: number; column: number } | null }[];
  };
  if (errors === undefined || errors.length === 0) return [error instanceof Error ? error.message : String(error)];
  return errors.map(({ text, location }) =>
    location ? `${text} (${location.file}, line ${location.line}, column ${location.column + 1})` : text,
  );
}

/** The message of what a module threw while it was imported, with the place in the source when the stack knows it. */
function thrownAt(error: unknown, file: string): string {
  if (!(error instanceof Error)) return String(error);
  const escaped = path.basename(file).replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const place = new RegExp(`[/\\\\]${escaped}:(\\d+):(\\d+)`).exec(error.stack ?? "");
  return place === null ? error.message : `${error.message} (${file}, line ${place[1]}, column ${place[2]})`;
}
