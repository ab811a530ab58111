import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { runHere } from "../../support/cli-here.js";
import { buildCli, type CliProgram, type Outcome } from "./cli-process.js";

const glue = path.resolve(import.meta.dirname, "../../../lib/glue/index.js");

/** A job that writes down when it begins and ends, and goes on only when a file is there. */
const JOB = `
import { appendFileSync, existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { arg, defineJob, UserError } from ${JSON.stringify(glue)};
export default defineJob({
  name: "scribe",
  summary: "Writes down that it was there",
  args: {
    book: arg.string({ description: "Where to write" }),
    gate: arg.string({ description: "A file to wait for", optional: true }),
    verdict: arg.choice(["good", "bad"], { description: "How to end", default: "good" }),
    WORKFLOW_RUN_ID: arg.string({ description: "Its run", default: "none" }),
  },
  async run({ args, signal, jobName }) {
    const line = (word) => appendFileSync(args.book, args.WORKFLOW_RUN_ID + " " + jobName + " " + word + "\\n");
    line("begins");
    while (args.gate !== undefined && !existsSync(args.gate)) await sleep(20, undefined, { signal });
    if (args.verdict === "bad") throw new UserError("VERDICT", "It is bad");
    line("ends");
  },
});
`;

// Each test starts processes, which takes its time on a machine that is busy.
vi.setConfig({ testTimeout: 90_000 });

let cli: CliProgram;
beforeAll(async () => {
  cli = await buildCli();
}, 60_000);
afterAll(() => cli.remove());

interface Project {
  readonly folder: string;
  readonly book: string;
  readonly gate: string;
  run(...argv: readonly string[]): Promise<Outcome>;
  scheduler(): Promise<ChildProcess>;
  lines(): string[];
}

let projects = 0;
const schedulers = new Set<ChildProcess>();
afterAll(async () => {
  for (const scheduler of schedulers) await end(scheduler, "SIGKILL");
});

async function project(config: (book: string, gate: string) => unknown): Promise<Project> {
  const folder = path.join(cli.folder, `project-${++projects}`);
  await mkdir(folder);
  const [book, gate] = [path.join(folder, "book"), path.join(folder, "gate")];
  await writeFile(path.join(folder, "scribe.ts"), JOB);
  await writeFile(path.join(folder, "glue-connect.config.ts"), `export default ${JSON.stringify(config(book, gate))};`);
  return {
    folder,
    book,
    gate,
    run: (...argv) => cli.run(argv, { cwd: folder }),
    async scheduler() {
      const child = cli.start(["scheduler"], { cwd: folder });
      schedulers.add(child);
      let said = "";
      child.stderr?.on("data", (chunk) => {
        said += String(chunk);
      });
      await vi.waitFor(() => expect(said).toContain("scheduler of"), { timeout: 30_000 });
      return child;
    },
    lines() {
      try {
        return readFileSync(book, "utf8").trim().split("\n");
      } catch {
        return [];
      }
    },
  };
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  if (child.exitCode === null && child.signalCode === null) {
    child.kill(signal);
    await once(child, "close");
  }
  schedulers.delete(child);
  return child.exitCode;
}

const scribe = (book: string, more: object = {}) => ({ job: "./scribe.ts", arguments: { book, ...more } });
const graph = (book: string, gate: string) => ({
  jobs: { load: scribe(book, { gate }), report: scribe(book) },
  workflows: { nightly: { defaultRunProperties: { day: "monday" } } },
  triggers: {
    start: { type: "ON_DEMAND", actions: [{ job: "load" }], workflow: "nightly" },
    next: {
      type: "CONDITIONAL",
      predicate: { conditions: [{ job: "load", state: "SUCCEEDED" }] },
      actions: [{ job: "report" }],
      workflow: "nightly",
      startOnCreation: true,
    },
  },
});

