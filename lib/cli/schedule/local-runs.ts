import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  appendFileSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { hostname } from "node:os";
import path from "node:path";
import { ExitCode, UserError } from "../../errors.js";
import type { RunReportJson } from "../../glue/report.js";
import { chainOfRun, isOverdue, type JobRun, stampOfChain } from "../../glue/schedule/model.js";
import { argumentsOf, type Observation, type RunInChain, type RunStarter } from "../../glue/schedule/starter.js";
import type { Logger } from "../../logger.js";
import { withFileLock } from "../../targets/local/file-lock.js";
import { poll } from "../../targets/local/poll.js";
import { stopProcess } from "../../targets/local/stop-process.js";
import { CLAIM_VARIABLE, claimantOf } from "../run-claim.js";

/** What runs on this machine are started with. */
export interface LocalRunsOptions {
  /** `glue-connect` itself: program and arguments before the command. */
  readonly command: readonly string[];
  /** Options of `run` that name the configuration. */
  readonly options: readonly string[];
  /** Each run has a folder in it, with its output, its report and its process. */
  readonly folder: string;
  /** The name of the state that the runs belong to. Other states of the project have theirs in the same folder. */
  readonly state: () => Promise<string>;
  /** Where the processes work: the configuration's folder. */
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
  /** A process that hasn't begun by then is ended; default: 120,000 ms. */
  readonly startTimeoutMs?: number;
}

const START_TIMEOUT_MS = 120_000;
const STOP_GRACE_MS = 60_000;
/** A run whose end nobody saw is started again, but one that takes the machine down with it not for ever. */
const MOST_STARTS = 3;

/** The output of a run on this machine. */
export function outputOf(folder: string, run: string): string {
  return path.join(folder, run, "output.log");
}

/**
 * Runs as processes of this machine, `glue-connect run`. They are processes of their own: when the scheduler ends they go on,
 * and the next one finds them by their files.
 */
