/**
 * {@link batchRun} in a process of its own that is killed, or stops itself, at a given place. Standard output is the list of
 * places it came by.
 */
import { writeSync } from "node:fs";
import { type BatchRunInput, batchRun } from "./batch-run.js";

const input = JSON.parse(process.argv[2] ?? "{}") as BatchRunInput;
let stopped = false;
try {
  await batchRun(input, async (place) => {
    writeSync(1, `${place}\n`);
    if (place === input.killAt) {
      process.kill(process.pid, "SIGKILL");
      await new Promise(() => undefined);
    }
    if (place === input.stopAt && !stopped) {
      stopped = true;
      process.kill(process.pid, "SIGSTOP");
    }
  });
} catch (error) {
  const { code, message } = error as { code?: string; message: string };
  writeSync(2, `${code}: ${message}\n`);
  process.exitCode = 1;
}