describe("trigger", () => {
  const config = (book: string) => ({
    jobs: { load: scribe(book), report: scribe(book) },
    triggers: {
      nightly: { type: "SCHEDULED", schedule: "cron(0 3 * * ? *)", actions: [{ job: "load" }] },
      weekly: { type: "SCHEDULED", schedule: "cron(0 3 ? * SUN *)", actions: [{ job: "report" }] },
      next: {
        type: "CONDITIONAL",
        predicate: { conditions: [{ job: "load", state: "SUCCEEDED" }] },
        actions: [{ job: "report" }],
      },
    },
  });

  test("list, start and stop", async () => {
    const { run } = await project(config);
    const first = await run("trigger", "list");
    expect(first.stdout).toBe(
      "nightly  SCHEDULED    CREATED  cron(0 3 * * ? *)       starts load\n" +
        "weekly   SCHEDULED    CREATED  cron(0 3 ? * SUN *)     starts report\n" +
        "next     CONDITIONAL  CREATED  when load is SUCCEEDED  starts report\n",
    );
    expect(await run("trigger", "start", "nightly")).toMatchObject({ exitCode: 0, stdout: "nightly is ACTIVATED\n" });
    const listed = JSON.parse((await run("trigger", "list", "--json")).stdout) as { state: string; next?: string }[];
    expect(listed[0]).toMatchObject({ state: "ACTIVATED", next: expect.stringMatching(/T03:00:00.000Z$/) });
    expect(await run("trigger", "stop", "nightly")).toMatchObject({ stdout: "nightly is DEACTIVATED\n" });
    const wrong = await run("trigger", "start", "nigthly");
    expect(wrong).toMatchObject({ exitCode: 64 });
    expect(wrong.stderr).toContain("Did you mean nightly?");
  });

  test("next", async () => {
    const { run } = await project(config);
    const { stdout } = await run("trigger", "next", "--count", "4", "--after", "2026-11-20T12:00Z");
    expect(stdout).toBe(
      "2026-11-21T03:00:00Z  nightly  load\n" +
        "2026-11-22T03:00:00Z  nightly  load\n" +
        "2026-11-22T03:00:00Z  weekly   report\n" +
        "2026-11-23T03:00:00Z  nightly  load\n",
    );
    const only = await run("trigger", "next", "weekly", "--count", "1", "--after", "2026-11-20", "--json");
    expect(JSON.parse(only.stdout)).toEqual([{ at: "2026-11-22T03:00:00.000Z", trigger: "weekly" }]);
    expect(await run("trigger", "next", "--count", "none")).toMatchObject({ exitCode: 64 });
    expect((await run("trigger", "next", "--after", "soon")).stderr).toContain('--after "soon" is no time');
  });

  test("test plays the graph, and runs nothing", async () => {
    const { run, lines } = await project((book) => {
      const { triggers, ...more } = config(book);
      return { ...more, triggers: { ...triggers, weekly: { ...triggers.weekly, startOnCreation: true } } };
    });
    const from = ["--from", "2026-11-21T00:00Z"];
    const { stdout, stderr, exitCode } = await run(
      "trigger",
      "test",
      ...from,
      "--result",
      "load=FAILED,SUCCEEDED:90",
      "--hours",
      "48",
    );
    expect(exitCode).toBe(0);
    expect(stderr).toBe(
      "nightly, next are made CREATED, and fire only once started: by `glue-connect trigger start`, or with startOnCreation: true\n",
    );
    expect(stdout).toBe(
      `2026-11-21T03:00:00Z  nightly fires, once it is started
2026-11-21T03:00:00Z    load is RUNNING
2026-11-21T04:30:00Z    load is FAILED
2026-11-22T03:00:00Z  nightly fires, once it is started
2026-11-22T03:00:00Z    load is RUNNING
2026-11-22T03:00:00Z  weekly fires
2026-11-22T03:00:00Z    report is RUNNING
2026-11-22T03:05:00Z    report is SUCCEEDED
2026-11-22T04:30:00Z    load is SUCCEEDED
2026-11-22T04:30:00Z  next fires, once it is started
2026-11-22T04:30:00Z    report is RUNNING
2026-11-22T04:35:00Z    report is SUCCEEDED
`,
    );
    const once = await run("trigger", "test", "nightly", ...from, "--json");
    const events = once.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { at: string; state: string; needsStart?: true });
    // It was asked for; what follows it was not.
    expect(events.map(({ needsStart = false }) => needsStart)).toEqual([false, false, false, true, false, false]);
    expect(events.map(({ at, state }) => `${at.slice(11, 16)} ${state}`)).toEqual([
      "00:00 FIRED",
      "00:00 RUNNING",
      "00:05 SUCCEEDED",
      "00:05 FIRED",
      "00:05 RUNNING",
      "00:10 SUCCEEDED",
    ]);
    expect((await run("trigger", "test", "next")).stderr).toContain("Trigger next is CONDITIONAL: name the SCHEDULED");
    expect((await run("trigger", "test", "--result", "laod=FAILED")).stderr).toContain("did you mean load?");
    expect((await run("trigger", "test", "--result", "load=BROKEN")).stderr).toContain(
      "is not of the form job=STATE:minutes",
    );
    expect(lines()).toEqual([]);
  });

  test("jobs that could not run are all named before anything fires", async () => {
    const { run } = await project((book) => ({
      jobs: { load: scribe(book, { verdict: "ugly" }), gone: { job: "./gone.ts" }, typo: { job: "athena-cdk" } },
      triggers: { now: { type: "ON_DEMAND", actions: [{ job: "load", arguments: { boook: "x" } }, { job: "gone" }] } },
    }));
    const { exitCode, stderr } = await run("scheduler");
    expect(exitCode).toBe(66);
    expect(stderr).toContain("TRIGGERS_INVALID");
    expect(stderr).toContain('triggers.now starts jobs.load: --verdict must be one of good, bad; it is "ugly"');
    expect(stderr).toContain(
      "triggers.now starts jobs.load: --boook is not an argument of this job; did you mean --book?",
    );
    expect(stderr).toContain("jobs.gone: There is no file");
    expect(stderr).toContain('jobs.typo: There is no job "athena-cdk". Did you mean athena-cdc?');
  });

  test("all that is wrong with a configuration is said at once: settings, names, what jobs take, and flags", async () => {
    const { folder } = await project((book) => ({
      regoin: "eu-central-1",
      jobs: { load: scribe(book, { verdict: "ugly" }), slow: { ...scribe(book), maxRetries: 99 } },
      workflows: { nightly: {} },
      triggers: {
        now: { type: "ON_DEMAND", actions: [{ job: "load" }], workflow: "nightly", schedule: "0 2 * * *" },
        daily: { type: "SCHEDULED", schedule: "0 2 * * *", actions: [{ job: "laod" }] },
        next: {
          type: "CONDITIONAL",
          predicate: {
            conditions: [
              { job: "load", state: "GOOD" },
              { job: "slwo", state: "FAILED" },
            ],
          },
          actions: [{ job: "load", arguments: { boook: "x" } }],
        },
        later: {
          type: "CONDITIONAL",
          predicate: { conditions: [{ job: "load", state: "FAILED" }] },
          actions: [{ job: "load" }],
        },
      },
    }));
    const flags = ["--config-file", path.join(folder, "glue-connect.config.ts"), "--set", "glue.workers=none"];
    const { exitCode, stderr } = await runHere("scheduler", ...flags);
    expect(exitCode).toBe(66);
    const problems = stderr
      .split("\n")
      .filter((line) => line.startsWith("  - "))
      .map((line) => line.slice(4).replace(/ \(\S*glue-connect\.config\.ts(, line \d+)?\)$/, ""));
    const states = "SUCCEEDED, STOPPED, FAILED, TIMEOUT";
    expect(problems.sort()).toEqual(
      [
        "glue.workers is not a whole number (--set glue.workers)",
        "jobs.slow.maxRetries is more than 10",
        "regoin is no setting; did you mean region?",
        'triggers.daily.actions.0.job is "laod", and `jobs` has none of that name; did you mean load?',
        `triggers.daily.schedule "0 2 * * *" can't be used: Glue's cron has six fields, within cron(...); write cron(0 2 * * ? *)`,
        'triggers.later starts jobs.load: --verdict must be one of good, bad; it is "ugly"',
        "triggers.now.schedule is only for SCHEDULED triggers",
        `triggers.next.predicate.conditions.0.state is none of ${states}`,
        'triggers.next.predicate.conditions.1.job is "slwo", and `jobs` has none of that name; did you mean slow?',
        "triggers.next.predicate.logical is missing: with several conditions, AND or ANY",
      ].sort(),
    );
  });

  test("without triggers there is nothing to schedule", async () => {
    const { run } = await project(() => ({}));
    expect(await run("scheduler")).toMatchObject({ exitCode: 66, stderr: expect.stringContaining("NO_TRIGGERS") });
    expect(await run("trigger", "list")).toMatchObject({ exitCode: 0, stdout: "no triggers\n" });
  });
});

