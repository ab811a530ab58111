import { createHash } from "node:crypto";
import pg from "pg";
import { UserError } from "../errors.js";
import type { PostgresConnection } from "./connection.js";
import { connectionError } from "./errors.js";

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

/**
 * One connection to PostgreSQL. A thin layer over the driver: it keeps the backend's pid to cancel by, and knows when the
 * connection has died between two statements, where the driver only emits an event.
 *
 * @example
 * await using session = await PostgresSession.connect(connection, { applicationName: "glue-connect" });
 * const { rows } = await session.query<{ n: string }>("SELECT count(*) AS n FROM orders WHERE day = $1", ["2026-01-31"]);
 */
export class PostgresSession implements AsyncDisposable {
  readonly #client: pg.Client;
  readonly #connection: PostgresConnection;
  readonly #options: SessionOptions;
  #pid = 0;
  #lost: Error | undefined;
  #closed = false;

  private constructor(client: pg.Client, connection: PostgresConnection, options: SessionOptions) {
    this.#client = client;
    this.#connection = connection;
    this.#options = options;
    client.on("error", (error) => {
      this.#lost = error;
    });
  }

  /** @throws UserError `POSTGRES_UNREACHABLE`, `POSTGRES_AUTHENTICATION_FAILED`, `POSTGRES_DATABASE_NOT_FOUND`, `POSTGRES_BUSY`. */
  static async connect(connection: PostgresConnection, options: SessionOptions): Promise<PostgresSession> {
    const client = new pg.Client({
      host: connection.host,
      port: connection.port,
      database: connection.database,
      user: connection.user,
      ...(connection.password === undefined ? {} : { password: connection.password }),
      application_name: options.applicationName,
      connectionTimeoutMillis: options.connectTimeoutMs ?? 10_000,
      keepAlive: true,
    });
    const session = new PostgresSession(client, connection, options);
    try {
      await client.connect();
      // Text forms below must not depend on the role's or the database's settings.
      const { rows } = await client.query<{ pid: number }>(
        "SELECT pg_backend_pid() AS pid, set_config('TimeZone', 'UTC', false), set_config('DateStyle', 'ISO, YMD', false)",
      );
      session.#pid = rows[0]?.pid ?? 0;
      return session;
    } catch (error) {
      await client.end().catch(() => undefined);
      throw connectionError(error, connection);
    }
  }

  /** `false` once the server or the network has ended the connection. */
  get alive(): boolean {
    return this.#lost === undefined && !this.#closed;
  }

  /** The server process behind this connection. */
  get pid(): number {
    return this.#pid;
  }

  async query<Row = Record<string, unknown>>(text: string, values: readonly unknown[] = []): Promise<QueryResult<Row>> {
    if (this.#lost !== undefined) throw this.#lost;
    const { signal } = this.#options;
    signal?.throwIfAborted();
    const cancel = () => void this.cancel();
    signal?.addEventListener("abort", cancel, { once: true });
    try {
      const result = await this.#client.query(text, [...values]);
      return { rows: result.rows as Row[], count: result.rowCount ?? 0 };
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
  }

  /** ROLLBACK that works after an abort too, and that a dead connection makes unnecessary. */
  async rollback(): Promise<void> {
    if (this.alive) await this.#client.query("ROLLBACK").catch(() => undefined);
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
      await other.query("SELECT pg_cancel_backend($1)", [this.#pid]);
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
    await this.#client.end().catch(() => undefined);
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
