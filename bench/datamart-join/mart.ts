import { type Fingerprint, sparkFingerprint } from "../harness/fingerprint.js";
import type { BenchServers } from "../harness/servers.js";

/** Database of the bench's tables. */
export const DATABASE = "bench_datamart";
const table = (name: string) => `${DATABASE}.account_metadata_datamart_public_${name}`;
const seconds = (expression: string) => `timestamp_micros(1767225600000000 + (${expression}) * 1000)`;

/**
 * Makes the tables: transactions, and for each hundred of them ten accounts, with metadata and risk, and twenty queues; a tenth as many
 * adjustments.
 */
export async function createTables(servers: BenchServers, transactions: number): Promise<void> {
  const accounts = Math.max(Math.floor(transactions / 10), 1);
  const queues = accounts * 2;
  const tables: Record<string, string> = {
    account: `SELECT concat('a', id) AS account_id, concat('account ', id) AS name, IF(id % 7 = 0, 'closed', 'open') AS status, ${seconds("id")} AS updated_at FROM range(${accounts})`,
    account_metadata: `SELECT id, concat('a', id) AS account_id, IF(id % 3 = 0, 'gold', 'standard') AS tier, concat('C', id % 50) AS country, ${seconds("id")} AS updated_at FROM range(${accounts})`,
    account_risk: `SELECT id, concat('a', id) AS account_id, CAST(id % 100 AS INT) AS score, ${seconds("id")} AS updated_at FROM range(${accounts})`,
    queue: `SELECT concat('q', id) AS queue_id, concat('a', id % ${accounts}) AS account_id, concat('queue ', id % 13) AS name, ${seconds("id")} AS updated_at FROM range(${queues})`,
    settlement_transaction: `SELECT concat('t', id) AS transaction_id, concat('q', id % ${queues}) AS queue_id, CAST(id % 99991 AS DECIMAL(12,2)) AS amount, IF(id % 2 = 0, 'USD', 'EUR') AS currency, ${seconds("id")} AS created_at FROM range(${transactions})`,
    adjustment: `SELECT id AS adjustment_id, concat('t', id) AS transaction_id, CAST(id % 97 AS DECIMAL(12,2)) AS amount, ${seconds("id")} AS updated_at FROM range(${accounts})`,
  };
  await servers.sql(`DROP DATABASE IF EXISTS ${DATABASE} CASCADE`, `CREATE DATABASE ${DATABASE}`);
  for (const [name, query] of Object.entries(tables)) {
    await servers.sql(`CREATE TABLE ${table(name)} USING parquet AS ${query}`);
  }
}

/** New transactions, and changed accounts, in percent. Everything gets times later than any before. */
export async function changeTables(
  servers: BenchServers,
  transactions: number,
  change: { readonly transactions: number; readonly accounts: number },
  round: number,
): Promise<void> {
  const accounts = Math.max(Math.floor(transactions / 10), 1);
  const fresh = Math.ceil((transactions * change.transactions) / 100);
  const changed = Math.ceil((accounts * change.accounts) / 100);
  const step = Math.max(Math.floor(accounts / Math.max(changed, 1)), 1);
  const time = (expression: string) => `timestamp_micros(1767225600000000 + ${round} * 100000000000 + (${expression}))`;
  await servers.sql(
    `INSERT INTO ${table("settlement_transaction")} SELECT concat('t', ${round}, '-', id), concat('q', id * 7 % ${accounts * 2}),
      CAST(id AS DECIMAL(12,2)), 'INR', ${time("id")} FROM range(${fresh})`,
    `CREATE TABLE ${DATABASE}.changed USING parquet AS SELECT account_id,
      IF(hit, concat('renamed ', ${round}), name) AS name, status, IF(hit, ${time("0")}, updated_at) AS updated_at
      FROM (SELECT *, CAST(substr(account_id, 2) AS BIGINT) % ${step} = ${round} % ${step} AS hit FROM ${table("account")})`,
    `INSERT OVERWRITE ${table("account")} SELECT * FROM ${DATABASE}.changed`,
    `DROP TABLE ${DATABASE}.changed`,
  );
}

const OURS = [
  ...["account_id", "account_name", "status", "account_updated_at", "account_metadata_id", "tier", "country"],
  ...["account_metadata_updated_at", "account_risk_id", "score", "account_risk_updated_at", "queue_id", "queue_name"],
  ...["queue_updated_at", "transaction_id", "amount", "currency", "created_at"],
];
const PEERS = [
  ...["account_id", "name", "status", "updated_at", "account_metadata_id", "account_metadata_tier"],
  ...["account_metadata_country", "account_metadata_updated_at", "account_risk_id", "account_risk_score"],
  ...["account_risk_updated_at", "queue_id", "queue_name", "queue_updated_at", "settlement_transaction_transaction_id"],
  ...["settlement_transaction_amount", "settlement_transaction_currency", "settlement_transaction_created_at"],
];
const SOURCE = [
  ...["a.account_id", "a.name", "a.status", "a.updated_at", "m.id", "m.tier", "m.country", "m.updated_at", "r.id"],
  ...["r.score", "r.updated_at", "q.queue_id", "q.name", "q.updated_at", "t.transaction_id", "t.amount", "t.currency"],
  "t.created_at",
];

/** What a full load gives. */
export async function sourceFingerprint(servers: BenchServers): Promise<Fingerprint> {
  return await fingerprint(
    servers,
    SOURCE,
    `${table("account")} a JOIN ${table("account_metadata")} m ON a.account_id = m.account_id
      JOIN ${table("account_risk")} r ON a.account_id = r.account_id JOIN ${table("queue")} q ON a.account_id = q.account_id
      JOIN ${table("settlement_transaction")} t ON q.queue_id = t.queue_id`,
  );
}

/** The newest rows of each transaction in an output. */
export async function outputFingerprint(servers: BenchServers, folder: string, ours: boolean): Promise<Fingerprint> {
  const [columns, batch, group] = ours
    ? [OURS, "batch_id", "transaction_id"]
    : [PEERS, "batch", "settlement_transaction_transaction_id"];
  const rows = `SELECT *, max(${batch}) OVER (PARTITION BY ${group}) AS newest FROM parquet.\`${folder}\``;
  return await fingerprint(servers, columns, `(${rows}) WHERE ${batch} = newest`);
}

async function fingerprint(servers: BenchServers, columns: readonly string[], from: string): Promise<Fingerprint> {
  // NULLs would be left out of the hash.
  const values = columns.map((column) => `coalesce(CAST(${column} AS STRING), '-')`).join(", ");
  return await sparkFingerprint(servers, `SELECT xxhash64(${values}) AS hash FROM ${from}`);
}