describe("workflow", () => {
  test("run, status, resume, runs, status and logs of a run", async () => {
    const { run, scheduler, gate, lines } = await project((book, gate) => {
      const { jobs, ...rest } = graph(book, gate);
      return { ...rest, jobs: { ...jobs, load: scribe(book, { verdict: "{{run.verdict}}" }) } };
    });
    await writeFile(gate, "");
    const child = await scheduler();
    const failed = await run("workflow", "run", "nightly", "--property", "verdict=bad", "--wait", "--json");
    expect(failed.exitCode).toBe(1);
    const [id = ""] = failed.stdout.split("\n");
    expect(JSON.parse(failed.stdout.slice(id.length))).toMatchObject({
      id,
      state: "COMPLETED",
      properties: { day: "monday", verdict: "bad" },
      statistics: { TotalActions: 1, FailedActions: 1 },
    });
    const status = await run("workflow", "status", id);
    expect(status).toMatchObject({ exitCode: 1, stdout: expect.stringContaining("1 total, 1 failed") });
    expect(status.stdout).toContain("VERDICT: It is bad");

    await run("workflow", "set", id, "--property", "verdict=good");
    const resumed = await run("workflow", "resume", id, "--wait");
    expect(resumed.exitCode).toBe(0);
    expect(lines().map((line) => line.replace(/^\S+ /, ""))).toEqual([
      "load begins",
      "load begins",
      "load ends",
      "report begins",
      "report ends",
    ]);
    const all = await run("workflow", "status");
    expect(all.stdout.trim().split("\n")).toHaveLength(2);
    expect(all.stderr).toBe("");
    const newest = await run("workflow", "status", "--limit", "1");
    expect(newest).toMatchObject({ stderr: "these are the newest 1; --limit shows more\n" });
    expect(newest.stdout.trim().split("\n")).toHaveLength(1);
    const two = await run("runs", "--limit", "2");
    expect(two).toMatchObject({ stderr: "these are the newest 2; --limit shows more\n" });
    expect(two.stdout.trim().split("\n")).toHaveLength(2);
    expect(await run("runs", "--limit", "2.5")).toMatchObject({
      exitCode: 64,
      stderr: expect.stringContaining("--limit"),
    });

    const listed = JSON.parse((await run("runs", "--json")).stdout) as { id: string; job: string; state: string }[];
    expect(listed.map(({ job, state }) => `${job} ${state}`)).toEqual([
      "report SUCCEEDED",
      "load SUCCEEDED",
      "load FAILED",
    ]);
    const one = await run("status", listed[2]?.id ?? "");
    expect(one).toMatchObject({ exitCode: 1, stdout: expect.stringContaining("FAILED: VERDICT: It is bad") });
    expect((await run("logs", listed[2]?.id ?? "")).stdout).toContain("VERDICT: It is bad");
    expect(await end(child, "SIGTERM")).toBe(0);
  });

  test("a run that is cancelled has STOPPED", async () => {
    const { run, scheduler, lines } = await project(graph);
    const child = await scheduler();
    await run("workflow", "run", "nightly");
    await vi.waitFor(() => expect(lines()).toHaveLength(1), { timeout: 30_000 });
    const [first] = JSON.parse((await run("runs", "--json")).stdout) as { id: string }[];
    expect((await run("cancel", first?.id ?? "", "--wait")).stderr).toContain("is STOPPED");
    expect(lines()).toHaveLength(1);
    await end(child, "SIGTERM");
  });
});

