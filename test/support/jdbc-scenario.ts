import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import pg from "pg";
import { expect } from "vitest";
import job from "../../jobs/jdbc-cdc/job.js";
import { fixSession } from "../../lib/glue/incremental/index.js";
import { type RunEnvironment, runJob } from "../../lib/glue/index.js";
import { SparkSession } from "../../lib/spark/index.js";

const README = readFileSync(join(import.meta.dirname, "../../jobs/jdbc-cdc/README.md"), "utf8");
/** What the README says to read the latest row of each key with. */
const LATEST = /```sql\n(SELECT [\s\S]*? FROM accounts[\s\S]*?)```/.exec(README)?.[1] ?? "";
const NOT_DELETED = " AND NOT COALESCE(cdc_deleted, false)";

/** Tables of a PostgreSQL database of their own (others' transactions don't hold its loads back), an output, the tracker and logs, in a folder of their own. */
export class JdbcScenario implements AsyncDisposable {
  readonly spark: SparkSession;
  readonly remote: string;
  readonly postgresUrl: string;
  readonly database: pg.Client;
  readonly name: string;
  readonly folder = mkdtempSync(join(tmpdir(), "glue-connect-jdbc-"));
  /** Where output, tracker, state and logs are, when it isn't the folder: `s3://bucket`. What looks at files doesn't find them then. */
  base: string | undefined;
  /** Of every run. */
  environment: RunEnvironment = {};

  readonly #server: string;

  private constructor(spark: SparkSession, remote: string, server: string, name: string) {
    this.spark = spark;
    this.remote = remote;
    this.name = name;
    this.#server = server;
    const url = new URL(server);
    url.pathname = `/${name}`;
    this.postgresUrl = url.href;
    this.database = new pg.Client(this.postgresUrl);
  }

  /** @param server URL of the PostgreSQL server. */
  static async create(remote: string, server: string): Promise<JdbcScenario> {
    const name = `t_${randomUUID().replaceAll("-", "").slice(0, 12)}`;
    const [spark] = await Promise.all([
      SparkSession.builder().remote(remote).getOrCreate(),
      onServer(server, `CREATE DATABASE ${name}`),
    ]);
    const scenario = new JdbcScenario(spark, remote, server, name);
    await Promise.all([fixSession(spark), scenario.database.connect()]);
    await spark.conf.set({ "spark.sql.parquet.mergeSchema": "true" });
    return scenario;
  }

  /** Statements on the database, each in a transaction of its own. */
  async sql(...statements: readonly string[]): Promise<void> {
    for (const statement of statements) await this.database.query(statement);
  }

  /** Another connection, for a transaction of its own. */
  async connect(): Promise<pg.Client> {
    const client = new pg.Client(this.postgresUrl);
    await client.connect();
    return client;
  }

  uri(name: string): string {
    if (this.base !== undefined) return `${this.base}/${name}`;
    return pathToFileURL(join(this.folder, name)).href;
  }

  argv(...more: readonly string[]): string[] {
    return [
      ...["--JOB_NAME", "test", "--database_name", this.name, "--environment", "dev", "--load_type", "cdc"],
      ...["--s3_output_path", `${this.uri("out")}/`, "--csv_file_name", this.uri("state/max_timestamps.csv")],
      ...["--log_folder_path", this.uri("logs")],
      ...more,
    ];
  }

  run(args: readonly string[] = [], environment: RunEnvironment = {}) {
    return runJob(job, this.argv(...args), {
      sparkRemote: this.remote,
      catalog: "spark",
      postgresUrl: this.postgresUrl,
      ...this.environment,
      ...environment,
    });
  }

  /** A run of one table that must succeed. */
  async load(table: string, ...args: readonly string[]) {
    const { report, stack } = await this.run(["--tables", table, ...args]);
    expect(report.toJSON().error, `${stack}\n${JSON.stringify(report.toJSON().tables)}`).toBeUndefined();
    return report.table(table);
  }

