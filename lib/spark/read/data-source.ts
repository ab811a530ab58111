import { SparkConnectError } from "../errors.js";
import type { SparkSession } from "../session/session.js";

/**
 * Whether the server has a data source. Nothing is run: the server looks for the class when it is asked for a schema.
 *
 * @param format as `format()` of a reader or writer takes it: `iceberg`, or a class.
 * @example
 * if (!(await hasDataSource(spark, "iceberg"))) throw new Error("Start the server with Iceberg's runtime");
 */
export async function hasDataSource(spark: SparkSession, format: string): Promise<boolean> {
  try {
    await spark.read.format(format).load().schema();
    return true;
  } catch (error) {
    // One that is there misses its options, or can't be read from.
    if (error instanceof SparkConnectError) {
      return !/DATA_SOURCE_NOT_FOUND|Failed to find (the )?data source|ClassNotFoundException/i.test(
        `${error.code} ${error.message}`,
      );
    }
    throw error;
  }
}
