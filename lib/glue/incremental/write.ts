import * as f from "../../spark/functions/index.js";
import { type DataFrame, Observation, type SparkSession } from "../../spark/index.js";
import { hadoopPath, hadoopReadPath } from "../../storage/uri.js";
import { DELIVERED_SCHEMA } from "./rows.js";

/** What the executors wrote. */
export interface Written {
  readonly rows: bigint;
}

/**
 * Has the executors write rows as Parquet, counted while they pass by: one Spark operation.
 *
 * @param folder a URI that nobody else writes to; it must not be there yet.
 * @param partitionBy columns whose values become folders.
 */
export async function writeParquet(
  rows: DataFrame,
  folder: string,
  options: { readonly partitionBy?: readonly string[] } = {},
): Promise<Written> {
  const seen = new Observation(`rows of ${folder}`);
  const writer = rows.observe(seen, f.count(f.lit(1)).as("rows")).write.mode("error");
  const { partitionBy = [] } = options;
  await (partitionBy.length === 0 ? writer : writer.partitionBy(...partitionBy)).parquet(hadoopPath(folder));
  // The metrics come with the answer; a server that sends none would have us wait for ever.
  const metrics = await Promise.race([
    seen.get(),
    new Promise<undefined>((resolve) => setImmediate(resolve, undefined)),
  ]);
  if (metrics !== undefined) return { rows: BigInt(metrics.rows as bigint) };
  return { rows: BigInt(await rows.session.read.parquet(hadoopReadPath(folder)).count()) };
}

/** The delivered rows that a state counts on. */
export function readDelivered(spark: SparkSession, folder: string): DataFrame {
  return spark.read.schema(DELIVERED_SCHEMA).parquet(hadoopReadPath(folder));
}

/** An attempt's rows, with the schema that is known, so that nothing is asked twice. */
export function readAttempt(
  spark: SparkSession,
  folder: string,
  schema: Parameters<SparkSession["read"]["schema"]>[0],
) {
  return spark.read.schema(schema).parquet(hadoopReadPath(folder));
}
