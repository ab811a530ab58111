import { randomUUID } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import pg from "pg";
import { inject } from "vitest";
import job from "../../jobs/iceberg-to-aurora/job.js";
import { type RunEnvironment, type RunResult, runJob } from "../../lib/glue/index.js";
import { SparkSession } from "../../lib/spark/index.js";

/** Where the servers of the suite are. */
export interface Servers {
  readonly sparkRemote: string;
  readonly postgresUrl: string;
  readonly warehouse: string;
}

/** Changes to the configuration item of a run; dotted names as the document has them, without `target.`. */
export type Overrides = Readonly<Record<string, unknown>>;

export interface LoadOptions extends Partial<RunEnvironment> {
  readonly item?: Overrides;
  readonly args?: readonly string[];
}

/**
 * One Iceberg namespace, one PostgreSQL schema and one folder, with the job's configuration that ties them together. Each
 * test file makes its own, so that files run side by side on the same servers.
 */
export class IcebergScenario implements AsyncDisposable {
  readonly servers: Servers;
  readonly spark: SparkSession;
  readonly database: pg.Client;
  /** Iceberg namespace and PostgreSQL schema alike. */
  readonly name: string;
  readonly folder: string;

  private constructor(servers: Servers, spark: SparkSession, database: pg.Client, name: string, folder: string) {
    this.servers = servers;
    this.spark = spark;
    this.database = database;
    this.name = name;
    this.folder = folder;
  }

  /** @param spark another server than the one that the run shares, and its warehouse. */
  static async create(spark?: { readonly remote: string; readonly warehouse: string }): Promise<IcebergScenario> {
    const servers = {
      sparkRemote: spark?.remote ?? inject("sparkRemote"),
      postgresUrl: inject("postgresUrl"),
      warehouse: spark?.warehouse ?? inject("warehouse"),
    };
    const name = `t_${randomUUID().replaceAll("-", "").slice(0, 12)}`;
    const [session, folder] = await Promise.all([
      SparkSession.builder().remote(servers.sparkRemote).getOrCreate(),
      mkdtemp(join(tmpdir(), "glue-connect-load-")),
    ]);
    const database = new pg.Client(servers.postgresUrl);
    await database.connect();
    await session.conf.set("spark.sql.session.timeZone", "UTC");
    await session.sql(`CREATE NAMESPACE lake.${name}`);
    await database.query(`CREATE SCHEMA ${name}`);
    return new IcebergScenario(servers, session, database, name, folder);
  }

  /** An Iceberg table's name as Spark SQL. */
  table(table: string): string {
    return `lake.${this.name}.\`${table.replaceAll("`", "``")}\``;
  }

  /** A target table's name as PostgreSQL SQL. */
  target(table: string): string {
    return `${this.name}."${table.replaceAll('"', '""')}"`;
  }

  /** Runs statements on Spark; `$t` stands for the table. */
  async iceberg(table: string, ...statements: string[]): Promise<void> {
    for (const statement of statements) await this.spark.sql(statement.replaceAll("$t", this.table(table)));
  }

  async rows<T = Record<string, unknown>>(sql: string, values: unknown[] = []): Promise<T[]> {
    return (await this.database.query(sql, values)).rows as T[];
  }

  /** The configuration item that the job reads: one file for each load, so that runs at once don't share it. */
  async writeItem(table: string, item: Overrides = {}): Promise<string> {
    return await this.writeItems({ test: { table, item } });
  }

  /** One item for each system, by its id. */
  async writeItems(systems: Readonly<Record<string, { table: string; item?: Overrides }>>): Promise<string> {
    const file = join(this.folder, `${randomUUID()}.json`);
    const items = Object.entries(systems).map(([id, { table, item }]) => ({
      source_system_id: id,
      metadata_type: "incremental",
      ...this.#target(table, item ?? {}),
    }));
    await writeFile(file, JSON.stringify(items));
    return file;
  }

