import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { SparkSession } from "../../lib/spark/index.js";

/** Database of Spark's catalog that the sample makes. */
export const SAMPLE_DATABASE = "athena_sample";

const TABLES: Readonly<Record<string, string>> = {
  accounts: `USING parquet AS SELECT id AS account_id, concat('account ', id) AS name,
    timestamp_micros(1772359200342680 + (id * 1000003)) AS updated_at FROM range(1, 1001)`,
  orders: `USING orc PARTITIONED BY (day) AS SELECT id AS order_id, id % 1000 + 1 AS account_id, CAST(id % 997 AS DECIMAL(12,2)) AS amount,
    timestamp_micros(1772359200000000 + (id * 1000003)) AS updated_at, date_add(DATE'2026-03-01', CAST(id % 5 AS INT)) AS day FROM range(1, 5001)`,
  events: `USING json AS SELECT id AS event_id, IF(id % 2 = 0, 'click', 'view') AS kind,
    timestamp_micros(1772359200000000 + (id * 1000003)) AS updated_at FROM range(1, 2001)`,
  countries:
    "USING csv AS SELECT * FROM VALUES ('DE', 'Germany'), ('IN', 'India'), ('SG', 'Singapore') AS t(code, name)",
};

const CHANGES: readonly string[] = [
  `INSERT INTO ${SAMPLE_DATABASE}.accounts SELECT id, concat('renamed ', id), timestamp_micros(1772445600000000 + id) FROM range(1, 51)`,
  `INSERT INTO ${SAMPLE_DATABASE}.orders SELECT id, id % 1000 + 1, CAST(1 AS DECIMAL(12,2)), timestamp_micros(1772445600000000 + id), DATE'2026-03-06' FROM range(5001, 5101)`,
];

/**
 * Makes the sample: a database with four tables of four formats, and the file of primary keys.
 *
 * @param folder for the data; what an older sample left there is deleted.
 * @returns the command line of a run.
 */
export async function makeSample(spark: SparkSession, folder: string): Promise<string[]> {
  await spark.sql(`DROP DATABASE IF EXISTS ${SAMPLE_DATABASE} CASCADE`);
  await rm(folder, { recursive: true, force: true });
  await mkdir(join(folder, "keys"), { recursive: true });
  await writeFile(
    join(folder, "keys", "primary_keys.csv"),
    "table_name,primary_key_column\naccounts,account_id\norders,order_id\nevents,event_id\n",
  );
  await spark.sql(`CREATE DATABASE ${SAMPLE_DATABASE} LOCATION '${join(folder, "tables").replaceAll("'", "\\'")}'`);
  for (const [name, definition] of Object.entries(TABLES))
    await spark.sql(`CREATE TABLE ${SAMPLE_DATABASE}.${name} ${definition}`);
  const uri = (name: string) => pathToFileURL(join(folder, name)).href;
  return [
    ...["--JOB_NAME", "sample", "--athena_database_name", SAMPLE_DATABASE, "--load_type", "incremental"],
    ...["--output_path", uri("out"), "--cdc_path", uri("cdc"), "--primary_key_s3_prefix", uri("keys/")],
  ];
}

/** New and changed rows in two of the tables. */
export async function changeSample(spark: SparkSession): Promise<void> {
  for (const statement of CHANGES) await spark.sql(statement);
}
