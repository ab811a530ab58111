import { rm } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { SparkSession } from "../../lib/spark/index.js";

/** Database of Spark's catalog that the sample makes. */
export const SAMPLE_DATABASE = "datamart_sample";

const table = (name: string) => `${SAMPLE_DATABASE}.account_metadata_datamart_public_${name}`;
/** Some seconds after 2026-03-01 10:00, with microseconds. */
const seconds = (expression: string) => `timestamp_micros(1772359200342680 + (${expression}) * 1000003)`;

const TABLES: Readonly<Record<string, string>> = {
  account: `SELECT concat('acc-', id) AS account_id, concat('Account ', id) AS name, ${seconds("id")} AS updated_at FROM range(1, 201)`,
  account_metadata: `SELECT id, concat('acc-', id) AS account_id, IF(id % 3 = 0, 'gold', 'standard') AS tier, ${seconds("id")} AS updated_at FROM range(1, 201)`,
  account_risk: `SELECT id, concat('acc-', id) AS account_id, CAST(id % 100 AS INT) AS score, ${seconds("id * 2")} AS updated_at FROM range(1, 201)`,
  queue: `SELECT concat('q-', id) AS queue_id, concat('acc-', id % 200 + 1) AS account_id, IF(id % 2 = 0, 'open', 'done') AS status, ${seconds("id")} AS updated_at FROM range(1, 401)`,
  settlement_transaction: `SELECT concat('txn-', id) AS transaction_id, concat('q-', id % 400 + 1) AS queue_id, CAST(id % 997 AS DECIMAL(12,2)) AS amount, ${seconds("id")} AS created_at FROM range(1, 4001)`,
  adjustment: `SELECT id AS adjustment_id, concat('txn-', id) AS transaction_id, CAST(-1 AS DECIMAL(12,2)) AS amount, ${seconds("id")} AS updated_at FROM range(1, 51)`,
};

const CHANGES: readonly string[] = [
  // Ten new transactions.
  `INSERT INTO ${table("settlement_transaction")}
    SELECT concat('txn-', uuid()), concat('q-', id), CAST(id AS DECIMAL(12,2)), current_timestamp() FROM range(1, 11)`,
  // One account gets another name: its joined rows change although they aren't new.
  ...rewrite("account", "account_id = 'acc-7'", ["account_id"], { name: "concat(name, ' Ltd')" }),
  // A queue goes to another account, and its transactions with it.
  ...rewrite("queue", "queue_id = 'q-9'", ["queue_id", "status"], {
    account_id: "IF(account_id = 'acc-10', 'acc-11', 'acc-10')",
  }),
];

/** Statements that change rows of a Parquet table, which can't be overwritten while it is read. */
function rewrite(
  name: string,
  rows: string,
  kept: readonly string[],
  changes: Readonly<Record<string, string>>,
): string[] {
  const set = Object.entries({ ...changes, updated_at: "current_timestamp()" });
  const columns = set.map(([column, value]) => `IF(${rows}, ${value}, ${column}) AS ${column}`);
  const copy = `${SAMPLE_DATABASE}.changed_${name}`;
  return [
    `CREATE TABLE ${copy} USING parquet AS SELECT ${[...kept, ...columns].join(", ")} FROM ${table(name)}`,
    `INSERT OVERWRITE ${table(name)} BY NAME SELECT * FROM ${copy}`,
    `DROP TABLE ${copy}`,
  ];
}

/**
 * Makes the sample: a database with the six documented tables.
 *
 * @param folder for the data; what an older sample left there is deleted.
 * @returns the command line of a run.
 */
export async function makeSample(spark: SparkSession, folder: string): Promise<string[]> {
  await spark.sql(`DROP DATABASE IF EXISTS ${SAMPLE_DATABASE} CASCADE`);
  await rm(folder, { recursive: true, force: true });
  await spark.sql(`CREATE DATABASE ${SAMPLE_DATABASE} LOCATION '${join(folder, "tables").replaceAll("'", "\\'")}'`);
  for (const [name, query] of Object.entries(TABLES)) {
    await spark.sql(`CREATE TABLE ${table(name)} USING parquet AS ${query}`);
  }
  const uri = (name: string) => pathToFileURL(join(folder, name)).href;
  return [
    ...["--JOB_NAME", "sample", "--database_name", SAMPLE_DATABASE, "--load_type", "incremental"],
    ...["--timestamp_s3_path", uri("state/last_load_timestamp.csv"), "--output_path", uri("out")],
  ];
}

/** New transactions, a changed account, a queue that moves to another account. */
export async function changeSample(spark: SparkSession): Promise<void> {
  for (const statement of CHANGES) await spark.sql(statement);
}
