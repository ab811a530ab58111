import { UserError } from "../../lib/errors.js";
import { applyStaged, type Deletes, liveRows, moveState } from "../../lib/postgres/apply.js";
import { applicationName } from "../../lib/postgres/connection.js";
import { quoteTable } from "../../lib/postgres/identifiers.js";
import { createStaging, dropStaging, OPERATION_COLUMN, stagingTable } from "../../lib/postgres/staging.js";
import { MAX_WRITERS, type StagingWriter, stagingWriter, writeStaging } from "../../lib/postgres/staging-writer.js";
import type { TargetState } from "../../lib/postgres/state.js";
import type { Table } from "../../lib/postgres/table.js";
import { tableRanges } from "../../lib/postgres/table-ranges.js";
import * as f from "../../lib/spark/functions/index.js";
import type { DataFrame } from "../../lib/spark/index.js";
import type { Context } from "./arguments.js";
import {
  type Changes,
  changesBetween,
  countChanges,
  DoubtfulChanges,
  everything,
  type FindChanges,
} from "./changes.js";
import { appliedColumns, type ColumnMapping, commentsSql, createTableSql, mapColumns } from "./columns.js";
import type { Configuration } from "./configuration.js";
import { type Decision, decide, refuseSchemaChange } from "./decision.js";
import { planDeletes } from "./deletes.js";
import { type IcebergSchema, recordedRows } from "./iceberg-metadata.js";
import { checkKey, type Key, resolveKey } from "./key.js";
import { keyOfState, schemaChange } from "./last-load.js";
import { LEFTOVER_WAIT_MS, sweepLeftovers } from "./leftovers.js";
import { incomparable, targetDifferences } from "./reconcile.js";
import type { SchemaChange } from "./schema-change.js";
import { type Selection, selectSnapshots } from "./selection.js";
import { readDocumentedSnapshot, writeDocumentedSnapshot } from "./snapshot-file.js";
import { columnName, readSnapshot, type Source } from "./source.js";
import { JOB, type Target } from "./target.js";

/** The target isn't what the changes were found for; found out in the transaction, before anything was changed. */
const DIFFERING = ["TARGET_ROWS_DIFFER", "STAGING_NOT_UNIQUE"];

/** Rows to be staged, and rows of the whole snapshot. */
interface RowCounts {
  readonly staged: bigint;
  readonly total: bigint;
  /** The total was reckoned from the last one and the changes, not counted. */
  readonly insertsAreNew?: boolean;
}

/** One run for one table, once both ends are open. */
export class Load {
  readonly #context: Context;
  readonly #configuration: Configuration;
  readonly #source: Source;
  readonly #target: Target;
  readonly #selection: Selection;
  readonly #schema: IcebergSchema;
  readonly #deletes: Deletes;
  /** How the schema differs from that of the last load, if there was one. */
  readonly #change: SchemaChange | undefined;
  /** The target as it is when the rows come, after what {@link #ddl} does to it. */
  readonly #table: Table | undefined;
  readonly #ddl: readonly string[];
  readonly #key: Key;
  /** The system's, where a run has several. */
  readonly #name: string | undefined;
  readonly #report: ReturnType<Context["report"]["table"]>;
  /** Rows of the new snapshot; until they are counted, those of the last one. */
  #totalRows: bigint | null;

