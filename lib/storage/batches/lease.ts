import { setTimeout as sleep } from "node:timers/promises";
import { ExitCode, UserError } from "../../errors.js";
import type { ObjectStore } from "../object-store.js";
import { childUri } from "../uri.js";

/** How a process is told from others of its machine, so that the lease of one that was killed needn't run out. */
export interface ProcessMark {
  /** This process, e.g. host, boot, pid and start time. */
  readonly self: string;
  /** Whether that process certainly is no more; false when that can't be told from here. */
  isGone(mark: string): boolean;
}

export interface LeaseOptions {
  readonly store: ObjectStore;
  /** Folder of the lease, without a slash at its end. */
  readonly folder: string;
  readonly runId: string;
  /** What is leased, for the message: `athena-cdc for s3://lake/cdc`. */
  readonly what: string;
  /** A lease that wasn't renewed for so long is free. Default: 20,000 ms. */
  readonly expiresAfterMs?: number;
  readonly process?: ProcessMark;
  readonly signal?: AbortSignal;
}

/** The right to be the only run, as long as it is renewed. Courtesy, not safety: that is the state objects' conditional puts. */
export interface Lease extends AsyncDisposable {
  /** Aborted when another run has taken the lease over. */
  readonly lost: AbortSignal;
  /**
   * Looks now whether it has, instead of at the next renewal: after a failure, which may come of what another run has cleared while this one was
   * silent.
   */
  look(): Promise<void>;
}

interface Holder {
  readonly runId: string | null;
  readonly process?: string;
  /** Never the same bytes twice. */
  readonly turn: number;
}

/**
 * Takes the lease, or waits until it is known that the holder lives or doesn't. The holder renews by writing an object of its
 * own, `<folder>/<runId>.alive`; its age is the difference between the times that the store gave to it and to an object that
 * the asking run has just written, so that no machine's clock matters.
 *
 * @throws UserError `ConcurrentRunsExceededException` (exit 75) when another run renews its lease.
 */
export async function acquireLease(options: LeaseOptions): Promise<Lease> {
  const { store, runId, signal } = options;
  const expiresAfter = options.expiresAfterMs ?? 20_000;
  const renewEvery = Math.max(Math.floor(expiresAfter / 4), 100);
  const holderUri = childUri(options.folder, "holder.json");
  const ownUri = aliveUri(options.folder, runId);
  let beats = 0;
  const beat = () => store.put(ownUri, `${runId} ${beats++}\n`);

  await beat();
  try {
    let firstSeen: { readonly runId: string; readonly modified: number } | undefined;
    for (;;) {
      signal?.throwIfAborted();
      const object = await store.get(holderUri);
      const holder = object === undefined ? undefined : (JSON.parse(Buffer.from(object.body).toString()) as Holder);
      if (holder !== undefined && holder.runId !== null && holder.runId !== runId) {
        const gone = holder.process !== undefined && options.process?.isGone(holder.process) === true;
        const alive = gone ? undefined : await store.head(aliveUri(options.folder, holder.runId));
        if (alive !== undefined) {
          const modified = alive.modified.getTime();
          // Its object was written again since we began to look: it lives.
          const renewed = firstSeen?.runId === holder.runId && modified > firstSeen.modified;
          if (renewed) throw concurrentRun(options.what, holder.runId);
          if (firstSeen?.runId !== holder.runId) firstSeen = { runId: holder.runId, modified };
          const now = (await beat().then(() => store.head(ownUri)))?.modified.getTime() ?? 0;
          if (now - modified < expiresAfter) {
            await sleep(Math.min(renewEvery, 1_000), undefined, signal === undefined ? {} : { signal });
            continue;
          }
        }
      }
      const next: Holder = {
        runId,
        turn: (holder?.turn ?? 0) + 1,
        ...(options.process === undefined ? {} : { process: options.process.self }),
      };
      try {
        const condition = object === undefined ? { ifNoneMatch: true as const } : { ifMatch: object.etag };
        const { etag } = await store.put(holderUri, JSON.stringify(next), condition);
        if (holder?.runId != null) await store.delete(aliveUri(options.folder, holder.runId));
        return hold(options, { holderUri, ownUri, etag, turn: next.turn, renewEvery, beat });
      } catch (error) {
        // Another run was quicker: now it is the holder, and alive.
        if (!(error instanceof UserError && error.code === "PRECONDITION_FAILED")) throw error;
      }
    }
  } catch (error) {
    await store.delete(ownUri).catch(() => undefined);
    throw error;
  }
}

function hold(
  { store, runId, what }: LeaseOptions,
  held: {
    readonly holderUri: string;
    readonly ownUri: string;
    readonly etag: string;
    readonly turn: number;
    readonly renewEvery: number;
    readonly beat: () => Promise<unknown>;
  },
): Lease {
  const lost = new AbortController();
  const ended = new AbortController();
  const look = async () => {
    // A store that doesn't answer is no reason to stop: others can't take over there either.
    const holder = await store.head(held.holderUri).catch(() => ({ etag: held.etag }));
    if (!ended.signal.aborted && holder?.etag !== held.etag) lost.abort(leaseLost(what));
  };
  const renew = async () => {
    while (!ended.signal.aborted) {
      try {
        await sleep(held.renewEvery, undefined, { signal: ended.signal, ref: false });
      } catch {
        return;
      }
      await look();
      if (ended.signal.aborted || lost.signal.aborted) return;
      await held.beat().catch(() => undefined);
    }
  };
  const renewing = renew();
  return {
    lost: lost.signal,
    look,
    async [Symbol.asyncDispose]() {
      ended.abort();
      await renewing;
      const free: Holder = { runId: null, turn: held.turn + 1 };
      // Whoever has taken over keeps it. What can't be given back runs out.
      await store
        .put(held.holderUri, JSON.stringify({ ...free, by: runId }), { ifMatch: held.etag })
        .catch(() => undefined);
      await store.delete(held.ownUri).catch(() => undefined);
    },
  };
}

function aliveUri(folder: string, runId: string): string {
  return childUri(folder, `${runId}.alive`);
}

function concurrentRun(what: string, runId: string): UserError {
  return new UserError("ConcurrentRunsExceededException", `Another run is at work on ${what} now: ${runId}`, {
    hint: "Wait for it to end, then run again",
    exitCode: ExitCode.retryable,
  });
}

function leaseLost(what: string): UserError {
  return new UserError("LEASE_LOST", `This run was silent for too long, and another one has taken over ${what}`, {
    hint: "Nothing is lost; run again when the other one is done",
    exitCode: ExitCode.retryable,
  });
}
