import { rm } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { SparkNeeds } from "../../lib/glue/index.js";
import {
  type CassandraConnection,
  CassandraSession,
  CONNECTOR_FORMAT,
  SINK_FORMAT,
  writeOptions,
} from "../../lib/keyspaces/index.js";
import type { PostgresConnection } from "../../lib/postgres/index.js";
import type { DataFrame, SparkSession } from "../../lib/spark/index.js";
import { settledSchema, tableRows } from "./cluster.js";

export const needs: SparkNeeds = { packages: ["cassandra"] };

/** Keyspace that the sample makes on the local Cassandra, with the document's table and one that is to become equal to it. */
export const SAMPLE_KEYSPACE = "sample";
const TABLE = "random_access";
const TARGET = "random_access_copy";
const ROWS = 5_000;

type Cassandra = () => Promise<CassandraConnection>;
type Postgres = (database: string) => Promise<PostgresConnection>;

const rows = (spark: SparkSession, where: string, value: string): DataFrame =>
  spark
    .range(ROWS + 500)
    .where(where)
    .selectExpr(
      "concat('p', id % 500) AS partition_id",
      "id AS row_id",
      `${value} AS value`,
      "date'2026-03-01' AS day",
    );

/**
 * Makes the keyspace with the two tables, and fills the first.
 *
 * @param folder for the exports; what an older sample left there is deleted.
 * @returns the command line of a run.
 */
export async function makeSample(
  spark: SparkSession,
  folder: string,
  _postgres: Postgres,
  cassandra: Cassandra,
): Promise<string[]> {
  const connection = await cassandra();
  await using session = await CassandraSession.connect(connection);
  await rm(folder, { recursive: true, force: true });
  await session.execute(
    `DROP KEYSPACE IF EXISTS ${SAMPLE_KEYSPACE}`,
    `CREATE KEYSPACE ${SAMPLE_KEYSPACE} WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}`,
    ...[TABLE, TARGET].map(
      (table) =>
        `CREATE TABLE ${SAMPLE_KEYSPACE}.${table} (partition_id text, row_id bigint, value text, day date, PRIMARY KEY (partition_id, row_id))`,
    ),
  );
  const name = { keyspace: SAMPLE_KEYSPACE, table: TABLE };
  await settledSchema(await session.table(name), () => tableRows(spark, name, connection));
  await write(rows(spark, `id < ${ROWS}`, "concat('value ', id)"), connection, CONNECTOR_FORMAT);
  return [
    ...["--JOB_NAME", "sample", "--KEYSPACE_NAME", SAMPLE_KEYSPACE, "--TABLE_NAME", TABLE],
    ...["--TARGET_TABLE", TARGET, "--S3URI", pathToFileURL(join(folder, "export")).href],
  ];
}

/** 500 new rows, 1,000 changed ones (every tenth of them with a value that became NULL), 200 deleted. */
export async function changeSample(
  spark: SparkSession,
  _folder: string,
  _postgres: Postgres,
  cassandra: Cassandra,
): Promise<void> {
  const connection = await cassandra();
  await write(rows(spark, `id >= ${ROWS}`, "concat('new ', id)"), connection, CONNECTOR_FORMAT);
  const changed = rows(spark, "id BETWEEN 1000 AND 1999", "IF(id % 10 = 0, NULL, concat('changed ', id))");
  await write(changed, connection, CONNECTOR_FORMAT);
  await write(rows(spark, "id < 200", "NULL"), connection, SINK_FORMAT);
}

async function write(changes: DataFrame, connection: CassandraConnection, format: string): Promise<void> {
  const options = writeOptions({ keyspace: SAMPLE_KEYSPACE, table: TABLE }, connection, {});
  await changes.write
    .format(format)
    .options({ ...options, operation: "delete" })
    .mode("append")
    .save();
}
