import {
  type Bounds,
  type BoundsQuestion,
  countParquetRows,
  rowsWithin,
  storedSchema,
  undelivered,
  writeParquet,
} from "../../lib/glue/incremental/index.js";
import type { JobContext, TableReport, TableRun } from "../../lib/glue/index.js";
import * as f from "../../lib/spark/functions/index.js";
import type { DataFrame, SparkSession } from "../../lib/spark/index.js";
import { type Batch, childUri, formatTrackerTime, hadoopReadPath } from "../../lib/storage/index.js";
import { type Circumstances, type Decision, decide, microsOf, schemaChanges } from "./decision.js";
import type { MartCommit } from "./iceberg-output.js";
import { consolidated, deliveredOf, KNOWN_PARTS, keepsLinks, knownRows, partOf, readKnown } from "./known.js";
import { sourceOf } from "./mart.js";
import { outputSchema, storedNames } from "./output-columns.js";
import { emptiedGroups, groupsAreKnown, joinedRows, noGroups, touchedGroups, touchedSchema } from "./plans.js";
import { knownFolders, knownName, type MartDetails, type Watermark } from "./state.js";

/** After so many datasets of known rows they are written anew, as one. */
const MAX_KNOWN_DATASETS = 8;

/** What an output's part of a batch comes to. */
export interface Written {
  readonly marks: Watermark[string];
  /** Datasets by name, those of this output only. */
  readonly delivered: Readonly<Record<string, string>>;
  readonly details: MartDetails;
  /** Files of the output that the batch's take the place of. */
  readonly remove: readonly string[];
  /** `undefined`: nothing of the output changes, or it is Parquet. */
  readonly commit: MartCommit | undefined;
}

export interface MartLoadParts extends Omit<Circumstances, "warn"> {
  readonly context: JobContext<unknown>;
  readonly run: TableRun;
  readonly spark: SparkSession;
}

/** The load of one output: first what there is to do, then the doing. */
export class MartLoad {
  readonly #parts: MartLoadParts;
  readonly #report: TableReport;
  #decision: Decision = { kind: "everything", reason: "" };
  #bounds: ReadonlyMap<string, Bounds> = new Map();
  /** Rows that may count as changed, by table. */
  #fresh: ReadonlyMap<string, DataFrame> = new Map();

  constructor(parts: MartLoadParts) {
    this.#parts = parts;
    this.#report = parts.context.report.table(parts.mart.name);
    this.#report.target = this.#folder("");
  }

  get name(): string {
    return this.#parts.mart.name;
  }

