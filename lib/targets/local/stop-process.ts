import { poll } from "./poll.js";
import { isAlive, type ProcessIdentity } from "./process-identity.js";

/**
 * Ends a process with the signals given, one after the other, each with its time to work; KILL is the last by itself.
 *
 * A process that merely got the same pid is left alone.
 *
 * @param grace How long each signal may take, in milliseconds.
 * @returns true when it ran and has ended, false when it wasn't there.
 */
export async function stopProcess(
  target: ProcessIdentity,
  signals: readonly NodeJS.Signals[] = ["SIGTERM"],
  grace = 10_000,
): Promise<boolean> {
  if (!isAlive(target)) return false;
  for (const signal of [...signals, "SIGKILL" as const]) {
    if (!send(target, signal)) return true;
    const ended = await poll(() => (isAlive(target) ? undefined : true), { timeoutMs: grace });
    if (ended) return true;
  }
  return !isAlive(target);
}

function send(target: ProcessIdentity, signal: NodeJS.Signals): boolean {
  if (!isAlive(target)) return false;
  try {
    process.kill(target.pid, signal);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
    throw error;
  }
}
