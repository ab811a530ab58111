import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, expectTypeOf, onTestFinished, test } from "vitest";
import { ExitCode, UserError } from "../../../lib/errors.js";
import { arg, defineJob, type Logger, runJob, type StepEvent, silentLogger } from "../../../lib/glue/index.js";
import { SparkConnectError } from "../../../lib/spark/errors.js";

const NAME = ["--JOB_NAME", "nightly"] as const;

describe("runJob", () => {
  test("gives the job its typed arguments and reports what it did", async () => {
    const job = defineJob({
      name: "copy-rows",
      summary: "Copies rows",
      args: {
        day: arg.string({ description: "The day" }),
        mode: arg.choice(["full", "incremental"], { description: "What to load", default: "incremental" }),
        limit: arg.integer({ description: "At most so many rows", optional: true }),
      },
      async run({ args, report, step, runId, jobName }) {
        expectTypeOf(args.day).toEqualTypeOf<string>();
        expectTypeOf(args.mode).toEqualTypeOf<"full" | "incremental">();
        expectTypeOf(args.limit).toEqualTypeOf<number | undefined>();
        expect(runId).toMatch(/^jr_[0-9a-f]{32}$/);
        expect(jobName).toBe("nightly");
        const table = report.table("sales.orders");
        table.stateBefore = { snapshot: 1n };
        table.inserted = await step("write", async () => (args.mode === "incremental" ? 3 : 0));
        table.stateAfter = { snapshot: 9_007_199_254_740_993n, at: new Date(0) };
      },
    });
    const { report, exitCode } = await runJob(job, [...NAME, "--day", "2026-01-31"]);
    expect(exitCode).toBe(ExitCode.ok);
    const json = JSON.parse(JSON.stringify(report));
    expect(json).toMatchObject({
      job: "copy-rows",
      jobName: "nightly",
      mode: "run",
      state: "SUCCEEDED",
      warnings: [],
      tables: {
        "sales.orders": {
          status: "SUCCEEDED",
          inserted: 3,
          updated: 0,
          stateBefore: { snapshot: "1" },
          stateAfter: { snapshot: "9007199254740993", at: "1970-01-01T00:00:00.000Z" },
        },
      },
    });
    expect(json.steps).toEqual([{ name: "write", seconds: expect.any(Number) }]);
    expect(Date.parse(json.finishedAt)).toBeGreaterThanOrEqual(Date.parse(json.startedAt));
  });

  test("logs a warning once, when it arises; what a job keeps of the log has it in any case", async () => {
    const said: string[] = [];
    const log: Logger = {
      ...silentLogger,
      warn: (message) => said.push(message),
      info: (message) => said.push(message),
    };
    let kept: readonly string[] = [];
    const job = defineJob({
      name: "warns",
      summary: "Warns",
      args: {},
      async run({ report, log, keepLog }) {
        const lines = keepLog();
        log.info("before");
        for (let count = 0; count < 2; count++) report.warn("ODD", "it is odd");
        log.info("after");
        kept = lines().map(({ level, message }) => `${level} ${message}`);
      },
    });
    await runJob(job, NAME, { log });
    expect(said).toEqual(["before", "ODD: it is odd", "after"]);
    expect(kept).toEqual(["info before", "warn ODD: it is odd", "info after"]);
    said.length = 0;
    const { report } = await runJob(job, NAME, { log, warnings: "report" });
    expect(said).toEqual(["before", "after"]);
    expect(kept).toEqual(["info before", "warn ODD: it is odd", "info after"]);
    expect(report.warnings).toEqual([{ code: "ODD", message: "it is odd" }]);
  });

  test("awaits the observer before and after each step, also of one that fails", async () => {
    const events: string[] = [];
    const onStep = async ({ name, phase, failed }: StepEvent) => {
      await Promise.resolve();
      events.push(`${phase} ${name}${failed ? " failed" : ""}`);
    };
    const job = defineJob({
      name: "steps",
      summary: "Has steps",
      args: {},
      async run({ step }) {
        await step("read", async () => void events.push("reading"));
        await step("write", async () => {
          throw new UserError("DISK_FULL", "The disk is full", { hint: "Make room" });
        });
      },
    });
    const { report, exitCode, error } = await runJob(job, NAME, { onStep });
    expect(events).toEqual(["start read", "reading", "end read", "start write", "end write failed"]);
    expect(exitCode).toBe(ExitCode.failed);
    expect(error).toBeInstanceOf(UserError);
    expect(report.state).toBe("FAILED");
    expect(report.error).toEqual({ code: "DISK_FULL", message: "The disk is full", problems: [], hint: "Make room" });
    expect(report.steps[1]).toMatchObject({ name: "write", failed: true });
  });

  test("plan ends with 2 when there is work and with 0 when there is none", async () => {
    const job = defineJob({
      name: "planner",
      summary: "Plans",
      args: {
        rows: arg.integer({ description: "Rows to insert" }),
        ddl: arg.boolean({ description: "DDL", default: false }),
      },
      async run({ args, report, mode }) {
        expect(mode).toBe("plan");
        const table = report.table("t");
        table.inserted = args.rows;
        if (args.ddl) table.ddl.push("ALTER TABLE t ADD COLUMN c text");
      },
    });
    const plan = (...argv: string[]) => runJob(job, [...NAME, ...argv], { mode: "plan" });
    expect((await plan("--rows", "2")).exitCode).toBe(ExitCode.changes);
    expect((await plan("--rows", "0", "--ddl")).exitCode).toBe(ExitCode.changes);
    const nothing = await plan("--rows", "0");
    expect(nothing.exitCode).toBe(ExitCode.ok);
    expect(nothing.report.table("t").status).toBe("PLANNED");
  });

  test("a table that failed alone makes the run fail and is named", async () => {
    const job = defineJob({
      name: "many",
      summary: "Many tables",
      args: {},
      async run({ report }) {
        report.table("good").inserted = 1;
        const bad = report.table("bad");
        bad.status = "FAILED";
        bad.error = { code: "X", message: "bad: no such columns", problems: ["a", "b"], hint: "Look at it" };
        for (const name of report.jobName === "alike" ? ["one", "two"] : []) {
          report.table(name).status = "FAILED";
          report.table(name).error = { code: "Z", message: "no such file", problems: ["line 1", "line 2"] };
        }
        if (report.jobName !== "both") return;
        const worse = report.table("worse");
        worse.status = "FAILED";
        worse.error = { code: "Y", message: "it is gone", problems: [], hint: "Restore it" };
      },
    });
    const { report, exitCode } = await runJob(job, NAME);
    expect(exitCode).toBe(ExitCode.failed);
    expect(report.state).toBe("FAILED");
    expect(report.error).toEqual({
      code: "TABLES_FAILED",
      message: "1 of 2 tables failed",
      problems: ["bad: no such columns", "bad: a", "bad: b"],
      hint: "Look at it",
    });
    const both = (await runJob(job, ["--JOB_NAME", "both"])).report.error;
    expect(both?.hint).toBeUndefined();
    expect(both?.problems.slice(-3)).toEqual([
      "bad: what to do: Look at it",
      "worse: it is gone",
      "worse: what to do: Restore it",
    ]);
    const alike = (await runJob(job, ["--JOB_NAME", "alike"])).report.error;
    expect(alike?.problems.slice(-3)).toEqual(["one, two: no such file", "one, two: line 1", "one, two: line 2"]);
    expect(report.table("good").status).toBe("SUCCEEDED");
  });

  test("an abort stops the run before its next step, with Glue's state and exit code 130", async () => {
    const controller = new AbortController();
    const reached: string[] = [];
    const job = defineJob({
      name: "long",
      summary: "Takes long",
      args: {},
      async run({ step, signal }) {
        await step("first", async () => {
          reached.push("first");
          controller.abort();
        });
        expect(signal.aborted).toBe(true);
        await step("second", async () => void reached.push("second"));
      },
    });
    const { report, exitCode } = await runJob(job, NAME, { signal: controller.signal });
    expect(reached).toEqual(["first"]);
    expect(exitCode).toBe(ExitCode.interrupted);
    expect(report.state).toBe("STOPPED");
  });

  test.each([undefined, new AbortController().signal])("many may listen to the run's signal: %o", async (signal) => {
    const warnings: string[] = [];
    const listen = ({ name }: Error) => warnings.push(name);
    process.on("warning", listen);
    onTestFinished(() => void process.removeListener("warning", listen));
    const job = defineJob({
      name: "listens",
      summary: "Listens",
      args: {},
      async run({ signal }) {
        for (let n = 0; n < 50; n++) signal.addEventListener("abort", () => n, { once: true });
        // Warnings come with the next tick.
        await new Promise(setImmediate);
      },
    });
    await runJob(job, NAME, signal === undefined ? {} : { signal });
    expect(warnings).toEqual([]);
  });

  test("a run that took longer than its signal allows is a TIMEOUT", async () => {
    const job = defineJob({
      name: "slow",
      summary: "Waits for the signal",
      args: {},
      run: ({ signal }) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
    });
    const { report, exitCode } = await runJob(job, NAME, { signal: AbortSignal.timeout(5) });
    expect(report.state).toBe("TIMEOUT");
    expect(exitCode).toBe(ExitCode.failed);
  });

  test("wrong arguments are a result with every problem, and the job isn't called", async () => {
    const job = defineJob({
      name: "strict",
      summary: "Strict",
      args: { day: arg.string({ description: "The day" }) },
      run: () => Promise.reject(new Error("must not be called")),
    });
    const { report, exitCode } = await runJob(job, ["--dya", "x"]);
    expect(exitCode).toBe(ExitCode.usage);
    expect(report.error?.code).toBe("ARGUMENTS_INVALID");
    expect(report.error?.problems).toHaveLength(3);
  });

  test.each([
    [
      "INTERNAL",
      "Job aborted due to stage failure: Task 0 in stage 5.0 failed 1 times, most recent failure: Lost task 0.0: org.apache.spark.SparkException: [TASK_WRITE_FAILED] Task failed while writing rows to file:/proc/x/_attempts/jr_1/t.\nCaused by: java.io.IOException: Mkdirs failed to create file:/proc/x/_attempts/jr_1/t/_temporary/0/task_1 (exists=false, cwd=file:/home)",
      "Spark can't write file:/proc/x",
      "Mkdirs failed to create file:/proc/x/_attempts/jr_1/t/_temporary/0/task_1 (exists=false, cwd=file:/home)",
    ],
    [
      "TASK_WRITE_FAILED",
      "[TASK_WRITE_FAILED] Task failed while writing rows to file:/out/t.\nCaused by: java.io.FileNotFoundException: /out/t/_temporary/0/part-0.parquet (Permission denied)",
      "Spark can't write /out/t",
      "FileNotFoundException: /out/t/_temporary/0/part-0.parquet (Permission denied)",
    ],
    [
      "INTERNAL",
      "java.nio.file.AccessDeniedException: s3a://lake/in/part-0.parquet: open s3a://lake/in/part-0.parquet at 0: Access Denied (Service: Amazon S3; Status Code: 403; Error Code: AccessDenied)",
      "Spark can't read or write s3a://lake/in/part-0.parquet",
      "AccessDeniedException: s3a://lake/in/part-0.parquet: open s3a://lake/in/part-0.parquet at 0: Access Denied (Service: Amazon S3; Status Code: 403; Error Code: AccessDenied)",
    ],
    [
      "TASK_WRITE_FAILED",
      "[TASK_WRITE_FAILED] Task failed while writing rows to s3://lake/out/_attempts/jr_1/t.\nCaused by: com.amazonaws.services.s3.model.AmazonS3Exception: Access Denied (Service: Amazon S3; Status Code: 403; Error Code: AccessDenied; Request ID: X)",
      "Spark can't write s3://lake/out",
      "AmazonS3Exception: Access Denied (Service: Amazon S3; Status Code: 403; Error Code: AccessDenied; Request ID: X)",
    ],
  ])("a place that Spark may not write or read is named (%s): %s", async (code, message, text, problem) => {
    const job = defineJob({
      name: "denied",
      summary: "Is denied",
      args: {},
      run: () => Promise.reject(new SparkConnectError(code, message, { condition: code })),
    });
    const { report, exitCode } = await runJob(job, NAME);
    expect(exitCode).toBe(ExitCode.configuration);
    expect(report.error).toMatchObject({
      code: "STORAGE_ACCESS_DENIED",
      message: text,
      problems: [problem],
      hint: expect.stringContaining("s3:PutObject"),
    });
  });

  test("an error of Spark keeps its condition and SQLSTATE", async () => {
    const job = defineJob({
      name: "spark-error",
      summary: "Fails in Spark",
      args: {},
      run: () =>
        Promise.reject(
          new SparkConnectError(
            "TABLE_OR_VIEW_NOT_FOUND",
            "[TABLE_OR_VIEW_NOT_FOUND] The table `a` cannot be found.\n'Plan [x]",
            {
              condition: "TABLE_OR_VIEW_NOT_FOUND",
              sqlState: "42P01",
            },
          ),
        ),
    });
    const { report, exitCode } = await runJob(job, NAME);
    expect(exitCode).toBe(ExitCode.configuration);
    expect(report.error).toMatchObject({ code: "SPARK_TABLE_OR_VIEW_NOT_FOUND" });
    expect(report.error?.message).toContain("42P01");
  });

  const broken = (run: Parameters<typeof defineJob>[0]["run"]) =>
    runJob(defineJob({ name: "broken", summary: "Has a defect", args: {}, run }), NAME);

  test("what the job's own code throws is the job's, with its place and its stack", async () => {
    const result = await broken(() => Promise.reject(new TypeError("x is undefined")));
    expect(result.report.error).toMatchObject({
      code: "JOB_THREW",
      message: expect.stringMatching(
        /^x is undefined \(thrown by the job: test\/unit\/glue\/run-job\.test\.ts, line \d+, column \d+\)$/,
      ),
    });
    expect(result.stack).toContain("run-job.test.ts");
    expect(result.exitCode).toBe(ExitCode.failed);
    // Node choked on what the job gave it.
    const parsed = await broken(async () => void JSON.parse("{"));
    expect(parsed.report.error).toMatchObject({
      code: "JOB_THREW",
      message: expect.stringContaining("run-job.test.ts"),
    });
  });

  test("anything else is called a defect, with the place of the job that led to it", async () => {
    const result = await broken(async ({ storage }) => void (await storage.put(undefined as never, "x")));
    expect(result.report.error).toMatchObject({
      code: "INTERNAL",
      message: expect.stringMatching(
        / \(this is a defect in the job or in glue-connect; the job was at .*run-job\.test\.ts, line/,
      ),
    });
    const thrown = await broken(() => Promise.reject("no error at all"));
    expect(thrown.report.error?.message).toBe("no error at all (this is a defect in the job or in glue-connect)");
    const ours = {
      ...defineJob({ name: "built-in", summary: "Comes with the package", args: {}, run: async () => {} }),
    };
    const root = path.resolve(import.meta.dirname, "../../..");
    const origin = { file: path.join(root, "jobs/x/job.ts"), ours: path.join(root, "lib/glue/define-job.ts") };
    const builtIn = await runJob({ ...ours, origin, run: () => Promise.reject(new Error("oh")) }, NAME);
    expect(builtIn.report.error?.message).toBe("oh (this is a defect in the job or in glue-connect)");
  });

  test("a job that asks for Spark without a server is told so", async () => {
    const job = defineJob({ name: "s", summary: "Spark", args: {}, run: async ({ spark }) => void (await spark()) });
    const { report, exitCode } = await runJob(job, NAME);
    expect(report.error?.code).toBe("SPARK_REMOTE_MISSING");
    expect(exitCode).toBe(ExitCode.configuration);
  });

  test("storage, metadata and secrets work from files, and secrets stay out of logs and errors", async () => {
    const folder = await mkdtemp(path.join(tmpdir(), "glue-connect-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    await writeFile(path.join(folder, "secret.json"), '{"username": "etl", "password": "hunter2-hunter2"}');
    await writeFile(
      path.join(folder, "items.json"),
      '[{"source_system_id": 7, "metadata_type": "incremental", "target": {"db_load": {"aurora_secret": "x"}}}]',
    );
    const lines: string[] = [];
    const say = (message: string, fields?: unknown) => void lines.push(`${message} ${JSON.stringify(fields)}`);
    const job = defineJob({
      name: "files",
      summary: "Uses files",
      args: { folder: arg.string({ description: "Where the files are" }) },
      async run({ args, storage, metadata, postgres, log }) {
        const item = await metadata.item(`file:${args.folder}/items.json`, {
          source_system_id: "7",
          metadata_type: "incremental",
        });
        expect(item.target).toEqual({ db_load: { aurora_secret: "x" } });
        const connection = await postgres({
          host: "db.example",
          port: undefined,
          database: "sales",
          secret: `file:${args.folder}/secret.json`,
        });
        expect(connection).toEqual({
          host: "db.example",
          port: 5432,
          database: "sales",
          user: "etl",
          password: "hunter2-hunter2",
        });
        await storage.put(`file://${args.folder}/state/snapshot.txt`, "42");
        log.info("connected with hunter2-hunter2", { url: "x:hunter2-hunter2@y" });
        throw new UserError("DB", "server said: password hunter2-hunter2 is wrong");
      },
    });
    const { report } = await runJob(job, [...NAME, "--folder", folder], {
      log: { debug: say, info: say, warn: say, error: say },
    });
    expect(report.error?.message).toBe("server said: password *** is wrong");
    expect(lines).toEqual(['connected with *** {"url":"x:***@y"}']);
    expect(await readFile(path.join(folder, "state", "snapshot.txt"), "utf8")).toBe("42");
  });
});
