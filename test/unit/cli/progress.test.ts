import { expect, test } from "vitest";
import type { CliIo } from "../../../lib/cli/io.js";
import { createProgress } from "../../../lib/cli/progress.js";
import { reportText } from "../../../lib/cli/report-text.js";
import { duration, printable, styleFor, twoColumns } from "../../../lib/cli/style.js";
import { writeError } from "../../../lib/cli/write-error.js";
import { RunReport } from "../../../lib/glue/report.js";

function terminal(isTTY: boolean, env: CliIo["env"] = {}): { io: CliIo; text: () => string } {
  let text = "";
  const stream = {
    isTTY,
    columns: 60,
    write(chunk: string, done?: () => void) {
      text += chunk;
      done?.();
      return true;
    },
  };
  return { io: { stdout: stream, stderr: stream, env }, text: () => text };
}

/** What is left on the screen: a carriage return and "clear line" take away what the line held. */
function screen(text: string): string {
  return text
    .split("\n")
    .map((line) => line.slice(line.lastIndexOf("\r\u001b[2K") + ("\r\u001b[2K".length - 1) + 1 || 0))
    .join("\n");
}

function runSteps(io: CliIo, debug = false): void {
  const progress = createProgress(io, { debug, color: true });
  progress.onStep({ name: "read", phase: "start" });
  progress.log.info("found", { rows: 3n, table: "a" });
  progress.log.debug("details");
  progress.onStep({ name: "read", phase: "end", seconds: 1.25 });
  progress.onStep({ name: "write", phase: "start" });
  progress.onStep({ name: "write", phase: "end", seconds: 61, failed: true });
  progress.end();
}

/** A line's time, which is now, is left out. */
function withoutTimes(text: string): string {
  return text.replace(/^(\S+) /gm, (_, time: string) => {
    expect(time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    expect(Math.abs(Date.now() - Date.parse(time))).toBeLessThan(60_000);
    return "";
  });
}

test("without a terminal each line has its time and level; a step is one when it ends, and log lines come between", () => {
  const { io, text } = terminal(false);
  runSteps(io);
  expect(withoutTimes(text())).toBe('INFO found rows="3" table=a\nINFO read (1.3 s)\nWARN failed: write (1 min 1 s)\n');
});

test("--debug shows more, and levels are words on a terminal", () => {
  const { io, text } = terminal(false);
  runSteps(io, true);
  expect(withoutTimes(text())).toContain("DEBUG details\n");
  const screen = terminal(true, { TERM: "dumb" });
  const { log } = createProgress(screen.io, { debug: true, color: false });
  log.debug("details");
  log.info("found");
  log.warn("odd");
  createProgress(screen.io, { debug: false, color: false, times: true }).log.error("gone");
  expect(screen.text()).toMatch(/^debug: details\nfound\nwarning: odd\nerror: \d{4}-\d\d-\d\dT[\d:]{8}Z gone\n$/);
});

test("on a terminal the step at work is one moving line, and what is done stays", () => {
  const { io, text } = terminal(true, { NO_COLOR: "1" });
  runSteps(io);
  expect(text()).toContain("⠋ read  0.0 s");
  expect(screen(text())).toBe('found rows="3" table=a\n✓ read  1.3 s\n✗ write  1 min 1 s\n');
});

test("colours need a terminal, and NO_COLOR, TERM=dumb and --no-color take them away", () => {
  const { io } = terminal(true);
  expect(styleFor(io.stdout, {}).red("x")).toBe("\u001b[31mx\u001b[0m");
  for (const style of [
    styleFor(io.stdout, { NO_COLOR: "1" }),
    styleFor(io.stdout, { TERM: "dumb" }),
    styleFor(io.stdout, {}, false),
    styleFor(terminal(false).io.stdout, {}),
  ]) {
    expect(style.red("x")).toBe("x");
  }
});

test("control characters of other people's texts don't reach the terminal", () => {
  expect(printable("a\u001b[2Jb\u0007\nc\td")).toBe("a\uFFFD[2Jb\uFFFD\nc  d");
});

test.each([
  [0, "0.0 s"],
  [9.94, "9.9 s"],
  [12.4, "12 s"],
  [59.6, "60 s"],
  [200, "3 min 20 s"],
  [7_260, "2 h 1 min"],
])("%d seconds are %s", (seconds, text) => {
  expect(duration(seconds)).toBe(text);
});

test("two columns wrap the second one", () => {
  expect(
    twoColumns(
      [
        ["--a", "one two three four five six"],
        ["--long", "x"],
      ],
      40,
    ),
  ).toBe(["  --a     one two three four five six", "  --long  x"].join("\n"));
  expect(twoColumns([["--a", "one two three four five six seven eight"]], 34)).toBe(
    ["  --a  one two three four five six", "       seven eight"].join("\n"),
  );
});

test("what has its rows in other entries, or wasn't come to, has no line of rows", () => {
  const report = new RunReport({ job: "j", jobName: "n", runId: "jr_1", mode: "run" });
  Object.assign(report.table("all"), { target: "out", changes: true });
  Object.assign(report.table("one"), { way: "everything", read: 2, inserted: 2 });
  Object.assign(report.table("same"), { way: "what changed" });
  report.table("late").status = "FAILED";
  report.finish("FAILED");
  const text = reportText(report.toJSON(), styleFor(terminal(false).io.stdout, {}), 100);
  const blocks = Object.fromEntries(
    text
      .trimEnd()
      .split("\n\n")
      .map((block) => [block.split(" ")[0], block]),
  );
  expect(blocks.all).toBe("all → out  failed");
  expect(blocks.late).toBe("late  failed");
  expect(blocks.one).toMatch(/rows, not applied +2 read, 2 inserted, 0 updated, 0 deleted$/);
  expect(blocks.same).toMatch(/rows, not applied +0 inserted, 0 updated, 0 deleted$/);
});

test("the report of a failed run says what was not applied, and every problem", async () => {
  const report = new RunReport({ job: "j", jobName: "n", runId: "jr_1", mode: "run" });
  const table = report.table("a.b");
  Object.assign(table, { read: 12_000, inserted: 3, stateBefore: { snapshotId: 1n, day: "x" } });
  Object.assign(table, { stateAfter: { snapshotId: 2n, day: "x" } });
  table.ddl.push("ALTER TABLE b ADD COLUMN c text");
  Object.assign(table.details, { primaryKey: { columns: ["id", "day"], from: "configuration" }, note: null });
  report.finish("FAILED", { code: "X", message: "broke", problems: ["first\nsecond line"], hint: "mend it" });
  const { io, text: said } = terminal(false);
  const text = reportText(report.toJSON(), styleFor(io.stdout, {}), 100);
  expect(text).toContain("a.b  failed\n");
  expect(text).toMatch(/rows, not applied +12,000 read, 3 inserted, 0 updated, 0 deleted\n/);
  expect(text).toMatch(/state, not moved +snapshotId 1 → 2, day x\n/);
  expect(text).toMatch(/primary key +columns id, day, from configuration\n/);
  expect(text).toMatch(/DDL +ALTER TABLE b ADD COLUMN c text\n/);
  // Why is said on stderr, and only there.
  expect(text).not.toContain("broke");
  if (report.error !== undefined) await writeError(report.error, io, false);
  expect(said()).toBe("X: broke\n  - first\n    second line\nWhat to do: mend it\n");
});
