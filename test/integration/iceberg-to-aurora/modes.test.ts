import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { IcebergScenario } from "../../support/iceberg-scenario.js";
import { PostgresProxy } from "../../support/postgres-proxy.js";

let scenario: IcebergScenario;
beforeAll(async () => {
  scenario = await IcebergScenario.create();
});
afterAll(async () => {
  await scenario[Symbol.asyncDispose]();
});

const KEY = { item: { "db_load.primary_key": "id" } };
const withArgs = (...args: string[]) => ({ ...KEY, args });

async function makeTable(table: string): Promise<void> {
  await scenario.iceberg(
    table,
    "CREATE TABLE $t (id BIGINT, name STRING) USING iceberg",
    "INSERT INTO $t VALUES (1, 'one'), (2, 'two'), (3, 'three')",
  );
}

const expectEqual = async (table: string, columns = ["id", "name"]) => {
  expect(await scenario.targetRows(table, columns)).toEqual(await scenario.sourceRows(table, columns));
};

describe("--reconcile", () => {
  const COLUMNS =
    "id BIGINT, flag BOOLEAN, small INT, price DECIMAL(10,2), tiny DECIMAL(18,12), ratio FLOAT, big DOUBLE, name STRING, raw BINARY, day DATE, at TIMESTAMP, local TIMESTAMP_NTZ";
  const ROW = `id, id % 2 = 0, CAST(id AS INT), CAST(id / 8 AS DECIMAL(10,2)), CAST(id / 1e12 AS DECIMAL(18,12)),
    CAST(IF(id = 7, 'NaN', id / 3) AS FLOAT), id / 7, concat('n', id), CAST(concat('r', id) AS BINARY),
    date_add(DATE '1969-12-30', CAST(id AS INT)), timestamp_micros(id * 1000000000001 - 5), CAST(timestamp_micros(id * 999999999) AS TIMESTAMP_NTZ)`;

  test("finds every kind of difference on the executors, and rewrites only what differs", async () => {
    await scenario.iceberg(
      "mended",
      `CREATE TABLE $t (${COLUMNS}) USING iceberg`,
      `INSERT INTO $t SELECT ${ROW} FROM range(12)`,
    );
    await scenario.iceberg("mended", `INSERT INTO $t VALUES (100${", NULL".repeat(11)})`);
    await scenario.loaded("mended", KEY);
    expect(await scenario.loaded("mended", { ...withArgs("--reconcile"), mode: "plan" })).toMatchObject({
      way: "reconcile",
      hasChanges: false,
    });
    const target = scenario.target("mended");
    const columns = ["flag", "small", "price", "tiny", "ratio", "big", "name", "raw", "day", "at", "local"];
    const before = await scenario.targetRows("mended", ["id", ...columns]);
    await scenario.rows(`UPDATE ${target} SET flag = NOT flag WHERE id = 0`);
    await scenario.rows(`UPDATE ${target} SET price = price + 0.01 WHERE id = 1`);
    await scenario.rows(`UPDATE ${target} SET ratio = 0 WHERE id = 7`);
    await scenario.rows(`UPDATE ${target} SET at = at + interval '1 microsecond' WHERE id = 2`);
    await scenario.rows(`UPDATE ${target} SET local = 'infinity' WHERE id = 3`);
    await scenario.rows(`UPDATE ${target} SET day = NULL WHERE id = 4`);
    await scenario.rows(`UPDATE ${target} SET raw = '\\x00' WHERE id = 5`);
    await scenario.rows(`UPDATE ${target} SET name = '' WHERE id = 100`);
    await scenario.rows(`DELETE FROM ${target} WHERE id = 6`);
    await scenario.rows(`INSERT INTO ${target} (id, name) VALUES (-5, 'stray')`);
    const versions = await scenario.versions("mended");

    // Without it nobody would know: the state says that there is nothing new.
    expect(await scenario.loaded("mended", KEY)).toMatchObject({ reason: "no new snapshot since the last run" });
    const counts = { way: "reconcile", reason: "asked for (--reconcile)", inserted: 1, updated: 8, deleted: 1 };
    expect(await scenario.loaded("mended", { ...withArgs("--reconcile"), mode: "plan" })).toMatchObject({
      ...counts,
      hasChanges: true,
    });
    expect(await scenario.versions("mended")).toEqual(versions);
    await using proxy = await PostgresProxy.start(scenario.servers.postgresUrl);
    let reads = 0;
    proxy.watch = (sent) => {
      reads += sent.toString("latin1").split('SELECT "g0"').length - 1;
    };
    const throughProxy = { ...withArgs("--reconcile"), postgresUrl: proxy.url(scenario.servers.postgresUrl) };
    expect(await scenario.loaded("mended", throughProxy)).toMatchObject(counts);
    // What is staged is what was counted, also where somebody writes to the target meanwhile.
    expect(reads).toBe(1);
    expect(await scenario.targetRows("mended", ["id", ...columns])).toEqual(before);
    const after = await scenario.versions("mended");
    for (const untouched of ["8", "9", "10", "11"]) expect(after.get(untouched)).toBe(versions.get(untouched));
  });

  test("brings a newer snapshot as well, into a partitioned target too", async () => {
    const target = scenario.target("halves");
    await scenario.rows(`CREATE TABLE ${target} (id bigint PRIMARY KEY, name text) PARTITION BY RANGE (id)`);
    await scenario.rows(
      `CREATE TABLE ${scenario.name}.halves_low PARTITION OF ${target} FOR VALUES FROM (MINVALUE) TO (3)`,
    );
    await scenario.rows(
      `CREATE TABLE ${scenario.name}.halves_high PARTITION OF ${target} FOR VALUES FROM (3) TO (MAXVALUE)`,
    );
    await makeTable("halves");
    await scenario.loaded("halves", KEY);
    await scenario.rows(`DELETE FROM ${target} WHERE id = 1`);
    await scenario.iceberg("halves", "INSERT INTO $t VALUES (4, 'four')", "DELETE FROM $t WHERE id = 3");
    expect(await scenario.loaded("halves", withArgs("--reconcile"))).toMatchObject({
      way: "reconcile",
      inserted: 2,
      deleted: 1,
    });
    await expectEqual("halves");
    expect(await scenario.loaded("halves", KEY)).toMatchObject({ reason: "no new snapshot since the last run" });
  });

  test("is PostgreSQL's work where Spark can't compare, and says so", async () => {
    await scenario.iceberg(
      "nested",
      "CREATE TABLE $t (id BIGINT, s STRUCT<a: INT>) USING iceberg",
      "INSERT INTO $t VALUES (1, named_struct('a', 1)), (2, NULL)",
    );
    await scenario.loaded("nested", KEY);
    await scenario.rows(`UPDATE ${scenario.target("nested")} SET s = '{"a": 2}' WHERE id = 1`);
    const report = await scenario.loaded("nested", withArgs("--reconcile"));
    expect(report).toMatchObject({ way: "everything", updated: 1 });
    expect(report.reason).toBe("asked for (--reconcile); in PostgreSQL, since only PostgreSQL can compare s (jsonb)");
  });
});

