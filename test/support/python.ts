import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { withFileLock } from "../../lib/targets/local/file-lock.js";
import { packageRoot } from "../../lib/targets/local/package-root.js";

const run = promisify(execFile);

/** The packages of each environment, as a file for pip, from the project's folder. */
const REQUIREMENTS = {
  "aws-emulator": "test/support/requirements.txt",
  "infra-checks": "test/support/infra_requirements.txt",
  pyspark: "bench/peers/requirements.txt",
  "check-jsonschema": "test/support/compose-requirements.txt",
} as const;

export type PythonEnvironment = keyof typeof REQUIREMENTS;

export const PYTHON_ENVIRONMENTS = Object.keys(REQUIREMENTS) as readonly PythonEnvironment[];

/**
 * The Python of an environment; made when there is none yet, once a machine. It lives in the user's cache, named by what is in
 * it, so that a clean install of the project keeps it.
 */
export async function pythonEnvironment(name: PythonEnvironment): Promise<string> {
  const requirements = path.join(packageRoot(), REQUIREMENTS[name]);
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
  await mkdir(path.dirname(folder), { recursive: true });
  await withFileLock(`${folder}.lock`, async () => {
    if (!existsSync(python)) await install(name, requirements, folder);
  });
  return python;
}

/** Under another name that is changed at the end: an interrupted installation must not look like a finished one. */
async function install(name: PythonEnvironment, requirements: string, folder: string): Promise<void> {
  const making = `${folder}.${process.pid}`;
  try {
    await run("python3", ["-m", "venv", making]);
    await run(path.join(making, "bin", "python"), [
      // Of thousands of modules a few hundred are ever loaded, which Python compiles by itself.
      ...["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"],
      ...["--requirement", requirements],
    ]);
    await rename(making, folder);
  } catch (error) {
    throw new Error(`${name} can't be installed: ${reason(error)}`, { cause: error });
  } finally {
    await rm(making, { recursive: true, force: true });
  }
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
