import { expect, inject, test } from "vitest";
import { at, DatamartScenario, type TableName, type TestRow } from "../../support/datamart-scenario.js";

const HISTORIES = Number(process.env.GLUE_CONNECT_HISTORIES || 1);
const STEPS = Number(process.env.GLUE_CONNECT_HISTORY_STEPS || 10);

/** Mulberry32: the same history for the same seed. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

/** Rows of few parents, so that they meet, move and are left without any. */
function randomRow(table: TableName, below: (limit: number) => number, time: string): TestRow {
  const one = (prefix: string, limit: number) => `${prefix}${1 + below(limit)}`;
  const parent = () => (below(12) === 0 ? null : one("a", 4));
  switch (table) {
    case "account":
      return [one("a", 4), one("name ", 9), time];
    case "account_metadata":
      return [1 + below(5), parent(), one("tier ", 9), time];
    case "account_risk":
      return [1 + below(5), parent(), below(100), time];
    case "queue":
      return [one("q", 6), parent(), one("queue ", 9), time];
    case "settlement_transaction":
      return [one("t", 15), below(12) === 0 ? null : one("q", 6), below(1_000), time];
    default:
      return [1 + below(5), one("reason ", 9), time];
  }
}

const TABLES: readonly TableName[] = ["account", "account_metadata", "account_risk", "queue", "settlement_transaction"];

test.each(Array.from({ length: HISTORIES }, (_, index) => index + 1))(
  "history %i: after every batch the newest groups are what a full load gives",
  async (seed) => {
    const below = random(seed);
    await using s = await DatamartScenario.create(inject("sparkRemote"), {});
    // Some steps have the time of the one before: rows at the last timestamp.
    let minute = 0;
    for (let step = 0; step < STEPS; step++) {
      if (step === 0 || below(3) > 0) minute++;
      for (const table of TABLES) {
        const count = step === 0 ? 8 : below(3);
        for (let n = 0; n < count; n++) s.put(table, randomRow(table, below, at(minute, below(3))));
      }
      await s.load("--lookback", "1s");
      await s.expectLikeFullLoad(`seed ${seed}, step ${step}`);
    }
    expect(s.files("joined").length).toBeGreaterThan(2);
  },
  STEPS * 30_000,
);
