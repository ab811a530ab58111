import {
  countParquetRows,
  rowsWithin,
  textsAreAmong,
  writeParquet,
  writtenFiles,
} from "../../lib/glue/incremental/index.js";
import * as f from "../../lib/spark/functions/index.js";
import type { DataFrame, SparkSession } from "../../lib/spark/index.js";
import { type Batch, childUri, hadoopReadPath } from "../../lib/storage/index.js";
import type { Decision } from "./decision.js";
import type { MartCommit } from "./iceberg-output.js";
import { consolidated, KNOWN_PARTS, keepsLinks, knownRows, partOf, readKnown } from "./known.js";
import type { Mart } from "./mart.js";
import type { MartLoadParts } from "./mart-load.js";
import { GROUP_ID, outputSchema } from "./output-columns.js";
import { emptiedGroups, groupsAreKnown, joinedRows, noGroups, touchedGroups, touchedSchema } from "./plans.js";
import { knownFolders, knownName, type Opened, type Watermark } from "./state.js";

/** After so many datasets of known rows they are written anew, as one. */
const MAX_KNOWN_DATASETS = 8;
/** Groups of up to so many rows are looked at by this process. */
const MOST_GROUPS_READ = 200_000;

/** What a batch is to hold. */
export interface Work {
  readonly batchId: string;
  readonly decision: Decision;
  /** Rows that may count as changed, by table. */
  readonly changed: ReadonlyMap<string, DataFrame>;
  /** How far each table is delivered when the batch is published. */
  readonly marks: Watermark[string];
  /** From when on the delivered rows of a table are kept. */
  readonly keepFrom: (table: string) => bigint | undefined;
}

/** The groups of a batch. */
export interface GroupsWritten {
  readonly rows: bigint;
  readonly emptied: bigint;
  /** How many groups were touched, where they had to be looked for. */
  readonly touched: bigint | undefined;
  /** Folders of the attempt that hold files to be published. */
  readonly folders: readonly string[];
  readonly commit: MartCommit | undefined;
}

/** Has the executors write an output's part of a batch, below the attempt's folder and beside the state. */
export class MartWriter {
  readonly #parts: MartLoadParts;
  readonly #batch: Batch<Watermark>;
  readonly #work: Work;

  constructor(parts: MartLoadParts, batch: Batch<Watermark>, work: Work) {
    this.#parts = parts;
    this.#batch = batch;
    this.#work = work;
  }

