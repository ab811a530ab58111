import { errorCode, statementError } from "./errors.js";
import { quoteIdentifier, type TableName } from "./identifiers.js";
import type { PostgresSession } from "./session.js";

/**
 * The state of one target table: what of its source it holds. It lives in the target's own database and schema, and only
 * ever changes in the transaction that changes the rows, so that the two can't part ways.
 */
export interface TargetState {
  /** Snapshot whose rows the target holds; `null`: the source had none yet. */
  readonly snapshotId: string | null;
  /** Identity of the source table, which survives renames and ends with DROP TABLE. */
  readonly tableUuid: string;
  /** The source by name, for people who read the table. */
  readonly source: string;
  readonly schemaId: number;
  /** Rows of that snapshot, whose keys were found to be unique; `null`: not known. */
  readonly sourceRows: bigint | null;
  /** The source's fields as they were loaded, by field id. */
  readonly fields: unknown;
  readonly keyColumns: readonly string[];
  /** Identity of the target table. */
  readonly targetOid: string;
  /** The run that wrote this row: after a lost COMMIT a run finds its own id here, or not. */
  readonly runId: string;
  readonly jobName: string;
}

const STATE_TABLE = "glue_connect_state";

/** The state rows of one job kind in one schema. */
export class StateTable {
  readonly #job: string;
  readonly #target: TableName;
  readonly #quoted: string;

  /** @param job which kind of job keeps the state, e.g. `iceberg-to-aurora`. */
  constructor(job: string, target: TableName) {
    this.#job = job;
    this.#target = target;
    this.#quoted = `${quoteIdentifier(target.schema)}.${quoteIdentifier(STATE_TABLE)}`;
  }

  /** Schema-qualified name, quoted. */
  get name(): string {
    return this.#quoted;
  }

  /** The state, or `undefined` when this target was never loaded. Reading creates nothing. */
  async read(session: PostgresSession, lock: "none" | "for update" = "none"): Promise<TargetState | undefined> {
    if (!(await this.#isThere(session))) return undefined;
    // By way of JSON, because a table made by an older version has no column source_rows until a run adds it.
    const found = await session.query<Omit<TargetState, "sourceRows"> & { readonly sourceRows: string | null }>(
      `SELECT snapshot_id::text AS "snapshotId", table_uuid AS "tableUuid", source, schema_id AS "schemaId", fields,
              key_columns AS "keyColumns", target_oid::text AS "targetOid", run_id AS "runId", job_name AS "jobName",
              to_jsonb(state) ->> 'source_rows' AS "sourceRows"
         FROM ${this.#quoted} AS state WHERE job = $1 AND target_table = $2${lock === "none" ? "" : " FOR UPDATE"}`,
      [this.#job, this.#target.name],
    );
    const [state] = found.rows;
    return state === undefined
      ? undefined
      : { ...state, sourceRows: state.sourceRows === null ? null : BigInt(state.sourceRows) };
  }

  /** Creates the table when it is missing, and the column that older ones lack; safe when two runs do so at once. */
  async ensure(session: PostgresSession): Promise<void> {
    if (await this.#isThere(session)) {
      if (!(await this.#hasRows(session))) await this.#addRows(session);
      return;
    }
    try {
      await session.query(
        `CREATE TABLE IF NOT EXISTS ${this.#quoted} (
           job text NOT NULL,
           target_table text NOT NULL,
           target_oid oid NOT NULL,
           source text NOT NULL,
           table_uuid text NOT NULL,
           snapshot_id bigint,
           source_rows bigint,
           schema_id integer NOT NULL,
           fields jsonb NOT NULL,
           key_columns text[] NOT NULL,
           run_id text NOT NULL,
           job_name text NOT NULL,
           updated_at timestamptz NOT NULL DEFAULT now(),
           PRIMARY KEY (job, target_table))`,
      );
    } catch (error) {
      // IF NOT EXISTS still races with another session's CREATE: then the table is there, which is all we want. Which error it
      // is depends on how far the other was: the unique index of the catalog, the table, or the row type that comes with it.
      const raced = ["23505", "42P07", "42710"].includes(errorCode(error) ?? "");
      if (!raced || !(await this.#isThere(session))) {
        throw statementError(error, `creating the state table ${this.#quoted}`);
      }
    }
  }

  async #isThere(session: PostgresSession): Promise<boolean> {
    const found = await session.query<{ there: boolean }>("SELECT to_regclass($1) IS NOT NULL AS there", [
      this.#quoted,
    ]);
    return found.rows[0]?.there === true;
  }

  async #hasRows(session: PostgresSession): Promise<boolean> {
    const found = await session.query(
      "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = 'source_rows' AND NOT attisdropped",
      [this.#quoted],
    );
    return found.count > 0;
  }

  /** Only the owner may, and other runs may be at work on their own rows: without it, the number of rows is not kept. */
  async #addRows(session: PostgresSession): Promise<void> {
    try {
      await session.query("BEGIN");
      await session.query("SET LOCAL lock_timeout = '2s'");
      await session.query(`ALTER TABLE ${this.#quoted} ADD COLUMN IF NOT EXISTS source_rows bigint`);
      await session.query("COMMIT");
    } catch (error) {
      await session.rollback();
      const code = errorCode(error);
      if (code !== "42501" && code !== "55P03") throw statementError(error, `adding a column to ${this.#quoted}`);
    }
  }

  /** Writes the state; belongs into the transaction that changes the rows. */
  async write(session: PostgresSession, state: TargetState): Promise<void> {
    const rows = (await this.#hasRows(session))
      ? {
          names: ", source_rows",
          places: ", $12",
          set: ", source_rows = excluded.source_rows",
          values: [state.sourceRows],
        }
      : { names: "", places: "", set: "", values: [] };
    await session.query(
      `INSERT INTO ${this.#quoted} AS old
         (job, target_table, target_oid, source, table_uuid, snapshot_id, schema_id, fields, key_columns, run_id, job_name, updated_at${rows.names})
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, clock_timestamp()${rows.places})
       ON CONFLICT (job, target_table) DO UPDATE SET
         target_oid = excluded.target_oid, source = excluded.source, table_uuid = excluded.table_uuid,
         snapshot_id = excluded.snapshot_id, schema_id = excluded.schema_id, fields = excluded.fields,
         key_columns = excluded.key_columns, run_id = excluded.run_id, job_name = excluded.job_name,
         updated_at = excluded.updated_at${rows.set}`,
      [
        this.#job,
        this.#target.name,
        state.targetOid,
        state.source,
        state.tableUuid,
        state.snapshotId,
        state.schemaId,
        JSON.stringify(state.fields),
        state.keyColumns,
        state.runId,
        state.jobName,
        ...rows.values,
      ],
    );
  }
}
