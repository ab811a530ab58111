import { expect, test } from "vitest";
import { readWindowArguments } from "../../../lib/glue/incremental/index.js";

const GIVEN = {
  lookback: "0",
  from: undefined,
  to: undefined,
  full_refresh: false,
  load_type: "incremental",
} as const;

function read(given: Partial<Parameters<typeof readWindowArguments>[0]>) {
  const problems: string[] = [];
  return { ...readWindowArguments({ ...GIVEN, ...given }, problems), problems };
}

test("durations and UTC times in microseconds", () => {
  expect(read({})).toEqual({ lookback: 0n, backfill: undefined, problems: [] });
  expect(read({ lookback: "15m", from: "1970-01-01 00:00:01.5", to: "1970-01-02" })).toEqual({
    lookback: 900_000_000n,
    backfill: { from: 1_500_000n, to: 86_400_000_000n },
    problems: [],
  });
  expect(read({ from: "1970-01-01" }).backfill).toEqual({ from: 0n, to: undefined });
});

test("everything that is wrong is said", () => {
  expect(read({ lookback: "soon", from: "then", to: "now", full_refresh: true }).problems).toEqual([
    '--lookback must be like 90s, 15m, 2h or 1d; it is "soon"',
    '--from must be a UTC time like 2026-03-01 or "2026-03-01 10:00:00"; it is "then"',
    '--to must be a UTC time like 2026-03-01 or "2026-03-01 10:00:00"; it is "now"',
    "--from is for a part of what was loaded, and a full load takes everything: leave one of them out",
  ]);
  expect(read({ to: "2026-03-01" }).problems).toEqual(["--to needs --from"]);
  expect(read({ from: "2026-03-02", to: "2026-03-01" }).problems).toEqual(["--to is before --from"]);
});
