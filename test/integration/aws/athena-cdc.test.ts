import { randomUUID } from "node:crypto";
import {
  BatchCreatePartitionCommand,
  CreateDatabaseCommand,
  CreateTableCommand,
  GlueClient,
} from "@aws-sdk/client-glue";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, inject, test, vi } from "vitest";
import job from "../../../jobs/athena-cdc/job.js";
import { type RunEnvironment, runJob } from "../../../lib/glue/index.js";
import { SparkSession } from "../../../lib/spark/index.js";
import { createObjectStore } from "../../../lib/storage/index.js";
import { AWS_TEST_OPTIONS } from "../../support/aws.js";

// The job as it runs on AWS: tables of Glue's catalog, files, keys, trackers and state in S3. Only the endpoint differs.
const aws = { ...AWS_TEST_OPTIONS, endpoint: inject("awsEndpoint") };
const sparkRemote = inject("sparkRemote");
const glue = new GlueClient(aws);
const storage = createObjectStore(aws);
const database = `t_${randomUUID().replaceAll("-", "").slice(0, 12)}`;
const bucket = database.replace("_", "-");
const s3 = `s3://${bucket}`;
let spark: SparkSession;

beforeAll(async () => {
  await Promise.all([
    new S3Client({ ...aws, forcePathStyle: true }).send(new CreateBucketCommand({ Bucket: bucket })),
    glue.send(new CreateDatabaseCommand({ DatabaseInput: { Name: database } })),
  ]);
  spark = await SparkSession.builder().remote(sparkRemote).getOrCreate();
  await spark.conf.set({ "spark.sql.session.timeZone": "UTC" });
  await storage.put(`${s3}/keys/2026-01.csv`, "table_name,primary_key_column\norders,v\n");
  await storage.put(`${s3}/keys/2026-02.csv`, "table_name,primary_key_column\norders,id\n");
});
afterAll(async () => {
  await spark?.close();
});

/** Puts rows into a table's folder on S3, as another program does. */
async function insert(table: string, format: string, values: string): Promise<void> {
  const rows = await spark.sql(`SELECT /*+ COALESCE(1) */ * FROM VALUES ${values} AS t(id, v, updated_at, day)`);
  const sized = rows.selectExpr("CAST(id AS BIGINT) AS id", "v", "CAST(updated_at AS TIMESTAMP) AS updated_at", "day");
  await sized.write
    .format(format)
    .options(format !== "parquet" ? { timestampFormat: "yyyy-MM-dd HH:mm:ss.SSSSSS" } : {})
    .mode("append")
    .partitionBy("day")
    .save(`s3a://${bucket}/in/${table}`);
}

/** S3 tells times in whole seconds: of files that were just written it can't be said whether they were listed as they are. */
async function untilFilesAreOld(): Promise<void> {
  let newest = 0;
  for await (const { modified } of storage.list(`${s3}/in/`)) newest = Math.max(newest, modified.getTime());
  expect(newest).toBeGreaterThan(0);
  await vi.waitUntil(() => Date.now() > newest + 2_000, { timeout: 10_000 });
}

async function createTable(name: string, format: string): Promise<void> {
  await glue.send(
    new CreateTableCommand({
      DatabaseName: database,
      TableInput: {
        Name: name,
        TableType: "EXTERNAL_TABLE",
        Parameters: { classification: format },
        PartitionKeys: [{ Name: "day", Type: "string" }],
        StorageDescriptor: {
          Location: `${s3}/in/${name}/`,
          Columns: [
            { Name: "id", Type: "bigint" },
            { Name: "v", Type: "string" },
            { Name: "updated_at", Type: "timestamp" },
          ],
        },
      },
    }),
  );
}

/** Partitions that aren't in the catalog don't belong to a table. */
async function addPartition(table: string, day: string): Promise<void> {
  await glue.send(
    new BatchCreatePartitionCommand({
      DatabaseName: database,
      TableName: table,
      PartitionInputList: [{ Values: [day], StorageDescriptor: { Location: `${s3}/in/${table}/day=${day}` } }],
    }),
  );
}

function run(args: readonly string[] = [], environment: RunEnvironment = {}) {
  return runJob(
    job,
    [
      ...["--JOB_NAME", "test", "--athena_database_name", database, "--load_type", "incremental"],
      ...["--output_path", `${s3}/out/`, "--cdc_path", `${s3}/cdc`, "--primary_key_s3_prefix", `${s3}/keys/`, ...args],
    ],
    { sparkRemote, catalog: "glue", aws, ...environment },
  );
}

async function succeed(args: readonly string[] = []) {
  const { report, stack } = await run(args);
  expect(report.toJSON().error, stack ?? JSON.stringify(report.toJSON().tables)).toBeUndefined();
  return report;
}

