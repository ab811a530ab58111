import { randomUUID } from "node:crypto";
import { linkSync, rmSync, writeFileSync } from "node:fs";
import { poll } from "./poll.js";
import { identifyProcess, isAlive } from "./process-identity.js";
import { hasFields, readStateFile } from "./state-file.js";

interface Owner {
  readonly pid: number;
  readonly began: string;
  /** One a lock taken: the same process may take it again later. */
  readonly id: string;
}

/** How {@link withFileLock} waits. */
export interface LockOptions {
  readonly signal?: AbortSignal | undefined;
  /** Told once, when somebody else has the lock and lives. */
  readonly onWait?: (pid: number) => void;
}

/**
 * Runs `work` while no other process, and no other caller in this one, runs any under the same lock file.
 *
 * A lock lives as long as the process that took it, not for a time: building the jars may take minutes, and a process that
 * was killed must not hold up the next one for any.
 *
 * @throws the signal's reason when it is aborted while waiting.
 */
export async function withFileLock<T>(path: string, work: () => Promise<T>, options: LockOptions = {}): Promise<T> {
  const self = identifyProcess(process.pid);
  if (self === undefined) throw new Error("This process can't be identified");
  const mine: Owner = { ...self, id: randomUUID() };
  let told = false;
  await poll(
    async () => {
      if (take(path, mine)) return true;
      const owner = ownerOf(path);
      if (owner === undefined) return undefined;
      if (isAlive(owner)) {
        if (!told && owner.pid !== process.pid) options.onWait?.(owner.pid);
        told = true;
        return undefined;
      }
      await removeStale(path, owner, options.signal);
      return undefined;
    },
    { timeoutMs: Number.POSITIVE_INFINITY, signal: options.signal },
  );
  try {
    return await work();
  } finally {
    if (ownerOf(path)?.id === mine.id) rmSync(path, { force: true });
  }
}

/** A link is made whole or not at all, so that nobody ever reads a lock without its owner. */
function take(path: string, owner: Owner): boolean {
  const part = `${path}.${owner.id}`;
  writeFileSync(part, JSON.stringify(owner));
  try {
    linkSync(part, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  } finally {
    rmSync(part, { force: true });
  }
}

/**
 * Only who holds the lock on removing removes, and looks again first. Without that, two who saw the same dead owner could
 * each remove "the dead one", the second of them removing what the first has just taken.
 */
async function removeStale(path: string, dead: Owner, signal: AbortSignal | undefined): Promise<void> {
  await withFileLock(
    `${path}.takeover`,
    async () => {
      if (ownerOf(path)?.id === dead.id) rmSync(path, { force: true });
    },
    { signal },
  );
}

function ownerOf(path: string): Owner | undefined {
  return readStateFile(path, (value) =>
    hasFields(value, { pid: "number", began: "string", id: "string" }) ? (value as Owner) : undefined,
  );
}
