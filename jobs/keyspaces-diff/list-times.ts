import { createHash } from "node:crypto";
import { UserError } from "../../lib/errors.js";
import { ATTEMPT_ROOM } from "../../lib/keyspaces/index.js";
import { childUri, type ObjectStore } from "../../lib/storage/index.js";
import { exportTime, type Folder } from "./folders.js";

interface Note {
  readonly version: 1;
  /** Microseconds since 1970: the greatest timestamp that was given. */
  readonly last: number;
}

/**
 * The timestamps with which lists that aren't frozen are written to one table. Cassandra adds to a list that is written twice with one
 * timestamp, so each write gets a greater one than the last. The last one is noted in `_import` of the export that the timestamp is of:
 * all changes that lead to this export, and the export itself, carry its time.
 */
export class ListTimes {
  readonly #store: ObjectStore;
  readonly #uri: string;
  readonly #timestamp: bigint | undefined;
  #last = 0n;
  #etag: string | undefined;
  /** Whether nothing else than what is noted here can have written lists with this timestamp. */
  readonly isSure: boolean;

  private constructor(store: ObjectStore, uri: string, timestamp: bigint | undefined, isSure: boolean) {
    this.#store = store;
    this.#uri = uri;
    this.#timestamp = timestamp;
    this.isSure = isSure;
  }

  /**
   * @param target the table: one that is made anew is another one.
   * @param timestamp of the import, in microseconds since 1970; without one it is this machine's clock for all executors.
   */
  static async open(
    store: ObjectStore,
    { uri, manifest }: Folder,
    target: string,
    timestamp: bigint | undefined,
  ): Promise<ListTimes> {
    const name = createHash("sha256")
      .update(`${target} ${timestamp ?? "none"}`)
      .digest("hex")
      .slice(0, 16);
    const note = (folder: string) => childUri(folder, "_import", `lists-${name}.json`);
    if (timestamp === undefined) return new ListTimes(store, note(uri), timestamp, true);
    const isOf = (time: string | undefined) => BigInt(Date.parse(time ?? "") || 0) * 1000n === timestamp;
    if (!isOf(manifest?.exportedAt)) return new ListTimes(store, note(uri), timestamp, false);
    if (manifest?.current === undefined) return new ListTimes(store, note(uri), timestamp, true);
    const isThere = isOf((await exportTime(store, manifest.current))?.toISOString());
    return new ListTimes(store, note(isThere ? manifest.current : uri), timestamp, isThere);
  }

  /** @returns a timestamp that is greater than all before, and noted. */
  async next(): Promise<bigint> {
    if (this.#etag === undefined) await this.#look();
    for (;;) {
      const from = this.#timestamp ?? BigInt(Date.now()) * 1000n;
      const after = this.#last + ATTEMPT_ROOM;
      const next = from > after ? from : after;
      const state: Note = { version: 1, last: Number(next) };
      const condition = this.#etag === undefined ? ({ ifNoneMatch: true } as const) : { ifMatch: this.#etag };
      try {
        const { etag } = await this.#store.put(this.#uri, `${JSON.stringify(state)}\n`, condition);
        this.#etag = etag;
        this.#last = next;
        return next;
      } catch (error) {
        // Another import was here, or this one, and the answer was lost.
        if (!(error instanceof UserError) || error.code !== "PRECONDITION_FAILED") throw error;
        await this.#look();
      }
    }
  }

  async #look(): Promise<void> {
    const object = await this.#store.get(this.#uri);
    this.#etag = object?.etag;
    if (object === undefined) return;
    const last = lastOf(Buffer.from(object.body).toString("utf8"));
    if (last === undefined) {
      throw new UserError("NOTE_UNREADABLE", `${this.#uri} doesn't say which timestamps lists were written with`, {
        hint: "Delete it and import into an empty table, or a newer export: lists that were written before would be doubled",
      });
    }
    if (last > this.#last) this.#last = last;
  }
}

function lastOf(text: string): bigint | undefined {
  try {
    const { version, last } = JSON.parse(text) as Note;
    return version === 1 && Number.isSafeInteger(last) ? BigInt(last) : undefined;
  } catch {
    return undefined;
  }
}
