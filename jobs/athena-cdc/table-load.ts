import { UserError } from "../../lib/errors.js";
import {
  type Bounds,
  type Clock,
  clockOf,
  deliveredRows,
  describeChange,
  fixBounds,
  type IcebergCatalog,
  newestByKey,
  type RowShape,
  readAttempt,
  readDelivered,
  rowsWithin,
  type StoredSchema,
  schemaChange,
  schemaChanged,
  storedSchema,
  undelivered,
  watermarkOfTable,
  writeParquet,
} from "../../lib/glue/incremental/index.js";
import type { CatalogEntry, JobContext, TableReport, TableRun } from "../../lib/glue/index.js";
import type { DataFrame, SparkSession } from "../../lib/spark/index.js";
import {
  type Batch,
  childUri,
  formatTrackerTime,
  type JsonValue,
  lineTracker,
  noTracker,
  type OpenedTable,
  parseTrackerTime,
  type TableBatches,
} from "../../lib/storage/index.js";
import { backfillRows } from "./backfill.js";
import { publishToIceberg } from "./iceberg-output.js";
import { JOB, type Settings } from "./job.js";
import { type Keys, keyOf } from "./keys.js";
import { sourceVersion } from "./source-version.js";

/** How far a table was delivered. Times are documented timestamps, UTC. */
export type Watermark = {
  /** The greatest time that was delivered. */
  readonly time: string;
  /** The delivered rows are known from this time on. */
  readonly knownFrom: string;
  /** How many rows that are. */
  readonly knownRows: string;
};

/** What else is kept with the state. */
type Details = {
  readonly schema: StoredSchema;
  /** The source as it was before the batch was read, and what was looked for in it; `null`: not known. */
  readonly source: string | null;
  readonly format: Settings["format"];
};

interface Parts {
  readonly entry: CatalogEntry;
  readonly keys: Keys;
  readonly catalog: IcebergCatalog | undefined;
  readonly spark: SparkSession;
}

/** What a batch is to load. */
type Decision =
  | { readonly kind: "everything"; readonly reason: string }
  | {
      readonly kind: "window";
      readonly reason: string;
      readonly from: bigint;
      /** `undefined`: what was delivered is not known. */
      readonly known: Watermark | undefined;
      readonly delivered: string | undefined;
    };

/** The load of one table. */
export class TableLoad {
  readonly #context: JobContext<unknown>;
  readonly #settings: Settings;
  readonly #parts: Parts;
  readonly #run: TableRun;
  readonly #report: TableReport;
  readonly #name: string;
  #version: string | null = null;

