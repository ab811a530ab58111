import { createHash } from "node:crypto";
import { Socket } from "node:net";
import type { ConnectionOptions } from "node:tls";
import pg from "pg";
import { ExitCode, UserError } from "../errors.js";
import type { PostgresConnection } from "./connection.js";
import { connectionError, errorCode, isTlsUnavailable } from "./errors.js";
import { nodeTls, tlsOf } from "./tls.js";

/** Rows come as objects; `bigint` and `numeric` columns as exact text. */
export interface QueryResult<Row> {
  readonly rows: readonly Row[];
  /** Rows that the statement touched. */
  readonly count: number;
}

export interface SessionOptions {
  /** Shown in `pg_stat_activity`. */
  readonly applicationName: string;
  /** Aborting cancels the statement that runs, on the server. */
  readonly signal?: AbortSignal;
  /** Default: 10,000 ms. */
  readonly connectTimeoutMs?: number;
}

/** A server process. Pids are used again, also by another server after a fail-over: only both together name one. */
export interface Backend {
  readonly pid: number;
  /** `pg_stat_activity.backend_start` as text. */
  readonly startedAt: string;
}

const CONNECT_TIMEOUT_MS = 10_000;
/** How long a farewell, a ROLLBACK or a cancelled statement may take: on a connection that nobody answers on, for ever. */
const FAREWELL_MS = 5_000;
/** Silence after which the system asks whether the other side is still there. Its own default is two hours. */
const KEEP_ALIVE_MS = 60_000;

/** What of the role's or the database's settings would change the text forms of values. */
const TEXT_FORMS = { TimeZone: "UTC", DateStyle: "ISO, YMD" } as const;

/**
 * Limits that end a connection which waits for Spark, or a transaction that takes its time, are off. The server looks after
 * silent clients as we do after a silent server, so that the lock of a machine that is gone doesn't stay for two hours. Not
 * every version has each of them.
 */
const LIMITS = {
  statement_timeout: "0",
  lock_timeout: "0",
  transaction_timeout: "0",
  idle_in_transaction_session_timeout: "0",
  idle_session_timeout: "0",
  tcp_keepalives_idle: "60",
  tcp_keepalives_interval: "10",
  tcp_keepalives_count: "6",
} as const;

/** One query that switches {@link LIMITS} off for the rest of a connection, ours or an executor's. */
export const LIMITS_SQL = `SELECT set_config(l.name, l.value, false) FROM (VALUES ${Object.entries(LIMITS)
  .map(([name, value]) => `('${name}', '${value}')`)
  .join(", ")}) AS l (name, value) WHERE l.name IN (SELECT s.name FROM pg_catalog.pg_settings AS s)`;

/**
 * One connection to PostgreSQL. A thin layer over the driver: it keeps the backend's identity to cancel by, knows when the
 * connection has died between two statements, where the driver only emits an event, and can give up one on which nobody
 * answers any more.
 *
 * @example
 * await using session = await PostgresSession.connect(connection, { applicationName: "glue-connect" });
 * const { rows } = await session.query<{ n: string }>("SELECT count(*) AS n FROM orders WHERE day = $1", ["2026-01-31"]);
 */
export class PostgresSession implements AsyncDisposable {
  readonly #client: pg.Client;
  readonly #socket: Socket;
  readonly #connection: PostgresConnection;
  readonly #options: SessionOptions;
  #backend: Backend = { pid: 0, startedAt: "" };
  #lost: Error | undefined;
  #closed = false;

