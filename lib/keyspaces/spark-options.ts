import type { CassandraConnection } from "./connection.js";

/** Names of the data sources on the Spark server. */
export const CONNECTOR_FORMAT = "org.apache.spark.sql.cassandra";
/** Our own, of infra/spark: deletes, statements, and a steady rate. */
export const SINK_FORMAT = "glue-connect-cassandra";

export type SparkOptions = Readonly<Record<string, string>>;

/** A table, by the names as they are stored: without quotes, in the case they have. */
export interface TableName {
  readonly keyspace: string;
  readonly table: string;
}

/**
 * How the Spark Cassandra connector reaches a cluster. Given with each read and write, not as a setting of the session: those can be
 * listed, and this may hold a password.
 *
 * @param driverConf URL of a configuration file of the driver, which every executor can read. It wins over everything here but the
 *   consistency; with it comes SigV4, see {@link driverConfiguration}.
 */
export function connectorOptions(connection: CassandraConnection, driverConf?: string): SparkOptions {
  if (driverConf !== undefined) return { "spark.cassandra.connection.config.profile.path": driverConf };
  const { contactPoints, port, localDataCenter, username, password, tls, region } = connection;
  return {
    "spark.cassandra.connection.host": contactPoints.join(","),
    "spark.cassandra.connection.port": String(port),
    "spark.cassandra.connection.localDC": localDataCenter,
    ...(username === undefined ? {} : { "spark.cassandra.auth.username": username }),
    ...(password === undefined ? {} : { "spark.cassandra.auth.password": password }),
    // The certificate of Amazon Keyspaces is of an authority that every Java trusts.
    ...(tls ? { "spark.cassandra.connection.ssl.enabled": "true" } : {}),
    ...(region === undefined
      ? {}
      : {
          // Its nine endpoints are load balancers: more connections are more throughput.
          "spark.cassandra.connection.remoteConnectionsPerExecutor": "9",
          "spark.cassandra.connection.localConnectionsPerExecutor": "3",
        }),
  };
}

/** Options of a read. */
export function readOptions(
  { keyspace, table }: TableName,
  connection: CassandraConnection,
  driverConf?: string,
): SparkOptions {
  return {
    ...connectorOptions(connection, driverConf),
    keyspace,
    table,
    // A stale replica would make rows look deleted or old: what a diff rests on is read from most of them.
    "spark.cassandra.input.consistency.level": "LOCAL_QUORUM",
    ...(connection.region === undefined ? {} : { pushdown: "false" }),
  };
}

/** How rows are written. */
export interface WriteSettings {
  /** Microseconds since 1970 that all writes carry; without one the server's clock counts. */
  readonly timestamp?: bigint;
  /** Rows of all tasks together; only the sink of ours keeps to it. */
  readonly rowsPerSecond?: number;
}

/**
 * Options of writes and deletes. NULLs are written: they clear cells. Amazon Keyspaces takes rows one by one, in an order that spreads
 * them; a Cassandra is quicker with small batches of one partition.
 */
export function writeOptions(
  { keyspace, table }: TableName,
  connection: CassandraConnection,
  settings: WriteSettings,
  driverConf?: string,
): SparkOptions {
  const { timestamp, rowsPerSecond } = settings;
  return {
    ...connectorOptions(connection, driverConf),
    keyspace,
    table,
    "spark.cassandra.output.consistency.level": "LOCAL_QUORUM",
    "spark.cassandra.output.ignoreNulls": "false",
    ...(connection.region === undefined
      ? {
          "spark.cassandra.output.batch.size.rows": "30",
          "spark.cassandra.output.concurrent.writes": "16",
        }
      : {
          "spark.cassandra.output.batch.grouping.key": "none",
          "spark.cassandra.output.batch.size.rows": "1",
          "spark.cassandra.output.concurrent.writes": "32",
        }),
    ...(timestamp === undefined ? {} : { "spark.cassandra.output.timestamp": String(timestamp) }),
    ...(rowsPerSecond === undefined ? {} : { rowsPerSecond: String(rowsPerSecond) }),
  };
}

/**
 * The driver's configuration file for Amazon Keyspaces with SigV4, which the connector takes in no other way. The server needs the jar
 * `software.aws.mcs:aws-sigv4-auth-cassandra-java-driver-plugin` and the file at an URL of its own (`file:///...` with
 * `--extra-files` on Glue); then `--DRIVER_CONF` names it.
 *
 * @example
 * writeFileSync("keyspaces-application.conf", driverConfiguration(keyspacesConnection("eu-central-1")));
 */
export function driverConfiguration({
  contactPoints,
  port,
  region,
}: CassandraConnection & { readonly region: string }): string {
  const points = contactPoints.map((host) => JSON.stringify(`${host}:${port}`)).join(", ");
  return `datastax-java-driver {
  basic.contact-points = [${points}]
  basic.load-balancing-policy.local-datacenter = ${JSON.stringify(region)}
  basic.request {
    consistency = LOCAL_QUORUM
    default-idempotence = true
    page-size = 200
    timeout = 30 seconds
  }
  advanced {
    auth-provider {
      class = software.aws.mcs.auth.SigV4AuthProvider
      aws-region = ${JSON.stringify(region)}
    }
    ssl-engine-factory {
      class = DefaultSslEngineFactory
      # The endpoint's certificate names the service, its addresses don't.
      hostname-validation = false
    }
    connection.pool.local.size = 3
    prepared-statements.prepare-on-all-nodes = false
    reconnect-on-init = true
  }
}
`;
}
