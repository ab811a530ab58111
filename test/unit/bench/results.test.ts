import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import {
  median,
  rateTable,
  resultTable,
  stepTable,
  verdictTable,
  writeSection,
} from "../../../bench/harness/results.js";

const measures = (...seconds: number[]) =>
  seconds.map((one) => ({ seconds: one, clientCpu: 1, sparkCpu: 2, postgresCpu: 3, clientPeakMb: 90.4 }));
const row = {
  name: "full load",
  runs: [
    { name: "ours", measures: measures(9, 2, 4), steps: [{ read: 1 }, { read: 3 }, { read: 2, write: 0.3 }] },
    { name: "original", measures: measures(10, 12, 10), steps: [] },
    { name: "best", measures: measures(6), steps: [] },
    { name: "join", measures: measures(5), steps: [] },
  ],
};

test("a median is the middle run, or the mean of the middle two, in any order", () => {
  expect(median([9, 1, 4])).toBe(4);
  expect(median([9, 1, 4, 6])).toBe(5);
  expect(median([7])).toBe(7);
});

test("ours stands against the fastest peer, which the documented way isn't, and against the documented way", () => {
  expect(verdictTable([row], "original").split("\n").at(-1)).toBe("| full load | 4.00 | 5.00 (join) | 1.25 | 2.50 |");
  const alone = { ...row, runs: row.runs.slice(0, 1) };
  expect(verdictTable([alone], "original").split("\n").at(-1)).toBe("| full load | 4.00 |  |  |  |");
});

test("every contender has its line, with all runs, the ratio to ours and the client's peak", () => {
  const lines = resultTable([row], "original").split("\n");
  expect(lines.slice(2, 4)).toEqual([
    "| full load | **ours** | 4.00 | 9.0 2.0 4.0 |  | 1.00 | 2.00 | 3.00 | 90 MB |",
    "|  | original (documented) | 10.00 | 10.0 12.0 10.0 | 2.50 | 1.00 | 2.00 | 3.00 | 90 MB |",
  ]);
  expect(lines).toHaveLength(6);
});

test("steps are medians over the runs, a step that a run hadn't counts as nothing", () => {
  expect(stepTable([row]).split("\n").at(-1)).toBe("| full load | 2.00 | read 2.00 |");
  const atOnce = {
    name: "two tables",
    runs: [{ name: "ours", measures: measures(4), steps: [{ read: 3, write: 2 }] }],
  };
  expect(stepTable([atOnce]).split("\n").at(-1)).toBe("| two tables | steps at once | read 3.00, write 2.00 |");
});

test("rows a second, of ours also in the steps that write", () => {
  const steps = [
    { read: 1, write: 1, delete: 1 },
    { read: 1, write: 4 },
    { read: 1, write: 2 },
  ];
  const runs = [{ ...row.runs[0], name: "ours", measures: measures(9, 2, 4), steps }, ...row.runs.slice(2, 3)];
  expect(
    rateTable([{ name: "10,000 upserts", rows: 10_000, runs }], ["write", "delete"])
      .split("\n")
      .slice(2),
  ).toEqual(["| 10,000 upserts | **ours** | 2,500 | 5,000 |", "|  | best | 1,667 |  |"]);
});

test("a bench replaces its own section of the file and keeps the rest", () => {
  const folder = mkdtempSync(join(tmpdir(), "glue-connect-results-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "RESULTS.md");
  writeSection(file, "one", "first");
  writeSection(file, "two", "second");
  writeSection(file, "one", "third\nline");
  expect(readFileSync(file, "utf8")).toBe(
    "# Results\n\n<!-- begin one -->\nthird\nline\n<!-- end one -->\n\n<!-- begin two -->\nsecond\n<!-- end two -->\n",
  );
});
