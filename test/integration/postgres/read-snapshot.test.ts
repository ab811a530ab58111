import { randomUUID } from "node:crypto";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, inject, test, vi } from "vitest";
import { fixSession } from "../../../lib/glue/incremental/index.js";
import {
  ExportedSnapshot,
  keyRanges,
  type PostgresConnection,
  PostgresSession,
  readSnapshot,
  type SparkColumn,
  sourceTables,
  sparkColumn,
  tableRanges,
  writtenSince,
} from "../../../lib/postgres/index.js";
import * as f from "../../../lib/spark/functions/index.js";
import { SparkSession } from "../../../lib/spark/index.js";

// A database of its own: transactions of other tests don't hold anything back here.
const schema = `t_${randomUUID().replaceAll("-", "").slice(0, 12)}`;
const address = new URL(inject("postgresUrl"));
address.pathname = `/${schema}`;
const connection: PostgresConnection = {
  host: address.hostname,
  port: Number(address.port),
  database: address.pathname.slice(1),
  user: decodeURIComponent(address.username),
  password: decodeURIComponent(address.password),
};
const server = new pg.Client(inject("postgresUrl"));
const database = new pg.Client(address.href);
const applicationName = `test ${schema}`;
let spark: SparkSession;
let session: PostgresSession;

beforeAll(async () => {
  await server.connect();
  await server.query(`CREATE DATABASE ${schema}`);
  await database.connect();
  await database.query(`CREATE SCHEMA ${schema}`);
  [spark, session] = await Promise.all([
    SparkSession.builder().remote(inject("sparkRemote")).getOrCreate(),
    PostgresSession.connect(connection, { applicationName }),
  ]);
  await fixSession(spark);
});
afterAll(async () => {
  await Promise.all([database.end(), session.close(), spark.close()]);
  await server.query(`DROP DATABASE ${schema} WITH (FORCE)`);
  await server.end();
});

const take = () => ExportedSnapshot.take(connection, { applicationName });

async function columnsOf(name: string): Promise<readonly SparkColumn[]> {
  const [table] = await sourceTables(session, { names: [[schema, name]] });
  return (table?.columns ?? []).map((column) => sparkColumn(column));
}