  /** All rows. What is known of them is read before they are joined: later changes count as such then. */
  async writeEverything() {
    const { mart, run, spark, settings } = this.#parts;
    const delivered = await this.#writeKnown();
    const [{ rows }] = await Promise.all([
      run.step("write the rows", () => this.#store(joinedRows(mart, undefined, this.#work.batchId), this.#rowsFolder)),
      settings.format === "iceberg" ||
        run.step("write the emptied groups", () => this.#store(noGroups(mart, spark), this.#emptiedFolder)),
    ]);
    const folders = settings.format === "parquet" ? [mart.name, `${mart.name}_emptied`] : [];
    return { rows, delivered, folders, commit: this.#commit("replace", this.#rowsFolder, null) };
  }

  /**
   * The changed rows, and then the groups that they touch. The changed rows come first: everything that follows goes by the same
   * ones, whatever happens in the source.
   *
   * @returns how many rows of each table have changed; the groups are `undefined` when none has.
   */
  async writeChanges(): Promise<{
    readonly counts: Readonly<Record<string, number>>;
    readonly delivered: Readonly<Record<string, string>>;
    readonly groups: GroupsWritten | undefined;
  }> {
    const { mart, spark, opened, before: details } = this.#parts;
    const { decision } = this.#work;
    const present = knownFolders(opened.state, mart.name);
    const forgets = decision.kind === "changes" && !decision.known;
    // In datasets of an older version the rows that count as delivered don't lie apart.
    const older = details?.sources === undefined;
    const anew = present.length === 0 || present.length >= MAX_KNOWN_DATASETS || forgets || older;
    const name = knownName(mart.name, anew ? 0 : present.length);
    // What is to be one dataset with others is written in passing; else it is kept as it is.
    const folder = anew ? this.#workFolder("changes") : this.#batch.deliveredFolder(name);
    const counts = await this.#writeChangedRows(folder);
    const tables = Object.keys(counts);
    const changes = readKnown(spark, mart, [folder]);
    const before = Object.fromEntries(present.map((uri, number) => [knownName(mart.name, number), uri]));
    let delivered: Readonly<Record<string, string>> = tables.length > 0 ? { ...before, [name]: folder } : before;
    if (anew) {
      const known = present.length > 0 ? readKnown(spark, mart, present) : this.#linksOfSource();
      delivered = { [name]: await this.#consolidate(tables.length > 0 ? changes : undefined, known, forgets) };
    }
    const groups = tables.length > 0 ? await this.#writeGroups(tables, changes, folder) : undefined;
    return { counts, delivered, groups };
  }

  async #writeChangedRows(folder: string): Promise<Record<string, number>> {
    const { mart, run, context } = this.#parts;
    const { changed, decision } = this.#work;
    const counts: Record<string, number> = {};
    if (changed.size === 0) return counts;
    const plan = changedRows(mart, changed, decision);
    const { rows } = await run.step("write the changes", () => this.#store(plan, folder, KNOWN_PARTS));
    for (const table of rows === 0n ? [] : changed.keys()) {
      const count = await countParquetRows(context.storage, `${folder}/${partOf(mart, table, countsAs(decision))}`);
      if (count > 0n) counts[table] = Number(count);
    }
    return counts;
  }

  async #consolidate(changes: DataFrame | undefined, known: DataFrame, forgets: boolean): Promise<string> {
    const { mart, run } = this.#parts;
    const folder = this.#batch.deliveredFolder(knownName(mart.name, 0));
    // Earlier rows whose delivery doesn't count any more keep their links.
    const earlier = forgets ? known.withColumn("hash", f.lit(null).cast("string")) : known;
    const all = changes === undefined ? earlier : earlier.union(changes);
    const plan = consolidated(mart, all, this.#work.keepFrom);
    await run.step("write what is known", () => this.#store(plan, folder, KNOWN_PARTS));
    return folder;
  }

  async #writeGroups(tables: readonly string[], changes: DataFrame, changesFolder: string): Promise<GroupsWritten> {
    const { mart, run, spark, settings } = this.#parts;
    const { batchId } = this.#work;
    const [folder, emptiedFolder] = [this.#rowsFolder, this.#emptiedFolder];
    const plan = touchedGroups(mart, tables, changes, knownBefore(this.#parts));
    let touched = plan;
    let touchedFolder = `${changesFolder}/${partOf(mart, mart.tree.groupTable, countsAs(this.#work.decision))}`;
    let count: bigint | undefined;
    if (!groupsAreKnown(mart, tables)) {
      // Stored, so that what follows goes by the same groups.
      touchedFolder = this.#workFolder("touched");
      count = (await run.step("find the groups", () => this.#store(plan, touchedFolder))).rows;
      touched = spark.read.schema(touchedSchema(mart)).parquet(hadoopReadPath(touchedFolder));
    }
    // Files come to readers one by one: a group that lies in one of them is there as a whole, or not yet.
    const joined = joinedRows(mart, touched, batchId).repartition(f.col(GROUP_ID));
    const { rows } = await run.step("write the rows", () => this.#store(joined, folder));
    let emptied = 0n;
    // Only then files without rows are needed: so that the folders can be read.
    const isFirst = settings.format === "parquet" && !(await this.#isThere(`${mart.name}_emptied`));
    const mayBeEmptied = mart.tree.tables.length > 1 && !(await this.#allHaveRows(touchedFolder));
    if (mayBeEmptied || isFirst) {
      const written = spark.read.schema("group_id STRING").parquet(hadoopReadPath(folder));
      const gone = emptiedGroups(mart, touched, written, batchId);
      emptied = (await run.step("write the emptied groups", () => this.#store(gone, emptiedFolder))).rows;
    }
    const folders = [
      ...(rows > 0n || isFirst ? [mart.name] : []),
      ...(emptied > 0n || isFirst ? [`${mart.name}_emptied`] : []),
    ];
    const commit = this.#commit("groups", rows === 0n ? null : folder, emptied === 0n ? null : emptiedFolder);
    return { rows, emptied, touched: count, folders: settings.format === "parquet" ? folders : [], commit };
  }

  /**
   * Whether each touched group has rows in what was written, so that none was emptied. Of few groups that is found out here, which saves a
   * Spark operation.
   *
   * @returns `false` also when it isn't known.
   */
  async #allHaveRows(touchedFolder: string): Promise<boolean> {
    const { storage } = this.#parts.context;
    const [touched, written] = await Promise.all([
      writtenFiles(storage, touchedFolder),
      writtenFiles(storage, this.#rowsFolder),
    ]);
    return (await textsAreAmong(storage, touched, written, GROUP_ID, MOST_GROUPS_READ)) === true;
  }

  /** After a full load: the rows near the watermark, and the links of all rows. */
  async #writeKnown(): Promise<Record<string, string>> {
    const { mart, run } = this.#parts;
    const parts = [...mart.sources].flatMap(([table, { rows, clock }]) => {
      const from = this.#work.keepFrom(table);
      if (clock === undefined) return [];
      const isNear = from === undefined ? f.lit(false) : f.coalesce(clock.micros.geq(from), f.lit(false));
      if (keepsLinks(mart, table)) return [knownRows(mart, table, rows, isNear)];
      if (from === undefined) return [];
      const near = rowsWithin(rows, clock, { from, to: undefined, withoutTime: false });
      return [knownRows(mart, table, near, true)];
    });
    if (parts.length === 0) return {};
    const name = knownName(mart.name, 0);
    const folder = this.#batch.deliveredFolder(name);
    await run.step("write what is known", () => this.#store(unionOf(parts), folder, KNOWN_PARTS));
    return { [name]: folder };
  }

  /** Where all rows belong now, for a start without datasets. */
  #linksOfSource(): DataFrame {
    const { mart } = this.#parts;
    const parts = [...mart.sources].map(([table, { rows }]) =>
      knownRows(mart, table, keepsLinks(mart, table) ? rows : rows.where(f.lit(false)), false),
    );
    return unionOf(parts).drop("part");
  }

  #commit(mode: MartCommit["mode"], rows: string | null, emptied: string | null): MartCommit | undefined {
    const { settings, mart, inTable } = this.#parts;
    if (settings.format !== "iceberg") return undefined;
    const watermark = JSON.stringify(this.#work.marks);
    const after = mode === "replace" ? null : (inTable?.runId ?? null);
    return { mode, rows, emptied, schema: outputSchema(mart.columns), watermark, after };
  }

  /** Whether readers have files in a folder of the output. */
  async #isThere(name: string): Promise<boolean> {
    const { settings, context } = this.#parts;
    for await (const _ of context.storage.list(`${childUri(settings.output, settings.database, name)}/`)) return true;
    return false;
  }

  #store(rows: DataFrame, folder: string, options = {}): Promise<{ readonly rows: bigint }> {
    return writeParquet(rows, this.#parts.context.storage, folder, options);
  }

  get #rowsFolder(): string {
    return childUri(this.#batch.attempt, this.#parts.mart.name);
  }

  get #emptiedFolder(): string {
    return childUri(this.#batch.attempt, `${this.#parts.mart.name}_emptied`);
  }

  /** Inside the attempt, where nothing is published from, and what is cleared with it. */
  #workFolder(name: string): string {
    return childUri(this.#batch.attempt, "_work", this.#parts.mart.name, name);
  }
}

/** Changed rows of all tables in the form in which they are kept. */
export function changedRows(mart: Mart, changed: ReadonlyMap<string, DataFrame>, decision: Decision): DataFrame {
  return unionOf([...changed].map(([table, rows]) => knownRows(mart, table, rows, countsAs(decision))));
}

/** Whether changed rows count as delivered: what is loaded again by request may come with the next run once more. */
function countsAs(decision: Decision): boolean {
  return decision.kind !== "range";
}

/** What is known of rows from earlier batches. */
export function knownBefore(parts: {
  readonly mart: Mart;
  readonly opened: Opened;
  readonly spark: SparkSession;
}): DataFrame | undefined {
  const folders = knownFolders(parts.opened.state, parts.mart.name);
  return folders.length === 0 ? undefined : readKnown(parts.spark, parts.mart, folders);
}

function unionOf(parts: readonly DataFrame[]): DataFrame {
  const [first, ...rest] = parts;
  if (first === undefined) throw new TypeError("there are no rows to unite");
  return rest.reduce((all, one) => all.union(one), first);
}
