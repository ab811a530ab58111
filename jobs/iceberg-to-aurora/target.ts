import { setTimeout as sleep } from "node:timers/promises";
import { ExitCode, UserError } from "../../lib/errors.js";
import type { JobContext } from "../../lib/glue/context.js";
import { wasCommitted } from "../../lib/postgres/apply.js";
import { applicationName, type PostgresConnection } from "../../lib/postgres/connection.js";
import { isConnectionLost, statementError } from "../../lib/postgres/errors.js";
import { quoteTable } from "../../lib/postgres/identifiers.js";
import { type Backend, PostgresSession } from "../../lib/postgres/session.js";
import { StateTable, type TargetState } from "../../lib/postgres/state.js";
import { describeTable, schemaExists, type Table } from "../../lib/postgres/table.js";
import type { Configuration } from "./configuration.js";

/** A run that was killed a moment ago still has the lock until the server has noticed: a restart at once must not be refused. */
const LOCK_GRACE_MS = 2_000;

/** Name that the state and the locks of this job go by. */
export const JOB = "iceberg-to-aurora";

/** How long the target side waits for what; all in ms. */
export interface TargetPatience {
  /** For an answer on a connection that was idle. */
  readonly ping: number;
  /** Before each try to reach the server again; a fail-over takes about as long as all of them. */
  readonly reconnect: readonly number[];
  /** For a COMMIT whose answer was lost to come to its end by itself, before its server process is ended. */
  readonly commit: number;
  /** For the lock after a reconnect: a server process of ours may need a while to notice that it has ended. */
  readonly lock: number;
}

const PATIENCE: TargetPatience = {
  ping: 5_000,
  reconnect: [0, 500, 1_000, 2_000, 4_000, 8_000, 15_000],
  commit: 10_000,
  lock: 30_000,
};

type TargetContext = Pick<JobContext<unknown>, "runId" | "signal" | "mode"> & {
  /** What the state knows the load by; two loads of one run may have the same target. Left out: the run's id. */
  readonly attempt?: string;
};

/** The target table's side of a run: one connection that holds the run's lock, and what was there when the run began. */
export class Target implements AsyncDisposable {
  readonly connection: PostgresConnection;
  readonly stateTable: StateTable;
  /** As it was at the start; `undefined`: missing. */
  readonly table: Table | undefined;
  /** As it was at the start; `undefined`: never loaded by this job. */
  readonly state: TargetState | undefined;
  readonly #context: TargetContext;
  readonly #configuration: Configuration;
  readonly #patience: TargetPatience;
  #session: PostgresSession;

  private constructor(parts: {
    connection: PostgresConnection;
    stateTable: StateTable;
    table: Table | undefined;
    state: TargetState | undefined;
    context: TargetContext;
    configuration: Configuration;
    patience: TargetPatience;
    session: PostgresSession;
  }) {
    this.connection = parts.connection;
    this.stateTable = parts.stateTable;
    this.table = parts.table;
    this.state = parts.state;
    this.#context = parts.context;
    this.#configuration = parts.configuration;
    this.#patience = parts.patience;
    this.#session = parts.session;
  }

  /** What the state knows this load by. */
  get attempt(): string {
    return this.#context.attempt ?? this.#context.runId;
  }

  /**
   * Connects, takes the lock of this target (not for a plan, which may be made at any time), and looks at table and state.
   *
   * @throws UserError `ConcurrentRunsExceededException` when another run has the lock, `TARGET_SCHEMA_NOT_FOUND`, `TARGET_NOT_A_TABLE`,
   *   and what {@link PostgresSession.connect} throws.
   */
  static async open(
    context: TargetContext & Pick<JobContext<unknown>, "postgres">,
    configuration: Configuration,
    patience: TargetPatience = PATIENCE,
  ): Promise<Target> {
    const connection = await context.postgres({
      host: configuration.host,
      port: configuration.port,
      database: configuration.databaseName,
      secret: configuration.secret,
      sslMode: configuration.sslMode,
      sslRootCertificate: configuration.sslRootCertificate,
    });
    const session = await connectTarget(connection, context);
    try {
      if (context.mode === "run" && !(await session.tryLock(lockName(configuration), LOCK_GRACE_MS)))
        throw concurrentRun(configuration);
      const { schema } = configuration.target;
      if (!(await schemaExists(session, schema))) {
        throw new UserError(
          "TARGET_SCHEMA_NOT_FOUND",
          `Database ${connection.database} has no schema ${JSON.stringify(schema)}`,
          {
            hint: "Create it, or mend aurora_db_target_schema in the configuration item",
            exitCode: ExitCode.configuration,
          },
        );
      }
      const table = await describeTable(session, configuration.target);
      if (table !== undefined && table.kind !== "r" && table.kind !== "p") {
        throw new UserError("TARGET_NOT_A_TABLE", `${quoteTable(configuration.target)} is a view or a foreign table`, {
          hint: "Name a table in aurora_db_target_table_name",
          exitCode: ExitCode.configuration,
        });
      }
      const stateTable = new StateTable(JOB, configuration.target);
      const state = await stateTable.read(session);
      return new Target({ connection, stateTable, table, state, context, configuration, patience, session });
    } catch (error) {
      await session.close();
      throw error;
    }
  }

