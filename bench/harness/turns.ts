import { type Command, type Measure, measure } from "./measure.js";
import type { BenchServers } from "./servers.js";

/** Ours or a peer, in one row of a bench. */
export interface Contender {
  readonly name: string;
  /** Before each run, outside of the measured time. */
  prepare(): Promise<void>;
  readonly command: Command;
  /** After each run, outside of the measured time: rejects unless the result is right. */
  check(): Promise<void>;
  /** What the run tells of itself: seconds by step. */
  steps?(): Readonly<Record<string, number>>;
}

/** The name by which our own contender is known. */
export const OURS = "ours";

/** All runs of one contender in a row. */
export interface Runs {
  readonly name: string;
  readonly measures: readonly Measure[];
  readonly steps: readonly Readonly<Record<string, number>>[];
}

/**
 * Lets the contenders run in turn, `repetitions` times, another one first each time, so that what else the machine does meets
 * all of them alike.
 *
 * @param next makes what the next round is about, e.g. commits a change.
 */
export async function inTurn(
  servers: BenchServers,
  contenders: readonly Contender[],
  repetitions: number,
  next: (round: number) => Promise<void>,
  log: (line: string) => void,
): Promise<readonly Runs[]> {
  const runs = contenders.map(({ name }) => ({
    name,
    measures: [] as Measure[],
    steps: [] as Record<string, number>[],
  }));
  for (let round = 1; round <= repetitions; round++) {
    await next(round);
    for (let turn = 0; turn < contenders.length; turn++) {
      const index = (turn + round) % contenders.length;
      const contender = contenders[index];
      const own = runs[index];
      if (contender === undefined || own === undefined) continue;
      await contender.prepare();
      const measured = await measure(contender.command, servers);
      await contender.check();
      own.measures.push(measured);
      if (contender.steps !== undefined) own.steps.push(contender.steps());
      const cpu = [measured.clientCpu, measured.sparkCpu, measured.postgresCpu]
        .map((one) => one.toFixed(1))
        .join(" + ");
      log(`  ${round}. ${contender.name}: ${measured.seconds.toFixed(2)} s (CPU of client, Spark, PostgreSQL ${cpu})`);
    }
  }
  return runs;
}
