import { describe, expect, test } from "vitest";
import { areSmall, boundsOfTimes } from "../../../lib/glue/incremental/index.js";

describe("bounds by the times of all rows", () => {
  const now = 1_000n;

  test("the greatest time, and how many rows there are of each kind; of a row later than its file nothing is said", () => {
    expect(boundsOfTimes([5n, 1_000n, null, 999n, null], undefined, now)).toEqual({
      to: 1_000n,
      rows: 3n,
      later: 0n,
      withoutTime: 2n,
      now,
    });
    expect(boundsOfTimes([5n, 1_001n], undefined, now)).toBeUndefined();
  });

  test("rows before the beginning don't count, those at it do", () => {
    expect(boundsOfTimes([5n, 6n, 7n, null], 6n, now)).toMatchObject({ to: 7n, rows: 2n, withoutTime: 1n });
  });

  test("without rows in time there is no end", () => {
    expect(boundsOfTimes([null], undefined, now)).toMatchObject({ to: undefined, rows: 0n, withoutTime: 1n });
    expect(boundsOfTimes([5n], 6n, now)).toMatchObject({ to: undefined, rows: 0n });
  });
});

test("few and small files", () => {
  expect(areSmall([{ size: 2 * 1024 * 1024 }])).toBe(true);
  expect(areSmall([{ size: 2 * 1024 * 1024 }, { size: 1 }])).toBe(false);
  expect(areSmall(Array.from({ length: 17 }, () => ({ size: 1 })))).toBe(false);
});
