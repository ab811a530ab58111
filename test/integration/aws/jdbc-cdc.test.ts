import { randomUUID } from "node:crypto";
import { CreateConnectionCommand, CreateDatabaseCommand, CreateTableCommand, GlueClient } from "@aws-sdk/client-glue";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { CreateSecretCommand, SecretsManagerClient } from "@aws-sdk/client-secrets-manager";
import pg from "pg";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import job from "../../../jobs/jdbc-cdc/job.js";
import { runJob } from "../../../lib/glue/index.js";
import { SparkSession } from "../../../lib/spark/index.js";
import { createObjectStore } from "../../../lib/storage/index.js";
import { AWS_TEST_OPTIONS } from "../../support/aws.js";

// The job as it runs on AWS: tables and connection in Glue, login in Secrets Manager, output, tracker and log in S3.
const aws = { ...AWS_TEST_OPTIONS, endpoint: inject("awsEndpoint") };
const sparkRemote = inject("sparkRemote");
const storage = createObjectStore(aws);
const name = `t_${randomUUID().replaceAll("-", "").slice(0, 12)}`;
const bucket = name.replace("_", "-");
const database = new pg.Client(inject("postgresUrl"));
let spark: SparkSession;

beforeAll(async () => {
  const { hostname, port, pathname, username, password } = new URL(inject("postgresUrl"));
  const glue = new GlueClient(aws);
  await Promise.all([
    database.connect(),
    new S3Client({ ...aws, forcePathStyle: true }).send(new CreateBucketCommand({ Bucket: bucket })),
    new SecretsManagerClient(aws).send(
      new CreateSecretCommand({
        Name: `aurora/${name}`,
        SecretString: JSON.stringify({
          username: decodeURIComponent(username),
          password: decodeURIComponent(password),
        }),
      }),
    ),
    glue.send(new CreateDatabaseCommand({ DatabaseInput: { Name: name } })),
    glue.send(
      new CreateConnectionCommand({
        ConnectionInput: {
          Name: `${name}-aurora`,
          ConnectionType: "JDBC",
          ConnectionProperties: {
            JDBC_CONNECTION_URL: `jdbc:postgresql://${hostname}:${port}${pathname}`,
            SECRET_ID: `aurora/${name}`,
          },
        },
      }),
    ),
  ]);
  await database.query(`CREATE SCHEMA ${name}`);
  // As a crawler writes them; one is of files, and one is gone from the database since.
  const tables = { shop_orders: "orders", shop_bag: "bag", shop_gone: "gone" };
  for (const [table, source] of Object.entries(tables)) {
    await glue.send(
      new CreateTableCommand({
        DatabaseName: name,
        TableInput: {
          Name: table,
          Parameters: { classification: "postgresql", connectionName: `${name}-aurora` },
          StorageDescriptor: {
            Location: `${pathname.slice(1)}.${name}.${source}`,
            Columns: [{ Name: "id", Type: "int" }],
          },
        },
      }),
    );
  }
  await glue.send(
    new CreateTableCommand({
      DatabaseName: name,
      TableInput: { Name: "files", StorageDescriptor: { Location: `s3://${bucket}/files/` } },
    }),
  );
  spark = await SparkSession.builder().remote(sparkRemote).getOrCreate();
});
afterAll(async () => {
  await spark?.close();
  await database.query(`DROP SCHEMA IF EXISTS ${name} CASCADE`);
  await database.end();
});

async function load(format: string, ...args: string[]) {
  const folder = `s3://${bucket}/${format}`;
  const argv = [
    ...["--JOB_NAME", "aws", "--database_name", name, "--environment", "prod", "--load_type", "cdc"],
    ...["--s3_output_path", `${folder}/out/`, "--csv_file_name", `${folder}/state/max_timestamps.csv`],
    ...["--log_folder_path", `${folder}/logs/`, "--output_format", format, "--tables", "*,!shop_gone", ...args],
  ];
  const { report, stack } = await runJob(job, argv, { sparkRemote, aws });
  expect(report.toJSON().error, `${stack} ${JSON.stringify(report.toJSON().tables)}`).toBeUndefined();
  return report;
}

async function source(): Promise<string[][]> {
  const rows = async (table: string) => {
    const { rows: found } = await database.query({ text: `SELECT id, v FROM ${name}.${table}`, rowMode: "array" });
    return found.map((row) => row.join("|")).toSorted();
  };
  return [await rows("orders"), await rows("bag")];
}