  private constructor(connection: PostgresConnection, options: SessionOptions, ssl: ConnectionOptions | false) {
    this.#socket = new Socket();
    this.#connection = connection;
    this.#options = options;
    this.#client = new pg.Client({
      host: connection.host,
      port: connection.port,
      database: connection.database,
      user: connection.user,
      ...(connection.password === undefined ? {} : { password: connection.password }),
      application_name: options.applicationName,
      keepAlive: true,
      keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
      ssl,
      stream: () => this.#socket,
    });
    this.#client.on("error", (error) => {
      this.#lost ??= error;
    });
  }

  /**
   * @throws UserError `POSTGRES_UNREACHABLE`, `POSTGRES_AUTHENTICATION_FAILED`, `POSTGRES_DATABASE_NOT_FOUND`, `POSTGRES_BUSY`,
   *   `POSTGRES_POOLER`; of TLS `POSTGRES_TLS_REQUIRED`, `POSTGRES_TLS_UNAVAILABLE`, `POSTGRES_CERTIFICATE_REFUSED`,
   *   `POSTGRES_ROOT_CERTIFICATE_UNUSABLE`.
   */
  static async connect(connection: PostgresConnection, options: SessionOptions): Promise<PostgresSession> {
    const tls = tlsOf(connection);
    try {
      return await PostgresSession.#connect(connection, options, nodeTls(tls));
    } catch (error) {
      const plainMayDo = tls.mode === "prefer" && (isTlsUnavailable(error) || errorCode(error) === "28000");
      if (!plainMayDo) throw connectionError(error, connection);
    }
    try {
      return await PostgresSession.#connect(connection, options, false);
    } catch (error) {
      throw connectionError(error, connection);
    }
  }

  static async #connect(
    connection: PostgresConnection,
    options: SessionOptions,
    ssl: ConnectionOptions | false,
  ): Promise<PostgresSession> {
    const session = new PostgresSession(connection, options, ssl);
    // The driver's own limit ends with the log-in, and the settings after it can be met with silence too.
    const timer = setTimeout(() => session.#abandon("timeout expired"), options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS);
    try {
      await session.#client.connect();
      await session.#prepare();
      return session;
    } catch (error) {
      await session.close();
      throw session.#lost?.message === "timeout expired" ? session.#lost : error;
    } finally {
      clearTimeout(timer);
    }
  }

  async #prepare(): Promise<void> {
    const settings = Object.entries(TEXT_FORMS).map(([name, value]) => `set_config('${name}', '${value}', false)`);
    const first = await this.#client.query<{ pid: number }>(`SELECT pg_backend_pid() AS pid, ${settings.join(", ")}`);
    await this.#client.query(LIMITS_SQL);
    const second = await this.#client.query<Backend>(
      `SELECT b.pid, (SELECT backend_start::text FROM pg_catalog.pg_stat_activity AS a WHERE a.pid = b.pid) AS "startedAt"
         FROM pg_backend_pid() AS b (pid)`,
    );
    this.#backend = { pid: second.rows[0]?.pid ?? 0, startedAt: second.rows[0]?.startedAt ?? "-infinity" };
    this.#checkBackend(first.rows[0]?.pid);
  }

  /** Settings and locks of a session are worth nothing where every statement may go to another server process. */
  #checkBackend(pid: number | undefined): void {
    if (pid === this.#backend.pid) return;
    throw new UserError(
      "POSTGRES_POOLER",
      `PostgreSQL at ${this.#connection.host}:${this.#connection.port} is a pooler that gives each transaction another connection`,
      {
        hint: "Connect to the server itself, or set the pooler to session mode: the lock of a run belongs to its connection",
        exitCode: ExitCode.configuration,
      },
    );
  }

  /** `false` once the server or the network has ended the connection. */
  get alive(): boolean {
    return this.#lost === undefined && !this.#closed;
  }

  /** The server process behind this connection. */
  get backend(): Backend {
    return this.#backend;
  }

  /**
   * Whether the server still answers. A connection may be dead without either side knowing: a firewall forgets idle ones, a
   * fail-over leaves them hanging. One that doesn't answer in time is given up.
   *
   * @throws UserError `POSTGRES_POOLER` when another server process answers.
   */
  async ping(deadlineMs: number): Promise<boolean> {
    if (!this.alive) return false;
    const timer = setTimeout(() => this.#abandon("no answer"), deadlineMs);
    const answer = await this.#client.query<{ pid: number }>("SELECT pg_backend_pid() AS pid").catch(() => undefined);
    clearTimeout(timer);
    if (answer === undefined) {
      this.#abandon("no answer");
      return false;
    }
    this.#checkBackend(answer.rows[0]?.pid);
    return true;
  }

  /** Ends another connection of this role, if it is still there; what it had not committed is undone. */
  async terminate({ pid, startedAt }: Backend): Promise<boolean> {
    const { count } = await this.query(
      `SELECT pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
        WHERE pid = $1::integer AND backend_start = $2::timestamptz`,
      [pid, startedAt],
    );
    return count > 0;
  }

  /** Without farewell, which waits for an answer. */
  #abandon(why: string): void {
    this.#lost ??= new Error(why === "timeout expired" ? why : `Connection terminated: ${why}`);
    this.#socket.destroy(this.#lost);
  }

  async query<Row = Record<string, unknown>>(text: string, values: readonly unknown[] = []): Promise<QueryResult<Row>> {
    if (this.#lost !== undefined) throw this.#lost;
    const { signal } = this.#options;
    signal?.throwIfAborted();
    let timer: NodeJS.Timeout | undefined;
    const cancel = () => {
      timer = setTimeout(() => this.#abandon("no answer after a cancel"), FAREWELL_MS);
      void this.cancel();
    };
    signal?.addEventListener("abort", cancel, { once: true });
    try {
      const result = await this.#client.query(text, [...values]);
      return { rows: result.rows as Row[], count: result.rowCount ?? 0 };
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    } finally {
      signal?.removeEventListener("abort", cancel);
      clearTimeout(timer);
    }
  }

  /** ROLLBACK that works after an abort too, and that a dead connection makes unnecessary. */
  async rollback(): Promise<void> {
    if (!this.alive) return;
    const timer = setTimeout(() => this.#abandon("no answer to ROLLBACK"), FAREWELL_MS);
    await this.#client.query("ROLLBACK").catch(() => undefined);
    clearTimeout(timer);
  }

  /**
   * COMMIT, never cancelled half-way: once it is sent, only the server knows the outcome, and an abort would not change it.
   */
  async commit(): Promise<void> {
    if (this.#lost !== undefined) throw this.#lost;
    await this.#client.query("COMMIT");
  }

  /** Cancels the running statement through a second connection, as `psql` does on Ctrl-C. */
  async cancel(): Promise<void> {
    try {
      const { signal: _, ...options } = this.#options;
      await using other = await PostgresSession.connect(this.#connection, options);
      await other.query("SELECT pg_cancel_backend($1)", [this.#backend.pid]);
    } catch {
      // Best effort: a server that can't be reached is not running our statement for long.
    }
  }

  /**
   * Takes a session-level advisory lock, held until the connection ends, however it ends.
   *
   * @param waitMs how long to wait for whoever has it; 0 asks once.
   * @returns whether it was taken.
   */
  async tryLock(name: string, waitMs = 0): Promise<boolean> {
    const key = createHash("sha256").update(name).digest().readBigInt64BE(0).toString();
    if (waitMs <= 0) {
      const { rows } = await this.query<{ taken: boolean }>("SELECT pg_try_advisory_lock($1::bigint) AS taken", [key]);
      return rows[0]?.taken === true;
    }
    await this.query("SELECT set_config('lock_timeout', $1, false)", [`${waitMs}ms`]);
    try {
      await this.query("SELECT pg_advisory_lock($1::bigint)", [key]);
      return true;
    } catch (error) {
      if ((error as { code?: string }).code === "55P03") return false;
      throw error;
    } finally {
      if (this.alive) await this.query("SELECT set_config('lock_timeout', '0', false)");
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const timer = setTimeout(() => this.#socket.destroy(), FAREWELL_MS);
    await this.#client.end().catch(() => undefined);
    clearTimeout(timer);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** A row that must be there, from a query that always gives one. */
export function onlyRow<Row>(result: QueryResult<Row>): Row {
  const row = result.rows[0];
  if (row === undefined) throw new UserError("POSTGRES_NO_ROW", "The server gave no row where there is always one");
  return row;
}
