import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { inject } from "vitest";

const MAIN = join(import.meta.dirname, "..", "..", "dist", "lib", "cli", "main.js");

/** A command line under way. */
export interface BuiltCommand {
  readonly child: ChildProcess;
  /** What it has said so far. */
  readonly said: { readonly stdout: string; readonly stderr: string };
  readonly ended: Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }>;
}

/** Starts the built command in a folder, with the suite's servers as those of this machine. */
export function startBuilt(
  folder: string,
  argv: readonly string[],
  env: Readonly<Record<string, string>> = {},
): BuiltCommand {
  const child = spawn(process.execPath, [MAIN, ...argv], {
    cwd: folder,
    env: { ...process.env, ...env, GLUE_CONNECT_HOME: inject("stateHome"), NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const said = { stdout: "", stderr: "" };
  for (const stream of ["stdout", "stderr"] as const) {
    child[stream].on("data", (data) => {
      said[stream] += data;
    });
  }
  const ended = once(child, "close").then(([code]) => ({ code: code as number | null, ...said }));
  return { child, said, ended };
}