  /**
   * The connection, with the lock. A connection that died while Spark was at work, or on which nobody answers any more, is
   * made anew, and the lock taken again: should another run have it by now, that run is the one that goes on.
   *
   * @throws UserError `ConcurrentRunsExceededException`, `POSTGRES_POOLER`, and what {@link PostgresSession.connect} throws.
   */
  async session(): Promise<PostgresSession> {
    if (await this.#session.ping(this.#patience.ping)) return this.#session;
    const { session, locked } = await this.#reconnect(0);
    if (!locked) {
      await session.close();
      throw concurrentRun(this.#configuration);
    }
    this.#session = session;
    return session;
  }

  /** A connection of its own, without signal and lock, for cleaning up after a failure or an abort; `undefined`: none can be had. */
  async sessionForCleanUp(): Promise<PostgresSession | undefined> {
    const options = { applicationName: applicationName(this.#context.runId) };
    return await PostgresSession.connect(this.connection, options).catch(() => undefined);
  }

  /**
   * Finds out, on a new connection, whether this run's COMMIT had its effect.
   *
   * @throws UserError `POSTGRES_COMMIT_UNKNOWN` when that can't be found out.
   */
  async outcomeOfLostCommit(): Promise<boolean> {
    let cause: unknown;
    try {
      const { session, locked } = await this.#reconnect(this.#patience.commit);
      this.#session = session;
      if (await wasCommitted(session, this.stateTable, this.attempt)) return true;
      // Who has the lock knows that the server process which had it is gone. Without it, that one may still be committing.
      if (locked) return false;
    } catch (error) {
      cause = error;
    }
    throw new UserError(
      "POSTGRES_COMMIT_UNKNOWN",
      `The connection was lost during COMMIT: whether the load of ${quoteTable(this.#configuration.target)} was committed is not known`,
      {
        ...(cause instanceof Error ? { problems: [cause.message], cause } : {}),
        hint: "The target is as before or has all of the load. Run again: the next run finds out by itself",
        exitCode: ExitCode.retryable,
      },
    );
  }

  /**
   * A new connection for the one that was lost, tried for a while if that helps.
   *
   * @param graceMs how long the old server process may come to its end by itself before it is ended.
   * @returns `locked`: whether the new connection has the lock of the run.
   */
  async #reconnect(graceMs: number): Promise<{ readonly session: PostgresSession; readonly locked: boolean }> {
    const { signal } = this.#context;
    const old = this.#session.backend;
    await this.#session.close();
    let failure: unknown;
    for (const delay of this.#patience.reconnect) {
      await sleep(delay, undefined, { signal });
      let session: PostgresSession | undefined;
      try {
        session = await connectTarget(this.connection, this.#context);
        return { session, locked: await this.#lockAgain(session, old, graceMs) };
      } catch (error) {
        await session?.close();
        if (signal.aborted || !passes(error)) throw error;
        failure = error;
      }
    }
    throw statementError(failure, "connecting again");
  }

  async #lockAgain(session: PostgresSession, old: Backend, graceMs: number): Promise<boolean> {
    const name = lockName(this.#configuration);
    if (graceMs > 0 && (await session.tryLock(name, graceMs))) return true;
    // Nobody may have told the server that its client is gone. Best effort: after a fail-over it isn't there, and a pooler's
    // user may not have the right.
    await session.terminate(old).catch(() => false);
    return await session.tryLock(name, this.#patience.lock);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session.close();
  }
}

function connectTarget(
  connection: PostgresConnection,
  context: Pick<JobContext<unknown>, "runId" | "signal">,
): Promise<PostgresSession> {
  return PostgresSession.connect(connection, {
    applicationName: applicationName(context.runId),
    signal: context.signal,
  });
}

/** Is this an error that a later try may not meet? */
function passes(error: unknown): boolean {
  if (!(error instanceof UserError)) return isConnectionLost(error);
  return error.exitCode === ExitCode.unreachable || error.exitCode === ExitCode.retryable;
}

const lockName = (configuration: Configuration) => `glue-connect ${JOB} ${quoteTable(configuration.target)}`;

function concurrentRun(configuration: Configuration): UserError {
  return new UserError(
    "ConcurrentRunsExceededException",
    `Another run is loading ${quoteTable(configuration.target)} now`,
    {
      hint: "Wait for it to end; pg_locks shows its connection (locktype advisory)",
      exitCode: ExitCode.retryable,
    },
  );
}
