import {
  areSmall,
  type Bounds,
  type BoundsQuestion,
  boundsOfTimes,
  type DeliveredRow,
  latestDelivered,
  type NearQuestion,
  nearQuestion,
  newRows,
  rowsInFiles,
  rowsWithin,
  storedSchema,
  timesOf,
} from "../../lib/glue/incremental/index.js";
import type { JobContext } from "../../lib/glue/index.js";
import type { DataFrame } from "../../lib/spark/index.js";
import type { Decision } from "./decision.js";
import { deliveredHere } from "./known.js";
import { type Mart, sourceOf } from "./mart.js";
import type { Settings } from "./settings.js";
import { knownFolders, type MartDetails, type Opened } from "./state.js";

/** What has to be asked of the source before it is known whether there is something to do, by table. */
export interface Questions {
  /** Of each table that may have news, unless they are told already. */
  readonly bounds: ReadonlyMap<string, BoundsQuestion>;
  /** Bounds that this process has found in small files. */
  readonly told: ReadonlyMap<string, Bounds>;
  /** Of those whose delivered rows are few. */
  readonly near: ReadonlyMap<string, NearQuestion>;
}

interface Parts {
  readonly context: Pick<JobContext<unknown>, "storage">;
  readonly mart: Mart;
  readonly settings: Pick<Settings, "lookback">;
  readonly opened: Opened;
  /** What the state knows of the output. */
  readonly before: MartDetails | undefined;
}

/** What is known of the source's news before Spark is asked: by the files of its tables, and by what was delivered. */
export class SourceLook {
  readonly #parts: Parts;
  readonly #decision: Exclude<Decision, { kind: "range" }>;
  readonly #newRows = new Map<string, DataFrame>();

  constructor(parts: Parts, decision: Exclude<Decision, { kind: "range" }>) {
    this.#parts = parts;
    this.#decision = decision;
  }

  /** What has to be asked. */
  async questions(): Promise<Questions> {
    const { mart } = this.#parts;
    const decision = this.#decision;
    const bounds = [...mart.sources].flatMap(([table, { rows, clock }]): [string, BoundsQuestion][] => {
      const from = decision.kind === "changes" ? decision.from(table) : undefined;
      return clock === undefined || this.isUnchanged(table) ? [] : [[table, { source: rows, clock, from, table }]];
    });
    const delivered = bounds.length > 0 ? await this.#deliveredHere() : undefined;
    const news = delivered === undefined ? new Map<string, Bounds>() : await this.#newsInFiles(bounds, delivered);
    const others = bounds.filter(([table]) => !news.has(table));
    const told = await this.#boundsHere(others);
    return {
      bounds: new Map(told === undefined ? others : []),
      told: new Map([...news, ...(told ?? [])]),
      near: delivered === undefined ? new Map() : this.#nearQuestions(others, delivered),
    };
  }

  /** All rows of a table that aren't delivered, when its new files say which they are. */
  newRows(table: string): DataFrame | undefined {
    return this.#newRows.get(table);
  }

  /** Whether a table has the very same files as before the last batch read it, all news of which that batch took. */
  isUnchanged(table: string): boolean {
    const decision = this.#decision;
    if (decision.kind !== "changes" || !decision.known) return false;
    const version = this.#versionOf(table);
    return version !== undefined && version === this.#parts.before?.sources?.[table];
  }

