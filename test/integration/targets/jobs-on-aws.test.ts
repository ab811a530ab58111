// First, because gRPC reads whom to trust when it is loaded.
import "../../support/trusted-certificates.js";

import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  CreateTableCommand as CreateDynamoTableCommand,
  DynamoDBClient,
  PutItemCommand,
} from "@aws-sdk/client-dynamodb";
import { CreateConnectionCommand, CreateDatabaseCommand, CreateTableCommand, GlueClient } from "@aws-sdk/client-glue";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { CreateSecretCommand, SecretsManagerClient } from "@aws-sdk/client-secrets-manager";
import pg from "pg";
import { afterAll, beforeAll, expect, inject, test, vi } from "vitest";
import { SparkSession } from "../../../lib/spark/index.js";
import { createObjectStore } from "../../../lib/storage/index.js";
import { AWS_TEST_OPTIONS, awsVariables } from "../../support/aws.js";
import { checkRequests } from "../../support/check-requests.js";
import { runHere } from "../../support/cli-here.js";
import { startCluster } from "../../support/cluster.js";
import { type FakeSessions, startFakeSessions } from "../../support/fake-sessions.js";
import { KeyspacesScenario } from "../../support/keyspaces-scenario.js";
import { trusted } from "../../support/trusted-certificates.js";

// Each job as it is, two at a time: first by a session of EMR Serverless, then by one of Glue, then submitted to either, beside its driver.
const aws = { ...AWS_TEST_OPTIONS, endpoint: inject("awsEndpoint") };
const folder = mkdtempSync(join(tmpdir(), "glue-connect-jobs-"));
const store = createObjectStore(aws);
const glue = new GlueClient(aws);
const name = `t_${randomUUID().replaceAll("-", "").slice(0, 12)}`;
const bucket = name.replace("_", "-");
const s3 = `s3://${bucket}`;
const ROLE = "arn:aws:iam::123456789012:role/etl";
const database = new pg.Client(inject("postgresUrl"));
const address = new URL(inject("postgresUrl"));
let spark: SparkSession;
let keyspaces: KeyspacesScenario | undefined;
let fake: FakeSessions;
vi.setConfig({ maxConcurrency: 2 });

beforeAll(async () => {
  const secret = { username: decodeURIComponent(address.username), password: decodeURIComponent(address.password) };
  [fake] = await Promise.all([
    startFakeSessions(inject("sparkRemote"), inject("awsEndpoint"), trusted),
    database.connect(),
    new S3Client({ ...aws, forcePathStyle: true }).send(new CreateBucketCommand({ Bucket: bucket })),
    new SecretsManagerClient(aws).send(
      new CreateSecretCommand({ Name: `aurora/${name}`, SecretString: JSON.stringify(secret) }),
    ),
    ...["files", "mart", "jdbc"].map((kind) =>
      glue.send(new CreateDatabaseCommand({ DatabaseInput: { Name: `${name}_${kind}` } })),
    ),
  ]);
  fake.behaviour.cluster = await startCluster(folder, aws.endpoint, store);
  await database.query(`CREATE SCHEMA ${name}`);
  spark = await SparkSession.builder().remote(inject("sparkRemote")).getOrCreate();
  // As npm packs it: package/bin/node. The launcher's own test has the whole program in it.
  mkdirSync(join(folder, "package", "bin"), { recursive: true });
  writeFileSync(join(folder, "package", "bin", "node"), `#!/bin/sh\nexec "${process.execPath}" "$@"\n`);
  execFileSync("tar", ["-C", folder, "-cf", join(folder, "node.tgz"), "package"]);
  const env = {
    ...awsVariables(aws.endpoint),
    AWS_ENDPOINT_URL_EMR_SERVERLESS: fake.endpoint,
    AWS_ENDPOINT_URL_GLUE: fake.endpoint,
    GLUE_CONNECT_HOME: inject("stateHome"),
    GLUE_CONNECT_EMR_APPLICATION_ID: "00fakeapplication",
    GLUE_CONNECT_EMR_ROLE: ROLE,
    GLUE_CONNECT_GLUE_ROLE: ROLE,
    GLUE_CONNECT_ARTIFACTS: `${s3}/artifacts`,
    GLUE_CONNECT_LOGS: `${s3}/logs`,
    GLUE_CONNECT_NODE_ARCHIVE: join(folder, "node.tgz"),
  };
  for (const [variable, value] of Object.entries(env)) vi.stubEnv(variable, value);
}, 300_000);
afterAll(async () => {
  vi.unstubAllEnvs();
  await keyspaces?.[Symbol.asyncDispose]();
  await spark?.close();
  await fake?.close();
  await database.query(`DROP SCHEMA IF EXISTS ${name} CASCADE`);
  await database.end();
  for (const one of [folder, trusted.folder]) rmSync(one, { recursive: true, force: true });
});