test("--reconcile with a key that the target may write in several ways is PostgreSQL's work", async () => {
  await makeTable("numbers");
  const target = scenario.target("numbers");
  await scenario.rows(`CREATE TABLE ${target} (id numeric PRIMARY KEY, name text)`);
  await scenario.rows(`INSERT INTO ${target} VALUES (1.0, 'one'), (1.5, 'stray'), (3, 'drei'), (4e9, 'stray')`);
  const report = await scenario.loaded("numbers", withArgs("--reconcile"));
  expect(report).toMatchObject({
    way: "everything",
    reason: expect.stringContaining("may write one value in several ways"),
    deleted: 2,
    updated: 1,
    inserted: 1,
  });
  expect(await scenario.targetRows("numbers", ["id::int", "name"])).toEqual(["1|one", "2|two", "3|three"]);
});

describe("--to_snapshot and --from_snapshot", () => {
  test("a tag, an id, a branch, and back to main", async () => {
    await makeTable("tagged");
    await scenario.iceberg("tagged", "ALTER TABLE $t CREATE TAG month_end");
    const first = await scenario.currentSnapshot("tagged");
    await scenario.iceberg("tagged", "ALTER TABLE $t ADD COLUMN more INT", "INSERT INTO $t VALUES (4, 'four', 4)");
    const second = await scenario.currentSnapshot("tagged");
    await scenario.iceberg("tagged", "DELETE FROM $t WHERE id = 1", "ALTER TABLE $t CREATE BRANCH audit");
    await scenario.spark.sql(`INSERT INTO lake.${scenario.name}.tagged.branch_audit VALUES (5, 'audited', 5)`);

    // A tag has the columns of its day.
    expect(await scenario.loaded("tagged", withArgs("--to_snapshot", "month_end"))).toMatchObject({
      inserted: 3,
      ddl: [expect.stringMatching(/^CREATE TABLE .*"name" text\)$/), expect.stringContaining("ADD PRIMARY KEY")],
    });
    expect(scenario.snapshotFile("tagged")).toBe(first);
    expect(await scenario.loaded("tagged", withArgs("--to-snapshot", "month_end"))).toMatchObject({ way: "nothing" });
    expect(await scenario.loaded("tagged", withArgs("--to_snapshot", second))).toMatchObject({
      inserted: 1,
      deleted: 0,
      ddl: [expect.stringContaining('ADD COLUMN "more" integer')],
    });
    expect(await scenario.loaded("tagged", withArgs("--to_snapshot", "audit"))).toMatchObject({
      inserted: 1,
      deleted: 1,
    });
    expect(await scenario.targetRows("tagged", ["id", "more"])).toEqual(["2|NULL", "3|NULL", "4|4", "5|5"]);
    expect(await scenario.loaded("tagged", KEY)).toMatchObject({ deleted: 1, inserted: 0 });
    await expectEqual("tagged", ["id", "name", "more"]);
  });

  test("a column that was dropped comes back with the tag that had it, values and all", async () => {
    await scenario.iceberg(
      "back",
      "CREATE TABLE $t (id BIGINT, name STRING, price INT) USING iceberg",
      "INSERT INTO $t VALUES (1, 'one', 10), (2, 'two', 20)",
      "ALTER TABLE $t CREATE TAG month_end",
      "ALTER TABLE $t DROP COLUMN price",
    );
    await scenario.loaded("back", KEY);
    await expectEqual("back");
    // The state's snapshot is the tag's: no row has changed since, but the target has dropped values.
    await scenario.loaded("back", withArgs("--to_snapshot", "month_end"));
    const priced = ["1|one|10", "2|two|20"];
    expect(await scenario.targetRows("back", ["id", "name", "price"])).toEqual(priced);

    await scenario.loaded("back", KEY);
    await scenario.iceberg("back", "INSERT INTO $t VALUES (3, 'three')");
    await scenario.loaded("back", KEY);
    await expectEqual("back");
    const held = await scenario.currentSnapshot("back");
    // Back to it, by a way that looks at touched files only: others have values of the column, too.
    const back = ["--from_snapshot", held, "--to_snapshot", "month_end", "--find_changes", "files"];
    await scenario.loaded("back", withArgs(...back));
    expect(await scenario.targetRows("back", ["id", "name", "price"])).toEqual(priced);
  });

  test("what isn't there: one message, with what is", async () => {
    await makeTable("unknown");
    await scenario.iceberg("unknown", "ALTER TABLE $t CREATE TAG good");
    const result = await scenario.load("unknown", withArgs("--from_snapshot", "123", "--to_snapshot", "goood"));
    expect(result.exitCode).toBe(64);
    const error = result.report.toJSON().error;
    expect(error?.code).toBe("SNAPSHOT_UNKNOWN");
    expect(error?.problems).toEqual([
      '--from_snapshot "123": there is no such snapshot, tag or branch',
      '--to_snapshot "goood": there is no such snapshot, tag or branch',
    ]);
    expect(error?.hint).toContain("tag good");
    expect(error?.hint).toContain(await scenario.currentSnapshot("unknown"));
    expect((await scenario.load("unknown", withArgs("--from_snapshot", "good"))).report.toJSON().error?.code).toBe(
      "FROM_SNAPSHOT_WITHOUT_TARGET",
    );
    expect((await scenario.load("unknown", withArgs("--from_snapshot", "good", "--reconcile"))).exitCode).toBe(64);
  });

  test("a target that another program has loaded goes on from the snapshot it holds", async () => {
    await makeTable("moved");
    const held = await scenario.currentSnapshot("moved");
    const target = scenario.target("moved");
    await scenario.rows(`CREATE TABLE ${target} (id bigint PRIMARY KEY, name text)`);
    await scenario.rows(`INSERT INTO ${target} VALUES (1, 'one'), (2, 'two'), (3, 'three')`);
    const before = await scenario.versions("moved");
    await scenario.iceberg(
      "moved",
      "UPDATE $t SET name = 'zwei' WHERE id = 2",
      "ALTER TABLE $t RENAME COLUMN name TO label",
      "INSERT INTO $t VALUES (4, 'four')",
    );
    const report = await scenario.loaded("moved", withArgs("--from_snapshot", held));
    expect(report).toMatchObject({ way: "compare", inserted: 1, updated: 1, deleted: 0 });
    await expectEqual("moved", ["id", "label"]);
    const after = await scenario.versions("moved");
    expect(after.get("1")).toBe(before.get("1"));
    expect(await scenario.loaded("moved", KEY)).toMatchObject({ reason: "no new snapshot since the last run" });
  });

  test("a target that doesn't hold it is noticed by its rows, and mended", async () => {
    await makeTable("wrong");
    const held = await scenario.currentSnapshot("wrong");
    await scenario.rows(`CREATE TABLE ${scenario.target("wrong")} (id bigint PRIMARY KEY, name text)`);
    await scenario.iceberg("wrong", "INSERT INTO $t VALUES (4, 'four')");
    const result = await scenario.load("wrong", withArgs("--from_snapshot", held));
    expect(result.report.warnings.map((warning) => warning.code)).toContain("TARGET_HAD_CHANGED");
    await expectEqual("wrong");
  });

  test("nothing to apply: the rows are counted all the same, also where no state was ever kept", async () => {
    await makeTable("restored");
    const held = await scenario.currentSnapshot("restored");
    const target = scenario.target("restored");
    await scenario.rows(`CREATE TABLE ${target} (id bigint PRIMARY KEY, name text)`);
    await scenario.rows(`INSERT INTO ${target} VALUES (1, 'one'), (2, 'two'), (3, 'three')`);
    await scenario.rows(`DROP TABLE IF EXISTS "${scenario.name}".glue_connect_state`);
    const versions = await scenario.versions("restored");
    expect(await scenario.loaded("restored", withArgs("--from_snapshot", held))).toMatchObject({ way: "move state" });
    expect(await scenario.versions("restored")).toEqual(versions);
    expect(await scenario.loaded("restored", KEY)).toMatchObject({ reason: "no new snapshot since the last run" });

    await makeTable("emptied");
    const other = await scenario.currentSnapshot("emptied");
    await scenario.rows(`CREATE TABLE ${scenario.target("emptied")} (id bigint PRIMARY KEY, name text)`);
    const result = await scenario.load("emptied", withArgs("--from_snapshot", other));
    expect(result.report.warnings.map((warning) => warning.code)).toContain("TARGET_HAD_CHANGED");
    await expectEqual("emptied");
  });

  test("a dump was restored, with the state of the table that it was made of: the rows are counted", async () => {
    await makeTable("dumped");
    await scenario.loaded("dumped", KEY);
    const target = scenario.target("dumped");
    await scenario.rows(`ALTER TABLE ${target} RENAME TO dumped_before`);
    await scenario.rows(`CREATE TABLE ${target} (id bigint PRIMARY KEY, name text)`);
    await scenario.rows(`INSERT INTO ${target} SELECT * FROM ${scenario.target("dumped_before")} WHERE id > 1`);
    const held = withArgs("--from_snapshot", await scenario.currentSnapshot("dumped"));
    const result = await scenario.load("dumped", held);
    expect(result.report.warnings.map((warning) => warning.code)).toContain("TARGET_HAD_CHANGED");
    await expectEqual("dumped");
    expect(await scenario.loaded("dumped", held)).toMatchObject({ way: "nothing" });
  });

  test("a key that was never looked at is not taken for unique because the last one was", async () => {
    await scenario.iceberg(
      "rekeyed",
      "CREATE TABLE $t (id BIGINT, customer STRING) USING iceberg",
      "INSERT INTO $t VALUES (1, 'a'), (2, 'a'), (3, 'b')",
    );
    await scenario.rows(`CREATE TABLE ${scenario.target("rekeyed")} (id bigint, customer text)`);
    await scenario.loaded("rekeyed", KEY);
    const held = await scenario.currentSnapshot("rekeyed");
    await scenario.iceberg("rekeyed", "UPDATE $t SET id = 30 WHERE customer = 'b'");
    for (const way of ["compare", "changelog", "files"]) {
      const { exitCode, report } = await scenario.load("rekeyed", {
        item: { "db_load.primary_key": "customer" },
        args: ["--from_snapshot", held, "--find_changes", way],
      });
      expect({ exitCode, code: report.toJSON().error?.code }).toEqual({ exitCode: 1, code: "PRIMARY_KEY_VIOLATED" });
    }
    expect(await scenario.targetRows("rekeyed", ["id", "customer"])).toEqual(["1|a", "2|a", "3|b"]);
  });

  test("a snapshot whose keys were doubled, mended since", async () => {
    await scenario.iceberg(
      "doubled",
      "CREATE TABLE $t (id BIGINT, name STRING) USING iceberg",
      "INSERT INTO $t VALUES (1, 'one'), (1, 'eins'), (2, 'two')",
    );
    const held = await scenario.currentSnapshot("doubled");
    await scenario.rows(`CREATE TABLE ${scenario.target("doubled")} (id bigint, name text)`);
    await scenario.rows(`INSERT INTO ${scenario.target("doubled")} VALUES (1, 'one'), (1, 'eins'), (2, 'two')`);
    await scenario.iceberg("doubled", "DELETE FROM $t WHERE id = 1");
    const result = await scenario.load("doubled", withArgs("--from_snapshot", held));
    expect({ exit: result.exitCode, error: result.report.toJSON().error }).toEqual({ exit: 0, error: undefined });
    await expectEqual("doubled");
  });
});

