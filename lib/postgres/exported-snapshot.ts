import type { PostgresConnection } from "./connection.js";
import { statementError } from "./errors.js";
import { quoteLiteral } from "./identifiers.js";
import { onlyRow, PostgresSession } from "./session.js";

/** What of the transactions under way matters to who loads rows by their time. Times are microseconds since 1970, UTC. */
export interface Writers {
  /** Rows up to this time are final, as far as it can be seen: the start of the oldest transaction that may still write, less 1. */
  readonly settled: bigint;
  /** Whether every transaction could be seen. */
  readonly allSeen: boolean;
  /** Why not, for messages. */
  readonly unseen: readonly string[];
  /** The oldest transaction, when it holds `settled` back. */
  readonly oldest: { readonly pid: number; readonly startedAt: bigint } | undefined;
}

/**
 * One state of a database that many connections read: this process's, and those of Spark's executors. The connection that
 * has exported it is kept open; when that one ends, no other can join any more.
 */
export class ExportedSnapshot implements AsyncDisposable {
  readonly connection: PostgresConnection;
  /** By PostgreSQL's clock, just before it was taken; microseconds since 1970. */
  readonly takenAt: bigint;
  /** The same just after it was taken: a snapshot for which the clock was read later sees all that this one sees. */
  readonly takenBy: bigint;
  /** Every transaction before this one was over, with the epoch of the 32-bit counter. */
  readonly xmin: bigint;
  /** No transaction from this one on is seen. */
  readonly xmax: bigint;
  /** The database cluster, since transactions are numbered anew in another; `null` where it doesn't tell. */
  readonly system: string | null;
  /** `server_version_num`, e.g. 160004. */
  readonly serverVersion: number;
  readonly writers: Writers;
  readonly #name: string;
  readonly #holder: PostgresSession;
  readonly #applicationName: string;
  readonly #signal: AbortSignal | undefined;
  readonly #free: PostgresSession[] = [];

  private constructor(parts: {
    readonly connection: PostgresConnection;
    readonly found: Found;
    readonly writers: Writers;
    readonly system: string | null;
    readonly holder: PostgresSession;
    readonly options: SnapshotOptions;
  }) {
    this.connection = parts.connection;
    this.takenAt = BigInt(parts.found.taken);
    this.takenBy = BigInt(parts.found.taken_by);
    this.xmin = BigInt(parts.found.xmin);
    this.xmax = BigInt(parts.found.xmax);
    this.system = parts.system;
    this.serverVersion = parts.found.version;
    this.writers = parts.writers;
    this.#name = parts.found.name;
    this.#holder = parts.holder;
    this.#applicationName = parts.options.applicationName;
    this.#signal = parts.options.signal;
  }

  /**
   * Looks at the transactions under way, then takes the snapshot: whoever has ended between is seen by it.
   *
   * @throws UserError what {@link PostgresSession.connect} throws, and `POSTGRES_STATEMENT_FAILED` where snapshots can't be
   *   exported.
   */
  static async take(connection: PostgresConnection, options: SnapshotOptions): Promise<ExportedSnapshot> {
    const holder = await PostgresSession.connect(connection, options);
    try {
      const before = onlyRow(await holder.query<{ now: string }>(`SELECT ${MICROS("clock_timestamp()")}::text AS now`));
      const writers = await lookAtWriters(holder, BigInt(before.now), options.applicationName);
      const system = await holder
        .query<{ system: string }>("SELECT system_identifier::text AS system FROM pg_catalog.pg_control_system()")
        .then(({ rows }) => rows[0]?.system ?? null)
        .catch(() => null);
      await holder.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
      // The clock is read once more when the statement runs, which is after its snapshot was taken.
      const found = onlyRow(
        await holder.query<Found>(
          `SELECT pg_catalog.pg_export_snapshot() AS name, $1::text AS taken,
                  ${MICROS("clock_timestamp()")}::text AS taken_by,
                  txid_snapshot_xmin(s)::text AS xmin, txid_snapshot_xmax(s)::text AS xmax,
                  current_setting('server_version_num')::int AS version
             FROM txid_current_snapshot() AS s`,
          [before.now],
        ),
      );
      return new ExportedSnapshot({ connection, found, writers, system, holder, options });
    } catch (error) {
      await holder.close();
      throw statementError(error, "exporting a snapshot of the database");
    }
  }

  /**
   * What each connection of an executor says before it reads. Spark's JDBC source turns autocommit off when it has a
   * `fetchsize`, so that this opens the transaction in which it reads on.
   */
  get sessionInitStatement(): string {
    return [
      "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
      `SET TRANSACTION SNAPSHOT ${quoteLiteral(this.#name)}`,
      // What of the role's settings would end a slow reader, or change the text forms of values.
      "SET LOCAL statement_timeout = 0",
      "SET LOCAL lock_timeout = 0",
      "SET LOCAL idle_in_transaction_session_timeout = 0",
      // PostgreSQL 17 has it.
      "SELECT set_config(name, '0', true) FROM pg_catalog.pg_settings WHERE name = 'transaction_timeout'",
      "SET LOCAL TimeZone = 'UTC'",
      "SET LOCAL IntervalStyle = 'iso_8601'",
      "SET LOCAL bytea_output = 'hex'",
      "SET LOCAL xmlbinary = 'base64'",
    ].join("; ");
  }