/** A table of files in Glue's catalog, as JSON lines below `<bucket>/in/`. */
async function createFiles(kind: string, table: string, columns: Readonly<Record<string, string>>): Promise<void> {
  const Columns = Object.entries(columns).map(([Name, Type]) => ({ Name, Type }));
  await glue.send(
    new CreateTableCommand({
      DatabaseName: `${name}_${kind}`,
      TableInput: {
        Name: table,
        TableType: "EXTERNAL_TABLE",
        Parameters: { classification: "json" },
        StorageDescriptor: { Location: `${s3}/in/${table}/`, Columns },
      },
    }),
  );
}
async function addFile(table: string, file: string, ...rows: object[]): Promise<void> {
  await store.put(`${s3}/in/${table}/${file}.json`, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
}
const minute = (n: number) => `2026-03-01 10:0${n}:00.34268${n}`;

/** What a job needs, what changes before its second and third run, and how many rows each run writes. */
interface Case {
  /** Asked for when everything is prepared. */
  args(): readonly string[];
  readonly submitTo: "emr" | "glue";
  prepare(): Promise<void>;
  change(time: 1 | 2): Promise<unknown>;
  /** Rows that each run writes to the target. */
  readonly written: readonly [number, number, number];
  /** Which of a report's tables is the target; default: all of them. */
  isTarget?(table: string): boolean;
  /** What is there in the end. */
  result(): Promise<readonly string[]>;
  readonly expected: readonly string[];
}

const MART = "account_metadata_datamart_public_";
const iceberg = `jobs_on_aws.${name}.orders`;
const spoken = async (query: string) => (await (await spark.sql(query)).collect()).map((row) => row.getString(0) ?? "");

const CASES: Readonly<Record<string, Case>> = {
  "athena-cdc": {
    args: () => [
      ...[
        "--athena_database_name",
        `${name}_files`,
        "--load_type",
        "incremental",
        "--output_path",
        `${s3}/athena/out/`,
      ],
      ...["--cdc_path", `${s3}/athena/cdc`, "--primary_key_s3_prefix", `${s3}/athena/keys/`],
    ],
    submitTo: "emr",
    async prepare() {
      await store.put(`${s3}/athena/keys/a.csv`, "table_name,primary_key_column\nevents,id\n");
      await createFiles("files", "events", { id: "bigint", v: "string", updated_at: "timestamp" });
      await addFile("events", "1", { id: 1, v: "a", updated_at: minute(1) }, { id: 2, v: "b", updated_at: minute(2) });
    },
    change: (time) => addFile("events", `more-${time}`, { id: 2, v: `b${time}`, updated_at: minute(2 + time) }),
    written: [2, 1, 1],
    result: () => spoken(`SELECT concat(id, v) FROM parquet.\`s3a://${bucket}/athena/out/events\` ORDER BY 1`),
    expected: ["1a", "2b", "2b1", "2b2"],
  },
  "datamart-join": {
    args: () => [
      ...["--database_name", `${name}_mart`, "--load_type", "incremental", "--config", `${s3}/mart/config.json`],
      ...["--timestamp_s3_path", `${s3}/mart/last_load_timestamp.csv`, "--output_path", `${s3}/mart`],
    ],
    submitTo: "glue",
    async prepare() {
      const [account, queue] = [`${MART}account`, `${MART}queue`];
      const join = { table: queue, on: ["account_id"] };
      const tables = { [queue]: { key: "queue_id" }, [account]: { key: "account_id" } };
      const config = { tables, joined: { base: account, joins: [join], group_table: queue } };
      await store.put(`${s3}/mart/config.json`, JSON.stringify(config));
      await createFiles("mart", account, { account_id: "string", name: "string", updated_at: "timestamp" });
      await createFiles("mart", queue, { queue_id: "string", account_id: "string", updated_at: "timestamp" });
      await addFile(account, "1", { account_id: "a", name: "Ann", updated_at: minute(1) });
      await addFile(queue, "1", { queue_id: "q0", account_id: "a", updated_at: minute(1) });
    },
    change: (time) =>
      addFile(`${MART}queue`, `more-${time}`, { queue_id: `q${time}`, account_id: "a", updated_at: minute(1 + time) }),
    written: [1, 1, 1],
    result: () =>
      spoken(
        `SELECT concat(queue_id, name) FROM parquet.\`s3a://${bucket}/mart/datamart/${name}_mart/joined\` ORDER BY 1`,
      ),
    expected: ["q0Ann", "q1Ann", "q2Ann"],
  },
  "jdbc-cdc": {
    args: () => [
      ...["--database_name", `${name}_jdbc`, "--environment", "prod", "--load_type", "cdc"],
      ...["--s3_output_path", `${s3}/jdbc/out/`, "--csv_file_name", `${s3}/jdbc/max_timestamps.csv`],
      ...["--log_folder_path", `${s3}/jdbc/logs/`],
    ],
    submitTo: "emr",
    async prepare() {
      const { hostname, port, pathname } = address;
      const url = `jdbc:postgresql://${hostname}:${port}${pathname}`;
      const ConnectionProperties = { JDBC_CONNECTION_URL: url, SECRET_ID: `aurora/${name}` };
      await glue.send(
        new CreateConnectionCommand({
          ConnectionInput: { Name: `${name}-aurora`, ConnectionType: "JDBC", ConnectionProperties },
        }),
      );
      await glue.send(
        new CreateTableCommand({
          DatabaseName: `${name}_jdbc`,
          TableInput: {
            Name: "shop_orders",
            Parameters: { classification: "postgresql", connectionName: `${name}-aurora` },
            StorageDescriptor: { Location: `${pathname.slice(1)}.${name}.orders`, Columns: [] },
          },
        }),
      );
      await database.query(
        `CREATE TABLE ${name}.orders (id int PRIMARY KEY, v text, updated_at timestamptz DEFAULT now())`,
      );
      await database.query(`INSERT INTO ${name}.orders VALUES (1, 'a'), (2, 'b')`);
    },
    change: (time) => database.query(`INSERT INTO ${name}.orders VALUES (${time} + 2, 'c')`),
    written: [2, 1, 1],
    result: () => spoken(`SELECT concat(id, v) FROM parquet.\`s3a://${bucket}/jdbc/out/shop_orders\` ORDER BY 1`),
    expected: ["1a", "2b", "3c", "4c"],
  },
  "iceberg-to-aurora": {
    args: () => ["--metadata_table_name", name, "--source_system_id", "shop", "--metadata_type", "incremental"],
    submitTo: "glue",
    async prepare() {
      const warehouse = `s3a://${bucket}/warehouse`;
      await spark.conf.set({
        "spark.sql.catalog.jobs_on_aws": "org.apache.iceberg.spark.SparkCatalog",
        "spark.sql.catalog.jobs_on_aws.type": "hadoop",
        "spark.sql.catalog.jobs_on_aws.warehouse": warehouse,
      });
      await spark.sql(`CREATE TABLE ${iceberg} (id BIGINT, name STRING) USING iceberg`);
      await spark.sql(`INSERT INTO ${iceberg} VALUES (1, 'one'), (2, 'two')`);
      const dynamo = new DynamoDBClient(aws);
      const keys = ["source_system_id", "metadata_type"] as const;
      await dynamo.send(
        new CreateDynamoTableCommand({
          TableName: name,
          BillingMode: "PAY_PER_REQUEST",
          AttributeDefinitions: keys.map((AttributeName) => ({ AttributeName, AttributeType: "S" })),
          KeySchema: keys.map((AttributeName, n) => ({ AttributeName, KeyType: n === 0 ? "HASH" : "RANGE" })),
        }),
      );
      const target = {
        "iceberg_properties.iceberg_configuration.iceberg_catalog_warehouse": warehouse,
        "iceberg_properties.iceberg_configuration.iceberg_catalog_type": "hadoop",
        "iceberg_properties.database_name": name,
        "iceberg_properties.table_name": "orders",
        "db_load.aurora_host": address.hostname,
        "db_load.aurora_port": address.port,
        "db_load.aurora_db_name": address.pathname.slice(1),
        "db_load.aurora_secret": `aurora/${name}`,
        "db_load.aurora_db_target_schema": name,
        "db_load.aurora_db_target_table_name": "loaded",
        "db_load.aurora_data_load_type": "incremental",
        "db_load.primary_key": "id",
        "db_load.snapshot_s3_bucket": bucket,
        "db_load.snapshot_s3_key": "state/orders",
      };
      const values = Object.entries(target).map(([key, S]) => [`target.${key}`, { S }]);
      const Item = {
        source_system_id: { S: "shop" },
        metadata_type: { S: "incremental" },
        ...Object.fromEntries(values),
      };
      await dynamo.send(new PutItemCommand({ TableName: name, Item }));
    },
    change: (time) => spark.sql(`INSERT INTO ${iceberg} VALUES (${time} + 2, 'more')`),
    written: [2, 1, 1],
    async result() {
      const { rows } = await database.query<{ row: string }>(`SELECT id || name AS row FROM ${name}.loaded ORDER BY 1`);
      return rows.map(({ row }) => row);
    },
    expected: ["1one", "2two", "3more", "4more"],
  },
  "keyspaces-diff": {
    args() {
      const { contactPoints = [], port, localDataCenter } = keyspaces?.connection ?? {};
      const cluster = `cassandra://${contactPoints[0]}:${port}/${localDataCenter}`;
      return [
        ...["--KEYSPACE_NAME", name, "--TABLE_NAME", "t", "--TARGET_TABLE", "copy", "--S3URI", `${s3}/keyspaces`],
        ...["--CLUSTER", cluster, "--CREDENTIALS", `cassandra/${name}`],
        ...["--TARGET_CLUSTER", cluster, "--TARGET_CREDENTIALS", `cassandra/${name}`],
      ];
    },
    submitTo: "emr",
    async prepare() {
      keyspaces = await KeyspacesScenario.create(name);
      const { username, password } = keyspaces.connection;
      await new SecretsManagerClient(aws).send(
        new CreateSecretCommand({ Name: `cassandra/${name}`, SecretString: JSON.stringify({ username, password }) }),
      );
      await keyspaces.cassandra.execute(
        ...["t", "copy"].map((table) => `CREATE TABLE ${name}.${table} (id int PRIMARY KEY, v text)`),
        ...["(1, 'a')", "(2, 'b')"].map((row) => `INSERT INTO ${name}.t (id, v) VALUES ${row}`),
      );
    },
    async change(time) {
      await keyspaces?.cassandra.execute(
        `INSERT INTO ${name}.t (id, v) VALUES (2, 'b${time}')`,
        `INSERT INTO ${name}.t (id, v) VALUES (${time + 2}, 'c')`,
        ...(time === 2 ? [`DELETE FROM ${name}.t WHERE id = 1`] : []),
      );
    },
    isTarget: (table) => table.includes("import into"),
    written: [2, 2, 3],
    result: async () => (await keyspaces?.rows("copy")) ?? [],
    expected: ['{"id": 2, "v": "b2"}', '{"id": 3, "v": "c"}', '{"id": 4, "v": "c"}'],
  },
};

test.concurrent.each(Object.keys(CASES))(
  "%s: sessions of EMR Serverless and Glue, and a job run",
  async (job) => {
    const { args, submitTo, prepare, change, written, isTarget, result, expected } = CASES[job] as Case;
    await prepare();
    const argv = [job, "--JOB_NAME", `${job}-${name}`, ...args(), "--json"];
    const tags = ["emr", "glue"].flatMap((place) => ["--set", `${place}.tags.job=${job}`]);
    const rows = async (command: string, ...more: readonly string[]) => {
      const { exitCode, stdout, stderr } = await runHere(command, ...argv, ...more, ...tags);
      const log = [...fake.runs.values()].findLast(({ id }) => stdout.includes(id))?.process?.said.stdout;
      expect(exitCode, `${stderr}\n${stdout}\n${log}`).toBe(0);
      const report = JSON.parse(stdout.slice(stdout.indexOf("{"))) as {
        tables: Record<string, { inserted: number; updated: number; deleted: number }>;
      };
      return Object.entries(report.tables)
        .filter(([table]) => isTarget?.(table) ?? true)
        .reduce((sum, [, { inserted, updated, deleted }]) => sum + inserted + updated + deleted, 0);
    };
    const counts = [await rows("run", "--target", "emr")];
    await change(1);
    counts.push(await rows("run", "--target", "glue"));
    const sessions = [...fake.sessions.values()].filter(
      ({ request }) => ((request.tags ?? request.Tags) as Record<string, string>).job === job,
    );
    expect(sessions.map(({ service, ended }) => [service, ended !== undefined])).toEqual([
      ["emr", true],
      ["glue", true],
    ]);
    await change(2);
    counts.push(await rows("submit", "--target", submitTo, "--wait"));
    expect(counts).toEqual(written);
    expect(await result()).toEqual(expected);
  },
  300_000,
);

test("every request is one that the services' own models allow", async () => {
  const { problems, operations } = await checkRequests(fake.requests);
  expect(problems).toEqual([]);
  expect(operations).toEqual(
    expect.arrayContaining([
      ...["StartSession", "StartJobRun"].map((operation) => `emr-serverless.${operation}`),
      ...["CreateSession", "CreateJob", "StartJobRun", "GetTables"].map((operation) => `glue.${operation}`),
    ]),
  );
});
