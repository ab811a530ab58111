import { createInterface } from "node:readline/promises";
import type { CliIo } from "./io.js";

/** Whether a person is at both ends, and the terminal is this process's own. */
export function canAsk(io: CliIo): boolean {
  return process.stdin.isTTY === true && io.stderr.isTTY === true;
}

/** Asks a question on the terminal; anything but yes is no. */
export async function ask(question: string, signal: AbortSignal): Promise<boolean> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await terminal.question(`${question} Go on? [y/N] `, { signal });
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    terminal.close();
  }
}