  #target(table: string, item: Overrides): Record<string, unknown> {
    const target: Record<string, unknown> = {
      "target.iceberg_properties.iceberg_configuration.iceberg_catalog_warehouse": pathToFileURL(this.servers.warehouse)
        .href,
      "target.iceberg_properties.database_name": this.name,
      "target.iceberg_properties.table_name": table,
      "target.db_load.aurora_host": "embedded",
      "target.db_load.aurora_db_target_table_name": table,
      "target.db_load.aurora_db_target_schema": this.name,
      "target.db_load.aurora_data_load_type": "incremental",
      "target.db_load.snapshot_s3_bucket": pathToFileURL(this.folder).href,
      "target.db_load.snapshot_s3_key": `${encodeURIComponent(table)}.snapshot`,
    };
    for (const [key, value] of Object.entries(item)) {
      if (value === undefined) delete target[`target.${key}`];
      else target[`target.${key}`] = value;
    }
    return target;
  }

  /** The job's command line for a configuration file. */
  argv(itemFile: string, args: readonly string[] = [], system = "test"): string[] {
    return [
      ...["--JOB_NAME", "test", "--metadata_table_name", `file:${itemFile}`],
      ...["--source_system_id", system, "--metadata_type", "incremental", ...args],
    ];
  }

  /** Runs the job for several systems, and gives its result whatever it is. */
  async loadSystems(
    items: string,
    system: string,
    args: readonly string[] = [],
    environment: Partial<RunEnvironment> = {},
  ): Promise<RunResult> {
    return await runJob(job, this.argv(items, args, system), {
      sparkRemote: this.servers.sparkRemote,
      postgresUrl: this.servers.postgresUrl,
      ...environment,
    });
  }

  /** Runs the job in this process, and gives its result whatever it is. */
  async load(table: string, options: LoadOptions = {}): Promise<RunResult> {
    const { item, args, ...environment } = options;
    return await runJob(job, this.argv(await this.writeItem(table, item), args), {
      sparkRemote: this.servers.sparkRemote,
      postgresUrl: this.servers.postgresUrl,
      ...environment,
    });
  }

  /** Runs the job, and gives what it did to the one table; a run that fails is an error of the test. */
  async loaded(table: string, options: LoadOptions = {}) {
    const result = await this.load(table, options);
    if (result.exitCode !== 0 && result.exitCode !== 2) {
      throw new Error(
        `The run ended with ${result.exitCode}: ${JSON.stringify(result.report.toJSON().error)}\n${result.stack ?? ""}`,
        {
          cause: result.error,
        },
      );
    }
    return result.report.table(`${this.name}.${table}`);
  }

  /** What the documented copy of the state says. */
  snapshotFile(table: string): string | undefined {
    const file = join(this.folder, `${encodeURIComponent(table)}.snapshot`);
    return existsSync(file) ? readFileSync(file, "utf8") : undefined;
  }

  /** Writes into the summary of the newest snapshot, as another engine would have left it. */
  async changeSummary(table: string, summary: Readonly<Record<string, string>>): Promise<void> {
    const folder = join(this.servers.warehouse, this.name, table, "metadata");
    const name = `v${readFileSync(join(folder, "version-hint.text"), "utf8").trim()}.metadata.json`;
    // As text: its ids are greater than a number holds exactly.
    let metadata = readFileSync(join(folder, name), "utf8");
    for (const [key, value] of Object.entries(summary)) {
      const newest = metadata.lastIndexOf(`"${key}"`);
      if (newest < 0) throw new Error(`No snapshot of ${table} says ${key}`);
      metadata = metadata.slice(0, newest) + metadata.slice(newest).replace(/:\s*"[^"]*"/, `:"${value}"`);
    }
    await writeFile(join(folder, name), metadata);
    await rm(join(folder, `.${name}.crc`), { force: true });
  }

  async currentSnapshot(table: string): Promise<string> {
    const refs = await this.spark.sql(
      `SELECT CAST(snapshot_id AS STRING) FROM ${this.table(table)}.refs WHERE name = 'main'`,
    );
    return (await refs.first())?.getString(0) ?? "";
  }

  /** Rows of the source as text, in the order of the text; `expressions` are Spark SQL. */
  async sourceRows(table: string, expressions: readonly string[], snapshot?: string): Promise<string[]> {
    const version = snapshot === undefined ? "" : ` VERSION AS OF ${snapshot}`;
    const frame = await this.spark.sql(
      `SELECT ${expressions.map((e) => `coalesce(CAST(${e} AS STRING), 'NULL')`).join(", ")} FROM ${this.table(table)}${version}`,
    );
    return (await frame.collect()).map((row) => row.toArray().join("|")).toSorted();
  }

  /** The same of the target; `expressions` are PostgreSQL's. */
  async targetRows(table: string, expressions: readonly string[]): Promise<string[]> {
    const rows = await this.database.query({
      text: `SELECT ${expressions.map((e) => `coalesce(CAST(${e} AS text), 'NULL')`).join(", ")} FROM ${this.target(table)}`,
      rowMode: "array",
    });
    return (rows.rows as string[][]).map((row) => row.join("|")).toSorted();
  }

  /** Identity and version of every row of the target: a row that was rewritten, even with the same values, differs. */
  async versions(table: string): Promise<Map<string, string>> {
    const rows = await this.rows<{ id: string; version: string }>(
      `SELECT id::text, xmin::text || ':' || ctid::text AS version FROM ${this.target(table)}`,
    );
    return new Map(rows.map((row) => [row.id, row.version]));
  }

  /** Staging tables in the schema: none may be left after a run that ended by itself. */
  async stagingTables(): Promise<string[]> {
    const rows = await this.rows<{ name: string }>(
      "SELECT relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = $1 AND relname LIKE 'glue_connect_stage_%'",
      [this.name],
    );
    return rows.map((row) => row.name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.database.query(`DROP SCHEMA ${this.name} CASCADE`);
    await this.database.end();
    await this.spark.close();
    await rm(this.folder, { recursive: true, force: true });
  }
}
