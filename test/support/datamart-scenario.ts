import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect } from "vitest";
import job from "../../jobs/datamart-join/job.js";
import { type RunEnvironment, runJob } from "../../lib/glue/index.js";
import { SparkSession } from "../../lib/spark/index.js";

export const PREFIX = "account_metadata_datamart_public_";

/** Short names of the documented tables, with columns that the document doesn't give; keys where they have one. */
export const TABLES = {
  account: { columns: "account_id STRING, name STRING, updated_at TIMESTAMP", key: ["account_id"] },
  account_metadata: { columns: "id INT, account_id STRING, tier STRING, updated_at TIMESTAMP", key: ["id"] },
  account_risk: { columns: "id INT, account_id STRING, score INT, updated_at TIMESTAMP", key: ["id"] },
  queue: { columns: "queue_id STRING, account_id STRING, name STRING, updated_at TIMESTAMP", key: ["queue_id"] },
  settlement_transaction: {
    columns: "transaction_id STRING, queue_id STRING, amount DECIMAL(10,2), created_at TIMESTAMP",
    key: ["transaction_id"],
  },
  adjustment: { columns: "adjustment_id INT, reason STRING, updated_at TIMESTAMP", key: ["adjustment_id"] },
} as const;
export type TableName = keyof typeof TABLES;

/** Values in the order of the table's columns; timestamps as text. */
export type TestRow = readonly (string | number | null)[];
export type TestRows = Readonly<Partial<Record<TableName, readonly TestRow[]>>>;

/** A time of the tests: minutes after 10:00, with microseconds. */
export const at = (minute: number, micros = 0) =>
  `2026-01-01T${String(10 + Math.floor(minute / 60)).padStart(2, "0")}:${String(minute % 60).padStart(2, "0")}:00.${String(micros).padStart(6, "0")}Z`;

/** Two accounts with two queues each, and two transactions in each queue. */
export const BASE: TestRows = {
  account: [
    ["a1", "Ann", at(1)],
    ["a2", "Bob", at(2)],
  ],
  account_metadata: [
    [1, "a1", "gold", at(1)],
    [2, "a2", "iron", at(2)],
  ],
  account_risk: [
    [1, "a1", 10, at(1)],
    [2, "a2", 20, at(2)],
  ],
  queue: [1, 2, 3, 4].map((n) => [`q${n}`, `a${n < 3 ? 1 : 2}`, `queue ${n}`, at(n)]),
  settlement_transaction: [1, 2, 3, 4, 5, 6, 7, 8].map((n) => [`t${n}`, `q${Math.ceil(n / 2)}`, n, at(n)]),
  adjustment: [
    [1, "fee", at(1)],
    [2, "gift", at(2)],
  ],
};

/** What the README says to read the newest group of each transaction with. */
export const newestSql = (rows: string, emptied: string) => {
  const readme = readFileSync(join(import.meta.dirname, "../../jobs/datamart-join/README.md"), "utf8");
  const sql = /```sql\n(WITH batches[\s\S]*?)```/.exec(readme)?.[1] ?? "";
  return sql
    .replaceAll(/\bFROM joined_emptied\b/g, `FROM ${emptied}`)
    .replaceAll(/\bFROM joined\b(?!_)/g, `FROM ${rows} AS joined`);
};

const columnsOf = (name: TableName) => TABLES[name].columns.split(", ").map((column) => column.split(" ")[0] ?? "");

/** A database of Spark's catalog with the documented tables, an output and a timestamp file, in a folder of their own. */
export class DatamartScenario implements AsyncDisposable {
  readonly spark: SparkSession;
  readonly remote: string;
  readonly database = `t_${randomUUID().replaceAll("-", "").slice(0, 12)}`;
  readonly folder = mkdtempSync(join(tmpdir(), "glue-connect-datamart-"));
  readonly rows = new Map<TableName, TestRow[]>();
  /** More arguments of every run. */
  args: readonly string[] = [];
  /** Where output and state are, when it isn't the folder: `s3://bucket`. */
  base: string | undefined;
  /** Of every run. */
  environment: RunEnvironment = {};
  #versions = 0;

  private constructor(spark: SparkSession, remote: string) {
    this.spark = spark;
    this.remote = remote;
  }

