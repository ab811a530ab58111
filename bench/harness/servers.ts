import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { SparkSession } from "../../lib/spark/index.js";
import {
  ensurePostgres,
  ensureSpark,
  type LocalPostgres,
  type LocalSpark,
  type LocalSparkOptions,
  stopPostgres,
  stopSpark,
} from "../../lib/targets/index.js";

/**
 * One Spark Connect server and one PostgreSQL for ours and the peers, in a folder of their own that goes with them.
 *
 * PostgreSQL is as users have it: it flushes to disk. Both end with this process, however that ends.
 */
export class BenchServers implements AsyncDisposable {
  readonly spark: LocalSpark;
  readonly postgres: LocalPostgres;
  /** Sessions of the bench itself, for data and checks. */
  readonly session: SparkSession;
  readonly database: pg.Client;
  /** For files of the bench, such as configuration items and state. */
  readonly folder: string;

  private constructor(
    folder: string,
    spark: LocalSpark,
    postgres: LocalPostgres,
    session: SparkSession,
    database: pg.Client,
  ) {
    this.folder = folder;
    this.spark = spark;
    this.postgres = postgres;
    this.session = session;
    this.database = database;
  }

  /** @param features of Spark, beside what all benches have. */
  static async start(features: Pick<LocalSparkOptions, "profile"> = {}): Promise<BenchServers> {
    const folder = mkdtempSync(join(tmpdir(), "glue-connect-bench-"));
    // Open to the account that root's PostgreSQL runs as, so that all there is lies in here and goes with it.
    chmodSync(folder, 0o711);
    process.once("exit", () => rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 }));
    const options = { home: join(folder, "state"), ownerPid: process.pid, idleMinutes: 0 };
    try {
      const [spark, postgres] = await Promise.all([ensureSpark({ ...options, ...features }), ensurePostgres(options)]);
      const session = await SparkSession.builder().remote(spark.remote).getOrCreate();
      const database = new pg.Client(postgres.url);
      await database.connect();
      await session.conf.set({ "spark.sql.ansi.enabled": "false", "spark.sql.session.timeZone": "UTC" });
      return new BenchServers(folder, spark, postgres, session, database);
    } catch (error) {
      await stop(folder);
      throw error;
    }
  }

  /** What a client of ours finds the servers by. */
  get environment(): Record<string, string> {
    return { SPARK_REMOTE: this.spark.remote, GLUE_CONNECT_POSTGRES_URL: this.postgres.url };
  }

  /** What a peer finds them by. PySpark 3.5 takes a token for a wish for TLS, so it goes as the header that it is. */
  get peerEnvironment(): Record<string, string> {
    const { host, port, user, password, database } = this.postgres;
    return {
      SPARK_REMOTE: this.spark.remote
        .replace(/use_ssl=false;?/, "")
        .replace(/\btoken=([^;]*)/, (_all, token: string) => `authorization=${encodeURIComponent(`Bearer ${token}`)}`),
      PGHOST: host,
      PGPORT: String(port),
      PGUSER: user,
      PGPASSWORD: password,
      PGDATABASE: database,
    };
  }

  /** Runs statements on Spark, one after the other. */
  async sql(...statements: readonly string[]): Promise<void> {
    for (const statement of statements) await this.session.sql(statement);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.database.end().catch(() => undefined);
    await this.session.close().catch(() => undefined);
    await stop(this.folder);
  }
}

async function stop(folder: string): Promise<void> {
  const home = join(folder, "state");
  await Promise.all([stopSpark(home), stopPostgres(home)]);
  rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
}
