import { randomUUID } from "node:crypto";
import { type AttributeValue, CreateTableCommand, DynamoDBClient, PutItemCommand } from "@aws-sdk/client-dynamodb";
import { CreateBucketCommand, HeadObjectCommand, ListObjectsV2Command, S3Client } from "@aws-sdk/client-s3";
import { CreateSecretCommand, SecretsManagerClient } from "@aws-sdk/client-secrets-manager";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import job from "../../../jobs/iceberg-to-aurora/job.js";
import { type RunMode, runJob } from "../../../lib/glue/index.js";
import { SparkSession } from "../../../lib/spark/index.js";
import { createObjectStore } from "../../../lib/storage/index.js";
import { AWS_TEST_OPTIONS } from "../../support/aws.js";

// The job as it runs on AWS: item in DynamoDB, login in Secrets Manager, tables and state's copy in S3. Only the endpoint differs.
const aws = { ...AWS_TEST_OPTIONS, endpoint: inject("awsEndpoint") };
const sparkRemote = inject("sparkRemote");
const s3 = new S3Client({ ...aws, forcePathStyle: true });
const dynamo = new DynamoDBClient(aws);
const secretsManager = new SecretsManagerClient(aws);
const storage = createObjectStore(aws);
const name = `t_${randomUUID().replaceAll("-", "").slice(0, 12)}`;
const bucket = name.replace("_", "-");
const KMS_KEY = "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000001";
const database = new pg.Client(inject("postgresUrl"));

let spark: SparkSession;

beforeAll(async () => {
  const address = new URL(inject("postgresUrl"));
  await Promise.all([
    database.connect(),
    s3.send(new CreateBucketCommand({ Bucket: bucket })),
    secretsManager.send(
      new CreateSecretCommand({
        Name: `aurora/${name}`,
        SecretString: JSON.stringify({
          username: decodeURIComponent(address.username),
          password: decodeURIComponent(address.password),
        }),
      }),
    ),
    dynamo.send(
      new CreateTableCommand({
        TableName: name,
        BillingMode: "PAY_PER_REQUEST",
        AttributeDefinitions: ["source_system_id", "metadata_type"].map((key) => ({
          AttributeName: key,
          AttributeType: "S",
        })),
        KeySchema: [
          { AttributeName: "source_system_id", KeyType: "HASH" },
          { AttributeName: "metadata_type", KeyType: "RANGE" },
        ],
      }),
    ),
  ]);
  await database.query(`CREATE SCHEMA ${name}`);
  spark = await SparkSession.builder().remote(sparkRemote).getOrCreate();
});

afterAll(async () => {
  await spark?.close();
  await database.query(`DROP SCHEMA IF EXISTS ${name} CASCADE`);
  await database.end();
});

/** One place of tables: how Spark writes there, and what the configuration says of it. */
interface Place {
  readonly catalog: string;
  readonly type: "glue" | "hadoop";
  readonly warehouse: string;
}

const GLUE: Place = { catalog: "writer_glue", type: "glue", warehouse: `s3://${bucket}/glue` };
const HADOOP: Place = { catalog: "writer_hadoop", type: "hadoop", warehouse: `s3a://${bucket}/hadoop` };

/** The catalogs by which another program, not the job, makes and changes the tables. */
async function openCatalog({ catalog, type, warehouse }: Place): Promise<void> {
  await spark.conf.set({
    [`spark.sql.catalog.${catalog}`]: "org.apache.iceberg.spark.SparkCatalog",
    [`spark.sql.catalog.${catalog}.warehouse`]: warehouse,
    [`spark.sql.catalog.${catalog}.type`]: type,
  });
}

async function sql(...statements: readonly string[]): Promise<void> {
  for (const statement of statements) await spark.sql(statement);
}

async function makeTable(place: Place, table: string): Promise<string> {
  await openCatalog(place);
  const full = `${place.catalog}.${name}.${table}`;
  await sql(
    `CREATE NAMESPACE IF NOT EXISTS ${place.catalog}.${name}`,
    `CREATE TABLE ${full} (id BIGINT NOT NULL, name STRING, amount DECIMAL(10,2)) USING iceberg`,
    `ALTER TABLE ${full} SET IDENTIFIER FIELDS id`,
    `INSERT INTO ${full} SELECT id, concat('name ', id), CAST(id * 1.5 AS DECIMAL(10,2)) FROM range(1, 9)`,
  );
  return full;
}

/** One insert, one update, one delete. */
async function change(full: string): Promise<void> {
  await sql(
    `MERGE INTO ${full} t USING (SELECT * FROM VALUES (2L, 'new name'), (3L, NULL), (100L, 'inserted') AS v(id, name)) s
      ON t.id = s.id
      WHEN MATCHED AND s.name IS NULL THEN DELETE
      WHEN MATCHED THEN UPDATE SET name = s.name
      WHEN NOT MATCHED THEN INSERT (id, name, amount) VALUES (s.id, s.name, 7.25)`,
  );
}

