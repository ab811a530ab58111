import { UserError } from "../errors.js";
import type { SparkNeeds } from "../glue/context.js";
import type { EmbeddedPostgres } from "../glue/index.js";
import type { SparkEndpoint } from "../glue/spark-session.js";
import type { CassandraConnection } from "../keyspaces/connection.js";
import type { Logger } from "../logger.js";
import type { PostgresConnection } from "../postgres/connection.js";
import { isS3Uri } from "../storage/uri.js";
import type { SparkVersion } from "../targets/index.js";

const IDLE_MINUTES = 30;

/** The servers of this machine, started when they are first needed; those that are up are used again. */
export interface LocalServers {
  /** @param needs with an `s3://` location the server has the jars for S3, with Cassandra its connector. */
  spark(needs: SparkNeeds): Promise<SparkEndpoint>;
  /** @param database made when it isn't there; default: the server's own. */
  readonly postgres: EmbeddedPostgres;
  cassandra(): Promise<CassandraConnection>;
}

/**
 * @param log is told which servers were started, and when they stop.
 * @param version of Spark.
 */
export function localServers(log: Logger, signal: AbortSignal, version?: SparkVersion): LocalServers {
  const options = { logger: log, signal, idleMinutes: IDLE_MINUTES };
  const tell = (name: string, port: number, started: boolean) => {
    if (!started) return log.debug(`using the local ${name} that is up on port ${port}`);
    log.info(
      `${name} stays up for later runs and stops after ${IDLE_MINUTES} idle minutes, or by \`glue-connect local down\``,
    );
  };
  return {
    async spark({ locations = [], packages = [] }) {
      const { ensureSpark, sparkProfile } = await import("../targets/index.js");
      const s3 = locations.some(isS3Uri);
      const { remote, port, started } = await ensureSpark({
        ...options,
        ...(version === undefined ? {} : { version }),
        profile: sparkProfile([
          ...(s3 ? (["aws"] as const) : []),
          ...(packages.includes("cassandra") ? (["cassandra"] as const) : []),
        ]),
      });
      tell("Spark", port, started);
      return { remote };
    },
    async cassandra() {
      const { ensureCassandra } = await import("../targets/index.js");
      const { host, port, localDataCenter, username, password, started } = await ensureCassandra(options);
      tell("Cassandra", port, started);
      return { contactPoints: [host], port, localDataCenter, username, password, tls: false };
    },
    async postgres(database, { create } = { create: true }) {
      const { ensurePostgres } = await import("../targets/index.js");
      const { host, port, user, password, database: own, started } = await ensurePostgres(options);
      tell("PostgreSQL", port, started);
      const server: PostgresConnection = { host, port, user, password, database: own };
      if (database === undefined || database === own) return server;
      if (create) await createDatabase(server, database);
      return { ...server, database };
    },
  };
}

/** On a server of our own nobody else makes the database that a configuration names. */
async function createDatabase(server: PostgresConnection, database: string): Promise<void> {
  const { PostgresSession, quoteIdentifier } = await import("../postgres/index.js");
  await using session = await PostgresSession.connect(server, { applicationName: "glue-connect" });
  const { count } = await session.query("SELECT 1 FROM pg_catalog.pg_database WHERE datname = $1", [database]);
  if (count > 0) return;
  try {
    await session.query(`CREATE DATABASE ${quoteIdentifier(database)}`);
  } catch (error) {
    const code = error instanceof Error ? (error as Error & { code?: string }).code : undefined;
    // Another run made it at the same moment.
    if (code === "42P04" || code === "23505") return;
    throw new UserError("POSTGRES_DATABASE_NOT_CREATED", `The local PostgreSQL can't make database ${database}`, {
      cause: error,
    });
  }
}
