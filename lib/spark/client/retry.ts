import { canceled, type SparkConnectError } from "../errors.js";

/** Which errors are tried again, how often and after how long. Times are milliseconds. */
export interface RetryPolicy {
  readonly name: string;
  readonly maxRetries: number;
  readonly initialBackoffMs: number;
  readonly maxBackoffMs: number;
  readonly multiplier: number;
  /** Upper bound of a random addition, used once the wait reaches `jitterThresholdMs`. */
  readonly jitterMs: number;
  readonly jitterThresholdMs: number;
  /** The longest wait that the server may ask for. */
  readonly maxServerDelayMs: number;
  canRetry(error: SparkConnectError): boolean;
}

/** What Spark's Python and Scala clients do: at least ten minutes of patience. */
export const defaultRetryPolicy: RetryPolicy = {
  name: "default",
  maxRetries: 15,
  initialBackoffMs: 50,
  maxBackoffMs: 60_000,
  multiplier: 4,
  jitterMs: 500,
  jitterThresholdMs: 2_000,
  maxServerDelayMs: 600_000,
  canRetry: (error) => error.retryable,
};

/** Time and chance, injected so that tests neither wait nor guess. */
export interface RetryClock {
  sleep(ms: number, signal: AbortSignal | undefined): Promise<void>;
  /** A number from 0 (included) to 1 (excluded). */
  random(): number;
}

export const systemClock: RetryClock = {
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(canceled(signal.reason));
      const stop = () => {
        clearTimeout(timer);
        reject(canceled(signal?.reason));
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener("abort", stop);
        resolve();
      }, ms);
      signal?.addEventListener("abort", stop, { once: true });
    }),
  random: Math.random,
};

/** The state of one call's retries: each policy counts its own. */
export class RetryState {
  readonly #policies: readonly RetryPolicy[];
  readonly #clock: RetryClock;
  readonly #signal: AbortSignal | undefined;
  readonly #used = new Map<RetryPolicy, number>();

  constructor(policies: readonly RetryPolicy[], clock: RetryClock, signal?: AbortSignal) {
    this.#policies = policies;
    this.#clock = clock;
    this.#signal = signal;
  }

  /** Something arrived, so what comes next starts with full patience: an hour-long query may lose its connection often. */
  progress(): void {
    this.#used.clear();
  }

  /**
   * Waits before the next try.
   *
   * @throws the error itself when no policy takes it or all retries are used
   */
  async wait(error: SparkConnectError): Promise<void> {
    const policy = this.#policies.find((candidate) => candidate.canRetry(error));
    if (policy === undefined) throw error;
    await this.#waitFor(policy, error);
  }

  /** As {@link wait}, for what is known to be worth another try although no policy names it. */
  async waitAnyway(error: SparkConnectError): Promise<void> {
    await this.#waitFor(this.#policies[0] ?? defaultRetryPolicy, error);
  }

  async #waitFor(policy: RetryPolicy, error: SparkConnectError): Promise<void> {
    const used = this.#used.get(policy) ?? 0;
    if (used >= policy.maxRetries) throw error;
    this.#used.set(policy, used + 1);
    let wait = Math.min(policy.initialBackoffMs * policy.multiplier ** used, policy.maxBackoffMs);
    if (error.retryDelayMs !== undefined) wait = Math.max(wait, Math.min(error.retryDelayMs, policy.maxServerDelayMs));
    if (wait >= policy.jitterThresholdMs) wait += this.#clock.random() * policy.jitterMs;
    await this.#clock.sleep(wait, this.#signal);
  }
}
