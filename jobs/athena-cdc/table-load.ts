import { UserError } from "../../lib/errors.js";
import {
  areSmall,
  type Bounds,
  batchHistory,
  boundsOfTimes,
  type Clock,
  clockOf,
  describeChange,
  fixBounds,
  hasFew,
  type IcebergCatalog,
  type NewRows,
  newestByKey,
  newRows,
  type RowShape,
  readAttempt,
  rowsWithin,
  type SourceFiles,
  type StoredFile,
  schemaChange,
  schemaChanged,
  sourceFiles,
  storedSchema,
  tableChanges,
  timesOf,
  undelivered,
  writeParquet,
} from "../../lib/glue/incremental/index.js";
import type { CatalogEntry, JobContext, TableReport, TableRun } from "../../lib/glue/index.js";
import type { DataFrame, SparkSession } from "../../lib/spark/index.js";
import {
  type Batch,
  canonicalUri,
  childUri,
  formatTrackerTime,
  lineTracker,
  noTracker,
  type TableBatches,
} from "../../lib/storage/index.js";
import { backfillRows } from "./backfill.js";
import {
  backfillProblem,
  backfillRange,
  type Circumstances,
  type Decision,
  decide,
  describeRange,
  micros,
  type Standing,
  standingOf,
} from "./decision.js";
import { type Commit, publishBatch } from "./iceberg-output.js";
import { type Keys, keyOf } from "./keys.js";
import { type DeliveredBefore, KnownRows } from "./known-rows.js";
import { JOB, type Settings } from "./settings.js";
import { checkApart, isIcebergTable } from "./source-place.js";
import { columnsAfter, type Details, detailsOf, type Opened, type Watermark } from "./state.js";

interface Parts {
  readonly entry: CatalogEntry;
  readonly keys: Keys;
  /** `undefined`: the output is Parquet. */
  readonly catalog: IcebergCatalog | undefined;
  readonly spark: SparkSession;
  /** The session that tables are looked at in, before it is known how great they are. */
  readonly sessionForPlans: () => Promise<SparkSession>;
  /** The session for the rows of a small table. */
  readonly sessionForFewRows: () => Promise<SparkSession>;
}

/** What a batch leaves in the state. */
interface Next {
  readonly watermark: Watermark | null;
  readonly delivered: Record<string, string>;
  /** Default: the watermark's time. */
  readonly tracker?: string | null;
}

/** The load of one table. */
export class TableLoad {
  readonly #context: JobContext<unknown>;
  readonly #settings: Settings;
  readonly #parts: Parts;
  readonly #run: TableRun;
  readonly #report: TableReport;
  readonly #name: string;
  #version: string | null = null;
  /** When Spark was asked for the source first, milliseconds since 1970: it lists a table's files to tell its columns, and keeps that. */
  #listedAt = 0;
  /** The source's files, where they can be looked at. */
  #files: SourceFiles | undefined;
  /** What new files bring, where nothing else has to be looked at. */
  #news: NewRows | undefined;
  /** The run whose batch the Iceberg table has last, as it was when it was decided what to load. */
  #last: string | null = null;
  /** Reads and writes the rows; what is Iceberg's is done in the run's own session, which knows the catalog. */
  #spark: SparkSession;
  #opened: Opened = { state: undefined, tracker: { from: "state" }, abandoned: undefined, recovered: undefined };

  constructor(context: JobContext<unknown>, settings: Settings, parts: Parts, run: TableRun) {
    this.#context = context;
    this.#settings = settings;
    this.#parts = parts;
    this.#spark = parts.spark;
    this.#run = run;
    this.#name = run.table;
    this.#report = context.report.table(run.table);
    this.#report.target = parts.catalog === undefined ? this.#folder : parts.catalog.table(this.#name);
  }

  get #folder(): string {
    return childUri(this.#settings.output, this.#name);
  }

