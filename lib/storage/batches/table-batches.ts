import { UserError } from "../../errors.js";
import type { ObjectStore } from "../object-store.js";
import { childUri, parentUri, spelledLike } from "../uri.js";
import { attemptFiles, attemptsFolder, emptyFolders, type Leftovers } from "./attempt.js";
import { publishFiles } from "./publish-files.js";
import type { AddedFile, BatchState, JsonValue, PublishingIntent, Settled } from "./state.js";
import { StateObject, takenOver } from "./state-object.js";
import type { Tracker } from "./tracker.js";

/** Names a step of a table: where tests kill the process, and what the report adds up. */
export type Step = <T>(name: string, work: () => Promise<T>) => Promise<T>;

/**
 * Brings a batch to where readers find it. May be called again by another process, also after it had succeeded.
 *
 * @throws UserError `BATCH_OUTDATED`: what the batch was to be added to isn't there any more, and nobody is to publish it; the next one
 *   begins at what is there now.
 */
export type Publish = (
  batch: { readonly runId: string; readonly add: readonly AddedFile[]; readonly remove: readonly string[] } & {
    readonly commit: JsonValue;
  },
  /** @throws UserError `BATCH_TAKEN_OVER` when the batch isn't this process's to publish any more. */
  check: () => Promise<void>,
) => Promise<void>;

/** Where the things of one table are. */
export interface TablePlace {
  /** Folder of the state objects and of the rows delivered near the watermark, without a slash at its end. */
  readonly stateFolder: string;
  /** Folder of the tables that the job writes, without a slash at its end. */
  readonly output: string;
  /** The table's name, which is the name of its folder too. */
  readonly table: string;
}

export interface TableBatchesOptions {
  readonly store: ObjectStore;
  readonly place: TablePlace;
  /** What the state belongs to, e.g. `athena-cdc shop.orders`. */
  readonly source: string;
  readonly runId: string;
  readonly step: Step;
  readonly tracker: Tracker;
  /** Attempts and datasets that other runs had left when this one began, see {@link findLeftovers}. */
  readonly leftovers: Leftovers;
  /** Default: the files are moved to their final names. */
  readonly publish?: Publish;
  readonly warn?: (code: string, message: string) => void;
}

/** What is to be gone by when a run begins. */
export interface OpenedTable<Watermark extends JsonValue> {
  /** `undefined`: nothing is known of the table. */
  readonly state: BatchState<Watermark> | undefined;
  /** The documented tracker's value when it counts instead of the state: adopted from elsewhere, or reset by the user. */
  readonly tracker: { readonly from: "state" } | { readonly from: "adopted" | "reset"; readonly value: string | null };
  /** The owner of a run that was started and never ended: its work on Spark may be interrupted. */
  readonly abandoned: JsonValue | undefined;
  /** The batch of a dead run that this call has published, if there was one. */
  readonly recovered: string | undefined;
}

/** A batch under way: where the executors write, and the end that it comes to. */
export interface Batch<Watermark extends JsonValue> {
  /** Folder for the batch's rows, to be written by the executors. Nobody else writes there. */
  readonly attempt: string;
  /** Folder for a dataset of rows delivered near the watermark. */
  deliveredFolder(name: string): string;
  /** Publishes what the executors have written. */
  publish(outcome: Outcome<Watermark>): Promise<BatchState<Watermark>>;
  /** Gives the batch up; the state stays as it was. */
  abandon(): Promise<void>;
}

/** How a batch ends. */
export interface Outcome<Watermark extends JsonValue> extends Settled<Watermark> {
  /** Whether the attempt's files are published; `false` when they hold no rows. Or names of the folders in it whose files are. */
  readonly add: boolean | readonly string[];
  /** Files that go when the batch's come: final URIs. */
  readonly remove?: readonly string[];
  readonly commit?: JsonValue;
}

/**
 * The batch protocol for one table. Every attempt writes where no other does; what is published, and the state after it, is
 * put into the state object first, and whoever comes next finishes it from there.
 *
 * The state object is `<stateFolder>/<table>.json`, rows delivered near the watermark are in
 * `<stateFolder>/delivered/<table>/<runId>/`, the executors' files in `<output>/_attempts/<runId>/<table>/`.
 *
 * @example
 * const batches = new TableBatches({ store, place, source, runId, step, tracker, leftovers });
 * const { state } = await batches.open();       // finishes what a dead run had begun to publish
 * // ... fix the bounds ...
 * const batch = await batches.begin({ sparkSessionId });
 * await rows.write.parquet(hadoopPath(batch.attempt)); // the executors
 * await batch.publish({ add: true, watermark, delivered, tracker, details });
 */
export class TableBatches<Watermark extends JsonValue> {
  readonly #options: TableBatchesOptions;
  readonly #object: StateObject<Watermark>;
  #state: BatchState<Watermark> | undefined;
  #tracked: OpenedTable<Watermark>["tracker"] | undefined;

