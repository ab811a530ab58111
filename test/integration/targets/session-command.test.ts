import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, test, vi } from "vitest";
import { SAMPLES } from "../../../lib/cli/sample.js";
import type { PostgresConnection } from "../../../lib/postgres/connection.js";
import { PostgresSession } from "../../../lib/postgres/index.js";
import { SparkSession } from "../../../lib/spark/index.js";
import { makeCertificates } from "../../support/certificates.js";
import { type FakeSessions, startFakeSessions } from "../../support/fake-sessions.js";
import { buildCli, type CliProgram, textOf } from "../../unit/cli/cli-process.js";

const folder = mkdtempSync(join(tmpdir(), "glue-connect-session-command-"));
const ROLE = "arn:aws:iam::123456789012:role/etl";
const glue = resolve(import.meta.dirname, "../../../lib/glue/index.js");
const database = `session_${process.pid}`;

const JOB = `
import { arg, defineJob } from ${JSON.stringify(glue)};
export default defineJob({
  name: "sleepy", summary: "Sleeps on Spark", args: { seconds: arg.integer({ description: "How long" }) },
  async run({ spark, args, log, report }) {
    const session = await spark();
    log.info("the query runs");
    const rows = await (await session.sql(
      "SELECT id, java_method('java.lang.Thread', 'sleep', 500L) AS slept FROM range(0, " + args.seconds * 2 + ", 1, 2)")).collect();
    report.table("rows").read = rows.length;
  },
});
`;

let cli: CliProgram;
let fake: FakeSessions;
let env: Record<string, string>;

beforeAll(async () => {
  const certificates = makeCertificates(folder, "command");
  [cli, fake] = await Promise.all([
    buildCli(),
    startFakeSessions(inject("sparkRemote"), inject("awsEndpoint"), certificates),
  ]);
  writeFileSync(join(folder, "job.ts"), JOB);
  env = {
    AWS_ENDPOINT_URL_EMR_SERVERLESS: fake.endpoint,
    AWS_ENDPOINT_URL_GLUE: fake.endpoint,
    AWS_ACCESS_KEY_ID: "test",
    AWS_SECRET_ACCESS_KEY: "test",
    AWS_REGION: "us-east-1",
    GRPC_DEFAULT_SSL_ROOTS_FILE_PATH: certificates.authority,
    GLUE_CONNECT_HOME: inject("stateHome"),
    GLUE_CONNECT_EMR_APPLICATION_ID: "00fakeapplication",
    GLUE_CONNECT_EMR_ROLE: ROLE,
    GLUE_CONNECT_GLUE_ROLE: ROLE,
  };
});
afterAll(async () => {
  await fake?.close();
  await cli?.remove();
  rmSync(folder, { recursive: true });
});

const run = (...argv: string[]) => cli.run(argv, { cwd: folder, env });
const sleepy = (seconds: number, ...more: string[]) => [
  ...["run", "./job.ts", "--JOB_NAME", "x", "--seconds", String(seconds), "--target", "emr", ...more],
];
const newest = () => [...fake.sessions.values()].at(-1)?.id ?? "";
const live = () => [...fake.sessions.keys()].filter((id) => !/^(TERMINAT|STOP)/.test(fake.stateOf(id)));

/** Waits until a process has said something on stderr, which is read on to its end. */
function untilSaid(child: ChildProcess, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let said = "";
    child.stderr?.on("data", (chunk) => {
      said += String(chunk);
      if (said.includes(text)) resolve();
    });
    child.once("close", () => reject(new Error(`it ended, and had said: ${said}`)));
  });
}

test("SIGINT stops the query and ends the session; the exit code is 130", async () => {
  const child = cli.start(sleepy(60), { cwd: folder, env });
  const closed = once(child, "close");
  await untilSaid(child, "the query runs");
  child.kill("SIGINT");
  expect(await closed).toEqual([130, null]);
  expect(live()).toEqual([]);
});

test("what a killed run leaves behind is listed as an orphan and can be ended; sessions of others stay", async () => {
  const child = cli.start(sleepy(60), { cwd: folder, env });
  const closed = once(child, "close");
  await untilSaid(child, "the query runs");
  const orphan = newest();
  expect((await run("session", "list", "--target", "emr", "--orphans")).stdout).toBe("no sessions\n");
  child.kill("SIGKILL");
  await closed;
  const running = cli.start(sleepy(8), { cwd: folder, env });
  const ran = once(running, "close");
  const stdout = textOf(running.stdout);
  await vi.waitUntil(() => newest() !== orphan, { timeout: 60_000, interval: 20 });
  const other = newest();

  const listed = await run("session", "list", "--target", "emr", "--json");
  expect(JSON.parse(listed.stdout)).toMatchObject([
    { id: orphan, orphan: true },
    { id: other, orphan: null },
  ]);
  expect((await run("session", "list", "--target", "emr")).stdout).toMatch(
    new RegExp(`^${orphan} .*orphan: its process`),
  );
  expect(await run("session", "stop", "--target", "emr", "--orphans")).toMatchObject({ stdout: `ended ${orphan}\n` });
  expect(live()).toEqual([other]);
  expect({ ended: await ran, stdout: await stdout }).toMatchObject({ ended: [0, null], stdout: /16 read/ });
  expect(live()).toEqual([]);
});

