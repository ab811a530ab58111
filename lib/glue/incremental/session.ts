import type { Logger } from "../../logger.js";
import type { SparkSession } from "../../spark/index.js";
import { JOIN_SETTINGS } from "../join-settings.js";

/** The server drops sessions that nobody asked for an hour; one of the same id then begins without its settings. */
const FRESH_MS = 20 * 60_000;

const FEW_ROWS = {
  // Compiling a plan takes longer than some ten thousand rows do without it.
  "spark.sql.codegen.wholeStage": "false",
  "spark.sql.codegen.factoryMode": "NO_CODEGEN",
  // What a JDBC source has is endless to Spark otherwise, which then sends rows around that one task has.
  "spark.sql.defaultSizeInBytes": String(32 * 1024 * 1024),
};

/**
 * Fixes the session's settings that results depend on, because a server may run with any: timestamps without a zone are UTC,
 * names ignore case as in Glue, casts give NULL instead of an error, Parquet holds timestamps to the microsecond and with
 * statistics, and days before 1582 are written as they are.
 */
export async function fixSession(spark: SparkSession, more: Readonly<Record<string, string>> = {}): Promise<void> {
  await spark.conf.set({
    ...JOIN_SETTINGS,
    ...more,
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

/**
 * Sessions for tables of few rows, beside the run's own: Spark interprets their plans instead of compiling them, which would cost more than
 * it saves. Results are the same.
 *
 * @param spark the run's session, which ends them; it serves as one where the server gives no other.
 * @returns a function that gives the session for a table's work, fixed as {@link fixSession} does.
 */
export function sessionsForFewRows(spark: SparkSession, log: Logger): () => Promise<SparkSession> {
  let last: { readonly session: Promise<SparkSession>; askedAt: number } | undefined;
  return () => {
    const now = Date.now();
    if (last === undefined || now - last.askedAt > FRESH_MS) last = { session: interpreting(spark, log), askedAt: now };
    last.askedAt = now;
    return last.session;
  };
}

async function interpreting(spark: SparkSession, log: Logger): Promise<SparkSession> {
  try {
    const session = spark.newSession();
    await fixSession(session, FEW_ROWS);
    return session;
  } catch (error) {
    log.debug("the server gives no second session; small tables are loaded in the run's own", { error: String(error) });
    return spark;
  }
}
