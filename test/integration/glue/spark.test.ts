import { once } from "node:events";
import { createServer } from "node:net";
import { describe, expect, inject, test } from "vitest";
import { arg, defineJob, runJob } from "../../../lib/glue/index.js";
import type { SparkSession } from "../../../lib/spark/index.js";

const NAME = ["--JOB_NAME", "nightly"];
const sparkRemote = inject("sparkRemote");

describe("Spark in a run", () => {
  test("is connected at the first call, is one session, and is closed at the end", async () => {
    let connected = 0;
    let session: SparkSession | undefined;
    const job = defineJob({
      name: "counting",
      summary: "Counts",
      args: { rows: arg.integer({ description: "How many", default: 0 }) },
      async run({ args, spark, report }) {
        if (args.rows === 0) return;
        const [first, second] = await Promise.all([spark(), spark()]);
        expect(second).toBe(first);
        session = first;
        report.table("range").read = Number(await first.range(args.rows).count());
      },
    });
    const environment = {
      sparkRemote: async () => {
        connected++;
        return { remote: sparkRemote };
      },
    };
    expect((await runJob(job, NAME, environment)).exitCode).toBe(0);
    expect(connected).toBe(0);

    const { report, exitCode } = await runJob(job, [...NAME, "--rows", "12345"], environment);
    expect([exitCode, connected, report.table("range").read]).toEqual([0, 1, 12_345]);
    await expect(session?.range(1).count()).rejects.toMatchObject({ code: "SESSION_CLOSED" });
  });

  test("an error of Spark names its condition, and what to do", async () => {
    const job = defineJob({
      name: "missing-table",
      summary: "Reads a table that isn't there",
      args: {},
      run: async ({ spark }) => void (await (await spark()).table("lake.nowhere.nothing").count()),
    });
    const { report, exitCode } = await runJob(job, NAME, { sparkRemote });
    expect(exitCode).toBe(66);
    expect(report.error).toMatchObject({
      code: "SPARK_TABLE_OR_VIEW_NOT_FOUND",
      message: expect.stringContaining("nothing"),
      hint: expect.stringContaining("table names"),
    });
    expect(report.error?.message).not.toMatch(/\n\s+at |JVM stacktrace|UnresolvedRelation/);
  });

  test("an abort interrupts the query on the server", async () => {
    const controller = new AbortController();
    const job = defineJob({
      name: "endless",
      summary: "Takes for ever",
      args: {},
      async run({ spark, step }) {
        const session = await spark();
        // Hours of work for any machine.
        const endless = await session.sql(
          "SELECT count(*) FROM range(10000000000) a CROSS JOIN range(1000) b WHERE hash(a.id, b.id) = 7",
        );
        await step("count", () => endless.collect());
      },
    });
    const { report, exitCode } = await runJob(job, NAME, {
      sparkRemote,
      signal: controller.signal,
      onStep: ({ phase }) => {
        if (phase === "start") setTimeout(() => controller.abort(), 1_000);
      },
    });
    expect(exitCode).toBe(130);
    expect(report.state).toBe("STOPPED");
    expect(report.steps).toEqual([{ name: "count", seconds: expect.any(Number), failed: true }]);
    expect(report.steps[0]?.seconds).toBeLessThan(30);
  });

  test("a server that isn't there is exit code 69", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    server.close();
    await once(server, "close");
    const job = defineJob({ name: "s", summary: "", args: {}, run: async ({ spark }) => void (await spark()) });
    const { report, exitCode } = await runJob(job, NAME, { sparkRemote: `sc://127.0.0.1:${port}` });
    expect(exitCode).toBe(69);
    expect(report.error?.code).toBe("SPARK_ENDPOINT_UNREACHABLE");
  });
});
