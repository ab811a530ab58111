import { once } from "node:events";
import { readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { buildCli, type CliProgram, textOf } from "./cli-process.js";

const glue = path.resolve(import.meta.dirname, "../../../lib/glue/index.js");

/** A job that does as it is told; `wait` goes on until it is interrupted, `stubborn` also then. */
const JOB = `
import { arg, defineJob, UserError } from ${JSON.stringify(glue)};

interface Counts { readonly inserted: number }

export default defineJob({
  name: "obedient",
  summary: "Does as it is told",
  args: {
    act: arg.choice(["load", "nothing", "fail", "defect", "wait", "stubborn"], { description: "What to do", default: "load" }),
    rows: arg.integer({ description: "How many rows to load", default: 3 }),
  },
  async run({ args, report, step, signal, log, mode }) {
    const table = report.table("sales.orders");
    table.target = "public.orders";
    if (args.act === "nothing") return;
    await step("find", async () => log.info("looking", { mode }));
    if (args.act === "fail") throw new UserError("TARGET_GONE", "The target is gone", { problems: ["a", "b"], hint: "Look for it", exitCode: 69 });
    if (args.act === "defect") throw new TypeError("nobody thought of this");
    if (args.act === "stubborn") setInterval(() => {}, 1_000);
    if (args.act === "wait" || args.act === "stubborn") {
      await step("wait", () => new Promise((_, reject) => {
        process.stdout.write("waiting\\n");
        signal.addEventListener("abort", async () => {
          if (args.act === "stubborn") return process.stdout.write("heard it\\n");
          setTimeout(() => { process.stdout.write("cleaned up\\n"); reject(signal.reason); }, 50);
        });
        setInterval(() => {}, 1_000);
      }));
    }
    const counts: Counts = { inserted: args.rows };
    Object.assign(table, counts, { way: "compared the two snapshots", stateBefore: null, stateAfter: { snapshotId: 42n } });
    report.warn("GUESSED", "the key was guessed");
  },
});
`;

// Each test starts processes, which takes its time on a machine that is busy.
vi.setConfig({ testTimeout: 60_000 });

let cli: CliProgram;
let job: string;
beforeAll(async () => {
  cli = await buildCli();
  job = path.join(cli.folder, "obedient.ts");
  await writeFile(job, JOB);
}, 60_000);
afterAll(() => cli.remove());

const NAME = ["--JOB_NAME", "nightly"];

describe("glue-connect run", () => {
  test("loads a TypeScript job, mixes its arguments with ours, and reports on stdout alone", async () => {
    const file = path.join(cli.folder, "reports", "last.json");
    const argv = ["run", job, "--report-file", file, ...NAME, "--rows=1234", "--no-color", "--act", "load"];
    const { exitCode, stdout, stderr } = await cli.run(argv);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^obedient \(nightly\) {2}SUCCEEDED in \d+\.\d s\nrun jr_[0-9a-f]{32}, started 20/);
    expect(stdout).toContain("sales.orders → public.orders  loaded\n");
    expect(stdout).toContain("changes  compared the two snapshots");
    expect(stdout).toContain("rows     1,234 inserted, 0 updated, 0 deleted");
    expect(stdout).toContain("state    snapshotId none → 42");
    expect(stdout).toMatch(/Steps\n {2}find {3}\d\.\d s/);
    expect(stdout).toContain("- GUESSED: the key was guessed");
    const lines = stderr.trimEnd().split("\n");
    const at = (rest: string) => expect.stringMatching(new RegExp(`^20\\d\\d-\\d\\d-\\d\\dT[\\d:.]{12}Z ${rest}$`));
    expect(lines).toEqual([
      at("INFO looking mode=run"),
      at("INFO find \\(\\d\\.\\d s\\)"),
      at("WARN GUESSED: the key was guessed"),
    ]);
    expect(JSON.parse(await readFile(file, "utf8"))).toMatchObject({ tables: { "sales.orders": { inserted: 1234 } } });
    // The bundle that the job was imported from is gone.
    expect((await readdir(cli.folder)).filter((name) => name.startsWith("."))).toEqual([]);
  });

  test("--json prints one document, also of a run that failed", async () => {
    const done = await cli.run(["run", job, "--json", ...NAME]);
    expect(done.exitCode).toBe(0);
    expect(JSON.parse(done.stdout)).toMatchObject({ job: "obedient", jobName: "nightly", state: "SUCCEEDED" });

    const failed = await cli.run(["run", job, ...NAME, "--act", "fail", "--json"]);
    expect(failed.exitCode).toBe(69);
    expect(JSON.parse(failed.stdout)).toMatchObject({
      state: "FAILED",
      error: { code: "TARGET_GONE", problems: ["a", "b"], hint: "Look for it" },
      tables: { "sales.orders": { status: "FAILED" } },
    });
    expect(failed.stderr).toContain("TARGET_GONE: The target is gone\n  - a\n  - b\nWhat to do: Look for it\n");
  });

  test("what the job throws is said once, with its place in the TypeScript; its stack comes with --debug", async () => {
    const short = await cli.run(["run", job, ...NAME, "--act", "defect"]);
    expect(short.exitCode).toBe(1);
    expect(short.stderr).toMatch(
      /JOB_THREW: nobody thought of this \(thrown by the job: obedient\.ts, line 19, column \d+\)/,
    );
    expect(`${short.stdout}${short.stderr}`.split("nobody thought of this")).toHaveLength(2);
    expect(short.stdout).toMatch(/FAILED in/);
    expect(short.stderr).not.toContain("    at ");
    const long = await cli.run(["run", job, ...NAME, "--act", "defect", "--debug"]);
    expect(long.stderr).toMatch(/at .*obedient\.ts:\d+/);
  });

  test("wrong arguments: everything wrong in one message, exit code 64, nothing on stdout", async () => {
    const { exitCode, stdout, stderr } = await cli.run(["run", job, "--act", "laod", "--row", "3"]);
    expect([exitCode, stdout]).toEqual([64, ""]);
    expect(stderr).toBe(
      [
        "ARGUMENTS_INVALID: 3 arguments are wrong",
        "  - --row is not an argument of this job; did you mean --rows?",
        "  - --JOB_NAME is missing: the name you know this job by",
        '  - --act must be one of load, nothing, fail, defect, wait, stubborn; it is "laod" (did you mean load?)',
        "What to do: --help lists every argument",
        "",
      ].join("\n"),
    );
  });

  test("JOB --help shows every argument of the job, and ours", async () => {
    const { exitCode, stdout } = await cli.run(["run", job, "--help"]);
    expect(exitCode).toBe(0);
    expect(stdout).toContain("Does as it is told");
    expect(stdout).toMatch(/--JOB_NAME <name> +the name you know this job by \(required\)/);
    expect(stdout).toMatch(/--rows <number> +How many rows to load \(default: 3\)/);
    expect(stdout).toContain("--remote <sc://...>");
    const builtIn = await cli.run(["run", "iceberg-to-aurora", "--help"]);
    for (const name of ["JOB_NAME", "metadata_table_name", "source_system_id", "metadata_type"]) {
      expect(builtIn.stdout).toContain(`--${name} <`);
    }
  });
});