describe("a snapshot that many connections read", () => {
  test("all partitions see the same rows while others write", async () => {
    const ids = "SELECT i, 0 FROM generate_series(1, 300000) AS i";
    await database.query(
      `CREATE TABLE ${schema}.accounts (id bigint PRIMARY KEY, moved int, filler text DEFAULT repeat('x', 80))`,
    );
    await database.query(`INSERT INTO ${schema}.accounts (id, moved) ${ids}`);
    await using snapshot = await take();
    const ranges = await tableRanges(session, { schema, name: "accounts" }, 4);
    expect(ranges).toHaveLength(2);
    const columns = (await columnsOf("accounts")).slice(0, 2);
    const rows = readSnapshot(spark, snapshot, { columns, ranges, where: "true", applicationName });

    // Somebody goes on writing: rows move from one block to another, come and go, in transactions of their own.
    let writing = true;
    let written = 0;
    const writer = new pg.Client(address.href);
    await writer.connect();
    const busy = (async () => {
      for (let turn = 1; writing; turn++) {
        await writer.query(`UPDATE ${schema}.accounts SET moved = moved + 1 WHERE id % 1000 = ${turn % 1000}`);
        await writer.query(`DELETE FROM ${schema}.accounts WHERE id = ${turn}`);
        await writer.query(`INSERT INTO ${schema}.accounts (id, moved) VALUES (${300_000 + turn}, 1)`);
        written++;
      }
    })();
    try {
      for (let look = 0; look < 3; look++) {
        const parts = await rows
          .groupBy(f.spark_partition_id().as("part"))
          .agg(f.count(f.lit(1)).as("rows"), f.count_distinct(f.col("id")).as("ids"), f.sum("moved").as("moved"))
          .collect();
        const sum = (name: string) => parts.reduce((total, row) => total + Number(row.get(name)), 0);
        expect([parts.length, sum("rows"), sum("ids"), sum("moved")]).toEqual([2, 300_000, 300_000, 0]);
      }
    } finally {
      writing = false;
      await busy;
      await writer.end();
    }
    expect(written).toBeGreaterThan(0);
  });

  test("of two snapshots it is known which one sees more, also when one was slow to be taken", async () => {
    await database.query(`CREATE TABLE ${schema}.seen (id int)`);
    const { query } = PostgresSession.prototype;
    let quick: ExportedSnapshot | undefined;
    const spy = vi.spyOn(PostgresSession.prototype, "query").mockImplementation(async function (
      this: PostgresSession,
      ...args: Parameters<typeof query>
    ) {
      if (args[0].startsWith("BEGIN")) {
        // The clock was read; now somebody else is quicker, and a row comes.
        spy.mockRestore();
        quick = await take();
        await database.query(`INSERT INTO ${schema}.seen VALUES (1)`);
      }
      return await query.apply(this, args);
    } as typeof query);
    await using slow = await take();
    await using earlier = quick;
    const seen = async (snapshot: ExportedSnapshot | undefined) =>
      (await snapshot?.query("counting", `SELECT id FROM ${schema}.seen`))?.length;
    expect([await seen(earlier), await seen(slow)]).toEqual([0, 1]);
    expect((earlier?.takenAt ?? 0n) > slow.takenBy).toBe(false);
    await using later = await take();
    expect(later.takenAt > slow.takenBy).toBe(true);
  });

  test("a statement that fails spoils nothing, and the end of the snapshot is noticed", async () => {
    await database.query(`CREATE TABLE ${schema}.few AS SELECT 1 AS id`);
    const snapshot = await take();
    await expect(snapshot.query("asking", "SELECT nonsense")).rejects.toMatchObject({
      code: "POSTGRES_STATEMENT_FAILED",
    });
    await database.query(`INSERT INTO ${schema}.few VALUES (2)`);
    expect(await snapshot.query("asking", `SELECT id FROM ${schema}.few`)).toEqual([{ id: 1 }]);
    const rows = readSnapshot(spark, snapshot, {
      columns: await columnsOf("few"),
      ranges: await tableRanges(session, { schema, name: "few" }, 4),
      where: "true",
      applicationName,
    });
    expect(await rows.count()).toBe(1);
    await snapshot[Symbol.asyncDispose]();
    await expect(rows.count()).rejects.toThrow(/snapshot/);
  });

  test("ranges of a key come from the statistics and hold every row once", async () => {
    await database.query(
      `CREATE TABLE ${schema}.keyed AS SELECT (i * i)::bigint AS id FROM generate_series(1, 5000) AS i`,
    );
    await database.query(`INSERT INTO ${schema}.keyed VALUES (NULL), (-5)`);
    const table = { schema, name: "keyed" };
    expect(await keyRanges(session, table, "id", 4)).toHaveLength(1);
    await database.query(`ANALYZE ${schema}.keyed`);
    const ranges = await keyRanges(session, table, "id", 4);
    expect(ranges).toHaveLength(4);
    await using snapshot = await take();
    const rows = readSnapshot(spark, snapshot, {
      columns: await columnsOf("keyed"),
      ranges,
      where: "true",
      applicationName,
    });
    const counted = await rows.groupBy(f.spark_partition_id().as("part")).count().collect();
    expect(counted.reduce((sum, row) => sum + Number(row.get("count")), 0)).toBe(5002);
    // Squares lie ever further apart; parts by the least and the greatest would hold 2,500 and 670 rows.
    for (const row of counted) expect(Math.abs(Number(row.get("count")) - 1250)).toBeLessThan(150);
  });

  test("the leaves of a partitioned table are read each by itself", async () => {
    await database.query(`CREATE TABLE ${schema}.days (day date, n int) PARTITION BY RANGE (day)`);
    for (const month of ["01", "02", "03"]) {
      await database.query(
        `CREATE TABLE ${schema}.days_${month} PARTITION OF ${schema}.days FOR VALUES FROM ('2026-${month}-01') TO ('2026-${month}-28')`,
      );
    }
    await database.query(
      `INSERT INTO ${schema}.days SELECT '2026-01-05'::date + i, i FROM generate_series(0, 70) AS i WHERE extract(day FROM '2026-01-05'::date + i) < 28`,
    );
    await database.query(`CREATE TABLE ${schema}.parent (id int PRIMARY KEY)`);
    await database.query(`CREATE TABLE ${schema}.child (PRIMARY KEY (id)) INHERITS (${schema}.parent)`);
    const all = await sourceTables(session, { schemas: [schema] });
    expect(all.map(({ name }) => name).filter((name) => name.startsWith("days"))).toEqual(["days"]);
    // A key of the parent may be in the child once more.
    const keys = all.flatMap(({ name, primaryKey }) => (/parent|child/.test(name) ? [[name, primaryKey]] : []));
    expect(keys).toEqual([
      ["child", ["id"]],
      ["parent", []],
    ]);
    await using snapshot = await take();
    const rows = readSnapshot(spark, snapshot, {
      columns: await columnsOf("days"),
      ranges: await tableRanges(session, { schema, name: "days" }, 4),
      where: "t.n <> 3",
      applicationName,
    });
    const [expected] = (
      await database.query(`SELECT count(*)::int AS n, sum(n)::int AS sum FROM ${schema}.days WHERE n <> 3`)
    ).rows;
    const [row] = await rows.agg(f.count(f.lit(1)), f.sum("n")).collect();
    expect(row?.toArray().map(Number)).toEqual([expected.n, expected.sum]);
  });
});

