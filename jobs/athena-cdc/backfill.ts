import { type Clock, clockOf, type RowShape, rowsWithin } from "../../lib/glue/incremental/index.js";
import * as f from "../../lib/spark/functions/index.js";
import { type DataFrame, quoteName, type SparkSession, Window } from "../../lib/spark/index.js";
import { hadoopReadPath, isRowsFile, type ObjectStore } from "../../lib/storage/index.js";

/** What takes the place of some files. */
export interface Replacement {
  /** The new rows of the range, and the old rows outside of it that shared a file with some of it. */
  readonly rows: DataFrame;
  /** The files that held rows of the range. */
  readonly remove: readonly string[];
}

// Names that no table has.
const FILE = "glue_connect_file";
const RANK = "glue_connect_rank";

/**
 * Finds the files of a table's folder that hold rows of a range, and what is to be written in their place. Of versions of a key with the same
 * time the one in the latest file counts, and rows that are written once more would be in the latest: so the older ones stay out.
 *
 * @param fresh the range's rows as they are now in the source.
 */
export async function backfillRows(
  spark: SparkSession,
  storage: ObjectStore,
  folder: string,
  fresh: DataFrame,
  { clock, key }: { readonly clock: Clock } & Pick<RowShape, "key">,
  range: { readonly from: bigint; readonly to: bigint },
  table: string,
): Promise<Replacement> {
  const present = new Map<string, string>();
  for await (const { uri } of storage.list(`${folder}/`)) {
    if (isRowsFile(uri.slice(folder.length + 1))) present.set(fileName(uri), uri);
  }
  if (present.size === 0) return { rows: fresh, remove: [] };
  const read = (uris: readonly string[]) => spark.read.option("mergeSchema", true).parquet(...uris.map(hadoopReadPath));
  const old = read([...present.values()]);
  const oldClock = clockOf(await old.schema(), clock.name, table);
  if (oldClock === undefined) return { rows: fresh, remove: [] };
  const within = { ...range, withoutTime: false };
  const found = await rowsWithin(old, oldClock, within).select(f.input_file_name().as(FILE)).distinct().collect();
  const touched = found.map((row) => row.getString(FILE) ?? "");
  const remove = touched.map((file) => present.get(fileName(file))).filter((uri) => uri !== undefined);
  if (remove.length !== touched.length)
    throw new TypeError(`Spark reads files in ${folder} that its listing doesn't have`);
  if (remove.length === 0) return { rows: fresh, remove };
  const inRange = oldClock.micros.geq(range.from).and(oldClock.micros.leq(range.to));
  const outside = (rows: DataFrame) => rows.where(f.not(f.coalesce(inRange, f.lit(false))));
  const others = key.length === 0 ? outside(read(remove)) : lastWritten(outside(old), oldClock, key, touched);
  return { rows: fresh.unionByName(others, true), remove };
}

/** The rows of some files, without those that a row of a later file has the key and the time of. */
function lastWritten(rows: DataFrame, clock: Clock, key: readonly string[], files: readonly string[]): DataFrame {
  const keys = key.map((name) => f.col(quoteName(name)));
  const noKey = keys.map((column) => column.isNull()).reduce((any, one) => any.or(one));
  const versions = Window.partitionBy(...keys, clock.micros).orderBy(f.col(FILE).desc());
  return rows
    .select("*", f.input_file_name().as(FILE))
    .select("*", f.row_number().over(versions).as(RANK))
    .where(f.col(FILE).isin(...files))
    .where(f.col(RANK).eqTo(1).or(noKey))
    .drop(FILE, RANK);
}

/** Names of published files are used once, whatever the encoding of the folder before them. */
function fileName(uri: string): string {
  return decodeURIComponent(uri.slice(uri.lastIndexOf("/") + 1));
}
