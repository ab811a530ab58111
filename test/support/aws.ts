import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { pythonEnvironment } from "./python.js";

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

/** As variables that every AWS tool reads; a user sets the same ones to have the local Spark use another endpoint. */
export function awsVariables(endpoint: string) {
  return {
    AWS_ACCESS_KEY_ID: AWS_TEST_OPTIONS.credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: AWS_TEST_OPTIONS.credentials.secretAccessKey,
    AWS_REGION: AWS_TEST_OPTIONS.region,
    AWS_ENDPOINT_URL: endpoint,
    AWS_EC2_METADATA_DISABLED: "true",
  };
}

/** An endpoint at which nobody answers. */
export async function deadEndpoint(): Promise<string> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return `http://127.0.0.1:${port}`;
}

/** Python with the emulator and botocore. */
export function emulatorPython(): Promise<string> {
  return pythonEnvironment("aws-emulator");
}

/** Starts the emulator, and makes its Python environment first when there is none yet (about 20 s, once a machine). */
export async function startAwsEmulator(): Promise<AwsEmulator> {
  const python = await emulatorPython();
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
