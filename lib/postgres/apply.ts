import { ExitCode, UserError } from "../errors.js";
import { errorCode, isConnectionLost, statementError } from "./errors.js";
import { quoteIdentifier, quoteTable, type TableName } from "./identifiers.js";
import { onlyRow, type PostgresSession } from "./session.js";
import { OPERATION_COLUMN, STAGED_DELETE, STAGED_INSERT } from "./staging.js";
import type { StateTable, TargetState } from "./state.js";

/** How one staged column becomes one column of the target. */
export interface AppliedColumn {
  /** Column of the target. */
  readonly target: string;
  /** Column of the staging table. */
  readonly staged: string;
  /** The target's value as SQL over a staged column, which is handed in quoted and qualified. */
  readonly decode: (staged: string) => string;
  /** `text`: both sides are compared byte by byte, since the column's own equality is wider or there is none (`json`). */
  readonly comparedAs?: "text";
  readonly key: boolean;
}

/**
 * What becomes of a row that is deleted. `soft`: it stays, and the column says so: a timestamp of the transaction, or `true`; a row that
 * comes back is unmarked. A soft delete needs a target whose key is its primary key.
 */
export type Deletes =
  | { readonly kind: "hard" }
  | { readonly kind: "soft"; readonly column: string; readonly type: "timestamp" | "boolean" };

/** The statements that make a target. */
export interface NewTable {
  /** CREATE TABLE, without the key. */
  readonly table: string;
  /** ALTER TABLE ... ADD PRIMARY KEY, once the rows are in: that is the faster order, and it finds out whether the key is one. */
  readonly key: string;
}

/** What one transaction is to do. */
export interface ApplyRequest {
  readonly target: TableName;
  readonly staging: TableName;
  readonly columns: readonly AppliedColumn[];
  /** Rows that Spark says it has written, each with a key of its own. */
  readonly stagedRows: bigint;
  /** Rows that the target must have in the end. */
  readonly targetRows: bigint;
  /**
   * `targetRows` was reckoned from the changes: a staged insert whose key the target has already means that the source has it
   * twice, or that somebody else wrote to the target.
   */
  readonly insertsAreNew?: boolean;
  /** The key is the target's primary key, so that no two rows of the target can share one. */
  readonly keyIsUnique: boolean;
  /**
   * `changes`: upsert the staged upserts, delete the staged deletes. `everything`: the staged rows are the whole table, so
   * rows of the target that aren't among them go, and further copies of a key.
   */
  readonly rows: "changes" | "everything";
  /** How rows go: out of the table, or marked in a column of it. */
  readonly deletes: Deletes;
  /** What makes the target, when it is missing. */
  readonly create?: NewTable;
  /** Statements that make the target fit the rows: columns added, dropped, renamed, widened; comments. */
  readonly ddl: readonly string[];
  /** The target as it was when the changes were found; `undefined`: it was missing. */
  readonly expectedOid: string | undefined;
  /** `runId` of the state as it was when the changes were found; `undefined`: there was none. */
  readonly expectedRunId: string | undefined;
  /** Column list needs OVERRIDING SYSTEM VALUE, because an identity column is written. */
  readonly overridingSystemValue: boolean;
  readonly state: StateTable;
  readonly newState: Omit<TargetState, "targetOid">;
  /** How long to wait for the table's lock, in ms. */
  readonly lockTimeoutMs: number;
  /**
   * Asked when the answer to COMMIT is lost: whether the commit had its effect, found out on a new connection (see
   * {@link wasCommitted}).
   */
  readonly outcomeOfLostCommit: () => Promise<boolean>;
}

export interface ApplyResult {
  readonly inserted: bigint;
  readonly updated: bigint;
  readonly deleted: bigint;
  /** Staged rows that were there twice and were dropped: a task that ran again. */
  readonly stagedTwice: bigint;
}

/** Names a part of the transaction, so that progress shows it and tests can stop there. */
export type StepRunner = <T>(name: string, work: () => Promise<T>) => Promise<T>;

