import { runCommandLine } from "../../lib/cli/program.js";
import type { Outcome } from "../unit/cli/cli-process.js";

/** A command line that runs in this process. */
export interface CommandHere {
  /** What it has said so far. */
  readonly said: { readonly stdout: string; readonly stderr: string };
  readonly ended: Promise<Outcome>;
}

/**
 * Starts a command line in this process, whose environment and working folder it has: what a process of its own takes to start
 * is spared. Not for what is about processes, such as signals.
 */
export function startHere(...argv: readonly string[]): CommandHere {
  const said = { stdout: "", stderr: "" };
  const stream = (name: keyof typeof said) => ({
    write(text: string, done?: (error?: Error | null) => void) {
      said[name] += text;
      done?.();
      return true;
    },
  });
  const io = { stdout: stream("stdout"), stderr: stream("stderr"), env: process.env };
  return { said, ended: runCommandLine(argv, io).then((exitCode) => ({ exitCode, ...said })) };
}

/** The same, to its end. */
export function runHere(...argv: readonly string[]): Promise<Outcome> {
  return startHere(...argv).ended;
}
