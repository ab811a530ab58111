import { rm } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { auth, Client } from "cassandra-driver";
import * as f from "../../lib/spark/functions/index.js";
import { ensureCassandra, type LocalCassandra, stopCassandra } from "../../lib/targets/index.js";
import { stepsOf } from "../harness/report.js";
import type { RateRow, ResultRow } from "../harness/results.js";
import { type Contender, inTurn, OURS } from "../harness/turns.js";
import type { BenchContext } from "../main.js";

const KEYSPACE = "bench";
const TABLE = "random_access";
const KEYS = ["partition_id", "row_id"];
const VALUES =
  "concat('p', id % 1000) AS partition_id, id AS row_id, id * 3 AS count, concat('value ', xxhash64(id)) AS data";
const CONNECTOR = "org.apache.spark.sql.cassandra";

type Kind = "upserts" | "deletes";
type Peer = "original" | "best" | "ttl";
/** The connector deletes nothing in PySpark: rows of NULLs that expire take the place of it. */
const PEERS: Readonly<Record<Kind, readonly Peer[]>> = { upserts: ["original", "best"], deletes: ["ttl"] };
const KINDS = Object.keys(PEERS) as Kind[];

/**
 * Measures upserts and deletes in a Cassandra of this machine: ours against the connector as PySpark has it. A fifth of the bench's rows is
 * written, at least 1,000.
 */
export async function writes(context: BenchContext): Promise<readonly RateRow[]> {
  const rows = Math.max(1_000, Math.round(context.rows / 5));
  const named = (kind: Kind) => `Cassandra, ${rows.toLocaleString("en-US")} ${kind}`;
  const kinds = KINDS.filter((kind) => named(kind).includes(context.only ?? ""));
  if (kinds.length === 0) return [];
  const home = join(context.servers.folder, "state");
  context.log("Starting Cassandra");
  const node = await ensureCassandra({ home, ownerPid: process.pid, idleMinutes: 0, ephemeral: true });
  const client = new Client({
    contactPoints: [node.host],
    protocolOptions: { port: node.port },
    localDataCenter: node.localDataCenter,
    authProvider: new auth.PlainTextAuthProvider(node.username, node.password),
    socketOptions: { readTimeout: 60_000 },
  });
  try {
    await client.execute(
      `CREATE KEYSPACE ${KEYSPACE} WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}`,
    );
    await client.execute(
      `CREATE TABLE ${KEYSPACE}.${TABLE} (partition_id text, row_id bigint, count bigint, data text, PRIMARY KEY (partition_id, row_id))`,
    );
    // Every way once on little data, so that no contender meets a cold JVM.
    const warm = new Writes(context, node, client, Math.min(rows, 5_000));
    await warm.makeFiles();
    for (const kind of kinds) await warm.run("warm-up", kind, 1);
    const measured = new Writes(context, node, client, rows);
    await measured.makeFiles();
    const results: RateRow[] = [];
    for (const kind of kinds) {
      const runs = await measured.run(named(kind), kind, context.repetitions);
      results.push({ name: named(kind), rows, runs });
    }
    return results;
  } finally {
    await client.shutdown();
    await stopCassandra(home);
  }
}

/** Rows as Parquet, to be upserted, and the same as an incremental export that deletes them. */
class Writes {
  readonly #context: BenchContext;
  readonly #node: LocalCassandra;
  readonly #client: Client;
  readonly #rows: number;
  readonly #folder: string;

  constructor(context: BenchContext, node: LocalCassandra, client: Client, rows: number) {
    this.#context = context;
    this.#node = node;
    this.#client = client;
    this.#rows = rows;
    this.#folder = join(context.servers.folder, "writes");
  }

