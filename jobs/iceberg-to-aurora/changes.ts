import { randomUUID } from "node:crypto";
import type { Reportable } from "../../lib/glue/report.js";
import { STAGED_DELETE, STAGED_INSERT, STAGED_UPDATE } from "../../lib/postgres/staging.js";
import * as f from "../../lib/spark/functions/index.js";
import { AnalysisException, type DataFrame, Observation } from "../../lib/spark/index.js";
import { changelogObstacle, fromChangelog } from "./changelog.js";
import { type IcebergField, type IcebergSnapshot, schemaOfSnapshot, snapshotsBetween } from "./iceberg-metadata.js";
import { checkUniqueness, type Key, type KeyCounts, keyColumns, keyCounts, keySums, sumOf } from "./key.js";
import { comparable } from "./nested.js";
import { columnName, fieldColumns, readSnapshot, type Source } from "./source.js";
import { type Touched, type TouchedEnd, touchedFiles } from "./touched-files.js";

/** How to find what changed; `auto` takes the cheapest way that applies. */
export const FIND_CHANGES = ["auto", "compare", "changelog", "files"] as const;
export type FindChanges = (typeof FIND_CHANGES)[number];

/**
 * What is to be done to the target, as a plan that Spark has not run yet: a column `op` (`I` insert, `U` update, `D`
 * delete; `U` throughout when the rows are the whole table) and the row as `f0`, `f1`, ...; deleted rows have their key only.
 */
export interface Changes {
  readonly rows: DataFrame;
  readonly way: "compare" | "changelog" | "files" | "reconcile" | "everything";
  /** Why this way, in a sentence. */
  readonly reason: string;
  /** How much of the source the way reads, for the report. */
  readonly reads?: Readonly<Record<string, Reportable>> & { readonly bytes: number };
  /**
   * By how many rows the new snapshot is longer than the old one, whose keys are known to be unique; found out without sorting
   * all rows by key, and with the keys of the rows that came held to be unique.
   *
   * @param rows {@link Changes.rows}, or a cached copy, once {@link countChanges} has run it.
   * @returns `undefined`: only a count of the whole snapshot by key tells.
   * @throws UserError `PRIMARY_KEY_VIOLATED`, `PRIMARY_KEY_UNKNOWN`.
   * @throws DoubtfulChanges when the numbers don't agree with each other.
   */
  readonly growth?: (rows: DataFrame, counts: ChangeCounts) => Promise<Growth | undefined>;
}

export interface Growth {
  readonly rows: bigint;
  /** Rows of the new snapshot that were looked at. */
  readonly read: bigint;
  /**
   * The rows of the new snapshot, where all of them were counted. When the old one's, all with keys of their own, and the growth add up
   * to them, then the new one's keys are unique, too. Where they weren't, a key that came and that an untouched row has, too, goes
   * unseen here: the target has it already, see {@link ApplyRequest.insertsAreNew}.
   */
  readonly counted?: bigint;
}

/** Numbers that had to agree didn't: the changes are to be found by comparing the snapshots. */
export class DoubtfulChanges extends Error {
  override readonly name = "DoubtfulChanges";
}

/**
 * What each way costs, as a share of comparing both snapshots. The changelog sorts whole rows of every file that came or went: it
 * was the faster one up to an eighth. Touched files are read for the keys, for the number of rows and for the changes.
 */
const COST = { compare: 1, changelog: 8, files: 1.5 } as const;
/** Tables smaller than this are compared in less time than their manifests take. */
const SMALL_BYTES = 16 * 1024 * 1024;

/** Every row of a snapshot, to replace whatever the target holds. */
export async function everything(
  source: Source,
  snapshotId: string | undefined,
  fields: readonly IcebergField[],
  reason: string,
): Promise<Changes> {
  const rows = await readSnapshot(source, snapshotId, fields);
  return { rows: rows.select(f.lit(STAGED_UPDATE).as("op"), ...fieldColumns(fields)), way: "everything", reason };
}

/**
 * What turns the rows of snapshot `from` into those of `to`, by key.
 *
 * @param key its positions are those in `fields`.
 */
