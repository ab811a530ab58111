import { expect, test } from "vitest";
import { mayHaveSince } from "../../../jobs/jdbc-cdc/parquet-output.js";

test("files of days before a time can't hold rows since then; of any other it isn't known", () => {
  const time = BigInt(Date.UTC(2026, 2, 2, 0, 0)) * 1_000n;
  const file = (day: string) => `s3://b/out/_attempts/jr_1/orders/partition_date=${day}/part-0.parquet`;
  expect(mayHaveSince(file("2026-03-01"), time)).toBe(false);
  expect(mayHaveSince(file("2026-03-02"), time)).toBe(true);
  expect(mayHaveSince(file("2026-03-01"), time - 1n)).toBe(true);
  expect(mayHaveSince(file("2027-01-01"), time)).toBe(true);
  for (const day of ["__HIVE_DEFAULT_PARTITION__", "%2B10000-01-01"]) expect(mayHaveSince(file(day), time)).toBe(true);
  // After the year 9999, and before the year 0.
  for (const sign of [1n, -1n]) expect(mayHaveSince(file("2026-03-01"), sign * 10n ** 18n)).toBe(true);
});
