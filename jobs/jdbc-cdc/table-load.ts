import { ExitCode, UserError } from "../../lib/errors.js";
import {
  areSmall,
  copyDelivered,
  keepDelivered,
  readAttempt,
  type Written,
  writeParquet,
} from "../../lib/glue/incremental/index.js";
import type { JobContext, TableRun } from "../../lib/glue/index.js";
import { applicationName } from "../../lib/postgres/connection.js";
import type { ExportedSnapshot } from "../../lib/postgres/exported-snapshot.js";
import type { SourceTable } from "../../lib/postgres/source-tables.js";
import type { SparkColumn } from "../../lib/postgres/spark-columns.js";
import * as f from "../../lib/spark/functions/index.js";
import { type DataFrame, quoteName, type SparkSession } from "../../lib/spark/index.js";
import {
  type Batch,
  formatTrackerTime,
  hadoopReadPath,
  type JsonValue,
  type OpenedTable,
} from "../../lib/storage/index.js";
import type { Arguments, Settings } from "./arguments.js";
import {
  asWritten,
  deletedRows,
  KNOWN,
  keptMarks,
  keySchema,
  knownRows,
  undeliveredRows,
  type WrittenForm,
} from "./batch-rows.js";
import type { SqlClock } from "./clock.js";
import { DELETED, PARTITION, publishedSchema, shapeOf } from "./columns.js";
import type { Decision } from "./decision.js";
import type { TableOutput } from "./output.js";
import { mayHaveSince } from "./parquet-output.js";
import { SourceRows } from "./source-rows.js";
import { findTable, type Source } from "./sources.js";
import { type Details, digestOf, isSettled, knownDetails, lostColumns, type Watermark, wasAltered } from "./state.js";
import { knownSql, unsettledSql, type Window, windowSql } from "./window.js";

/** So many transactions later a state is written anew, although there is no news: numbers of 32 bits must stay comparable. */
const RENEW_AFTER = 2n ** 28n;
/** Bytes that are kept as they are: the next run computes hashes of all that is in them. */
const MOST_COPIED = 16 * 1024 * 1024;

type Context = JobContext<Arguments>;

/** What a table's load goes by, once its bounds are fixed. */
export interface LoadPlan {
  readonly context: Context;
  readonly settings: Settings;
  readonly run: TableRun;
  readonly source: Source;
  readonly table: SourceTable;
  readonly clock: SqlClock;
  readonly columns: readonly SparkColumn[];
  readonly details: Details;
  readonly snapshot: ExportedSnapshot;
  readonly opened: OpenedTable<Watermark>;
  readonly decision: Decision;
  readonly window: Window;
  /** Files whose place the batch takes. */
  readonly removed: readonly string[];
  readonly output: TableOutput;
}

/** Executes the load of one table: what the executors read and write, and what is published. */
export class TableLoad {
  readonly #plan: LoadPlan;
  readonly #spark: SparkSession;
  readonly #rows: SourceRows;
  readonly #form: WrittenForm;
  readonly #report: ReturnType<Context["report"]["table"]>;

