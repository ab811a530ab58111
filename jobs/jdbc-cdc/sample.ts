import { rm } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { PostgresConnection } from "../../lib/postgres/connection.js";
import { PostgresSession } from "../../lib/postgres/session.js";
import type { SparkSession } from "../../lib/spark/index.js";

/** Database of the local PostgreSQL that the sample makes. */
export const SAMPLE_DATABASE = "jdbc_sample";

type Postgres = (database: string) => Promise<PostgresConnection>;

const TABLES: readonly string[] = [
  "DROP SCHEMA public CASCADE",
  "CREATE SCHEMA public",
  `CREATE TABLE accounts (account_id bigint PRIMARY KEY, name text NOT NULL, balance numeric(12,2), tags text[],
     updated_at timestamptz NOT NULL DEFAULT now())`,
  `INSERT INTO accounts SELECT i, 'account ' || i, i * 1.25, ARRAY['new'], '2026-03-01 10:00:00.34268Z'::timestamptz + i * interval '1.000003 s'
     FROM generate_series(1, 1000) AS i`,
  `CREATE TABLE orders (order_id bigint PRIMARY KEY, account_id bigint REFERENCES accounts, amount numeric(12,2), details jsonb,
     updated_at timestamp)`,
  `INSERT INTO orders SELECT i, i % 1000 + 1, i % 997, jsonb_build_object('items', i % 5), '2026-03-01'::timestamp + i * interval '61.000001 s'
     FROM generate_series(1, 5000) AS i`,
  "CREATE TABLE events (kind text, at_page text, updated_at timestamptz)",
  `INSERT INTO events SELECT CASE i % 2 WHEN 0 THEN 'click' ELSE 'view' END, '/page/' || i % 7, '2026-03-01 10:00Z'::timestamptz + i % 300 * interval '1 s'
     FROM generate_series(1, 2000) AS i`,
  "CREATE TABLE countries (code char(2) PRIMARY KEY, name text)",
  "INSERT INTO countries VALUES ('DE', 'Germany'), ('IN', 'India'), ('SG', 'Singapore')",
];

const CHANGES: readonly string[] = [
  "UPDATE accounts SET name = 'renamed ' || account_id, updated_at = now() WHERE account_id <= 50",
  "INSERT INTO orders SELECT max(order_id) + 1, 1, 10, '{}', now() AT TIME ZONE 'UTC' FROM orders",
  // As a client that sets the column itself: the time lies before what was loaded.
  "INSERT INTO orders SELECT max(order_id) + 1, 2, 20, '{}', '2026-03-01' FROM orders",
  "DELETE FROM orders WHERE order_id = 17",
];

/**
 * Makes the sample: a database with four tables, one of which has no `updated_at`.
 *
 * @param folder for the output; what an older sample left there is deleted.
 * @returns the command line of a run.
 */
export async function makeSample(_spark: SparkSession, folder: string, postgres: Postgres): Promise<string[]> {
  await rm(folder, { recursive: true, force: true });
  await runOn(await postgres(SAMPLE_DATABASE), TABLES);
  const uri = (name: string) => pathToFileURL(join(folder, name)).href;
  return [
    ...["--JOB_NAME", "sample", "--database_name", SAMPLE_DATABASE, "--environment", "dev", "--load_type", "cdc"],
    ...["--s3_output_path", uri("out"), "--csv_file_name", uri("state/max_timestamps.csv")],
    ...["--log_folder_path", uri("logs"), "--deletes", "soft"],
  ];
}

/** New, changed and deleted rows, and one whose time lies before what was loaded. */
export async function changeSample(_spark: SparkSession, _folder: string, postgres: Postgres): Promise<void> {
  await runOn(await postgres(SAMPLE_DATABASE), CHANGES);
}

async function runOn(connection: PostgresConnection, statements: readonly string[]): Promise<void> {
  await using session = await PostgresSession.connect(connection, { applicationName: "glue-connect sample" });
  for (const statement of statements) await session.query(statement);
}
