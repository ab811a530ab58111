import { ExitCode, UserError } from "../../lib/errors.js";
import { type Bounds, rowsWithin, storedSchema, undelivered } from "../../lib/glue/incremental/index.js";
import type { JobContext, TableReport, TableRun } from "../../lib/glue/index.js";
import * as f from "../../lib/spark/functions/index.js";
import type { DataFrame, SparkSession } from "../../lib/spark/index.js";
import { type Batch, canonicalUri, childUri, formatTrackerTime } from "../../lib/storage/index.js";
import { type Circumstances, type Decision, decide, microsOf, schemaChanges, typesAfter } from "./decision.js";
import type { MartCommit } from "./iceberg-output.js";
import { deliveredOf } from "./known.js";
import { sourceOf } from "./mart.js";
import { changedRows, knownBefore, MartWriter } from "./mart-writer.js";
import { storedNames } from "./output-columns.js";
import { joinedRows, touchedGroups } from "./plans.js";
import type { Settings } from "./settings.js";
import { type Questions, SourceLook } from "./source-look.js";
import type { MartDetails, Opened, Watermark } from "./state.js";

/** What the source said. */
export interface Answers {
  readonly bounds: ReadonlyMap<string, Bounds>;
  /** How many rows each table has near its watermark, where all of them are delivered. */
  readonly delivered: ReadonlyMap<string, number>;
}

/** What an output's part of a batch comes to. */
export interface Written {
  readonly marks: Watermark[string];
  /** Datasets by name, those of this output only. */
  readonly delivered: Readonly<Record<string, string>>;
  readonly details: MartDetails;
  /** Files of the output that the batch's take the place of. */
  readonly remove: readonly string[];
  /** Folders of the attempt whose files are to be published. */
  readonly folders: readonly string[];
  /** `undefined`: nothing of the output changes, or it is Parquet. */
  readonly commit: MartCommit | undefined;
}

export interface MartLoadParts extends Omit<Circumstances, "warn" | "settings" | "opened"> {
  readonly settings: Settings;
  readonly opened: Opened;
  readonly context: JobContext<unknown>;
  readonly run: TableRun;
  readonly spark: SparkSession;
}

/** The load of one output: first what there is to do, then the doing. */
export class MartLoad {
  readonly #parts: MartLoadParts;
  readonly #report: TableReport;
  #decision: Decision = { kind: "everything", reason: "" };
  #asked: Questions = { bounds: new Map(), told: new Map(), near: new Map() };
  /** Set where news are looked for. */
  #source: SourceLook | undefined;
  #answers: Answers = { bounds: new Map(), delivered: new Map() };
  /** Rows that may count as changed, by table. */
  #fresh: ReadonlyMap<string, DataFrame> = new Map();
  #counts = { inserted: 0n, deleted: 0n };

  constructor(parts: MartLoadParts) {
    this.#parts = parts;
    this.#report = parts.context.report.table(parts.mart.name);
    this.#report.target = this.#folder("");
  }

  get name(): string {
    return this.#parts.mart.name;
  }

