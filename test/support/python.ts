import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/**
 * The Python of an environment with these packages; made when there is none yet, once a machine. It lives in the user's cache,
 * named by what is in it, so that a clean install of the project keeps it.
 *
 * @param name of its folder.
 * @param requirements path of a file for pip.
 */
export async function pythonEnvironment(name: string, requirements: string): Promise<string> {
  const version = await pythonVersion(name);
  const key = createHash("sha256")
    .update(version)
    .update(await readFile(requirements))
    .digest("hex")
    .slice(0, 16);
  const cache = process.env.XDG_CACHE_HOME || path.join(homedir(), ".cache");
  const folder = path.join(cache, "glue-connect", name, key);
  const python = path.join(folder, "bin", "python");
  if (existsSync(python)) return python;

  // Made under another name and moved: an interrupted installation must not look like a finished one.
  const making = `${folder}.${process.pid}`;
  await mkdir(path.dirname(folder), { recursive: true });
  try {
    await run("python3", ["-m", "venv", making]);
    await run(path.join(making, "bin", "python"), [
      ...["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", requirements],
    ]);
    await rename(making, folder);
  } catch (error) {
    // Another test run may have been first; its environment is as good.
    if (!existsSync(python)) throw new Error(`${name} can't be installed: ${reason(error)}`, { cause: error });
  } finally {
    await rm(making, { recursive: true, force: true });
  }
  return python;
}

async function pythonVersion(name: string): Promise<string> {
  try {
    const { stdout } = await run("python3", ["-c", "import sys, ensurepip; print(sys.version, sys.prefix)"]);
    return stdout;
  } catch (error) {
    throw new Error(`The integration tests need python3 with venv for ${name}: ${reason(error)}`, { cause: error });
  }
}

function reason(error: unknown): string {
  const { stderr, message } = error as { stderr?: string; message?: string };
  return stderr || message || String(error);
}
