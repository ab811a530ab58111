import { createHash } from "node:crypto";
import { applicationName } from "./connection.js";
import { errorCode, statementError } from "./errors.js";
import { quoteIdentifier, quoteLiteral, quoteTable, type TableName } from "./identifiers.js";
import type { PostgresSession } from "./session.js";

/** Marks a staged row that deletes by key; any other row inserts or updates by key. */
export const STAGED_DELETE = "D";

/** Marks a staged row whose key the source did not have before; treated like any other that is not deleted. */
export const STAGED_INSERT = "I";

/** Marks a staged row whose key the source had before, or may have had. */
export const STAGED_UPDATE = "U";

/** The column of a staging table that may hold {@link STAGED_DELETE}. */
export const OPERATION_COLUMN = "op";

/** A column of a staging table. Names are ours, because Spark's JDBC writer doesn't escape quotes in column names. */
export interface StagingColumn {
  /** `c1`, `c2`, ... */
  readonly name: string;
  /** PostgreSQL type. */
  readonly type: string;
}

/** Who made a staging table; kept as its comment, for the run that finds it left over. */
export interface StagingOwner {
  readonly runId: string;
  readonly job: string;
  readonly target: string;
  /** Spark session whose executors may still be writing into it. */
  readonly sparkSessionId: string;
}

const PREFIX = "glue_connect_stage_";

/** The staging table of one attempt, in the target's schema: no two attempts share one, nor two targets of one run. */
export function stagingTable(target: TableName, runId: string): TableName {
  const hash = createHash("sha256").update(target.name).digest("hex").slice(0, 8);
  return { schema: target.schema, name: `${PREFIX}${runId.replace(/^jr_/, "").slice(0, 32)}_${hash}` };
}

/** Creates the table with its owner's comment, both or neither. UNLOGGED: after a crash of the server it is empty, which is noticed. */
export async function createStaging(
  session: PostgresSession,
  table: TableName,
  columns: readonly StagingColumn[],
  owner: StagingOwner,
): Promise<void> {
  const list = [{ name: OPERATION_COLUMN, type: "text" }, ...columns];
  try {
    await session.query("BEGIN");
    await session.query(
      `CREATE UNLOGGED TABLE ${quoteTable(table)} (${list.map((c) => `${quoteIdentifier(c.name)} ${c.type}`).join(", ")})`,
    );
    await session.query(`COMMENT ON TABLE ${quoteTable(table)} IS ${quoteLiteral(JSON.stringify(owner))}`);
    await session.commit();
  } catch (error) {
    await session.rollback();
    throw statementError(error, `creating the staging table ${quoteTable(table)}`);
  }
}

/** Drops a staging table if it is there and nobody is writing into it. */
export async function dropStaging(session: PostgresSession, table: TableName, waitMs: number): Promise<boolean> {
  try {
    await session.query("BEGIN");
    await session.query(`SET LOCAL lock_timeout = '${Math.max(1, Math.round(waitMs))}ms'`);
    await session.query(`DROP TABLE IF EXISTS ${quoteTable(table)}`);
    await session.commit();
    return true;
  } catch (error) {
    await session.rollback();
    if (errorCode(error) === "55P03") return false;
    throw statementError(error, `dropping the staging table ${quoteTable(table)}`);
  }
}

/** A staging table that an earlier run left. */
export interface Leftover {
  readonly table: TableName;
  readonly owner: StagingOwner;
}

/** Staging tables in the target's schema that belong to the same job and target. */
export async function findLeftovers(
  session: PostgresSession,
  job: string,
  target: TableName,
): Promise<readonly Leftover[]> {
  const found = await session.query<{ name: string; comment: string | null }>(
    `SELECT c.relname AS name, pg_catalog.obj_description(c.oid, 'pg_class') AS comment
       FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname = $1 AND c.relkind = 'r' AND starts_with(c.relname, $2)`,
    [target.schema, PREFIX],
  );
  return found.rows.flatMap((row) => {
    const owner = parseOwner(row.comment);
    if (owner === undefined || owner.job !== job || owner.target !== quoteTable(target)) return [];
    return [{ table: { schema: target.schema, name: row.name }, owner }];
  });
}

/**
 * Whether a run is alive, though the lock of one table is free: it may be at work on others, with the same Spark session. Executors
 * have the run's name, too, but no locks.
 */
export async function holdsLocks(session: PostgresSession, runId: string): Promise<boolean> {
  const found = await session.query(
    `SELECT 1 FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
      WHERE l.locktype = 'advisory' AND l.granted AND a.application_name = $1 LIMIT 1`,
    [applicationName(runId)],
  );
  return found.count > 0;
}

function parseOwner(comment: string | null): StagingOwner | undefined {
  try {
    const value: unknown = JSON.parse(comment ?? "");
    if (typeof value !== "object" || value === null) return undefined;
    const { runId, job, target, sparkSessionId } = value as Record<string, unknown>;
    if (typeof runId !== "string" || typeof job !== "string" || typeof target !== "string") return undefined;
    return { runId, job, target, sparkSessionId: typeof sparkSessionId === "string" ? sparkSessionId : "" };
  } catch {
    return undefined;
  }
}