export async function changesBetween(
  source: Source,
  from: string,
  to: string,
  fields: readonly IcebergField[],
  key: Key,
  find: FindChanges,
): Promise<Changes> {
  const range: Range = { source, from, to, fields, key };
  if (find === "compare") return await byComparison(range, "asked for");
  const unreliable = partialObstacle(range);
  if (unreliable !== undefined) return await byComparison(range, unreliable);
  const obstacle = changelogObstacle(source, from, to, fields);
  if (find === "changelog") {
    return obstacle === undefined
      ? await byChangelog(range, "asked for")
      : await byComparison(range, `the changelog can't be used: ${obstacle}`);
  }

  const snapshots = source.metadata.snapshots;
  const share =
    obstacle === undefined ? touchedShare(snapshots.get(from), snapshotsBetween(source.metadata, from, to) ?? []) : 1;
  if (find === "auto") {
    const bytes = [from, to].map((id) => Number(snapshots.get(id)?.summary["total-files-size"] ?? Number.NaN));
    if (bytes.every((size) => size < SMALL_BYTES)) {
      if (obstacle !== undefined)
        return await byComparison(range, `the table is small, and the changelog can't be used: ${obstacle}`);
      const text = `files with ${percent(share)} of both snapshots' rows were added or removed`;
      return share * COST.changelog <= COST.compare
        ? await byChangelog(range, text)
        : await byComparison(range, `${text}, so comparing them is cheaper`);
    }
  }

  const touched = await touchedFiles(source, from, to, fields, key.positions).catch((error: unknown) => {
    // An Iceberg that is older than what is asked of its metadata tables.
    if (error instanceof AnalysisException) return `its metadata tables can't be read: ${error.message}`;
    throw error;
  });
  if (typeof touched === "string") {
    if (find === "auto" && share * COST.changelog <= COST.compare) {
      return await byChangelog(range, `only the changelog tells what was touched: ${touched}`);
    }
    return await byComparison(range, `the manifests don't tell what was touched: ${touched}`);
  }
  const { read, total } = touched;
  const reading = total.bytes === 0 ? 0 : read.bytes / total.bytes;
  const text = `${percent(reading)} of both snapshots' bytes lie where files were touched`;
  if (find === "files") return await byFiles(range, touched, `asked for; ${text}`);
  const costs = { files: reading * COST.files, changelog: share * COST.changelog };
  if (costs.files <= Math.min(costs.changelog, COST.compare)) return await byFiles(range, touched, text);
  return costs.changelog <= COST.compare
    ? await byChangelog(
        range,
        `${text}, but only ${percent(share)} of the rows are in files that were added or removed`,
      )
    : { ...(await byComparison(range, `${text}, so comparing them is cheaper`)), reads: readsOf(touched, total) };
}

/** Two snapshots of a source, what is read of them, and by what their rows are told apart. */
interface Range {
  readonly source: Source;
  readonly from: string;
  readonly to: string;
  readonly fields: readonly IcebergField[];
  readonly key: Key;
}

const percent = (share: number) => `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;

/** What stands against every way that doesn't read all of both snapshots. */
function partialObstacle({ source, from, to, fields, key }: Range): string | undefined {
  for (const id of [from, to]) {
    const written = schemaOfSnapshot(source.metadata, id).fields;
    if (written.some((field) => field.name === "_file")) return "the table has a column _file of its own";
    const missing = key.positions.find((position) => !written.some((field) => field.id === fields[position]?.id));
    if (missing !== undefined)
      return `snapshot ${id} has no column ${fields[missing]?.name ?? ""}, which is in the key`;
  }
  if (snapshotsBetween(source.metadata, from, to) !== undefined) return undefined;
  // Going back, or aside, a column may come to light whose values files hold that both snapshots have.
  const had = new Set(schemaOfSnapshot(source.metadata, from).fields.map((field) => field.id));
  const came = schemaOfSnapshot(source.metadata, to).fields.find(
    (field) => !had.has(field.id) && fields.some((wanted) => wanted.id === field.id),
  );
  return came === undefined
    ? undefined
    : `snapshot ${from} doesn't have column ${came.name}, and is no ancestor of ${to}`;
}

