import { auth, Client, ExecutionProfile, policies, types } from "cassandra-driver";
import { ExitCode, UserError } from "../errors.js";
import { type CassandraConnection, clusterText } from "./connection.js";
import { connectionError } from "./errors.js";
import type { TableName } from "./spark-options.js";
import { tlsOptions } from "./tls.js";

/** A type as the driver has it: its code, and what is in it. */
export interface CassandraType {
  readonly code: number;
  readonly info?: unknown;
}

/** A column of a table. */
export interface CassandraColumn {
  readonly name: string;
  /** The driver's code of the type. */
  readonly code: number;
  readonly type: CassandraType;
  readonly kind: "partition" | "clustering" | "static" | "regular";
  /** A collection or type whose elements are cells of their own: one that isn't frozen. */
  readonly elements: boolean;
}

/** The driver's profile for what must not be sent twice. */
export const WITHOUT_RETRIES = "without-retries";

const ELEMENTS: ReadonlySet<number> = new Set([
  types.dataTypes.list,
  types.dataTypes.map,
  types.dataTypes.set,
  types.dataTypes.udt,
]);

/** What is known of a table. */
export interface CassandraTable extends TableName {
  readonly columns: readonly CassandraColumn[];
  /** Partition key first, then the clustering columns, in the table's order. */
  readonly primaryKey: readonly string[];
  readonly partitionKey: readonly string[];
  /** New for each table that is made, also one of the same name; `undefined` where the cluster doesn't tell. */
  readonly id: string | undefined;
  /** Seconds after which what is written without a TTL goes; 0 is never. */
  readonly defaultTtl: number;
}

/**
 * A connection of this process: for what is asked of the cluster itself, and for deletes where the Spark server has no sink of ours.
 *
 * @example
 * await using cassandra = await CassandraSession.connect(connection);
 * const { primaryKey } = await cassandra.table({ keyspace: "shop", table: "orders" });
 */
export class CassandraSession implements AsyncDisposable {
  readonly client: Client;
  readonly connection: CassandraConnection;

  private constructor(client: Client, connection: CassandraConnection) {
    this.client = client;
    this.connection = connection;
  }

  /** @throws UserError `CASSANDRA_UNREACHABLE`, `CASSANDRA_LOGIN_REFUSED`, `CASSANDRA_DATA_CENTER_UNKNOWN`. */
  static async connect(connection: CassandraConnection): Promise<CassandraSession> {
    const { username, password } = connection;
    const client = new Client({
      contactPoints: [...connection.contactPoints],
      protocolOptions: { port: connection.port },
      localDataCenter: connection.localDataCenter,
      ...(username === undefined ? {} : { authProvider: new auth.PlainTextAuthProvider(username, password ?? "") }),
      ...(connection.tls ? { sslOptions: tlsOptions(connection) } : {}),
      // Maps come from Spark as such, and their keys needn't be texts.
      encoding: { map: Map },
      queryOptions: { consistency: types.consistencies.localQuorum, prepare: true, isIdempotent: true },
      profiles: [new ExecutionProfile(WITHOUT_RETRIES, { retry: new policies.retry.FallthroughRetryPolicy() })],
      socketOptions: { connectTimeout: 10_000, readTimeout: 60_000 },
    });
    try {
      await client.connect();
      return new CassandraSession(client, connection);
    } catch (error) {
      await client.shutdown().catch(() => undefined);
      throw connectionError(error, connection);
    }
  }

  /** @throws UserError `CASSANDRA_TABLE_MISSING`, naming what there is. */
  async table({ keyspace, table }: TableName): Promise<CassandraTable> {
    const found = await this.client.metadata.getTable(keyspace, table);
    if (found === null || found === undefined) throw await this.#missing({ keyspace, table });
    const names = (columns: readonly { name: string }[]) => columns.map(({ name }) => name);
    const [partitionKey, clustering] = [names(found.partitionKeys), names(found.clusteringKeys)];
    const about = async (what: string, where: string) => {
      const cql = `SELECT ${what} FROM system_schema.${where} WHERE keyspace_name = ? AND table_name = ?`;
      return (await this.client.execute(cql, [keyspace, table])).rows;
    };
    const [rows, [itself]] = await Promise.all([
      about("column_name, kind", "columns"),
      about("id, default_time_to_live", "tables"),
    ]);
    const kinds = new Map(rows.map((row) => [String(row.column_name), String(row.kind)]));
    return {
      keyspace,
      table,
      partitionKey,
      primaryKey: [...partitionKey, ...clustering],
      id: itself?.id === undefined || itself.id === null ? undefined : String(itself.id),
      defaultTtl: Number(itself?.default_time_to_live ?? 0),
      columns: found.columns.map(({ name, type }) => ({
        name,
        code: type.code,
        type,
        elements: ELEMENTS.has(type.code) && type.options?.frozen !== true,
        kind: (kinds.get(name)?.replace("partition_key", "partition") ?? "regular") as CassandraColumn["kind"],
      })),
    };
  }

  /** Runs statements one after the other. */
  async execute(...statements: readonly string[]): Promise<types.ResultSet | undefined> {
    let result: types.ResultSet | undefined;
    for (const statement of statements) result = await this.client.execute(statement, [], { prepare: false });
    return result;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.shutdown();
  }

  async #missing({ keyspace, table }: TableName): Promise<UserError> {
    const keyspaces = Object.keys(this.client.metadata.keyspaces);
    const { rows } = await this.client.execute("SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?", [
      keyspace,
    ]);
    const tables = rows.map((row) => String(row.table_name));
    const known = keyspaces.includes(keyspace);
    return new UserError(
      "CASSANDRA_TABLE_MISSING",
      `There is no table ${keyspace}.${table} in the cluster at ${clusterText(this.connection)}`,
      {
        problems: [
          known
            ? `the tables of ${keyspace} are ${tables.join(", ") || "none"}`
            : `the keyspaces are ${keyspaces.filter((name) => !name.startsWith("system")).join(", ") || "none of a user's"}`,
        ],
        hint: "Check KEYSPACE_NAME and TABLE_NAME; names are case-sensitive here. Imports write to tables that are there, they make none",
        exitCode: ExitCode.configuration,
      },
    );
  }
}
