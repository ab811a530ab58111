import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { inject } from "vitest";
import { ensureSpark, type LocalSpark, type LocalSparkOptions, stopSpark } from "../../lib/targets/local/spark.js";

/** A Spark server of one test file. */
export interface ExtraSpark extends LocalSpark {
  stop(): Promise<void>;
}

/**
 * Starts a Spark beside the one that the run shares, for what that one can't do. It is in a state home of its own inside the
 * run's, and ends with this process whatever becomes of it.
 *
 * @example
 * beforeAll(async () => {
 *   spark = await startExtraSpark({ version: "4.1" });
 * });
 * afterAll(() => spark.stop());
 */
export async function startExtraSpark(
  options: Pick<LocalSparkOptions, "version" | "profile" | "conf" | "env">,
): Promise<ExtraSpark> {
  const home = mkdtempSync(join(inject("stateHome"), "..", "extra-"));
  const spark = await ensureSpark({ ...options, home, ownerPid: process.pid, idleMinutes: 0 });
  return {
    ...spark,
    async stop() {
      await stopSpark(home, options.version);
      rmSync(home, { recursive: true, force: true });
    },
  };
}
