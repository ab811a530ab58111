import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { IcebergScenario } from "../../support/iceberg-scenario.js";

let scenario: IcebergScenario;
beforeAll(async () => {
  scenario = await IcebergScenario.create();
});
afterAll(async () => {
  await scenario[Symbol.asyncDispose]();
});

const KEY = { item: { "db_load.primary_key": "id" } };

async function loadedTable(table: string): Promise<void> {
  await scenario.iceberg(
    table,
    "CREATE TABLE $t (id BIGINT, name STRING, note STRING) USING iceberg",
    "INSERT INTO $t VALUES (1, 'one', 'a'), (2, 'two', 'b'), (3, 'three', 'c')",
  );
  await scenario.loaded(table, KEY);
}

const columnsOf = async (table: string, columns: string[]) => {
  expect(await scenario.targetRows(table, columns)).toEqual(await scenario.sourceRows(table, columns));
};

describe("when the last snapshot is no longer in the history", () => {
  test("because it expired: a full reconcile, and said so", async () => {
    await loadedTable("expired");
    await scenario.iceberg("expired", "DELETE FROM $t WHERE id = 1", "INSERT INTO $t VALUES (4, 'four', 'd')");
    await scenario.spark.sql(
      `CALL lake.system.expire_snapshots(table => '${scenario.name}.expired', older_than => TIMESTAMP '2100-01-01 00:00:00', retain_last => 1)`,
    );
    const report = await scenario.loaded("expired", KEY);
    expect(report).toMatchObject({ inserted: 1, deleted: 1, updated: 0, way: "everything" });
    expect(report.reason).toMatch(/^snapshot \d+, the last one loaded, has expired$/);
    await columnsOf("expired", ["id", "name"]);
  });

  test("because the table was rolled back: a full reconcile, and said so", async () => {
    await loadedTable("rolled");
    const first = await scenario.currentSnapshot("rolled");
    await scenario.iceberg("rolled", "UPDATE $t SET name = 'later' WHERE id = 1", "DELETE FROM $t WHERE id = 2");
    await scenario.loaded("rolled", KEY);
    await scenario.spark.sql(`CALL lake.system.rollback_to_snapshot('${scenario.name}.rolled', ${first})`);
    const report = await scenario.loaded("rolled", KEY);
    expect(report).toMatchObject({ inserted: 1, updated: 1, deleted: 0, way: "everything" });
    expect(report.reason).toContain("rolled back");
    await columnsOf("rolled", ["id", "name"]);
  });

  test("because main was set to a branch's snapshot: a full reconcile", async () => {
    await loadedTable("branched");
    await scenario.iceberg("branched", "ALTER TABLE $t CREATE BRANCH audit");
    await scenario.spark.sql(`INSERT INTO lake.${scenario.name}.branched.branch_audit VALUES (5, 'branch', 'e')`);
    // A snapshot of another branch is not main's: nothing to do, though `.snapshots` has a newer one.
    expect(await scenario.loaded("branched", KEY)).toMatchObject({ reason: "no new snapshot since the last run" });
    await scenario.iceberg("branched", "INSERT INTO $t VALUES (6, 'main', 'f')");
    await scenario.loaded("branched", KEY);
    await columnsOf("branched", ["id", "name"]);
    const branch = await scenario.spark.sql(
      `SELECT CAST(snapshot_id AS STRING) FROM lake.${scenario.name}.branched.refs WHERE name = 'audit'`,
    );
    await scenario.spark.sql(
      `CALL lake.system.set_current_snapshot('${scenario.name}.branched', ${(await branch.first())?.getString(0)})`,
    );
    const report = await scenario.loaded("branched", KEY);
    expect(report).toMatchObject({ inserted: 1, deleted: 1, way: "everything" });
    await columnsOf("branched", ["id", "name"]);
  });
});

describe("with --on_schema_change fail a schema that changed is refused before the first write", () => {
  const FAIL = { ...KEY, args: ["--on_schema_change", "fail"] };

  test.each([
    ["added", ["ALTER TABLE $t ADD COLUMN extra INT"], [/"extra" was added/]],
    ["dropped", ["ALTER TABLE $t DROP COLUMN note"], [/"note" was dropped/]],
    ["renamed", ["ALTER TABLE $t RENAME COLUMN note TO remark"], [/"note" was renamed to "remark"/]],
    [
      "swapped",
      [
        "ALTER TABLE $t RENAME COLUMN name TO x",
        "ALTER TABLE $t RENAME COLUMN note TO name",
        "ALTER TABLE $t RENAME COLUMN x TO note",
      ],
      [/"name" was renamed to "note"/, /"note" was renamed to "name"/],
    ],
    [
      "dropped and added again",
      ["ALTER TABLE $t DROP COLUMN note", "ALTER TABLE $t ADD COLUMN note STRING"],
      [/"note" was dropped and added again/],
    ],
  ])("%s", async (name, ddl, patterns) => {
    const table = `schema ${name}`;
    await loadedTable(table);
    const before = await scenario.versions(table);
    await scenario.iceberg(table, ...ddl, "DELETE FROM $t WHERE id = 1");
    const result = await scenario.load(table, FAIL);
    expect(result.exitCode).toBe(1);
    const error = result.report.toJSON().error;
    expect(error?.code).toBe("SCHEMA_CHANGED");
    for (const pattern of patterns) expect(error?.problems.join("\n")).toMatch(pattern);
    expect(await scenario.versions(table)).toEqual(before);
  });

  test("but comments, order and nullability are no change", async () => {
    await loadedTable("harmless");
    await scenario.iceberg(
      "harmless",
      "ALTER TABLE $t ALTER COLUMN note COMMENT 'free text'",
      "ALTER TABLE $t ALTER COLUMN note FIRST",
      "INSERT INTO $t VALUES ('d', 4, 'four')",
    );
    expect(await scenario.loaded("harmless", FAIL)).toMatchObject({ inserted: 1, updated: 0, deleted: 0 });
    await columnsOf("harmless", ["id", "name", "note"]);
  });
});

test("a column dropped and added again before the first load has no values of its former life", async () => {
  await scenario.iceberg(
    "second life",
    "CREATE TABLE $t (id BIGINT, note STRING) USING iceberg",
    "INSERT INTO $t VALUES (1, 'former')",
    "ALTER TABLE $t DROP COLUMN note",
    "ALTER TABLE $t ADD COLUMN note STRING",
  );
  // DDL makes no snapshot: the newest one still has the former column, under the same name.
  await scenario.loaded("second life", KEY);
  expect(await scenario.targetRows("second life", ["id", "note"])).toEqual(["1|NULL"]);
  await scenario.iceberg("second life", "INSERT INTO $t VALUES (2, 'new')");
  expect(await scenario.loaded("second life", KEY)).toMatchObject({ inserted: 1, updated: 0, deleted: 0 });
  await columnsOf("second life", ["id", "note"]);
});
