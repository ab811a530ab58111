import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { SparkSession } from "../../lib/spark/index.js";
import { startBuilt } from "../support/built-command.js";

let folder: string;
let database: pg.Client;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "glue-connect-e2e-"));
  database = new pg.Client(inject("postgresUrl"));
  await database.connect();
});
afterAll(async () => {
  await database.query("DROP SCHEMA IF EXISTS sample CASCADE");
  await database.end();
  await rm(folder, { recursive: true, force: true });
});

const run = (...args: string[]) => startBuilt(folder, args).ended;

const item = async (name: string, target: string): Promise<string> => {
  const [sample] = JSON.parse(await readFile(join(inject("stateHome"), "sample", "metadata.json"), "utf8"));
  sample.target.db_load.aurora_db_target_table_name = target;
  sample.target.db_load.snapshot_s3_key = `${target}.snapshot`;
  const file = join(folder, name);
  await writeFile(file, JSON.stringify([sample]));
  return file;
};

const loadArguments = (file: string) => [
  ...["iceberg-to-aurora", "--JOB_NAME", "e2e", "--metadata_table_name", `file:${file}`],
  ...["--source_system_id", "sample", "--metadata_type", "incremental"],
];

describe("on the servers of this machine", () => {
  test("the demo loads, changes, loads the changes, proves both sides equal, and can be run by hand afterwards", async () => {
    const demo = await run("demo");
    expect(demo.stderr + demo.stdout).not.toMatch(/token=|postgres:[^@]*@/);
    expect(demo).toMatchObject({ code: 0 });
    expect(demo.stdout).toMatch(/200,000 read, 200,000 inserted, 0 updated, 0 deleted/);
    expect(demo.stdout).toMatch(/1,000 inserted, 2,000 updated, 1,000 deleted/);
    expect(demo.stdout).toMatch(/Equal: 200,000 rows/);

    const file = join(inject("stateHome"), "sample", "metadata.json");
    const again = await run("run", ...loadArguments(file), "--json");
    expect(again.code).toBe(0);
    expect(JSON.parse(again.stdout)).toMatchObject({
      state: "SUCCEEDED",
      tables: { "sample.orders": { reason: "no new snapshot since the last run" } },
    });

    expect(await run("plan", ...loadArguments(file))).toMatchObject({ code: 0 });
    await using spark = await SparkSession.builder().remote(inject("sparkRemote")).getOrCreate();
    await spark.sql("DELETE FROM lake.sample.orders WHERE order_id <= 3");
    const plan = await run("plan", ...loadArguments(file), "--json");
    expect(plan.code).toBe(2);
    expect(JSON.parse(plan.stdout).tables["sample.orders"]).toMatchObject({ inserted: 0, updated: 0, deleted: 3 });
  });

  test("Ctrl-C while the executors write stops them, changes nothing, and ends with 130", async () => {
    const { child, ended } = startBuilt(folder, [
      "run",
      ...loadArguments(await item("interrupted.json", "interrupted")),
    ]);
    const staging = async () =>
      (
        await database.query(
          'SELECT query FROM pg_stat_activity WHERE query LIKE \'COPY "sample"."glue_connect_stage_%\'',
        )
      ).rowCount;
    while ((await staging()) === 0 && child.exitCode === null);
    child.kill("SIGINT");
    const { code, stderr } = await ended;
    expect({ code, stderr }).toEqual({ code: 130, stderr: expect.stringMatching(/INTERRUPTED/) });
    const left = await database.query(
      "SELECT relname FROM pg_class WHERE relname = 'interrupted' OR relname LIKE 'glue_connect_stage_%' AND relnamespace = 'sample'::regnamespace",
    );
    expect(left.rows).toEqual([]);
    const rerun = await run("run", ...loadArguments(await item("interrupted.json", "interrupted")), "--json");
    expect(JSON.parse(rerun.stdout).tables["sample.orders"]).toMatchObject({ status: "SUCCEEDED", inserted: 199_997 });
  });
});

test("wrong usage ends with 64 and one message, without a stack trace", async () => {
  const { code, stdout, stderr } = await run("run", "iceberg-to-aurora", "--source_system", "x");
  expect({ code, stdout }).toEqual({ code: 64, stdout: "" });
  expect(stderr).toMatch(/ARGUMENTS_INVALID[\s\S]*JOB_NAME[\s\S]*metadata_table_name[\s\S]*source_system_id/);
  expect(stderr).not.toMatch(/^\s+at /m);
});

test("the job's help explains every argument", async () => {
  const { code, stdout } = await run("run", "iceberg-to-aurora", "--help");
  expect(code).toBe(0);
  for (const name of [
    "--JOB_NAME",
    "--metadata_table_name",
    "--source_system_id",
    "--metadata_type",
    "--find_changes",
  ]) {
    expect(stdout).toContain(name);
  }
});
