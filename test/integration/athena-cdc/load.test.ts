import { readdirSync, statSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { type Clock, filesSince, rowsInFiles, type StoredFile, timesOf } from "../../../lib/glue/incremental/index.js";
import { SparkConnectClient } from "../../../lib/spark/client/client.js";
import * as f from "../../../lib/spark/functions/index.js";
import { type DataFrame, SparkSession } from "../../../lib/spark/index.js";
import { createObjectStore } from "../../../lib/storage/index.js";
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

describe("athena-cdc", () => {
  test("full, incremental, nothing new: one Spark operation for a small table, microseconds kept, the newest row of each key", async () => {
    s.keys("pk_9.csv", "orders,id");
    utimesSync(join(s.folder, "keys", "pk_9.csv"), new Date(), new Date(Date.now() + 60_000));
    s.keys("pk_10.csv", "orders,v");
    await s.table(
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
    let warnings: unknown;
    const load = async () => {
      const run = await s.run(["--tables", "orders"]);
      report = run.report.table("orders");
      ({ warnings } = run.report);
    };
    expect(await operations(load)).toBe(1);
    expect(warnings).toMatchObject([{ code: "ROWS_IN_THE_FUTURE", message: expect.stringMatching(/^orders: 1 rows/) }]);
    expect(report).toMatchObject({ way: "full load", read: 3, inserted: 3 });
    expect(report?.details).toMatchObject({ later: 1n, withoutTime: 1n });
    expect(await s.rows(`SELECT id, v FROM ${s.output("orders")}`)).toEqual([
      '{"id":"1","v":"a"}',
      '{"id":"2","v":"b"}',
      '{"id":"3","v":"without"}',
    ]);
    expect(s.tracker("orders")).toBe("2026-03-01 10:00:00.34268");

    // The row of 2999 may have become due meanwhile, so the files alone don't tell.
    expect(await operations(load)).toBe(1);
    expect(report).toMatchObject({ reason: "no rows since the last run", inserted: 0, hasChanges: false });

    // Equal to the boundary, later, and a second version.
    await s.sql(
      "orders",
      `INSERT INTO $t VALUES (4, 'boundary', TIMESTAMP'2026-03-01 10:00:00.342680'), (5, 'new', TIMESTAMP'2026-03-01 10:00:00.342681'),
         (2, 'b2', TIMESTAMP'2026-03-01 11:00:00.000001')`,
    );
    expect(await operations(load)).toBe(1);
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
    const published = readdirSync(join(s.folder, "out", "orders"));
    expect(published.filter((name) => !/^part-.*\.parquet$/.test(name))).toEqual([]);
    expect(readdirSync(join(s.folder, "cdc", "_glue_connect", "athena-cdc", "delivered", "orders"))).toHaveLength(1);
    await s.rewrite("orders", "SELECT * FROM $t WHERE id <> 9");
    await s.expectNewest("orders");
  }, 120_000);

  test("without a key rows are a bag: equal ones at the boundary are delivered as often as they are there", async () => {
    const row = "(7, 'same', TIMESTAMP'2026-03-01 10:00:00')";
    await s.table(
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

  test("what was delivered at the boundary is kept as copies of files, by the executors when they are many, else by the driver", async () => {
    const kept = () =>
      readdirSync(join(s.folder, "cdc", "_glue_connect", "athena-cdc", "delivered", "crowd"), { recursive: true })
        .map(String)
        .filter((name) => /(^|\/)rows(\.[a-z]+)?$/.test(name))
        .map((name) => name.slice(name.lastIndexOf("/") + 1));
    await s.sql(
      "crowd",
      "CREATE TABLE $t (id BIGINT, v STRING, updated_at TIMESTAMP) USING parquet",
      "INSERT INTO $t SELECT id, 'v', TIMESTAMP'2026-03-01 10:00:00' FROM range(501)",
    );
    expect((await s.load("crowd")).inserted).toBe(501);
    expect(kept()).toEqual(["rows.copies"]);
    await s.sql("crowd", "INSERT INTO $t SELECT id * 500, 'v', TIMESTAMP'2026-03-01 10:00:00' FROM range(3)");
    expect((await s.load("crowd")).inserted).toBe(3);
    expect(kept()).toEqual(["rows"]);
    expect(await s.loaded("crowd")).toEqual(await s.source("crowd"));
    for (const folder of ["rows.copies", "rows.json"]) {
      await s.sql("crowd", "INSERT INTO $t VALUES (1, 'v', TIMESTAMP'2026-03-01 10:00:01')");
      expect((await s.load("crowd")).inserted).toBe(1);
      expect(kept()).toEqual([folder]);
    }
    await s.sql("crowd", "INSERT INTO $t VALUES (1, 'v', TIMESTAMP'2026-03-01 10:00:01')");
    expect((await s.load("crowd")).inserted).toBe(1);
    expect(await s.loaded("crowd")).toEqual(await s.source("crowd"));
  });

  test("of a great load only the files that reach the watermark are kept", async () => {
    const files = (folder: string) =>
      readdirSync(join(s.folder, folder), { recursive: true, encoding: "utf8" }).filter((name) =>
        name.endsWith(".parquet"),
      );
    const time = "TIMESTAMP'2026-03-01 10:00:00' + make_interval(0, 0, 0, 0, 0, 0, id)";
    await s.sql(
      "spread",
      "CREATE TABLE $t (id BIGINT, v STRING, updated_at TIMESTAMP) USING parquet",
      `INSERT INTO $t SELECT /*+ REPARTITION(20) */ id, 'v', ${time} FROM range(200)`,
    );
    expect((await s.load("spread")).inserted).toBe(200);
    expect(files("out/spread").length).toBeGreaterThan(1);
    expect(files("cdc/_glue_connect/athena-cdc/delivered/spread")).toHaveLength(1);
    // One that equals the last one, and one with its time.
    await s.sql(
      "spread",
      `INSERT INTO $t SELECT 199, v, ${time.replace("id)", "199)")} FROM VALUES ('v'), ('w') AS r (v)`,
    );
    expect((await s.load("spread")).inserted).toBe(2);
    expect((await s.load("spread")).inserted).toBe(0);
    expect(await s.loaded("spread")).toEqual(await s.source("spread"));
  });

  test("late rows come within the lookback and not beyond it, also when it grows", async () => {
    await s.table("late", "(1, 'a', TIMESTAMP'2026-03-01 10:00:00'), (2, 'b', TIMESTAMP'2026-03-01 09:30:00')");
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
    await s.table(name, `(1, 'a', ${first})`, "parquet", `id BIGINT, v STRING, Updated_At ${type}`);
    await s.load(name);
    await s.sql(name, `INSERT INTO $t VALUES (2, 'equal', ${first}), (3, 'new', ${second})`);
    expect((await s.load(name)).inserted).toBe(2);
    expect((await s.load(name)).inserted).toBe(0);
    expect(await s.loaded(name)).toEqual(await s.source(name));
    expect(s.tracker(name)).toBe(tracker);
  });

  test("rows of one millisecond, and of the hour that comes twice: ORC's statistics don't tell them apart", async () => {
    await s.table("orc_times", "(1, 'a', TIMESTAMP'2025-11-02 05:30:00.005001')", "orc");
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

  test("the times of small files are read here as Spark reads them; what isn't sure is left to Spark", async () => {
    const types = `SELECT id, 'v' AS v, struct(id AS updated_at) AS nested, named_struct('a', 1) AS other,
      IF(id % 5 = 0, NULL, timestamp_micros(1772359200000000 + id * 1000007)) AS Updated_At`;
    const written: Record<string, { readonly conf?: Record<string, string>; readonly query?: string }> = {
      micros: {},
      millis: { conf: { "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MILLIS" } },
      int96: { conf: { "spark.sql.parquet.outputTimestampType": "INT96" } },
      plain: {
        conf: { "spark.sql.parquet.compression.codec": "uncompressed" },
        query: `SELECT id, CAST(IF(id % 5 = 0, NULL, timestamp_micros(id - 20000007)) AS TIMESTAMP_NTZ) AS updated_at`,
      },
      nulls: { query: "SELECT id, CAST(NULL AS TIMESTAMP) AS Updated_At" },
    };
    /** A file isn't left out that has a row from some time on; statistics tell of those that have none, which INT96 lacks. */
    const expectReach = async (name: string, files: readonly StoredFile[], clock: Clock) => {
      const latest = await Promise.all(
        files.map(async (file) => {
          const times = (await timesOf(store, [file], clock)) ?? [];
          return times.reduce((max, time) => (max === null || (time !== null && time > max) ? time : max), null);
        }),
      );
      const bounds = latest.flatMap((time) => (time === null ? [0n] : [time, time + 1n]));
      for (const bound of bounds) {
        const reach = files.filter((_file, index) => name === "int96" || (latest[index] ?? bound - 1n) >= bound);
        expect(await filesSince(store, files, clock, bound), `${name} since ${bound}`).toEqual(reach);
      }
    };
    const unsure: typeof written = {
      gzip: { conf: { "spark.sql.parquet.compression.codec": "gzip" } },
      ancient: {
        conf: { "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED" },
        query: "SELECT TIMESTAMP'1899-12-31 23:59:59' AS updated_at",
      },
      without: { query: "SELECT id, 'v' AS v" },
      day: { query: "SELECT DATE'2026-03-01' AS updated_at" },
    };
    const before = {
      "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
      "spark.sql.parquet.compression.codec": "snappy",
    };
    const store = createObjectStore();
    for (const [name, { conf = {}, query = types }] of Object.entries({ ...written, ...unsure })) {
      await s.spark.conf.set({ ...before, ...conf });
      await s.sql(`w_${name}`, `CREATE TABLE $t USING parquet AS ${query} FROM range(0, 1000, 1, 3)`);
      await s.spark.conf.set(before);
      const table = s.spark.table(`${s.database}.w_${name}`);
      const uris = await table.inputFiles();
      const files = uris.map((uri) => ({ uri, size: statSync(fileURLToPath(uri)).size }));
      const kind = name === "plain" ? "timestamp_ntz" : "timestamp";
      const column = f.col("updated_at");
      const clock: Clock = { name: "updated_at", kind, column, micros: column };
      const times = await timesOf(store, files, clock);
      if (name in unsure) {
        expect(times, name).toBeUndefined();
        if (name === "without" || name === "day")
          expect(await filesSince(store, files, clock, 2n ** 62n)).toEqual(files);
        continue;
      }
      const bySpark = await table.select(f.unix_micros(column.cast("timestamp")).as("t")).collect();
      const sorted = (values: readonly (bigint | null | undefined)[]) => values.map(String).toSorted();
      expect(uris.length, name).toBe(3);
      await expectReach(name, files, { ...clock, name: clock.kind === "timestamp" ? "Updated_At" : "updated_at" });
      expect(sorted(times ?? []), name).toEqual(sorted(bySpark.map((row) => row.getBigInt("t"))));
      const [file] = files;
      if (file === undefined || name !== "micros") continue;
      const idsOf = async (rows: DataFrame) =>
        sorted((await rows.select("id").collect()).map((row) => row.getBigInt("id")));
      const idsOfFile = async (rows: DataFrame) => await idsOf(await rowsInFiles(rows, await rows.schema(), [file]));
      expect(await idsOfFile(table)).toEqual(await idsOf(s.spark.read.parquet(file.uri)));
      // Rows of a union don't say from which file they are, and a table's own column hides it.
      expect((await idsOfFile(table.union(table))).length).toBe(2000);
      await s.sql(
        "w_hiding",
        `CREATE TABLE $t USING parquet AS SELECT id, struct('' AS file_name) AS _Metadata FROM range(5)`,
      );
      expect((await idsOfFile(s.spark.table(`${s.database}.w_hiding`))).length).toBe(5);
    }
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
    await s.table("kinds", "", "parquet", columns);
    await s.sql("kinds", `INSERT INTO $t SELECT ${row(1)} UNION ALL SELECT ${row(1)}`);
    // The first time compiled, as a server without a second session has it; then interpreted: rows are recognised all the same.
    const refused = vi.spyOn(SparkSession.prototype, "newSession").mockImplementation(() => {
      throw new Error("one session only");
    });
    await s.load("kinds");
    expect(refused).toHaveBeenCalledOnce();
    refused.mockRestore();
    expect((await s.load("kinds")).inserted).toBe(0);
    await s.sql("kinds", `INSERT INTO $t SELECT ${row(1)} UNION ALL SELECT ${row(2)}`);
    expect((await s.load("kinds")).inserted).toBe(2);
    expect(await s.loaded("kinds")).toEqual(await s.source("kinds"));
  });
});
