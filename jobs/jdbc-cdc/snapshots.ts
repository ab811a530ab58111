import type { PostgresConnection } from "../../lib/postgres/connection.js";
import { ExportedSnapshot, type SnapshotOptions } from "../../lib/postgres/exported-snapshot.js";

interface Shared {
  readonly snapshot: Promise<ExportedSnapshot>;
  /** Not (any more) to be joined: it couldn't be taken, or its connection is gone. */
  dead: () => boolean;
  started: number;
  active: number;
}

/** The snapshots of a run: the tables of a batch read one and the same, which is closed when the last of them is done. */
export class Snapshots implements AsyncDisposable {
  readonly #options: SnapshotOptions;
  readonly #size: number;
  readonly #take: typeof ExportedSnapshot.take;
  readonly #open = new Map<PostgresConnection, Shared>();
  readonly #all = new Set<Promise<ExportedSnapshot>>();

  /**
   * @param size tables that share a snapshot.
   * @param take how one is taken.
   */
  constructor(size: number, options: SnapshotOptions, take: typeof ExportedSnapshot.take = ExportedSnapshot.take) {
    this.#size = size;
    this.#options = options;
    this.#take = take;
  }

  /**
   * Works with the snapshot of the present batch.
   *
   * @param notBefore the snapshot must be later than this (microseconds since 1970, PostgreSQL's clock): one that is older than
   *   the table's state would bring back what is over.
   */
  async use<T>(
    connection: PostgresConnection,
    notBefore: bigint,
    work: (snapshot: ExportedSnapshot) => Promise<T>,
  ): Promise<T> {
    const shared = this.#batch(connection);
    shared.started++;
    shared.active++;
    try {
      const snapshot = await shared.snapshot;
      if (snapshot.takenAt > notBefore) return await work(snapshot);
      await using own = await this.#take(connection, this.#options);
      return await work(own);
    } finally {
      shared.active--;
      if (shared.active === 0 && (shared.started >= this.#size || shared.dead())) await this.#close(shared.snapshot);
    }
  }

  #batch(connection: PostgresConnection): Shared {
    const open = this.#open.get(connection);
    if (open !== undefined && open.started < this.#size && !open.dead()) return open;
    const snapshot = this.#take(connection, this.#options);
    const shared: Shared = { snapshot, dead: () => false, started: 0, active: 0 };
    // Whoever uses it meets the error; the tables after it take one of their own.
    snapshot.then(
      (taken) => {
        shared.dead = () => !taken.alive;
      },
      () => {
        shared.dead = () => true;
      },
    );
    this.#open.set(connection, shared);
    this.#all.add(snapshot);
    return shared;
  }

  async #close(snapshot: Promise<ExportedSnapshot>): Promise<void> {
    if (!this.#all.delete(snapshot)) return;
    await (await snapshot.catch(() => undefined))?.[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#all].map((snapshot) => this.#close(snapshot)));
  }
}