export function createLocalRuns(options: LocalRunsOptions): RunStarter {
  const { folder, log } = options;
  // Files and processes of runs are this machine's; another folder on it knows nothing of them.
  const here = `${hostname()}-${createHash("sha256").update(path.resolve(folder)).digest("hex").slice(0, 8)}`;
  const children = new Map<string, ChildProcess>();
  const stopping = new Set<string>();
  const files = (run: string) => {
    const own = path.join(folder, run);
    const file = (name: string) => path.join(own, name);
    return {
      own,
      claim: file("process.json"),
      report: file("report.json"),
      lock: file("lock"),
      starts: file("starts"),
      state: file("state"),
    };
  };
  let known: string | undefined;
  const stateName = async () => {
    known ??= await options.state();
    return known;
  };
  const makeFolder = async (run: string): Promise<void> => {
    const { own, state } = files(run);
    const name = await stateName();
    mkdirSync(own, { recursive: true });
    writeFileSync(state, name);
  };

  /** @throws UserError `RUN_NOT_STARTED` with what the process said when it ended before it began. */
  const launch = async (request: RunInChain): Promise<void> => {
    const { run } = request;
    const { claim, report, starts } = files(run.id);
    await makeFolder(run.id);
    const output = openSync(outputOf(folder, run.id), "a");
    appendFileSync(starts, "x");
    const [program = process.execPath, ...before] = options.command;
    const argv = ["run", run.module, ...argumentsOf(request), "--report-file", report, ...options.options];
    const child = spawn(program, [...before, ...argv], {
      cwd: options.cwd,
      env: { ...options.env, [CLAIM_VARIABLE]: claim, NO_COLOR: "1" },
      stdio: ["ignore", output, output],
      // Ctrl-C in the scheduler's terminal is not for its runs.
      detached: true,
    });
    closeSync(output);
    let failed: Error | undefined;
    child.once("error", (error) => {
      failed = error;
    });
    child.unref();
    children.set(run.id, child);
    const claimed = await poll(
      () => (claimantOf(claim) !== undefined || failed !== undefined || hasEnded(child) ? true : undefined),
      { timeoutMs: options.startTimeoutMs ?? START_TIMEOUT_MS },
    );
    if (claimantOf(claim) !== undefined) return;
    // A child that begins after all would be a second run beside the next attempt's.
    if (!hasEnded(child) && child.pid !== undefined) {
      child.kill("SIGKILL");
      await poll(() => (hasEnded(child) ? true : undefined), { timeoutMs: STOP_GRACE_MS });
      // It was quicker: its claim stands, and whoever looks finds it ended.
      if (claimantOf(claim) !== undefined) return;
    }
    const why =
      failed?.message ?? (claimed === undefined ? "it didn't begin in time" : lastLines(outputOf(folder, run.id)));
    throw new UserError("RUN_NOT_STARTED", `The job can't be run: ${why}`);
  };

  return {
    place: () => here,

    async start(request) {
      const { run } = request;
      if (isForeign(run)) throw elsewhere(run);
      const { claim, lock } = files(run.id);
      await makeFolder(run.id);
      await withFileLock(lock, async () => {
        if (claimantOf(claim) !== undefined) return;
        await checkCurrent(request);
        await launch(request);
      });
      return `${here}:${run.id}`;
    },

    async observe(request) {
      const { run } = request;
      if (isForeign(run)) {
        if (isOverdue(run, new Date())) return { state: "TIMEOUT", reason: elsewhere(run).message };
        return { state: run.state === "STOPPING" || run.state === "STARTING" ? run.state : "RUNNING" };
      }
      const { claim, report, lock, starts } = files(run.id);
      const claimant = claimantOf(claim);
      if (claimant?.alive) {
        // It was asked to stop by a scheduler that is no more, or that asked in vain.
        if (run.state === "STOPPING") stop(run, claimant);
        return { state: run.state === "STOPPING" ? "STOPPING" : "RUNNING" };
      }
      const ended = outcomeOf(report);
      if (ended !== undefined) return ended;
      if (run.stop !== undefined) return { state: "STOPPED" };
      const child = children.get(run.id);
      if (child !== undefined) {
        const { exitCode, signalCode } = child;
        if (exitCode === ExitCode.interrupted) return { state: "STOPPED" };
        const how = signalCode === null ? `ended with ${exitCode}` : `was ended by ${signalCode}`;
        return {
          state: "FAILED",
          reason: `its process ${how} without a report: ${lastLines(outputOf(folder, run.id))}`,
        };
      }
      // Nobody saw its end: perhaps the machine went down. The same run is started again.
      await makeFolder(run.id);
      return withFileLock(lock, async (): Promise<Observation> => {
        if (claimantOf(claim)?.alive) return { state: "RUNNING" };
        await checkCurrent(request);
        if (timesStarted(starts) >= MOST_STARTS) {
          return { state: "FAILED", reason: `its process was lost ${MOST_STARTS} times` };
        }
        log.warn(`${run.id} ended without a report while no scheduler looked; it is started again`);
        rmSync(claim, { force: true });
        await launch(request);
        return { state: "RUNNING" };
      });
    },

    async forget(before, signal) {
      for (const id of existsSync(folder) ? readdirSync(folder) : []) {
        const chain = chainOfRun(id);
        const time = chain === undefined ? undefined : stampOfChain(chain);
        if (time === undefined || time >= before) continue;
        const { own, claim, lock, state } = files(id);
        // Of another state's chains nothing is known here; they may still want to know how it ended.
        if (textOf(state) !== (await stateName())) continue;
        // One that its chain has given up may still be at work.
        const remove = async () => {
          if (!claimantOf(claim)?.alive) rmSync(own, { recursive: true, force: true });
        };
        await withFileLock(lock, remove, { signal });
      }
    },

    async cancel({ run }) {
      if (isForeign(run)) throw elsewhere(run);
      const claimant = claimantOf(files(run.id).claim);
      if (claimant?.alive) stop(run, claimant);
    },
  };

  /** A run that is over, and whose folder is deleted, looks as if it had never been started. */
  async function checkCurrent({ run, isCurrent }: RunInChain): Promise<void> {
    if (isCurrent === undefined || (await isCurrent())) return;
    throw new UserError("RUN_OVERTAKEN", `${run.id} isn't as it was any more`, { exitCode: ExitCode.retryable });
  }

  function isForeign({ place }: JobRun): boolean {
    return place !== undefined && place !== here;
  }

  /** Not waited for: the job stops Spark and rolls back. */
  function stop({ id }: JobRun, { pid, began }: { readonly pid: number; readonly began: string }): void {
    if (stopping.has(id)) return;
    stopping.add(id);
    void stopProcess({ pid, began }, ["SIGTERM"], STOP_GRACE_MS).catch(() => stopping.delete(id));
  }
}

/** Nothing is known of it here: neither that it goes on, nor that it has ended. */
function elsewhere({ id, place }: JobRun): UserError {
  return new UserError("RUN_ELSEWHERE", `${id} is on another machine, ${place}`, {
    hint: "Start the scheduler there, with the same configuration",
    exitCode: ExitCode.unreachable,
  });
}

/** How a run ended by its report; `undefined` when there is none, or none that was written to its end. */
function outcomeOf(report: string): Observation | undefined {
  try {
    const { state, error } = JSON.parse(readFileSync(report, "utf8")) as RunReportJson;
    const reason = error === undefined ? {} : { reason: `${error.code}: ${error.message}` };
    if (state === "SUCCEEDED") return { state };
    return { state: state === "STOPPED" ? "STOPPED" : "FAILED", ...reason };
  } catch {
    return undefined;
  }
}

function textOf(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

function timesStarted(starts: string): number {
  return statSync(starts, { throwIfNoEntry: false })?.size ?? 0;
}

function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}

function lastLines(file: string): string {
  try {
    return readFileSync(file, "utf8").trim().split("\n").slice(-3).join(" ").slice(-500);
  } catch {
    return "";
  }
}