test("wrong usage of targets and sessions says what to do", async () => {
  const [noTarget, both, none, unknown, missing] = await Promise.all([
    run("session", "list"),
    run(...sleepy(1, "--remote", "sc://localhost")),
    run("session", "stop", "--target", "emr"),
    run("session", "stop", "00none", "--target", "emr"),
    cli.run(sleepy(1), {
      cwd: folder,
      env: { ...env, GLUE_CONNECT_EMR_ROLE: "", GLUE_CONNECT_EMR_APPLICATION_ID: "" },
    }),
  ]);
  expect(noTarget).toMatchObject({ exitCode: 64, stderr: expect.stringContaining("--target emr or --target glue") });
  expect(both).toMatchObject({ exitCode: 64, stderr: expect.stringContaining("Leave one of them out") });
  expect(none).toMatchObject({ exitCode: 64, stderr: expect.stringContaining("No session was named") });
  expect(unknown).toMatchObject({ exitCode: 64, stderr: expect.stringContaining("SESSION_NOT_FOUND") });
  expect(missing).toMatchObject({
    exitCode: 66,
    stderr: expect.stringMatching(/EMR_NOT_CONFIGURED[\s\S]*emr\.applicationId[\s\S]*emr\.role/),
  });
});

describe("the jobs, with no change to their code", () => {
  const address = new URL(inject("postgresUrl"));
  const server: PostgresConnection = {
    host: address.hostname,
    port: Number(address.port),
    user: decodeURIComponent(address.username),
    password: decodeURIComponent(address.password),
    database: "postgres",
  };
  /** What `sample` does with the local server. */
  const postgres = async (name: string) => {
    await using session = await PostgresSession.connect(server, { applicationName: "test" });
    const { count } = await session.query("SELECT 1 FROM pg_database WHERE datname = $1", [name]);
    if (count === 0) await session.query(`CREATE DATABASE "${name}"`);
    return { ...server, database: name };
  };

  const noCassandra = () => Promise.reject(new Error("none of these jobs needs one"));
  // That of keyspaces-diff is another test's (e2e), and a cluster has one keyspace of a name.
  test.each(Object.keys(SAMPLES).filter((name) => name !== "keyspaces-diff"))(
    "%s runs on its sample with --target emr, and on the changes with --target glue",
    async (name) => {
      const sample = await SAMPLES[name]?.();
      if (sample === undefined) throw new Error(`no sample of ${name}`);
      await using spark = await SparkSession.builder().remote(inject("sparkRemote")).getOrCreate();
      const own = join(folder, name);
      const argv = ["run", name, ...(await sample.makeSample(spark, own, postgres, noCassandra)), "--json"];
      // The tables of the sample are in this Spark's catalog, not in Glue's.
      if (!argv.includes("--catalog")) argv.push("--catalog", "spark");
      const before = fake.sessions.size;
      const full = await run(...argv, "--target", "emr");
      expect(full.exitCode, `${full.stderr}\n${full.stdout}`).toBe(0);
      await sample.changeSample(spark, own, postgres, noCassandra);
      const incremental = await run(...argv, "--target", "glue");
      expect(incremental.exitCode, incremental.stderr).toBe(0);
      const written = (text: string) =>
        Object.values((JSON.parse(text) as { tables: Record<string, { inserted: number; updated: number }> }).tables)
          .map(({ inserted, updated }) => inserted + updated)
          .reduce((sum, rows) => sum + rows, 0);
      expect(written(full.stdout)).toBeGreaterThan(written(incremental.stdout));
      expect(written(incremental.stdout)).toBeGreaterThan(0);
      expect([...fake.sessions.values()].slice(before).map(({ service }) => service)).toEqual(["emr", "glue"]);
      expect(live()).toEqual([]);
    },
    300_000,
  );

  test("iceberg-to-aurora loads a table, and then what changed", async () => {
    const name = `t_${process.pid}`;
    await using spark = await SparkSession.builder().remote(inject("sparkRemote")).getOrCreate();
    await spark.sql(`CREATE TABLE lake.sessions.${name} (id BIGINT, name STRING) USING iceberg`);
    await spark.sql(`INSERT INTO lake.sessions.${name} VALUES (1, 'one'), (2, 'two')`);
    await using session = await PostgresSession.connect(await postgres(database), { applicationName: "test" });
    await session.query("CREATE SCHEMA IF NOT EXISTS target");
    const item = {
      source_system_id: "shop",
      metadata_type: "incremental",
      target: {
        iceberg_properties: {
          iceberg_configuration: { iceberg_catalog_warehouse: `file://${inject("warehouse")}` },
          database_name: "sessions",
          table_name: name,
        },
        db_load: {
          aurora_host: "embedded",
          aurora_db_target_schema: "target",
          aurora_db_target_table_name: name,
          aurora_data_load_type: "incremental",
          primary_key: ["id"],
          snapshot_s3_bucket: `file://${folder}`,
          snapshot_s3_key: `${name}.snapshot`,
        },
      },
    };
    writeFileSync(join(folder, `${name}.json`), JSON.stringify([item]));
    const url = new URL(inject("postgresUrl"));
    url.pathname = `/${database}`;
    const load = (target: string) =>
      run(
        ...["run", "iceberg-to-aurora", "--JOB_NAME", name, "--metadata_table_name", `file:${name}.json`],
        ...["--source_system_id", "shop", "--metadata_type", "incremental", "--target", target],
        ...["--postgres-url", url.href, "--json"],
      );
    const first = await load("glue");
    expect(first.exitCode, first.stderr).toBe(0);
    await spark.sql(`INSERT INTO lake.sessions.${name} VALUES (3, 'three')`);
    await spark.sql(`DELETE FROM lake.sessions.${name} WHERE id = 1`);
    const second = await load("emr");
    expect(JSON.parse(second.stdout)).toMatchObject({ tables: { [`sessions.${name}`]: { inserted: 1, deleted: 1 } } });
    const { rows } = await session.query(`SELECT id::text, name FROM target."${name}" ORDER BY id`);
    expect(rows.map((row) => Object.values(row))).toEqual([
      ["2", "two"],
      ["3", "three"],
    ]);
    expect(live()).toEqual([]);
  }, 300_000);
});