async function byComparison({ source, from, to, fields, key }: Range, reason: string): Promise<Changes> {
  const [before, after] = await Promise.all([readSnapshot(source, from, fields), readSnapshot(source, to, fields)]);
  const is = new RowsSeen(after);
  return {
    rows: compared(before, is.rows, fields, key.positions),
    way: "compare",
    reason,
    // Each key that several rows of the new snapshot share, and each that is NULL, makes the count greater than what the changes add up to,
    // but for new keys, and those are looked at.
    growth: async (_rows, counts) => {
      if (counts.came.nulls > 0n || counts.came.shared > 0n) return undefined;
      const counted = await is.count();
      return { rows: counts.inserts - counts.deletes, read: counted, counted };
    },
  };
}

async function byChangelog({ source, from, to, fields, key }: Range, reason: string): Promise<Changes> {
  return {
    rows: await fromChangelog(source, from, to, fields, key.positions),
    way: "changelog",
    reason,
    growth: async (rows, counts) => {
      const { came } = counts;
      // Equal rows that came together are one row here, with their number.
      if (came.nulls > 0n || came.shared > 0n) {
        const keys = rows.where(f.col("op").notEqual(STAGED_DELETE)).select(...keyColumns(key), f.col("copies"));
        await checkUniqueness(keys, key, source.label, "new and changed rows");
      }
      return { rows: counts.inserts - counts.deletes, read: came.rows };
    },
  };
}

/** Compares the rows of touched files. Those of any other file are the same rows in both snapshots. */
async function byFiles(range: Range, touched: Touched, reason: string): Promise<Changes> {
  const { source, from, to, fields, key } = range;
  const ofEnd = (id: string, end: TouchedEnd) => {
    const inTouched = touched.paths.length === 0 ? f.lit(false) : f.col("_file").isin(...touched.paths);
    return readSnapshot(source, id, fields, (written) => end.predicate.rows(written).and(inTouched));
  };
  const [before, after] = await Promise.all([ofEnd(from, touched.before), ofEnd(to, touched.after)]);
  const [seenBefore, seenAfter] = [new RowsSeen(before), new RowsSeen(after)];
  const { read } = touched;
  return {
    rows: compared(seenBefore.rows, seenAfter.rows, fields, key.positions),
    way: "files",
    reason,
    reads: readsOf(touched, read),
    // As for a comparison: with keys that aren't unique the rows don't add up.
    growth: async (_rows, counts) => {
      const { came } = counts;
      const [was, is] = await Promise.all([seenBefore.count(), seenAfter.count()]);
      const addUp = is - was === counts.inserts - counts.deletes;
      if (!addUp || came.nulls > 0n || came.shared > 0n) {
        const keys = after.select(...keyColumns(key), f.lit(1n).as("copies"));
        await checkUniqueness(keys, key, source.label, "rows of touched files");
      }
      const problem =
        outside(was, touched.before) ?? outside(is, touched.after) ?? (addUp ? undefined : "the rows don't add up");
      if (problem !== undefined) throw new DoubtfulChanges(problem);
      return { rows: is - was, read: is };
    },
  };
}

/** Rows that are counted as they pass by; a repeated task may count some twice, so that whoever goes by the number holds it against another. */
class RowsSeen {
  readonly rows: DataFrame;
  readonly #source: DataFrame;
  readonly #seen = new Observation(`glue_connect_${randomUUID()}`);

