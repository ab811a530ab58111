import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { inject } from "vitest";
import { type Job, type RunReportJson, type RunResult, runJob } from "../../lib/glue/index.js";
import { type CassandraConnection, CassandraSession } from "../../lib/keyspaces/index.js";
import { ensureCassandra } from "../../lib/targets/local/cassandra.js";

export type Arguments = Readonly<Record<string, string | number | boolean>>;

/** A command line of arguments by name. */
export function argvOf(args: Arguments): string[] {
  return Object.entries({ JOB_NAME: "test", ...args }).flatMap(([name, value]) => [`--${name}`, String(value)]);
}

/** What a run came to, and its report as a user gets it. */
export interface ScenarioRun extends RunResult {
  readonly json: RunReportJson;
}

/**
 * A keyspace of one test file on the Cassandra of the whole run, which the first file that needs it starts.
 */
export class KeyspacesScenario implements AsyncDisposable {
  readonly connection: CassandraConnection;
  readonly cassandra: CassandraSession;
  /** A keyspace that is this file's alone. */
  readonly keyspace: string;
  readonly folder: string;

  private constructor(connection: CassandraConnection, cassandra: CassandraSession, keyspace: string) {
    this.connection = connection;
    this.cassandra = cassandra;
    this.keyspace = keyspace;
    this.folder = mkdtempSync(join(tmpdir(), "keyspaces-"));
  }

  static async create(keyspace: string): Promise<KeyspacesScenario> {
    const node = await ensureCassandra({
      home: inject("stateHome"),
      ownerPid: inject("runPid"),
      idleMinutes: 0,
      ephemeral: true,
      startTimeoutMs: 300_000,
    });
    const { host, port, localDataCenter, username, password } = node;
    const connection = { contactPoints: [host], port, localDataCenter, username, password, tls: false };
    const session = await CassandraSession.connect(connection);
    await session.execute(
      `CREATE KEYSPACE ${keyspace} WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}`,
    );
    return new KeyspacesScenario(connection, session, keyspace);
  }

  /** Runs a job as the command does; arguments by name. */
  async run(job: Job, args: Arguments, environment: Partial<Parameters<typeof runJob>[2]> = {}): Promise<ScenarioRun> {
    const result = await runJob(job, argvOf(args), {
      sparkRemote: inject("sparkRemote"),
      embeddedCassandra: async () => this.connection,
      ...environment,
    });
    return { ...result, json: result.report.toJSON() };
  }

  /** The URI of a folder of this file. */
  uri(name: string): string {
    return pathToFileURL(join(this.folder, name)).href;
  }

  /** A table's rows as JSON, sorted: equal for equal tables. Spark has decimals of 18 digits, so zeros at their end don't count. */
  async rows(table: string): Promise<readonly string[]> {
    const { rows } = await this.cassandra.client.execute(`SELECT JSON * FROM ${this.keyspace}.${table}`, [], {
      fetchSize: 100_000,
    });
    return rows.map((row) => String(row["[json]"]).replaceAll(/(\.\d*?)0+(?=[,}])/g, "$1")).toSorted();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cassandra[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
