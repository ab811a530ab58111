import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";

/** One process, told apart from a later one that the system gave the same number. */
export interface ProcessIdentity {
  readonly pid: number;
  /** When it began, in the system's own form; a value to compare, not to read. */
  readonly began: string;
}

/** Who has this pid now; undefined when nobody has, or only the remains of a process that its parent hasn't collected. */
export function identifyProcess(pid: number): ProcessIdentity | undefined {
  if (!Number.isSafeInteger(pid) || pid <= 0) return undefined;
  const began = existsSync("/proc/self/stat") ? beganByProc(pid) : beganByPs(pid);
  return began === undefined ? undefined : { pid, began };
}

/** Is that very process alive, not just some process with its pid? */
export function isAlive(process: ProcessIdentity): boolean {
  return identifyProcess(process.pid)?.began === process.began;
}

function beganByProc(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field is the program's name in parentheses, and a name may hold anything.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (fields[0] === "Z" || fields[0] === "X") return undefined;
    // Ticks since the boot repeat after the next one.
    return `${bootId()}/${fields[19]}`;
  } catch {
    return undefined;
  }
}

function bootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    return "";
  }
}

function beganByPs(pid: number): string | undefined {
  try {
    const line = execFileSync("ps", ["-o", "stat=,lstart=", "-p", String(pid)], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
    const [state, ...began] = line.split(/\s+/);
    return state === undefined || state.startsWith("Z") || began.length === 0 ? undefined : began.join(" ");
  } catch {
    return undefined;
  }
}
