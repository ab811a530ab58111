import { areSmall, type Clock, type SourceFiles, timesOf } from "../../lib/glue/incremental/index.js";
import type { ObjectStore } from "../../lib/storage/index.js";
import { type Decision, micros } from "./decision.js";
import type { Details } from "./state.js";

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
 * of them is delivered, and every row after the watermark stands in a new file. A new file may also have rows that aren't after it, late ones or
 * some that were delivered, as where files were put together: then all has to be looked at.
 *
 * @param files of the source now.
 * @param before what is known of it since the last batch.
 * @returns `undefined` where Spark has to look at all.
 */
export async function newRows(
  storage: ObjectStore,
  files: SourceFiles | undefined,
  before: Partial<Details> | undefined,
  decision: Decision,
  clock: Clock,
): Promise<NewRows | undefined> {
  if (decision.kind !== "window" || decision.known === undefined) return undefined;
  if (files === undefined || before?.sourceFiles == null) return undefined;
  const known = new Set(before.sourceFiles);
  const came = files.files.filter((_file, index) => !known.has(files.marks[index] ?? ""));
  if (!areSmall(came)) return undefined;
  const times = await timesOf(storage, came, clock);
  const { from } = decision;
  const last = micros(decision.known.time);
  if (times === undefined || times.some((time) => time !== null && time >= from && time <= last)) return undefined;
  return { from: last + 1n, times };
}