async function text(uri: string): Promise<string | undefined> {
  const object = await storage.get(uri);
  return object === undefined ? undefined : Buffer.from(object.body).toString("utf8").trim();
}

async function ids(from: string): Promise<string[]> {
  const rows = await (await spark.sql(`SELECT concat_ws(' ', id, v, day) FROM ${from} ORDER BY 1`)).collect();
  return rows.map((row) => row.getString(0) ?? "");
}

describe("athena-cdc on S3 and Glue", () => {
  test("full, nothing new, incremental, a second run refused; Parquet, CSV and JSON by Glue's catalog", async () => {
    const first =
      "(1, 'a', '2026-03-01 10:00:00.000001', '2026-03-01'), (2, 'b', '2026-03-02 10:00:00.342680', '2026-03-02')";
    for (const [table, format] of [
      ["orders", "parquet"],
      ["as_csv", "csv"],
      ["as_json", "json"],
    ] as const) {
      await insert(table, format, `${first}, (9, 'unlisted', '2026-03-09 00:00:00', '2026-03-09')`);
      await createTable(table, format);
      for (const day of ["2026-03-01", "2026-03-02"]) await addPartition(table, day);
    }
    await untilFilesAreOld();
    let second: Awaited<ReturnType<typeof run>> | undefined;
    const { report, exitCode } = await run([], {
      onStep: async ({ name, phase }) => {
        if (name === "write the rows" && phase === "start") second ??= await run();
      },
    });
    expect({ exitCode, error: report.toJSON().error }).toEqual({ exitCode: 0, error: undefined });
    expect(second?.report.error?.code).toBe("ConcurrentRunsExceededException");
    expect(await text(`${s3}/cdc/orders.txt`)).toBe("2026-03-02 10:00:00.34268");

    const nothing = await succeed();
    for (const table of nothing.tables.values())
      expect(table.reason).toBe("the table has the same files as in the last run");

    const more =
      "(3, 'c', '2026-03-02 10:00:00.342680', '2026-03-02'), (2, 'b2', '2026-03-02 10:00:00.342681', '2026-03-02')";
    for (const [table, format] of [
      ["orders", "parquet"],
      ["as_csv", "csv"],
      ["as_json", "json"],
    ] as const) {
      await insert(table, format, more);
    }
    const incremental = await succeed();
    expect([...incremental.tables].map(([name, { inserted }]) => [name, inserted])).toEqual([
      ["as_csv", 2],
      ["as_json", 2],
      ["orders", 2],
    ]);
    for (const table of ["orders", "as_csv", "as_json"]) {
      expect(await ids(`parquet.\`s3a://${bucket}/out/${table}\``)).toEqual([
        "1 a 2026-03-01",
        "2 b 2026-03-02",
        "2 b2 2026-03-02",
        "3 c 2026-03-02",
      ]);
      expect(await text(`${s3}/cdc/${table}.txt`)).toBe("2026-03-02 10:00:00.342681");
    }
    const own = await run(["--output_path", `${s3}/in`, "--cdc_path", `${s3}/cdc-own`], { mode: "plan" });
    for (const table of own.report.tables.values()) expect(table.error?.code).toBe("OUTPUT_IS_SOURCE");
    const left: string[] = [];
    for await (const { uri } of storage.list(`${s3}/out/_attempts/`)) left.push(uri);
    expect(left).toEqual([]);
  }, 600_000);

  test("Iceberg tables in Glue's catalog, with a key the newest rows", async () => {
    const args = ["--output_format", "iceberg", "--tables", "orders", "--cdc_path", `${s3}/cdc-iceberg`];
    const more = ["--output_path", `${s3}/out-iceberg`, ...args];
    await succeed(more);
    await insert("orders", "parquet", "(1, 'a2', '2026-03-03 10:00:00', '2026-03-03')");
    await addPartition("orders", "2026-03-03");
    expect((await succeed(more)).table("orders")).toMatchObject({ inserted: 1 });
    await spark.conf.set({
      "spark.sql.catalog.reader": "org.apache.iceberg.spark.SparkCatalog",
      "spark.sql.catalog.reader.warehouse": `${s3}/out-iceberg`,
      "spark.sql.catalog.reader.type": "glue",
      "spark.sql.catalog.reader.cache-enabled": "false",
    });
    const rows = ["1 a2 2026-03-03", "2 b2 2026-03-02", "3 c 2026-03-02"];
    expect(await ids(`reader.${database}_cdc.orders`)).toEqual(rows);

    // A database of another name hasn't got the table yet, and the first one keeps its own.
    const named = await succeed([...more, "--iceberg_database", `${database}_lake`]);
    expect(named.table("orders")).toMatchObject({ way: "full load", inserted: 3 });
    for (const name of ["lake", "cdc"]) expect(await ids(`reader.${database}_${name}.orders`)).toEqual(rows);
  }, 600_000);
});
