import type { SparkSession } from "../../spark/index.js";

/**
 * Fixes the session's settings that results depend on, because a server may run with any: timestamps without a zone are UTC,
 * names ignore case as in Glue, casts give NULL instead of an error, Parquet holds timestamps to the microsecond and with
 * statistics, and days before 1582 are written as they are.
 */
export async function fixSession(spark: SparkSession): Promise<void> {
  await spark.conf.set({
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.timestampType": "TIMESTAMP_LTZ",
    "spark.sql.caseSensitive": "false",
    "spark.sql.ansi.enabled": "false",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.sql.parquet.int96RebaseModeInWrite": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.int96RebaseModeInRead": "CORRECTED",
  });
}