  constructor(plan: LoadPlan, spark: SparkSession) {
    const { context, snapshot, table, columns, clock, opened } = plan;
    this.#plan = plan;
    this.#spark = spark;
    this.#report = context.report.table(plan.source.name);
    this.#rows = new SourceRows(snapshot, table, columns, {
      readers: context.args.readers,
      applicationName: applicationName(context.runId),
    });
    const before = opened.state?.watermark ?? null;
    this.#form = {
      shape: shapeOf(columns, table, clock),
      // It grows with every batch, also when PostgreSQL's clock was set back.
      batchAt: before === null ? snapshot.takenAt : max(snapshot.takenAt, BigInt(before.takenAt) + 1n),
    };
  }

  get #soft(): boolean {
    return looksForDeleted(this.#plan);
  }

  /** Marks of earlier batches in files that are made anew. */
  #keptMarks(): DataFrame | undefined {
    const { decision, opened, removed } = this.#plan;
    const { state } = opened;
    if (decision.kind !== "backfill" || state?.delivered.keys === undefined || removed.length === 0) return undefined;
    return keptMarks(this.#spark, removed, state.details as Details, this.#form);
  }

  /** How many rows a run would bring; with `--deletes soft` the keys that are gone are counted as well. */
  async count(): Promise<void> {
    const { decision, window, run } = this.#plan;
    // Rows as old as those delivered may be late ones: that their hashes tell.
    const inserted =
      decision.kind === "changes" && window.rows > window.fresh && !nothingNew(this.#plan)
        ? await run.step("count the rows", async () => (await this.#batchRows()).count())
        : Number(decision.kind === "changes" ? window.fresh : window.rows);
    this.#report.inserted = inserted;
    const now = this.#soft ? await this.#rows.keys(this.#spark) : undefined;
    const gone = now === undefined ? undefined : this.#deleted(now);
    if (gone !== undefined) this.#report.deleted = await this.#plan.run.step("count deleted keys", () => gone.count());
    this.#report.changes = !nothingNew(this.#plan) || this.#report.deleted > 0;
  }

  /** Writes and publishes the batch; gives it up when nothing is new. */
  async run(batch: Batch<Watermark>): Promise<void> {
    const { context, run, source, output, opened, decision } = this.#plan;
    const { storage, log } = context;
    const kept = this.#keptMarks();
    const marks = kept === undefined ? 0 : await run.step("count kept marks", () => kept.count());
    let rows = await this.#batchRows();
    if (kept !== undefined && marks > 0) rows = rows.unionAll(kept);
    let deleted = 0;
    const keys = this.#soft ? batch.deliveredFolder("keys") : undefined;
    if (keys !== undefined) {
      const now = await this.#rows.keys(this.#spark);
      await run.step("write the keys", () => writeParquet(now, storage, keys));
      const gone = this.#deleted(this.#spark.read.schema(keySchema(this.#plan.details)).parquet(hadoopReadPath(keys)));
      if (gone !== undefined) {
        deleted = await run.step("count deleted keys", () => gone.count());
        if (deleted > 0) rows = rows.unionAll(gone);
      }
      if (deleted === 0 && opened.state?.delivered.keys !== undefined && nothingNew(this.#plan)) {
        await batch.abandon();
        this.#report.reason = "nothing new";
        return;
      }
    }
    const written = await run.step("write the rows", () =>
      output.partitioned
        ? writeParquet(
            rows.select("*", f.to_date(f.timestamp_micros(this.#form.shape.clock.micros)).as(PARTITION)),
            storage,
            batch.attempt,
            { partitionBy: [PARTITION] },
          )
        : writeParquet(rows, storage, batch.attempt),
    );
    this.#report.inserted = Number(written.rows) - deleted - marks;
    this.#report.deleted = deleted;
    const keysAfter = keys ?? (written.rows > 0n ? await this.#keysWithNew(batch) : this.#keysThatStay());
    const outcome =
      decision.kind === "backfill"
        ? await this.#afterBackfill(batch, decision, keysAfter)
        : await this.#after(batch, written, keysAfter);
    await run.step("check that the table is as it was", () => this.#checkUnaltered());
    const remove = await this.#filesToRemove();
    const state = await batch.publish({
      add: written.rows > 0n,
      remove,
      commit: output.commit({
        plan: this.#plan,
        attempt: written.rows > 0n ? batch.attempt : null,
        watermark: outcome.watermark,
      }),
      ...outcome,
      details: this.#detailsAfter(),
    });
    this.#report.stateAfter = timestampOf(state.watermark);
    if (remove.length > 0) this.#report.details.filesReplaced = remove.length;
    log.info(`${source.name}: ${this.#report.inserted} rows written, ${deleted} keys deleted`);
  }

  /** A full load discards a dead run's batch; if that run was only slow, it may have moved files of it until this batch began. */
  async #filesToRemove(): Promise<readonly string[]> {
    const { decision, output, opened, removed } = this.#plan;
    if (decision.kind !== "full" || !output.partitioned) return removed;
    return await output.filesToRemove(decision, opened.state === undefined);
  }

  #detailsAfter(): JsonValue {
    const { decision, opened, details } = this.#plan;
    // A backfill leaves what the next run begins at.
    if (decision.kind === "backfill") return opened.state?.details ?? null;
    return decision.kind === "full" ? details : { ...details, lost: lostColumns(knownDetails(opened.state), details) };
  }

  async #checkUnaltered(): Promise<void> {
    const { snapshot, source, table } = this.#plan;
    const now = await findTable(
      { query: async (text, values) => ({ rows: await snapshot.queryNow("reading the catalog", text, values) }) },
      table,
    );
    if (wasAltered(table, now)) throw tableAltered(source.name);
  }

  /** The rows that the batch brings. */
  async #batchRows(): Promise<DataFrame> {
    const { decision, window, clock, opened } = this.#plan;
    const where = this.#where;
    const { state } = opened;
    const folder = state?.delivered.rows;
    const known = knownSql(decision, clock);
    if (known !== undefined && state !== undefined && folder !== undefined) {
      const rows = await this.#rows.read(this.#spark, where, window.rows, { [KNOWN]: known });
      const replacedFrom = decision.kind === "changes" ? decision.replaceFrom : undefined;
      const small = this.#rows.areFew(window.rows);
      const knownFrom = BigInt(state.watermark?.knownFrom ?? 0);
      const delivered = { folder, details: state.details as Details, knownFrom, replacedFrom };
      return undeliveredRows(this.#spark, rows, this.#form, delivered, small);
    }
    return asWritten(await this.#rows.read(this.#spark, where, window.rows), this.#form);
  }

  /** The end of the batch: it never goes back, also when the source's newest rows were deleted. */
  get #to(): bigint | undefined {
    const { decision, window } = this.#plan;
    const before = decision.kind === "changes" && decision.known !== undefined ? BigInt(decision.known.to) : undefined;
    if (window.to === undefined || before === undefined) return window.to ?? before;
    return max(window.to, before);
  }

  /** SQL condition on the rows that the batch brings. */
  get #where(): string {
    const { decision, clock, window } = this.#plan;
    return windowSql(decision, clock, this.#to, window.late > 0n);
  }

  /** The keys that were there and are gone; `undefined` when it isn't known which were there. */
  #deleted(now: DataFrame): DataFrame | undefined {
    const { opened, decision, columns, clock } = this.#plan;
    const folder = opened.state?.delivered.keys;
    if (folder === undefined || opened.state === undefined || decision.kind === "full") return undefined;
    const before = { folder, details: opened.state.details as Details };
    return deletedRows(this.#spark, { before, now }, columns, clock, this.#form);
  }

  /** What the next run is to know. */
  async #after(batch: Batch<Watermark>, written: Written, keys: string | undefined): Promise<Ending> {
    const { snapshot, clock, settings, decision, window, table, context, details } = this.#plan;
    const to = this.#to;
    if (to === undefined) return { watermark: null, delivered: {}, tracker: null };
    const byClock = decision.kind === "changes" && decision.byClock;
    const late = unsettledSql(decision, table, snapshot);
    const wanted = to - settings.lookback;
    const knownFrom = decision.kind === "full" ? wanted : max(wanted, decision.from);
    const near = clock.atLeast(knownFrom);
    // Where the window has them all by their time, the rest of the table isn't looked at.
    const upTo =
      window.unsettled === 0n && decision.kind === "changes"
        ? `${clock.atMost(to)} AND ${clock.atLeast(decision.from)}`
        : clock.atMost(to);
    const byTime = late === undefined || (window.unsettled === 0n && decision.kind === "full");
    const where = `${upTo} AND (${near}${byTime ? "" : ` OR ${late}`})`;
    // In a copied file a row counts by its time alone.
    const others = `(NOT (${near}) OR NOT (${this.#where}) OR ${knownSql(decision, clock) ?? "false"})`;
    const { versions, others: notInBatch } = await this.#rows.versions({ where, others });
    const copies = notInBatch === 0n ? await this.#copyDelivered(batch, written, knownFrom) : undefined;
    const folder = copies ?? (await this.#writeDelivered(batch, where, undefined));
    const watermark: Watermark = {
      to: String(to),
      takenAt: String(this.#form.batchAt),
      takenBy: String(max(snapshot.takenBy, this.#form.batchAt)),
      xmin: String(snapshot.xmin),
      system: snapshot.system,
      settled: context.args.late_rows === "clock" && isSettled(snapshot.writers, to),
      byClock,
      knownFrom: String(knownFrom),
      versions,
      shape: digestOf(details),
    };
    return {
      watermark,
      delivered: { rows: folder, ...(keys === undefined ? {} : { keys }) },
      tracker: formatTrackerTime(to),
    };
  }

  /** After a backfill the next run begins where it would have begun; only what it knows of the range is new. */
  async #afterBackfill(
    batch: Batch<Watermark>,
    { from, to, known, late }: Backfill,
    keys: string | undefined,
  ): Promise<Ending> {
    const { clock, opened } = this.#plan;
    const near = clock.atLeast(BigInt(known.knownFrom));
    const where =
      `${clock.atMost(to)} AND ${clock.atLeast(from)} AND ` + `(${near}${late === undefined ? "" : ` OR ${late}`})`;
    const { state } = opened;
    const before = state?.delivered.rows;
    const outside =
      state === undefined || before === undefined
        ? undefined
        : knownRows(
            this.#spark,
            { folder: before, details: state.details as Details, knownFrom: BigInt(known.knownFrom) },
            this.#form,
          ).where(f.not(f.col("time").between(f.lit(from), f.lit(to))));
    const folder = await this.#writeDelivered(batch, where, outside);
    return {
      watermark: { ...known, versions: null },
      delivered: { rows: folder, ...(keys === undefined ? {} : { keys }) },
      tracker: opened.state?.published.value ?? null,
    };
  }

  /** A set of keys of an earlier run, for the next one that looks for deleted ones. */
  #keysThatStay(): string | undefined {
    const { opened, decision, details } = this.#plan;
    const { state } = opened;
    if (state === undefined || decision.kind === "full") return undefined;
    return keySchema(state.details as Details) === keySchema(details) ? state.delivered.keys : undefined;
  }

  /** The same with the keys of this batch: a run that doesn't look for deleted ones brings some that may be gone by the next that does. */
  async #keysWithNew(batch: Batch<Watermark>): Promise<string | undefined> {
    const before = this.#keysThatStay();
    if (before === undefined) return undefined;
    const { details, run, context } = this.#plan;
    const folder = batch.deliveredFolder("keys");
    const schema = keySchema(details);
    const added = readAttempt(this.#spark, batch.attempt, publishedSchema(details))
      .where(f.not(f.col(DELETED)))
      .select(...details.columns.flatMap(({ name }) => (details.key.includes(name) ? [quoteName(name)] : [])));
    const all = readAttempt(this.#spark, before, schema).unionAll(added).distinct();
    await run.step("write the keys", () => writeParquet(all, context.storage, folder));
    return folder;
  }

  /**
   * Keeps copies of the files that the batch wrote, when all rows that count are in them by their time; older ones aren't looked at.
   *
   * @param from the time that rows count from: files of days before it needn't be kept.
   * @returns `undefined` where Spark had better read these rows again.
   */
  async #copyDelivered(batch: Batch<Watermark>, written: Written, from: bigint): Promise<string | undefined> {
    const { context, run, output } = this.#plan;
    return await run.step("write what was delivered", async () => {
      const files = output.partitioned ? written.files.filter(({ uri }) => mayHaveSince(uri, from)) : written.files;
      if (files.length === 0 || !areSmall(files, MOST_COPIED)) return undefined;
      return await copyDelivered(files, context.storage, batch.deliveredFolder);
    });
  }

  /** Keeps what is known of the rows near the watermark, read in the same snapshot. */
  async #writeDelivered(batch: Batch<Watermark>, where: string, before: DataFrame | undefined): Promise<string> {
    const { context, run } = this.#plan;
    const written = (await this.#rows.read(this.#spark, where, 0n)).coalesce(1);
    const rows = { written, shape: this.#form.shape, from: undefined, before };
    const { folder } = await run.step("write what was delivered", () =>
      keepDelivered(rows, context.storage, batch.deliveredFolder),
    );
    return folder;
  }
}

type Backfill = Extract<Decision, { kind: "backfill" }>;

interface Ending {
  readonly watermark: Watermark | null;
  readonly delivered: Readonly<Record<string, string>>;
  readonly tracker: string | null;
}

/** Whether keys that are gone are looked for. */
export function looksForDeleted({
  context,
  table,
  decision,
}: Pick<LoadPlan, "context" | "table" | "decision">): boolean {
  return context.args.deletes === "soft" && table.primaryKey.length > 0 && decision.kind !== "backfill";
}

/** What was read of a table that was altered meanwhile is thrown away. */
export function tableAltered(name: string): UserError {
  return new UserError("TABLE_ALTERED", `${name} was altered, rewritten or emptied while it was read`, {
    hint: "Nothing of it was published. Run again",
    exitCode: ExitCode.retryable,
  });
}

/** Whether a batch would bring no row, remove none, and the state needn't be written anew. */
export function nothingNew({ decision, window, removed, opened, snapshot, output }: LoadPlan): boolean {
  if (removed.length > 0) return false;
  if (decision.kind === "full") return window.rows === 0n && (output.partitioned || opened.state === undefined);
  if (decision.kind === "backfill") return window.rows === 0n && output.partitioned;
  if (window.fresh > 0n) return false;
  const { known } = decision;
  if (known === undefined || decision.replaceFrom !== undefined) return window.rows === 0n;
  const old = snapshot.xmax - BigInt(known.xmin) > RENEW_AFTER;
  return !old && window.versions !== null && window.versions === known.versions;
}

/** The state as the report shows it. */
export const timestampOf = (watermark: Watermark | null) =>
  watermark === null ? null : { max_timestamp: formatTrackerTime(BigInt(watermark.to)) };

const max = (one: bigint, other: bigint) => (one > other ? one : other);
