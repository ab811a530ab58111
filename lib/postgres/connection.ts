import { jdbcTls, type PostgresTls, tlsOf } from "./tls.js";

/** Where a PostgreSQL database is and who asks: enough for the driver's own connection and for Spark's executors. */
export interface PostgresConnection {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  /** Never logged, and kept out of every URL. */
  readonly password: string | undefined;
  /** Default: `disable` on this machine, `require` for every other host. */
  readonly tls?: PostgresTls;
}

/** The name that a run's connections have in `pg_stat_activity`, the driver's and the executors'. */
export const applicationName = (runId: string) => `glue-connect ${runId}`;

/**
 * Options for Spark's JDBC source and sink. The password travels as an option, which Spark redacts when it prints a plan,
 * never as a part of the URL, which it doesn't.
 *
 * @param application see {@link applicationName}; shown in `pg_stat_activity`, so that a DBA can tell whose executors these are.
 * @see https://jdbc.postgresql.org/documentation/use/
 */
export function jdbcOptions(connection: PostgresConnection, application: string): Record<string, string> {
  const host = connection.host.includes(":") ? `[${connection.host}]` : connection.host;
  const parameters = new URLSearchParams({
    reWriteBatchedInserts: "true",
    ApplicationName: application,
    tcpKeepAlive: "true",
    ...jdbcTls(tlsOf(connection)),
  });
  return {
    url: `jdbc:postgresql://${host}:${connection.port}/${encodeURIComponent(connection.database)}?${parameters}`,
    driver: "org.postgresql.Driver",
    user: connection.user,
    ...(connection.password === undefined ? {} : { password: connection.password }),
  };
}