describe("scheduler", () => {
  test("SIGTERM stops it at once, its runs go on, and the next one takes them up", async () => {
    const { run, scheduler, gate, lines } = await project(graph);
    const first = await scheduler();
    const { stdout } = await run("workflow", "run", "nightly");
    await vi.waitFor(() => expect(lines()).toHaveLength(1), { timeout: 30_000 });
    expect(await end(first, "SIGTERM")).toBe(0);
    await writeFile(gate, "");
    const second = await scheduler();
    await vi.waitFor(() => expect(lines()).toHaveLength(4), { timeout: 30_000 });
    const id = stdout.trim();
    await vi.waitFor(async () => expect((await run("workflow", "status", id)).stdout).toContain("COMPLETED"), {
      timeout: 30_000,
    });
    expect(lines()).toEqual(
      ["load begins", "load ends", "report begins", "report ends"].map((line) => `${id} ${line}`),
    );
    await end(second, "SIGTERM");
  });

  test("killed again and again: every run takes place once", async () => {
    const { run, gate, folder, lines } = await project((book, gate) => {
      const { jobs, ...rest } = graph(book, gate);
      return {
        ...rest,
        jobs: { load: { ...jobs.load, maxConcurrentRuns: 10 }, report: { ...jobs.report, maxConcurrentRuns: 10 } },
      };
    });
    const ids: string[] = [];
    for (let count = 0; count < 2; count++) ids.push((await run("workflow", "run", "nightly")).stdout.trim());
    await writeFile(gate, "");
    let kills = 0;
    const done = async () => {
      const { stdout } = await run("workflow", "status", "--json");
      return (JSON.parse(stdout) as { ended?: string }[]).every(({ ended }) => ended !== undefined);
    };
    for (let life = 900; ; life += 500) {
      const child = cli.start(["scheduler"], { cwd: folder });
      schedulers.add(child);
      // Long enough to begin with something, at another step each time.
      await sleep(life);
      await end(child, "SIGKILL");
      kills += 1;
      if (await done()) break;
    }
    expect(kills).toBeGreaterThan(1);
    const expected = ids.flatMap((id) =>
      ["load begins", "load ends", "report begins", "report ends"].map((line) => `${id} ${line}`),
    );
    expect(lines().sort()).toEqual(expected.sort());
    await expect(readFile(path.join(folder, ".glue-connect", ".gitignore"), "utf8")).resolves.toBe("*\n");
  });
});