describe("--deletes soft", () => {
  const soft = withArgs("--deletes", "soft:deleted_at");

  test("rows stay, marked with the time of the transaction; who comes back is unmarked", async () => {
    await makeTable("soft");
    await scenario.loaded("soft", soft);
    const live = () =>
      scenario.rows(`SELECT id::int FROM ${scenario.target("soft")} WHERE deleted_at IS NULL ORDER BY id`);
    await scenario.iceberg("soft", "DELETE FROM $t WHERE id IN (1, 2)", "INSERT INTO $t VALUES (4, 'four')");
    const [{ now }] = (await scenario.rows<{ now: Date }>("SELECT now()")) as [{ now: Date }];
    expect(await scenario.loaded("soft", soft)).toMatchObject({ inserted: 1, deleted: 2, updated: 0 });
    expect(await live()).toEqual([{ id: 3 }, { id: 4 }]);
    const marked = await scenario.rows<{ name: string; deleted_at: Date }>(
      `SELECT name, deleted_at FROM ${scenario.target("soft")} WHERE deleted_at IS NOT NULL ORDER BY id`,
    );
    expect(marked.map((row) => row.name)).toEqual(["one", "two"]);
    for (const row of marked) expect(row.deleted_at.getTime()).toBeGreaterThanOrEqual(now.getTime());

    await scenario.iceberg("soft", "INSERT INTO $t VALUES (1, 'one')", "DELETE FROM $t WHERE id = 3");
    await scenario.loaded("soft", soft);
    expect(await live()).toEqual([{ id: 1 }, { id: 4 }]);
    // What was marked before keeps its time, also when everything is held against the source.
    const times = () => scenario.rows(`SELECT id, deleted_at FROM ${scenario.target("soft")} ORDER BY id`);
    const before = await times();
    expect(await scenario.loaded("soft", withArgs("--deletes", "soft:deleted_at", "--reconcile"))).toMatchObject({
      way: "reconcile",
      updated: 0,
      inserted: 0,
      deleted: 0,
    });
    expect(
      await scenario.loaded("soft", { ...soft, item: { ...KEY.item, "db_load.aurora_data_load_type": "full" } }),
    ).toMatchObject({ way: "everything", updated: 0, inserted: 0, deleted: 0 });
    expect(await times()).toEqual(before);
    // And with hard deletes they go.
    await scenario.iceberg("soft", "INSERT INTO $t VALUES (9, 'nine')");
    const hard = await scenario.load("soft", KEY);
    expect(hard.report.warnings.map((warning) => warning.code)).toContain("TARGET_HAD_CHANGED");
    await expectEqual("soft");
  });

  test("in a boolean column of the target, of a table that has only a key", async () => {
    await scenario.rows(
      `CREATE TABLE ${scenario.target("flags")} (id bigint PRIMARY KEY, gone boolean NOT NULL DEFAULT false)`,
    );
    await scenario.iceberg("flags", "CREATE TABLE $t (id BIGINT) USING iceberg", "INSERT INTO $t VALUES (1), (2)");
    const args = withArgs("--deletes", "soft:gone");
    await scenario.loaded("flags", args);
    await scenario.iceberg("flags", "DELETE FROM $t WHERE id = 1");
    expect(await scenario.loaded("flags", args)).toMatchObject({ deleted: 1 });
    expect(await scenario.targetRows("flags", ["id", "gone"])).toEqual(["1|true", "2|false"]);
    await scenario.iceberg("flags", "INSERT INTO $t VALUES (1)");
    expect(await scenario.loaded("flags", args)).toMatchObject({ updated: 1, inserted: 0 });
    expect(await scenario.targetRows("flags", ["id", "gone"])).toEqual(["1|false", "2|false"]);
  });

  test("the column is added to a target that has none", async () => {
    await makeTable("later");
    await scenario.loaded("later", KEY);
    await scenario.iceberg("later", "DELETE FROM $t WHERE id = 1");
    expect(await scenario.loaded("later", soft)).toMatchObject({
      deleted: 1,
      ddl: [expect.stringContaining('ADD COLUMN "deleted_at" timestamp with time zone')],
    });
    expect(await scenario.targetRows("later", ["id", "deleted_at IS NOT NULL"])).toEqual([
      "1|true",
      "2|false",
      "3|false",
    ]);

    // Also where no row changes.
    await makeTable("vouched");
    await scenario.rows(`CREATE TABLE ${scenario.target("vouched")} (id bigint PRIMARY KEY, name text)`);
    await scenario.rows(`INSERT INTO ${scenario.target("vouched")} VALUES (1, 'one'), (2, 'two'), (3, 'three')`);
    const held = await scenario.currentSnapshot("vouched");
    const report = await scenario.loaded("vouched", withArgs("--from_snapshot", held, "--deletes", "soft:deleted_at"));
    expect(report).toMatchObject({ way: "move state", ddl: [expect.stringContaining('ADD COLUMN "deleted_at"')] });
    expect(await scenario.targetRows("vouched", ["id", "deleted_at IS NULL"])).toEqual(["1|true", "2|true", "3|true"]);
  });

  test("what can't be: another type, a column of the source, a target without the key, half an argument", async () => {
    await makeTable("unfit");
    await scenario.rows(`CREATE TABLE ${scenario.target("unfit")} (id bigint, name text)`);
    const problem = async (...args: string[]) => {
      const result = await scenario.load("unfit", withArgs(...args));
      return { exit: result.exitCode, code: result.report.toJSON().error?.code };
    };
    expect(await problem("--deletes", "soft:name")).toEqual({ exit: 1, code: "SOFT_DELETE_COLUMN_UNFIT" });
    expect(await problem("--deletes", "soft:deleted_at")).toEqual({ exit: 1, code: "SOFT_DELETES_NEED_KEY" });
    expect(await problem("--deletes", "soft")).toEqual({ exit: 64, code: "ARGUMENTS_INVALID" });
    await scenario.rows(`ALTER TABLE ${scenario.target("unfit")} ADD COLUMN gone integer, ADD PRIMARY KEY (id)`);
    expect(await problem("--deletes", "soft:gone")).toEqual({ exit: 1, code: "SOFT_DELETE_COLUMN_UNFIT" });
    expect(await scenario.targetRows("unfit", ["id"])).toEqual([]);
  });
});