  /** The rows that count as delivered, by table; `undefined` where they aren't known here. */
  async #deliveredHere(): Promise<ReadonlyMap<string, readonly DeliveredRow[]> | undefined> {
    const { mart, opened, context, before } = this.#parts;
    const decision = this.#decision;
    if (decision.kind !== "changes" || !decision.known || before?.sources === undefined) return undefined;
    return await deliveredHere(context.storage, mart, knownFolders(opened.state, mart.name));
  }

  /** Bounds of the tables of which all that isn't delivered stands in new files, which are small: of those nothing has to be asked. */
  async #newsInFiles(
    tables: readonly [string, BoundsQuestion][],
    delivered: ReadonlyMap<string, readonly DeliveredRow[]>,
  ): Promise<Map<string, Bounds>> {
    const { mart, context, before } = this.#parts;
    const decision = this.#decision;
    const found = new Map<string, Bounds>();
    if (decision.kind !== "changes") return found;
    for (const [table, { clock, from }] of tables) {
      const [watermark, version] = [decision.since(table), before?.sources?.[table]];
      if (watermark === undefined || from === undefined || version === undefined) continue;
      if (readingOf(version) !== this.#reading(table)) continue;
      const known = (delivered.get(table) ?? []).filter(({ time }) => time >= from);
      const range = { from, last: latestDelivered(watermark, known) };
      const { files, rows, schema } = sourceOf(mart, table);
      const news = await newRows(context.storage, files, before?.files?.[table], clock, range);
      if (files === undefined || news === undefined) continue;
      const bounds = boundsOfTimes(news.times, news.from, files.writtenAt);
      if (bounds === undefined || bounds.later > 0n) continue;
      const within = { from: news.from, to: undefined, withoutTime: false };
      this.#newRows.set(table, rowsWithin(await rowsInFiles(rows, schema, news.files), clock, within));
      found.set(table, bounds);
    }
    return found;
  }

  /** Bounds that are found without a Spark operation; `undefined` where one table's need one, which may as well tell those of the others. */
  async #boundsHere(tables: readonly [string, BoundsQuestion][]): Promise<Map<string, Bounds> | undefined> {
    const { mart, context } = this.#parts;
    const bounds = new Map<string, Bounds>();
    const files = tables.map(([table]) => sourceOf(mart, table).files);
    if (files.some((those) => those === undefined || !areSmall(those.files))) return undefined;
    for (const [number, [table, { clock, from }]] of tables.entries()) {
      const those = files[number];
      const times = those === undefined ? undefined : await timesOf(context.storage, those.files, clock);
      const found =
        those === undefined || times === undefined ? undefined : boundsOfTimes(times, from, those.writtenAt);
      if (found === undefined) return undefined;
      bounds.set(table, found);
    }
    return bounds;
  }

  #versionOf(table: string): string | undefined {
    const { files } = sourceOf(this.#parts.mart, table);
    return files === undefined ? undefined : `${files.version} ${this.#reading(table)}`;
  }

  /** How files are read: with a longer lookback rows may be found in the same files that came late once, and with other columns other values. */
  #reading(table: string): string {
    const { mart, settings } = this.#parts;
    return `lookback ${settings.lookback} ${JSON.stringify(storedSchema(sourceOf(mart, table).schema))}`;
  }

  /**
   * What the next run is to know of the files that a batch was read from.
   *
   * @param hasMark whether the batch leaves a table a watermark.
   */
  filesRead(
    bounds: ReadonlyMap<string, Bounds>,
    hasMark: (table: string) => boolean,
  ): Required<Pick<MartDetails, "sources" | "files">> {
    const { mart, before } = this.#parts;
    const sources: Record<string, string> = {};
    const files: Record<string, readonly string[]> = {};
    for (const table of mart.sources.keys()) {
      const version = this.#versionOf(table);
      const { withoutTime = 0n, later = 0n } = bounds.get(table) ?? {};
      // Rows without a time may have one when the table is defined otherwise: such files are read again.
      if (version === undefined || withoutTime > 0n || !hasMark(table) || !this.#reachedBack(table)) continue;
      sources[table] = version;
      const marks = this.isUnchanged(table) ? before?.files?.[table] : sourceOf(mart, table).files?.marks;
      if (marks !== undefined && later === 0n) files[table] = marks;
    }
    return { sources, files };
  }

  /** Whether a batch looks as far back as the next one will: one that goes by a timestamp that was set by hand begins there. */
  #reachedBack(table: string): boolean {
    const decision = this.#decision;
    const [since, from] = decision.kind === "changes" ? [decision.since(table), decision.from(table)] : [];
    return since === undefined || from === undefined || from <= since - this.#parts.settings.lookback;
  }

  #nearQuestions(
    tables: readonly [string, BoundsQuestion][],
    delivered: ReadonlyMap<string, readonly DeliveredRow[]>,
  ): Map<string, NearQuestion> {
    const { mart } = this.#parts;
    const decision = this.#decision;
    const questions = new Map<string, NearQuestion>();
    if (decision.kind !== "changes") return questions;
    for (const [table] of tables) {
      const { rows: source, schema, clock } = sourceOf(mart, table);
      const [from, watermark] = [decision.from(table), decision.since(table)];
      if (clock === undefined || from === undefined || watermark === undefined) continue;
      const question = nearQuestion({ source, schema, clock }, from, watermark, delivered.get(table) ?? []);
      if (question !== undefined) questions.set(table, question);
    }
    return questions;
  }
}

/** What of a table's version isn't its files. */
function readingOf(version: string): string {
  return version.slice(version.indexOf(" ") + 1);
}
