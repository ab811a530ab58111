import { UserError } from "../../errors.js";
import type { ObjectStore } from "../object-store.js";
import type { AddedFile } from "./state.js";
import type { Publish, Step } from "./table-batches.js";

const FILES_AT_ONCE = 8;
const FILES_A_CHECK = 32;

/**
 * Moves a batch's files to their final names and deletes those that it replaces. Each move and each deletion may be repeated by
 * anyone at any time: final names are never used twice, and a source that is gone has been moved. So whoever sleeps after a check does
 * no harm when it wakes up; the check only ends its work early, and some files share one.
 */
export function publishFiles(store: ObjectStore, step: Step): Publish {
  return async ({ add, remove }, check) => {
    await checked(add, check, (file) => step("move a file", () => moveOnce(store, file, check)));
    // Only now: a reader finds rows twice for a moment rather than not at all.
    await checked(remove, check, (uri) => step("remove a file", () => store.delete(uri)));
  };
}

async function checked<T>(
  items: readonly T[],
  check: () => Promise<void>,
  work: (item: T) => Promise<void>,
): Promise<void> {
  for (let from = 0; from < items.length; from += FILES_A_CHECK) {
    await check();
    await inParallel(items.slice(from, from + FILES_A_CHECK), work);
  }
}

async function moveOnce(store: ObjectStore, file: AddedFile, check: () => Promise<void>): Promise<void> {
  try {
    await store.move(file.from, file.to);
    return;
  } catch (error) {
    if (!(error instanceof UserError && error.code === "STORAGE_NOT_FOUND")) throw error;
  }
  // Someone has moved it: for this batch, or the batch is over and the file may have gone on from there.
  const target = await store.head(file.to);
  if (target?.size === file.size) return;
  await check();
  throw new UserError("BATCH_FILES_MISSING", `${file.from} is gone, and it is not at ${file.to} either`, {
    hint: "Someone has deleted files of a batch that was not published yet. Put them back, or load the table afresh with --full-refresh",
  });
}

async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const item = items[next++];
      if (item !== undefined) await work(item);
    }
  };
  // All of them end before an error goes up: nothing of a failed publication works on behind the caller's back.
  const outcomes = await Promise.allSettled(Array.from({ length: Math.min(FILES_AT_ONCE, items.length) }, worker));
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
}
