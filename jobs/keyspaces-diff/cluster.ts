import { setTimeout as sleep } from "node:timers/promises";
import { ExitCode, UserError } from "../../lib/errors.js";
import type { JobContext } from "../../lib/glue/index.js";
import {
  type CassandraConnection,
  CassandraSession,
  type CassandraTable,
  type CassandraType,
  CONNECTOR_FORMAT,
  readOptions,
  SINK_FORMAT,
  type TableName,
} from "../../lib/keyspaces/index.js";
import {
  type DataFrame,
  hasDataSource,
  SparkConnectError,
  type SparkSession,
  type StructType,
} from "../../lib/spark/index.js";

/** Arguments that say which cluster, and how. */
export interface ClusterArguments {
  readonly CLUSTER: string;
  readonly CREDENTIALS: string | undefined;
  readonly DRIVER_CONF: string | undefined;
}

/** A table of a cluster, from this process and from Spark's side. */
export interface Target extends AsyncDisposable {
  readonly connection: CassandraConnection;
  readonly driverConf: string | undefined;
  readonly session: CassandraSession;
  readonly table: CassandraTable;
  /** As the connector has it. */
  readonly schema: StructType;
  /** Rows of the table. */
  rows(): DataFrame;
}

/** The connector learns of a change of the cluster's tables within seconds. */
const SETTLE_MS = 30_000;

/**
 * Connects to the cluster and finds the table.
 *
 * @throws UserError what {@link CassandraSession} throws, `SPARK_WITHOUT_CONNECTOR`, `PARTITIONER_UNSUPPORTED`, `NAMES_UNSUPPORTED`,
 *   `CONNECTOR_BEHIND`.
 */
export async function openTarget(
  context: JobContext<unknown>,
  spark: SparkSession,
  args: ClusterArguments,
  name: TableName,
): Promise<Target> {
  const connection = await context.cassandra(args.CLUSTER, args.CREDENTIALS);
  const session = await CassandraSession.connect(connection);
  try {
    const table = await session.table(name);
    checkNames(table);
    await checkPartitioner(session);
    await requireConnector(spark);
    const rows = () => tableRows(spark, name, connection, args.DRIVER_CONF);
    return {
      connection,
      driverConf: args.DRIVER_CONF,
      session,
      table,
      schema: await settledSchema(table, rows, context.signal),
      rows,
      [Symbol.asyncDispose]: () => session[Symbol.asyncDispose](),
    };
  } catch (error) {
    await session[Symbol.asyncDispose]();
    throw error;
  }
}

/** Rows of a table, read by the connector. */
export function tableRows(
  spark: SparkSession,
  name: TableName,
  connection: CassandraConnection,
  driverConf?: string,
): DataFrame {
  return spark.read
    .format(CONNECTOR_FORMAT)
    .options(readOptions(name, connection, driverConf))
    .load();
}

/**
 * The schema of a table as the connector has it, once it has all of it. A server that has worked with the cluster before keeps a picture
 * of its tables, which is a second or more behind: it may not know a new table, and would leave a new column out of an export.
 *
 * @throws UserError `CONNECTOR_BEHIND`.
 */
