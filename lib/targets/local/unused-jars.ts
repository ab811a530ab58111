import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync } from "node:fs";
import { join } from "node:path";

/** Each version of our own classes has a folder with all jars beside it. */
const JARS = /^(?:spark|cassandra)-\d.*-[0-9a-f]{12}$/;
/** What a process that died has left behind while it made or removed one. */
const LEFT = /^(?:building|removing)-/;
const UNUSED_MS = 30 * 24 * 60 * 60 * 1000;

/** Notes that a folder of jars is in use from now on. */
export function markUsed(folder: string): void {
  try {
    const now = new Date();
    utimesSync(folder, now, now);
  } catch {
    // Somebody else's folder, or one that can't be written: then nobody here removes it either.
  }
}

/**
 * Removes the folders of jars in the cache that nobody has used for 30 days. One that a process of this machine runs on stays, however
 * long ago that began. Whoever calls it holds the cache's lock.
 *
 * @param keep names of folders that stay.
 * @returns names of those that are gone.
 */
export function removeUnusedJars(cache: string, keep: readonly string[]): readonly string[] {
  const before = Date.now() - UNUSED_MS;
  const old = readdirSync(cache).filter(
    (name) => (JARS.test(name) || LEFT.test(name)) && !keep.includes(name) && lastUse(join(cache, name)) < before,
  );
  if (old.length === 0) return [];
  const running = commandLines();
  if (running === undefined) return [];
  return old.filter((name) => {
    const folder = join(cache, name);
    if (running.includes(folder)) return false;
    // Under another name nobody begins to use it; who did just before has marked it.
    const aside = join(cache, `removing-${name}`);
    try {
      renameSync(folder, aside);
      if (lastUse(aside) >= before) {
        renameSync(aside, folder);
        return false;
      }
      rmSync(aside, { recursive: true, force: true });
      return JARS.test(name);
    } catch {
      // Somebody else's: it stays.
      return false;
    }
  });
}

/** When a folder was marked, or one of its files read where the file system notes that; milliseconds since 1970. */
function lastUse(folder: string): number {
  try {
    const read = readdirSync(folder).map((name) => statSync(join(folder, name)).atimeMs);
    return Math.max(statSync(folder).mtimeMs, ...read);
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

/** The command lines of all processes; `undefined` where they can't be told. */
function commandLines(): string | undefined {
  try {
    if (!existsSync("/proc/self/cmdline")) {
      return execFileSync("ps", ["-axww", "-o", "command="], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
    }
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .map((pid) => {
        try {
          return readFileSync(`/proc/${pid}/cmdline`, "utf8");
        } catch {
          // It has ended meanwhile.
          return "";
        }
      })
      .join("\n");
  } catch {
    return undefined;
  }
}
