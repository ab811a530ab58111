import {
  type Fingerprint,
  postgresFingerprint,
  postgresHash,
  sparkFingerprint,
  sparkHash,
} from "../harness/fingerprint.js";
import type { BenchServers } from "../harness/servers.js";

/** An Iceberg table of orders; every value of it is a function of row id, version and seed, so it is the same in each run. */
export interface OrdersTable {
  /** As Spark SQL: `lake.bench.orders`. */
  readonly name: string;
  readonly rows: number;
  readonly mode: "copy-on-write" | "merge-on-read";
  /** Months of `order_date` are partitions; there are 24, and the last one has 20 days of the 720. */
  readonly partitioned: boolean;
}

/** Changes of one commit, in per cent of the table's rows, and where: in the newest part of the rows, from 0 to 1. */
export interface OrdersChange {
  readonly updates: number;
  readonly deletes: number;
  readonly inserts: number;
  readonly newest: number;
}

const SEED = 42;
const DAYS = 720;
/** Micros of 2025-12-21, from which on `updated_at` counts. */
const UPDATED_FROM = (1_704_067_200 + DAYS * 86_400) * 1_000_000;

/** Texts that programs tend to break. */
const TRICKY = String.raw`array('plain', 'O\'Brien', 'say "hi"', 'line1\nline2', 'tab\there', 'comma, semi; pipe|', 'back\\slash', 'naïve – 日本語',
  '🙂 emoji', '  lead/trail  ', 'NULL', 'null', '\\N', '', '%s %d', 'x\'); DROP TABLE t; --')`;

const hash = (salt: string, of: string) => `xxhash64(${of}, ${SEED}L, '${salt}')`;
const below = (salt: string, limit: number, of: string) => `pmod(${hash(salt, of)}, ${limit})`;
const hex = (salt: string, of: string) => `lower(lpad(hex(${hash(salt, of)}), 16, '0'))`;

/** The columns, as SQL over `id`, of a version of the rows. */
function columns(rows: number, version: number): Readonly<Record<string, string>> {
  const v = `(id * 8 + ${version})`;
  return {
    order_id: "id",
    tenant_id: `CAST(${below("ten", 50, "id")} AS INT)`,
    customer_id: below("cust", 100_000, "id"),
    status: `element_at(array('NEW', 'PAID', 'SHIPPED', 'DONE', 'CANCELLED'), CAST(${below("st", 5, v)} + 1 AS INT))`,
    amount: `CAST((${below("amt", 100_000_000, v)} - 1000000) / 100 AS DECIMAL(18,2))`,
    qty: `CAST(${below("qty", 100, v)} AS INT)`,
    unit_price: `CAST(${below("px", 1_000_000, v)} AS DOUBLE) / 64`,
    note: `CASE WHEN ${below("nn", 20, v)} = 0 THEN NULL WHEN ${below("nt", 10, v)} = 0 THEN element_at(${TRICKY}, CAST(${below("tr", 16, v)} + 1 AS INT))
      ELSE concat('note ', ${hex("note", v)}, ' ', ${hex("note2", v)}) END`,
    is_gift: `${below("gift", 5, "id")} = 0`,
    order_date: `date_add(DATE'2024-01-01', CAST(id * ${DAYS} DIV ${rows} AS INT))`,
    updated_at: `timestamp_micros(${UPDATED_FROM}L + ${version} * 3600000000L + ${below("ts", 3_600_000_000, v)})`,
  };
}

const select = (rows: number, version: number) =>
  Object.entries(columns(rows, version))
    .map(([name, sql]) => `${sql} AS ${name}`)
    .join(", ");

