import type { Clock } from "../../lib/glue/incremental/index.js";
import { clockOf, rowsWithin } from "../../lib/glue/incremental/index.js";
import * as f from "../../lib/spark/functions/index.js";
import type { DataFrame, SparkSession } from "../../lib/spark/index.js";
import { hadoopReadPath, type ObjectStore } from "../../lib/storage/index.js";

/** What takes the place of some files. */
export interface Replacement {
  /** The new rows of the range, and the old rows outside of it that shared a file with some of it. */
  readonly rows: DataFrame;
  /** The files that held rows of the range. */
  readonly remove: readonly string[];
}

/**
 * Finds the files of a table's folder that hold rows of a range, and what is to be written in their place.
 *
 * @param fresh the range's rows as they are now in the source.
 */
export async function backfillRows(
  spark: SparkSession,
  storage: ObjectStore,
  folder: string,
  fresh: DataFrame,
  clock: Clock,
  range: { readonly from: bigint; readonly to: bigint },
  table: string,
): Promise<Replacement> {
  const present = new Map<string, string>();
  for await (const { uri } of storage.list(`${folder}/`)) {
    if (/\/[_.][^/]*$/.test(uri)) continue;
    present.set(fileName(uri), uri);
  }
  if (present.size === 0) return { rows: fresh, remove: [] };
  const read = (uris: readonly string[]) => spark.read.option("mergeSchema", true).parquet(...uris.map(hadoopReadPath));
  const old = read([...present.values()]);
  const oldClock = clockOf(await old.schema(), clock.name, table);
  if (oldClock === undefined) return { rows: fresh, remove: [] };
  const within = { ...range, withoutTime: false };
  const touched = await rowsWithin(old, oldClock, within).select(f.input_file_name().as("file")).distinct().collect();
  const remove = touched
    .map((row) => present.get(fileName(row.getString("file") ?? "")))
    .filter((uri) => uri !== undefined);
  if (remove.length !== touched.length)
    throw new TypeError(`Spark reads files in ${folder} that its listing doesn't have`);
  if (remove.length === 0) return { rows: fresh, remove };
  const inRange = oldClock.micros.geq(range.from).and(oldClock.micros.leq(range.to));
  const others = read(remove).where(f.not(f.coalesce(inRange, f.lit(false))));
  return { rows: fresh.unionByName(others, true), remove };
}

/** Names of published files are used once, whatever the encoding of the folder before them. */
function fileName(uri: string): string {
  return decodeURIComponent(uri.slice(uri.lastIndexOf("/") + 1));
}
