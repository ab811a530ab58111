import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, test, vi } from "vitest";
import { SparkConnectClient } from "../../../lib/spark/client/client.js";
import { type ExtraSpark, startExtraSpark } from "../../support/extra-spark.js";
import { JdbcScenario } from "../../support/jdbc-scenario.js";

let server: ExtraSpark;
let s: JdbcScenario;

/** A server whose settings and zones are all other than the job's: results must not depend on them. */
beforeAll(async () => {
  server = await startExtraSpark({
    conf: {
      "spark.sql.session.timeZone": "America/New_York",
      "spark.sql.caseSensitive": "true",
      "spark.sql.ansi.enabled": "true",
      "spark.sql.timestampType": "TIMESTAMP_NTZ",
    },
    env: { ...process.env, TZ: "Asia/Kolkata" },
  });
  s = await JdbcScenario.create(server.remote, inject("postgresUrl"));
  await s.sql(`ALTER DATABASE ${s.name} SET TimeZone = 'Asia/Tokyo'`);
});
afterAll(async () => {
  await s?.[Symbol.asyncDispose]();
  await server?.stop();
});

/** Makes a table `id, v, updated_at`. */
async function table(name: string, rows: string, type = "timestamptz", key = "PRIMARY KEY"): Promise<void> {
  await s.sql(`CREATE TABLE ${name} (id bigint ${key}, v text, updated_at ${type})`);
  if (rows !== "") await s.sql(`INSERT INTO ${name} VALUES ${rows}`);
}