  /** Decides what to load. Returns what has to be asked of the source first, by table. */
  decide(): ReadonlyMap<string, BoundsQuestion> {
    const { mart, opened } = this.#parts;
    const circumstances = { ...this.#parts, warn: this.#warn.bind(this) };
    const { told, retyped } = schemaChanges(circumstances);
    if (Object.keys(told).length > 0) this.#report.details.schemaChanges = told;
    this.#decision = decide(circumstances, retyped);
    const { kind, reason } = this.#decision;
    this.#report.way = { everything: "full load", changes: "groups that changed", range: "backfill" }[kind];
    this.#report.reason = reason;
    this.#report.stateBefore = this.#told(opened.state?.watermark?.[mart.name] ?? {});
    this.#report.stateAfter = this.#report.stateBefore;
    const decision = this.#decision;
    if (decision.kind === "range") return new Map();
    return new Map(
      [...mart.sources].flatMap(([table, { rows, clock }]): [string, BoundsQuestion][] => {
        const from = decision.kind === "changes" ? decision.from(table) : undefined;
        return clock === undefined ? [] : [[table, { source: rows, clock, from, table }]];
      }),
    );
  }

  /** Looks whether there is something to do, without writing anything. */
  async look(bounds: ReadonlyMap<string, Bounds>): Promise<boolean> {
    const { context, mart, run, opened } = this.#parts;
    this.#bounds = bounds;
    this.#tellBounds();
    const decision = this.#decision;
    if (decision.kind !== "everything") {
      this.#fresh = this.#candidates();
      const before = opened.state?.watermark?.[mart.name];
      const newer = [...this.#fresh.keys()].some((table) => {
        const { to } = bounds.get(table) ?? {};
        const time = microsOf(before?.[table]?.time);
        return to !== undefined && (time === undefined || to > time);
      });
      // Rows that are newer than all that was delivered are news; others may be those that were delivered.
      const certain = decision.kind === "range" || !decision.known || newer;
      if (this.#fresh.size > 0 && (!certain || context.mode === "plan")) await this.#keepChanged();
      if (this.#fresh.size === 0) {
        this.#report.reason = "no rows since the last run";
        return false;
      }
    }
    this.#report.stateAfter = this.#told(this.#marksAfter());
    if (context.mode === "plan") await run.step("count the rows", () => this.#count());
    return true;
  }

  /**
   * Has the executors write all that the batch is to hold of the output, below the attempt's folder. `undefined` when it turns
   * out that nothing has changed.
   */
  async write(batch: Batch<Watermark>, batchId: string): Promise<Written | undefined> {
    if (this.#decision.kind === "everything") {
      const remove = await this.#presentFiles();
      this.#report.details.filesReplaced = remove.length;
      const delivered = await this.#writeKnown(batch);
      await this.#writeEverything(batch, batchId);
      return this.#written(delivered, remove, this.#commit("replace", this.#rowsFolder(batch), null));
    }
    const { changes, counts, delivered } = await this.#writeChanges(batch);
    this.#tellChanged(counts);
    const tables = Object.keys(counts);
    if (tables.length > 0) {
      const commit = await this.#writeGroups(batch, batchId, tables, changes);
      return this.#written(delivered, [], commit);
    }
    if (this.#parts.opened.tracker.from === "state") {
      this.#report.reason = "no rows since the last run";
      this.#report.stateAfter = this.#report.stateBefore;
      return undefined;
    }
    return this.#written(delivered, [], undefined);
  }

  #tellBounds(): void {
    const { mart, context } = this.#parts;
    const full = this.#decision.kind === "everything";
    const seen: Record<string, bigint> = {};
    for (const [table, { rows, later, withoutTime }] of this.#bounds) {
      const { incrementalColumn, shortName } = sourceOf(mart, table).configuration;
      if (full || rows + later > 0n) seen[shortName] = rows + later;
      this.#report.read += Number(rows + later);
      if (full && rows + later + withoutTime === 0n) this.#warn("TABLE_EMPTY", `${table} is empty`);
      if (!full && rows + later === 0n) context.log.info(`${mart.name}: no new rows in ${table}`);
      if (later > 0n) {
        this.#warn(
          "ROWS_IN_THE_FUTURE",
          `${later} rows of ${table} have a ${incrementalColumn} later than the source's clock; the watermark stays before it`,
        );
      }
      if (withoutTime > 0n) {
        this.#warn(
          "ROWS_WITHOUT_TIME",
          `${withoutTime} rows of ${table} have no ${incrementalColumn}: that they change can't be seen`,
        );
      }
    }
    this.#report.details.rowsSeen = seen;
  }

  #candidates(): Map<string, DataFrame> {
    const tables = [...this.#parts.mart.sources.keys()];
    return new Map(
      tables.flatMap((table) => {
        const rows = this.#changesOf(table);
        return rows === undefined ? [] : [[table, rows]];
      }),
    );
  }

  #changesOf(table: string): DataFrame | undefined {
    const { mart } = this.#parts;
    const { rows, clock, schema } = sourceOf(mart, table);
    const decision = this.#decision;
    if (clock === undefined || decision.kind === "everything") return undefined;
    if (decision.kind === "range") {
      return rowsWithin(rows, clock, { from: decision.from, to: decision.to, withoutTime: false });
    }
    const bounds = this.#bounds.get(table);
    if (bounds === undefined || bounds.rows + bounds.later === 0n) return undefined;
    // Rows of the future are taken at once: a joined row can't be left out without tearing its groups.
    const from = decision.from(table);
    const window =
      from === undefined
        ? rows.where(clock.column.isNotNull())
        : rowsWithin(rows, clock, { from, to: undefined, withoutTime: false });
    const known = decision.known ? this.#known() : undefined;
    return known === undefined
      ? window
      : undelivered(window, { schema, clock, key: [] }, deliveredOf(mart, table, known));
  }

  /** Leaves out the tables without changed rows. */
  async #keepChanged(): Promise<void> {
    const { run } = this.#parts;
    const tables = [...this.#fresh];
    const counts = tables.map(([, rows], number) => rows.agg(f.lit(number).as("number"), f.count(f.lit(1)).as("rows")));
    const [first, ...rest] = counts;
    if (first === undefined) return;
    const plan = rest.reduce((all, one) => all.union(one), first);
    const rows = await run.step("look for changes", () => plan.collect());
    const changed: Record<string, number> = {};
    for (const row of rows) {
      const [table] = tables[row.getNumber("number") ?? -1] ?? [];
      const count = Number(row.getBigInt("rows") ?? 0n);
      if (table !== undefined && count > 0) changed[table] = count;
    }
    this.#tellChanged(changed);
    this.#fresh = new Map(tables.filter(([table]) => Object.hasOwn(changed, table)));
  }

  #tellChanged(counts: Readonly<Record<string, number>>): void {
    const told = Object.entries(counts).map(([table, count]) => [this.#shortName(table), count]);
    this.#report.details.changed = Object.fromEntries(told);
  }

  async #count(): Promise<void> {
    const { mart } = this.#parts;
    const tables = [...this.#fresh.keys()];
    const touched =
      this.#decision.kind === "everything"
        ? undefined
        : touchedGroups(mart, tables, this.#changedRows().drop("part"), this.#known());
    this.#report.inserted = await joinedRows(mart, touched, "").count();
    this.#report.changes = true;
  }

  #changedRows(): DataFrame {
    const { mart } = this.#parts;
    // What is loaded again by request may come with the next run once more.
    const counts = this.#decision.kind !== "range";
    const parts = [...this.#fresh].map(([table, rows]) => knownRows(mart, table, rows, counts));
    const [first, ...rest] = parts;
    if (first === undefined) throw new TypeError("there are no changed rows");
    return rest.reduce((all, one) => all.union(one), first);
  }

  /** Written first of all: everything that follows goes by the same changed rows, whatever happens in the source. */
  async #writeChanges(batch: Batch<Watermark>) {
    const { mart, run, spark, opened, context } = this.#parts;
    const present = knownFolders(opened.state, mart.name);
    const decision = this.#decision;
    const forgets = decision.kind === "changes" && !decision.known;
    const anew = present.length === 0 || present.length >= MAX_KNOWN_DATASETS || forgets;
    const name = knownName(mart.name, anew ? 0 : present.length);
    const folder = anew ? this.#workFolder(batch, "changes") : batch.deliveredFolder(name);
    const counts: Record<string, number> = {};
    if (this.#fresh.size > 0) {
      const { rows } = await run.step("write the changes", () => this.#store(this.#changedRows(), folder, KNOWN_PARTS));
      for (const table of rows === 0n ? [] : this.#fresh.keys()) {
        const count = await countParquetRows(context.storage, `${folder}/${partOf(mart, table)}`);
        if (count > 0n) counts[table] = Number(count);
      }
    }
    const changes = readKnown(spark, mart, [folder]);
    const any = Object.keys(counts).length > 0;
    const delivered = Object.fromEntries(present.map((uri, number) => [knownName(mart.name, number), uri]));
    if (!anew) return { changes, counts, delivered: any ? { ...delivered, [name]: folder } : delivered };
    const parts = [
      ...(any ? [changes] : []),
      present.length > 0
        ? consolidatedInput(readKnown(spark, mart, present), forgets)
        : this.#linksOfSource().drop("part"),
    ];
    const all = parts.reduce((sum, one) => sum.union(one));
    const target = batch.deliveredFolder(name);
    const keepFrom = (table: string) => this.#keepFrom(table);
    await run.step("write what is known", () => this.#store(consolidated(mart, all, keepFrom), target, KNOWN_PARTS));
    return { changes, counts, delivered: { [name]: target } };
  }

  async #writeGroups(
    batch: Batch<Watermark>,
    batchId: string,
    tables: readonly string[],
    changes: DataFrame,
  ): Promise<MartCommit | undefined> {
    const { mart, run, spark, before, settings } = this.#parts;
    let touched = touchedGroups(mart, tables, changes, this.#known());
    if (!groupsAreKnown(mart, tables)) {
      const folder = this.#workFolder(batch, "touched");
      const plan = touched;
      const { rows } = await run.step("find the groups", () => this.#store(plan, folder));
      this.#report.details.groups = rows;
      touched = spark.read.schema(touchedSchema(mart)).parquet(hadoopReadPath(folder));
    }
    const folder = this.#rowsFolder(batch);
    const { rows } = await run.step("write the rows", () => this.#store(joinedRows(mart, touched, batchId), folder));
    this.#report.inserted = Number(rows);
    const emptiedFolder = childUri(batch.attempt, `${mart.name}_emptied`);
    let emptied = 0n;
    if (mart.tree.tables.length > 1 || before === undefined) {
      const written = spark.read.schema("group_id STRING").parquet(hadoopReadPath(folder));
      const plan = emptiedGroups(mart, touched, written, batchId);
      emptied = (await run.step("write the emptied groups", () => this.#store(plan, emptiedFolder))).rows;
    }
    this.#report.deleted = Number(emptied);
    // Only the first batch needs files without rows: so that the folders can be read.
    if (before !== undefined && settings.format === "parquet") {
      if (rows === 0n) await this.#parts.context.storage.deleteAll(`${folder}/`);
      if (emptied === 0n) await this.#parts.context.storage.deleteAll(`${emptiedFolder}/`);
    }
    return this.#commit("groups", rows === 0n ? null : folder, emptied === 0n ? null : emptiedFolder);
  }

  async #writeEverything(batch: Batch<Watermark>, batchId: string): Promise<void> {
    const { mart, run, spark, settings } = this.#parts;
    const [{ rows }] = await Promise.all([
      run.step("write the rows", () => this.#store(joinedRows(mart, undefined, batchId), this.#rowsFolder(batch))),
      settings.format === "iceberg" ||
        run.step("write the emptied groups", () =>
          this.#store(noGroups(mart, spark), childUri(batch.attempt, `${mart.name}_emptied`)),
        ),
    ]);
    this.#report.inserted = Number(rows);
    if (rows === 0n) this.#warn("NO_ROWS", "there are no rows to write");
  }

  /** After a full load: the rows near the watermark, and the links of all rows. Read before the rows are joined. */
  async #writeKnown(batch: Batch<Watermark>): Promise<Record<string, string>> {
    const { mart, run } = this.#parts;
    const parts = [...mart.sources].flatMap(([table, { rows, clock }]) => {
      const from = this.#keepFrom(table);
      if (clock === undefined) return [];
      const isNear = from === undefined ? f.lit(false) : f.coalesce(clock.micros.geq(from), f.lit(false));
      if (keepsLinks(mart, table)) return [knownRows(mart, table, rows, isNear)];
      if (from === undefined) return [];
      const near = rowsWithin(rows, clock, { from, to: undefined, withoutTime: false });
      return [knownRows(mart, table, near, true)];
    });
    const [first, ...rest] = parts;
    if (first === undefined) return {};
    const name = knownName(mart.name, 0);
    const folder = batch.deliveredFolder(name);
    const plan = rest.reduce((all, one) => all.union(one), first);
    await run.step("write what is known", () => this.#store(plan, folder, KNOWN_PARTS));
    return { [name]: folder };
  }

  /** Where all rows belong now, for a start without datasets. */
  #linksOfSource(): DataFrame {
    const { mart } = this.#parts;
    const tables = [...mart.sources].filter(([table]) => keepsLinks(mart, table));
    const none = [...mart.sources].map(([table, { rows }]) => knownRows(mart, table, rows.where(f.lit(false)), false));
    const parts = tables.map(([table, { rows }]) => knownRows(mart, table, rows, false));
    return [...parts, ...none.slice(0, 1)].reduce((all, one) => all.union(one));
  }

  #store(rows: DataFrame, folder: string, options = {}): Promise<{ readonly rows: bigint }> {
    return writeParquet(rows, this.#parts.context.storage, folder, options);
  }

  #known(): DataFrame | undefined {
    const { mart, opened, spark } = this.#parts;
    const folders = knownFolders(opened.state, mart.name);
    return folders.length === 0 ? undefined : readKnown(spark, mart, folders);
  }

  /** How far each table is delivered when the batch is published. */
  #marksAfter(): Watermark[string] {
    const { mart, opened } = this.#parts;
    if (this.#decision.kind === "range") return opened.state?.watermark?.[mart.name] ?? {};
    const text = (micros: bigint | undefined) => (micros === undefined ? null : formatTrackerTime(micros));
    return Object.fromEntries([...mart.sources.keys()].map((table) => [table, { time: text(this.#timeAfter(table)) }]));
  }

  /** A watermark never goes back by itself, also when a table's newest rows were deleted. */
  #timeAfter(table: string): bigint | undefined {
    const decision = this.#decision;
    const { opened, mart } = this.#parts;
    const to = this.#bounds.get(table)?.to;
    if (decision.kind === "everything") return to;
    const before =
      decision.kind === "changes" && !decision.known
        ? decision.from(table)
        : microsOf(opened.state?.watermark?.[mart.name]?.[table]?.time);
    return to === undefined || (before !== undefined && before > to) ? before : to;
  }

  #keepFrom(table: string): bigint | undefined {
    const time = this.#timeAfter(table);
    return time === undefined ? undefined : time - this.#parts.settings.lookback;
  }

  #shortName(table: string): string {
    return sourceOf(this.#parts.mart, table).configuration.shortName;
  }

  /** Marks as the report has them: times by short name. */
  #told(marks: Watermark[string]): Record<string, string | null> {
    return Object.fromEntries(
      Object.entries(marks).map(([table, { time }]) => {
        const short = this.#parts.mart.sources.get(table)?.configuration.shortName ?? table;
        return [short, time];
      }),
    );
  }

  /** @param writes whether the batch has something of the output. */
  #details(writes: boolean): MartDetails {
    const { mart, definition, settings, before, context } = this.#parts;
    return {
      definition,
      schemas: Object.fromEntries([...mart.sources].map(([table, { schema }]) => [table, storedSchema(schema)])),
      names: storedNames(mart.columns),
      format: settings.format,
      runId: writes || before === undefined ? context.runId : before.runId,
    };
  }

  #written(
    delivered: Readonly<Record<string, string>>,
    remove: readonly string[],
    commit: MartCommit | undefined,
  ): Written {
    return { marks: this.#marksAfter(), delivered, details: this.#details(commit !== undefined), remove, commit };
  }

  #commit(mode: MartCommit["mode"], rows: string | null, emptied: string | null): MartCommit | undefined {
    const { settings, mart } = this.#parts;
    if (settings.format !== "iceberg") return undefined;
    const watermark = JSON.stringify(this.#marksAfter());
    return { mode, rows, emptied, schema: outputSchema(mart.columns), watermark };
  }

  #rowsFolder(batch: Batch<Watermark>): string {
    return childUri(batch.attempt, this.#parts.mart.name);
  }

  async #presentFiles(): Promise<string[]> {
    const { context, settings } = this.#parts;
    const files: string[] = [];
    for (const folder of [this.#folder(""), this.#folder("_emptied")]) {
      for await (const { uri } of context.storage.list(`${folder}/`)) {
        // An Iceberg table's own files lie in folders of theirs.
        if (settings.format === "parquet" || !uri.slice(folder.length + 1).includes("/")) files.push(uri);
      }
    }
    return files;
  }

  #folder(suffix: "" | "_emptied"): string {
    const { settings, mart } = this.#parts;
    return childUri(settings.output, settings.database, `${mart.name}${suffix}`);
  }

  /** Inside the attempt, where nothing is published from, and what is cleared with it. */
  #workFolder(batch: Batch<Watermark>, name: string): string {
    return childUri(batch.attempt, "_work", this.#parts.mart.name, name);
  }

  #warn(code: string, message: string): void {
    this.#parts.context.report.warn(code, `${this.#parts.mart.name}: ${message}`);
  }
}

/** Earlier rows whose delivery doesn't count any more keep their links. */
function consolidatedInput(known: DataFrame, forgets: boolean): DataFrame {
  return forgets ? known.withColumn("hash", f.lit(null).cast("string")) : known;
}
