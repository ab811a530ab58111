import { setTimeout as sleep } from "node:timers/promises";
import type { JobContext } from "../../lib/glue/index.js";
import { isThrottled } from "../../lib/keyspaces/index.js";

type Pause = (milliseconds: number, signal: AbortSignal) => Promise<unknown>;

const pause: Pause = (milliseconds, signal) => sleep(milliseconds, undefined, { signal });

/**
 * Tries again after 1, 2, 4, ... seconds (a half to the whole of it, by chance), at most a minute, while the cluster is busy or lost.
 * What is written twice is the same.
 */
export async function withRetries(
  context: Pick<JobContext<unknown>, "log" | "report" | "signal">,
  retries: number,
  work: () => Promise<void>,
  wait: Pause = pause,
): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (attempt >= retries || !isThrottled(error) || context.signal.aborted) throw error;
      const seconds = Math.min(2 ** attempt, 60) * (0.5 + Math.random() / 2);
      const message = error instanceof Error ? (error.message.split("\n")[0] ?? "") : String(error);
      context.log.warn(`the cluster is busy, trying again in ${seconds.toFixed(1)} s: ${message.slice(0, 200)}`);
      context.report.warn("WRITES_RETRIED", "Writes were throttled or lost, and tried again");
      await wait(seconds * 1000, context.signal);
    }
  }
}