function values(place: Place, table: string, more: Record<string, string> = {}): Record<string, string> {
  const address = new URL(inject("postgresUrl"));
  return {
    "iceberg_properties.iceberg_configuration.iceberg_catalog_warehouse": place.warehouse,
    "iceberg_properties.iceberg_configuration.iceberg_catalog_type": place.type,
    "iceberg_properties.database_name": name,
    "iceberg_properties.table_name": table,
    "db_load.aurora_host": address.hostname,
    "db_load.aurora_port": address.port,
    "db_load.aurora_db_name": address.pathname.slice(1),
    "db_load.aurora_secret": `aurora/${name}`,
    "db_load.aurora_db_target_schema": name,
    "db_load.aurora_db_target_table_name": table,
    "db_load.aurora_data_load_type": "incremental",
    "db_load.snapshot_s3_bucket": bucket,
    "db_load.snapshot_s3_key": `state/${table}`,
    ...more,
  };
}

/** `{"target.a.b": {S: ...}}`, as the document writes it. */
function dotted(item: Record<string, string>): Record<string, AttributeValue> {
  return Object.fromEntries(Object.entries(item).map(([key, value]) => [`target.${key}`, { S: value }]));
}

/** `{target: {M: {a: {M: {b: {S: ...}}}}}}`, the other form of the same item. */
function nested(item: Record<string, string>): Record<string, AttributeValue> {
  const root: { M: Record<string, AttributeValue> } = { M: {} };
  for (const [key, value] of Object.entries(item)) {
    const path = key.split(".");
    const last = path.pop() ?? "";
    let level = root;
    for (const part of path) {
      level.M[part] ??= { M: {} };
      level = level.M[part] as { M: Record<string, AttributeValue> };
    }
    level.M[last] = last === "aurora_port" ? { N: value } : { S: value };
  }
  return { target: root };
}

async function putItem(table: string, attributes: Record<string, AttributeValue>): Promise<void> {
  await dynamo.send(
    new PutItemCommand({
      TableName: name,
      Item: { source_system_id: { S: table }, metadata_type: { S: "incremental" }, ...attributes },
    }),
  );
}

async function run(table: string, mode: RunMode = "run") {
  const argv = [
    ...["--JOB_NAME", "aws", "--metadata_table_name", name],
    ...["--source_system_id", table, "--metadata_type", "incremental"],
  ];
  const { report, exitCode, stack } = await runJob(job, argv, { sparkRemote, aws, mode });
  expect(report.error, stack).toBeUndefined();
  return { exitCode, ...report.table(`${name}.${table}`) };
}

async function expectLoaded(full: string, table: string): Promise<void> {
  const source = await (
    await spark.sql(`SELECT CAST(id AS STRING), name, CAST(amount AS STRING) FROM ${full}`)
  ).collect();
  const target = await database.query({
    text: `SELECT id::text, name, amount::text FROM ${name}."${table}"`,
    rowMode: "array",
  });
  expect(target.rows.map(String).toSorted()).toEqual(source.map((row) => String(row.toArray())).toSorted());
  const snapshot = await spark.sql(`SELECT CAST(snapshot_id AS STRING) FROM ${full}.refs WHERE name = 'main'`);
  const copy = await storage.get(`s3://${bucket}/state/${table}`);
  expect(Buffer.from(copy?.body ?? []).toString()).toBe((await snapshot.first())?.getString(0));
}

/** Everything first, then one row of each kind, then nothing. */
async function expectHistory(full: string, table: string): Promise<void> {
  expect(await run(table)).toMatchObject({ read: 8, inserted: 8, reason: "the first load of this target" });
  await expectLoaded(full, table);
  await change(full);
  expect(await run(table, "plan")).toMatchObject({ exitCode: 2, inserted: 1, updated: 1, deleted: 1 });
  expect(await run(table)).toMatchObject({ exitCode: 0, inserted: 1, updated: 1, deleted: 1 });
  await expectLoaded(full, table);
  expect(await run(table)).toMatchObject({ exitCode: 0, inserted: 0, updated: 0, deleted: 0, changes: false });
}

const headOfState = (table: string) => s3.send(new HeadObjectCommand({ Bucket: bucket, Key: `state/${table}` }));

async function keysBelow(prefix: string): Promise<readonly string[]> {
  const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix }));
  return Contents.map(({ Key = "" }) => Key);
}

describe("iceberg-to-aurora on AWS", () => {
  test("a table of the Glue catalog, a nested item, and the snapshot's copy under a KMS key", async () => {
    const full = await makeTable(GLUE, "orders");
    await putItem("orders", nested(values(GLUE, "orders", { "db_load.snapshot_s3_kms_key_id": KMS_KEY })));
    await expectHistory(full, "orders");
    expect(await headOfState("orders")).toMatchObject({ ServerSideEncryption: "aws:kms", SSEKMSKeyId: KMS_KEY });
    expect(await keysBelow("glue/")).not.toEqual([]);
  });

  test("a table of a hadoop catalog, a dotted item, and the snapshot's copy without a key", async () => {
    const full = await makeTable(HADOOP, "visits");
    await putItem("visits", dotted(values(HADOOP, "visits")));
    await expectHistory(full, "visits");
    const head = await headOfState("visits");
    expect(head.ServerSideEncryption).not.toBe("aws:kms");
    expect(head.SSEKMSKeyId).toBeUndefined();
    expect(await keysBelow("hadoop/")).not.toEqual([]);
  });
});
