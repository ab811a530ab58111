import { setTimeout as sleep } from "node:timers/promises";
import { ExitCode, UserError } from "../../errors.js";
import type { ObjectStore, StoredObject } from "../object-store.js";
import { type BatchState, type JsonValue, parseState } from "./state.js";

const MAX_PUTS = 4;
const RETRY_MS = 200;

/** The object that holds a table's state, and what this process last saw in it. */
export class StateObject<Watermark extends JsonValue> {
  readonly uri: string;
  readonly #store: ObjectStore;
  readonly #source: string;
  #seen: StoredObject | undefined;

  constructor(store: ObjectStore, uri: string, source: string) {
    this.#store = store;
    this.uri = uri;
    this.#source = source;
  }

  /** The state as it is now; the next {@link put} goes over exactly this one. */
  async read(): Promise<BatchState<Watermark> | undefined> {
    this.#seen = await this.#store.get(this.uri);
    return this.#seen === undefined ? undefined : this.#parse(this.#seen);
  }

  /** Whether the object still is what {@link read} or {@link put} saw last. */
  async isUnchanged(): Promise<boolean> {
    return (await this.#store.head(this.uri))?.etag === this.#seen?.etag;
  }

  /**
   * Puts the next state over the one that was seen last. An answer that is lost, or that says that somebody else was first,
   * is settled by reading the object back.
   *
   * @throws UserError `BATCH_TAKEN_OVER` when another run has changed the state.
   */
  async put(state: BatchState<Watermark>): Promise<void> {
    const body = Buffer.from(`${JSON.stringify(state, null, 1)}\n`);
    const condition = this.#seen === undefined ? { ifNoneMatch: true as const } : { ifMatch: this.#seen.etag };
    for (let attempt = 1; ; attempt++) {
      let failure: unknown;
      try {
        const put = await this.#store.put(this.uri, body, { ...condition, contentType: "application/json" });
        this.#seen = { ...put, body };
        return;
      } catch (error) {
        failure = error;
      }
      const now = await this.#readBack(failure);
      if (now !== undefined && body.equals(now.body)) {
        this.#seen = now;
        return;
      }
      if (now?.etag !== this.#seen?.etag) throw takenOver(this.uri, failure);
      if (attempt === MAX_PUTS) throw failure;
      await sleep(RETRY_MS * attempt);
    }
  }

  async #readBack(failure: unknown): Promise<StoredObject | undefined> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#store.get(this.uri);
      } catch {
        // The put's own failure says more.
        if (attempt === MAX_PUTS) throw failure;
        await sleep(RETRY_MS * attempt);
      }
    }
  }

  #parse(object: StoredObject): BatchState<Watermark> {
    return parseState<Watermark>(object.body, this.uri, this.#source);
  }
}

/** What a run is told that slept while another one did its work. */
export function takenOver(uri: string, cause?: unknown): UserError {
  return new UserError("BATCH_TAKEN_OVER", `Another run has taken over: ${uri} was changed meanwhile`, {
    hint: "Nothing is lost; run again when the other one is done",
    exitCode: ExitCode.retryable,
    ...(cause === undefined ? {} : { cause }),
  });
}
