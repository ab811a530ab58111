/** Where a PostgreSQL database is and who asks: enough for the driver's own connection and for Spark's executors. */
export interface PostgresConnection {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  /** Never logged, and kept out of every URL. */
  readonly password: string | undefined;
}
