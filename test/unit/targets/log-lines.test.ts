import { appendFileSync, closeSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { followLog } from "../../../lib/targets/local/follow-log.js";
import { lastLines, openLog, reasonsIn } from "../../../lib/targets/local/log-lines.js";
import { temporaryFolder } from "./temporary-folder.js";

test("the last lines, without colours and empty ones; none of a missing file", () => {
  const path = join(temporaryFolder(), "a.log");
  expect(lastLines(path, 3)).toEqual([]);
  writeFileSync(path, `${"x".repeat(70_000)}\none\n\n\u001b[1;31mtwo\u001b[m\nthree\n`);
  expect(lastLines(path, 2)).toEqual(["two", "three"]);
});

test("the reasons are the errors, without the stack; else the last lines", () => {
  const log = [
    "INFO hello",
    "java.net.BindException: in use",
    "\tat a.b.C",
    "\t... 12 more",
    "Caused by: an Error",
    "WARN bye",
  ];
  expect(reasonsIn(log)).toEqual(["java.net.BindException: in use", "Caused by: an Error"]);
  expect(reasonsIn(["a", "b", "c"], 2)).toEqual(["b", "c"]);
});

test("a new start begins a new log and keeps the one before", () => {
  const path = join(temporaryFolder(), "a.log");
  writeFileSync(path, "before");
  closeSync(openLog(path));
  expect(readFileSync(path, "utf8")).toBe("");
  expect(readFileSync(`${path}.1`, "utf8")).toBe("before");
});

test("following goes on across a character that came in two parts, and across a restart", async () => {
  const path = join(temporaryFolder(), "a.log");
  writeFileSync(path, "old\n");
  const controller = new AbortController();
  const lines = followLog(path, controller.signal);
  const umlaut = Buffer.from("ü\n");
  const first = lines.next();
  appendFileSync(path, umlaut.subarray(0, 1));
  setTimeout(() => appendFileSync(path, umlaut.subarray(1)), 300);
  expect((await first).value).toBe("ü");
  renameSync(path, `${path}.1`);
  writeFileSync(path, "anew\n");
  expect((await lines.next()).value).toBe("anew");
  controller.abort();
  expect((await lines.next()).done).toBe(true);
});