  constructor(context: JobContext<unknown>, settings: Settings, parts: Parts, run: TableRun) {
    this.#context = context;
    this.#settings = settings;
    this.#parts = parts;
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
    const source = await entry.read(spark);
    const schema = await step("read the schema", () => source.schema());
    const clock = clockOf(schema, "updated_at", this.#name);
    const shape: RowShape = { schema, clock, key: keyOf(keys, this.#name, schema) };
    if (shape.key.length === 0) this.#warn("NO_PRIMARY_KEY", "no primary key is known; rows are not deduplicated");
    if (clock === undefined)
      this.#warn("NO_UPDATED_AT", "there is no column updated_at; the table is loaded as a whole each time");

    const batches = this.#batches(shape);
    const opened = this.#context.mode === "plan" ? await batches.peek() : await batches.open();
    await this.#tellOpened(opened);
    const stored = opened.state?.details as Details | null | undefined;
    const change = stored?.schema === undefined ? undefined : schemaChange(stored.schema, storedSchema(schema));
    if (change !== undefined) {
      this.#report.details.schemaChange = describeChange(change);
      if (!this.#settings.evolve && !this.#settings.full) throw schemaChanged(this.#name, change);
      this.#warn("SCHEMA_CHANGED", `the columns changed since the last batch: ${describeChange(change)}`);
    }
    const format = stored?.format ?? this.#settings.format;
    if (this.#settings.backfill !== undefined) return await this.#backfill(source, shape, batches, opened, format);

    const decision = await this.#decide(clock, opened, change !== undefined && change.retyped.length > 0, format);
    this.#report.way = decision.kind === "everything" ? "full load" : "rows since the last run";
    this.#report.reason = decision.reason;
    this.#report.stateBefore = opened.state?.watermark?.time ?? null;
    // A full load too: the next run is to find what it began with.
    this.#version = clock === undefined ? null : await this.#sourceVersion(source, shape);
    const unchanged = this.#version !== null && this.#version === stored?.source && change === undefined;
    if (unchanged && decision.kind === "window" && decision.known !== undefined) {
      return this.#nothing("the table has the same files as in the last run");
    }
    const from = decision.kind === "window" ? decision.from : undefined;
    const bounds =
      clock === undefined ? undefined : await step("fix the bounds", () => fixBounds(source, clock, from, this.#name));
    this.#tellBounds(bounds);
    // Rows that are to come later are news without any change of the files.
    if (bounds === undefined || bounds.later > 0n) this.#version = null;
    const to = endOf(bounds, decision);
    this.#report.stateAfter = to === undefined ? this.#report.stateBefore : formatTrackerTime(to);
    await this.#load(source, shape, batches, decision, bounds);
  }

  async #sourceVersion(source: DataFrame, { key }: RowShape): Promise<string | null> {
    const files = await this.#run.step("look at the files", () => sourceVersion(source, this.#context.storage));
    return files === undefined ? null : [files, `lookback ${this.#settings.lookback}`, ...key].join(" ");
  }

  #batches(shape: RowShape): TableBatches<Watermark> {
    const { catalog, spark } = this.#parts;
    return this.#run.batches<Watermark>({
      source: `${JOB} ${this.#settings.database}.${this.#name}`,
      tracker:
        shape.clock === undefined
          ? noTracker()
          : lineTracker(this.#context.storage, childUri(this.#settings.cdcPath, `${this.#name}.txt`)),
      ...(catalog === undefined
        ? {}
        : { publish: publishToIceberg({ spark, catalog, table: this.#name, step: this.#run.step }) }),
    });
  }

  async #tellOpened({ recovered, abandoned }: OpenedTable<Watermark>): Promise<void> {
    if (recovered !== undefined)
      this.#warn("BATCH_FINISHED", `the batch that run ${recovered} had begun to publish was finished`);
    const session = (abandoned as { readonly sparkSessionId?: string } | null | undefined)?.sparkSessionId;
    if (session === undefined || this.#context.mode === "plan") return;
    // What a dead run left working writes where nobody looks; it only costs the server's time.
    await this.#parts.spark.interruptSession(session).catch(() => undefined);
  }

  async #decide(
    clock: Clock | undefined,
    opened: OpenedTable<Watermark>,
    retyped: boolean,
    format: Settings["format"],
  ): Promise<Decision> {
    const all = (reason: string): Decision => ({ kind: "everything", reason });
    if (this.#settings.full) return all(this.#settings.fullBecause);
    if (clock === undefined) return all("the table has no column updated_at");
    if (retyped && this.#parts.catalog === undefined) {
      return all("a column's type changed, and Parquet files with both types can't be read together");
    }
    if (format !== this.#settings.format) return all(`so far the output was ${format}`);
    const { state, tracker } = opened;
    const since = (from: bigint, reason: string): Decision => ({
      kind: "window",
      reason,
      from,
      known: undefined,
      delivered: undefined,
    });
    if (tracker.from !== "state") {
      if (tracker.value === null) {
        const kept = state === undefined ? await this.#watermarkOfIceberg(undefined) : undefined;
        if (typeof kept === "bigint")
          return since(kept, "the state is gone; the Iceberg table says how far it was loaded");
        return all(tracker.from === "reset" ? "the tracker was deleted" : "the first load of this table");
      }
      const from = parseTrackerTime(tracker.value) ?? 0n;
      return since(
        from,
        tracker.from === "reset" ? "the tracker was reset by hand" : "the tracker of an earlier job counts",
      );
    }
    const known = state?.watermark;
    if (state === undefined || known === null || known === undefined) return all("nothing was loaded that has a time");
    const rolledBack = await this.#watermarkOfIceberg(state.runId);
    if (rolledBack === "missing") return all("the Iceberg table is gone");
    if (rolledBack !== undefined) return since(rolledBack, "the Iceberg table is at another batch than the state");
    const time = micros(known.time);
    const wanted = time - this.#settings.lookback;
    const knownFrom = micros(known.knownFrom);
    return {
      kind: "window",
      reason: `rows from ${known.time} on`,
      // Before that it isn't known what was delivered.
      from: wanted > knownFrom ? wanted : knownFrom,
      known,
      delivered: state.delivered.rows,
    };
  }

  /** The watermark of the table's last batch, unless that is the batch of a run. */
  async #watermarkOfIceberg(runId: string | null | undefined): Promise<bigint | "missing" | undefined> {
    const { catalog, spark } = this.#parts;
    if (catalog === undefined) return undefined;
    const last = await watermarkOfTable(spark, catalog, this.#name);
    if (last === undefined) return (await spark.catalog.tableExists(catalog.table(this.#name))) ? undefined : "missing";
    return last.runId === runId || last.watermark === undefined ? undefined : micros(last.watermark);
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
    const { spark } = this.#parts;
    const full = decision.kind === "everything";
    if (!full) this.#report.skipped = Number(bounds?.withoutTime ?? 0n);
    if (!full && bounds?.to === undefined) return this.#nothing("no rows since the last run");
    const from = full ? undefined : decision.from;
    const to = endOf(bounds, decision);
    const delivered = full || decision.delivered === undefined ? undefined : readDelivered(spark, decision.delivered);
    const within = rowsWithin(source, shape.clock, { from, to, withoutTime: full });
    // A full load of rows that all have no time, or whose time hasn't come, has no upper bound to go by.
    const wanted =
      full && to === undefined && shape.clock !== undefined ? source.where(shape.clock.column.isNull()) : within;
    const rows = delivered === undefined ? newestByKey(wanted, shape) : undelivered(wanted, shape, delivered);

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
    const batch = await batches.begin({ sparkSessionId: spark.sessionId });
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
    const next = await this.#deliver(batch, shape, to, keepFrom, written.rows > 0n, delivered);
    await this.#publish(batch, shape, written.rows, full ? "replace" : "add", remove, next);
  }

  /** Has the executors keep which rows near the watermark were delivered. */
  async #deliver(
    batch: Batch<Watermark>,
    shape: RowShape,
    to: bigint | undefined,
    keepFrom: bigint | undefined,
    anyRows: boolean,
    before: DataFrame | undefined,
  ): Promise<{ readonly watermark: Watermark | null; readonly delivered: Record<string, string> }> {
    const { clock } = shape;
    // Rows that the bounds have counted may have been deleted meanwhile: then nothing is known of the source.
    const none = !anyRows && before === undefined;
    if (clock === undefined || to === undefined || keepFrom === undefined || none) {
      return { watermark: null, delivered: {} };
    }
    const folder = batch.deliveredFolder("rows");
    const written = anyRows ? readAttempt(this.#parts.spark, batch.attempt, shape.schema) : undefined;
    const kept = deliveredRows(written, { ...shape, clock }, keepFrom, before);
    const { rows: knownRows } = await this.#run.step("write what was delivered", () =>
      writeParquet(kept, this.#context.storage, folder),
    );
    const watermark = {
      time: formatTrackerTime(to),
      knownFrom: formatTrackerTime(keepFrom),
      knownRows: String(knownRows),
    };
    return { watermark, delivered: { rows: folder } };
  }

  async #publish(
    batch: Batch<Watermark>,
    shape: RowShape,
    rows: bigint,
    mode: "replace" | "add" | "range",
    remove: readonly string[],
    next: {
      readonly watermark: Watermark | null;
      readonly delivered: Record<string, string>;
      readonly tracker?: string | null;
    },
    range?: { readonly from: bigint; readonly to: bigint },
  ): Promise<void> {
    const commit: JsonValue =
      this.#parts.catalog === undefined
        ? null
        : {
            mode,
            attempt: rows > 0n ? batch.attempt : null,
            key: shape.key,
            clock: shape.clock?.name ?? null,
            schema: storedSchema(shape.schema),
            watermark: next.watermark?.time ?? null,
            ...(range === undefined
              ? {}
              : { range: { from: formatTrackerTime(range.from), to: formatTrackerTime(range.to) } }),
          };
    await batch.publish({
      add: rows > 0n,
      remove,
      commit,
      tracker: next.watermark?.time ?? null,
      details: {
        schema: storedSchema(shape.schema),
        format: this.#settings.format,
        source: this.#version,
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
  async #backfill(
    source: DataFrame,
    shape: RowShape,
    batches: TableBatches<Watermark>,
    { state, tracker }: OpenedTable<Watermark>,
    format: Settings["format"],
  ): Promise<void> {
    const { spark, catalog } = this.#parts;
    const { clock } = shape;
    const known = state?.watermark;
    const wanted = this.#settings.backfill;
    if (wanted === undefined) return;
    if (
      clock === undefined ||
      known === undefined ||
      known === null ||
      tracker.from !== "state" ||
      state === undefined ||
      format !== this.#settings.format
    ) {
      throw new UserError(
        "BACKFILL_IMPOSSIBLE",
        `${this.#name}: there is nothing that a part of could be loaded again`,
        {
          hint: clock === undefined ? "The table has no column updated_at" : "Run without --from first",
        },
      );
    }
    const time = micros(known.time);
    // What is later comes with the next run.
    const range = { from: wanted.from, to: wanted.to === undefined || wanted.to > time ? time : wanted.to };
    this.#report.way = "backfill";
    this.#report.reason = `${formatTrackerTime(range.from)} to ${formatTrackerTime(range.to)}`;
    this.#report.stateBefore = this.#report.stateAfter = known.time;
    if (range.from > range.to) return this.#nothing("the range is later than what was loaded");
    const fresh = newestByKey(rowsWithin(source, clock, { ...range, withoutTime: false }), shape);
    const { rows, remove } =
      catalog === undefined
        ? await this.#run.step("find the files of the range", () =>
            backfillRows(spark, this.#context.storage, this.#folder, fresh, clock, range, this.#name),
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
    const knownFrom = micros(known.knownFrom);
    const folder = batch.deliveredFolder("rows");
    const before = state.delivered.rows === undefined ? undefined : readDelivered(spark, state.delivered.rows);
    const outside = before?.where(`NOT (time BETWEEN ${range.from} AND ${range.to})`);
    const inRange =
      written.rows === 0n
        ? undefined
        : rowsWithin(readAttempt(spark, batch.attempt, shape.schema), clock, { ...range, withoutTime: false });
    const kept = deliveredRows(inRange, { ...shape, clock }, knownFrom, outside);
    const { rows: knownRows } = await this.#run.step("write what was delivered", () =>
      writeParquet(kept, this.#context.storage, folder),
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

function micros(text: string): bigint {
  const value = parseTrackerTime(text);
  if (value === undefined) throw new TypeError(`${text} is no time of a state`);
  return value;
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
