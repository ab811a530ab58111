import type { JobContext } from "../../lib/glue/index.js";
import {
  CONNECTOR_FORMAT,
  deleteFromHere,
  SINK_FORMAT,
  type SparkOptions,
  type WriteSettings,
  writeOptions,
} from "../../lib/keyspaces/index.js";
import * as f from "../../lib/spark/functions/index.js";
import { type DataFrame, quoteName, type SparkSession } from "../../lib/spark/index.js";
import { hasSink, type Target } from "./cluster.js";
import { withRetries } from "./retries.js";

/** Writes into one table, with retries. */
export interface TableWriter {
  /** Whether the server has our sink: deletes and rates are its executors' then. */
  readonly sink: boolean;
  /** @param options of the connector, for this write. */
  upsert(rows: DataFrame, options?: SparkOptions): Promise<void>;
  delete(keys: DataFrame): Promise<void>;
}

/** What writes into a table of a cluster. */
export async function writerOf(
  context: JobContext<unknown>,
  spark: SparkSession,
  { connection, driverConf, session, table }: Target,
  settings: WriteSettings & { readonly retries: number },
): Promise<TableWriter> {
  const sink = await hasSink(spark);
  if (!sink && settings.rowsPerSecond !== undefined) {
    context.report.warn(
      "RATE_LIMIT_PARTIAL",
      "The Spark server has no sink of ours: RATE_LIMIT holds for deletes only",
    );
  }
  const options = writeOptions(table, connection, settings, driverConf);
  const write = (rows: DataFrame, format: string, operation: string, more: SparkOptions = {}) =>
    rows.write
      .format(format)
      .options({ ...options, ...more, operation })
      .mode("append")
      .save();
  // Rows of one partition go together to a Cassandra; Amazon Keyspaces wants them spread, or one partition is throttled.
  const arranged = (rows: DataFrame) =>
    connection.region === undefined
      ? rows.repartition(...(table.partitionKey.map((name) => f.col(quoteName(name))) as [ReturnType<typeof f.col>]))
      : rows.repartition(64);
  return {
    sink,
    upsert: (rows, more) =>
      withRetries(context, settings.retries, () =>
        write(arranged(rows), sink ? SINK_FORMAT : CONNECTOR_FORMAT, "upsert", more),
      ),
    delete: (keys) =>
      withRetries(context, settings.retries, async () => {
        if (sink) await write(arranged(keys), SINK_FORMAT, "delete");
        else await deleteFromHere(session, table, keys, { ...settings, signal: context.signal });
      }),
  };
}