  async run(): Promise<void> {
    const { spark, entry, keys } = this.#parts;
    const { step } = this.#run;
    const source = await entry.read(await this.#parts.sessionForPlans());
    this.#listedAt = Date.now();
    const schema = await step("read the schema", () => source.schema());
    const clock = clockOf(schema, "updated_at", this.#name);
    const shape: RowShape = { schema, clock, key: keyOf(keys, this.#name, schema) };
    if (shape.key.length === 0) this.#warn("NO_PRIMARY_KEY", "no primary key is known; rows are not deduplicated");
    if (clock === undefined)
      this.#warn("NO_UPDATED_AT", "there is no column updated_at; the table is loaded as a whole each time");

    const files = await step("list the files", () => source.inputFiles());
    await checkApart(entry, files, this.#folder, spark, this.#context.storage);
    const batches = this.#batches(shape);
    const everything = this.#settings.full || clock === undefined;
    this.#opened =
      this.#context.mode === "plan" ? await batches.peek() : await batches.open({ discardUnfinished: everything });
    const { state } = this.#opened;
    await this.#tellOpened(this.#opened);
    const before = detailsOf(state);
    const columns = storedSchema(schema);
    const change = before === undefined ? undefined : schemaChange(before.schema, columns);
    if (change !== undefined) {
      this.#report.details.schemaChange = describeChange(change);
      if (!this.#settings.evolve && !this.#settings.full) throw schemaChanged(this.#name, change);
      this.#warn("SCHEMA_CHANGED", `the columns changed since the last batch: ${describeChange(change)}`);
    }
    if (!everything) this.#checkKey(shape);
    const circumstances: Circumstances = {
      settings: this.#settings,
      timed: clock !== undefined,
      keyed: shape.key.length > 0,
      schema: columns,
      opened: this.#opened,
      standing: everything ? undefined : await this.#standing(),
    };
    if (this.#settings.backfill !== undefined) {
      const problem = backfillProblem(circumstances);
      if (problem === undefined) return await this.#backfill(source, shape, batches);
      throw new UserError("BACKFILL_IMPOSSIBLE", `${this.#name}: ${problem.problem}`, { hint: problem.hint });
    }
    const decision = decide(circumstances);
    this.#report.way = decision.kind === "everything" ? "full load" : "rows since the last run";
    this.#report.reason = decision.reason;
    this.#report.stateBefore = state?.watermark?.time ?? null;
    await this.#checkOutput(shape, decision.kind === "everything");
    // A full load too: the next run is to find what it began with.
    this.#version = clock === undefined ? null : await this.#sourceVersion(files, shape);
    const unchanged = this.#version !== null && this.#version === before?.source && change === undefined;
    if (unchanged && decision.kind === "window" && decision.known !== undefined) {
      return this.#nothing("the table has the same files as in the last run");
    }
    if (clock !== undefined && change === undefined && decision.kind === "window" && decision.known !== undefined) {
      const range = { from: decision.from, last: micros(decision.known.time) };
      this.#news = await step("look at new files", () =>
        newRows(this.#context.storage, this.#files, before?.sourceFiles, clock, range),
      );
    }
    const rows = await this.#rowsOf(source, decision);
    const bounds =
      clock === undefined ? undefined : await step("fix the bounds", () => this.#fixBounds(rows, clock, decision));
    this.#tellBounds(bounds);
    // Rows that are to come later are news without any change of the files.
    if (bounds === undefined || bounds.later > 0n) this.#version = null;
    const to = endOf(bounds, decision);
    this.#report.stateAfter = to === undefined ? this.#report.stateBefore : formatTrackerTime(to);
    await this.#load(rows, shape, batches, decision, bounds);
  }

  /** Without a Spark operation where few rows are to be looked at. */
  async #fixBounds(source: DataFrame, clock: Clock, decision: Decision): Promise<Bounds> {
    const writtenAt = this.#files?.writtenAt ?? 0n;
    if (this.#news !== undefined) {
      const bounds = boundsOfTimes(this.#news.times, this.#news.from, writtenAt);
      if (bounds !== undefined) return bounds;
      this.#news = undefined;
    }
    const from = decision.kind === "window" ? decision.from : undefined;
    const few = this.#few;
    const times = few === undefined ? undefined : await timesOf(this.#context.storage, few, clock);
    const bounds = times === undefined ? undefined : boundsOfTimes(times, from, writtenAt);
    if (bounds !== undefined) return bounds;
    return await fixBounds({ source, clock, from, table: this.#name, small: few !== undefined });
  }

  /** The source's files when they are few and small. */
  get #few(): readonly StoredFile[] | undefined {
    return this.#files !== undefined && areSmall(this.#files.files) ? this.#files.files : undefined;
  }

  /** The table as the session sees it that is to read it. */
  async #rowsOf(source: DataFrame, decision: Decision): Promise<DataFrame> {
    const ofIceberg = decision.kind === "window" && decision.delivered === "table";
    if (this.#few !== undefined && !ofIceberg) this.#spark = await this.#parts.sessionForFewRows();
    return this.#spark.dataFrame(source.relation);
  }

  /** @throws UserError `KEY_CHANGED`: versions by another key can't be told from those that are there. */
  #checkKey({ key }: RowShape): void {
    const before = detailsOf(this.#opened.state)?.key;
    if (before === undefined || before.join("\n").toLowerCase() === key.join("\n").toLowerCase()) return;
    const told = (columns: readonly string[]) => (columns.length === 0 ? "none" : columns.join(", "));
    throw new UserError(
      "KEY_CHANGED",
      `${this.#name}: the primary key is ${told(key)}, and the output was loaded with ${told(before)}`,
      { hint: "Nothing was written. Correct the file of primary keys, or load the table afresh with --full-refresh" },
    );
  }

  async #standing(): Promise<Standing | undefined> {
    const { catalog, spark } = this.#parts;
    if (catalog === undefined) return undefined;
    const { state, recovered } = this.#opened;
    // A plan sees the table before the batch that a run would finish.
    if (this.#context.mode === "plan" && recovered !== undefined) return { kind: "same" };
    const history = await this.#run.step("look at the Iceberg table", () => batchHistory(spark, catalog, this.#name));
    const standing = standingOf(history, state?.runId ?? null, detailsOf(state)?.fullLoad);
    // Where maintenance has expired its snapshot, the state's batch is the last all the same.
    this.#last = history?.last?.runId ?? (standing.kind === "same" ? (state?.runId ?? null) : null);
    return standing;
  }

  /**
   * Finds out what would keep a batch from being published before it is stored as one that is to be.
   *
   * @throws UserError `ICEBERG_TYPE_CHANGE`, `ICEBERG_TYPE_MISSING`, `OUTPUT_IS_ICEBERG`.
   */
  async #checkOutput({ schema }: RowShape, full: boolean): Promise<void> {
    const { catalog, spark } = this.#parts;
    if (catalog !== undefined) {
      await this.#run.step("compare the columns", () =>
        tableChanges(spark, catalog, this.#name, storedSchema(schema), full),
      );
      return;
    }
    if (!full || !(await isIcebergTable(this.#context.storage, this.#folder))) return;
    throw new UserError("OUTPUT_IS_ICEBERG", `${this.#folder} is an Iceberg table, whose files would be deleted`, {
      hint: "Drop it (DROP TABLE ... PURGE), or give another --output_path and --cdc_path",
    });
  }

  async #sourceVersion(names: readonly string[], { key }: RowShape): Promise<string | null> {
    const files = await this.#run.step("look at the files", () =>
      sourceFiles(names, this.#context.storage, this.#listedAt),
    );
    this.#files = files;
    return files === undefined ? null : [files.version, `lookback ${this.#settings.lookback}`, ...key].join(" ");
  }

  #batches(shape: RowShape): TableBatches<Watermark> {
    return this.#run.batches<Watermark>({
      source: `${JOB} ${this.#settings.database}.${this.#name}`,
      tracker:
        shape.clock === undefined
          ? noTracker()
          : lineTracker(this.#context.storage, childUri(this.#settings.cdcPath, `${this.#name}.txt`)),
      publish: publishBatch({
        spark: this.#parts.spark,
        store: this.#context.storage,
        output: this.#settings.output,
        table: this.#name,
        step: this.#run.step,
      }),
    });
  }

  async #tellOpened({ recovered, abandoned }: Opened): Promise<void> {
    if (recovered !== undefined)
      this.#warn("BATCH_FINISHED", `the batch that run ${recovered} had begun to publish was finished`);
    const session = (abandoned as { readonly sparkSessionId?: string } | null | undefined)?.sparkSessionId;
    if (session === undefined || this.#context.mode === "plan") return;
    // What a dead run left working writes where nobody looks; it only costs the server's time.
    await this.#parts.spark.interruptSession(session).catch(() => undefined);
  }

  #tellBounds(bounds: Bounds | undefined): void {
    if (bounds === undefined) return;
    this.#report.read = Number(bounds.rows);
    this.#report.details.withoutTime = bounds.withoutTime;
    this.#report.details.later = bounds.later;
    if (bounds.later > 0n) {
      this.#warn(
        "ROWS_IN_THE_FUTURE",
        `${bounds.later} rows have an updated_at later than the source's clock; they come when they are due`,
      );
    }
  }

  async #load(
    source: DataFrame,
    shape: RowShape,
    batches: TableBatches<Watermark>,
    decision: Decision,
    bounds: Bounds | undefined,
  ): Promise<void> {
    const full = decision.kind === "everything";
    if (!full) this.#report.skipped = Number(bounds?.withoutTime ?? 0n);
    if (!full && bounds?.to === undefined) return this.#nothing("no rows since the last run");
    const from = full ? undefined : decision.from;
    const to = endOf(bounds, decision);
    const delivered = full ? undefined : await this.#delivered(decision, shape);
    const within = rowsWithin(source, shape.clock, { from: this.#news?.from ?? from, to, withoutTime: full });
    // A full load of rows that all have no time, or whose time hasn't come, has no upper bound to go by.
    const wanted =
      full && to === undefined && shape.clock !== undefined ? source.where(shape.clock.column.isNull()) : within;
    const read = this.#few === undefined ? wanted : wanted.coalesce(1);
    const known = full || typeof decision.delivered !== "object" ? undefined : decision.delivered.folder;
    const isSmall = this.#few !== undefined && known !== undefined && hasFew(known);
    const rows =
      delivered === undefined || this.#news !== undefined
        ? newestByKey(read, shape)
        : undelivered(read, shape, delivered, isSmall);

    const noNewer = !full && decision.known !== undefined && to === micros(decision.known.time);
    if (this.#context.mode === "plan") {
      this.#report.inserted = await this.#run.step("count the rows", () => rows.count());
      this.#report.changes = full || this.#report.inserted > 0;
      return;
    }
    if (noNewer && bounds?.rows === BigInt(decision.known?.knownRows ?? -1)) {
      // As many rows as were delivered, and none of them newer: most likely they are the same.
      if ((await this.#run.step("look for changed rows", () => rows.count())) === 0) {
        return this.#nothing("no rows since the last run");
      }
    }
    const batch = await batches.begin({ sparkSessionId: this.#spark.sessionId });
    const written = await this.#run.step("write the rows", () =>
      writeParquet(rows, this.#context.storage, batch.attempt),
    );
    if (written.rows === 0n && !full) {
      await batch.abandon();
      return this.#nothing("no rows since the last run");
    }
    this.#report.inserted = Number(written.rows);
    if (written.rows === 0n) this.#warn("TABLE_EMPTY", "there are no rows to load");
    const remove = full && this.#parts.catalog === undefined ? await this.#presentFiles() : [];
    this.#report.details.filesReplaced = remove.length;
    const keepFrom = later(to === undefined ? undefined : to - this.#settings.lookback, from);
    const until = full || decision.known === undefined ? undefined : micros(decision.known.time);
    const before = delivered === undefined ? undefined : { rows: delivered, until };
    const next = await this.#deliver(batch, shape, to, keepFrom, written.rows > 0n, before);
    await this.#publish(batch, shape, written.rows, full ? "replace" : "add", remove, next);
  }

  /** The rows that were delivered from the batch's beginning on, in the form of the kept ones. */
  async #delivered(
    { delivered, from }: Decision & { kind: "window" },
    shape: RowShape,
  ): Promise<DataFrame | undefined> {
    const { catalog } = this.#parts;
    const { clock } = shape;
    if (delivered === undefined || clock === undefined) return undefined;
    const known = this.#known({ ...shape, clock });
    if (delivered !== "table") return known.read(delivered.folder);
    if (catalog === undefined) throw new TypeError("only an Iceberg table tells by itself what it holds");
    return await known.readTable(catalog, this.#name, from);
  }

  #known(shape: RowShape & { readonly clock: Clock }): KnownRows {
    return new KnownRows(this.#spark, this.#context.storage, this.#opened.state, shape);
  }

  /** Keeps which rows near the watermark were delivered. */
  async #deliver(
    batch: Batch<Watermark>,
    shape: RowShape,
    to: bigint | undefined,
    keepFrom: bigint | undefined,
    anyRows: boolean,
    before: DeliveredBefore | undefined,
  ): Promise<{ readonly watermark: Watermark | null; readonly delivered: Record<string, string> }> {
    const { clock } = shape;
    // Rows that the bounds have counted may have been deleted meanwhile: then nothing is known of the source.
    const none = !anyRows && before === undefined;
    if (clock === undefined || to === undefined || keepFrom === undefined || none) {
      return { watermark: null, delivered: {} };
    }
    const few = this.#few !== undefined;
    const { folder, rows } = await this.#run.step("write what was delivered", () =>
      this.#known({ ...shape, clock }).keep(batch, { from: keepFrom, before, anyRows, few }),
    );
    const watermark = {
      time: formatTrackerTime(to),
      knownFrom: formatTrackerTime(keepFrom),
      knownRows: String(rows),
    };
    return { watermark, delivered: { rows: folder } };
  }

  async #publish(
    batch: Batch<Watermark>,
    shape: RowShape,
    rows: bigint,
    mode: Commit["mode"],
    remove: readonly string[],
    next: Next,
    range?: { readonly from: bigint; readonly to: bigint },
  ): Promise<void> {
    const before = detailsOf(this.#opened.state);
    const fullLoad = mode === "replace" ? this.#context.runId : (before?.fullLoad ?? null);
    const schema = storedSchema(shape.schema);
    const commit: Commit = {
      mode,
      database: this.#settings.icebergDatabase,
      fullLoad,
      after: mode === "replace" ? null : this.#last,
      attempt: rows > 0n ? batch.attempt : null,
      key: shape.key,
      clock: shape.clock?.name ?? null,
      schema,
      watermark: next.watermark?.time ?? null,
      range: range === undefined ? null : { from: formatTrackerTime(range.from), to: formatTrackerTime(range.to) },
    };
    await batch.publish({
      add: rows > 0n,
      remove,
      commit: this.#parts.catalog === undefined ? null : commit,
      tracker: next.watermark?.time ?? null,
      details: {
        schema,
        written: mode === "replace" ? schema : columnsAfter(before?.written ?? before?.schema ?? [], schema),
        source: this.#version,
        sourceFiles: this.#version === null ? null : (this.#files?.marks ?? null),
        format: this.#settings.format,
        place: canonicalUri(this.#settings.output),
        key: shape.key,
        fullLoad,
      } satisfies Details,
      ...next,
    });
    this.#report.changes = true;
    this.#report.status = "SUCCEEDED";
  }

  #nothing(reason: string): void {
    this.#report.reason = reason;
    this.#report.stateAfter = this.#report.stateBefore;
    this.#report.status = this.#context.mode === "plan" ? "PLANNED" : "SUCCEEDED";
  }

  /** Loads a range again in place of what was delivered of it. */
  async #backfill(source: DataFrame, shape: RowShape, batches: TableBatches<Watermark>): Promise<void> {
    const { spark, catalog } = this.#parts;
    const { clock } = shape;
    const { state } = this.#opened;
    const known = state?.watermark ?? undefined;
    const wanted = this.#settings.backfill;
    if (wanted === undefined || clock === undefined || state === undefined || known === undefined) return;
    const range = backfillRange(wanted, known);
    this.#report.way = "backfill";
    this.#report.reason = describeRange(range);
    this.#report.stateBefore = this.#report.stateAfter = known.time;
    if (range.from > range.to) return this.#nothing("the range is later than what was loaded");
    await this.#checkOutput(shape, false);
    const fresh = newestByKey(rowsWithin(source, clock, { ...range, withoutTime: false }), shape);
    const { rows, remove } =
      catalog === undefined
        ? await this.#run.step("find the files of the range", () =>
            backfillRows(spark, this.#context.storage, this.#folder, fresh, { ...shape, clock }, range, this.#name),
          )
        : { rows: fresh, remove: [] };
    if (this.#context.mode === "plan") {
      this.#report.inserted = await this.#run.step("count the rows", () => fresh.count());
      this.#report.changes = true;
      return;
    }
    const batch = await batches.begin({ sparkSessionId: spark.sessionId });
    const written = await this.#run.step("write the rows", () =>
      writeParquet(rows, this.#context.storage, batch.attempt),
    );
    this.#report.inserted = Number(written.rows);
    this.#report.details.filesReplaced = remove.length;
    const inRange =
      written.rows === 0n
        ? undefined
        : rowsWithin(readAttempt(spark, batch.attempt, shape.schema), clock, { ...range, withoutTime: false });
    const { folder, rows: knownRows } = await this.#run.step("write what was delivered", () =>
      this.#known({ ...shape, clock }).keepAround(batch, range, inRange),
    );
    const next = {
      watermark: { ...known, knownRows: String(knownRows) },
      delivered: { rows: folder },
      tracker: state.published.value,
    };
    await this.#publish(batch, shape, written.rows, "range", remove, next, range);
  }

  async #presentFiles(): Promise<string[]> {
    const files: string[] = [];
    for await (const { uri } of this.#context.storage.list(`${this.#folder}/`)) files.push(uri);
    return files;
  }

  #warn(code: string, message: string): void {
    this.#context.report.warn(code, `${this.#name}: ${message}`);
  }
}

/** The end of the batch: it never goes back, also when the source's newest rows were deleted. */
function endOf(bounds: Bounds | undefined, decision: Decision): bigint | undefined {
  if (bounds?.to === undefined || decision.kind === "everything" || decision.known === undefined) return bounds?.to;
  const before = micros(decision.known.time);
  return bounds.to > before ? bounds.to : before;
}

/** The later one; `undefined` is no bound. */
function later(left: bigint | undefined, right: bigint | undefined): bigint | undefined {
  if (left === undefined || right === undefined) return left;
  return left > right ? left : right;
}