  constructor(options: TableBatchesOptions) {
    this.#options = options;
    const { stateFolder, table } = options.place;
    this.#object = new StateObject(options.store, childUri(stateFolder, `${table}.json`), options.source);
  }

  /** The state as it is, for `plan`: nothing is finished, nothing written. */
  async peek(): Promise<OpenedTable<Watermark>> {
    this.#state = await this.#object.read();
    const { intent } = this.#state ?? {};
    if (this.#state !== undefined && intent?.kind === "publishing") {
      this.#state = settled(this.#state, intent, intent.runId);
      return { state: this.#state, tracker: { from: "state" }, abandoned: undefined, recovered: intent.runId };
    }
    return { state: this.#state, tracker: await this.#readTracker(false), abandoned: undefined, recovered: undefined };
  }

  /**
   * Reads state and tracker. A batch that a dead run had begun to publish is published to its end; a tracker that lags behind
   * the state is written.
   *
   * @param discardUnfinished for a load that replaces everything: a batch of a dead run isn't published, so that one which can't be is no
   *   obstacle for ever. Files of it that were moved already are the table's, and go with all others; should that load die, too, the
   *   watermark is gone, so that the next one is a full load whoever runs it.
   * @throws UserError `STATE_UNREADABLE`, `STATE_OF_OTHER_SOURCE`, `TRACKER_UNREADABLE`, `BATCH_FILES_MISSING`.
   */
  async open({ discardUnfinished = false } = {}): Promise<OpenedTable<Watermark>> {
    return await this.#options.step("read the state", async () => {
      this.#state = await this.#object.read();
      let recovered: string | undefined;
      if (discardUnfinished && this.#state?.intent?.kind === "publishing") {
        // Some of its files may be in the output: until they are replaced, no watermark says what is there.
        await this.#put({ ...this.#state, watermark: null, delivered: {}, restart: null, intent: null });
      }
      while (this.#state?.intent?.kind === "publishing") {
        const { runId } = this.#state.intent;
        await this.#options.tracker.read();
        try {
          await this.#finish(this.#state, this.#state.intent);
          recovered = runId;
        } catch (error) {
          if (!isOutdated(error)) throw error;
          this.#options.warn?.("BATCH_OUTDATED", `${error.message}; that batch is given up`);
        }
      }
      const tracker = await this.#readTracker(true);
      const { intent } = this.#state ?? {};
      const abandoned = intent?.kind === "started" && intent.runId !== this.#options.runId ? intent.owner : undefined;
      return { state: this.#state, tracker, abandoned, recovered };
    });
  }

  /**
   * Starts a batch: from here on no older run can publish. What older runs left is deleted.
   *
   * @param owner who runs it, for whoever may take over.
   * @throws UserError `BATCH_TAKEN_OVER`.
   */
  async begin(owner: JsonValue = null): Promise<Batch<Watermark>> {
    const { store, place, runId, step, leftovers } = this.#options;
    const tracked = this.#tracked;
    const present = this.#present();
    const started = {
      ...present,
      intent: { kind: "started" as const, runId, owner },
      // From here on the tracker's present value is a known one; that it counts must outlive this process.
      ...(tracked === undefined || tracked.from === "state"
        ? { published: { value: present.published.value, before: inTracker(present) } }
        : { published: { value: tracked.value, before: tracked.value }, restart: tracked }),
    };
    await step("store that the batch starts", () => this.#put(started));
    await step("clear what dead runs left", () => leftovers.clear(place.table, this.#referenced()));
    const folder = childUri(attemptsFolder(place.output), runId, place.table);
    // Executors write there, too, and may know only the scheme that the user wrote.
    const delivered = spelledLike(childUri(place.stateFolder, "delivered", place.table, runId), place.output);
    return {
      attempt: folder,
      deliveredFolder: (name) => childUri(delivered, name),
      publish: (outcome) => this.#publish(folder, outcome),
      abandon: async () => {
        await this.#put({ ...this.#present(), intent: null });
        await store.deleteAll(`${folder}/`);
        await store.deleteAll(`${delivered}/`);
      },
    };
  }

  async #publish(folder: string, outcome: Outcome<Watermark>): Promise<BatchState<Watermark>> {
    const { store, place, runId, step } = this.#options;
    const before = this.#present();
    const { watermark, delivered, tracker, details } = outcome;
    const folders = typeof outcome.add === "boolean" ? undefined : outcome.add;
    const target = childUri(place.output, place.table);
    const add = outcome.add === false ? [] : await attemptFiles(store, folder, target, runId, folders);
    const empty = emptyFolders(folder, folders ?? [], add).map((name) => childUri(folder, name));
    if ((outcome.add === true && add.length === 0) || empty.length > 0) {
      // Whoever has taken over has cleared the folder.
      throw (await this.#object.isUnchanged()) ? nothingWritten(empty[0] ?? folder) : takenOver(this.#object.uri);
    }
    const intent: PublishingIntent<Watermark> = {
      kind: "publishing",
      runId,
      add,
      remove: outcome.remove ?? [],
      commit: outcome.commit ?? null,
      next: { watermark, delivered, tracker, details },
    };
    await step("store what is to be published", () => this.#put({ ...before, intent }));
    const finished = await this.#finish(this.#present(), intent);
    await step("clear what the batch leaves", async () => {
      await store.deleteAll(`${folder}/`);
      const kept = Object.values(finished.delivered);
      for (const uri of Object.values(before.delivered)) {
        // The run's folder around it goes too when nothing else of it counts: file systems keep empty ones.
        const around = `${parentUri(uri)}/`;
        const folder = kept.some((one) => one.startsWith(around)) ? `${uri}/` : around;
        if (!kept.includes(uri)) await store.deleteAll(folder);
      }
    });
    return finished;
  }

  /** Steps 6 to 8, for a batch of this run or of a dead one. */
  async #finish(state: BatchState<Watermark>, intent: PublishingIntent<Watermark>): Promise<BatchState<Watermark>> {
    const { step, store } = this.#options;
    const publish = this.#options.publish ?? publishFiles(store, step);
    const check = async () => {
      if (!(await this.#object.isUnchanged())) throw takenOver(this.#object.uri);
    };
    try {
      await step("publish", () => publish(intent, check));
    } catch (error) {
      if (isOutdated(error)) await step("give the batch up", () => this.#put({ ...state, intent: null }));
      throw error;
    }
    await step("store the state", () => this.#put(settled(state, intent, this.#options.runId)));
    const now = this.#present();
    await step("write the tracker", () => this.#writeTracker(now));
    if (now.published.before === null && now.published.value !== null) {
      // Once it was there, a tracker that is missing was deleted by the user.
      await step("store that the tracker is there", () =>
        this.#put({ ...now, published: { value: now.published.value, before: now.published.value } }),
      );
    }
    return this.#present();
  }

  /** @param repair write a tracker that lags behind. */
  async #readTracker(repair: boolean): Promise<OpenedTable<Watermark>["tracker"]> {
    const value = await this.#options.tracker.read();
    this.#tracked = await this.#judgeTracker(value, repair);
    return this.#tracked;
  }

  async #judgeTracker(value: string | null, repair: boolean): Promise<OpenedTable<Watermark>["tracker"]> {
    if (this.#state === undefined) return { from: "adopted", value };
    if (this.#options.tracker.none === true) return { from: "state" };
    const { published, restart } = this.#state;
    if (value !== published.value && value !== published.before) return { from: "reset", value };
    // A run that was to begin at a reset value ended before it had published.
    if (restart !== null) return restart;
    if (value !== published.value && repair) await this.#writeTracker(this.#state);
    return { from: "state" };
  }

  async #writeTracker({ published }: BatchState<Watermark>): Promise<void> {
    if (published.value === null) return;
    const kept = await this.#options.tracker.write(published.value, published.before);
    if (kept === undefined) return;
    this.#options.warn?.(
      "TRACKER_RESET",
      `${this.#options.tracker.uri} was changed during the run; it stays at ${kept ?? "no value"}, where the next run begins`,
    );
  }

  /** What must stay of the datasets: those that the state counts on. */
  #referenced(): ReadonlySet<string> {
    return new Set(Object.values(this.#state?.delivered ?? {}));
  }

  #present(): BatchState<Watermark> {
    return (
      this.#state ?? {
        version: 1,
        generation: 0,
        runId: null,
        source: this.#options.source,
        watermark: null,
        delivered: {},
        published: { value: null, before: null },
        details: null,
        restart: null,
        intent: null,
      }
    );
  }

  async #put(state: BatchState<Watermark>): Promise<void> {
    const next = { ...state, generation: state.generation + 1 };
    await this.#object.put(next);
    this.#state = next;
  }
}

function settled<Watermark extends JsonValue>(
  state: BatchState<Watermark>,
  { next, runId }: PublishingIntent<Watermark>,
  finishedBy: string,
): BatchState<Watermark> & { readonly finishedBy: string } {
  const { watermark, delivered, tracker, details } = next;
  const before = inTracker(state);
  return {
    ...state,
    runId,
    // Two runs may finish the same batch; their puts must differ.
    finishedBy,
    watermark,
    delivered,
    details,
    restart: null,
    published: { value: tracker, before },
    intent: null,
  };
}

/** What the tracker holds as far as the state knows: a state without a value leaves the last one there. */
function inTracker({ published }: BatchState<JsonValue>): string | null {
  return published.value ?? published.before;
}

function isOutdated(error: unknown): error is UserError {
  return error instanceof UserError && error.code === "BATCH_OUTDATED";
}

function nothingWritten(folder: string): UserError {
  return new UserError(
    "BATCH_FILES_MISSING",
    `The executors have written rows, and ${folder} has no file that counts`,
    {
      hint: "Folders and files whose names begin with _ or . are hidden from readers; or someone has deleted them. Nothing was published",
    },
  );
}
