import { randomBytes } from "node:crypto";
import { UserError } from "../../errors.js";
import type { ObjectStore } from "../../storage/object-store.js";

/** A JSON object in the store, as it was when it was read or written. */
export interface Document<T> {
  readonly uri: string;
  readonly value: T;
  readonly etag: string;
}

/** @returns `undefined` when there is none. */
export async function readDocument<T>(store: ObjectStore, uri: string): Promise<Document<T> | undefined> {
  const object = await store.get(uri);
  if (object === undefined) return undefined;
  const { value } = parse<T>(uri, object.body);
  return { uri, value, etag: object.etag };
}

/**
 * Writes over exactly what was seen, or where nothing was. An answer that is lost is settled by reading the object back.
 *
 * @param seen `undefined`: there must be none yet.
 * @returns `undefined` when somebody else was first.
 */
export async function writeDocument<T>(
  store: ObjectStore,
  uri: string,
  value: T,
  seen: Document<T> | undefined,
): Promise<Document<T> | undefined> {
  // Never the same bytes twice: that is how a write is told from another's.
  const body = Buffer.from(`${JSON.stringify({ write: randomBytes(8).toString("hex"), value }, null, 1)}\n`);
  const condition = seen === undefined ? { ifNoneMatch: true as const } : { ifMatch: seen.etag };
  try {
    const { etag } = await store.put(uri, body, { ...condition, contentType: "application/json" });
    return { uri, value, etag };
  } catch (error) {
    if (error instanceof UserError && error.code === "PRECONDITION_FAILED") return undefined;
    const now = await store.get(uri);
    if (now !== undefined && body.equals(now.body)) return { uri, value, etag: now.etag };
    if (now?.etag !== seen?.etag) return undefined;
    throw error;
  }
}

/**
 * Changes a document, from what it is now, until nobody else is faster.
 *
 * @param change gives the next value, or `undefined` to leave it as it is. Called again after each conflict.
 */
export async function changeDocument<T>(
  store: ObjectStore,
  uri: string,
  change: (value: T | undefined) => T | undefined | Promise<T | undefined>,
): Promise<Document<T> | undefined> {
  for (;;) {
    const seen = await readDocument<T>(store, uri);
    const next = await change(seen?.value);
    if (next === undefined) return seen;
    const written = await writeDocument(store, uri, next, seen);
    if (written !== undefined) return written;
  }
}

function parse<T>(uri: string, body: Uint8Array): { readonly value: T } {
  try {
    return JSON.parse(Buffer.from(body).toString("utf8")) as { readonly value: T };
  } catch (error) {
    throw new UserError("SCHEDULER_STATE_UNREADABLE", `${uri} is no state of the scheduler's`, {
      hint: "Restore it, or delete it: what it says is then forgotten",
      cause: error,
    });
  }
}
