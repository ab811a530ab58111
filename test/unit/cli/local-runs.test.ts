import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createLocalRuns } from "../../../lib/cli/schedule/local-runs.js";
import { beginChain } from "../../../lib/glue/schedule/chain.js";
import type { RunInChain } from "../../../lib/glue/schedule/starter.js";
import { silentLogger } from "../../../lib/logger.js";
import { identifyProcess } from "../../../lib/targets/local/process-identity.js";
import { definitionsOf } from "../glue/schedule/world.js";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "local-runs-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function aRun(day?: string): RunInChain {
  const definitions = definitionsOf({
    jobs: { a: { job: "x" } },
    triggers: { t: { type: "ON_DEMAND", actions: [{ job: "a" }] } },
  });
  const trigger = definitions.triggers.t;
  if (trigger === undefined) throw new Error("no trigger");
  const now = day === undefined ? new Date() : new Date(day);
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
    state: async () => "n",
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

test("what is kept of runs that are over is deleted with their history; what is at work stays, and what is over isn't started again", async () => {
  const own = path.join(folder, "forgotten");
  const local = createLocalRuns({
    command: [process.execPath, "-e", "require('fs').writeFileSync('started', '')"],
    options: [],
    folder: own,
    state: async () => "n",
    cwd: folder,
    env: process.env,
    log: silentLogger,
  });
  await local.forget?.(new Date());
  const [over, atWork, later] = [aRun("2026-01-05"), aRun("2026-01-06"), aRun("2026-01-09")];
  for (const { run } of [over, atWork, later]) {
    await mkdir(path.join(own, run.id), { recursive: true });
    await writeFile(path.join(own, run.id, "output.log"), "it said");
    await writeFile(path.join(own, run.id, "state"), "n");
    const owner = run === atWork.run ? identifyProcess(process.pid) : { pid: process.pid, began: "long ago" };
    await writeFile(path.join(own, run.id, "process.json"), JSON.stringify(owner));
  }
  await mkdir(path.join(own, "something-else"));
  await local.forget?.(new Date("2026-01-09T00:00:00Z"));
  expect((await readdir(own)).sort()).toEqual([atWork.run.id, later.run.id, "something-else"].sort());

  const stale: RunInChain = { ...over, isCurrent: async () => false };
  await expect(local.start(stale)).rejects.toMatchObject({ code: "RUN_OVERTAKEN", exitCode: 75 });
  const lost = { ...stale, run: { ...over.run, handle: "here", state: "RUNNING" as const } };
  await expect(local.observe(lost)).rejects.toMatchObject({ code: "RUN_OVERTAKEN" });
  expect(existsSync(path.join(folder, "started"))).toBe(false);
});

test("a run of another state, whose history is kept for longer, is found as it ended and isn't started again", async () => {
  const shared = path.join(folder, "shared");
  const runsOf = (state: string) =>
    createLocalRuns({
      // It begins, tells how it ended, and that it was there.
      command: [
        process.execPath,
        "-e",
        `const fs = require("fs");
         fs.appendFileSync("ran", "x");
         fs.writeFileSync(process.argv[process.argv.indexOf("--report-file") + 1], '{"state":"SUCCEEDED"}');
         fs.writeFileSync(process.env.GLUE_CONNECT_RUN_CLAIM, '{"pid":1,"began":"long ago"}');`,
        "--",
      ],
      options: [],
      folder: shared,
      state: async () => state,
      cwd: folder,
      env: process.env,
      log: silentLogger,
    });
  const one = aRun("2026-01-05");
  const running = { ...one, run: { ...one.run, handle: await runsOf("prod").start(one), state: "RUNNING" as const } };
  await runsOf("dev").forget?.(new Date("2026-01-09T00:00:00Z"));
  const later = runsOf("prod");
  expect(await later.observe(running)).toEqual({ state: "SUCCEEDED" });
  expect(await readFile(path.join(folder, "ran"), "utf8")).toBe("x");
  await later.forget?.(new Date("2026-01-09T00:00:00Z"));
  expect(await readdir(shared)).toEqual([]);
}, 60_000);
