import { execFileSync, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import type { BenchServers } from "./servers.js";

/** What one run of a client took. */
export interface Measure {
  /** Wall clock of the whole client process, from its start to its end. */
  readonly seconds: number;
  /** CPU seconds. */
  readonly clientCpu: number;
  readonly sparkCpu: number;
  readonly postgresCpu: number;
  /** Most memory that the client had in use at once (VmHWM), in MiB; read every 20 ms. */
  readonly clientPeakMb: number;
}

/** A program to run. */
export interface Command {
  readonly argv: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string>>;
}

const PEAK_INTERVAL_MS = 20;

/**
 * Runs a client to its end and measures it. Reads `/proc`, so it needs Linux.
 *
 * @throws Error with the end of its output when it fails.
 */
export async function measure(command: Command, servers: BenchServers): Promise<Measure> {
  const before = { client: waitedFor(), spark: cpuOf(servers.spark.pid), postgres: postgresCpu(servers.postgres.pid) };
  const started = performance.now();
  const [program, ...args] = command.argv;
  const child = spawn(program, args, {
    env: { ...process.env, ...command.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      output = `${output}${chunk.toString()}`.slice(-4_000);
    });
  }
  let peak = 0;
  const timer = setInterval(() => {
    peak = Math.max(peak, child.pid === undefined ? 0 : peakOf(child.pid));
  }, PEAK_INTERVAL_MS);
  const { code, seconds } = await new Promise<{ code: number | null; seconds: number }>((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (exitCode) => resolve({ code: exitCode, seconds: (performance.now() - started) / 1000 }));
  }).finally(() => clearInterval(timer));
  if (code !== 0) throw new Error(`${command.argv.join(" ")} ended with ${code}:\n${output}`);
  return {
    seconds,
    clientCpu: waitedFor() - before.client,
    sparkCpu: cpuOf(servers.spark.pid) - before.spark,
    postgresCpu: postgresCpu(servers.postgres.pid) - before.postgres,
    clientPeakMb: peak,
  };
}

let ticks: number | undefined;
const seconds = (clockTicks: number) => {
  ticks ??= Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));
  return clockTicks / ticks;
};

/** Fields of `/proc/<pid>/stat` from the third on: state, ppid, ...; the second, the name, may hold anything. */
function stat(pid: number | "self"): string[] {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  return text.slice(text.lastIndexOf(")") + 2).split(" ");
}

/** The fields utime, stime, cutime, cstime, summed from one to another. */
const sum = (fields: readonly string[], from: number, to: number) =>
  fields.slice(from, to).reduce((total, field) => total + Number(field), 0);

const cpuOf = (pid: number) => seconds(sum(stat(pid), 11, 13));

/** CPU of children of this process that have ended. */
const waitedFor = () => seconds(sum(stat("self"), 13, 15));

/** The postmaster, its children of now, and those that have ended. */
function postgresCpu(postmaster: number): number {
  let total = sum(stat(postmaster), 11, 15);
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const fields = stat(Number(name));
      if (Number(fields[1]) === postmaster) total += sum(fields, 11, 13);
    } catch {
      // It ended between the two looks, and is among the postmaster's own by now.
    }
  }
  return seconds(total);
}

/** In MiB; 0 when the process has ended. */
function peakOf(pid: number): number {
  try {
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024;
  } catch {
    return 0;
  }
}
