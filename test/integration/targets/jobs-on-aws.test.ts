import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from "node:fs";
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
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { SparkSession } from "../../../lib/spark/index.js";
import { createObjectStore } from "../../../lib/storage/index.js";
import { AWS_TEST_OPTIONS, awsVariables } from "../../support/aws.js";
import { makeCertificates } from "../../support/certificates.js";
import { checkRequests } from "../../support/check-requests.js";
import { startCluster } from "../../support/cluster.js";
import { type FakeSessions, startFakeSessions } from "../../support/fake-sessions.js";
import { buildCli, type CliProgram } from "../../unit/cli/cli-process.js";

// Each job as it is: first by a session of EMR Serverless, then by one of Glue, then submitted to either, beside its driver.
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
let cli: CliProgram;
let fake: FakeSessions;
let env: Record<string, string>;

beforeAll(async () => {
  const certificates = makeCertificates(folder, "jobs");
  const secret = { username: decodeURIComponent(address.username), password: decodeURIComponent(address.password) };
  [cli, fake] = await Promise.all([
    buildCli(),
    startFakeSessions(inject("sparkRemote"), inject("awsEndpoint"), certificates),
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
  // As npm packs it: package/bin/node.
  mkdirSync(join(folder, "package", "bin"), { recursive: true });
  symlinkSync(realpathSync(process.execPath), join(folder, "package", "bin", "node"));
  execFileSync("tar", ["-C", folder, "-chf", join(folder, "node.tgz"), "package"]);
  env = {
    ...awsVariables(aws.endpoint),
    AWS_ENDPOINT_URL_EMR_SERVERLESS: fake.endpoint,
    AWS_ENDPOINT_URL_GLUE: fake.endpoint,
    GRPC_DEFAULT_SSL_ROOTS_FILE_PATH: certificates.authority,
    GLUE_CONNECT_HOME: inject("stateHome"),
    GLUE_CONNECT_EMR_APPLICATION_ID: "00fakeapplication",
    GLUE_CONNECT_EMR_ROLE: ROLE,
    GLUE_CONNECT_GLUE_ROLE: ROLE,
    GLUE_CONNECT_ARTIFACTS: `${s3}/artifacts`,
    GLUE_CONNECT_LOGS: `${s3}/logs`,
    GLUE_CONNECT_NODE_ARCHIVE: join(folder, "node.tgz"),
  };
}, 300_000);
afterAll(async () => {
  await spark?.close();
  await fake?.close();
  await cli?.remove();
  await database.query(`DROP SCHEMA IF EXISTS ${name} CASCADE`);
  await database.end();
  rmSync(folder, { recursive: true, force: true });
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
  readonly args: readonly string[];
  readonly submitTo: "emr" | "glue";
  prepare(): Promise<void>;
  change(time: 1 | 2): Promise<unknown>;
  readonly written: readonly [number, number, number];
  /** What is there in the end. */
  result(): Promise<readonly string[]>;
  readonly expected: readonly string[];
}

const MART = "account_metadata_datamart_public_";
const iceberg = `jobs_on_aws.${name}.orders`;
const spoken = async (query: string) => (await (await spark.sql(query)).collect()).map((row) => row.getString(0) ?? "");

const CASES: Readonly<Record<string, Case>> = {
  "athena-cdc": {
    args: [
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
    args: [
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
    args: [
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
    args: ["--metadata_table_name", name, "--source_system_id", "shop", "--metadata_type", "incremental"],
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
};

test.each(Object.keys(CASES))(
  "%s: sessions of EMR Serverless and Glue, and a job run",
  async (job) => {
    const { args, submitTo, prepare, change, written, result, expected } = CASES[job] as Case;
    await prepare();
    const argv = [job, "--JOB_NAME", `${job}-${name}`, ...args, "--json"];
    const rows = async (command: readonly string[]) => {
      const { exitCode, stdout, stderr } = await cli.run([...command.slice(0, 1), ...argv, ...command.slice(1)], {
        cwd: folder,
        env,
      });
      const log = [...fake.runs.values()].at(-1)?.process?.said.stdout;
      expect(exitCode, `${stderr}\n${stdout}\n${log}`).toBe(0);
      const report = JSON.parse(stdout.slice(stdout.indexOf("{"))) as {
        tables: Record<string, { inserted: number; updated: number }>;
      };
      return Object.values(report.tables).reduce((sum, { inserted, updated }) => sum + inserted + updated, 0);
    };
    const before = fake.sessions.size;
    const counts = [await rows(["run", "--target", "emr"])];
    await change(1);
    counts.push(await rows(["run", "--target", "glue"]));
    expect([...fake.sessions.values()].slice(before).map(({ service }) => service)).toEqual(["emr", "glue"]);
    await change(2);
    counts.push(await rows(["submit", "--target", submitTo, "--wait"]));
    expect(counts).toEqual(written);
    expect(await result()).toEqual(expected);
    expect([...fake.sessions.values()].every(({ ended }) => ended !== undefined)).toBe(true);
  },
  300_000,
);

test("every request is one that the services' own models allow", async () => {
  const { problems, operations } = await checkRequests(fake.requests);
  expect(problems).toEqual([]);
  expect(operations).toEqual(
    expect.arrayContaining(["StartSession", "CreateSession", "StartJobRun", "CreateJob", "GetTables"]),
  );
});
