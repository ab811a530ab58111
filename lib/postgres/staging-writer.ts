import { type Column, type DataFrame, hasDataSource, type SparkSession } from "../spark/index.js";
import { jdbcOptions, type PostgresConnection } from "./connection.js";
import { quoteIdentifier, quoteTable, type TableName } from "./identifiers.js";
import { LIMITS_SQL } from "./session.js";

/** How executors write to a staging table: by our sink's COPY, or by the INSERTs of Spark's JDBC writer, which every server has. */
export type StagingWriter = "COPY" | "JDBC";

/** Our sink, `infra/spark`; a class instead of a short name, so that it is found in whatever way its jar came to the server. */
const COPY_FORMAT = "io.glueconnect.spark.postgres.CopySink";
/** Connections that the executors open at the most while they write. */
export const MAX_WRITERS = 8;
const ROWS_PER_BATCH = 10_000;

const known = new WeakMap<SparkSession, Promise<StagingWriter>>();

/** What the server can write with; COPY where it has the sink. It is asked once for each session. */
export function stagingWriter(spark: SparkSession): Promise<StagingWriter> {
  let writer = known.get(spark);
  if (writer === undefined) {
    writer = hasDataSource(spark, COPY_FORMAT).then((has) => (has ? "COPY" : "JDBC"));
    // A server that could not be asked is asked again.
    writer.catch(() => known.delete(spark));
    known.set(spark, writer);
  }
  return writer;
}

/** Where rows are staged, and how. */
export interface StagingWrite {
  readonly writer: StagingWriter;
  readonly table: TableName;
  readonly connection: PostgresConnection;
  /** See {@link jdbcOptions}. */
  readonly application: string;
}

/**
 * Appends rows to a staging table, on the executors. Each partition is one transaction. A task that runs again may have its rows there
 * twice, whichever way they are written.
 *
 * Both ways make the same of each value. They know numbers, booleans, strings and bytes; whatever else there is, is made of those first.
 *
 * @param columns of the table, each with its value over `rows`.
 */
export async function writeStaging(
  rows: DataFrame,
  columns: readonly (readonly [name: string, value: Column])[],
  { writer, table, connection, application }: StagingWrite,
): Promise<void> {
  const values = rows.select(...columns.map(([name, value]) => value.as(name)));
  const { driver = "", ...options } = jdbcOptions(connection, application);
  const write =
    writer === "JDBC"
      ? values.write.format("jdbc").options({
          ...options,
          driver,
          dbtable: quoteTable(table),
          batchsize: String(ROWS_PER_BATCH),
          numPartitions: String(MAX_WRITERS),
        })
      : values
          .coalesce(MAX_WRITERS)
          .write.format(COPY_FORMAT)
          .options({
            ...options,
            // One statement takes as long as its partition: the role's limits are for others.
            prepare: LIMITS_SQL,
            copy: `COPY ${quoteTable(table)} (${columns.map(([name]) => quoteIdentifier(name)).join(", ")}) FROM STDIN`,
          });
  await write.mode("append").save();
}
