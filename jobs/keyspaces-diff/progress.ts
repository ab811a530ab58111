import { createHash } from "node:crypto";
import { childUri, type ObjectInfo, type ObjectStore } from "../../lib/storage/index.js";
import type { Folder } from "./folders.js";

interface ProgressState {
  readonly version: 1;
  /** What the files were when it began. */
  readonly source: string;
  readonly done: readonly string[];
}

/**
 * How far an import has come: which files are in the table. It is noted in the folder's `_import`, for each target, and forgotten at the
 * end, so that an import after that writes everything again. Losing it costs time only: writing a file twice changes nothing.
 */
export class ImportProgress {
  readonly #store: ObjectStore;
  readonly #uri: string;
  readonly #source: string;
  #done: Set<string>;

  private constructor(store: ObjectStore, uri: string, source: string) {
    this.#store = store;
    this.#uri = uri;
    this.#source = source;
    this.#done = new Set();
  }

  /**
   * @param target cluster, table and its id, and what else makes another import of it.
   * @param resume whether to go on where an import that died has stopped: right when nothing else was written to the table since.
   */
  static async open(store: ObjectStore, folder: Folder, target: string, resume: boolean): Promise<ImportProgress> {
    const uri = childUri(folder.uri, "_import", `${hash(target)}.json`);
    const source = hash(
      JSON.stringify([
        folder.manifest?.runId ?? null,
        folder.files.map((file) => [nameOf(file), file.size, file.etag]),
      ]),
    );
    const progress = new ImportProgress(store, uri, source);
    const object = await store.get(uri);
    const state = object === undefined ? undefined : parse(Buffer.from(object.body).toString("utf8"));
    if (resume && state?.source === source) progress.#done = new Set(state.done);
    // What begins anew mustn't be taken later for what has got as far as the last one.
    else if (object !== undefined) await store.delete(uri);
    return progress;
  }

  /** How many files an earlier run has brought in. */
  get filesDone(): number {
    return this.#done.size;
  }

  /** The files that are left, in batches of about so many bytes, and of at least one file. */
  batches(files: readonly ObjectInfo[], bytes: number): readonly (readonly ObjectInfo[])[] {
    const batches: ObjectInfo[][] = [];
    let size = Number.POSITIVE_INFINITY;
    for (const file of files) {
      if (this.#done.has(nameOf(file))) continue;
      if (size + file.size > bytes) {
        batches.push([]);
        size = 0;
      }
      batches.at(-1)?.push(file);
      size += file.size;
    }
    return batches;
  }

  async note(files: readonly ObjectInfo[]): Promise<void> {
    for (const file of files) this.#done.add(nameOf(file));
    const state: ProgressState = { version: 1, source: this.#source, done: [...this.#done] };
    await this.#store.put(this.#uri, `${JSON.stringify(state)}\n`);
  }

  async finish(): Promise<void> {
    this.#done.clear();
    await this.#store.delete(this.#uri);
  }
}

function parse(text: string): ProgressState | undefined {
  try {
    const state = JSON.parse(text) as ProgressState;
    return state.version === 1 && Array.isArray(state.done) ? state : undefined;
  } catch {
    return undefined;
  }
}

function nameOf({ uri }: ObjectInfo): string {
  return uri.slice(uri.lastIndexOf("/") + 1);
}

function hash(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}
