import { once } from "node:events";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { buildCli, type CliProgram } from "../../unit/cli/cli-process.js";

const glue = path.resolve(import.meta.dirname, "../../../lib/glue/index.js");

/** Writes numbers as Parquet, or counts what is in the watched object's folder. */
const job = (name: string, work: string) => `
import { writeFileSync } from "node:fs";
import { arg, defineJob } from ${JSON.stringify(glue)};
export default defineJob({
  name: ${JSON.stringify(name)},
  summary: "A piece of the chain",
  args: { uri: arg.uri({ description: "Where" }), answer: arg.string({ description: "File for the answer", optional: true }) },
  async run({ args, spark }) {
    const session = await spark();
    ${work}
  },
});
`;

let cli: CliProgram;
beforeAll(async () => {
  cli = await buildCli();
});
afterAll(() => cli.remove());

test("an object in the watched prefix starts a workflow whose jobs run on Spark, one after the other", async () => {
  const folder = path.join(cli.folder, "project");
  const [watched, output, answer] = ["watched", "output", "answer"].map((name) => path.join(folder, name));
  await mkdir(path.join(folder, "watched"), { recursive: true });
  await writeFile(
    path.join(folder, "make.ts"),
    job("make", 'await session.range(1000).write.mode("overwrite").parquet(args.uri);'),
  );
  await writeFile(
    path.join(folder, "count.ts"),
    job("count", 'writeFileSync(args.answer ?? "", String(await session.read.parquet(args.uri).count()));'),
  );
  const config = {
    jobs: {
      make: { job: "./make.ts", arguments: { uri: `file://${output}` } },
      count: { job: "./count.ts", arguments: { uri: `file://${output}`, answer } },
    },
    workflows: { chain: {} },
    triggers: {
      arrived: {
        type: "EVENT",
        workflow: "chain",
        event: { prefix: `file://${watched}/`, suffix: ".ready" },
        actions: [{ job: "make" }],
        startOnCreation: true,
      },
      made: {
        type: "CONDITIONAL",
        workflow: "chain",
        predicate: { conditions: [{ job: "make", state: "SUCCEEDED" }] },
        actions: [{ job: "count" }],
        startOnCreation: true,
      },
    },
  };
  await writeFile(path.join(folder, "glue-connect.config.ts"), `export default ${JSON.stringify(config)};`);
  const env = { SPARK_REMOTE: inject("sparkRemote") };
  const scheduler = cli.start(["scheduler"], { cwd: folder, env });
  let said = "";
  scheduler.stderr?.on("data", (chunk) => {
    said += String(chunk);
  });
  try {
    await expect.poll(() => said, { timeout: 60_000 }).toContain("scheduler of 2 triggers");
    // The first look is what was there before.
    const activated = async () => (await cli.run(["trigger", "list", "--json"], { cwd: folder })).stdout;
    await expect.poll(activated, { timeout: 60_000 }).toContain("ACTIVATED");
    await expect
      .poll(
        () =>
          readFile(path.join(folder, ".glue-connect", "scheduler", "events", "arrived.json"), "utf8").catch(() => ""),
        { timeout: 60_000 },
      )
      .not.toBe("");
    await writeFile(path.join(watched ?? "", "today.ready"), "");
    const answered = () => readFile(answer ?? "", "utf8").catch(() => said);
    await expect.poll(answered, { timeout: 100_000 }).toBe("1000");
    const status = async () => (await cli.run(["workflow", "status", "--json"], { cwd: folder })).stdout;
    await expect.poll(status, { timeout: 60_000 }).toContain("COMPLETED");
    const [chain, ...more] = JSON.parse(await status()) as { properties: Record<string, string>; statistics: object }[];
    expect(more).toEqual([]);
    expect(chain).toMatchObject({
      properties: { "event.uri": `file://${watched}/today.ready` },
      statistics: { TotalActions: 2, SucceededActions: 2 },
    });
  } finally {
    scheduler.kill("SIGTERM");
    await once(scheduler, "close");
  }
});