  get #tracker(): string {
    return join(this.folder, "state", "max_timestamps.csv");
  }

  /** The whole tracker file. */
  trackerFile(): string | undefined {
    return existsSync(this.#tracker) ? readFileSync(this.#tracker, "utf8") : undefined;
  }

  writeTrackerFile(text: string): void {
    mkdirSync(dirname(this.#tracker), { recursive: true });
    writeFileSync(this.#tracker, text);
  }

  tracker(table: string): string | undefined {
    const row = this.trackerFile()
      ?.split("\n")
      .find((line) => line.startsWith(`${table},`));
    return row?.slice(table.length + 1);
  }

  /** `undefined` removes the row. */
  setTracker(table: string, value: string | undefined): void {
    const lines = (this.trackerFile() ?? "table_name,max_timestamp\n").trim().split("\n");
    const others = lines.filter((line) => !line.startsWith(`${table},`));
    this.writeTrackerFile(`${[...others, ...(value === undefined ? [] : [`${table},${value}`])].join("\n")}\n`);
  }

  /** Published files, with the folders of their partitions. */
  files(table: string): string[] {
    const folder = join(this.folder, "out", table);
    if (!existsSync(folder)) return [];
    return readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".parquet"));
  }

  logs(): string[] {
    const folder = join(this.folder, "logs");
    return existsSync(folder) ? readdirSync(folder).map((name) => readFileSync(join(folder, name), "utf8")) : [];
  }

  /** Rows as text, sorted. */
  async rows(query: string): Promise<string[]> {
    const rows = await (await this.spark.sql(query)).collect();
    return rows.map((row) => JSON.stringify(row.toJSON())).toSorted();
  }

  /** The output as a table of Spark SQL. */
  output(table: string): string {
    const folder = this.base === undefined ? join(this.folder, "out") : this.uri("out");
    return `(SELECT * FROM parquet.\`${folder}/${table}\`)`;
  }

  /** `id` and `v` of a table of PostgreSQL, sorted, one line a row. */
  async source(table: string, columns = "id, v"): Promise<string[]> {
    return await this.lines(`SELECT ${columns} FROM "${table}"`);
  }

  async lines(sql: string): Promise<string[]> {
    const { rows } = await this.database.query({ text: sql, rowMode: "array" });
    return rows.map((row) => row.join("|")).toSorted();
  }

  /** Every row that was delivered. */
  async loaded(table: string, columns = "id, v"): Promise<string[]> {
    if (this.base === undefined && this.files(table).length === 0) return [];
    return await this.#text(`SELECT ${columns} FROM ${this.output(table)}`);
  }

  /** The latest row of each key, by the query in the README; with `cdc_deleted` among the columns also of those that are gone. */
  async latest(table: string, columns = "id, v", key = "id"): Promise<string[]> {
    if (this.base === undefined && this.files(table).length === 0) return [];
    const query = columns.includes("cdc_deleted") ? LATEST.replace(NOT_DELETED, "") : LATEST;
    const latest = query.replace("account_id", key).replace("FROM accounts", `FROM ${this.output(table)}`);
    return await this.#text(`SELECT ${columns} FROM (${latest})`);
  }

  /** An Iceberg table of the output, as Spark SQL calls it. */
  async iceberg(table: string): Promise<string> {
    await this.spark.conf.set({
      "spark.sql.catalog.reader": "org.apache.iceberg.spark.SparkCatalog",
      "spark.sql.catalog.reader.type": "hadoop",
      "spark.sql.catalog.reader.warehouse": join(this.folder, "out"),
      "spark.sql.catalog.reader.cache-enabled": "false",
    });
    return `reader.\`${table}\``;
  }

  /** Rows of an Iceberg table of the output. */
  async merged(table: string, columns = "id, v"): Promise<string[]> {
    return await this.#text(`SELECT ${columns} FROM ${await this.iceberg(table)}`);
  }

  async #text(query: string): Promise<string[]> {
    const rows = await (await this.spark.sql(query)).collect();
    return rows.map((row) => row.toArray().join("|")).toSorted();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.database.end(), this.spark.close()]);
    await onServer(this.#server, `DROP DATABASE ${this.name} WITH (FORCE)`);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

async function onServer(url: string, statement: string): Promise<void> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
