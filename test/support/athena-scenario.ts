import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect } from "vitest";
import job from "../../jobs/athena-cdc/job.js";
import { type RunEnvironment, runJob } from "../../lib/glue/index.js";
import { SparkSession } from "../../lib/spark/index.js";

/** Where one table's newest rows are looked up: of equal keys and times the greatest other values win, as the job states. */
const newest = (from: string, key: string, order: string) =>
  `SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY ${key} ORDER BY ${order}) AS rn FROM ${from}) WHERE rn = 1`;

/** A database of Spark's catalog, an output and trackers, in a folder of their own. */
export class AthenaScenario implements AsyncDisposable {
  readonly spark: SparkSession;
  readonly remote: string;
  readonly database = `t_${randomUUID().replaceAll("-", "").slice(0, 12)}`;
  readonly folder = mkdtempSync(join(tmpdir(), "glue-connect-athena-"));
  /** Where output and trackers are, when it isn't the folder: `s3://bucket`. What looks at files doesn't find them then. */
  base: string | undefined;
  /** Of every run. */
  environment: RunEnvironment = {};

  private constructor(spark: SparkSession, remote: string) {
    this.spark = spark;
    this.remote = remote;
  }

  static async create(remote: string): Promise<AthenaScenario> {
    const spark = await SparkSession.builder().remote(remote).getOrCreate();
    await spark.conf.set({
      "spark.sql.session.timeZone": "UTC",
      "spark.sql.ansi.enabled": "false",
      "spark.sql.caseSensitive": "false",
      "spark.sql.parquet.inferTimestampNTZ.enabled": "true",
      "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    });
    const scenario = new AthenaScenario(spark, remote);
    await spark.sql(`CREATE DATABASE ${scenario.database} LOCATION '${join(scenario.folder, "in")}'`);
    mkdirSync(join(scenario.folder, "keys"));
    scenario.keys("keys.csv", "none,none");
    return scenario;
  }

  /** Statements on the database; `$t` stands for the table. */
  async sql(table: string, ...statements: readonly string[]): Promise<void> {
    for (const statement of statements) await this.spark.sql(statement.replaceAll("$t", `${this.database}.${table}`));
  }

  /** Makes a table; `rows` are SQL's VALUES. */
  async table(
    name: string,
    rows: string,
    using = "parquet",
    columns = "id BIGINT, v STRING, updated_at TIMESTAMP",
  ): Promise<void> {
    await this.sql(
      name,
      `CREATE TABLE $t (${columns}) USING ${using}`,
      ...(rows === "" ? [] : [`INSERT INTO $t VALUES ${rows}`]),
    );
  }

  /** Replaces a table's rows by those of a query on it. */
  async rewrite(table: string, query: string): Promise<void> {
    const rows = join(this.folder, `rewrite-${randomUUID()}`);
    await this.sql(table, `INSERT OVERWRITE DIRECTORY '${rows}' USING parquet ${query}`);
    await this.sql(table, `INSERT OVERWRITE $t SELECT * FROM parquet.\`${rows}\``);
  }

  /** Writes a file of primary keys; later files count. */
  keys(name: string, ...rows: readonly string[]): void {
    writeFileSync(join(this.folder, "keys", name), ["table_name,primary_key_column", ...rows, ""].join("\n"));
  }

  uri(name: string): string {
    if (this.base !== undefined && name !== "keys") return `${this.base}/${name}`;
    return pathToFileURL(join(this.folder, name)).href;
  }

  argv(...more: readonly string[]): string[] {
    return [
      ...["--JOB_NAME", "test", "--athena_database_name", this.database, "--load_type", "incremental"],
      ...[
        "--output_path",
        `${this.uri("out")}/`,
        "--cdc_path",
        this.uri("cdc"),
        "--primary_key_s3_prefix",
        `${this.uri("keys")}/`,
      ],
      ...more,
    ];
  }

  run(args: readonly string[] = [], environment: RunEnvironment = {}) {
    return runJob(job, this.argv(...args), {
      sparkRemote: this.remote,
      catalog: "spark",
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

  tracker(table: string): string | undefined {
    const file = join(this.folder, "cdc", `${table}.txt`);
    return existsSync(file) ? readFileSync(file, "utf8").trim() : undefined;
  }

  setTracker(table: string, text: string | undefined): void {
    mkdirSync(join(this.folder, "cdc"), { recursive: true });
    const file = join(this.folder, "cdc", `${table}.txt`);
    if (text === undefined) rmSync(file);
    else writeFileSync(file, text);
  }

  files(table: string): string[] {
    const folder = join(this.folder, "out", table);
    return existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith(".parquet")) : [];
  }

  /** Rows as text, sorted. */
  async rows(query: string): Promise<string[]> {
    const rows = await (await this.spark.sql(query)).collect();
    return rows.map((row) => JSON.stringify(row.toJSON())).toSorted();
  }

  async source(table: string): Promise<string[]> {
    return this.rows(`SELECT * FROM ${this.database}.${table}`);
  }

  output(table: string): string {
    return `parquet.\`${this.base === undefined ? join(this.folder, "out", table) : this.uri(`out/${table}`)}\``;
  }

  async loaded(table: string): Promise<string[]> {
    return this.files(table).length === 0 ? [] : this.rows(`SELECT * FROM ${this.output(table)}`);
  }

  /** The output's newest row of each key equals the source's. */
  async expectNewest(
    table: string,
    key = "id",
    order = "updated_at DESC NULLS LAST, v DESC NULLS LAST",
  ): Promise<void> {
    expect(await this.rows(newest(this.output(table), key, order))).toEqual(
      await this.rows(newest(`${this.database}.${table}`, key, order)),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.spark.sql(`DROP DATABASE IF EXISTS ${this.database} CASCADE`);
    await this.spark.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
