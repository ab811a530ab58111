import { describe, expect, test } from "vitest";
import { areSmall, boundsOfTimes } from "../../../lib/glue/incremental/index.js";

describe("bounds by the times of all rows", () => {
  const [writtenAt, now] = [1_000n, 1_100n];
  const bounds = (times: readonly (bigint | null)[], from?: bigint) => boundsOfTimes(times, from, writtenAt, now);

  test("the greatest time that is due, and how many rows there are of each kind", () => {
    expect(bounds([5n, 1_000n, 1_101n, null, 999n, null])).toEqual({
      to: 1_000n,
      rows: 3n,
      later: 1n,
      withoutTime: 2n,
      now,
    });
  });

  test("nothing is said where a row is due by this process's clock, and later than its file", () => {
    expect(bounds([5n, 1_001n])).toBeUndefined();
    expect(bounds([5n, 1_100n])).toBeUndefined();
    // A clock that is behind leaves a row of a file for later at the most, when it is later than the file, too.
    expect(boundsOfTimes([5n, 1_000n], undefined, writtenAt, 900n)).toMatchObject({ to: 1_000n, later: 0n });
  });

  test("rows before the beginning don't count, those at it do", () => {
    expect(bounds([5n, 6n, 7n, null], 6n)).toMatchObject({ to: 7n, rows: 2n, withoutTime: 1n });
  });

  test("without rows that are due there is no end", () => {
    expect(bounds([null, 2_000n])).toMatchObject({ to: undefined, rows: 0n, later: 1n });
    expect(bounds([5n], 6n)).toMatchObject({ to: undefined, rows: 0n });
  });
});

test("few and small files", () => {
  expect(areSmall([{ size: 2 * 1024 * 1024 }])).toBe(true);
  expect(areSmall([{ size: 2 * 1024 * 1024 }, { size: 1 }])).toBe(false);
  expect(areSmall(Array.from({ length: 17 }, () => ({ size: 1 })))).toBe(false);
});