async function rows(query: string): Promise<string[]> {
  const found = await (await spark.sql(query)).collect();
  return found.map((row) => row.toArray().join("|")).toSorted();
}

test.each(["parquet", "iceberg"])("tables of Glue by way of their connection, to %s on S3", async (format) => {
  await database.query(`DROP TABLE IF EXISTS ${name}.orders, ${name}.bag`);
  for (const [table, key] of [
    ["orders", "PRIMARY KEY"],
    ["bag", ""],
  ] as const) {
    await database.query(`CREATE TABLE ${name}.${table} (id int ${key}, v text, updated_at timestamptz)`);
    await database.query(
      `INSERT INTO ${name}.${table} SELECT i, 'v' || i, '2026-03-01Z' FROM generate_series(1, 20) AS i`,
    );
  }
  const first = await load(format);
  expect(first.table("shop_orders").inserted).toBe(20);
  expect(first.table("files")).toMatchObject({ status: "SKIPPED" });
  await database.query(`UPDATE ${name}.orders SET v = 'changed' WHERE id <= 3`);
  await database.query(
    `INSERT INTO ${name}.bag VALUES (1, 'v1', '2026-03-01Z'), (30, 'new', '2026-03-02 00:00:00.5Z')`,
  );
  const second = await load(format);
  expect([second.table("shop_orders").inserted, second.table("shop_bag").inserted]).toEqual([3, 2]);
  expect((await load(format)).table("shop_bag").reason).toBe("nothing new");

  const folder = `s3://${bucket}/${format}`;
  if (format === "parquet") {
    const parquet = (table: string) => `parquet.\`${folder}/out/${table}\``;
    expect([
      await rows(
        `SELECT id, v FROM (SELECT *, row_number() OVER (PARTITION BY id ORDER BY cdc_batch_at DESC) AS n FROM ${parquet("shop_orders")}) WHERE n = 1`,
      ),
      await rows(`SELECT id, v FROM ${parquet("shop_bag")}`),
    ]).toEqual(await source());
  } else {
    await spark.conf.set({
      "spark.sql.catalog.reader": "org.apache.iceberg.spark.SparkCatalog",
      "spark.sql.catalog.reader.type": "glue",
      "spark.sql.catalog.reader.warehouse": folder,
    });
    const table = (of: string) => `SELECT id, v FROM reader.${name}_cdc.${of}`;
    expect([await rows(table("shop_orders")), await rows(table("shop_bag"))]).toEqual(await source());
  }
  const tracker = await storage.get(`${folder}/state/max_timestamps.csv`);
  expect(
    Buffer.from(tracker?.body ?? [])
      .toString()
      .split("\n")
      .toSorted(),
  ).toEqual(["", "shop_bag,2026-03-02 00:00:00.5", "shop_orders,2026-03-01 00:00:00", "table_name,max_timestamp"]);
  const logs: string[] = [];
  for await (const { uri } of storage.list(`${folder}/logs/`)) {
    logs.push(Buffer.from((await storage.get(uri))?.body ?? []).toString());
  }
  expect(logs).toHaveLength(3);
  expect(logs.join()).toMatch(/WARNING \[prod\] NOT_A_JDBC_TABLE: files/);
  if (format === "parquet") return;
  // A database of another name hasn't got the table yet, and the first one keeps its own.
  const named = await load(format, "--tables", "shop_bag", "--iceberg_database", `${name}_lake`);
  expect(named.table("shop_bag").inserted).toBe(22);
  expect(await rows(`SELECT id, v FROM reader.${name}_lake.shop_bag`)).toEqual((await source())[1]);
  expect(await rows(`SELECT id, v FROM reader.${name}_cdc.shop_bag`)).toEqual((await source())[1]);
});

test("a table that the catalog has and the database has not fails alone", async () => {
  const folder = `s3://${bucket}/gone`;
  const argv = [
    ...[
      "--JOB_NAME",
      "aws",
      "--database_name",
      name,
      "--environment",
      "prod",
      "--load_type",
      "cdc",
      "--tables",
      "shop_gone",
    ],
    ...[
      "--s3_output_path",
      `${folder}/out`,
      "--csv_file_name",
      `${folder}/max_timestamps.csv`,
      "--log_folder_path",
      folder,
    ],
  ];
  const { report } = await runJob(job, argv, { sparkRemote, aws });
  expect(report.table("shop_gone").error?.code).toBe("TABLE_NOT_FOUND");
});