describe("values", () => {
  test("come as they are, whatever the zones of JVM and session", async () => {
    await database.query(`CREATE TYPE ${schema}.mood AS ENUM ('fine', 'so so')`);
    await database.query(`CREATE DOMAIN ${schema}.price AS numeric(8,3)`);
    await database.query(`CREATE TABLE ${schema}.kinds (
      b boolean, s smallint, i integer, l bigint, r real, d double precision, n numeric, m numeric(38,10), z numeric(5,-2), p ${schema}.price,
      t text, v varchar(5), c char(5), u uuid, e ${schema}.mood, j json, jb jsonb, by bytea, da date, ts timestamp, tz timestamptz(6),
      ti time, iv interval, ai int[], at text[], ad date[], af float8[], ip inet, ra int4range)`);
    await database.query(`INSERT INTO ${schema}.kinds VALUES
      (true, -32768, 2147483647, 9223372036854775807, 1.5, 0.1, 12345678901234567890123456789.000000000000000000001, 1234567890123456789012345678.0123456789,
       12300, 1.005, E'a\\nü€😀', 'abc', 'ab', '6f1c5f0e-0000-4000-8000-000000000001', 'so so', '{"a": 1.10}', '{"a": 1.10}', '\\x00ff', '2026-03-29',
       '2026-03-29 02:30:00.123456', '2026-10-25 00:30:00.654321+00', '12:30:00.000001', '1 year 2 days 03:00:00.5', '{1,NULL,3}', '{"a,b",NULL,"\\"q\\""}',
       '{2026-01-31}', '{NaN,Infinity,0.1}', '10.0.0.1/8', '[1,5)'),
      (false, 0, 0, 0, 'NaN', '-Infinity', 'NaN', -0.0000000001, 0, -0.001, '', '', '', NULL, NULL, NULL, NULL, '', '0001-01-01', '0001-01-01 00:00:00',
       '1582-10-10 12:00:00+00', NULL, NULL, '{}', '{}', NULL, NULL, NULL, 'empty'),
      (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '9999-12-31', '9999-12-31 23:59:59.999999',
       '9999-12-31 23:59:59.999999+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)`);
    await using snapshot = await take();
    const rows = readSnapshot(spark, snapshot, {
      columns: await columnsOf("kinds"),
      ranges: await tableRanges(session, { schema, name: "kinds" }, 4),
      where: "true",
      applicationName,
    });
    const text = rows.select(
      ...["b", "s", "i", "l", "r", "d", "n", "m", "z", "p", "t", "v", "c", "u", "e", "j", "jb"].map((name) =>
        f.col(name).cast("string").as(name),
      ),
      f.hex(f.col("by")).as("by"),
      ...["da", "ts", "tz", "ti", "iv", "ai", "at", "ad", "af", "ip", "ra"].map((name) =>
        f.col(name).cast("string").as(name),
      ),
    );
    const got = (await text.collect()).map((row) => row.toArray());
    expect(got[0]).toEqual([
      ...[
        "true",
        "-32768",
        "2147483647",
        "9223372036854775807",
        "1.5",
        "0.1",
        "12345678901234567890123456789.000000000000000000001",
      ],
      ...[
        "1234567890123456789012345678.0123456789",
        "12300",
        "1.005",
        "a\nü€😀",
        "abc",
        "ab",
        "6f1c5f0e-0000-4000-8000-000000000001",
        "so so",
      ],
      ...[
        '{"a": 1.10}',
        '{"a": 1.10}',
        "00FF",
        "2026-03-29",
        "2026-03-29 02:30:00.123456",
        "2026-10-25 00:30:00.654321",
      ],
      ...[
        "12:30:00.000001",
        "P1Y2DT3H0.5S",
        "[1, null, 3]",
        '[a,b, null, "q"]',
        '["2026-01-31"]',
        "[NaN, Infinity, 0.1]",
        "10.0.0.1/8",
        "[1,5)",
      ],
    ]);
    expect(got[1]).toEqual([
      ...[
        "false",
        "0",
        "0",
        "0",
        "NaN",
        "-Infinity",
        "NaN",
        "-1E-10",
        "0",
        "-0.001",
        "",
        "",
        "",
        null,
        null,
        null,
        null,
        "",
      ],
      ...[
        "0001-01-01",
        "0001-01-01 00:00:00",
        "1582-10-10 12:00:00",
        null,
        null,
        "[]",
        "[]",
        null,
        null,
        null,
        "empty",
      ],
    ]);
    expect(got[2]?.slice(18, 21)).toEqual(["9999-12-31", "9999-12-31 23:59:59.999999", "9999-12-31 23:59:59.999999"]);
    expect(rows.schema === undefined).toBe(false);
    const types = (await rows.schema()).fields.map(({ name, dataType }) => [name, dataType.kind]);
    expect(Object.fromEntries(types)).toMatchObject({
      s: "int",
      n: "string",
      m: "decimal",
      p: "decimal",
      z: "string",
      ts: "timestamp_ntz",
      tz: "timestamp",
      ai: "array",
      ad: "string",
      by: "binary",
    });
  });

  test("of times come to the microsecond, from the year 1 to 9999", async () => {
    // Around where doubles get coarser and where the range for them ends, and spread evenly.
    await database.query(
      `CREATE TABLE ${schema}.moments AS
         SELECT n, 'epoch'::timestamptz + since AS tz, 'epoch'::timestamp + since AS ts
           FROM (SELECT edge * 1000000 + d AS n
                   FROM unnest(ARRAY[-62135596799, -2208988800, -2147483648, 0, 1073741824, 2147483648, 4102444800, 4294967296, 253402300799]) AS edge,
                        generate_series(-999999, 999999, 9973) AS d
                  UNION ALL SELECT -2208988800000000 + i * 3155716903021 FROM generate_series(1::bigint, 2000) AS i) AS them,
                LATERAL (SELECT n / 1000000 * interval '1 second' + n % 1000000 * interval '1 microsecond' AS since) AS exactly`,
    );
    await using snapshot = await take();
    const rows = readSnapshot(spark, snapshot, {
      columns: await columnsOf("moments"),
      ranges: await tableRanges(session, { schema, name: "moments" }, 1),
      where: "true",
      applicationName,
    });
    const [row] = await rows
      .agg(
        f.count(f.lit(1)),
        f.sum(f.expr("CAST(unix_micros(tz) = n AS INT)")),
        f.sum(f.expr("CAST(ts = CAST(timestamp_micros(n) AS TIMESTAMP_NTZ) AS INT)")),
      )
      .collect();
    expect(row?.toArray().map(Number)).toEqual([3809, 3809, 3809]);
  });

  test("without a place in Spark's types are known by a condition", async () => {
    await database.query(
      `CREATE TABLE ${schema}.odd (m numeric(5,2), da date, ts timestamp, tz timestamptz, ai int[])`,
    );
    await database.query(`INSERT INTO ${schema}.odd VALUES
      ('NaN', 'infinity', '-infinity', 'infinity', '{{1,2},{3,4}}'), (1.5, '0001-01-01 BC', '10000-01-01', '0044-03-15 BC', '{1}'), (NULL, NULL, NULL, NULL, NULL)`);
    await using snapshot = await take();
    const columns = await columnsOf("odd");
    const special = await snapshot.query(
      "asking",
      `SELECT ${columns.map((column) => `(${column.special}) AS ${column.name}`).join(", ")} FROM ${schema}.odd AS t`,
    );
    expect(special).toEqual([
      { m: true, da: true, ts: true, tz: true, ai: true },
      { m: false, da: true, ts: true, tz: true, ai: false },
      { m: null, da: null, ts: null, tz: null, ai: false },
    ]);
    const rows = readSnapshot(spark, snapshot, {
      columns,
      ranges: await tableRanges(session, { schema, name: "odd" }, 1),
      where: "true",
      applicationName,
    });
    expect(
      (await rows.collect()).map((row) => row.toArray().map((value) => (value === null ? null : String(value)))),
    ).toEqual([
      [null, null, null, null, null],
      ["1.50", null, null, null, "1"],
      [null, null, null, null, null],
    ]);
  });
});