describe("glue-connect plan", () => {
  test("ends with 2 when there is work and 0 when there is none", async () => {
    const work = await cli.run(["plan", job, ...NAME]);
    expect(work.exitCode).toBe(2);
    expect(work.stdout).toContain("PLAN: there is work to do");
    expect(work.stdout).toContain("3 to insert, 0 to update, 0 to delete");
    const none = await cli.run(["plan", job, ...NAME, "--act", "nothing"]);
    expect(none.exitCode).toBe(0);
    expect(none.stdout).toContain("PLAN: nothing to do");
  });
});

describe("interrupting", () => {
  test.each(["SIGINT", "SIGTERM"] as const)("%s lets the run clean up, then ends with 130", async (signal) => {
    const child = cli.start(["run", job, ...NAME, "--act", "wait", "--json"]);
    const output = textOf(child.stdout);
    const errors = textOf(child.stderr);
    child.stdout?.once("data", () => child.kill(signal));
    await once(child, "close");
    expect(child.exitCode).toBe(130);
    const [waiting, cleaned, ...json] = (await output).split("\n");
    expect([waiting, cleaned]).toEqual(["waiting", "cleaned up"]);
    expect(JSON.parse(json.join("\n"))).toMatchObject({ state: "STOPPED", error: { code: "INTERRUPTED" } });
    expect(await errors).toContain("interrupted: stopping the query and rolling back");
  });

  test("the second signal ends the process at once", async () => {
    const child = cli.start(["run", job, ...NAME, "--act", "stubborn"]);
    const output = textOf(child.stdout);
    child.stdout?.on("data", () => child.kill("SIGINT"));
    await once(child, "close");
    expect(child.exitCode).toBe(130);
    expect(await output).toBe("waiting\nheard it\n");
  });

  test("a reader that goes away doesn't stop the run", async () => {
    const file = path.join(cli.folder, "unread.json");
    const child = cli.start(["run", job, ...NAME, "--report-file", file]);
    child.stdout?.destroy();
    child.stderr?.destroy();
    await once(child, "exit");
    expect(child.exitCode).toBe(0);
    expect(JSON.parse(await readFile(file, "utf8"))).toMatchObject({ state: "SUCCEEDED" });
  });
});

