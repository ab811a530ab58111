import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import type { TestProject } from "vitest/node";
import type { Logger } from "../../lib/logger.js";
import { stopCassandra } from "../../lib/targets/local/cassandra.js";
import { findJava } from "../../lib/targets/local/java.js";
import { ensurePostgres, type LocalPostgres, stopPostgres } from "../../lib/targets/local/postgres.js";
import { ensureSpark, stopSpark } from "../../lib/targets/local/spark.js";
import { ensureSparkJars } from "../../lib/targets/local/spark-jars.js";
import { DEFAULT_SPARK_VERSION, SPARK_VERSIONS, type SparkVersion } from "../../lib/targets/local/spark-version.js";
import { type AwsEmulator, awsVariables, startAwsEmulator } from "./aws.js";

declare module "vitest" {
  export interface ProvidedContext {
    /** `http://127.0.0.1:PORT` of the AWS emulator that the whole run shares; use names of your own in it. */
    readonly awsEndpoint: string;
    /** `sc://127.0.0.1:PORT/;use_ssl=false;token=...` of the Spark server that the whole run shares. */
    readonly sparkRemote: string;
    /** `postgresql://user:password@127.0.0.1:PORT/postgres`; make schemas of your own in it. */
    readonly postgresUrl: string;
    /** Folder of the Iceberg catalog `lake`. */
    readonly warehouse: string;
    /** The process whose end is that of all servers of the run. */
    readonly runPid: number;
    /** GLUE_CONNECT_HOME of these servers: a command that runs with it uses them. */
    readonly stateHome: string;
  }
}

const progress: Logger = {
  debug() {},
  info: (message) => console.error(message),
  warn: (message) => console.error(message),
  error: (message) => console.error(message),
};

/**
 * The tests' queries are small and many: what the JVM's second compiler gains in minutes of work costs more than it gives. Most
 * of what they make is garbage at once, and is collected less often where there is more room for it.
 */
const JAVA_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m -XX:+UseSerialGC -Xmn600m";
/** The same goes for the code that Spark generates. The servers of single test files, as those of users, run with it. */
const SPARK_CONF = {
  "spark.sql.codegen.wholeStage": "false",
  "spark.sql.codegen.factoryMode": "NO_CODEGEN",
  "spark.sql.shuffle.partitions": "2",
  // By the size of the heap it would be 64 MB, which every sort and every aggregation takes at least one of.
  "spark.buffer.pageSize": "1m",
  // Nobody looks at them, and what is kept of thousands is gone through by the garbage collector.
  "spark.sql.ui.retainedExecutions": "20",
  "spark.ui.retainedJobs": "20",
  "spark.ui.retainedStages": "20",
};

/**
 * One Spark (which finds S3, Glue and the like in an emulator), one PostgreSQL and one AWS emulator for all integration tests,
 * in a state home of their own. A Cassandra joins them when the first test of one asks for it.
 *
 * All end with this process whatever becomes of it, so that even a run that was killed leaves nothing behind.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const home = mkdtempSync(join(tmpdir(), "glue-connect-test-"));
  const version = wantedVersion();
  const profile = version === DEFAULT_SPARK_VERSION ? "aws-cassandra" : "base";
  const options = { home: join(home, "state"), ownerPid: process.pid, idleMinutes: 0, logger: progress };
  // Open to the account that root's PostgreSQL runs as, so that all there is lies in here and goes with it.
  chmodSync(home, 0o711);
  const pids: number[] = [];
  let emulator: AwsEmulator | undefined;
  // An interrupted vitest exits without calling its teardowns: what can't wait is done here, the servers watch for our end.
  const exit = () => {
    for (const pid of pids) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It has gone by itself.
      }
    }
    rmSync(home, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
  };
  const teardown = async () => {
    process.removeListener("exit", exit);
    await Promise.all([
      stopSpark(options.home, version),
      stopPostgres(options.home),
      stopCassandra(options.home),
      emulator?.stop(),
    ]);
    rmSync(home, { recursive: true, force: true });
  };
  process.once("exit", exit);
  // The tests' processes have it from this one.
  process.env.GLUE_CONNECT_SPARK_JAVA_OPTIONS ??= JAVA_OPTIONS;
  try {
    // Spark is told where the emulator is; the jars can come meanwhile.
    let postgres: LocalPostgres;
    [postgres, emulator] = await Promise.all([
      ensurePostgres({ ...options, ephemeral: true, settings: { max_prepared_transactions: "4" } }),
      startAwsEmulator(),
      findJava(process.env).then((java) =>
        ensureSparkJars({ java, env: process.env, logger: progress, version, profile }),
      ),
    ]);
    pids.push(postgres.pid);
    await shortenLogins(postgres);
    const spark = await ensureSpark({
      ...options,
      version,
      profile,
      conf: SPARK_CONF,
      env: {
        ...process.env,
        ...awsVariables(emulator.endpoint),
      },
    });
    pids.push(spark.pid);
    project.provide("awsEndpoint", emulator.endpoint);
    project.provide("sparkRemote", spark.remote);
    project.provide("postgresUrl", postgres.url);
    project.provide("warehouse", spark.warehouse);
    project.provide("runPid", process.pid);
    project.provide("stateHome", options.home);
  } catch (error) {
    await teardown();
    throw error;
  }
  return teardown;
}

/**
 * A login hashes the password as often as it was hashed when it was set, 4096 times by default. Executors log in for every
 * partition that they write or read, and a JVM without its second compiler takes longer for that than for a small partition.
 */
async function shortenLogins({ url, user, password }: LocalPostgres): Promise<void> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    // Older servers don't have the setting.
    await client.query("SELECT set_config(name, '1', false) FROM pg_settings WHERE name = 'scram_iterations'");
    await client.query(`ALTER ROLE ${client.escapeIdentifier(user)} PASSWORD ${client.escapeLiteral(password)}`);
  } finally {
    await client.end();
  }
}

/** `GLUE_CONNECT_TEST_SPARK=4.1` runs the tests against that Spark, see `npm run test:spark-4`. */
function wantedVersion(): SparkVersion {
  const text = process.env.GLUE_CONNECT_TEST_SPARK || DEFAULT_SPARK_VERSION;
  const version = SPARK_VERSIONS.find((known) => known === text);
  if (version === undefined) throw new Error(`GLUE_CONNECT_TEST_SPARK is ${text}, and can be ${SPARK_VERSIONS}`);
  return version;
}
