import {
  type Fingerprint,
  postgresFingerprint,
  postgresHash,
  sparkFingerprint,
  sparkHash,
} from "../harness/fingerprint.js";
import type { BenchServers } from "../harness/servers.js";

/** Tables of items in a schema of PostgreSQL; the same values in each run. */
export interface ItemTables {
  readonly schema: string;
  readonly tables: readonly string[];
  /** Of each table. */
  readonly rows: number;
}

const DAYS = 30;
/** Beyond this the version of a row moves its time past all times of the versions before. */
const FROM = "2020-01-01 00:00:00Z";

/** The values of a version of the rows, as SQL over `i`. */
const values = (rows: number, version: number) =>
  `i, md5(i || ' ${version}'), ((i * 7919 + ${version}) % 10000000)::numeric(12,2) / 100, (i % 97)::int, i % 5 = 0,
   CASE WHEN i % 20 <> 0 THEN repeat(md5('note ' || i), 2) END,
   '${FROM}'::timestamptz + ${version} * interval '${DAYS} days' + i * (interval '${DAYS} days' / ${rows})`;

export async function createItems({ database }: BenchServers, { schema, tables, rows }: ItemTables): Promise<void> {
  await database.query(`DROP SCHEMA IF EXISTS ${schema} CASCADE`);
  await database.query(`CREATE SCHEMA ${schema}`);
  for (const table of tables) {
    await database.query(
      `CREATE TABLE ${schema}.${table} (id bigint PRIMARY KEY, name text, price numeric(12,2), qty int, gift boolean, note text, updated_at timestamptz)`,
    );
    await database.query(
      `INSERT INTO ${schema}.${table} SELECT ${values(rows, 0)} FROM generate_series(1::bigint, ${rows}) AS i`,
    );
    await database.query(`CREATE INDEX ON ${schema}.${table} (updated_at)`);
    await database.query(`VACUUM ANALYZE ${schema}.${table}`);
  }
}

/** A new version of every `every`th row of every `each`th table. */
export async function changeItems(
  { database }: BenchServers,
  { schema, tables, rows }: ItemTables,
  change: { readonly every: number; readonly each: number },
  version: number,
): Promise<void> {
  for (const [index, table] of tables.entries()) {
    if (index % change.each !== 0) continue;
    await database.query(
      `UPDATE ${schema}.${table} AS t SET (id, name, price, qty, gift, note, updated_at) = (SELECT ${values(rows, version)} FROM (SELECT t.id AS i) AS one)
        WHERE id % ${change.every} = ${version % change.every}`,
    );
  }
}

const TEXT = {
  postgres:
    "concat_ws('|', id, name, price, qty, gift::text, note, (extract(epoch FROM updated_at) * 1000000)::bigint)",
  spark: "concat_ws('|', id, name, price, qty, gift, note, unix_micros(updated_at))",
};

/** @returns of the present rows of all tables. */
export async function sourceFingerprint(servers: BenchServers, { schema, tables }: ItemTables): Promise<Fingerprint> {
  const hash = (table: string) => postgresHash(`'${table} ' || ${TEXT.postgres}`);
  return await postgresFingerprint(
    servers,
    tables.map((table) => `SELECT ${hash(table)} AS hash FROM ${schema}.${table}`).join(" UNION ALL "),
  );
}

/**
 * The latest rows of an output.
 *
 * @param order by which the latest row of a key is the first.
 */
export async function outputFingerprint(
  servers: BenchServers,
  { tables }: ItemTables,
  folder: string,
  order: string,
): Promise<Fingerprint> {
  const latest = (table: string) =>
    `SELECT *, row_number() OVER (PARTITION BY id ORDER BY ${order}) AS place FROM parquet.\`${folder}/${table}\``;
  const hash = (table: string) => sparkHash(`concat('${table} ', ${TEXT.spark})`);
  return await sparkFingerprint(
    servers,
    tables.map((table) => `SELECT ${hash(table)} AS hash FROM (${latest(table)}) WHERE place = 1`).join(" UNION ALL "),
  );
}