describe("command lines", () => {
  test("with AWS, stderr has nothing but what concerns the run", async () => {
    for (const name of ["AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED", "AWS_REGION", "AWS_DEFAULT_REGION"]) {
      vi.stubEnv(name, undefined);
    }
    const env = { AWS_CONFIG_FILE: "/dev/null", AWS_SHARED_CREDENTIALS_FILE: "/dev/null", AWS_ACCESS_KEY_ID: "a" };
    const { exitCode, stderr } = await cli.run(["session", "list", "--target", "glue"], { env });
    vi.unstubAllEnvs();
    expect(exitCode).toBe(66);
    expect(stderr).toMatch(/^AWS_REGION_MISSING: .*\nWhat to do: .*\n$/);
  });

  test("--version, --help, and jobs", async () => {
    const { version } = JSON.parse(await readFile(path.resolve(import.meta.dirname, "../../../package.json"), "utf8"));
    expect(await cli.run(["--version"])).toMatchObject({ exitCode: 0, stdout: `${version}\n` });
    const help = await cli.run(["--help"]);
    expect(help.exitCode).toBe(0);
    for (const command of ["run", "plan", "jobs", "local"])
      expect(help.stdout).toMatch(new RegExp(`^ {2}${command} `, "m"));
    expect((await cli.run(["jobs"])).stdout).toMatch(/^iceberg-to-aurora {2,}\S/);
    const jobs = JSON.parse((await cli.run(["jobs", "--json"])).stdout);
    expect(jobs[0]).toMatchObject({ name: "iceberg-to-aurora", arguments: expect.any(Array) });
    expect((await cli.run(["run", "--help"])).stdout).toContain("Examples:");
  });

  test.each([
    [[], 64, "Usage: glue-connect"],
    [["rnu"], 64, "unknown command 'rnu'"],
    [["run"], 64, "JOB_MISSING"],
    [["run", "--JOB_NAME", "x", "iceberg-to-aurora"], 64, "JOB_MISSING"],
    [["run", "iceberg-to-arora", "--JOB_NAME", "x"], 64, "Did you mean iceberg-to-aurora?"],
    [["run", "./none.ts", "--JOB_NAME", "x"], 64, "JOB_NOT_FOUND"],
    [["run", "iceberg-to-aurora", "--remote"], 64, "argument missing"],
    [["run", "iceberg-to-aurora", "--spark", "2.4"], 64, "Allowed choices are 3.5, 4.1"],
    [["run", "iceberg-to-aurora", "--spark", "4.1", "--remote", "sc://a:1"], 64, "Leave one of them out"],
    [["jobs", "--frob"], 64, "unknown option '--frob'"],
  ])("%j", async (argv, exitCode, text) => {
    const outcome = await cli.run(argv);
    expect(outcome.stderr).toContain(text);
    expect([outcome.exitCode, outcome.stdout]).toEqual([exitCode, ""]);
  });

  test("with --json a wrong command line is JSON too", async () => {
    const { exitCode, stdout } = await cli.run(["run", "no-such-job", "--json"]);
    expect(exitCode).toBe(64);
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: "JOB_UNKNOWN" } });
  });

  test("a module that is no job, doesn't parse, or takes a name of ours", async () => {
    const write = async (name: string, text: string) => {
      const file = path.join(cli.folder, name);
      await writeFile(file, text);
      return cli.run(["run", file, ...NAME]);
    };
    expect(await write("none.mjs", "export default 42;")).toMatchObject({
      exitCode: 64,
      stderr: expect.stringContaining("has no job as its default export"),
    });
    expect(await write("broken.ts", "const x: = 1;")).toMatchObject({
      exitCode: 66,
      stderr: expect.stringMatching(/broken\.ts can't be loaded: .*line 1/),
    });
    expect(await write("throws.mjs", 'throw new Error("not today");')).toMatchObject({
      exitCode: 66,
      stderr: expect.stringContaining("not today"),
    });
    expect(await write("taken.ts", JOB.replace("rows: arg", "json: arg"))).toMatchObject({
      exitCode: 64,
      stderr: expect.stringContaining("--json"),
    });
  });
});