describe("transactions under way", () => {
  test("hold back what is settled, and their rows are known afterwards", async () => {
    await database.query(`CREATE TABLE ${schema}.late (id int)`);
    const writer = new pg.Client(address.href);
    await writer.connect();
    await writer.query("BEGIN");
    await writer.query(`INSERT INTO ${schema}.late VALUES (1)`);
    await writer.query("SAVEPOINT a");
    await writer.query(`INSERT INTO ${schema}.late VALUES (2)`);
    await database.query(`INSERT INTO ${schema}.late VALUES (3)`);
    const first = await take();
    const [started] = (await writer.query("SELECT (extract(epoch FROM now()) * 1000000)::bigint::text AS at")).rows;
    expect(first.writers).toMatchObject({ allSeen: true, settled: BigInt(started.at) - 1n });
    expect(await first.query("asking", `SELECT id FROM ${schema}.late`)).toEqual([{ id: 3 }]);
    await first[Symbol.asyncDispose]();
    await writer.query("COMMIT");
    await writer.end();

    await using second = await take();
    const condition = writtenSince(first, second);
    // The third was over when the first snapshot was taken, but it began after one that wasn't.
    expect(await second.query("asking", `SELECT id FROM ${schema}.late AS t WHERE ${condition} ORDER BY id`)).toEqual([
      { id: 1 },
      { id: 2 },
      { id: 3 },
    ]);
    // Transactions of other databases count in a snapshot's xmin, too: nothing is left once those are over.
    await vi.waitFor(
      async () => {
        await using later = await take();
        const left = `SELECT id FROM ${schema}.late AS t WHERE ${writtenSince(later, later)}`;
        expect(await later.query("asking", left)).toEqual([]);
      },
      { timeout: 30_000, interval: 100 },
    );
    expect(writtenSince({ ...first, xmin: first.xmin, system: "another" }, second)).toBeUndefined();
    expect(writtenSince({ system: second.system, xmin: second.xmax + 1n }, second)).toBeUndefined();
  });

  test("of others are not seen by a role that may not", async () => {
    const role = `r_${schema}`;
    await database.query(`CREATE ROLE ${role} LOGIN PASSWORD 'test'`);
    const reader = { ...connection, user: role, password: "test" };
    const other = new pg.Client(address.href);
    await other.connect();
    try {
      const hidden = await ExportedSnapshot.take(reader, { applicationName });
      expect(hidden.writers.allSeen).toBe(false);
      expect(hidden.writers.unseen.join()).toMatch(/pg_read_all_stats/);
      await hidden[Symbol.asyncDispose]();
      await database.query(`GRANT pg_read_all_stats TO ${role}`);
      await using seen = await ExportedSnapshot.take(reader, { applicationName });
      expect(seen.writers.allSeen).toBe(true);
    } finally {
      await other.end();
      await database.query(`DROP ROLE ${role}`);
    }
  });
});
