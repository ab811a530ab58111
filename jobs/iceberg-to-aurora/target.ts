import { setTimeout as sleep } from "node:timers/promises";
import { ExitCode, UserError } from "../../lib/errors.js";
import type { JobContext } from "../../lib/glue/context.js";
import { wasCommitted } from "../../lib/postgres/apply.js";
import type { PostgresConnection } from "../../lib/postgres/connection.js";
import { quoteTable } from "../../lib/postgres/identifiers.js";
import { PostgresSession } from "../../lib/postgres/session.js";
import { StateTable, type TargetState } from "../../lib/postgres/state.js";
import { describeTable, schemaExists, type Table } from "../../lib/postgres/table.js";
import type { Configuration } from "./configuration.js";

/** Name that the state and the locks of this job go by. */
export const JOB = "iceberg-to-aurora";

/** The first tries to reach the server again after a lost COMMIT, in ms; a fail-over takes about this long. */
const RECONNECT_AFTER_MS = [0, 500, 1_000, 2_000, 4_000, 8_000, 15_000];

/** The target table's side of a run: one connection that holds the run's lock, and what was there when the run began. */
export class Target implements AsyncDisposable {
  readonly connection: PostgresConnection;
  readonly stateTable: StateTable;
  /** As it was at the start; `undefined`: missing. */
  readonly table: Table | undefined;
  /** As it was at the start; `undefined`: never loaded by this job. */
  readonly state: TargetState | undefined;
  readonly #context: Pick<JobContext<unknown>, "runId" | "signal" | "mode">;
  readonly #configuration: Configuration;
  #session: PostgresSession;

  private constructor(parts: {
    connection: PostgresConnection;
    stateTable: StateTable;
    table: Table | undefined;
    state: TargetState | undefined;
    context: Pick<JobContext<unknown>, "runId" | "signal" | "mode">;
    configuration: Configuration;
    session: PostgresSession;
  }) {
    this.connection = parts.connection;
    this.stateTable = parts.stateTable;
    this.table = parts.table;
    this.state = parts.state;
    this.#context = parts.context;
    this.#configuration = parts.configuration;
    this.#session = parts.session;
  }

  /**
   * Connects, takes the lock of this target (not for a plan, which may be made at any time), and looks at table and state.
   *
   * @throws UserError `ConcurrentRunsExceededException` when another run has the lock, `TARGET_SCHEMA_NOT_FOUND`, `TARGET_NOT_A_TABLE`,
   *   and what {@link PostgresSession.connect} throws.
   */
  static async open(context: JobContext<unknown>, configuration: Configuration): Promise<Target> {
    const connection = await context.postgres({
      host: configuration.host,
      port: configuration.port,
      database: configuration.databaseName,
      secret: configuration.secret,
    });
    const session = await connectTarget(connection, context);
    try {
      if (context.mode === "run" && !(await session.tryLock(lockName(configuration))))
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
      return new Target({ connection, stateTable, table, state, context, configuration, session });
    } catch (error) {
      await session.close();
      throw error;
    }
  }

  /**
   * The connection, with the lock. A connection that died while Spark was at work is made anew, and the lock taken again:
   * should another run have it by now, that run is the one that goes on.
   */
  async session(): Promise<PostgresSession> {
    if (this.#session.alive) return this.#session;
    this.#session = await this.#reconnect(0);
    return this.#session;
  }

  /** A connection of its own, without signal and lock, for cleaning up after a failure or an abort; `undefined`: none can be had. */
  async sessionForCleanUp(): Promise<PostgresSession | undefined> {
    const options = { applicationName: `glue-connect ${this.#context.runId}` };
    return await PostgresSession.connect(this.connection, options).catch(() => undefined);
  }

  /** Finds out, on a new connection, whether this run's COMMIT had its effect. */
  async outcomeOfLostCommit(): Promise<boolean> {
    // The server process of the lost connection may still be committing: it holds the lock until it is gone.
    this.#session = await this.#reconnect(30_000);
    return await wasCommitted(this.#session, this.stateTable, this.#context.runId);
  }

  async #reconnect(lockWaitMs: number): Promise<PostgresSession> {
    await this.#session.close();
    let failure: unknown;
    for (const delay of RECONNECT_AFTER_MS) {
      await sleep(delay, undefined, { signal: this.#context.signal });
      try {
        const session = await connectTarget(this.connection, this.#context);
        if (await session.tryLock(lockName(this.#configuration), lockWaitMs)) return session;
        await session.close();
        throw concurrentRun(this.#configuration);
      } catch (error) {
        if (error instanceof UserError && error.exitCode === ExitCode.configuration) throw error;
        failure = error;
      }
    }
    throw failure;
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
    applicationName: `glue-connect ${context.runId}`,
    signal: context.signal,
  });
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
