import { setTimeout as sleep } from "node:timers/promises";

/** How {@link poll} waits. */
export interface PollOptions {
  readonly timeoutMs: number;
  /** Default: 25 ms, as these are cheap looks at files and processes of this machine. */
  readonly intervalMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Asks again until there is an answer; undefined when the time is up.
 *
 * @throws the signal's reason when it is aborted, and whatever `look` throws.
 */
export async function poll<T>(
  look: () => T | undefined | Promise<T | undefined>,
  options: PollOptions,
): Promise<T | undefined> {
  const end = performance.now() + options.timeoutMs;
  while (true) {
    options.signal?.throwIfAborted();
    const answer = await look();
    if (answer !== undefined) return answer;
    if (performance.now() >= end) return undefined;
    await sleep(options.intervalMs ?? 25);
  }
}
