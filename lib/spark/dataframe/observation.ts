import type { Value } from "../values/row.js";

/** Names to values of what was observed. */
export type ObservedMetrics = Readonly<Record<string, Value>>;

/** Collects the metrics of `df.observe` from the first action that runs it. */
export class Observation {
  readonly name: string;
  readonly #result: Promise<ObservedMetrics>;
  #resolve: (metrics: ObservedMetrics) => void = () => {};

  constructor(name: string) {
    this.name = name;
    this.#result = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  /** The metrics; waits for the action. */
  get(): Promise<ObservedMetrics> {
    return this.#result;
  }

  /** @internal */
  set(metrics: ObservedMetrics): void {
    this.#resolve(metrics);
  }
}
