import { writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { IcebergScenario } from "../../support/iceberg-scenario.js";
import { withoutSink } from "../../support/without-sink.js";

let scenario: IcebergScenario;
beforeAll(async () => {
  scenario = await IcebergScenario.create();
});
afterAll(async () => {
  await scenario[Symbol.asyncDispose]();
});

const COLUMNS = ["id", "name", "amount"];

/** Eight rows, so that I, U and D leave some untouched. */
async function makeTable(table: string, properties = ""): Promise<void> {
  await scenario.iceberg(
    table,
    `CREATE TABLE $t (id BIGINT NOT NULL, name STRING, amount DECIMAL(10,2)) USING iceberg ${properties}`,
    "ALTER TABLE $t SET IDENTIFIER FIELDS id",
    "INSERT INTO $t SELECT id, concat('name ', id), CAST(id * 1.5 AS DECIMAL(10,2)) FROM range(1, 9)",
  );
}

async function expectEqual(table: string, columns = COLUMNS): Promise<void> {
  const [source, target] = await Promise.all([
    scenario.sourceRows(table, columns),
    scenario.targetRows(table, columns),
  ]);
  expect(target).toEqual(source);
  expect(await scenario.stagingTables()).toEqual([]);
}

describe("full load", () => {
  test("creates the target with its key and types, and stores the snapshot with it and in the documented file", async () => {
    await makeTable("orders");
    const report = await scenario.loaded("orders");
    expect(report).toMatchObject({
      read: 8,
      inserted: 8,
      updated: 0,
      deleted: 0,
      way: "everything",
      reason: "the first load of this target",
      details: { stagedBy: "COPY" },
    });
    await expectEqual("orders");
    expect(scenario.snapshotFile("orders")).toBe(await scenario.currentSnapshot("orders"));
    const columns = await scenario.rows(
      `SELECT a.attname, format_type(atttypid, atttypmod) AS type, attnotnull FROM pg_attribute a
        WHERE attrelid = '${scenario.target("orders")}'::regclass AND attnum > 0 ORDER BY attnum`,
    );
    expect(columns).toEqual([
      { attname: "id", type: "bigint", attnotnull: true },
      { attname: "name", type: "text", attnotnull: false },
      { attname: "amount", type: "numeric(10,2)", attnotnull: false },
    ]);
    const key = await scenario.rows(
      `SELECT pg_get_constraintdef(oid) AS key FROM pg_constraint WHERE conrelid = '${scenario.target("orders")}'::regclass AND contype = 'p'`,
    );
    expect(key).toEqual([{ key: "PRIMARY KEY (id)" }]);
  });

  test("of a configuration without snapshot_s3_key runs every time, keeps the target's identity, and rewrites no equal row", async () => {
    await makeTable("overwritten");
    await scenario.loaded("overwritten", { item: { "db_load.snapshot_s3_key": undefined } });
    await scenario.database.query(
      `CREATE VIEW ${scenario.name}.over AS SELECT count(*) AS n FROM ${scenario.target("overwritten")}`,
    );
    await scenario.database.query(`CREATE INDEX own_index ON ${scenario.target("overwritten")} (name)`);
    await scenario.database.query(`INSERT INTO ${scenario.target("overwritten")} VALUES (99, 'strange', 1)`);
    await scenario.database.query(`UPDATE ${scenario.target("overwritten")} SET name = 'spoilt' WHERE id = 3`);
    const before = await scenario.versions("overwritten");
    const report = await scenario.loaded("overwritten", { item: { "db_load.snapshot_s3_key": undefined } });
    expect(report).toMatchObject({ inserted: 0, updated: 1, deleted: 1 });
    expect(report.reason).toContain("no snapshot_s3_key");
    await expectEqual("overwritten");
    expect(await scenario.rows(`SELECT n::int FROM ${scenario.name}.over`)).toEqual([{ n: 8 }]);
    const after = await scenario.versions("overwritten");
    expect([...after].filter(([id, version]) => before.get(id) !== version).map(([id]) => id)).toEqual(["3"]);
    expect(scenario.snapshotFile("overwritten")).toBeUndefined();
  });

  test("by way of a server without our sink goes by JDBC, says so, and so do the changes after it", async () => {
    await makeTable("foreign");
    await using server = await withoutSink(scenario.servers.sparkRemote);
    const said: string[] = [];
    const log = { debug() {}, info: (line: string) => void said.push(line), warn() {}, error() {} };
    const options = { sparkRemote: server.remote, log };
    expect(await scenario.loaded("foreign", options)).toMatchObject({ inserted: 8, details: { stagedBy: "JDBC" } });
    expect(said.join("\n")).toMatch(/foreign: staged by INSERTs.*glue-connect-spark/);
    await scenario.iceberg("foreign", "DELETE FROM $t WHERE id = 1", "UPDATE $t SET name = 'x\\t' WHERE id = 2");
    expect(await scenario.loaded("foreign", options)).toMatchObject({ updated: 1, deleted: 1 });
    await expectEqual("foreign");
  });

  test("of an empty table that was never written makes an empty target, and the first rows arrive later", async () => {
    await scenario.iceberg(
      "empty",
      "CREATE TABLE $t (id BIGINT NOT NULL, name STRING, amount DECIMAL(10,2)) USING iceberg",
    );
    expect(await scenario.loaded("empty", { item: { "db_load.primary_key": "id" } })).toMatchObject({
      read: 0,
      inserted: 0,
    });
    await expectEqual("empty");
    expect(await scenario.loaded("empty", { item: { "db_load.primary_key": "id" } })).toMatchObject({
      reason: "no new snapshot since the last run",
    });
    await scenario.iceberg("empty", "INSERT INTO $t VALUES (1, 'first', 1)");
    expect(await scenario.loaded("empty", { item: { "db_load.primary_key": "id" } })).toMatchObject({ inserted: 1 });
    await expectEqual("empty");
  });
});

describe("incremental load", () => {
  test("brings inserts, updates and deletes in one go, and touches no other row", async () => {
    await makeTable("mixed");
    await scenario.loaded("mixed");
    const before = await scenario.versions("mixed");
    await scenario.iceberg(
      "mixed",
      "INSERT INTO $t VALUES (9, 'new', 9), (10, NULL, NULL)",
      "UPDATE $t SET name = NULL WHERE id = 2",
      "UPDATE $t SET amount = 7.77 WHERE id = 3",
      "DELETE FROM $t WHERE id IN (4, 5)",
    );
    expect(await scenario.loaded("mixed")).toMatchObject({ inserted: 2, updated: 2, deleted: 2 });
    await expectEqual("mixed");
    const after = await scenario.versions("mixed");
    const rewritten = [...after].filter(([id, version]) => before.get(id) !== version).map(([id]) => id);
    expect(rewritten.toSorted()).toEqual(["10", "2", "3", "9"]);
  });

  test("of a key that was deleted and inserted again gives the new row", async () => {
    await makeTable("reborn");
    await scenario.loaded("reborn");
    await scenario.iceberg(
      "reborn",
      "DELETE FROM $t WHERE id IN (1, 2)",
      "INSERT INTO $t VALUES (1, 'again', 1), (2, 'name 2', 3.00)",
    );
    expect(await scenario.loaded("reborn")).toMatchObject({ inserted: 0, updated: 1, deleted: 0 });
    await expectEqual("reborn");
  });

  test("with nothing new touches no row, and puts a stale documented copy right", async () => {
    await makeTable("quiet");
    await scenario.loaded("quiet");
    const before = await scenario.versions("quiet");
    await writeFile(`${scenario.folder}/quiet.snapshot`, "12345");
    const report = await scenario.loaded("quiet");
    expect(report).toMatchObject({ inserted: 0, updated: 0, deleted: 0, reason: "no new snapshot since the last run" });
    expect(scenario.snapshotFile("quiet")).toBe(await scenario.currentSnapshot("quiet"));
    expect(await scenario.versions("quiet")).toEqual(before);
  });

  test("after a compaction moves the state and touches no row", async () => {
    await makeTable("compacted");
    await scenario.iceberg("compacted", "INSERT INTO $t VALUES (20, 'second file', 2)");
    await scenario.loaded("compacted");
    const before = await scenario.versions("compacted");
    const old = await scenario.currentSnapshot("compacted");
    await scenario.spark.sql(
      `CALL lake.system.rewrite_data_files(table => '${scenario.name}.compacted', options => map('rewrite-all', 'true'))`,
    );
    const now = await scenario.currentSnapshot("compacted");
    expect(now).not.toBe(old);
    const report = await scenario.loaded("compacted");
    expect(report).toMatchObject({ way: "move state", inserted: 0, updated: 0, deleted: 0 });
    expect(await scenario.versions("compacted")).toEqual(before);
    const state = await scenario.rows(
      `SELECT snapshot_id::text FROM ${scenario.name}.glue_connect_state WHERE target_table = 'compacted'`,
    );
    expect(state).toEqual([{ snapshot_id: now }]);
    expect(scenario.snapshotFile("compacted")).toBe(now);
  });

  test("of a merge-on-read table compares the snapshots, since the changelog refuses delete files", async () => {
    await makeTable(
      "merged",
      "TBLPROPERTIES ('write.delete.mode'='merge-on-read', 'write.update.mode'='merge-on-read', 'write.merge.mode'='merge-on-read')",
    );
    await scenario.loaded("merged");
    await scenario.iceberg(
      "merged",
      "DELETE FROM $t WHERE id = 1",
      "UPDATE $t SET name = 'changed' WHERE id = 2",
      "INSERT INTO $t VALUES (30, 'x', 1)",
    );
    const report = await scenario.loaded("merged");
    expect(report).toMatchObject({ way: "compare", inserted: 1, updated: 1, deleted: 1 });
    expect(report.reason).toContain("delete files");
    await expectEqual("merged");
  });

  test("with a composite key", async () => {
    await scenario.iceberg(
      "composite",
      "CREATE TABLE $t (region STRING, id INT, name STRING, amount DECIMAL(10,2)) USING iceberg",
      "INSERT INTO $t SELECT concat('r', id % 2), CAST(id % 5 AS INT), concat('n', id), id FROM range(10)",
    );
    const options = { item: { "db_load.primary_key": "region, id" } };
    await scenario.loaded("composite", options);
    await expectEqual("composite", ["region", ...COLUMNS]);
    await scenario.iceberg(
      "composite",
      "UPDATE $t SET name = 'u' WHERE region = 'r0' AND id = 2",
      "DELETE FROM $t WHERE region = 'r1' AND id = 2",
      "INSERT INTO $t VALUES ('r2', 2, 'i', 0)",
    );
    expect(await scenario.loaded("composite", options)).toMatchObject({ inserted: 1, updated: 1, deleted: 1 });
    await expectEqual("composite", ["region", ...COLUMNS]);
  });

  test("with identifiers that need quotes everywhere", async () => {
    const table = 'Odd "table" `x` [b]{c,d}';
    const spark = ["`Select`", '`a "b" ``c```', "`MiXed`", "`mixed2 ü`", "`semi;colon'`"];
    const postgres = ['"Select"', '"a ""b"" `c`"', '"MiXed"', '"mixed2 ü"', '"semi;colon\'"'];
    await scenario.iceberg(
      table,
      `CREATE TABLE $t (${spark[0]} INT, ${spark[1]} STRING, ${spark[2]} STRING, ${spark[3]} INT, ${spark[4]} STRING) USING iceberg`,
      "INSERT INTO $t VALUES (1, 'a', 'b', 1, 'c'), (2, NULL, 'b', 2, 'c')",
    );
    const options = { item: { "db_load.primary_key": ["Select", 'a "b" `c`'] } };
    await scenario.iceberg(table, `UPDATE $t SET ${spark[1]} = 'not NULL' WHERE ${spark[1]} IS NULL`);
    await scenario.loaded(table, options);
    expect(await scenario.targetRows(table, postgres)).toEqual(await scenario.sourceRows(table, spark));
    for (const way of ["changelog", "compare"]) {
      await scenario.iceberg(
        table,
        `UPDATE $t SET ${spark[2]} = 'changed ${way}' WHERE ${spark[0]} = 2`,
        `INSERT INTO $t VALUES (3, '${way}', 'n', 3, 'n')`,
      );
      const report = await scenario.loaded(table, { ...options, args: ["--find_changes", way] });
      expect(report).toMatchObject({ way, inserted: 1, updated: 1, deleted: 0 });
      expect(await scenario.targetRows(table, postgres)).toEqual(await scenario.sourceRows(table, spark));
    }
  });
});

describe("the two ways to find changes", () => {
  test.each([
    ["few rows", "UPDATE $t SET name = 'few' WHERE id = 8"],
    ["all rows", "UPDATE $t SET amount = amount + 1"],
    ["rows replaced by equal ones", "INSERT OVERWRITE $t SELECT * FROM $t"],
    ["deletes only", "DELETE FROM $t WHERE id > 4"],
    ["a key that moves", "UPDATE $t SET id = id + 100 WHERE id = 1"],
  ])("give the same result for %s", async (name, change) => {
    const table = `ways ${name}`;
    await makeTable(table);
    const load = async (way: string, target: string) =>
      await scenario.loaded(table, {
        item: { "db_load.aurora_db_target_table_name": target, "db_load.snapshot_s3_key": target },
        args: ["--find_changes", way],
      });
    const ways = ["changelog", "compare", "auto"];
    for (const way of ways) await load(way, `${table} ${way}`);
    await scenario.iceberg(table, change);
    const reports = [];
    for (const way of ways) {
      const { inserted, updated, deleted, way: taken } = await load(way, `${table} ${way}`);
      if (way !== "auto") expect(taken).toBe(way);
      reports.push({ inserted, updated, deleted });
      expect(await scenario.targetRows(`${table} ${way}`, COLUMNS)).toEqual(await scenario.sourceRows(table, COLUMNS));
    }
    expect(reports[1]).toEqual(reports[0]);
    expect(reports[2]).toEqual(reports[0]);
  });

  test("over several commits, types that compare in unlike ways, and files that go as a whole", async () => {
    const columns = ["id", "name", "hex(b)", "d", "CAST(a AS STRING)"];
    const target = ["id", "name", "upper(encode(b, 'hex'))", "d", "'[' || array_to_string(a, ', ', 'null') || ']'"];
    const row = (id: string) =>
      `${id}, concat('n', ${id}), CAST(concat('b', ${id}) AS BINARY), IF(${id} % 3 = 0, CAST('NaN' AS DOUBLE), ${id} + 0.5D), array(CAST(${id} AS INT), NULL), named_struct('x', CAST(concat('s', ${id}) AS BINARY)), timestamp_micros(${id})`;
    await scenario.iceberg(
      "held together",
      "CREATE TABLE $t (id BIGINT NOT NULL, name STRING, b BINARY, d DOUBLE, a ARRAY<INT>, s STRUCT<x: BINARY>, t TIMESTAMP) USING iceberg",
      "ALTER TABLE $t SET IDENTIFIER FIELDS id",
      `INSERT INTO $t SELECT ${row("id")} FROM range(0, 1000, 1, 1)`,
      `INSERT INTO $t SELECT ${row("id")} FROM range(1000, 1020, 1, 1)`,
    );
    const load = async (way: string) =>
      await scenario.loaded("held together", {
        item: { "db_load.aurora_db_target_table_name": `held ${way}`, "db_load.snapshot_s3_key": `held ${way}` },
        args: ["--find_changes", way],
      });
    const ways = ["changelog", "compare", "auto"];
    for (const way of ways) await load(way);
    const commits = [
      ["UPDATE $t SET name = 'u' WHERE id = 1001", "DELETE FROM $t WHERE id >= 1000"],
      [
        `INSERT INTO $t SELECT ${row("id")} FROM range(2000, 2010, 1, 1)`,
        "UPDATE $t SET b = X'00' WHERE id = 2001",
        "UPDATE $t SET d = 1.5 WHERE id = 2002",
      ],
      [
        "DELETE FROM $t WHERE id = 2003",
        `INSERT INTO $t SELECT ${row("2003L")}`,
        "UPDATE $t SET a = array() WHERE id = 2004",
        "UPDATE $t SET a = array(2004, NULL) WHERE id = 2004",
      ],
      [
        "UPDATE $t SET id = 3000 WHERE id = 2005",
        `INSERT INTO $t SELECT ${row("2006L")}`,
        "DELETE FROM $t WHERE id = 2006",
        `INSERT INTO $t SELECT ${row("2006L")}`,
      ],
    ];
    for (const commit of commits) {
      await scenario.iceberg("held together", ...commit);
      const reports = [];
      for (const way of ways) {
        const { inserted, updated, deleted, way: taken } = await load(way);
        reports.push({ inserted, updated, deleted });
        if (way !== "compare") expect(taken).toBe("changelog");
        const rows = await scenario.targetRows(`held ${way}`, target);
        expect(rows).toEqual(await scenario.sourceRows("held together", columns));
      }
      expect(reports).toEqual([reports[0], reports[0], reports[0]]);
    }
  });
});
