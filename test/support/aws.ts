import { type ChildProcessByStdio, execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, readFile, rename, rm } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { homedir } from "node:os";
import path from "node:path";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** An emulator that answers. */
export interface AwsEmulator {
  /** `http://127.0.0.1:PORT`, for every service. */
  readonly endpoint: string;
  stop(): Promise<void>;
}

/** What a client needs beside the endpoint; the emulator takes any keys. */
export const AWS_TEST_OPTIONS = {
  region: "us-east-1",
  credentials: { accessKeyId: "test", secretAccessKey: "test" },
} as const;

/** An endpoint at which nobody answers. */
export async function deadEndpoint(): Promise<string> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return `http://127.0.0.1:${port}`;
}

/** Starts the emulator, and makes its Python environment first when there is none yet (about 20 s, once a machine). */
export async function startAwsEmulator(): Promise<AwsEmulator> {
  const python = await pythonWithMoto();
  const child = spawn(python, [here("aws_emulator.py")], { stdio: ["pipe", "pipe", "pipe"] });
  const port = await readyPort(child);
  return {
    endpoint: `http://127.0.0.1:${port}`,
    async stop() {
      if (child.exitCode !== null) return;
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.stdin.end();
      await ended;
    },
  };
}

function readyPort(child: ChildProcessByStdio<Writable, Readable, Readable>): Promise<number> {
  return new Promise((resolve, reject) => {
    let output = "";
    let errors = "";
    child.stdout.on("data", (chunk: Buffer) => {
      output += chunk.toString();
      const port = /^READY (\d+)$/m.exec(output)?.[1];
      if (port !== undefined) resolve(Number(port));
    });
    // Also read after it is ready: a full pipe would block the emulator.
    child.stderr.on("data", (chunk: Buffer) => {
      errors = `${errors}${chunk.toString()}`.slice(-4_000);
    });
    child.on("error", reject);
    child.on("exit", (code) =>
      reject(new Error(`The AWS emulator ended with ${code} before it was ready:\n${errors}`)),
    );
  });
}

/** The environment lives in the user's cache, named by what is in it, so that a clean install of the project keeps it. */
async function pythonWithMoto(): Promise<string> {
  const requirements = here("requirements.txt");
  const version = await pythonVersion();
  const key = createHash("sha256")
    .update(version)
    .update(await readFile(requirements))
    .digest("hex")
    .slice(0, 16);
  const cache = process.env.XDG_CACHE_HOME || path.join(homedir(), ".cache");
  const folder = path.join(cache, "glue-connect", "aws-emulator", key);
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
    if (!existsSync(python)) throw new Error(`The AWS emulator can't be installed: ${reason(error)}`, { cause: error });
  } finally {
    await rm(making, { recursive: true, force: true });
  }
  return python;
}

async function pythonVersion(): Promise<string> {
  try {
    const { stdout } = await run("python3", ["-c", "import sys, ensurepip; print(sys.version, sys.prefix)"]);
    return stdout;
  } catch (error) {
    throw new Error(`The integration tests need python3 with venv for the AWS emulator: ${reason(error)}`, {
      cause: error,
    });
  }
}

function reason(error: unknown): string {
  const { stderr, message } = error as { stderr?: string; message?: string };
  return stderr || message || String(error);
}