  constructor(
    context: Context,
    configuration: Configuration,
    source: Source,
    target: Target,
    softDeletes: string | undefined,
    name: string | undefined,
  ) {
    this.#context = context;
    this.#configuration = configuration;
    this.#source = source;
    this.#target = target;
    this.#selection = selectSnapshots(source.metadata, source.label, context.args);
    this.#schema = this.#selection.schema;
    this.#change = schemaChange(source.metadata, this.#selection, target);
    const follow = context.args.on_schema_change === "evolve";
    // A full load needs columns that fit, whatever they were like at the last load.
    const asks = follow || (configuration.loadType === "incremental" && configuration.snapshotUri !== undefined);
    if (this.#change !== undefined && asks) refuseSchemaChange(this.#change, follow);
    const followed = follow ? this.#change : undefined;
    const { fields } = this.#schema;
    const deletes = planDeletes(softDeletes, configuration.target, followed?.table ?? target.table, fields);
    this.#deletes = deletes.deletes;
    this.#table = deletes.table;
    this.#ddl = [
      ...(target.table === undefined ? commentsSql(configuration.target, fields) : (followed?.ddl ?? [])),
      ...deletes.ddl,
    ];
    this.#key = resolveKey(this.#schema, configuration.primaryKey, this.#table, this.#change?.changes ?? []);
    this.#name = name;
    this.#report = context.report.table(name ?? source.label);
    if (name !== undefined) this.#report.details.source = source.label;
    const vouched = this.#selection.from !== undefined && this.#selection.from !== target.state?.snapshotId;
    const sameKey = target.state !== undefined && keyOfState(target.state) === this.#key.fieldIds.join();
    this.#totalRows = vouched || !sameKey ? null : (target.state?.sourceRows ?? null);
    this.#report.target = quoteTable(configuration.target);
    const { host, port, database } = target.connection;
    this.#report.details.database = `${host}:${port}/${database}`;
    if (this.#change !== undefined && this.#change.changes.length > 0) {
      this.#report.details.schemaChanges = [...this.#change.changes];
    }
    this.#report.stateBefore = snapshotState(target.state?.snapshotId);
    this.#report.details.primaryKey = { columns: [...this.#key.names], from: this.#key.from };
  }