/**
 * Brings the staged rows into the target and stores the new state, in one transaction: lock, check the state, DDL, count the
 * staged rows, delete, update, insert, count the target's rows, state, commit. Unchanged rows aren't rewritten (IS DISTINCT FROM), so that a replay
 * changes nothing.
 *
 * The table is locked against writers (SHARE ROW EXCLUSIVE), readers go on and see the old rows until the commit.
 *
 * @throws UserError `TARGET_CHANGED` (state or table are no longer what the changes were computed against),
 *   `STAGING_INCOMPLETE`, `STAGING_NOT_UNIQUE`, `TARGET_ROWS_DIFFER` (somebody else writes to the target, a trigger or rule
 *   swallows rows, or an insert that had to be new is none), and the server's refusals as `POSTGRES_*`. Whatever is thrown, nothing has
 *   changed, but for what `outcomeOfLostCommit` itself rejects with.
 */
export async function applyStaged(
  session: PostgresSession,
  request: ApplyRequest,
  step: StepRunner,
): Promise<ApplyResult> {
  const label = quoteTable(request.target);
  let doing = `locking ${label}`;
  try {
    const targetOid = await step("lock the target", async () => {
      await begin(session, request);
      if (request.create !== undefined) {
        doing = `creating ${label}`;
        await session.query(request.create.table);
      } else {
        await lockTarget(session, request);
      }
      // Only under the lock: a run that waited here may have been overtaken.
      const oid = await checkOid(session, request);
      await checkState(session, request);
      return oid;
    });
    doing = `altering ${label}`;
    await alterTarget(session, request, step);
    doing = `checking the rows staged for ${label}`;
    const stagedTwice = await step("check the staged rows", async () => {
      const twice = await checkStaged(session, request);
      await checkInserts(session, request);
      return twice;
    });
    doing = `deleting from ${label}`;
    const deleted = await step("delete", () => deleteRows(session, request));
    doing = `updating ${label}`;
    const updated = await step("update", () => updateRows(session, request));
    doing = `inserting into ${label}`;
    const inserted = await step("insert", () => insertRows(session, request));
    if (request.create !== undefined) {
      const { key } = request.create;
      doing = `making the primary key of ${label}`;
      await step("make the primary key", () => session.query(key));
    }
    doing = `counting the rows of ${label}`;
    await step("count the target's rows", () => checkTarget(session, request));
    doing = `storing the state in ${request.state.name}`;
    await step("store the state", async () => {
      await request.state.write(session, { ...request.newState, targetOid });
      await session.query(`DROP TABLE ${quoteTable(request.staging)}`);
    });
    doing = `committing to ${label}`;
    await step("commit", () => commit(session, request.outcomeOfLostCommit));
    return { inserted, updated, deleted, stagedTwice };
  } catch (error) {
    await session.rollback();
    if (errorCode(error) === "42P07" && request.create !== undefined)
      throw targetChanged(request, "it was created meanwhile");
    if (error instanceof Error && error.name === "AbortError") throw error;
    if (request.create !== undefined && keyRefused(error, request)) throw notUnique(request);
    throw statementError(error, doing);
  }
}

/**
 * Moves the state without touching a row: the source has a new snapshot whose rows are the same (a compaction), or another schema.
 *
 * @param request `targetRows`: how many rows the target must have, when it isn't the state that says so.
 * @throws UserError `TARGET_CHANGED`, `TARGET_ROWS_DIFFER`, `POSTGRES_*`.
 */
export async function moveState(
  session: PostgresSession,
  request: Pick<
    ApplyRequest,
    | "target"
    | "ddl"
    | "deletes"
    | "expectedOid"
    | "expectedRunId"
    | "state"
    | "newState"
    | "lockTimeoutMs"
    | "outcomeOfLostCommit"
  > & { readonly targetRows?: bigint },
  step: StepRunner,
): Promise<void> {
  const label = quoteTable(request.target);
  let doing = `locking ${label}`;
  try {
    const targetOid = await step("lock the state", async () => {
      await begin(session, request);
      if (request.ddl.length > 0 || request.targetRows !== undefined) await lockTarget(session, request);
      const oid = await checkOid(session, request);
      await checkState(session, request);
      return oid;
    });
    doing = `altering ${label}`;
    await alterTarget(session, request, step);
    // The column that tells live rows may only just have come.
    const { targetRows } = request;
    doing = `counting the rows of ${label}`;
    if (targetRows !== undefined) await checkTarget(session, { ...request, targetRows });
    doing = `storing the state in ${request.state.name}`;
    await step("store the state", () => request.state.write(session, { ...request.newState, targetOid }));
    doing = `committing to ${label}`;
    await step("commit", () => commit(session, request.outcomeOfLostCommit));
  } catch (error) {
    await session.rollback();
    throw statementError(error, doing);
  }
}