  /**
   * Asks something in the snapshot, on a connection of its own: a statement that fails spoils nothing else.
   *
   * @param doing for the error, e.g. `reading "public"."orders"`.
   */
  async query<Row>(doing: string, text: string, values: readonly unknown[] = []): Promise<readonly Row[]> {
    return await this.#ask(doing, async (session) => {
      await session.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
      await session.query(`SET TRANSACTION SNAPSHOT ${quoteLiteral(this.#name)}`);
      return (await session.query<Row>(text, values)).rows;
    });
  }

  /** Asks what is so now, after the snapshot. */
  async queryNow<Row>(doing: string, text: string, values: readonly unknown[] = []): Promise<readonly Row[]> {
    return await this.#ask(doing, async (session) => (await session.query<Row>(text, values)).rows);
  }

  /** Whether others can still join: the connection that holds it is there, as far as is known. */
  get alive(): boolean {
    return this.#holder.alive;
  }

  async #ask<T>(doing: string, work: (session: PostgresSession) => Promise<T>): Promise<T> {
    const session = this.#free.pop() ?? (await this.#connect());
    try {
      return await work(session);
    } catch (error) {
      this.#signal?.throwIfAborted();
      throw statementError(error, doing);
    } finally {
      await session.rollback();
      if (session.alive) this.#free.push(session);
    }
  }

  async #connect(): Promise<PostgresSession> {
    return await PostgresSession.connect(this.connection, {
      applicationName: this.#applicationName,
      ...(this.#signal === undefined ? {} : { signal: this.#signal }),
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#holder, ...this.#free.splice(0)].map((session) => session.close()));
  }
}

export interface SnapshotOptions {
  /** Shown in `pg_stat_activity`; transactions of connections with the same name are taken for one's own readers. */
  readonly applicationName: string;
  readonly signal?: AbortSignal;
}

interface Found {
  readonly name: string;
  readonly taken: string;
  readonly taken_by: string;
  readonly xmin: string;
  readonly xmax: string;
  readonly version: number;
}

/** Whole microseconds since 1970 of a finite `timestamptz`, `timestamp` (taken as UTC) or `date`, as SQL. */
export const MICROS = (expression: string) => `(extract(epoch FROM ${expression}) * 1000000)::bigint`;

async function lookAtWriters(session: PostgresSession, now: bigint, applicationName: string): Promise<Writers> {
  const activity = onlyRow(
    await session.query<{
      standby: boolean;
      hidden: string;
      prepared: string;
      oldest: string | null;
      pid: number | null;
    }>(
      `WITH others AS (
         SELECT a.pid, a.xact_start,
                NOT (pg_has_role(a.usesysid, 'USAGE') OR pg_has_role('pg_read_all_stats', 'USAGE')) AS hidden
           FROM pg_catalog.pg_stat_activity AS a
          WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.usesysid IS NOT NULL
            AND a.application_name IS DISTINCT FROM $1
            AND COALESCE(a.backend_type, '') NOT IN ('autovacuum worker', 'walsender'))
       SELECT pg_is_in_recovery() AS standby,
              (SELECT count(*) FROM others WHERE hidden)::text AS hidden,
              (SELECT count(*) FROM pg_catalog.pg_prepared_xacts WHERE database = current_database())::text AS prepared,
              ${MICROS("o.xact_start")}::text AS oldest, o.pid
         FROM (SELECT 1) AS one
         LEFT JOIN (SELECT xact_start, pid FROM others WHERE xact_start IS NOT NULL ORDER BY xact_start LIMIT 1) AS o ON true`,
      [applicationName],
    ),
  );
  const unseen = [
    ...(activity.standby ? ["the server is a standby, which doesn't know the primary's transactions"] : []),
    ...(activity.hidden === "0"
      ? []
      : [`the role may not see ${activity.hidden} sessions of others (grant it pg_read_all_stats)`]),
    ...(activity.prepared === "0"
      ? []
      : [`${activity.prepared} prepared transactions wait, and nobody knows since when they run`]),
  ];
  const started = activity.oldest === null ? undefined : BigInt(activity.oldest);
  const holds = started !== undefined && started <= now;
  return {
    settled: holds ? started - 1n : now,
    allSeen: unseen.length === 0,
    unseen,
    oldest: holds ? { pid: activity.pid ?? 0, startedAt: started } : undefined,
  };
}

const WRAP = 2n ** 32n;
/** Beyond that, the 32-bit numbers of rows can't be compared with it any more. */
const COMPARABLE = 2n ** 31n - 1_000_000n;

/**
 * SQL condition on a table's rows: written by a transaction that wasn't surely over when an earlier snapshot was taken, so
 * that it may have been unseen then. Numbers of transactions wrap around; rows of ages past count as old.
 *
 * @param since `xmin` of the earlier snapshot.
 * @returns `false` when no row that the snapshot sees can be. `undefined` when it can't be told any more: too many
 *   transactions have passed, or it is of another cluster.
 */
export function writtenSince(
  since: { readonly xmin: bigint; readonly system: string | null },
  now: Pick<ExportedSnapshot, "xmin" | "xmax" | "system">,
  row = "t",
): string | undefined {
  if (since.system !== now.system || since.xmin > now.xmax || now.xmax - since.xmin > COMPARABLE) return undefined;
  // A snapshot sees nothing of transactions from its `xmax` on, and the condition asks for a look at every row.
  if (since.xmin === now.xmax) return "false";
  // age() counts back from one fixed number for the whole transaction, whatever it is: only the order matters.
  return `age(${row}.xmin) BETWEEN 0 AND age('${since.xmin % WRAP}'::xid)`;
}
