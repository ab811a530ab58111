import { linkSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { ExitCode, UserError } from "../errors.js";
import { identifyProcess, isAlive, type ProcessIdentity } from "../targets/local/process-identity.js";
import type { CliIo } from "./io.js";

/** Names the file by which the process of a scheduled run makes itself known. */
export const CLAIM_VARIABLE = "GLUE_CONNECT_RUN_CLAIM";

/**
 * A run that a scheduler has started writes down who it is before it does anything else. The file is created exclusively: of
 * two processes that were started for one run, because a scheduler died in between, the second one gives way.
 *
 * @throws UserError `RUN_CLAIMED` (exit 75).
 */
export function claimRun(env: CliIo["env"]): void {
  const file = env[CLAIM_VARIABLE];
  const self = identifyProcess(process.pid);
  if (file === undefined || file === "" || self === undefined) return;
  const part = `${file}.${process.pid}`;
  writeFileSync(part, JSON.stringify(self));
  try {
    linkSync(part, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    throw new UserError("RUN_CLAIMED", "Another process is at work on this run", { exitCode: ExitCode.retryable });
  } finally {
    rmSync(part, { force: true });
  }
}

/** Who works, or has worked, on a run; `undefined` when nobody has yet. */
export function claimantOf(file: string): (ProcessIdentity & { readonly alive: boolean }) | undefined {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
  const claimant = JSON.parse(text) as ProcessIdentity;
  return { ...claimant, alive: isAlive(claimant) };
}