/**
 * After a lost COMMIT: whether it had its effect. Ask on a new connection that has the run's advisory lock: whoever has it
 * knows that the old connection's server process is gone, so that the answer is final.
 */
export async function wasCommitted(session: PostgresSession, state: StateTable, runId: string): Promise<boolean> {
  return (await state.read(session))?.runId === runId;
}

async function begin(session: PostgresSession, request: Pick<ApplyRequest, "lockTimeoutMs">): Promise<void> {
  // READ COMMITTED whatever the role's default: after waiting for the lock, the rows of whoever had it must be seen.
  await session.query("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE");
  await session.query(`SET LOCAL lock_timeout = '${Math.round(request.lockTimeoutMs)}ms'`);
  // Foreign keys that may wait are looked at once all rows are in.
  await session.query("SET CONSTRAINTS ALL DEFERRED");
  // Rows hidden by a policy are an error, not fewer rows.
  await session.query("SET LOCAL row_security = off");
}

/** ALTER TABLE needs readers out of the way too; to ask for that only then would be to wait for them with the writers' lock in hand. */
async function lockTarget(session: PostgresSession, request: Pick<ApplyRequest, "target" | "ddl">): Promise<void> {
  const mode = request.ddl.length > 0 ? "ACCESS EXCLUSIVE" : "SHARE ROW EXCLUSIVE";
  await session.query(`LOCK TABLE ${quoteTable(request.target)} IN ${mode} MODE`);
}

async function alterTarget(
  session: PostgresSession,
  request: Pick<ApplyRequest, "ddl">,
  step: StepRunner,
): Promise<void> {
  if (request.ddl.length === 0) return;
  await step("alter the target", async () => {
    for (const statement of request.ddl) await session.query(statement);
  });
}

async function commit(session: PostgresSession, outcomeOfLostCommit: () => Promise<boolean>): Promise<void> {
  try {
    await session.commit();
  } catch (error) {
    if (!isConnectionLost(error)) throw error;
    if (!(await outcomeOfLostCommit())) throw error;
  }
}

async function checkState(
  session: PostgresSession,
  request: Pick<ApplyRequest, "state" | "expectedRunId" | "target">,
): Promise<void> {
  const now = await request.state.read(session, "for update");
  if (now?.runId !== request.expectedRunId) {
    throw targetChanged(request, `run ${now?.runId ?? "(none)"} has stored another state since`);
  }
}

async function checkOid(
  session: PostgresSession,
  request: Pick<ApplyRequest, "target" | "expectedOid">,
): Promise<string> {
  const found = await session.query<{ oid: string | null }>("SELECT to_regclass($1)::oid::text AS oid", [
    quoteTable(request.target),
  ]);
  const oid = onlyRow(found).oid;
  if (oid === null) throw targetChanged(request, "it was dropped meanwhile");
  if (request.expectedOid !== undefined && oid !== request.expectedOid) {
    throw targetChanged(request, "it was dropped and created again meanwhile");
  }
  return oid;
}

function targetChanged(request: Pick<ApplyRequest, "target">, how: string): UserError {
  return new UserError(
    "TARGET_CHANGED",
    `${quoteTable(request.target)} is no longer what the changes were computed for: ${how}`,
    {
      hint: "Nothing was changed by this run; run again",
      exitCode: ExitCode.retryable,
    },
  );
}

/**
 * Holds the staged rows against Spark's count. More rows: a retried or speculative task has staged a partition twice; of
 * equal copies one stays. Fewer: the server has crashed and emptied the UNLOGGED table, or rows were taken away. The count
 * and the uniqueness of the keys together prove that the staged keys are Spark's, since each came from there.
 */