  constructor(rows: DataFrame) {
    this.#source = rows;
    this.rows = rows.observe(this.#seen, f.count(f.lit(1)).as("rows"));
  }

  /** What the query that ran has counted. A server that tells nothing is asked. */
  async count(): Promise<bigint> {
    const seen = await Promise.race([this.#seen.get(), Promise.resolve(undefined)]);
    return BigInt((seen?.rows as bigint | undefined) ?? (await this.#source.count()));
  }
}

/** For the report: what is read of both snapshots' data files, and what was touched. */
function readsOf(touched: Touched, read: Touched["read"]): NonNullable<Changes["reads"]> {
  const { total } = touched;
  return {
    files: read.files,
    ofFiles: total.files,
    bytes: read.bytes,
    ofBytes: total.bytes,
    partitions: read.partitions,
    ofPartitions: total.partitions,
    touchedFiles: touched.touched.files,
  };
}

/** Manifests say how many rows their files have: a condition that left out one of them is found out here. */
function outside(rows: bigint, end: TouchedEnd): string | undefined {
  return rows < end.leastRows || rows > end.records
    ? `the touched files have ${end.leastRows} to ${end.records} rows by their manifests, and ${rows} were found`
    : undefined;
}

/** Rows in files that were added or removed, relative to those of both snapshots, which a comparison would read. */
function touchedShare(before: IcebergSnapshot | undefined, range: readonly IcebergSnapshot[]): number {
  const number = (snapshot: IcebergSnapshot | undefined, key: string) => Number(snapshot?.summary[key] ?? 0);
  const touched = range
    .filter((snapshot) => snapshot.operation !== "replace")
    .reduce((sum, snapshot) => sum + number(snapshot, "added-records") + number(snapshot, "deleted-records"), 0);
  const compared = number(before, "total-records") + number(range[0], "total-records");
  return compared === 0 ? 1 : touched / compared;
}

/** One full outer join by key and one null-safe comparison of whole rows. */
function compared(
  before: DataFrame,
  after: DataFrame,
  fields: readonly IcebergField[],
  keys: readonly number[],
): DataFrame {
  const side = (name: string) =>
    f.struct(
      ...fields.map((field, index) =>
        comparable(f.col(`${name}.${columnName(index)}`), field.type).as(columnName(index)),
      ),
    );
  const on = keys
    .map((key) => f.col(`before.${columnName(key)}`).eqTo(f.col(`after.${columnName(key)}`)))
    .reduce((all, one) => all.and(one));
  const firstKey = columnName(keys[0] ?? 0);
  const gone = f.col(`after.${firstKey}`).isNull();
  const fresh = f.col(`before.${firstKey}`).isNull();
  return before
    .as("before")
    .join(after.as("after"), on, "full_outer")
    .where(f.not(side("before").eqNullSafe(side("after"))))
    .select(
      f.when(gone, f.lit(STAGED_DELETE)).when(fresh, f.lit(STAGED_INSERT)).otherwise(f.lit(STAGED_UPDATE)).as("op"),
      ...fields.map((_field, index) => {
        const name = columnName(index);
        return keys.includes(index)
          ? f.coalesce(f.col(`after.${name}`), f.col(`before.${name}`)).as(name)
          : f.col(`after.${name}`).as(name);
      }),
    );
}

/** Rows of each kind in a change set, and the keys of those that came. */
export interface ChangeCounts {
  readonly inserts: bigint;
  readonly updates: bigint;
  readonly deletes: bigint;
  readonly total: bigint;
  /** The keys of inserted and updated rows. */
  readonly came: KeyCounts;
}

/**
 * Runs the plan and counts its rows by kind.
 *
 * @param rows {@link Changes.rows}; where one stands for several equal ones, `copies` says for how many.
 */
export async function countChanges({ rows, way }: Pick<Changes, "rows" | "way">, key: Key): Promise<ChangeCounts> {
  const ofKind = (op: string) => f.col("op").eqTo(op);
  const copies = f.when(ofKind(STAGED_DELETE), f.lit(0n)).otherwise(way === "changelog" ? f.col("copies") : f.lit(1n));
  const kinds = [STAGED_INSERT, STAGED_UPDATE, STAGED_DELETE] as const;
  // One query: each has a price of its own, whatever the number of rows.
  const [found] = await rows
    .groupBy(...keyColumns(key))
    .agg(f.sum(copies).as("n"), ...kinds.map((op) => f.count(f.when(ofKind(op), f.lit(1))).as(op)))
    .agg(...kinds.map((op) => sumOf(f.col(op)).as(op)), ...keySums(key))
    .collect();
  const [inserts = 0n, updates = 0n, deletes = 0n] = kinds.map((op) => found?.getBigInt(op) ?? 0n);
  return { inserts, updates, deletes, total: inserts + updates + deletes, came: keyCounts(found) };
}