describe("jdbc-cdc", () => {
  test("full, changes, nothing new: one Spark operation or none, microseconds kept, folders by the UTC date", async () => {
    await table(
      "orders",
      "(1, 'a', '2026-03-01 23:59:59.34268+00'), (2, 'b', '2026-03-02 05:00+09'), (3, 'without', NULL)",
    );
    const execute = vi.spyOn(SparkConnectClient.prototype, "execute");
    const operations = async () => {
      execute.mockClear();
      const report = await s.load("orders");
      return { report, operations: execute.mock.calls.length };
    };
    const first = await operations();
    expect(first.operations).toBe(1);
    expect(first.report).toMatchObject({ way: "everything", read: 3, inserted: 3 });
    expect(first.report.details).toMatchObject({ environment: "dev", withoutTime: 1n, later: 0n });
    expect(await s.loaded("orders", "id, v, updated_at, partition_date")).toEqual([
      "1|a|2026-03-01T23:59:59.342680Z|2026-03-01",
      "2|b|2026-03-01T20:00:00.000000Z|2026-03-01",
      "3|without||",
    ]);
    expect(s.tracker("orders")).toBe("2026-03-01 23:59:59.34268");

    const second = await operations();
    expect(second).toMatchObject({ operations: 0, report: { reason: "nothing new", hasChanges: false } });

    // Equal to the boundary, one microsecond later, and a new version.
    await s.sql(
      "INSERT INTO orders VALUES (4, 'boundary', '2026-03-01 23:59:59.34268+00'), (5, 'next', '2026-03-01 23:59:59.342681+00')",
      "UPDATE orders SET v = 'b2', updated_at = '2026-03-02 00:00:00.000001+00' WHERE id = 2",
    );
    const third = await operations();
    expect(third.operations).toBe(1);
    expect(third.report).toMatchObject({ way: "changes", inserted: 3 });
    expect(s.tracker("orders")).toBe("2026-03-02 00:00:00.000001");
    expect(await s.loaded("orders")).toHaveLength(6);
    expect(await s.latest("orders")).toEqual(await s.source("orders"));
    expect((await operations()).operations).toBe(0);
    execute.mockRestore();
    // Nothing lies about.
    expect(readdirSync(join(s.folder, "out", "_attempts"))).toEqual([]);
    const published = readdirSync(join(s.folder, "out", "orders"), { recursive: true, encoding: "utf8" });
    expect(published.filter((name) => !/^partition_date=[^/]+(\/part-[^/]+\.parquet)?$/.test(name))).toEqual([]);
    const folder = join(s.folder, "state", "_glue_connect", "jdbc-cdc", "delivered");
    const delivered = readdirSync(folder, { recursive: true }).map(String).toSorted();
    // All rows that count are in the batch's files, in those of the last day: copies of these.
    expect(delivered.filter((name) => /part-.*\.(json|parquet)$/.test(name))).toEqual([
      expect.stringMatching(/^orders\/jr_\w+\/rows\.copies\/part-00000\.parquet$/),
    ]);
  });

  test("without a key rows are a bag: equal ones at the boundary are delivered as often as they are there", async () => {
    const row = "(7, 'same', '2026-03-01 10:00:00')";
    await table("bag", `${row}, ${row}, (NULL, 'x', '2026-03-01 10:00:00')`, "timestamp", "");
    await s.load("bag");
    expect(await s.loaded("bag")).toEqual(await s.source("bag"));
    expect((await s.load("bag")).reason).toBe("nothing new");
    await s.sql(`INSERT INTO bag VALUES ${row}, (NULL, 'x', '2026-03-01 10:00:00'), (8, 'y', '2026-03-01 10:00:00')`);
    expect((await s.load("bag")).inserted).toBe(3);
    await s.sql(`INSERT INTO bag VALUES ${row}, (9, 'older', '2026-02-01'), (9, 'newer', '2026-03-02')`);
    expect((await s.load("bag")).inserted).toBe(3);
    expect(await s.loaded("bag")).toEqual(await s.source("bag"));
    // Whether a table that was rewritten has the rows of before can't be told: they take the place of those.
    await s.sql("VACUUM FULL bag");
    expect((await s.load("bag")).way).toBe("everything");
    expect(await s.loaded("bag")).toEqual(await s.source("bag"));
  });

  test.each([
    [
      "instant",
      "timestamptz",
      "'2026-03-01 10:00:00.000001Z'",
      "'2026-03-01 10:00:00.000002Z'",
      "10:00:00.000002",
      "2026-03-01",
    ],
    [
      "wall",
      "timestamp(6)",
      "'2026-03-01 10:00:00.000001'",
      "'2026-03-01 10:00:00.000002'",
      "10:00:00.000002",
      "2026-03-01",
    ],
    ["day", "date", "'2026-02-28'", "'2026-03-01'", "00:00:00", "2026-03-01"],
    ["seconds", "integer", "1772359200", "1772359201", "10:00:01", "2026-03-01"],
    ["millis", "bigint", "1772359200342", "1772359200343", "10:00:00.343", "2026-03-01"],
  ])("a column Updated_At of type %s (%s)", async (name, type, first, second, time, day) => {
    await s.sql(`CREATE TABLE "of ${name}" (id int PRIMARY KEY, v text, "Updated_At" ${type})`);
    await s.sql(`INSERT INTO "of ${name}" VALUES (1, 'a', ${first})`);
    await s.load(`of ${name}`);
    await s.sql(`INSERT INTO "of ${name}" VALUES (2, 'equal', ${first}), (3, 'new', ${second})`);
    expect((await s.load(`of ${name}`)).inserted).toBe(2);
    expect((await s.load(`of ${name}`)).reason).toBe("nothing new");
    expect(await s.loaded(`of ${name}`)).toEqual(await s.source(`of ${name}`));
    expect(s.tracker(`of ${name}`)).toBe(`${day} ${time}`);
    expect(await s.loaded(`of ${name}`, "DISTINCT max(partition_date) OVER ()")).toEqual([day]);
  });

  test("many rows come by several readers of one snapshot, each value as it is", async () => {
    await s.sql(
      "CREATE TYPE mood AS ENUM ('fine', 'so so')",
      `CREATE TABLE big (id uuid DEFAULT gen_random_uuid(), n numeric(12,2), m mood, tags text[], doc jsonb, v text, updated_at timestamptz, PRIMARY KEY (id, n))`,
      `INSERT INTO big SELECT gen_random_uuid(), i + 0.01, (ARRAY['fine', 'so so'])[1 + i % 2]::mood, ARRAY['a', i::text], jsonb_build_object('i', i),
         repeat('x', 100), '2026-02-28 15:00Z'::timestamptz + i * interval '1 microsecond' FROM generate_series(1, 120000) AS i`,
    );
    expect(await s.load("big")).toMatchObject({ inserted: 120_000 });
    const sums = "count(*), count(DISTINCT id), sum(n), sum(length(v))";
    expect(await s.loaded("big", sums)).toEqual(await s.source("big", sums));
    expect(
      await s
        .loaded("big", "m, tags[1], get_json_object(doc, '$.i'), updated_at")
        .then((rows) => rows.includes("so so|7|7|2026-02-28T15:00:00.000007Z")),
    ).toBe(true);
    await s.sql("UPDATE big SET v = 'changed', updated_at = now() WHERE n < 100");
    expect((await s.load("big")).inserted).toBe(99);
    expect(
      await s.latest("big", "v, count(*) OVER (PARTITION BY v)", "id, n").then((rows) => [...new Set(rows)]),
    ).toEqual(["changed|99", `${"x".repeat(100)}|119901`]);
  });

  test("a partitioned table, and a table whose names need quotes", async () => {
    await s.sql(
      `CREATE TABLE "We ""ird, \`table\`" ("Select" int PRIMARY KEY, "a b;c" text, updated_at timestamptz)`,
      `INSERT INTO "We ""ird, \`table\`" VALUES (1, 'x', '2026-03-01Z')`,
      "CREATE TABLE days (id int, day date, v text, updated_at timestamptz, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)",
      "CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
      "CREATE TABLE days_2 PARTITION OF days FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')",
      "INSERT INTO days SELECT i, '2026-01-01'::date + i % 59, 'v', '2026-03-01' FROM generate_series(1, 200) AS i",
    );
    const weird = 'We "ird, `table`';
    await s.load("We*");
    expect(s.tracker(`"We ""ird, \`table\`"`)).toBe("2026-03-01 00:00:00");
    expect(
      await s.rows(
        `SELECT \`Select\`, \`a b;c\` FROM parquet.\`${join(s.folder, "out", weird).replaceAll("`", "``")}\``,
      ),
    ).toEqual(['{"Select":1,"a b;c":"x"}']);
    expect((await s.load("days")).inserted).toBe(200);
    await s.sql("UPDATE days SET v = 'w', day = '2026-02-27', updated_at = '2026-03-01' WHERE id = 7");
    expect((await s.load("days")).inserted).toBe(1);
    expect(await s.latest("days")).toContain("7|w");
  });
});
