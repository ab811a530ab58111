import type { TableName } from "../../lib/postgres/identifiers.js";
import type { PostgresSession } from "../../lib/postgres/session.js";
import { dropStaging, findLeftovers, holdsLocks, type Leftover } from "../../lib/postgres/staging.js";
import type { Context } from "./arguments.js";
import { JOB } from "./target.js";

/** How long a left-over staging table is waited for, when executors of a dead run still write into it. */
export const LEFTOVER_WAIT_MS = 3_000;

/**
 * Drops staging tables of dead runs, and stops what Spark still does for them. The lock of the target says that no other run loads it; it
 * doesn't say that the other run is dead, since one run may load several targets with one Spark session.
 *
 * @returns those that couldn't be dropped, because executors still write into them.
 */
export async function sweepLeftovers(
  context: Context,
  session: PostgresSession,
  target: TableName,
): Promise<readonly Leftover[]> {
  const leftovers = await findLeftovers(session, JOB, target);
  if (leftovers.length === 0) return [];
  return await context.step("clear what a dead run left", async () => {
    const spark = await context.spark();
    const inUse: Leftover[] = [];
    for (const leftover of leftovers) {
      const { runId, sparkSessionId } = leftover.owner;
      const dead = runId !== context.runId && !(await holdsLocks(session, runId));
      if (dead && sparkSessionId !== "") await spark.interruptSession(sparkSessionId).catch(() => undefined);
      if (!(await dropStaging(session, leftover.table, LEFTOVER_WAIT_MS))) inUse.push(leftover);
    }
    return inUse;
  });
}
