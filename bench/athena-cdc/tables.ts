import { join } from "node:path";
import { type Fingerprint, sparkFingerprint } from "../harness/fingerprint.js";
import type { BenchServers } from "../harness/servers.js";

/** Tables of a database, all of one form; every value is a function of table, row and version. */
export interface Tables {
  /** Spark's database; it holds nothing else. */
  readonly database: string;
  readonly tables: number;
  /** Rows of each table before changes; every fifth key has an older version beside it. */
  readonly rows: number;
}

/** 2026-01-01; round 0 takes the 24 hours from here, each change the hour after the last one. */
const FROM = 1_767_225_600_000_000n;
const HOUR = 3_600_000_000n;

export const tableName = (index: number) => `t${String(index).padStart(3, "0")}`;

const folderOf = (servers: BenchServers, { database }: Tables) => join(servers.folder, `${database}-source`);

/** Rows of all tables in one frame, as SQL over `n`, the row in its table, and `t`, the table. */
function rows(version: string, from: bigint, spread: bigint): string {
  const salt = `(t * 1000000000 + n) * 100 + ${version}`;
  return `t, t * 1000000000 + n AS id, concat('row ', lower(hex(xxhash64(${salt}, 1L)))) AS payload,
    CAST(pmod(xxhash64(${salt}, 2L), 10000000) / 100 AS DECIMAL(12,2)) AS amount,
    element_at(array('plain', 'O\\'Brien', 'line1\\nline2', 'naïve – 日本語', '', 'NULL'), CAST(pmod(xxhash64(${salt}, 3L), 6) + 1 AS INT)) AS txt,
    timestamp_micros(${from}L + pmod(xxhash64(${salt}, 4L), ${spread}L)) AS updated_at`;
}

async function append(servers: BenchServers, tables: Tables, query: string): Promise<void> {
  const frame = await servers.session.sql(query);
  // One file a table when they are small.
  const written = tables.tables > 1 ? frame.repartition("t") : frame;
  await written.write.mode("append").partitionBy("t").parquet(folderOf(servers, tables));
}

/** Makes the tables with their first rows, and a key file for them. */
export async function createTables(servers: BenchServers, tables: Tables): Promise<void> {
  const all = `(SELECT id DIV ${tables.rows} AS t, id % ${tables.rows} AS n FROM range(0, ${tables.tables * tables.rows}, 1, 4))`;
  await append(
    servers,
    tables,
    `SELECT ${rows("0", FROM + HOUR, 23n * HOUR)} FROM ${all} UNION ALL SELECT ${rows("1", FROM, HOUR)} FROM ${all} WHERE n % 5 = 0`,
  );
  await servers.sql(`CREATE DATABASE ${tables.database}`);
  for (let index = 0; index < tables.tables; index++) {
    await servers.sql(
      `CREATE TABLE ${tables.database}.${tableName(index)} (id BIGINT, payload STRING, amount DECIMAL(12,2), txt STRING, updated_at TIMESTAMP)
       USING parquet LOCATION '${folderOf(servers, tables)}/t=${index}'`,
    );
  }
}

/** Appends to each table a hundredth of its rows: half of them new versions, half new keys. @param round counts from 1. */
export async function changeTables(servers: BenchServers, tables: Tables, round: number): Promise<void> {
  const half = Math.max(1, Math.floor(tables.rows / 200));
  const from = FROM + BigInt(23 + round) * HOUR;
  const first = tables.rows + (round - 1) * half;
  const list = `SELECT id AS t FROM range(${tables.tables})`;
  const changed = `(SELECT t, k.id * 199 AS n FROM (${list}) CROSS JOIN range(${half}) AS k)`;
  const added = `(SELECT t, k.id AS n FROM (${list}) CROSS JOIN range(${first}, ${first + half}) AS k)`;
  const version = String(round + 1);
  await append(
    servers,
    tables,
    `SELECT ${rows(version, from, HOUR)} FROM ${changed} UNION ALL SELECT ${rows(version, from, HOUR)} FROM ${added}`,
  );
  // The bench's own session has listed the files before.
  for (let index = 0; index < tables.tables; index++) {
    await servers.session.catalog.refreshTable(`${tables.database}.${tableName(index)}`);
  }
}

/**
 * The newest row of each key, of all tables.
 *
 * @param folders with Parquet files of the tables; `undefined`: of the source.
 */
export async function newestRows(
  servers: BenchServers,
  tables: Tables,
  folders?: readonly string[],
): Promise<Fingerprint> {
  const { session } = servers;
  const paths =
    folders ?? Array.from({ length: tables.tables }, (_, index) => `${folderOf(servers, tables)}/t=${index}`);
  const view = `newest_${tables.database}`;
  await session.read
    .schema("id BIGINT, payload STRING, amount DECIMAL(12,2), txt STRING, updated_at TIMESTAMP")
    .parquet(...paths)
    .createOrReplaceTempView(view);
  return await sparkFingerprint(
    servers,
    `SELECT xxhash64(to_json(newest)) AS hash
       FROM (SELECT max_by(struct(id, payload, amount, txt, unix_micros(updated_at) AS u), updated_at) AS newest FROM ${view} GROUP BY id)`,
  );
}

export async function dropTables(servers: BenchServers, { database }: Tables): Promise<void> {
  await servers.sql(`DROP DATABASE ${database} CASCADE`);
}
