import { jdbcOptions, type PostgresConnection } from "../../lib/postgres/connection.js";
import type { SparkSession } from "../../lib/spark/index.js";

/** Rows of the sample table before anything changes. */
export const SAMPLE_ROWS = 200_000;

const COLUMNS = `order_id BIGINT NOT NULL, customer STRING, status STRING, amount DECIMAL(12,2), placed_at TIMESTAMP, paid BOOLEAN,
  tags ARRAY<STRING>, ship_to STRUCT<city: STRING, zip: STRING>`;

/** The row of an order as it was written by a version of it: the same id and version always give the same row. */
const orderColumns = (id: string, version: number) => `
  ${id} AS order_id,
  concat('customer-', ${id} % 5000) AS customer,
  element_at(array('new', 'packed', 'shipped', 'delivered'), CAST((${id} + ${version}) % 4 AS INT) + 1) AS status,
  CAST((${id} * 37 + ${version} * 1001) % 1000000 / 100 AS DECIMAL(12,2)) AS amount,
  timestamp_micros(1767225600000000 + ${id} * 1000003 + ${version}) AS placed_at,
  CASE WHEN ${id} % 10 = 0 THEN NULL ELSE ${id} % 3 = 0 END AS paid,
  IF(${id} % 7 = 0, array('gift', 'größe-ü'), array()) AS tags,
  named_struct('city', concat('city-', ${id} % 100), 'zip', lpad(CAST(${id} % 100000 AS STRING), 5, '0')) AS ship_to`;

/**
 * Makes the sample table: 200,000 orders in one snapshot. An older one of that name is dropped.
 *
 * @param table name as Spark SQL text, e.g. `lake.sample.orders`.
 */
export async function createSample(spark: SparkSession, table: string): Promise<void> {
  const namespace = table.split(".").slice(0, -1).join(".");
  await spark.sql(`CREATE NAMESPACE IF NOT EXISTS ${namespace}`);
  await spark.sql(`DROP TABLE IF EXISTS ${table} PURGE`);
  await spark.sql(`CREATE TABLE ${table} (${COLUMNS}) USING iceberg TBLPROPERTIES ('format-version' = '2')`);
  await spark.sql(`ALTER TABLE ${table} SET IDENTIFIER FIELDS order_id`);
  await spark.sql(`INSERT INTO ${table} SELECT ${orderColumns("id", 0)} FROM range(1, ${SAMPLE_ROWS + 1})`);
}

/** Commits one snapshot that updates 2,000 orders, deletes 1,000 and adds 1,000. */
export async function changeSample(spark: SparkSession, table: string): Promise<void> {
  await spark.sql(
    `MERGE INTO ${table} AS t
     USING (SELECT id % 200 = 50 AS gone, ${orderColumns("id", 1)}
              FROM (SELECT id FROM range(1, ${SAMPLE_ROWS + 1}) WHERE id % 100 = 0 OR id % 200 = 50
                    UNION ALL SELECT id FROM range(${SAMPLE_ROWS + 1}, ${SAMPLE_ROWS + 1001}))) AS s
        ON t.order_id = s.order_id
      WHEN MATCHED AND s.gone THEN DELETE
      WHEN MATCHED THEN UPDATE SET t.status = s.status, t.amount = s.amount, t.placed_at = s.placed_at
      WHEN NOT MATCHED THEN INSERT (order_id, customer, status, amount, placed_at, paid, tags, ship_to)
        VALUES (s.order_id, s.customer, s.status, s.amount, s.placed_at, s.paid, s.tags, s.ship_to)`,
  );
}

/** Rows that only one side has; both 0 when source and target are equal. */
export interface Difference {
  readonly rows: bigint;
  readonly onlyInSource: bigint;
  readonly onlyInTarget: bigint;
}

/** Compares the sample table with its copy in PostgreSQL, both ways, on Spark's executors. */
export async function compareSample(
  spark: SparkSession,
  table: string,
  connection: PostgresConnection,
  target: string,
): Promise<Difference> {
  const columns = "order_id, customer, status, amount, placed_at, paid";
  // The nested columns are compared in the form that PostgreSQL's jsonb prints.
  const source = await spark.sql(
    `SELECT ${columns}, to_json(tags) AS tags, ship_to.city AS city, ship_to.zip AS zip FROM ${table}`,
  );
  const copy = spark.read
    .format("jdbc")
    .options({
      ...jdbcOptions(connection, "glue-connect sample"),
      query: `SELECT ${columns}, array_to_json(tags)::text AS tags, ship_to->>'city' AS city, ship_to->>'zip' AS zip FROM ${target}`,
    })
    .load()
    .select("order_id", "customer", "status", "amount", "placed_at", "paid", "tags", "city", "zip");
  const [rows, onlyInSource, onlyInTarget] = await Promise.all([
    source.count(),
    source.exceptAll(copy).count(),
    copy.exceptAll(source).count(),
  ]);
  return { rows: BigInt(rows), onlyInSource: BigInt(onlyInSource), onlyInTarget: BigInt(onlyInTarget) };
}
