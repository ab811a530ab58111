import type { IcebergField } from "./iceberg-metadata.js";
import { LocalEntries } from "./local-entries.js";
import { boundedColumns, type Entries, entriesOf, type FileTotals, unpartitionedSpecs } from "./manifest-entries.js";
import { type BoundedColumn, type Predicate, predicateOf } from "./partition-predicate.js";
import type { Source } from "./source.js";
import { SparkEntries } from "./spark-entries.js";

/** Paths that a query is given; more would make the plan larger than the reading it saves. */
const MAX_FILES = 5_000;
/** Entries of both snapshots that are looked at here; about a kilobyte each. Of more, Spark sends the touched ones only. */
const MAX_LOCAL_ENTRIES = 10_000;

/** One of the two snapshots, as far as its manifests tell what was touched. */
export interface TouchedEnd {
  /** Fulfilled by every row of the end's touched files. */
  readonly predicate: Predicate;
  /** Rows in the touched files, less those that delete files may take away at the most; `records`: without taking any away. */
  readonly leastRows: bigint;
  readonly records: bigint;
}

/**
 * What the manifests of two snapshots say was touched: rows of any other file are the same in both.
 */
export interface Touched {
  /** Paths of the files, of both snapshots. */
  readonly paths: readonly string[];
  readonly before: TouchedEnd;
  readonly after: TouchedEnd;
  /** What is touched, what has to be read for it, and what both snapshots have; of both snapshots together. */
  readonly touched: FileTotals;
  readonly read: FileTotals;
  readonly total: FileTotals;
}

/**
 * Finds the data files that were touched between two snapshots: those that are in one of them only, and those that a delete file
 * of one of them only may take rows from.
 *
 * @param from an ancestor of `to` or not: both ends are looked at, not the way between.
 * @param maxLocalEntries with more entries in their manifests, Spark compares them, and what was touched comes to the driver.
 * @returns why it can't be said, or would be too many, as text.
 */
export async function touchedFiles(
  source: Source,
  from: string,
  to: string,
  fields: readonly IcebergField[],
  keys: readonly number[],
  maxLocalEntries = MAX_LOCAL_ENTRIES,
): Promise<Touched | string> {
  const columns = boundedColumns(source, fields, keys);
  const frame = await entriesOf(source, from, to, columns);
  const unpartitioned = unpartitionedSpecs(source);
  if (entryCount(source, from) + entryCount(source, to) <= maxLocalEntries) {
    return await find(source, await LocalEntries.open(frame, columns, unpartitioned), columns);
  }
  await using entries = await SparkEntries.open(frame, columns, unpartitioned);
  return await find(source, entries, columns);
}

/** Files of a snapshot by its summary; one that doesn't say may have any number. */
function entryCount({ metadata }: Source, id: string): number {
  const summary = metadata.snapshots.get(id)?.summary ?? {};
  return Number(summary["total-data-files"] ?? Number.NaN) + Number(summary["total-delete-files"] ?? Number.NaN);
}

async function find(source: Source, entries: Entries, columns: readonly BoundedColumn[]): Promise<Touched | string> {
  const found = await entries.touched(MAX_FILES);
  if (found === undefined) return "an equality delete without a partition may take rows from every file";
  // In one order whoever found them, so that they make one condition.
  const files = found.toSorted((a, b) => (a.path < b.path ? -1 : Number(a.path > b.path)));
  if (files.length > MAX_FILES) return `more than ${MAX_FILES} files were touched`;

  const paths = [...new Set(files.map((file) => file.path))];
  const [before, after] = (["before", "after"] as const).map((end) =>
    predicateOf(
      source.metadata,
      source.catalog,
      columns,
      files.filter((file) => file[end] > 0),
    ),
  );
  if (before === undefined || after === undefined) throw new TypeError("Two snapshots are compared");
  const numbers = await entries.totals(paths, before, after);
  const sum = (end: "before" | "after") => files.reduce((all, file) => all + file.records * BigInt(file[end]), 0n);
  const least = (records: bigint, taken: bigint) => (records > taken ? records - taken : 0n);
  return {
    paths,
    before: { predicate: before, records: sum("before"), leastRows: least(sum("before"), numbers.deletedBefore) },
    after: { predicate: after, records: sum("after"), leastRows: least(sum("after"), numbers.deletedAfter) },
    touched: {
      files: files.reduce((all, file) => all + file.before + file.after, 0),
      bytes: files.reduce((all, file) => all + file.bytes * (file.before + file.after), 0),
      partitions: new Set(files.map((file) => `${file.specId} ${file.partitionText}`)).size,
    },
    read: numbers.read,
    total: numbers.total,
  };
}