  static async create(remote: string, rows: TestRows = BASE) {
    const spark = await SparkSession.builder().remote(remote).getOrCreate();
    // Batches may differ in their columns; otherwise the reader takes those of any file.
    const mergeSchema = { "spark.sql.parquet.mergeSchema": "true" };
    await spark.conf.set({ "spark.sql.session.timeZone": "UTC", "spark.sql.ansi.enabled": "false", ...mergeSchema });
    const scenario = new DatamartScenario(spark, remote);
    await spark.sql(`CREATE DATABASE ${scenario.database} LOCATION '${join(scenario.folder, "in")}'`);
    await Promise.all(
      Object.keys(TABLES).map(async (key) => {
        const name = key as TableName;
        scenario.set(name, rows[name] ?? []);
        await scenario.define(name);
      }),
    );
    scenario.configure();
    return scenario;
  }

  table(name: string): string {
    return `${this.database}.${PREFIX}${name}`;
  }

  /** Tells the catalog of a table, anew when it is there. */
  async define(name: TableName, columns: string = TABLES[name].columns): Promise<void> {
    await this.spark.sql(`DROP TABLE IF EXISTS ${this.table(name)}`);
    await this.spark.sql(
      `CREATE TABLE ${this.table(name)} (${columns}) USING json LOCATION '${join(this.folder, "in", name)}'`,
    );
  }

  /** Gives a table these rows and no others. */
  set(name: TableName, rows: readonly TestRow[], columns: readonly string[] = columnsOf(name)): void {
    this.rows.set(name, [...rows]);
    const folder = join(this.folder, "in", name);
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    const lines = rows.map((row) =>
      JSON.stringify(Object.fromEntries(row.map((cell, index) => [columns[index], cell]))),
    );
    writeFileSync(join(folder, `part-${this.#versions++}.json`), lines.join("\n"));
  }

  /** Adds rows, in place of those with the same first value. */
  put(name: TableName, ...rows: readonly TestRow[]): void {
    const kept = (this.rows.get(name) ?? []).filter((row) => !rows.some(([id]) => id === row[0]));
    this.set(name, [...kept, ...rows]);
  }

  /** Writes the configuration: the documented tables with their keys. */
  configure(changes: Record<string, unknown> = {}): void {
    const tables = Object.fromEntries(Object.entries(TABLES).map(([name, { key }]) => [`${PREFIX}${name}`, { key }]));
    writeFileSync(
      join(this.folder, "config.json"),
      JSON.stringify({ output_path: this.uri("out"), tables, ...changes }),
    );
  }

  uri(name: string): string {
    if (this.base !== undefined && name !== "config.json") return `${this.base}/${name}`;
    return pathToFileURL(join(this.folder, name)).href;
  }

  argv(...more: readonly string[]): string[] {
    const documented = {
      JOB_NAME: "test",
      database_name: this.database,
      load_type: "incremental",
      timestamp_s3_path: this.uri("state/last_load.csv"),
      config: this.uri("config.json"),
    };
    const given = [...this.args, ...more];
    const defaults = Object.entries(documented).filter(([name]) => !given.includes(`--${name}`));
    return [...defaults.flatMap(([name, value]) => [`--${name}`, value]), ...given];
  }

  run(args: readonly string[] = [], environment: RunEnvironment = {}) {
    return runJob(job, this.argv(...args), {
      sparkRemote: this.remote,
      catalog: "spark",
      ...this.environment,
      ...environment,
    });
  }

  /** A run that must succeed. */
  async load(...args: readonly string[]) {
    const { report, stack } = await this.run(args);
    const json = report.toJSON();
    expect(json.error, `${stack}\n${JSON.stringify(json.tables)}`).toBeUndefined();
    return {
      report,
      joined: report.table("joined"),
      adjustment: report.table("adjustment"),
      warnings: report.warnings.map(({ code }) => code),
    };
  }

  get timestampFile(): string | undefined {
    const file = join(this.folder, "state/last_load.csv");
    return existsSync(file) ? readFileSync(file, "utf8") : undefined;
  }

  set timestampFile(text: string | undefined) {
    mkdirSync(join(this.folder, "state"), { recursive: true });
    const file = join(this.folder, "state/last_load.csv");
    if (text === undefined) rmSync(file);
    else writeFileSync(file, text);
  }

  output(name: string): string {
    const folder = join("out/datamart", this.database, name);
    return `parquet.\`${this.base === undefined ? join(this.folder, folder) : `${this.base}/${folder}`}\``;
  }

  files(name: string): string[] {
    const folder = join(this.folder, "out/datamart", this.database, name);
    return existsSync(folder) ? readdirSync(folder).filter((file) => file.endsWith(".parquet")) : [];
  }

