import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, inject, test, vi } from "vitest";
import { SparkConnectClient } from "../../../lib/spark/client/client.js";
import { AthenaScenario } from "../../support/athena-scenario.js";

let s: AthenaScenario;
beforeAll(async () => {
  s = await AthenaScenario.create(inject("sparkRemote"));
  s.keys("tables.csv", "pair,a", "pair,B", "drift,id");
});
afterAll(() => s?.[Symbol.asyncDispose]());

describe("athena-cdc", () => {
  test("a table with the same files isn't read; one written anew without its times is", async () => {
    await s.table("files", "(1, 'a', TIMESTAMP'2026-03-01 10:00:00')");
    await s.load("files");
    const execute = vi.spyOn(SparkConnectClient.prototype, "execute");
    expect(await s.load("files")).toMatchObject({
      reason: "the table has the same files as in the last run",
      hasChanges: false,
    });
    // The lists of tables and of views.
    expect(execute.mock.calls).toHaveLength(4);
    await s.sql("files", "INSERT OVERWRITE $t VALUES (1, 'moved', TIMESTAMP'2026-03-01 10:00:00')");
    execute.mockClear();
    expect((await s.load("files")).inserted).toBe(1);
    expect(execute.mock.calls.length - 4).toBeLessThanOrEqual(4);
    execute.mockRestore();
  });

  test.each(["orc", "csv", "json", "iceberg"])("a partitioned %s table", async (using) => {
    const name = `as_${using}`;
    const full = using === "iceberg" ? `lake.${s.database}.${name}` : `${s.database}.${name}`;
    if (using === "iceberg") await s.spark.sql(`CREATE NAMESPACE IF NOT EXISTS lake.${s.database}`);
    await s.spark.sql(
      `CREATE TABLE ${full} (id BIGINT, v STRING, updated_at TIMESTAMP, day STRING) USING ${using} PARTITIONED BY (day)`,
    );
    const insert = (values: string) => s.spark.sql(`INSERT INTO ${full} VALUES ${values}`);
    await insert(
      "(1, 'a', TIMESTAMP'2026-03-01 10:00:00', '2026-03-01'), (2, 'ü', TIMESTAMP'2026-03-02 10:00:00', '2026-03-02')",
    );
    const args = using === "iceberg" ? ["--athena_database_name", `lake.${s.database}`] : [];
    await s.load(name, ...args);
    await insert("(3, 'c', TIMESTAMP'2026-03-02 10:00:00', '2026-03-02')");
    expect((await s.load(name, ...args)).inserted).toBe(1);
    expect(await s.loaded(name)).toEqual(await s.rows(`SELECT * FROM ${full}`));
    if (using !== "iceberg") return;
    // The output would be the very table that is read.
    const folder = join(inject("warehouse"), s.database);
    const own = ["--output_path", pathToFileURL(folder).href, "--cdc_path", s.uri("cdc-own")];
    const before = readdirSync(folder, { recursive: true });
    for (const format of ["iceberg", "parquet"]) {
      const { report } = await s.run(["--tables", name, ...args, ...own, "--output_format", format]);
      expect(report.table(name).error?.code).toBe("OUTPUT_IS_SOURCE");
    }
    expect(readdirSync(folder, { recursive: true })).toEqual(before);
  });

  test.each(["parquet", "iceberg"])("of a %s table partitioned by time only what may be new is read", async (using) => {
    const iceberg = using === "iceberg";
    const database = iceberg ? `lake.${s.database}` : s.database;
    const full = `${database}.pruned_${using}`;
    const folder = join(s.folder, "in", `pruned_${using}`, "updated_at=2026-03-01");
    if (iceberg) await s.spark.sql(`CREATE NAMESPACE IF NOT EXISTS ${database}`);
    await s.spark.sql(
      `CREATE TABLE ${full} (id BIGINT, v STRING, updated_at ${iceberg ? "TIMESTAMP" : "DATE"}) USING ${using}
        PARTITIONED BY (${iceberg ? "days(updated_at)" : "updated_at"})`,
    );
    const insert = (...days: readonly number[]) =>
      s.spark.sql(
        `INSERT INTO ${full} SELECT id, v, CAST(day AS ${iceberg ? "TIMESTAMP" : "DATE"}) FROM VALUES ${days
          .map((day) => `(${day}, 'v', '2026-03-0${day}')`)
          .join()} AS t(id, v, day)`,
      );
    await insert(1, 3);
    const args = iceberg ? ["--athena_database_name", database] : [];
    expect((await s.load(`pruned_${using}`, ...args)).inserted).toBe(2);
    // Whoever reads the old rows fails.
    const old = iceberg
      ? (await (await s.spark.sql(`SELECT file_path FROM ${full}.files WHERE record_count > 0`)).collect()).map((row) =>
          fileURLToPath(new URL(row.getString(0) ?? "", "file:")),
        )
      : readdirSync(folder)
          .filter((name) => name.startsWith("part-"))
          .map((name) => join(folder, name));
    const oldest = old.filter((file) => file.includes("2026-03-01"));
    expect(oldest.length).toBeGreaterThan(0);
    for (const file of oldest) {
      rmSync(join(dirname(file), `.${basename(file)}.crc`), { force: true });
      writeFileSync(file, "no longer Parquet");
    }
    await insert(4);
    expect((await s.load(`pruned_${using}`, ...args)).inserted).toBe(1);
    await expect(s.rows(`SELECT * FROM ${full}`)).rejects.toThrow();
  });

  test("no updated_at: everything each time; empty and all-NULL tables; text that is no time is refused", async () => {
    await s.table("plain", "(1, 'a')", "parquet", "id BIGINT, v STRING");
    await s.table("empty", "");
    await s.table("nulls", "(1, 'a', NULL), (1, 'a', NULL)");
    await s.table(
      "text",
      "(1, 'a', '2026-03-01'), (2, 'b', 'yesterday')",
      "parquet",
      "id BIGINT, v STRING, updated_at STRING",
    );
    await s.table("number", "(1, 'a', 1.5)", "parquet", "id BIGINT, v STRING, updated_at DOUBLE");
    for (let round = 0; round < 2; round++) {
      for (const name of ["plain", "empty", "nulls"]) {
        await s.load(name);
        expect(await s.loaded(name)).toEqual(await s.source(name));
        expect(s.tracker(name)).toBeUndefined();
      }
    }
    const { report, exitCode } = await s.run(["--tables", "text,number"]);
    expect(exitCode).toBe(1);
    expect(report.table("text").error).toMatchObject({
      code: "INCREMENTAL_VALUES_UNREADABLE",
      message: expect.stringContaining("yesterday"),
    });
    expect(report.table("number").error?.code).toBe("INCREMENTAL_COLUMN_UNUSABLE");
    expect(s.files("text")).toEqual([]);
  });

  test("the tracker: adopted from the Python job, reset by hand, deleted, unreadable", async () => {
    await s.table("moved", "(1, 'a', TIMESTAMP'2026-03-01 10:00:00'), (2, 'b', TIMESTAMP'2026-03-02 10:00:00')");
    s.setTracker("moved", "2026-03-02 00:00:00\n");
    expect(await s.load("moved")).toMatchObject({ inserted: 1, reason: "the tracker of an earlier job counts" });
    s.setTracker("moved", "2026-03-01 00:00:00");
    expect(await s.load("moved")).toMatchObject({ inserted: 2, reason: "the tracker was reset by hand" });
    expect((await s.load("moved")).inserted).toBe(0);
    s.setTracker("moved", undefined);
    expect(await s.load("moved")).toMatchObject({ inserted: 2, reason: "the tracker was deleted" });
    expect(await s.loaded("moved")).toEqual(await s.source("moved"));
    s.setTracker("moved", "None");
    const { report } = await s.run(["--tables", "moved"]);
    expect(report.table("moved").error?.code).toBe("TRACKER_UNREADABLE");
    expect(await s.loaded("moved")).toEqual(await s.source("moved"));
  });

  test("the tracker changed behind the run's back stays, and the next run begins there", async () => {
    await s.table("behind", "(1, 'a', TIMESTAMP'2026-03-01 10:00:00')");
    await s.load("behind");
    await s.sql("behind", "INSERT INTO $t VALUES (2, 'b', TIMESTAMP'2026-03-02 10:00:00')");
    const { report } = await s.run(["--tables", "behind"], {
      onStep: ({ name, phase }) => {
        if (name === "write the rows" && phase === "end") s.setTracker("behind", "2026-02-01 00:00:00");
      },
    });
    expect(report.toJSON().warnings).toContainEqual({
      code: "TRACKER_RESET",
      message: expect.stringContaining("2026-02-01"),
    });
    expect(s.tracker("behind")).toBe("2026-02-01 00:00:00");
    expect(await s.loaded("behind")).toEqual(await s.source("behind"));
    expect(await s.load("behind")).toMatchObject({ inserted: 2, reason: "the tracker was reset by hand" });
  });

  test("a backfill replaces the range and nothing else, and leaves the tracker alone", async () => {
    const row = (day: number) => `(${day}, 'v${day}', TIMESTAMP'2026-03-0${day} 10:00:00')`;
    await s.table("fill", row(1));
    await s.load("fill");
    const [untouched] = s.files("fill");
    await s.sql("fill", `INSERT INTO $t VALUES ${row(2)}, ${row(3)}, ${row(4)}`);
    await s.load("fill");
    const tracker = s.tracker("fill");
    await s.rewrite("fill", "SELECT id, IF(id IN (1, 2, 4), concat(v, '!'), v) AS v, updated_at FROM $t WHERE id <> 3");
    await s.sql(
      "fill",
      "INSERT INTO $t VALUES (5, 'late', TIMESTAMP'2026-03-02 11:00:00'), (6, 'next', TIMESTAMP'2026-03-05 00:00:00')",
    );
    expect(
      (await s.run(["--tables", "fill", "--from", "2026-03-02", "--to", "2026-03-03 23:59:59"], { mode: "plan" }))
        .exitCode,
    ).toBe(2);
    const before = s.files("fill");
    const { details } = await s.load("fill", "--from", "2026-03-02", "--to", "2026-03-03 23:59:59");
    expect(s.files("fill").filter((name) => before.includes(name))).toContain(untouched);
    expect(details.filesReplaced).toBe(before.filter((name) => !s.files("fill").includes(name)).length);
    const ids = () => s.rows(`SELECT id, v FROM ${s.output("fill")}`);
    expect(await ids()).toEqual([
      '{"id":"1","v":"v1"}',
      '{"id":"2","v":"v2!"}',
      '{"id":"4","v":"v4"}',
      '{"id":"5","v":"late"}',
    ]);
    expect(s.tracker("fill")).toBe(tracker);
    // The row at the watermark was changed without its time, and is delivered by the backfill, not once more after it.
    await s.load("fill", "--from", "2026-03-04");
    expect(await s.load("fill")).toMatchObject({ inserted: 1 });
    expect(await ids()).toEqual([
      '{"id":"1","v":"v1"}',
      '{"id":"2","v":"v2!"}',
      '{"id":"4","v":"v4!"}',
      '{"id":"5","v":"late"}',
      '{"id":"6","v":"next"}',
    ]);
  });

  test("a key of two columns: rows changed without their time are the newest, also after a backfill; NULL in a key is no key", async () => {
    // The query that the README gives, on Spark.
    const readme = readFileSync("jobs/athena-cdc/README.md", "utf8");
    const query = /```sql\n(.*?)```/s
      .exec(readme)?.[1]
      ?.replace("PARTITION BY account_id", "PARTITION BY a, b")
      .replace("account_id IS NULL", "a IS NULL OR b IS NULL")
      .replace("FROM accounts", `FROM ${s.output("pair")}`)
      .replace('"$path"', "_metadata.file_path");
    const expectNewest = async () =>
      expect(await s.rows(`SELECT a, b, v, updated_at FROM (${query})`)).toEqual(
        await s.rows(`SELECT * FROM ${s.database}.pair WHERE v <> 'superseded'`),
      );
    const rows = (
      v: string,
    ) => `(1, 'x', '${v}', TIMESTAMP'2026-03-01 12:00:00'), (1, 'y', 'b', TIMESTAMP'2026-03-01 12:00:00'),
      (3, 'x', 'superseded', TIMESTAMP'2026-03-01 11:10:00'), (3, 'x', 'c', TIMESTAMP'2026-03-01 11:50:00'), (4, 'x', 'd', TIMESTAMP'2026-03-01 11:20:00'),
      (NULL, 'x', 'e', TIMESTAMP'2026-03-01 12:00:00'), (NULL, 'x', 'f', TIMESTAMP'2026-03-01 12:00:00')`;
    const load = (...more: readonly string[]) => s.load("pair", "--lookback", "1h", ...more);
    await s.table("pair", rows("pending"), "parquet", "a BIGINT, b STRING, v STRING, updated_at TIMESTAMP");
    expect((await load()).inserted).toBe(6);
    await s.sql("pair", `INSERT OVERWRITE $t VALUES ${rows("done")}`);
    expect((await load()).inserted).toBe(1);
    await expectNewest();
    // It writes the older version of 3, and once more what shared a file with 4, but not the pending row.
    expect(await load("--from", "2026-03-01 11:00:00", "--to", "2026-03-01 11:30:00")).toMatchObject({ inserted: 6 });
    await expectNewest();
    await s.sql("pair", "INSERT INTO $t VALUES (2, 'x', 'g', TIMESTAMP'2026-03-01 12:30:00')");
    expect((await load()).inserted).toBe(1);
    await expectNewest();
  });

  test("columns that were added, dropped and widened", async () => {
    await s.table(
      "drift",
      "(1, 'a', TIMESTAMP'2026-03-01 10:00:00')",
      "parquet",
      "id INT, v STRING, updated_at TIMESTAMP",
    );
    await s.load("drift");
    await s.sql(
      "drift",
      "ALTER TABLE $t ADD COLUMNS (extra STRING)",
      "INSERT INTO $t VALUES (2, 'b', TIMESTAMP'2026-03-02 10:00:00', 'x')",
    );
    const { report } = await s.run(["--tables", "drift", "--on_schema_change", "fail"]);
    expect(report.table("drift").error).toMatchObject({
      code: "SCHEMA_CHANGED",
      message: expect.stringContaining("added extra"),
    });
    expect(await s.load("drift")).toMatchObject({ inserted: 1, details: { schemaChange: "added extra" } });
    await s.sql(
      "drift",
      "DROP TABLE $t",
      "CREATE TABLE $t (id BIGINT, updated_at TIMESTAMP) USING parquet LOCATION '$t.new'".replace(
        "$t.new",
        join(s.folder, "drift2"),
      ),
    );
    await s.sql("drift", "INSERT INTO $t VALUES (5000000000, TIMESTAMP'2026-03-03 10:00:00')");
    expect(await s.load("drift")).toMatchObject({
      way: "full load",
      details: { schemaChange: "dropped v, extra; changed id: int to bigint" },
    });
    expect(await s.loaded("drift")).toEqual(await s.source("drift"));

    // Without a key nothing tells rows with other columns from those that were delivered: a crawler has come to know one.
    await s.sql(
      "wide",
      "CREATE TABLE $t USING parquet AS SELECT 1L AS id, 'x' AS extra, TIMESTAMP'2026-03-01 10:00:00' AS updated_at FROM range(2)",
      `CREATE TABLE $t_bag (id BIGINT, updated_at TIMESTAMP) USING parquet LOCATION '${join(s.folder, "in", "wide")}'`,
    );
    await s.load("wide_bag");
    await s.sql("wide_bag", "ALTER TABLE $t ADD COLUMNS (extra STRING)");
    expect(await s.load("wide_bag")).toMatchObject({
      way: "full load",
      reason: expect.stringContaining("without a key"),
    });
    expect(await s.loaded("wide_bag")).toEqual(await s.source("wide_bag"));
  });

  test("another output format begins with everything, in both directions; so does an Iceberg table that is gone", async () => {
    await s.table("turned", "(1, 'a', TIMESTAMP'2026-03-01 10:00:00')");
    await s.load("turned");
    expect(await s.load("turned", "--output_format", "iceberg")).toMatchObject({
      inserted: 1,
      reason: "so far the output was parquet",
    });
    await s.spark.conf.set({
      "spark.sql.catalog.turned": "org.apache.iceberg.spark.SparkCatalog",
      "spark.sql.catalog.turned.type": "hadoop",
      "spark.sql.catalog.turned.warehouse": join(s.folder, "out"),
      "spark.sql.catalog.turned.cache-enabled": "false",
    });
    expect(await s.rows("SELECT * FROM turned.turned")).toEqual(await s.source("turned"));
    await s.sql("turned", "INSERT INTO $t VALUES (2, 'b', TIMESTAMP'2026-03-02 10:00:00')");
    expect((await s.load("turned", "--output_format", "iceberg")).inserted).toBe(1);
    expect(await s.rows("SELECT * FROM turned.turned")).toEqual(await s.source("turned"));
    await s.spark.sql("DROP TABLE turned.turned PURGE");
    expect(await s.load("turned", "--output_format", "iceberg")).toMatchObject({
      inserted: 2,
      reason: "the Iceberg table is gone",
    });
    expect(await s.rows("SELECT * FROM turned.turned")).toEqual(await s.source("turned"));
  });

  test("a full load takes what Python wrote before; --full-refresh is asked for", async () => {
    await s.table("python", "(1, 'a', TIMESTAMP'2026-03-01 10:00:00')");
    await s.spark.sql(
      `INSERT OVERWRITE DIRECTORY '${join(s.folder, "out", "python")}' USING parquet SELECT * FROM ${s.database}.python`,
    );
    expect((await s.load("python", "--load_type", "full")).details.filesReplaced).toBeGreaterThan(0);
    expect(await s.loaded("python")).toEqual(await s.source("python"));
    // Athena's default layout: a table lies in a folder of its name, in the database's.
    const files = () => readdirSync(join(s.folder, "in", "python"));
    const before = files();
    await s.table("bare", "(1, 'a')", "parquet", "id BIGINT, v STRING");
    const own = ["--tables", "python,bare", "--output_path", s.uri("in"), "--cdc_path", s.uri("cdc-own")];
    const { report } = await s.run(own);
    for (const name of ["python", "bare"]) expect(report.table(name).error?.code).toBe("OUTPUT_IS_SOURCE");
    expect(files()).toEqual(before);
    const warnings = report.warnings.toSorted((one, other) => (one.code < other.code ? -1 : 1));
    expect(warnings).toMatchObject([
      { code: "NO_PRIMARY_KEY", message: expect.stringMatching(/^(python|bare): /) },
      { code: "NO_PRIMARY_KEY", message: expect.stringMatching(/^(python|bare): /) },
      { code: "NO_UPDATED_AT", message: expect.stringMatching(/^bare: /) },
    ]);
    const here = relative(process.cwd(), s.folder);
    await s.load("python", "--output_path", `file:${here}/relative`, "--cdc_path", `file:${here}/cdc-relative`);
    expect(await s.rows(`SELECT * FROM parquet.\`${join(s.folder, "relative", "python")}\``)).toEqual(
      await s.source("python"),
    );
    expect((await s.run(["--full-refresh"])).report.error?.code).toBe("CONFIRMATION_NEEDED");
    expect((await s.run(["--full-refresh"], { confirm: async () => false })).report.error?.code).toBe("NOT_CONFIRMED");
    const wrong = await s.run(["--lookback", "soon", "--to", "2026-03-01"]);
    expect(wrong.report.error?.problems).toHaveLength(2);
  });
});