async function checkStaged(session: PostgresSession, request: ApplyRequest): Promise<bigint> {
  const staging = quoteTable(request.staging);
  const keys = request.columns.filter((column) => column.key).map((column) => quoteIdentifier(column.staged));
  const all = [OPERATION_COLUMN, ...request.columns.map((column) => column.staged)].map(quoteIdentifier);
  await session.query(`LOCK TABLE ${staging} IN SHARE ROW EXCLUSIVE MODE`);
  const count = async () =>
    BigInt(onlyRow(await session.query<{ n: string }>(`SELECT count(*) AS n FROM ${staging}`)).n);
  let staged = await count();
  let stagedTwice = 0n;
  if (staged > request.stagedRows) {
    const dropped = await session.query(
      `DELETE FROM ${staging} AS extra USING (
         SELECT ctid AS place, row_number() OVER (PARTITION BY ${all.join(", ")} ORDER BY ctid) AS copy FROM ${staging}
       ) AS numbered WHERE extra.ctid = numbered.place AND numbered.copy > 1`,
    );
    stagedTwice = BigInt(dropped.count);
    staged = await count();
  }
  if (staged !== request.stagedRows) {
    throw new UserError(
      "STAGING_INCOMPLETE",
      `The staging table ${staging} holds ${staged} rows where Spark has written ${request.stagedRows}`,
      {
        hint: "Nothing was changed. PostgreSQL empties staging tables when it crashes: look into its log, then run again",
        exitCode: ExitCode.retryable,
      },
    );
  }
  // Statistics are of no use where all rows are read once; and the primary key is made of them.
  if (request.create !== undefined) return stagedTwice;
  const distinct = await session.query<{ n: string }>(
    `SELECT count(*) AS n FROM (SELECT 1 FROM ${staging} GROUP BY ${keys.join(", ")}) AS k`,
  );
  if (BigInt(onlyRow(distinct).n) !== staged) throw notUnique(request);
  await session.query(`ANALYZE ${staging}`);
  return stagedTwice;
}

/** A new table's key didn't take the rows: two share one, or one has NULL in it. */
function keyRefused(error: unknown, request: ApplyRequest): boolean {
  const code = errorCode(error);
  if (code === "23505") return true;
  const column = (error as { column?: unknown }).column;
  return code === "23502" && request.columns.some((one) => one.key && one.target === column);
}

function notUnique(request: Pick<ApplyRequest, "staging">): UserError {
  const staging = quoteTable(request.staging);
  return new UserError("STAGING_NOT_UNIQUE", `The staging table ${staging} holds unlike rows of one key, or none`, {
    hint: "Nothing was changed; run again",
    exitCode: ExitCode.retryable,
  });
}

async function checkInserts(session: PostgresSession, request: ApplyRequest): Promise<void> {
  if (request.insertsAreNew !== true) return;
  const target = quoteTable(request.target);
  const known = await session.query<{ n: string }>(
    `SELECT count(*) AS n FROM ${quoteTable(request.staging)} AS s
      WHERE s.${OPERATION_COLUMN} = '${STAGED_INSERT}' AND EXISTS (SELECT 1 FROM ${target} AS t WHERE ${sameKey(request)} AND ${liveRows(request.deletes)})`,
  );
  const { n } = onlyRow(known);
  if (n === "0") return;
  throw new UserError("TARGET_ROWS_DIFFER", `${target} has ${n} rows already that are new in the source`, {
    hint: "Nothing was changed. The source has their keys twice, or somebody else writes to the target",
  });
}

const value = (column: AppliedColumn) => column.decode(`s.${quoteIdentifier(column.staged)}`);

function sameKey(request: ApplyRequest): string {
  return request.columns
    .filter((column) => column.key)
    .map((column) => `t.${quoteIdentifier(column.target)} = ${value(column)}`)
    .join(" AND ");
}

/** How soft deletes mark a row, and how they know one that isn't; all of it over the target as `t`. */
function marking(deletes: Deletes & { kind: "soft" }) {
  const column = quoteIdentifier(deletes.column);
  return deletes.type === "boolean"
    ? { column, live: `t.${column} IS NOT TRUE`, dead: "true", alive: "false" }
    : { column, live: `t.${column} IS NULL`, dead: "transaction_timestamp()", alive: "NULL" };
}

/** SQL condition over the target as `t`: the rows that aren't deleted softly. */
export function liveRows(deletes: Deletes): string {
  return deletes.kind === "soft" ? marking(deletes).live : "true";
}

async function deleteRows(session: PostgresSession, request: ApplyRequest): Promise<bigint> {
  if (request.create !== undefined) return 0n;
  const target = quoteTable(request.target);
  const staging = quoteTable(request.staging);
  const changes = request.rows === "changes";
  const gone = changes
    ? `s.${OPERATION_COLUMN} = '${STAGED_DELETE}' AND ${sameKey(request)}`
    : `NOT EXISTS (SELECT 1 FROM ${staging} AS s WHERE ${sameKey(request)})`;
  if (request.deletes.kind === "soft") {
    const { column, live, dead } = marking(request.deletes);
    const from = changes ? ` FROM ${staging} AS s` : "";
    const marked = await session.query(
      `UPDATE ${target} AS t SET ${column} = ${dead}${from} WHERE ${gone} AND ${live}`,
    );
    return BigInt(marked.count);
  }
  const sql = `DELETE FROM ${target} AS t${changes ? ` USING ${staging} AS s` : ""} WHERE ${gone}`;
  const deleted = BigInt((await session.query(sql)).count);
  return request.rows === "everything" && !request.keyIsUnique
    ? deleted + (await deleteCopies(session, request))
    : deleted;
}

