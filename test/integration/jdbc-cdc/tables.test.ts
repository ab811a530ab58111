import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { JdbcScenario } from "../../support/jdbc-scenario.js";
import { PostgresProxy } from "../../support/postgres-proxy.js";

let s: JdbcScenario;

beforeAll(async () => {
  s = await JdbcScenario.create(inject("sparkRemote"), inject("postgresUrl"));
});
afterAll(() => s?.[Symbol.asyncDispose]());

/** The end of PostgreSQL's Execute: so many rows at most, as four bytes after the portal's name. */
const TEN_THOUSAND_ROWS = Buffer.from([0, 0, 0, 0x27, 0x10]).toString("latin1");
const COLUMNS = "id int PRIMARY KEY, v text, updated_at timestamptz";

describe("tables", () => {
  test("one bad table of several fails alone, --continue takes only it, and the log is uploaded both times", async () => {
    await s.sql(
      `CREATE TABLE a_good (${COLUMNS})`,
      "INSERT INTO a_good VALUES (1, 'a', '2026-03-01Z')",
      `CREATE TABLE b_bad (${COLUMNS}, price numeric(8,2))`,
      "INSERT INTO b_bad VALUES (1, 'a', '2026-03-01Z', 'NaN')",
      "CREATE TABLE c_text (id int, updated_at text)",
      "CREATE TABLE d_plain (id int PRIMARY KEY)",
      "INSERT INTO d_plain VALUES (1)",
      `CREATE TABLE e_empty (${COLUMNS})`,
      `CREATE TABLE f_good (${COLUMNS})`,
      "INSERT INTO f_good VALUES (1, 'f', '2026-03-02Z')",
    );
    const only = ["--tables", "?_*", "--batch_size", "2", "--parallelism", "2"];
    const { report, exitCode } = await s.run(only);
    expect(exitCode).toBe(1);
    expect(report.table("b_bad").error).toMatchObject({
      code: "VALUES_NOT_REPRESENTABLE",
      problems: ["column price (numeric(8,2)): 1 values are NaN"],
    });
    expect(report.table("c_text").error?.code).toBe("INCREMENTAL_COLUMN_UNUSABLE");
    expect(report.table("d_plain")).toMatchObject({ status: "SKIPPED", reason: "it has no column updated_at" });
    expect(report.table("e_empty")).toMatchObject({ status: "SUCCEEDED", reason: "it has no rows" });
    expect(report.toJSON().warnings).toContainEqual({
      code: "NO_UPDATED_AT",
      message: expect.stringContaining("d_plain"),
    });
    expect(await s.loaded("f_good")).toEqual(["1|f"]);
    expect(s.trackerFile()?.split("\n").toSorted()).toEqual([
      "",
      "a_good,2026-03-01 00:00:00",
      "f_good,2026-03-02 00:00:00",
      "table_name,max_timestamp",
    ]);
    expect(s.logs()).toHaveLength(1);
    expect(s.logs()[0]).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO \[dev\] test jr_[0-9a-f]{32} begins/);
    expect(s.logs()[0]).toMatch(/WARNING \[dev\] NO_UPDATED_AT: d_plain has no column updated_at; skipped/);
    expect(s.logs()[0]).toMatch(/ERROR \[dev\] b_bad: VALUES_NOT_REPRESENTABLE/);

    await s.sql("DROP TABLE c_text", "INSERT INTO a_good VALUES (2, 'b', '2026-03-02Z')");
    const again = await s.run([...only, "--continue", "--special_values", "null"]);
    expect(again.report.toJSON().error).toBeUndefined();
    expect([...again.report.tables.keys()]).toEqual(["b_bad"]);
    expect(again.report.toJSON().warnings.map(({ code }) => code)).toEqual(["VALUES_BECAME_NULL"]);
    expect(await s.loaded("b_bad", "id, price")).toEqual(["1|"]);
    expect(await s.loaded("a_good")).toEqual(["1|a"]);
    expect(s.logs()).toHaveLength(2);
  });

  test("200 tables, 3 of them bad: those fail alone, and --continue takes only them", async () => {
    // Empty ones take no Spark operation; every tenth has a row.
    await s.sql(`DO $$ BEGIN
      FOR i IN 0..199 LOOP
        EXECUTE format('CREATE TABLE m%s (id int PRIMARY KEY, v text, price numeric(8,2), updated_at %s)',
          lpad(i::text, 3, '0'), CASE i WHEN 100 THEN 'text' ELSE 'timestamptz' END);
        IF i % 10 = 0 THEN
          EXECUTE format('INSERT INTO m%s VALUES (%s, ''v'', %L, ''2026-03-01Z'')',
            lpad(i::text, 3, '0'), i, CASE WHEN i IN (50, 150) THEN 'NaN' ELSE '1.5' END);
        END IF;
      END LOOP;
    END $$`);
    const only = ["--tables", "m???", "--parallelism", "6"];
    const first = await s.run(only);
    expect(first.exitCode).toBe(1);
    const tables = [...first.report.tables];
    expect(tables).toHaveLength(200);
    expect(tables.flatMap(([name, { status, error }]) => (status === "FAILED" ? [[name, error?.code]] : []))).toEqual([
      ["m050", "VALUES_NOT_REPRESENTABLE"],
      ["m100", "INCREMENTAL_COLUMN_UNUSABLE"],
      ["m150", "VALUES_NOT_REPRESENTABLE"],
    ]);
    expect(tables.filter(([, { status }]) => status === "SUCCEEDED")).toHaveLength(197);
    const loaded = tables.flatMap(([name, { inserted }]) => (inserted === 1 ? [name] : []));
    expect(loaded).toHaveLength(17);
    expect(
      s
        .trackerFile()
        ?.split("\n")
        .filter((line) => /^m\d{3},2026-03-01 00:00:00$/.test(line)),
    ).toHaveLength(17);
    for (const name of ["m000", "m190"]) expect(await s.loaded(name)).toEqual(await s.source(name));

    await s.sql("UPDATE m050 SET price = 2", "INSERT INTO m000 VALUES (1, 'new', 1, '2026-03-02Z')");
    const second = await s.run([...only, "--continue"]);
    expect([...second.report.tables].map(([name, { status }]) => `${name} ${status}`)).toEqual([
      "m050 SUCCEEDED",
      "m100 FAILED",
      "m150 FAILED",
    ]);
    expect(await s.loaded("m050")).toEqual(await s.source("m050"));
    expect(await s.loaded("m000")).toHaveLength(1);
  }, 120_000);

  test("names that Spark can't tell apart fail their table alone; a log that can't be put is a warning; rows are fetched by the ten thousand", async () => {
    await using proxy = await PostgresProxy.start(s.postgresUrl);
    let fetches = 0;
    proxy.watch = (sent) => {
      fetches += sent.toString("latin1").split(TEN_THOUSAND_ROWS).length - 1;
    };
    await s.sql(
      `CREATE TABLE n_cased (${COLUMNS}, "V" text, cdc_deleted boolean)`,
      "INSERT INTO n_cased VALUES (1, 'a', '2026-03-01Z', 'b', true)",
      `CREATE TABLE n_good (${COLUMNS})`,
      "INSERT INTO n_good SELECT i, 'v', '2026-03-01Z' FROM generate_series(1, 30000) AS i",
    );
    writeFileSync(join(s.folder, "no-folder"), "");
    const { report, exitCode } = await s.run(["--tables", "n_*", "--log_folder_path", s.uri("no-folder/logs")], {
      postgresUrl: proxy.url(s.postgresUrl),
    });
    expect(exitCode).toBe(1);
    expect(report.table("n_cased").error).toMatchObject({
      code: "COLUMN_NAMES_UNUSABLE",
      problems: [
        "columns v and V differ in case only, which Spark and Glue ignore",
        "column cdc_deleted has the name of a column that this job adds",
      ],
    });
    expect(report.table("n_good")).toMatchObject({ status: "SUCCEEDED", inserted: 30_000 });
    expect(report.warnings).toMatchObject([
      { code: "LOG_NOT_UPLOADED", message: expect.stringContaining("no-folder/logs") },
    ]);
    expect(await s.loaded("n_good", "count(*), count(DISTINCT id), sum(id)")).toEqual(["30000|30000|450015000"]);
    expect(fetches).toBeGreaterThanOrEqual(3);
  });

  test("a database that doesn't answer: the log is uploaded, and holds no password", async () => {
    const url = new URL(s.postgresUrl);
    [url.port, url.password] = ["1", "hunter2hunter2"];
    const { exitCode } = await s.run([], { postgresUrl: url.href });
    expect(exitCode).not.toBe(0);
    const log = s.logs().find((text) => text.includes("ends with an error"));
    expect(log).toMatch(/ERROR \[dev\]/);
    expect(s.logs().join()).not.toContain("hunter2");
  });

  test("no times, and times to come: with full loads only, and when they are due", async () => {
    await s.sql(
      `CREATE TABLE nulls (${COLUMNS})`,
      "INSERT INTO nulls VALUES (1, 'a', NULL), (2, 'b', NULL)",
      `CREATE TABLE ahead (${COLUMNS})`,
      "INSERT INTO ahead VALUES (1, 'now', '2026-03-01Z'), (2, 'to come', '2999-01-01Z'), (3, 'never', 'infinity'), (4, 'none', NULL)",
    );
    for (let round = 0; round < 2; round++) {
      await s.load("nulls");
      expect(await s.loaded("nulls")).toEqual(await s.source("nulls"));
      expect(s.tracker("nulls")).toBeUndefined();
    }
    const { report } = await s.run(["--tables", "ahead"]);
    expect(report.toJSON().warnings).toContainEqual({
      code: "FUTURE_TIMESTAMPS",
      message: expect.stringContaining("ahead: 2 rows are later than"),
    });
    expect(await s.loaded("ahead")).toEqual(["1|now", "4|none"]);
    expect(s.tracker("ahead")).toBe("2026-03-01 00:00:00");
    await s.sql(
      "UPDATE ahead SET updated_at = '2026-03-02Z' WHERE id = 2",
      "INSERT INTO ahead VALUES (5, 'none', NULL)",
    );
    expect((await s.load("ahead")).inserted).toBe(1);
    expect(await s.loaded("ahead")).toEqual(["1|now", "2|to come", "4|none"]);
  });

  test("columns that were added, dropped, widened or changed", async () => {
    await s.sql(`CREATE TABLE shape (${COLUMNS}, gone text)`, "INSERT INTO shape VALUES (1, 'a', '2026-03-01Z', 'x')");
    await s.load("shape");
    await s.sql(
      "ALTER TABLE shape DROP COLUMN gone, ADD COLUMN more numeric(5,1)",
      "INSERT INTO shape VALUES (2, 'b', '2026-03-01Z', 1.5)",
    );
    const refused = await s.run(["--tables", "shape", "--on_schema_change", "fail"]);
    expect(refused.report.table("shape").error).toMatchObject({
      code: "SCHEMA_CHANGED",
      problems: ["column more (decimal(5,1)) was added", "column gone (string) was dropped"],
    });
    const { inserted, details } = await s.load("shape");
    // The row at the boundary has lost a value, and comes again.
    expect({ inserted, changes: details.schemaChanges }).toEqual({
      inserted: 2,
      changes: ["column more (decimal(5,1)) was added", "column gone (string) was dropped"],
    });
    // Files with both types couldn't be read together, and the row that is there has a value of the old one.
    await s.sql("ALTER TABLE shape ADD COLUMN gone int", "INSERT INTO shape VALUES (3, 'c', '2026-03-02Z', NULL, 7)");
    expect((await s.load("shape")).way).toBe("everything");
    expect(await s.loaded("shape", "id, v, more, gone")).toEqual(["1|a||", "2|b|1.5|", "3|c||7"]);
    await s.sql("ALTER TABLE shape ALTER COLUMN id TYPE bigint");
    expect(await s.load("shape")).toMatchObject({
      way: "everything",
      details: { schemaChanges: ["column id was widened from int to bigint"], filesReplaced: 2 },
    });
    expect(await s.loaded("shape", "id, v, more")).toEqual(["1|a|", "2|b|1.5", "3|c|"]);
  });

  test("keys that are gone: found by comparing key sets, and marked", async () => {
    await s.sql(
      `CREATE TABLE soft (${COLUMNS})`,
      "INSERT INTO soft SELECT i, 'v' || i, '2026-03-01Z' FROM generate_series(1, 5) AS i",
      "CREATE TABLE bag (v text, updated_at timestamptz)",
    );
    const latest = () => s.latest("soft", "id, v, cdc_deleted");
    await s.load("soft", "--deletes", "soft");
    await s.sql("DELETE FROM soft WHERE id IN (2, 4)", "INSERT INTO soft VALUES (6, 'v6', '2026-03-02Z')");
    expect(
      (await s.run(["--tables", "soft", "--deletes", "soft"], { mode: "plan" })).report.table("soft"),
    ).toMatchObject({
      deleted: 2,
      hasChanges: true,
    });
    expect(await s.load("soft", "--deletes", "soft")).toMatchObject({ inserted: 1, deleted: 2 });
    expect(await latest()).toEqual(["1|v1|false", "2||true", "3|v3|false", "4||true", "5|v5|false", "6|v6|false"]);
    expect(await s.load("soft", "--deletes", "soft")).toMatchObject({ inserted: 0, deleted: 0, reason: "nothing new" });
    // Back again with an old time, and one more that goes while nobody looks.
    await s.sql("INSERT INTO soft VALUES (4, 'back', '2026-03-01Z')", "DELETE FROM soft WHERE id = 5");
    await s.load("soft");
    expect(await s.load("soft", "--deletes", "soft")).toMatchObject({ inserted: 0, deleted: 1 });
    expect(await s.latest("soft", "id, v, cdc_deleted")).toEqual([
      "1|v1|false",
      "2||true",
      "3|v3|false",
      "4|back|false",
      "5||true",
      "6|v6|false",
    ]);
    expect(await s.latest("soft")).toEqual(await s.source("soft"));
    const { report } = await s.run(["--tables", "bag", "--deletes", "soft"]);
    expect(report.toJSON().warnings.map(({ code }) => code)).toContain("DELETES_NEED_KEY");
  });
});