  /** Decides what to load. Returns what has to be asked of the source first. */
  async decide(): Promise<Questions> {
    const { mart, opened } = this.#parts;
    const circumstances = { ...this.#parts, warn: this.#warn.bind(this) };
    const { told, anew } = schemaChanges(circumstances);
    if (Object.keys(told).length > 0) this.#report.details.schemaChanges = told;
    this.#decision = decide(circumstances, anew);
    const { kind, reason } = this.#decision;
    this.#report.way = { everything: "full load", changes: "groups that changed", range: "backfill" }[kind];
    this.#report.reason = reason;
    this.#report.stateBefore = this.#told(opened.state?.watermark?.[mart.name] ?? {});
    this.#report.stateAfter = this.#report.stateBefore;
    const decision = this.#decision;
    if (decision.kind === "range") return this.#asked;
    this.#source = new SourceLook(this.#parts, decision);
    this.#asked = await this.#source.questions();
    return this.#asked;
  }

  /** Looks whether there is something to do, without writing anything. */
  async look(answers: Answers): Promise<boolean> {
    const { context, mart, run, opened } = this.#parts;
    this.#answers = answers;
    this.#tellBounds();
    const decision = this.#decision;
    if (decision.kind !== "everything") {
      this.#fresh = this.#candidates();
      const before = opened.state?.watermark?.[mart.name];
      const newer = [...this.#fresh.keys()].some((table) => {
        const { to } = answers.bounds.get(table) ?? {};
        const time = microsOf(before?.[table]?.time);
        return answers.delivered.has(table) || (to !== undefined && (time === undefined || to > time));
      });
      // Rows that are newer than all that was delivered are news; others may be those that were delivered.
      const certain = decision.kind === "range" || !decision.known || newer;
      if (this.#fresh.size > 0 && (!certain || context.mode === "plan")) await this.#keepChanged();
      if (this.#fresh.size === 0) {
        this.#report.reason = "no rows since the last run";
        return false;
      }
    }
    if (context.mode === "plan") {
      await run.step("count the rows", () => this.#count());
      this.#report.stateAfter = this.#told(this.#marksAfter());
    }
    return true;
  }

  /**
   * Has the executors write all that the batch is to hold of the output, below the attempt's folder. `undefined` when it turns
   * out that nothing has changed.
   */
  async write(batch: Batch<Watermark>, batchId: string): Promise<Written | undefined> {
    const writer = new MartWriter(this.#parts, batch, {
      batchId,
      decision: this.#decision,
      changed: this.#fresh,
      marks: this.#marksAfter(),
      keepFrom: (table) => this.#keepFrom(table),
    });
    if (this.#decision.kind === "everything") {
      const remove = await this.#presentFiles();
      this.#report.details.filesReplaced = remove.length;
      const { rows, ...written } = await writer.writeEverything();
      this.#counts = { inserted: rows, deleted: 0n };
      if (rows === 0n) this.#warn("NO_ROWS", "there are no rows to write");
      return { ...written, marks: this.#marksAfter(), details: this.#details(written.commit), remove };
    }
    const { counts, delivered, groups } = await writer.writeChanges();
    this.#tellChanged(counts);
    this.#checkNewRows(counts);
    if (groups === undefined && this.#parts.opened.tracker.from === "state") {
      this.#report.reason = "no rows since the last run";
      return undefined;
    }
    this.#counts = { inserted: groups?.rows ?? 0n, deleted: groups?.emptied ?? 0n };
    if (groups?.touched !== undefined) this.#report.details.groups = groups.touched;
    const { commit, folders = [] } = groups ?? {};
    return { marks: this.#marksAfter(), delivered, details: this.#details(commit), remove: [], folders, commit };
  }

  /** Has the report say what {@link write} wrote, now that readers have it. */
  tellPublished(): void {
    this.#report.inserted = Number(this.#counts.inserted);
    this.#report.deleted = Number(this.#counts.deleted);
    this.#report.stateAfter = this.#told(this.#marksAfter());
  }

  #tellBounds(): void {
    const { mart, context } = this.#parts;
    const full = this.#decision.kind === "everything";
    const seen: Record<string, bigint> = {};
    for (const table of mart.sources.keys()) {
      if (this.#source?.isUnchanged(table))
        context.log.warn(`${mart.name}: no new rows in ${table}, which has the same files`);
    }
    for (const [table, { rows, later, withoutTime }] of this.#answers.bounds) {
      const { incrementalColumn, shortName } = sourceOf(mart, table).configuration;
      if (full || rows + later > 0n) seen[shortName] = rows + later;
      this.#report.read += Number(rows + later);
      if (full && rows + later + withoutTime === 0n) this.#warn("TABLE_EMPTY", `${table} is empty`);
      if (!full && rows + later === 0n) context.log.warn(`${mart.name}: no new rows in ${table}`);
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
    const bounds = this.#answers.bounds.get(table);
    if (bounds === undefined || bounds.rows + bounds.later === 0n) return undefined;
    const newRows = this.#source?.newRows(table);
    if (newRows !== undefined) return newRows;
    const delivered = this.#answers.delivered.get(table);
    const asked = this.#asked.near.get(table);
    if (delivered !== undefined && asked !== undefined) {
      // Nothing is to be held against what was delivered: what is later was not. The watermark never passes such a row unread, also where the
      // two looks saw different rows because somebody rewrites the table.
      const isLater = bounds.to !== undefined && bounds.to > asked.to;
      if (!isLater && bounds.rows + bounds.later <= BigInt(delivered)) return undefined;
      return rowsWithin(rows, clock, { from: asked.to + 1n, to: undefined, withoutTime: false });
    }
    // Rows of the future are taken at once: a joined row can't be left out without tearing its groups.
    const from = decision.from(table);
    const window =
      from === undefined
        ? rows.where(clock.column.isNotNull())
        : rowsWithin(rows, clock, { from, to: undefined, withoutTime: false });
    const known = decision.known ? knownBefore(this.#parts) : undefined;
    if (known === undefined) return window;
    return undelivered(window, { schema, clock, key: [] }, deliveredOf(mart, table, known, from));
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

  /**
   * Whether the executors found the rows that stand in new files: the watermark goes past them.
   *
   * @throws UserError `TABLE_REWRITTEN`.
   */
  #checkNewRows(counts: Readonly<Record<string, number>>): void {
    for (const [table, { rows }] of this.#asked.told) {
      const found = counts[table] ?? 0;
      if (this.#source?.newRows(table) === undefined || BigInt(found) >= rows) continue;
      throw new UserError(
        "TABLE_REWRITTEN",
        `${table} was rewritten while it was read: ${found} of ${rows} new rows were found`,
        { hint: "Nothing was published. Run again", exitCode: ExitCode.retryable },
      );
    }
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
        : touchedGroups(
            mart,
            tables,
            changedRows(mart, this.#fresh, this.#decision).drop("part"),
            knownBefore(this.#parts),
          );
    this.#report.inserted = await joinedRows(mart, touched, "").count();
    this.#report.changes = true;
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
    const to = this.#answers.bounds.get(table)?.to;
    if (decision.kind === "everything") return to;
    const before =
      decision.kind === "changes"
        ? decision.since(table)
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

  #details(commit: MartCommit | undefined): MartDetails {
    const { mart, definition, settings, before, context } = this.#parts;
    const read = this.#source?.filesRead(this.#answers.bounds, (table) => this.#timeAfter(table) !== undefined);
    return {
      definition,
      // A part that is loaded again says nothing of the rest.
      sources: read?.sources ?? before?.sources ?? {},
      files: read?.files ?? before?.files ?? {},
      schemas: Object.fromEntries([...mart.sources].map(([table, { schema }]) => [table, storedSchema(schema)])),
      names: storedNames(mart.columns),
      types: typesAfter(mart.columns, before, settings.format, this.#decision.kind === "everything"),
      output: canonicalUri(settings.output),
      format: settings.format,
      runId: commit !== undefined || before === undefined ? context.runId : before.runId,
    };
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

  #warn(code: string, message: string): void {
    this.#parts.context.report.warn(code, `${this.#parts.mart.name}: ${message}`);
  }
}
