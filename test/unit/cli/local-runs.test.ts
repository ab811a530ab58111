import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createLocalRuns } from "../../../lib/cli/schedule/local-runs.js";
import { beginChain } from "../../../lib/glue/schedule/chain.js";
import type { RunInChain } from "../../../lib/glue/schedule/starter.js";
import { silentLogger } from "../../../lib/logger.js";
import { definitionsOf } from "../glue/schedule/world.js";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "local-runs-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function aRun(): RunInChain {
  const definitions = definitionsOf({
    jobs: { a: { job: "x" } },
    triggers: { t: { type: "ON_DEMAND", actions: [{ job: "a" }] } },
  });
  const trigger = definitions.triggers.t;
  if (trigger === undefined) throw new Error("no trigger");
  const now = new Date();
  const cause = { time: now.toISOString() };
  const chain = beginChain({ namespace: "n", name: "t", trigger, cause, definitions, now });
  const run = Object.values(chain.runs)[0];
  if (run === undefined) throw new Error("no run");
  return { run, chain };
}

/** Runs whose process writes its id to a file, and then never claims anything. */
const runs = (startTimeoutMs: number) =>
  createLocalRuns({
    command: [
      process.execPath,
      "-e",
      "require('fs').writeFileSync('pid', String(process.pid)); setInterval(() => {}, 1e6)",
    ],
    options: [],
    folder: path.join(folder, "runs"),
    cwd: folder,
    env: process.env,
    log: silentLogger,
    startTimeoutMs,
  });

test("of a run on another machine nothing is said, and nothing is started", async () => {
  const local = runs(100);
  const { run, chain } = aRun();
  const foreign = {
    run: { ...run, place: "other-12345678", handle: `other-12345678:${run.id}`, state: "RUNNING" as const },
    chain,
  };
  expect(await local.observe(foreign)).toEqual({ state: "RUNNING" });
  await expect(local.cancel(foreign)).rejects.toMatchObject({ code: "RUN_ELSEWHERE", exitCode: 69 });
  await expect(local.start(foreign)).rejects.toMatchObject({ code: "RUN_ELSEWHERE", exitCode: 69 });
  const longAgo = { ...foreign.run, started: new Date(Date.now() - (run.timeout + 61) * 60_000).toISOString() };
  expect(await local.observe({ run: longAgo, chain })).toMatchObject({ state: "TIMEOUT" });
  expect(existsSync(path.join(folder, "runs"))).toBe(false);
  expect(local.place?.(run)).not.toBe("other-12345678");
});

test("a process that doesn't begin in time is gone before the run counts as not started", async () => {
  await expect(runs(3_000).start(aRun())).rejects.toMatchObject({ code: "RUN_NOT_STARTED" });
  const pid = Number(await readFile(path.join(folder, "pid"), "utf8"));
  expect(() => process.kill(pid, 0)).toThrow(/ESRCH/);
}, 60_000);
