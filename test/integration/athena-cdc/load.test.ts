import { readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { SparkConnectClient } from "../../../lib/spark/client/client.js";
import { AthenaScenario } from "../../support/athena-scenario.js";
import { type ExtraSpark, startExtraSpark } from "../../support/extra-spark.js";

let server: ExtraSpark;
let s: AthenaScenario;

/** A server whose settings and zones are all other than the job's: results must not depend on them. */
beforeAll(async () => {
  server = await startExtraSpark({
    conf: {
      "spark.sql.session.timeZone": "Asia/Kolkata",
      "spark.sql.caseSensitive": "true",
      "spark.sql.ansi.enabled": "true",
      "spark.sql.timestampType": "TIMESTAMP_LTZ",
    },
    env: { ...process.env, TZ: "America/New_York" },
  });
  s = await AthenaScenario.create(server.remote);
});
afterAll(async () => {
  await s?.[Symbol.asyncDispose]();
  await server?.stop();
});

const COLUMNS = "id BIGINT, v STRING, updated_at TIMESTAMP";

async function table(name: string, rows: string, using = "parquet", columns = COLUMNS): Promise<void> {
  await s.sql(
    name,
    `CREATE TABLE $t (${columns}) USING ${using}`,
    ...(rows === "" ? [] : [`INSERT INTO $t VALUES ${rows}`]),
  );
}

describe("athena-cdc", () => {
  test("full, incremental, nothing new: at most three Spark operations, microseconds kept, the newest row of each key", async () => {
    s.keys("pk_9.csv", "orders,id");
    utimesSync(join(s.folder, "keys", "pk_9.csv"), new Date(), new Date(Date.now() + 60_000));
    s.keys("pk_10.csv", "orders,v");
    await table(
      "orders",
      `(1, 'a', TIMESTAMP'2026-03-01 10:00:00.342680'), (2, 'b', TIMESTAMP'2026-03-01 09:00:00'), (2, 'old', TIMESTAMP'2026-02-01 09:00:00'),
       (3, 'without', NULL), (9, 'future', TIMESTAMP'2999-01-01 00:00:00')`,
    );
    const execute = vi.spyOn(SparkConnectClient.prototype, "execute");
    const operations = async (work: () => Promise<unknown>) => {
      execute.mockClear();
      await work();
      // Those for the run as a whole: the lists of tables and of views (a command and its result each).
      return execute.mock.calls.length - 4;
    };
    let report: Awaited<ReturnType<typeof s.load>> | undefined;
    const load = async () => {
      report = await s.load("orders");
    };
    expect(await operations(load)).toBe(3);
    expect(report).toMatchObject({ way: "full load", read: 3, inserted: 3 });
    expect(report?.details).toMatchObject({ later: 1n, withoutTime: 1n });
    expect(await s.rows(`SELECT id, v FROM ${s.output("orders")}`)).toEqual([
      '{"id":"1","v":"a"}',
      '{"id":"2","v":"b"}',
      '{"id":"3","v":"without"}',
    ]);
    expect(s.tracker("orders")).toBe("2026-03-01 10:00:00.34268");

    // The row of 2999 may have become due meanwhile, so the files alone don't tell.
    expect(await operations(load)).toBe(2);
    expect(report).toMatchObject({ reason: "no rows since the last run", inserted: 0, hasChanges: false });

    // Equal to the boundary, later, and a second version.
    await s.sql(
      "orders",
      `INSERT INTO $t VALUES (4, 'boundary', TIMESTAMP'2026-03-01 10:00:00.342680'), (5, 'new', TIMESTAMP'2026-03-01 10:00:00.342681'),
         (2, 'b2', TIMESTAMP'2026-03-01 11:00:00.000001')`,
    );
    expect(await operations(load)).toBe(3);
    expect(report).toMatchObject({
      way: "rows since the last run",
      inserted: 3,
      stateAfter: "2026-03-01 11:00:00.000001",
    });
    expect(s.tracker("orders")).toBe("2026-03-01 11:00:00.000001");
    expect((await s.loaded("orders")).length).toBe(6);
    execute.mockRestore();
    // Nothing lies about.
    expect(readdirSync(join(s.folder, "out", "_attempts"))).toEqual([]);
    expect(readdirSync(join(s.folder, "cdc", "_glue_connect", "athena-cdc", "delivered", "orders"))).toHaveLength(1);
    await s.rewrite("orders", "SELECT * FROM $t WHERE id <> 9");
    await s.expectNewest("orders");
  }, 120_000);

  test("a table with the same files isn't read; one written anew without its times is", async () => {
    await table("files", "(1, 'a', TIMESTAMP'2026-03-01 10:00:00')");
    await s.load("files");
    const execute = vi.spyOn(SparkConnectClient.prototype, "execute");
    expect(await s.load("files")).toMatchObject({
      reason: "the table has the same files as in the last run",
      hasChanges: false,
    });
    // The lists of tables and of views.
    expect(execute.mock.calls).toHaveLength(4);
    execute.mockRestore();
    await s.sql("files", "INSERT OVERWRITE $t VALUES (1, 'moved', TIMESTAMP'2026-03-01 10:00:00')");
    expect((await s.load("files")).inserted).toBe(1);
  });

  test("without a key rows are a bag: equal ones at the boundary are delivered as often as they are there", async () => {
    const row = "(7, 'same', TIMESTAMP'2026-03-01 10:00:00')";
    await table(
      "bag",
      `${row}, ${row}, (1, NULL, TIMESTAMP'2026-02-01 00:00:00'), (NULL, 'x', TIMESTAMP'2026-03-01 10:00:00')`,
    );
    await s.load("bag");
    expect(await s.loaded("bag")).toEqual(await s.source("bag"));
    expect((await s.load("bag")).reason).toBe("the table has the same files as in the last run");
    expect((await s.load("bag", "--lookback", "1s")).reason).toBe("no rows since the last run");
    await s.sql(
      "bag",
      `INSERT INTO $t VALUES ${row}, (NULL, 'x', TIMESTAMP'2026-03-01 10:00:00'), (NULL, 'y', TIMESTAMP'2026-03-01 10:00:00')`,
    );
    expect((await s.load("bag")).inserted).toBe(3);
    expect(await s.loaded("bag")).toEqual(await s.source("bag"));
    await s.sql("bag", `INSERT INTO $t VALUES (8, 'z', TIMESTAMP'2026-03-01 12:00:00'), ${row}`);
    expect((await s.load("bag")).inserted).toBe(2);
    expect(await s.loaded("bag")).toEqual(await s.source("bag"));
  });

  test("late rows come within the lookback and not beyond it, also when it grows", async () => {
    await table("late", "(1, 'a', TIMESTAMP'2026-03-01 10:00:00'), (2, 'b', TIMESTAMP'2026-03-01 09:30:00')");
    await s.load("late", "--lookback", "1h");
    await s.sql(
      "late",
      "INSERT INTO $t VALUES (3, 'late', TIMESTAMP'2026-03-01 09:30:00'), (4, 'too late', TIMESTAMP'2026-03-01 08:00:00')",
    );
    expect((await s.load("late", "--lookback", "1h")).inserted).toBe(1);
    expect((await s.load("late", "--lookback", "1h")).inserted).toBe(0);
    await s.sql("late", "INSERT INTO $t VALUES (5, 'new', TIMESTAMP'2026-03-01 10:30:00')");
    expect((await s.load("late", "--lookback", "3d")).inserted).toBe(1);
    expect((await s.loaded("late")).length).toBe(4);
    await s.load("late", "--full-refresh", "--yes");
    expect(await s.loaded("late")).toEqual(await s.source("late"));
  });

  test.each([
    [
      "ntz",
      "TIMESTAMP_NTZ",
      "TIMESTAMP_NTZ'2026-03-01 10:00:00.000001'",
      "TIMESTAMP_NTZ'2026-03-01 10:00:00.000002'",
      "2026-03-01 10:00:00.000002",
    ],
    ["day", "DATE", "DATE'2026-03-01'", "DATE'2026-03-02'", "2026-03-02 00:00:00"],
    ["seconds", "BIGINT", "1772359200", "1772359201", "2026-03-01 10:00:01"],
    ["millis", "BIGINT", "1772359200342", "1772359200343", "2026-03-01 10:00:00.343"],
    ["iso", "STRING", "'2026-03-01T10:00:00Z'", "'2026-03-01T12:00:00.5+01:00'", "2026-03-01 11:00:00.5"],
  ])("a column updated_at of type %s", async (name, type, first, second, tracker) => {
    await table(name, `(1, 'a', ${first})`, "parquet", `id BIGINT, v STRING, Updated_At ${type}`);
    await s.load(name);
    await s.sql(name, `INSERT INTO $t VALUES (2, 'equal', ${first}), (3, 'new', ${second})`);
    expect((await s.load(name)).inserted).toBe(2);
    expect((await s.load(name)).inserted).toBe(0);
    expect(await s.loaded(name)).toEqual(await s.source(name));
    expect(s.tracker(name)).toBe(tracker);
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

  test("rows of one millisecond, and of the hour that comes twice: ORC's statistics don't tell them apart", async () => {
    await table("orc_times", "(1, 'a', TIMESTAMP'2025-11-02 05:30:00.005001')", "orc");
    await s.load("orc_times");
    const batches = [
      "(2, 'b', TIMESTAMP'2025-11-02 05:30:00.005002'), (3, 'c', TIMESTAMP'2025-11-02 05:30:00.0051')",
      "(4, 'd', TIMESTAMP'2025-11-02 05:30:00.0051'), (5, 'e', TIMESTAMP'2025-11-02 05:30:00.005101')",
      "(6, 'f', TIMESTAMP'2025-11-02 06:10:00'), (7, 'g', TIMESTAMP'2025-11-02 06:30:00.000001')",
      "(8, 'h', TIMESTAMP'2025-11-02 06:30:00.000001'), (9, 'i', TIMESTAMP'2025-11-02 06:40:00')",
    ];
    for (const rows of batches) {
      await s.sql("orc_times", `INSERT INTO $t SELECT /*+ COALESCE(1) */ * FROM VALUES ${rows}`);
      expect((await s.load("orc_times")).inserted).toBe(2);
    }
    expect(await s.loaded("orc_times")).toEqual(await s.source("orc_times"));
  });

  test("no updated_at: everything each time; empty and all-NULL tables; text that is no time is refused", async () => {
    await table("plain", "(1, 'a')", "parquet", "id BIGINT, v STRING");
    await table("empty", "");
    await table("nulls", "(1, 'a', NULL), (1, 'a', NULL)");
    await table(
      "text",
      "(1, 'a', '2026-03-01'), (2, 'b', 'yesterday')",
      "parquet",
      "id BIGINT, v STRING, updated_at STRING",
    );
    await table("number", "(1, 'a', 1.5)", "parquet", "id BIGINT, v STRING, updated_at DOUBLE");
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
    await table("moved", "(1, 'a', TIMESTAMP'2026-03-01 10:00:00'), (2, 'b', TIMESTAMP'2026-03-02 10:00:00')");
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
    await table("behind", "(1, 'a', TIMESTAMP'2026-03-01 10:00:00')");
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
    await table("fill", row(1));
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

  test("columns that were added, dropped and widened", async () => {
    await table(
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
  });

  test("types of all kinds go through, and are recognised at the boundary", async () => {
    const columns = `id BIGINT, d DECIMAL(20,5), f FLOAT, g DOUBLE, b BINARY, t DATE, a ARRAY<STRUCT<x: INT, y: STRING>>, m MAP<STRING, INT>,
      n TIMESTAMP_NTZ, o BOOLEAN, c CHAR(3), i SMALLINT, updated_at TIMESTAMP`;
    const row = (
      id: number,
    ) => `${id}, 1.50000BD, CAST('NaN' AS FLOAT), -0.0D, X'00FF', DATE'0001-01-01', array(named_struct('x', NULL, 'y', '"')),
      map('k', NULL), TIMESTAMP_NTZ'1500-01-01 00:00:00', NULL, 'a', CAST(3 AS SMALLINT), TIMESTAMP'2026-03-01 10:00:00'`;
    await s.spark.conf.set({
      "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
      "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    });
    await table("kinds", "", "parquet", columns);
    await s.sql("kinds", `INSERT INTO $t SELECT ${row(1)} UNION ALL SELECT ${row(1)}`);
    await s.load("kinds");
    expect((await s.load("kinds")).inserted).toBe(0);
    await s.sql("kinds", `INSERT INTO $t SELECT ${row(1)} UNION ALL SELECT ${row(2)}`);
    expect((await s.load("kinds")).inserted).toBe(2);
    expect(await s.loaded("kinds")).toEqual(await s.source("kinds"));
  });

  test("a full load takes what Python wrote before; --full-refresh is asked for", async () => {
    await table("python", "(1, 'a', TIMESTAMP'2026-03-01 10:00:00')");
    await s.spark.sql(
      `INSERT OVERWRITE DIRECTORY '${join(s.folder, "out", "python")}' USING parquet SELECT * FROM ${s.database}.python`,
    );
    expect((await s.load("python", "--load_type", "full")).details.filesReplaced).toBeGreaterThan(0);
    expect(await s.loaded("python")).toEqual(await s.source("python"));
    expect((await s.run(["--full-refresh"])).report.error?.code).toBe("CONFIRMATION_NEEDED");
    expect((await s.run(["--full-refresh"], { confirm: async () => false })).report.error?.code).toBe("NOT_CONFIRMED");
    const wrong = await s.run(["--lookback", "soon", "--to", "2026-03-01"]);
    expect(wrong.report.error?.problems).toHaveLength(2);
  });
});
