import type { JobContext } from "../../lib/glue/index.js";
import {
  CONNECTOR_FORMAT,
  deleteStatement,
  executeFromHere,
  type RowStatement,
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
  /** @param statement is asked for again before each further attempt. */
  execute(rows: DataFrame, statement: () => Promise<RowStatement>): Promise<void>;
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
      "The Spark server has no sink of ours: RATE_LIMIT holds for deletes, lists and static columns only",
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
  const here = { ...settings, signal: context.signal };
  const execute = async (rows: DataFrame, statement: RowStatement) => {
    if (!sink) {
      await executeFromHere(session, table, rows, statement, here);
      return;
    }
    const { cql, columns, growingFrom, idempotent } = statement;
    await write(arranged(rows).select(columns.map(quoteName)), SINK_FORMAT, "execute", {
      cql,
      idempotent: String(idempotent),
      ...(growingFrom === undefined ? {} : { growingFrom: String(growingFrom) }),
    });
  };
  return {
    sink,
    upsert: (rows, more) =>
      withRetries(context, settings.retries, () =>
        write(arranged(rows), sink ? SINK_FORMAT : CONNECTOR_FORMAT, "upsert", more),
      ),
    delete: (keys) =>
      withRetries(context, settings.retries, async () => {
        if (sink) await write(arranged(keys), SINK_FORMAT, "delete");
        else await execute(keys, deleteStatement(table, { keys: table.primaryKey, values: [] }, settings));
      }),
    execute: (rows, statement) => withRetries(context, settings.retries, async () => execute(rows, await statement())),
  };
}
