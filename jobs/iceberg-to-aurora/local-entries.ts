import type { DataFrame, Row } from "../../lib/spark/index.js";
import {
  ANY_NUMBER,
  type DataFile,
  dataFile,
  type Entries,
  type EntryTotals,
  type FileTotals,
} from "./manifest-entries.js";
import type { BoundedColumn, Predicate } from "./partition-predicate.js";

/** A file of either kind. */
interface Entry extends DataFile {
  /** 0 data, 1 position deletes, 2 equality deletes. */
  readonly content: number;
  /** The one data file that a delete file is about, if it says so. */
  readonly referenced: string | null;
}

/**
 * Entries that are few enough to be looked at here: the questions that Spark would be asked take it longer than the reading of a
 * table's manifests.
 */
export class LocalEntries implements Entries {
  readonly #entries: readonly Entry[];
  readonly #unpartitioned: readonly number[];

  private constructor(entries: readonly Entry[], unpartitioned: readonly number[]) {
    this.#entries = entries;
    this.#unpartitioned = unpartitioned;
  }

  static async open(
    entries: DataFrame,
    columns: readonly BoundedColumn[],
    unpartitioned: readonly number[],
  ): Promise<LocalEntries> {
    const found = new Map<string, Entry>();
    for await (const row of entries.rows()) {
      const entry = {
        ...dataFile(row, columns),
        content: Number(row.get("content")),
        referenced: row.getString("referenced"),
      };
      const key = identity(row);
      const same = found.get(key);
      found.set(
        key,
        same === undefined ? entry : { ...same, before: same.before + entry.before, after: same.after + entry.after },
      );
    }
    return new LocalEntries([...found.values()], unpartitioned);
  }

  async touched(_most: number): Promise<readonly DataFile[] | undefined> {
    const deletes = this.#entries.filter((entry) => entry.content !== 0 && inOneOnly(entry));
    if (deletes.some((entry) => entry.content === 2 && this.#unpartitioned.includes(entry.specId))) return undefined;
    const pointed = new Set(deletes.map((entry) => entry.referenced));
    const scoped = new Set(deletes.filter((entry) => entry.referenced === null).map(partitionOf));
    return this.#data().filter((file) => inOneOnly(file) || pointed.has(file.path) || scoped.has(partitionOf(file)));
  }

  async totals(paths: readonly string[], before: Predicate, after: Predicate): Promise<EntryTotals> {
    const read = (file: DataFile) => (before.holds(file) ? file.before : 0) + (after.holds(file) ? file.after : 0);
    const touched = new Set(paths);
    const taken = (end: "before" | "after") =>
      this.#entries.reduce((sum, entry) => {
        if (entry.content === 1 && (entry.referenced === null || touched.has(entry.referenced)))
          return sum + entry.records * BigInt(entry[end]);
        // An equality delete may take any number of rows.
        return entry.content === 2 && entry[end] > 0 ? sum + ANY_NUMBER : sum;
      }, 0n);
    return {
      read: totalsOf(this.#data(), read),
      total: totalsOf(this.#data(), (file) => file.before + file.after),
      deletedBefore: taken("before"),
      deletedAfter: taken("after"),
    };
  }

  #data(): readonly Entry[] {
    return this.#entries.filter(({ content }) => content === 0);
  }
}

/** Several deletion vectors lie in one file. */
const identity = (row: Row) =>
  ["content", "path", "sequence", "place", "referenced"].map((name) => String(row.get(name))).join("\n");
const inOneOnly = ({ before, after }: DataFile) => before !== after;
const partitionOf = ({ specId, partitionText }: DataFile) => `${specId} ${partitionText}`;

/** @param copies how often a file counts. */
function totalsOf(files: readonly DataFile[], copies: (file: DataFile) => number): FileTotals {
  const counted = files.map((file) => ({ file, copies: copies(file) })).filter((one) => one.copies > 0);
  return {
    files: counted.reduce((sum, one) => sum + one.copies, 0),
    bytes: counted.reduce((sum, one) => sum + one.copies * one.file.bytes, 0),
    partitions: new Set(counted.map((one) => partitionOf(one.file))).size,
  };
}