export async function settledSchema(
  table: CassandraTable,
  rows: () => DataFrame,
  signal?: AbortSignal,
): Promise<StructType> {
  const wanted = table.columns.map(({ name }) => name).toSorted();
  const until = performance.now() + SETTLE_MS;
  for (;;) {
    let problem: string;
    try {
      const schema = await rows().schema();
      const found = schema.fields.map(({ name }) => name).toSorted();
      if (found.join("\n") === wanted.join("\n")) return schema;
      problem = `it has the columns ${found.join(", ")}, the cluster has ${wanted.join(", ")}`;
    } catch (error) {
      if (!(error instanceof SparkConnectError) || !/Couldn't find .*(table|keyspace)/i.test(error.message))
        throw error;
      problem = error.message;
    }
    if (performance.now() > until) {
      throw new UserError("CONNECTOR_BEHIND", `Spark's connector doesn't know ${tableText(table)} as it is`, {
        problems: [problem],
        hint: "Run it again once the table is no longer being changed",
        exitCode: ExitCode.retryable,
      });
    }
    await sleep(200, undefined, signal === undefined ? {} : { signal });
  }
}

/** The connector splits a table by the partitioner's tokens, and knows two; Amazon Keyspaces' own is a third. */
async function checkPartitioner(session: CassandraSession): Promise<void> {
  const result = await session.execute("SELECT partitioner FROM system.local");
  const partitioner = String(result?.first()?.partitioner ?? "");
  if (partitioner === "" || /\.(Murmur3|Random)Partitioner$/.test(partitioner)) return;
  throw new UserError("PARTITIONER_UNSUPPORTED", `The cluster's partitioner is ${partitioner}`, {
    hint: "The Spark connector reads tables by Murmur3Partitioner or RandomPartitioner: UPDATE system.local SET partitioner = 'org.apache.cassandra.dht.Murmur3Partitioner' WHERE key = 'local', and wait ten minutes (Amazon Keyspaces, once for each account and region)",
    exitCode: ExitCode.configuration,
  });
}

/**
 * A decimal of Cassandra has a scale of its own, Spark's have 18 digits: as a partition key it would come back as another one.
 *
 * @throws UserError `KEY_TYPE_UNSUPPORTED`.
 */
export function checkKeyTypes(table: CassandraTable): void {
  const wrong = table.columns.filter(({ kind, type }) => kind === "partition" && holdsDecimal(type));
  if (wrong.length === 0) return;
  throw new UserError("KEY_TYPE_UNSUPPORTED", `Nothing can be imported into ${tableText(table)}`, {
    problems: wrong.map(({ name }) => `${name}, of the partition key, is or holds a decimal`),
    hint: "1.5 would become 1.500000000000000000, which is another partition to Cassandra. Use a table with text or varint there",
    exitCode: ExitCode.configuration,
  });
}

function holdsDecimal({ code, info }: CassandraType): boolean {
  if (code === DECIMAL) return true;
  if (info === null || typeof info !== "object") return false;
  const parts = "fields" in info ? (info.fields as readonly { type: CassandraType }[]).map(({ type }) => type) : info;
  return (Array.isArray(parts) ? parts : [parts]).some((part: CassandraType) => holdsDecimal(part));
}

/** The driver's code. */
const DECIMAL = 6;

/** The connector pastes names into CQL, and has Spark parse those of the partition key. */
function checkNames(table: CassandraTable): void {
  const quotes = [table.keyspace, table.table, ...table.columns.map(({ name }) => name)].filter((name) =>
    name.includes('"'),
  );
  const odd = table.partitionKey.filter((name) => !/^[A-Za-z_]\w*$/.test(name));
  if (quotes.length + odd.length === 0) return;
  throw new UserError("NAMES_UNSUPPORTED", `The Spark connector can't work with names in ${tableText(table)}`, {
    problems: [
      ...quotes.map((name) => `${name} holds a quotation mark`),
      ...odd.map((name) => `${name}, of the partition key, has other characters than letters, digits and _`),
    ],
    hint: "Rename what can be renamed, or copy the table to one with other names",
    exitCode: ExitCode.configuration,
  });
}

/** @throws UserError `SPARK_WITHOUT_CONNECTOR`. */
async function requireConnector(spark: SparkSession): Promise<void> {
  if (await hasDataSource(spark, CONNECTOR_FORMAT)) return;
  throw new UserError("SPARK_WITHOUT_CONNECTOR", "The Spark server has no connector for Cassandra", {
    hint: "Start it with com.datastax.spark:spark-cassandra-connector_2.12:3.5.1 on its class path (--packages; --extra-jars on Glue)",
    exitCode: ExitCode.configuration,
  });
}

/** Whether the server has our sink, which deletes on its executors and keeps to a rate. */
export function hasSink(spark: SparkSession): Promise<boolean> {
  return hasDataSource(spark, SINK_FORMAT);
}

export function tableText({ keyspace, table }: TableName): string {
  return `${keyspace}.${table}`;
}