/** A table without a key may hold one twice, as a load that ran twice leaves it. Which copy stays is all the same: it is updated next. */
async function deleteCopies(session: PostgresSession, request: ApplyRequest): Promise<bigint> {
  const target = quoteTable(request.target);
  const keys = request.columns.filter((column) => column.key).map((column) => quoteIdentifier(column.target));
  const deleted = await session.query(
    `DELETE FROM ${target} AS extra USING (
       SELECT tableoid AS part, ctid AS place, row_number() OVER (PARTITION BY ${keys.join(", ")}) AS copy FROM ${target}
     ) AS numbered WHERE extra.tableoid = numbered.part AND extra.ctid = numbered.place AND numbered.copy > 1`,
  );
  return BigInt(deleted.count);
}

/** The target has the source's keys if it has as many rows, since every key was deleted, updated or inserted by key. */
async function checkTarget(
  session: PostgresSession,
  request: Pick<ApplyRequest, "target" | "targetRows" | "deletes">,
): Promise<void> {
  const target = quoteTable(request.target);
  const rows = BigInt(
    onlyRow(
      await session.query<{ n: string }>(`SELECT count(*) AS n FROM ${target} AS t WHERE ${liveRows(request.deletes)}`),
    ).n,
  );
  if (rows === request.targetRows) return;
  throw new UserError(
    "TARGET_ROWS_DIFFER",
    `${target} would have ${rows} rows where the source has ${request.targetRows}`,
    {
      hint: "Nothing was changed. Look for a trigger or rule on the target that drops or adds rows",
    },
  );
}

async function updateRows(session: PostgresSession, request: ApplyRequest): Promise<bigint> {
  const values = request.columns.filter((column) => !column.key);
  const mark = request.deletes.kind === "soft" ? marking(request.deletes) : undefined;
  if (request.create !== undefined || (values.length === 0 && mark === undefined)) return 0n;
  const assignments = values.map((column) => `${quoteIdentifier(column.target)} = ${value(column)}`);
  const compared = (sql: string, column: AppliedColumn) =>
    column.comparedAs === undefined ? sql : `(${sql})::text COLLATE "C"`;
  if (mark !== undefined) assignments.push(`${mark.column} = ${mark.alive}`);
  const old = values.map((column) => compared(`t.${quoteIdentifier(column.target)}`, column));
  const fresh = values.map((column) => compared(value(column), column));
  const differs = values.length === 0 ? [] : [`ROW(${old.join(", ")}) IS DISTINCT FROM ROW(${fresh.join(", ")})`];
  const marked = mark === undefined ? [] : [`NOT (${mark.live})`];
  const updated = await session.query(
    `UPDATE ${quoteTable(request.target)} AS t SET ${assignments.join(", ")} FROM ${quoteTable(request.staging)} AS s
      WHERE s.${OPERATION_COLUMN} <> '${STAGED_DELETE}' AND ${sameKey(request)}
        AND (${[...differs, ...marked].join(" OR ")})`,
  );
  return BigInt(updated.count);
}

async function insertRows(session: PostgresSession, request: ApplyRequest): Promise<bigint> {
  const target = quoteTable(request.target);
  const mark = request.deletes.kind === "soft" ? marking(request.deletes) : undefined;
  const names = request.columns.map((column) => quoteIdentifier(column.target));
  const values = request.columns.map(value);
  if (mark !== undefined) {
    names.push(mark.column);
    values.push(mark.alive);
  }
  const known =
    request.create === undefined ? ` AND NOT EXISTS (SELECT 1 FROM ${target} AS t WHERE ${sameKey(request)})` : "";
  const overriding = request.overridingSystemValue ? " OVERRIDING SYSTEM VALUE" : "";
  const inserted = await session.query(
    `INSERT INTO ${target} (${names.join(", ")})${overriding}
     SELECT ${values.join(", ")} FROM ${quoteTable(request.staging)} AS s
      WHERE s.${OPERATION_COLUMN} <> '${STAGED_DELETE}'${known}`,
  );
  return BigInt(inserted.count);
}
