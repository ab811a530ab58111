import type { BenchServers } from "./servers.js";

/** What a set of rows comes to: its size, and a sum of hashes over every value of every row, which doesn't know an order. */
export interface Fingerprint {
  readonly rows: string;
  readonly hash: string;
}

/** @param hashes a query for Spark with one column, `hash`, a whole number. */
export async function sparkFingerprint({ session }: BenchServers, hashes: string): Promise<Fingerprint> {
  const frame = await session.sql(
    `SELECT CAST(count(*) AS STRING), CAST(coalesce(sum(CAST(hash AS DECIMAL(38,0))), 0) AS STRING) FROM (${hashes})`,
  );
  const row = await frame.first();
  return { rows: row?.getString(0) ?? "", hash: row?.getString(1) ?? "" };
}

/** @param hashes a query for PostgreSQL with one column, `hash`, a whole number. */
export async function postgresFingerprint({ database }: BenchServers, hashes: string): Promise<Fingerprint> {
  const { rows } = await database.query<Fingerprint>(
    `SELECT count(*)::text AS rows, coalesce(sum(hash), 0)::text AS hash FROM (${hashes}) AS hashed`,
  );
  const [row] = rows;
  if (row === undefined) throw new Error("PostgreSQL gave no fingerprint");
  return row;
}

/** The hash of a text that both know, as a whole number of 60 bits: an expression for Spark. */
export const sparkHash = (text: string) => `CAST(conv(substr(md5(${text}), 1, 15), 16, 10) AS BIGINT)`;

/** The same for PostgreSQL. */
export const postgresHash = (text: string) => `('x' || substr(md5(${text}), 1, 15))::bit(60)::bigint`;

/** Whether two sets hold the same rows; `undefined` equals nothing. */
export const isSame = (one: Fingerprint, other: Fingerprint | undefined) =>
  one.rows === other?.rows && one.hash === other.hash;

/** For messages. */
export const described = (one: Fingerprint | undefined) =>
  one === undefined ? "nothing" : `${one.rows} rows with hash ${one.hash}`;
