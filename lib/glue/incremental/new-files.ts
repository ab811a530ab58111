import * as f from "../../spark/functions/index.js";
import type { DataFrame, StructType } from "../../spark/index.js";
import type { ObjectStore } from "../../storage/index.js";
import { type Clock, findColumn } from "./column.js";
import { areSmall, type StoredFile, timesOf } from "./parquet-files.js";
import type { SourceFiles } from "./source-files.js";

/** What came in new files since the last batch. */
export interface NewRows {
  /** The time from which on rows aren't delivered yet, microseconds. */
  readonly from: bigint;
  /** Times of all rows in the new files. */
  readonly times: readonly (bigint | null)[];
  readonly files: readonly StoredFile[];
}

/** What stands the same in a URI, however it is encoded. */
const PLAIN_NAME = /^[\w.-]+$/;

/**
 * Looks at the files that came since the last batch, where they are few and small, so that nothing has to be held against what was delivered.
 *
 * The other files are the very same as before the last batch was read, and no row of theirs was later than the clock then. So what was due
 * of them is delivered, and every row after the latest delivered one stands in a new file. A new file may also have rows that aren't after it,
 * late ones or some that were delivered, as where files were put together: then all has to be looked at.
 *
 * @param files of the source now.
 * @param known marks of the files before the last batch; none when a row of theirs was later than the clock.
 * @param range microseconds: where the next batch begins, and the time of the latest delivered row.
 * @returns `undefined` where Spark has to look at all.
 */
export async function newRows(
  storage: ObjectStore,
  files: SourceFiles | undefined,
  known: readonly string[] | null | undefined,
  clock: Clock,
  { from, last }: { readonly from: bigint; readonly last: bigint },
): Promise<NewRows | undefined> {
  if (files === undefined || known == null) return undefined;
  const marks = new Set(known);
  const came = files.files.filter((_file, index) => !marks.has(files.marks[index] ?? ""));
  if (!areSmall(came)) return undefined;
  const times = await timesOf(storage, came, clock);
  if (times === undefined || times.some((time) => time !== null && time >= from && time <= last)) return undefined;
  return { from: last + 1n, times, files: came };
}

/**
 * A table's rows in some of its files: Spark opens no others. They are told by their names alone; files of one name in several folders come all,
 * so what is wanted of the rows has to be said besides.
 *
 * @param schema of the rows.
 * @returns all rows where Spark can't tell the files by name.
 */
export async function rowsInFiles(
  rows: DataFrame,
  schema: StructType,
  files: readonly StoredFile[],
): Promise<DataFrame> {
  // A column of the table's own hides what Spark knows of the files.
  if (findColumn(schema, "_metadata") !== undefined) return rows;
  const names = files.map(({ uri }) => uri.slice(uri.lastIndexOf("/") + 1));
  if (names.length === 0 || !names.every((name) => PLAIN_NAME.test(name))) return rows;
  const some = rows.where(f.col("_metadata.file_name").isin(...names));
  try {
    await some.schema();
    return some;
  } catch {
    // As of a table whose partitions are read one by one.
    return rows;
  }
}