/** Makes the table, in one snapshot. */
export async function createOrders(servers: BenchServers, table: OrdersTable): Promise<void> {
  const properties = [
    "'format-version' = '2'",
    ...["merge", "update", "delete"].map((operation) => `'write.${operation}.mode' = '${table.mode}'`),
    ...(table.partitioned ? [] : ["'write.distribution-mode' = 'none'"]),
  ];
  await servers.sql(
    "CREATE NAMESPACE IF NOT EXISTS lake.bench",
    `DROP TABLE IF EXISTS ${table.name} PURGE`,
    `CREATE TABLE ${table.name} USING iceberg ${table.partitioned ? "PARTITIONED BY (months(order_date))" : ""}
     TBLPROPERTIES (${properties.join(", ")}) AS SELECT ${select(table.rows, 0)} FROM range(0, ${table.rows}, 1, 16)`,
  );
}

/** Commits a change as one MERGE. @param round counts the changes of the table from 1. */
export async function changeOrders(
  servers: BenchServers,
  table: OrdersTable,
  change: OrdersChange,
  round: number,
): Promise<void> {
  const { rows } = table;
  const from = rows - Math.floor(rows * change.newest);
  const share = (percent: number) => Math.round((percent / change.newest) * 10_000);
  const [deleted, changed] = [share(change.deletes), share(change.deletes) + share(change.updates)];
  const inserts = Math.floor((rows * change.inserts) / 100);
  const first = rows + (round - 1) * inserts;
  const names = Object.keys(columns(rows, 0));
  const roll = below(`op${round}`, 1_000_000, "id");
  // Naming the days lets the MERGE itself leave the other partitions alone.
  const newest = table.partitioned
    ? `AND t.order_date >= date_add(DATE'2024-01-01', ${Math.floor((from * DAYS) / rows)})`
    : "";
  await servers.sql(
    `MERGE INTO ${table.name} AS t USING (
       SELECT ${select(rows, round)}, IF(${roll} < ${deleted}, 'D', 'U') AS op FROM range(${from}, ${rows}, 1, 16) WHERE ${roll} < ${changed}
       UNION ALL SELECT ${select(rows, round)}, 'I' AS op FROM range(${first}, ${first + inserts}, 1, 1)
     ) AS s ON t.order_id = s.order_id ${newest}
     WHEN MATCHED AND s.op = 'D' THEN DELETE
     WHEN MATCHED THEN UPDATE SET ${names.map((name) => `t.${name} = s.${name}`).join(", ")}
     WHEN NOT MATCHED AND s.op = 'I' THEN INSERT (${names.join(", ")}) VALUES (${names.map((name) => `s.${name}`).join(", ")})`,
  );
}

/** Every column as the same text in Spark and in PostgreSQL, NULL told from every text. */
const text = (casts: { micros: string; string: string; int8: string }) =>
  [
    ...["order_id", "tenant_id", "customer_id", "status", "amount", "qty"].map(
      (name) => `CAST(${name} AS ${casts.string})`,
    ),
    // Multiples of 1/64: the product is whole, and so has one text only.
    `CAST(CAST(unit_price * 64 AS ${casts.int8}) AS ${casts.string})`,
    "note",
    `CAST(is_gift AS ${casts.string})`,
    `CAST(order_date AS ${casts.string})`,
    `CAST(${casts.micros} AS ${casts.string})`,
  ]
    .map((value) => `coalesce('=' || ${value}, 'NULL')`)
    .join(", ");

const SPARK_TEXT = text({ micros: "unix_micros(updated_at)", string: "STRING", int8: "BIGINT" });
const POSTGRES_TEXT = text({
  micros: "CAST(extract(epoch FROM updated_at) * 1000000 AS bigint)",
  string: "text",
  int8: "bigint",
});

/** @returns of the present rows of the Iceberg table. */
export async function sourceFingerprint(servers: BenchServers, table: OrdersTable): Promise<Fingerprint> {
  return await sparkFingerprint(
    servers,
    `SELECT ${sparkHash(`concat_ws('|', ${SPARK_TEXT})`)} AS hash FROM ${table.name}`,
  );
}

/** @param target as PostgreSQL's SQL: `bench.orders`. */
export async function targetFingerprint(servers: BenchServers, target: string): Promise<Fingerprint> {
  return await postgresFingerprint(
    servers,
    `SELECT ${postgresHash(`concat_ws('|', ${POSTGRES_TEXT})`)} AS hash FROM ${target}`,
  );
}
