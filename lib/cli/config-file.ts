import { readFile, stat } from "node:fs/promises";
import path from "node:path";
import { ExitCode, UserError } from "../errors.js";
import type { ConfigFile } from "../glue/config/resolve.js";
import type { ConfigContext } from "../glue/config/schema.js";
import { keyLines } from "./config-lines.js";
import { importUserModule } from "./import-module.js";

const NAMES = ["ts", "mts", "js", "mjs"].map((ending) => `glue-connect.config.${ending}`);

/** Which file, and what it is told. */
export interface ConfigFileOptions {
  /** As given by the user; default: the nearest one in the working folder or above it. */
  readonly path?: string | undefined;
  readonly environment?: string | undefined;
  /** Default: the working folder of the process. */
  readonly folder?: string | undefined;
}

/**
 * Reads the project's configuration file, if there is one.
 *
 * @throws UserError `CONFIG_NOT_FOUND` (a file that was named), `CONFIG_LOAD_FAILED` (exit 66).
 */
export async function readConfigFile(options: ConfigFileOptions = {}): Promise<ConfigFile | undefined> {
  const folder = options.folder ?? process.cwd();
  const file = options.path === undefined ? await findFile(folder) : path.resolve(folder, options.path);
  if (file === undefined) return undefined;
  if (options.path !== undefined && !(await isFile(file))) {
    throw new UserError("CONFIG_NOT_FOUND", `There is no configuration file ${file}`, {
      hint: "Check --config-file, or GLUE_CONNECT_CONFIG if it is set",
      exitCode: ExitCode.configuration,
    });
  }
  const { default: exported } = await importUserModule(file, "CONFIG_LOAD_FAILED");
  const shown = path.relative(folder, file) || file;
  const content = await contentOf(exported, options.environment, shown);
  const line = keyLines(await readFile(file, "utf8"));
  return { path: shown, content, line };
}

async function contentOf(exported: unknown, environment: string | undefined, file: string): Promise<unknown> {
  let content: unknown;
  try {
    content = isFunction(exported) ? await exported({ environment }) : exported;
  } catch (error) {
    throw new UserError("CONFIG_LOAD_FAILED", `${file} can't be loaded: ${reason(error)}`, {
      exitCode: ExitCode.configuration,
      cause: error,
    });
  }
  if (typeof content === "object" && content !== null && !Array.isArray(content)) return content;
  throw new UserError("CONFIG_INVALID", `${file} has no configuration as its default export`, {
    hint: 'Write `export default defineConfig({ ... })`, with defineConfig from "glue-connect"',
    exitCode: ExitCode.configuration,
  });
}

function isFunction(exported: unknown): exported is (context: ConfigContext) => unknown {
  return typeof exported === "function";
}

/** The nearest file; as with other tools, a command works in a subfolder of the project too. */
async function findFile(folder: string): Promise<string | undefined> {
  for (let place = folder; ; place = path.dirname(place)) {
    for (const name of NAMES) {
      const file = path.join(place, name);
      if (await isFile(file)) return file;
    }
    if (path.dirname(place) === place) return undefined;
  }
}

async function isFile(file: string): Promise<boolean> {
  return (await stat(file).catch(() => undefined))?.isFile() === true;
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
