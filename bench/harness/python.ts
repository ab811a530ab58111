import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { ExitCode, UserError } from "../../lib/errors.js";

const run = promisify(execFile);

/**
 * The Python of the peers' environment, which is made when there is none for these requirements yet (a minute or two, once).
 *
 * @param root folder of the project; the environment lies in its `node_modules/.cache`.
 * @throws UserError `PYTHON_MISSING`, `PEERS_NOT_INSTALLED`.
 */
export async function peersPython(root: string, log: (line: string) => void): Promise<string> {
  const requirements = join(root, "bench", "peers", "requirements.txt");
  const key = createHash("sha256")
    .update(await pythonVersion())
    .update(await readFile(requirements))
    .digest("hex")
    .slice(0, 16);
  const folder = join(root, "node_modules", ".cache", "bench", `python-${key}`);
  const finished = join(folder, "installed");
  const python = join(folder, "bin", "python");
  if (existsSync(finished)) return python;
  log("Installing PySpark for the peers, once");
  await mkdir(dirname(folder), { recursive: true });
  // Programs of an environment name its folder, so it is made in place; what was interrupted is begun again.
  await rm(folder, { recursive: true, force: true });
  try {
    await run("python3", ["-m", "venv", folder]);
    await run(python, [
      ...["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", requirements],
    ]);
    await mkdir(finished);
  } catch (error) {
    throw new UserError("PEERS_NOT_INSTALLED", `The peers' packages can't be installed: ${reason(error)}`, {
      hint: "pip needs its package index; the requirements are in bench/peers/requirements.txt",
      cause: error,
    });
  }
  return python;
}

async function pythonVersion(): Promise<string> {
  try {
    return (await run("python3", ["-c", "import sys, venv, ensurepip; print(sys.version)"])).stdout;
  } catch (error) {
    throw new UserError("PYTHON_MISSING", `The peers need python3 with venv: ${reason(error)}`, {
      hint: "Install Python 3.9 to 3.12 with its venv module",
      exitCode: ExitCode.configuration,
      cause: error,
    });
  }
}

function reason(error: unknown): string {
  const { stderr, message } = error as { stderr?: string; message?: string };
  return (stderr || message || String(error)).trim();
}
