import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { inject, onTestFinished } from "vitest";
import { stopCassandra } from "../../../lib/targets/local/cassandra.js";
import { stopPostgres } from "../../../lib/targets/local/postgres.js";
import { stopSpark } from "../../../lib/targets/local/spark.js";

/** A state home of the test's own, inside the run's; whatever is up in it afterwards is stopped. */
export function ownHome(): string {
  const folder = mkdtempSync(join(inject("warehouse"), "..", "..", "own-"));
  // Open to the account that root's PostgreSQL runs as, so that everything is in here and goes with it.
  chmodSync(folder, 0o711);
  const home = join(folder, "state");
  onTestFinished(async () => {
    await Promise.all([stopSpark(home), stopPostgres(home), stopCassandra(home)]);
    rmSync(folder, { recursive: true, force: true });
  });
  return home;
}

/** The processes whose command line names this text: for Spark its home, for PostgreSQL its data folder. */
export function processesNaming(text: string): readonly number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(text);
      } catch {
        return false;
      }
    });
}
