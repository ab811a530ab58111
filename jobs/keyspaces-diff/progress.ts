import { createHash } from "node:crypto";
import { UserError } from "../../lib/errors.js";
import { childUri, type ObjectInfo, type ObjectStore } from "../../lib/storage/index.js";
import type { Folder } from "./folders.js";

interface ProgressState {
  readonly version: 1;
  /** What the files were when it began. */
  readonly source: string;
  readonly done: readonly string[];
  /** How many writes were begun that must not be repeated as they are. */
  readonly attempts?: number;
}

/**
 * How far an import has come: which files are in the table, and how many times its lists were written. It is noted in the folder's
 * `_import`, for each target. The files are forgotten at the end, so that an import after that writes everything again; losing them costs
 * time only: writing a file twice changes nothing. The number of attempts stays.
 */
export class ImportProgress {
  readonly #store: ObjectStore;
  readonly #uri: string;
  readonly #source: string;
  #done: Set<string>;
  #attempts = 0;
  #etag: string | undefined;

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
    const state = await progress.#look();
    if (resume && state?.source === source) progress.#done = new Set(state.done);
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
    await this.#put();
  }

  /** A number that is greater than all that any import of this folder into this table was given. It is noted before it is used. */
  async nextAttempt(): Promise<number> {
    const attempt = await this.#put(1);
    return attempt - 1;
  }

  async finish(): Promise<void> {
    this.#done.clear();
    if (this.#attempts === 0) await this.#store.delete(this.#uri);
    else await this.#put();
  }

  /** @returns the number of attempts that is noted now. */
  async #put(more = 0): Promise<number> {
    for (;;) {
      const attempts = this.#attempts + more;
      const state: ProgressState = {
        version: 1,
        source: this.#source,
        done: [...this.#done],
        ...(attempts === 0 ? {} : { attempts }),
      };
      const condition = this.#etag === undefined ? ({ ifNoneMatch: true } as const) : { ifMatch: this.#etag };
      try {
        const { etag } = await this.#store.put(this.#uri, `${JSON.stringify(state)}\n`, condition);
        this.#etag = etag;
        this.#attempts = attempts;
        return attempts;
      } catch (error) {
        // Another import of the folder was here, or this one, and the answer was lost.
        if (!(error instanceof UserError) || error.code !== "PRECONDITION_FAILED") throw error;
        await this.#look();
      }
    }
  }

  async #look(): Promise<ProgressState | undefined> {
    const object = await this.#store.get(this.#uri);
    const state = object === undefined ? undefined : parse(Buffer.from(object.body).toString("utf8"));
    this.#etag = object?.etag;
    this.#attempts = Math.max(this.#attempts, state?.attempts ?? 0);
    return state;
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
