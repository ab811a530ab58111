import type { ObjectStore } from "../../storage/index.js";
import type { Clock } from "./column.js";
import { areSmall, timesOf } from "./parquet-files.js";
import type { SourceFiles } from "./source-files.js";

/** What came in new files since the last batch. */
export interface NewRows {
  /** The time from which on rows aren't delivered yet, microseconds. */
  readonly from: bigint;
  /** Times of all rows in the new files. */
  readonly times: readonly (bigint | null)[];
}

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
  return { from: last + 1n, times };
}