  async makeFiles(): Promise<void> {
    const { session } = this.#context.servers;
    await rm(this.#folder, { recursive: true, force: true });
    const rows = (await session.sql(`SELECT ${VALUES} FROM range(${this.#rows})`)).coalesce(4);
    await rows.write.parquet(join(this.#folder, "upserts"));
    const gone = rows.selectExpr(
      ...["'D' AS diff", ...KEYS, "count AS left_count", "CAST(NULL AS BIGINT) AS right_count"],
      ...["data AS left_data", "CAST(NULL AS STRING) AS right_data"],
    );
    await gone.write.parquet(join(this.#folder, "deletes"));
  }

  async run(name: string, kind: Kind, repetitions: number): Promise<ResultRow["runs"]> {
    const { servers, log } = this.#context;
    log(`${name}:`);
    const contenders = [this.#ours(kind), ...PEERS[kind].map((peer) => this.#peer(kind, peer))];
    return inTurn(servers, contenders, repetitions, async () => undefined, log);
  }

  #ours(kind: Kind): Contender {
    const { servers, root } = this.#context;
    const { host, port, localDataCenter, username, password } = this.#node;
    const report = join(this.#folder, "report.json");
    const job = kind === "upserts" ? "keyspaces-import" : "keyspaces-incremental-import";
    return {
      name: OURS,
      prepare: () => this.#prepare(kind),
      command: {
        argv: [
          process.execPath,
          join(root, "dist", "lib", "cli", "main.js"),
          ...["run", job, "--JOB_NAME", "bench", "--KEYSPACE_NAME", KEYSPACE, "--TABLE_NAME", TABLE],
          ...["--S3URI", pathToFileURL(join(this.#folder, kind)).href, "--report-file", report],
          ...["--CLUSTER", `cassandra://${host}:${port}/${localDataCenter}`, "--CREDENTIALS", "env:BENCH_CASSANDRA"],
        ],
        env: { ...servers.environment, BENCH_CASSANDRA: JSON.stringify({ username, password }) },
      },
      check: () => this.#check(OURS, kind),
      steps: () => stepsOf(report),
    };
  }

  #peer(kind: Kind, variant: Peer): Contender {
    const { servers, root, python } = this.#context;
    const { host, port, username, password } = this.#node;
    return {
      name: variant,
      prepare: () => this.#prepare(kind),
      command: {
        argv: [
          python,
          join(root, "bench", "peers", "keyspaces_writes.py"),
          ...["--variant", variant, "--files", join(this.#folder, kind)],
          ...["--keyspace", KEYSPACE, "--table", TABLE, "--keys", KEYS.join(",")],
        ],
        env: {
          ...servers.peerEnvironment,
          CASSANDRA_HOST: host,
          CASSANDRA_PORT: String(port),
          CASSANDRA_USER: username,
          CASSANDRA_PASSWORD: password,
        },
      },
      check: () => this.#check(variant, kind),
    };
  }

  /** An empty table for upserts, a full one for deletes. */
  async #prepare(kind: Kind): Promise<void> {
    await this.#client.execute(`TRUNCATE ${KEYSPACE}.${TABLE}`);
    if (kind === "upserts") return;
    const rows = this.#context.servers.session.read.parquet(join(this.#folder, "upserts"));
    await rows.write.format(CONNECTOR).options(this.#options()).mode("append").save();
  }

  async #check(name: string, kind: Kind): Promise<void> {
    const rows = this.#rows;
    const expected = kind === "upserts" ? [rows, (3 * rows * (rows - 1)) / 2] : [0, 0];
    // A row that expires is there for a second more, or two.
    const until = performance.now() + (name === "ttl" ? 10_000 : 0);
    for (;;) {
      const table = this.#context.servers.session.read.format(CONNECTOR).options(this.#options()).load();
      const [row] = await table.agg(f.count(f.lit(1)).as("rows"), f.sum("count").as("sum")).collect();
      const found = [Number(row?.get("rows")), Number(row?.get("sum") ?? 0)];
      if (found.join() === expected.join()) return;
      if (performance.now() > until) {
        throw new Error(`${name} left rows and sum of counts ${found.join()} after ${kind}, not ${expected.join()}`);
      }
    }
  }

  #options(): Readonly<Record<string, string>> {
    const { host, port, localDataCenter, username, password } = this.#node;
    return {
      keyspace: KEYSPACE,
      table: TABLE,
      "spark.cassandra.connection.host": host,
      "spark.cassandra.connection.port": String(port),
      "spark.cassandra.connection.localDC": localDataCenter,
      "spark.cassandra.auth.username": username,
      "spark.cassandra.auth.password": password,
    };
  }
}