  async run(): Promise<void> {
    const { metadata } = this.#source;
    const documented = await readDocumentedSnapshot(this.#context.storage, this.#configuration);
    const decision = decide(
      this.#configuration,
      metadata,
      this.#key,
      this.#target.table,
      this.#target.state,
      this.#change,
      { selection: this.#selection, reconcile: this.#context.args.reconcile },
      documented,
    );
    this.#report.way = decision.kind;
    this.#report.reason = decision.reason;
    this.#context.log.info(`${this.#source.label}: ${decision.reason}`);
    const snapshot = this.#selection.to;
    this.#report.stateAfter = snapshotState(snapshot);

    if (this.#context.mode === "run") await this.#sweepLeftovers();
    if (decision.kind === "changes" || decision.kind === "reconcile" || decision.kind === "everything") {
      await this.#load(decision);
    } else if (decision.kind === "move state") {
      // What can't be a column is told before the state says that it is one.
      this.#mapColumns();
      this.#report.changes = true;
      if (this.#context.mode === "run") await this.#moveStateOrLoad();
    }
    if (this.#context.mode === "plan") {
      this.#report.status = "PLANNED";
      return;
    }
    await this.#putCopyRight(snapshot, documented);
    this.#report.status = "SUCCEEDED";
  }

  async #load(decision: Loading, find = this.#context.args.find_changes): Promise<void> {
    const columns = this.#mapColumns();
    const changes = await this.#context.step("plan the changes", () => this.#findChanges(decision, columns, find));
    this.#report.way = changes.way;
    this.#report.reason = changes.reason;
    this.#report.bytes = changes.reads?.bytes;
    if (changes.reads === undefined) delete this.#report.details.reads;
    else this.#report.details.reads = changes.reads;
    const cached = this.#context.mode === "run" && changes.way !== "everything";
    const rows = cached ? await changes.rows.persist() : changes.rows;
    let doubt: DoubtfulChanges | undefined;
    try {
      const counted = await this.#context.step("find the changes", () => this.#count(rows, changes, decision));
      if (this.#context.mode === "plan") return;
      if (counted.staged === 0n && decision.kind === "changes") await this.#moveState();
      else await this.#write(rows, columns, counted, changes.way === "everything" ? "everything" : "changes");
      return;
    } catch (error) {
      doubt = error instanceof DoubtfulChanges ? error : undefined;
      const differs = error instanceof UserError && DIFFERING.includes(error.code) && changes.way !== "everything";
      if (doubt === undefined && !differs) throw error;
    } finally {
      if (cached) await rows.unpersist().catch(() => undefined);
    }
    if (doubt !== undefined) {
      this.#warn("CHANGES_DOUBTFUL", `${doubt.message}; the snapshots were compared as a whole`);
      return await this.#load(decision, "compare");
    }
    await this.#loadAll();
  }

  /** The transaction has found out that the target isn't what it was taken to be. */
  async #loadAll(): Promise<void> {
    const reason =
      "the target did not hold the rows of the last snapshot, each with a key of its own: was it written to by others?";
    this.#warn("TARGET_HAD_CHANGED", `${quoteTable(this.#configuration.target)}: ${reason}`);
    await this.#load({ kind: "everything", reason });
  }

  #warn(code: string, message: string): void {
    this.#context.report.warn(code, this.#name === undefined ? message : `${this.#name}: ${message}`);
  }

  /** @throws UserError `COLUMNS_DO_NOT_FIT` with every column that stands against the load. */
  #mapColumns(): readonly ColumnMapping[] {
    const { columns, problems, warnings } = mapColumns(this.#schema.fields, this.#key.names, this.#table);
    if (problems.length > 0) {
      throw new UserError(
        "COLUMNS_DO_NOT_FIT",
        `${this.#source.label} can't be loaded into ${quoteTable(this.#configuration.target)}`,
        {
          problems,
          hint: "Nothing was changed. Alter the target table, or drop it: a missing table is created to fit",
        },
      );
    }
    if (this.#deletes.kind === "soft" && !this.#keyIsPrimary(columns)) {
      throw new UserError(
        "SOFT_DELETES_NEED_KEY",
        `${quoteTable(this.#configuration.target)} can't keep deleted rows: its primary key is not ${this.#key.names.join(", ")}`,
        { hint: "Nothing was changed. Make the key the target's primary key, or let rows go with --deletes hard" },
      );
    }
    for (const warning of warnings) this.#warn("COLUMN", warning);
    const create = this.#table === undefined ? createTableSql(this.#configuration.target, columns) : undefined;
    this.#report.ddl.splice(
      0,
      this.#report.ddl.length,
      ...(create === undefined ? [] : [create.table, create.key]),
      ...this.#ddl,
    );
    return columns;
  }

  async #findChanges(decision: Loading, columns: readonly ColumnMapping[], find: FindChanges): Promise<Changes> {
    const { fields } = this.#schema;
    const { to } = this.#selection;
    if (decision.kind === "changes") {
      return await changesBetween(this.#source, decision.from, decision.to, fields, this.#key, find);
    }
    if (decision.kind === "everything") return await everything(this.#source, to, fields, decision.reason);
    const obstacle = this.#reconcileObstacle(columns);
    if (obstacle !== undefined) {
      return await everything(this.#source, to, fields, `${decision.reason}; in PostgreSQL, since ${obstacle}`);
    }
    const session = await this.#target.session();
    return await targetDifferences(
      this.#source,
      to,
      columns,
      {
        connection: this.#target.connection,
        ranges: await tableRanges(session, this.#configuration.target, MAX_WRITERS),
        live: liveRows(this.#deletes),
        applicationName: applicationName(this.#context.runId),
      },
      decision.reason,
    );
  }

  /** Why the executors can't hold the target against the source, or `undefined`. */
  #reconcileObstacle(columns: readonly ColumnMapping[]): string | undefined {
    if (this.#ddl.length > 0) return "the target's columns change";
    if (!this.#keyIsPrimary(columns)) return "the key is not the target's primary key";
    const other = columns.find((column) => column.key && !column.native);
    if (other !== undefined) {
      return `the key's column ${JSON.stringify(other.target)} is ${other.type}, which may write one value in several ways`;
    }
    return incomparable(columns);
  }

  /** Checks the key of the new snapshot, and counts its rows and those that will be staged. */
  async #count(rows: DataFrame, changes: Changes, decision: Loading): Promise<RowCounts> {
    const counts = changes.way === "everything" ? undefined : await countChanges({ ...changes, rows }, this.#key);
    const growth = counts === undefined ? undefined : await changes.growth?.(rows, counts);
    const known = this.#knownRows(decision);
    const counted = growth?.counted;
    const reckoned =
      growth !== undefined && known !== null && (counted === undefined || counted === known + growth.rows);
    const total = reckoned ? known + growth.rows : await this.#countRows(changes);
    const recorded = recordedRows(this.#source.metadata, this.#selection.to);
    // A comparison has counted the rows itself: then it is the summary that is wrong, as some writers leave it.
    if (reckoned && counted === undefined && recorded !== undefined && recorded !== total) {
      throw new DoubtfulChanges(`the new snapshot has ${recorded} rows by its summary, and ${total} by the changes`);
    }
    this.#totalRows = total;
    if (this.#key.from === "first column") {
      this.#warn(
        "PRIMARY_KEY_GUESSED",
        `no primary key is known; the first column, ${this.#key.names.join()}, is unique and not NULL, and was taken`,
      );
    }
    this.#report.read = Number(reckoned ? growth.read : total);
    if (counts === undefined || changes.way === "everything") {
      if (this.#context.mode === "plan") {
        this.#report.changes = true;
        // How many of them an existing target lacks, only a comparison with it could tell.
        if (this.#target.table === undefined) this.#report.inserted = Number(total);
        else this.#report.details.rowsToReconcile = Number(total);
      }
      return { staged: total, total };
    }
    this.#report.inserted = Number(counts.inserts);
    this.#report.updated = Number(counts.updates);
    this.#report.deleted = Number(counts.deletes);
    this.#report.changes = changes.way !== "reconcile" || this.#target.state?.snapshotId !== this.#selection.to;
    return { staged: counts.total, total, insertsAreNew: reckoned && counted === undefined };
  }

  /** Rows of the snapshot that the changes start from, where the state tells. */
  #knownRows(decision: Loading): bigint | null {
    return decision.kind === "changes" && this.#target.state?.snapshotId === decision.from ? this.#totalRows : null;
  }

  /** PostgreSQL finds out whether the keys are unique when it makes a new table's primary key; that needs no look of Spark's. */
  async #countRows(changes: Changes): Promise<bigint> {
    const keyIsToBeMade = this.#table === undefined && changes.way === "everything" && this.#context.mode === "run";
    return keyIsToBeMade ? BigInt(await changes.rows.count()) : await this.#checkKey();
  }

  /** @throws UserError `PRIMARY_KEY_VIOLATED`, `PRIMARY_KEY_UNKNOWN`. */
  async #checkKey(): Promise<bigint> {
    const snapshot = await readSnapshot(this.#source, this.#selection.to, this.#schema.fields);
    return await checkKey(snapshot, this.#key, this.#source.label);
  }

  /** Clears what dead runs have left of this target. */
  async #sweepLeftovers(): Promise<void> {
    const session = await this.#target.session();
    const inUse = await sweepLeftovers(this.#context, session, this.#configuration.target);
    for (const { table, owner } of inUse) {
      this.#warn(
        "LEFTOVER_IN_USE",
        `executors of run ${owner.runId} still write to ${quoteTable(table)}; it does no harm, and a later run drops it`,
      );
    }
  }

  /** Spark's executors write to the staging table, then one transaction brings the rows into the target. */
  async #write(
    rows: DataFrame,
    columns: readonly ColumnMapping[],
    counted: RowCounts,
    kind: "changes" | "everything",
  ): Promise<void> {
    const { runId } = this.#context;
    const { target } = this.#configuration;
    const staging = stagingTable(target, runId);
    const owner = {
      runId,
      job: JOB,
      target: quoteTable(target),
      sparkSessionId: (await this.#context.spark()).sessionId,
    };
    const writer = await this.#context.step("create the staging table", async () => {
      const able = await this.#stagingWriter();
      const session = await this.#target.session();
      await this.#target.stateTable.ensure(session);
      await createStaging(
        session,
        staging,
        columns.map((column) => column.staging),
        owner,
      );
      return able;
    });
    try {
      await this.#context.step("write to the staging table", () =>
        writeStaging(
          rows,
          [
            [OPERATION_COLUMN, f.col(OPERATION_COLUMN)],
            ...columns.map((column, index) => [column.staging.name, column.encode(f.col(columnName(index)))] as const),
          ],
          { writer, table: staging, connection: this.#target.connection, application: applicationName(runId) },
        ),
      );
      const result = await applyStaged(
        await this.#target.session(),
        {
          target,
          staging,
          columns: appliedColumns(columns),
          stagedRows: counted.staged,
          targetRows: counted.total,
          insertsAreNew: counted.insertsAreNew === true,
          keyIsUnique: this.#keyIsPrimary(columns),
          rows: kind,
          deletes: this.#deletes,
          ...(this.#table === undefined ? { create: createTableSql(target, columns) } : {}),
          overridingSystemValue: this.#table?.columns.some((column) => column.identityAlways) ?? false,
          ...this.#applying(),
        },
        (name, work) => this.#context.step(name, work),
      );
      this.#report.inserted = Number(result.inserted);
      this.#report.updated = Number(result.updated);
      this.#report.deleted = Number(result.deleted);
      if (result.stagedTwice > 0n) {
        this.#warn("STAGED_TWICE", `${result.stagedTwice} rows were staged twice by repeated tasks; one copy was kept`);
      }
    } catch (error) {
      // Best effort: what stays, the next run clears.
      const session = await this.#target.sessionForCleanUp();
      if (session !== undefined) {
        await dropStaging(session, staging, LEFTOVER_WAIT_MS).catch(() => undefined);
        await session.close();
      }
      if (error instanceof UserError && error.code === "STAGING_NOT_UNIQUE") await this.#checkKey();
      throw error;
    }
  }

  async #stagingWriter(): Promise<StagingWriter> {
    const writer = await stagingWriter(await this.#context.spark());
    this.#report.details.stagedBy = writer;
    if (writer === "JDBC") {
      this.#context.log.info(
        `${this.#source.label}: staged by INSERTs, since this Spark lacks glue-connect-spark-*.jar; with it on its class path, by COPY, in less time`,
      );
    }
    return writer;
  }

  #keyIsPrimary(columns: readonly ColumnMapping[]): boolean {
    const key = columns.filter((column) => column.key).map((column) => column.target);
    const table = this.#table;
    return table === undefined || key.toSorted().join("\n") === table.primaryKey.toSorted().join("\n");
  }

  async #moveStateOrLoad(): Promise<void> {
    try {
      await this.#moveState();
    } catch (error) {
      if (!(error instanceof UserError && error.code === "TARGET_ROWS_DIFFER")) throw error;
      await this.#loadAll();
    }
  }

  async #moveState(): Promise<void> {
    const vouched = this.#selection.from !== undefined;
    if (vouched) this.#totalRows ??= await this.#context.step("count the snapshot's rows", () => this.#checkKey());
    const session = await this.#target.session();
    await this.#target.stateTable.ensure(session);
    await moveState(
      session,
      {
        target: this.#configuration.target,
        deletes: this.#deletes,
        ...(vouched && this.#totalRows !== null ? { targetRows: this.#totalRows } : {}),
        ...this.#applying(),
      },
      (name, work) => this.#context.step(name, work),
    );
  }

  #applying() {
    const newState: Omit<TargetState, "targetOid"> = {
      snapshotId: this.#selection.to ?? null,
      tableUuid: this.#source.metadata.tableUuid,
      source: `${this.#configuration.warehouse} ${this.#source.label}`,
      schemaId: this.#schema.id,
      sourceRows: this.#totalRows,
      fields: this.#schema.fields,
      keyColumns: this.#key.names,
      runId: this.#target.attempt,
      jobName: this.#context.jobName,
    };
    return {
      ddl: this.#ddl,
      expectedOid: this.#target.table?.oid,
      expectedRunId: this.#target.state?.runId,
      state: this.#target.stateTable,
      newState,
      lockTimeoutMs: this.#context.args.lock_timeout * 1000,
      outcomeOfLostCommit: () => this.#target.outcomeOfLostCommit(),
    };
  }

  /** The documented copy of the state follows the state; it is never what a run goes by. */
  async #putCopyRight(snapshot: string | undefined, documented: string | undefined): Promise<void> {
    if (this.#configuration.snapshotUri === undefined || snapshot === undefined || documented === snapshot) return;
    await this.#context.step("write the snapshot file", () =>
      writeDocumentedSnapshot(this.#context.storage, this.#configuration, snapshot),
    );
  }
}

/** What is done with rows. */
type Loading = Decision & { readonly kind: "changes" | "reconcile" | "everything" };

const snapshotState = (snapshotId: string | null | undefined) =>
  snapshotId === undefined || snapshotId === null ? null : { snapshotId };