  /** Rows as text, sorted. */
  async select(query: string): Promise<string[]> {
    const rows = await (await this.spark.sql(query)).collect();
    return rows.map((row) => JSON.stringify(row.toJSON())).toSorted();
  }

  /** The newest groups, as the README has them read. */
  async newest(name = "joined"): Promise<string[]> {
    const rows = await this.select(newestSql(this.output(name), this.output(`${name}_emptied`)));
    return rows.map((row) => JSON.stringify({ ...JSON.parse(row), batch_id: undefined })).toSorted();
  }

  /** The rows of an Iceberg output, which has the newest groups only. */
  async inIceberg(name = "joined"): Promise<string[]> {
    const key = "spark.sql.catalog.mart_reader";
    const onS3 = this.base !== undefined;
    await this.spark.conf.set({
      [key]: "org.apache.iceberg.spark.SparkCatalog",
      [`${key}.type`]: onS3 ? "glue" : "hadoop",
      [`${key}.warehouse`]: onS3 ? `${this.base}/warehouse` : join(this.folder, "out/datamart", this.database),
      [`${key}.cache-enabled`]: "false",
    });
    const table = onS3 ? `mart_reader.${this.database}_datamart.${name}` : `mart_reader.${name}`;
    const rows = await this.select(`SELECT * FROM ${table}`);
    return rows.map((row) => JSON.stringify({ ...JSON.parse(row), batch_id: undefined })).toSorted();
  }

  /** The documented join, done here by hand. */
  fullLoad(): string[] {
    const rowsOf = (name: TableName) =>
      (this.rows.get(name) ?? []).map((row) =>
        Object.fromEntries(row.map((cell, index) => [columnsOf(name)[index], cell])),
      );
    const equal = (left: unknown, right: unknown) => left !== null && left === right;
    const joined: string[] = [];
    for (const a of rowsOf("account")) {
      for (const m of rowsOf("account_metadata").filter((row) => equal(row.account_id, a.account_id))) {
        for (const r of rowsOf("account_risk").filter((row) => equal(row.account_id, a.account_id))) {
          for (const q of rowsOf("queue").filter((row) => equal(row.account_id, a.account_id))) {
            for (const t of rowsOf("settlement_transaction").filter((row) => equal(row.queue_id, q.queue_id))) {
              joined.push(
                JSON.stringify({
                  account_id: a.account_id,
                  account_name: a.name,
                  account_updated_at: a.updated_at,
                  account_metadata_id: m.id,
                  tier: m.tier,
                  account_metadata_updated_at: m.updated_at,
                  account_risk_id: r.id,
                  score: r.score,
                  account_risk_updated_at: r.updated_at,
                  queue_id: q.queue_id,
                  queue_name: q.name,
                  queue_updated_at: q.updated_at,
                  transaction_id: t.transaction_id,
                  amount: Number(t.amount).toFixed(2),
                  created_at: t.created_at,
                  group_id: JSON.stringify({ transaction_id: t.transaction_id }),
                }),
              );
            }
          }
        }
      }
    }
    return joined.toSorted();
  }

  /** The newest groups are what a full load gives. */
  async expectLikeFullLoad(about = "", format: "parquet" | "iceberg" = "parquet"): Promise<void> {
    const rows = await (format === "parquet" ? this.newest() : this.inIceberg());
    expect({ about, rows }).toEqual({ about, rows: this.fullLoad() });
  }

  /** The transactions that the last batch wrote, and those that it emptied. */
  async lastBatch(): Promise<{ written: string[]; emptied: string[] }> {
    const ids = (name: string, kind: string) =>
      `SELECT DISTINCT '${kind}' AS kind, batch_id, transaction_id FROM ${this.output(name)}`;
    const frame = await this.spark.sql(`${ids("joined", "written")} UNION ALL ${ids("joined_emptied", "emptied")}`);
    const rows = (await frame.collect()).map((row) => [
      row.getString(0),
      row.getString(1) ?? "",
      row.getString(2) ?? "",
    ]);
    const last = rows
      .map(([, batch]) => batch ?? "")
      .toSorted()
      .at(-1);
    const of = (wanted: string) =>
      rows
        .filter(([kind, batch]) => kind === wanted && batch === last)
        .map(([, , id]) => id ?? "")
        .toSorted();
    return { written: of("written"), emptied: of("emptied") };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.spark.sql(`DROP DATABASE IF EXISTS ${this.database} CASCADE`);
    await this.spark.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
