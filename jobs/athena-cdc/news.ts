import {
  areSmall,
  type Bounds,
  boundsOfTimes,
  type Clock,
  newestByKey,
  type RowShape,
  rowsWithin,
  type StoredFile,
  type TimedKey,
  timedKeysOf,
} from "../../lib/glue/incremental/index.js";
import * as f from "../../lib/spark/functions/index.js";
import type { DataFrame } from "../../lib/spark/index.js";
import type { ObjectStore } from "../../lib/storage/index.js";
import { type Decision, micros } from "./decision.js";
import type { SourceFiles } from "./source-version.js";
import type { Details } from "./state.js";

/** More files than these aren't named in a plan. */
const MOST_NAMED = 16;

/**
 * What came in new files since the last batch, where that is little: then only these files are looked at, and nothing is held against what
 * was delivered.
 *
 * The files that were there before the last batch was read are the very same, and no row of theirs was later than the source's clock then. So
 * what is due of them is delivered, and all rows after the watermark stand in the new files. Where one of these files has a row that isn't
 * after it, a late one or one that was delivered, it takes a look at all.
 */
export class News {
  /** The new files. */
  readonly files: readonly StoredFile[];
  /** The time of the first row that isn't delivered, microseconds. */
  readonly from: bigint;
  readonly #rows: readonly TimedKey[];

  private constructor(files: readonly StoredFile[], from: bigint, rows: readonly TimedKey[]) {
    this.files = files;
    this.from = from;
    this.#rows = rows;
  }

  /**
   * @param files of the source, and what is known of it since the last batch.
   * @returns `undefined` where Spark has to find out.
   */
  static async of(
    storage: ObjectStore,
    files: SourceFiles | undefined,
    before: Partial<Details> | undefined,
    decision: Decision,
    { key, clock }: RowShape & { readonly clock: Clock },
  ): Promise<News | undefined> {
    if (decision.kind !== "window" || decision.known === undefined || typeof decision.delivered !== "object") {
      return undefined;
    }
    if (files === undefined || before?.sourceFiles == null) return undefined;
    const known = new Set(before.sourceFiles);
    const came = files.files.filter((_file, index) => !known.has(files.marks[index] ?? ""));
    if (came.length > MOST_NAMED || !areSmall(came)) return undefined;
    const rows = await timedKeysOf(storage, came, clock, key);
    const last = micros(decision.known.time);
    const { from } = decision;
    if (rows === undefined || rows.some(({ time }) => time !== null && time >= from && time <= last)) return undefined;
    return new News(came, last + 1n, rows);
  }

  /** @param now the clock that counts, microseconds. */
  bounds(now: bigint): Bounds {
    return boundsOfTimes(
      this.#rows.map(({ time }) => time),
      this.from,
      now,
    );
  }

  /**
   * The batch that ends at a time.
   *
   * @param to included.
   * @param small one task reads the whole table.
   * @returns its rows as a plan, and how many they have to be: if they aren't, others have come since.
   */
  batch(
    source: DataFrame,
    shape: RowShape,
    to: bigint,
    small: boolean,
  ): { readonly rows: DataFrame; readonly count: number } {
    const due = this.#rows.filter(({ time }) => time !== null && time >= this.from && time <= to);
    const keys = due.flatMap(({ key }) => key ?? []);
    const count = shape.key.length === 0 ? due.length : new Set(keys).size + due.length - keys.length;
    const read = small || shape.schema.fields.some(({ name }) => name === "_metadata") ? source : this.#inFiles(source);
    const within = rowsWithin(read, shape.clock, { from: this.from, to, withoutTime: false }).coalesce(1);
    return { rows: count === due.length ? within : newestByKey(within, shape), count };
  }

  #inFiles(source: DataFrame): DataFrame {
    // By version, Spark names a file by its URI, which is percent-encoded, or by its path, which isn't.
    const names = this.files.flatMap(({ uri }) => (uri.startsWith("file:") ? [uri, decodeURIComponent(uri)] : [uri]));
    const spellings = names.flatMap((name) => [name, name.replace(/^file:\/+/, "file:/")]);
    return source.where(f.col("_metadata.file_path").isin(...new Set(spellings)));
  }
}
