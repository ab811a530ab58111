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

/** A loaded table: three rows of `id BIGINT, name STRING, note STRING, amount INT`. */
async function loadedTable(table: string): Promise<void> {
  await scenario.iceberg(
    table,
    "CREATE TABLE $t (id BIGINT NOT NULL, name STRING, note STRING, amount INT) USING iceberg",
    "INSERT INTO $t VALUES (1, 'one', 'a', 10), (2, 'two', 'b', 20), (3, 'three', 'c', 30)",
  );
  await scenario.loaded(table, KEY);
}

const targetColumns = async (table: string) =>
  await scenario.rows<{ name: string; type: string; nullable: string; comment: string | null }>(
    `SELECT column_name AS name, pg_catalog.format_type(a.atttypid, a.atttypmod) AS type, is_nullable AS nullable,
            pg_catalog.col_description(a.attrelid, a.attnum) AS comment
       FROM information_schema.columns JOIN pg_catalog.pg_attribute a
         ON a.attrelid = format('%I.%I', table_schema, table_name)::regclass AND a.attname = column_name
      WHERE table_schema = $1 AND table_name = $2 ORDER BY column_name`,
    [scenario.name, table],
  );
const namesAndTypes = async (table: string) =>
  (await targetColumns(table)).map((column) => `${column.name} ${column.type}`);

const expectEqual = async (table: string, columns: string[]) => {
  expect(await scenario.targetRows(table, columns)).toEqual(await scenario.sourceRows(table, columns));
};

describe("the target follows, in the transaction of the rows", () => {
  test.each<[string, string[], string[], string[]]>([
    [
      "a column added",
      ["ALTER TABLE $t ADD COLUMN extra DOUBLE", "UPDATE $t SET extra = 0.5 WHERE id = 2"],
      ['ADD COLUMN "extra" double precision'],
      ["amount integer", "extra double precision", "id bigint", "name text", "note text"],
    ],
    [
      "a column dropped",
      ["ALTER TABLE $t DROP COLUMN note", "DELETE FROM $t WHERE id = 1"],
      ['DROP COLUMN "note"'],
      ["amount integer", "id bigint", "name text"],
    ],
    [
      "a column renamed",
      ["ALTER TABLE $t RENAME COLUMN note TO remark", "UPDATE $t SET remark = 'z' WHERE id = 3"],
      ['RENAME COLUMN "note" TO "remark"'],
      ["amount integer", "id bigint", "name text", "remark text"],
    ],
    [
      "two names swapped",
      [
        "ALTER TABLE $t RENAME COLUMN name TO x",
        "ALTER TABLE $t RENAME COLUMN note TO name",
        "ALTER TABLE $t RENAME COLUMN x TO note",
        "INSERT INTO $t VALUES (4, 'the note', 'the name', 40)",
      ],
      [
        'RENAME COLUMN "name" TO "glue_connect_moving_1"',
        'RENAME COLUMN "note" TO "name"',
        'RENAME COLUMN "glue_connect_moving_1" TO "note"',
      ],
      ["amount integer", "id bigint", "name text", "note text"],
    ],
    [
      "a column dropped and added again: its old values don't come back",
      [
        "ALTER TABLE $t DROP COLUMN note",
        "ALTER TABLE $t ADD COLUMN note STRING",
        "UPDATE $t SET note = 'new' WHERE id = 1",
      ],
      ['DROP COLUMN "note"', 'ADD COLUMN "note" text'],
      ["amount integer", "id bigint", "name text", "note text"],
    ],
    [
      "one dropped, and another that takes its name",
      ["ALTER TABLE $t DROP COLUMN note", "ALTER TABLE $t RENAME COLUMN name TO note", "DELETE FROM $t WHERE id = 2"],
      ['DROP COLUMN "note"', 'RENAME COLUMN "name" TO "note"'],
      ["amount integer", "id bigint", "note text"],
    ],
    [
      "a type widened",
      ["ALTER TABLE $t ALTER COLUMN amount TYPE BIGINT", "UPDATE $t SET amount = 5000000000 WHERE id = 2"],
      ['ALTER COLUMN "amount" TYPE bigint'],
      ["amount bigint", "id bigint", "name text", "note text"],
    ],
  ])("%s", async (name, statements, ddl, columns) => {
    const table = name.slice(0, 35).trim();
    await loadedTable(table);
    await scenario.iceberg(table, ...statements);

    const planned = await scenario.load(table, { ...KEY, mode: "plan" });
    const prefixed = ddl.map((statement) => `ALTER TABLE "${scenario.name}"."${table}" ${statement}`);
    expect(planned.exitCode).toBe(2);
    expect(planned.report.table(`${scenario.name}.${table}`).ddl).toEqual(prefixed);
    expect(await namesAndTypes(table)).toEqual(["amount integer", "id bigint", "name text", "note text"]);

    const report = await scenario.loaded(table, KEY);
    expect(report.ddl).toEqual(prefixed);
    expect(report.way).not.toBe("everything");
    expect(await namesAndTypes(table)).toEqual(columns);
    await expectEqual(
      table,
      columns.map((column) => column.split(" ")[0] ?? ""),
    );
    expect(await scenario.loaded(table, KEY)).toMatchObject({ reason: "no new snapshot since the last run", ddl: [] });
  });

  test("much at once: decimals, floats, case, order, several renames in a ring", async () => {
    await scenario.iceberg(
      "much",
      "CREATE TABLE $t (id INT, a STRING, b STRING, c STRING, price DECIMAL(8,2), ratio FLOAT, Odd STRING) USING iceberg",
      "INSERT INTO $t VALUES (1, 'a1', 'b1', 'c1', 1.25, 0.1, 'o'), (2, 'a2', 'b2', 'c2', 2.5, 0.2, 'p')",
    );
    await scenario.loaded("much", KEY);
    await scenario.iceberg(
      "much",
      "ALTER TABLE $t RENAME COLUMN a TO x",
      "ALTER TABLE $t RENAME COLUMN c TO a",
      "ALTER TABLE $t RENAME COLUMN b TO c",
      "ALTER TABLE $t RENAME COLUMN x TO b",
      "ALTER TABLE $t ALTER COLUMN id TYPE BIGINT",
      "ALTER TABLE $t ALTER COLUMN price TYPE DECIMAL(20,2)",
      "ALTER TABLE $t ALTER COLUMN ratio TYPE DOUBLE",
      "ALTER TABLE $t RENAME COLUMN Odd TO x",
      "ALTER TABLE $t RENAME COLUMN x TO odd",
      "ALTER TABLE $t ALTER COLUMN ratio FIRST",
      "ALTER TABLE $t ADD COLUMN seen TIMESTAMP AFTER id",
      "DELETE FROM $t WHERE id = 1",
      "INSERT INTO $t (id, a, b, c, price, ratio, odd, seen) VALUES (3, 'a3', 'b3', 'c3', 123456789012345678.25, 0.3, 'q', TIMESTAMP '2024-02-29 12:00:00.123456')",
    );
    const report = await scenario.loaded("much", KEY);
    expect(report).toMatchObject({ inserted: 1, deleted: 1, way: "compare" });
    expect(report.details.schemaChanges).toHaveLength(8);
    await expectEqual("much", ["id", "a", "b", "c", "price", "odd"]);
    // A float's digits are those of its double once it is one.
    expect(await scenario.targetRows("much", ["ratio"])).toEqual(["0.20000000298023224", "0.3"]);
    expect(await namesAndTypes("much")).toEqual([
      "a text",
      "b text",
      "c text",
      "id bigint",
      "odd text",
      "price numeric(20,2)",
      "ratio double precision",
      "seen timestamp with time zone",
    ]);
  });

  test("without a new snapshot, and after a compaction: the state moves, no row is touched", async () => {
    await loadedTable("quiet");
    const before = await scenario.versions("quiet");
    await scenario.iceberg("quiet", "ALTER TABLE $t RENAME COLUMN note TO remark");
    expect(await scenario.loaded("quiet", KEY)).toMatchObject({
      way: "move state",
      reason: "the schema changed, and no row since the last run",
    });
    await scenario.iceberg("quiet", "ALTER TABLE $t ADD COLUMN more STRING");
    await scenario.spark.sql(
      `CALL lake.system.rewrite_data_files(table => '${scenario.name}.quiet', options => map('rewrite-all', 'true'))`,
    );
    expect(await scenario.loaded("quiet", KEY)).toMatchObject({ way: "move state" });
    expect(await scenario.versions("quiet")).toEqual(before);
    await scenario.iceberg("quiet", "UPDATE $t SET more = 'm', remark = 'r' WHERE id = 2");
    expect(await scenario.loaded("quiet", KEY)).toMatchObject({ updated: 1, inserted: 0, deleted: 0 });
    await expectEqual("quiet", ["id", "name", "remark", "amount", "more"]);
  });

  test("nested fields added, renamed and widened: all rows are held against the source", async () => {
    await scenario.iceberg(
      "nested",
      "CREATE TABLE $t (id BIGINT, s STRUCT<a: INT, b: STRING>, l ARRAY<INT>, m MAP<STRING, STRUCT<x: INT>>) USING iceberg",
      "INSERT INTO $t VALUES (1, named_struct('a', 1, 'b', 'x'), array(1, 2), map('k', named_struct('x', 7))), (2, NULL, NULL, NULL)",
    );
    await scenario.loaded("nested", KEY);
    await scenario.iceberg(
      "nested",
      "ALTER TABLE $t ADD COLUMN s.c DOUBLE",
      "ALTER TABLE $t RENAME COLUMN s.b TO bee",
      "ALTER TABLE $t ALTER COLUMN s.a TYPE BIGINT",
      "ALTER TABLE $t ALTER COLUMN l.element TYPE BIGINT",
      "ALTER TABLE $t ADD COLUMN m.value.y STRING",
    );
    // DDL alone: the newest snapshot still has the old shape.
    expect(await scenario.loaded("nested", KEY)).toMatchObject({ way: "everything", updated: 1 });
    expect(await scenario.targetRows("nested", ["id", "s", "l", "m"])).toEqual([
      '1|{"a": 1, "c": null, "bee": "x"}|{1,2}|{"k": {"x": 7, "y": null}}',
      "2|NULL|NULL|NULL",
    ]);
    expect(await namesAndTypes("nested")).toContain("l bigint[]");
    await scenario.iceberg(
      "nested",
      "INSERT INTO $t VALUES (3, named_struct('a', 5000000000, 'bee', 'y', 'c', 0.5), array(5000000000), NULL)",
    );
    expect(await scenario.loaded("nested", KEY)).toMatchObject({ inserted: 1, updated: 0 });
    expect(await scenario.targetRows("nested", ["id", "s", "l"])).toContain(
      '3|{"a": 5000000000, "c": 0.5, "bee": "y"}|{5000000000}',
    );
  });

  test("a column that became optional, and comments", async () => {
    await scenario.iceberg(
      "loose",
      `CREATE TABLE $t (id BIGINT NOT NULL COMMENT 'the key', name STRING NOT NULL, note STRING COMMENT "it's \\\\ free") USING iceberg`,
      "INSERT INTO $t VALUES (1, 'one', 'a')",
    );
    await scenario.loaded("loose", KEY);
    const comments = async () => (await targetColumns("loose")).map((column) => `${column.name}: ${column.comment}`);
    expect(await comments()).toEqual(["id: the key", "name: null", "note: it's \\ free"]);
    await scenario.rows(`COMMENT ON COLUMN ${scenario.target("loose")}.name IS 'of a DBA'`);
    await scenario.iceberg(
      "loose",
      "ALTER TABLE $t ALTER COLUMN name DROP NOT NULL",
      "ALTER TABLE $t ALTER COLUMN note COMMENT 'shorter'",
      "INSERT INTO $t VALUES (2, NULL, 'b')",
    );
    expect(await scenario.loaded("loose", KEY)).toMatchObject({ inserted: 1 });
    expect((await targetColumns("loose")).map((column) => column.nullable)).toEqual(["NO", "YES", "YES"]);
    expect(await comments()).toEqual(["id: the key", "name: of a DBA", "note: shorter"]);
  });

  test("views, grants, indexes and the table's identity stay", async () => {
    await loadedTable("viewed");
    const target = scenario.target("viewed");
    const reader = `${scenario.name}_reader`;
    await scenario.rows(`CREATE ROLE ${reader}`);
    await scenario.rows(`GRANT SELECT ON ${target} TO ${reader}`);
    await scenario.rows(`GRANT UPDATE (note) ON ${target} TO ${reader}`);
    await scenario.rows(`CREATE INDEX viewed_note ON ${target} (note)`);
    await scenario.rows(`CREATE VIEW ${scenario.name}.notes AS SELECT id, note FROM ${target}`);
    const oid = await scenario.rows(`SELECT '${target}'::regclass::oid AS oid`);
    await scenario.iceberg(
      "viewed",
      "ALTER TABLE $t RENAME COLUMN note TO remark",
      "ALTER TABLE $t DROP COLUMN name",
      "ALTER TABLE $t ADD COLUMN more STRING",
      "UPDATE $t SET remark = 'seen', more = 'm' WHERE id = 1",
    );
    await scenario.loaded("viewed", KEY);
    expect(await scenario.rows(`SELECT note FROM ${scenario.name}.notes WHERE id = 1`)).toEqual([{ note: "seen" }]);
    expect(
      await scenario.rows(
        `SELECT has_table_privilege($1, $2, 'select') AS s, has_column_privilege($1, $2, 'remark', 'update') AS u`,
        [reader, target],
      ),
    ).toEqual([{ s: true, u: true }]);
    expect(await scenario.rows(`SELECT '${target}'::regclass::oid AS oid`)).toEqual(oid);
    expect(await scenario.rows("SELECT indexname FROM pg_indexes WHERE indexname = 'viewed_note'")).toHaveLength(1);
    await scenario.rows(`DROP OWNED BY ${reader}`);
    await scenario.rows(`DROP ROLE ${reader}`);
  });

  test("a partitioned target, with its partitions", async () => {
    await scenario.rows(
      `CREATE TABLE ${scenario.target("parts")} (id bigint, region text, note text, PRIMARY KEY (id, region)) PARTITION BY LIST (region)`,
    );
    await scenario.rows(
      `CREATE TABLE ${scenario.name}.parts_a PARTITION OF ${scenario.target("parts")} FOR VALUES IN ('a')`,
    );
    await scenario.rows(`CREATE TABLE ${scenario.name}.parts_rest PARTITION OF ${scenario.target("parts")} DEFAULT`);
    await scenario.iceberg(
      "parts",
      "CREATE TABLE $t (id BIGINT, region STRING, note STRING) USING iceberg",
      "INSERT INTO $t VALUES (1, 'a', 'x'), (2, 'b', 'y')",
    );
    await scenario.loaded("parts");
    await scenario.iceberg(
      "parts",
      "ALTER TABLE $t ADD COLUMN extra INT",
      "ALTER TABLE $t RENAME COLUMN note TO remark",
      "UPDATE $t SET region = 'c', extra = 1 WHERE id = 1",
    );
    expect(await scenario.loaded("parts")).toMatchObject({ inserted: 1, deleted: 1 });
    await expectEqual("parts", ["id", "region", "remark", "extra"]);
    const refused = async () => (await scenario.load("parts")).report.toJSON().error?.problems.join("\n");
    await scenario.iceberg("parts", "ALTER TABLE $t RENAME COLUMN region TO area");
    await scenario.loaded("parts");
    await scenario.iceberg("parts", "ALTER TABLE $t ADD COLUMN region STRING", "ALTER TABLE $t DROP COLUMN area");
    expect(await refused()).toContain('column "area" was dropped, and it is of the key');
  });
});

describe("the key", () => {
  test("of the target is found again under its new name", async () => {
    await scenario.rows(`CREATE TABLE ${scenario.target("keyed")} (name text, code integer PRIMARY KEY)`);
    await scenario.iceberg(
      "keyed",
      "CREATE TABLE $t (name STRING, code INT) USING iceberg",
      "INSERT INTO $t VALUES ('same', 1), ('same', 2)",
    );
    await scenario.loaded("keyed");
    await scenario.iceberg(
      "keyed",
      "ALTER TABLE $t RENAME COLUMN code TO number",
      "ALTER TABLE $t ALTER COLUMN number TYPE BIGINT",
      "DELETE FROM $t WHERE number = 1",
    );
    expect(await scenario.loaded("keyed")).toMatchObject({ way: "compare", deleted: 1, inserted: 0, updated: 0 });
    await expectEqual("keyed", ["name", "number"]);
  });

  test("that the configuration has under its old name: the error says the new one", async () => {
    await loadedTable("old name");
    await scenario.iceberg("old name", "ALTER TABLE $t RENAME COLUMN id TO number");
    const error = (await scenario.load("old name", KEY)).report.toJSON().error;
    expect(error?.code).toBe("PRIMARY_KEY_UNKNOWN");
    expect(error?.message).toContain('"id"');
    expect(error?.problems).toEqual(['column "id" was renamed to "number"']);
    expect(await scenario.loaded("old name", { item: { "db_load.primary_key": "number" } })).toMatchObject({
      way: "move state",
    });
  });
});

describe("what can't be done safely is refused before the first write", () => {
  const refusal = async (table: string) => {
    const before = { versions: await scenario.versions(table), columns: await targetColumns(table) };
    const result = await scenario.load(table, KEY);
    expect(result.exitCode).toBe(1);
    const error = result.report.toJSON().error;
    expect(error?.code).toBe("SCHEMA_CHANGED");
    expect({ versions: await scenario.versions(table), columns: await targetColumns(table) }).toEqual(before);
    expect(await scenario.stagingTables()).toEqual([]);
    return error?.problems;
  };

  test("everything that hangs on a column, in one message", async () => {
    await loadedTable("hung");
    const target = scenario.target("hung");
    await scenario.rows(`ALTER TABLE ${target} ADD CONSTRAINT hung_name UNIQUE (name)`);
    await scenario.rows(`CREATE VIEW ${scenario.name}.hung_view AS SELECT note, amount FROM ${target}`);
    await scenario.rows(`CREATE TABLE ${scenario.name}.hung_child (name text REFERENCES ${target} (name))`);
    await scenario.rows(`ALTER TABLE ${target} ADD COLUMN twice integer GENERATED ALWAYS AS (amount * 2) STORED`);
    await scenario.iceberg(
      "hung",
      "ALTER TABLE $t DROP COLUMN note",
      "ALTER TABLE $t DROP COLUMN name",
      "ALTER TABLE $t ALTER COLUMN amount TYPE BIGINT",
      "DELETE FROM $t WHERE id = 1",
    );
    const problems = await refusal("hung");
    expect(problems?.toSorted()).toEqual([
      'column "amount" changed its type from int to long: generated column twice depends on the target\'s column "amount"',
      `column "amount" changed its type from int to long: view ${scenario.name}.hung_view depends on the target's column "amount"`,
      `column "name" was dropped: constraint hung_child_name_fkey on table ${scenario.name}.hung_child depends on the target's column "name"`,
      `column "note" was dropped: view ${scenario.name}.hung_view depends on the target's column "note"`,
    ]);
    // Once nothing hangs there any more, the same run goes through.
    await scenario.rows(`DROP VIEW ${scenario.name}.hung_view`);
    await scenario.rows(`DROP TABLE ${scenario.name}.hung_child`);
    await scenario.rows(`ALTER TABLE ${target} DROP COLUMN twice`);
    expect(await scenario.loaded("hung", KEY)).toMatchObject({ deleted: 1 });
    await expectEqual("hung", ["id", "amount"]);
  });

  test("the key column dropped", async () => {
    await scenario.iceberg(
      "no key",
      "CREATE TABLE $t (id BIGINT, code STRING) USING iceberg",
      "INSERT INTO $t VALUES (1, 'a')",
    );
    await scenario.loaded("no key");
    await scenario.iceberg("no key", "ALTER TABLE $t DROP COLUMN id");
    expect(await scenario.load("no key")).toMatchObject({ exitCode: 1 });
    const error = (await scenario.load("no key")).report.toJSON().error;
    expect(error).toMatchObject({
      code: "SCHEMA_CHANGED",
      problems: ['column "id" was dropped, and it is of the key'],
    });
    expect(await namesAndTypes("no key")).toEqual(["code text", "id bigint"]);
  });

  test("a type that narrowed, where the table was replaced", async () => {
    await loadedTable("narrow");
    await scenario.iceberg(
      "narrow",
      "CREATE OR REPLACE TABLE $t (id BIGINT NOT NULL, name INT, note STRING, amount INT) USING iceberg",
    );
    expect(await refusal("narrow")).toEqual([
      'column "name" changed its type from string to int: the target\'s values may not fit',
    ]);
  });

  test("a name that the target has given to another column", async () => {
    await loadedTable("taken");
    await scenario.rows(`ALTER TABLE ${scenario.target("taken")} ADD COLUMN remark text`);
    await scenario.iceberg("taken", "ALTER TABLE $t RENAME COLUMN note TO remark");
    expect(await refusal("taken")).toEqual([
      'column "note" was renamed to "remark": the target has another column of that name',
    ]);
  });

  test("a table that the role doesn't own", async () => {
    await loadedTable("owned");
    const role = `${scenario.name}_loader`;
    await scenario.rows(`CREATE ROLE ${role} LOGIN PASSWORD 'load'`);
    await scenario.rows(`GRANT USAGE, CREATE ON SCHEMA ${scenario.name} TO ${role}`);
    await scenario.rows(`GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ${scenario.name} TO ${role}`);
    const url = new URL(scenario.servers.postgresUrl);
    url.username = role;
    url.password = "load";
    await scenario.iceberg("owned", "ALTER TABLE $t ADD COLUMN extra INT", "DELETE FROM $t WHERE id = 1");
    const error = (await scenario.load("owned", { ...KEY, postgresUrl: url.href })).report.toJSON().error;
    expect(error?.problems).toEqual([
      `the role doesn't own "${scenario.name}"."owned", and only its owner may run: ALTER TABLE "${scenario.name}"."owned" ADD COLUMN "extra" integer`,
    ]);
    // The DBA runs the statement: the column is there, its rows are held against the source.
    await scenario.rows(`ALTER TABLE ${scenario.target("owned")} ADD COLUMN extra integer DEFAULT 7`);
    expect(await scenario.loaded("owned", { ...KEY, postgresUrl: url.href })).toMatchObject({
      way: "everything",
      updated: 2,
      deleted: 1,
    });
    await expectEqual("owned", ["id", "name", "note", "amount", "extra"]);
    await scenario.rows(`DROP OWNED BY ${role}`);
    await scenario.rows(`DROP ROLE ${role}`);
  });
});

test("rows that are refused take the DDL back with them", async () => {
  await loadedTable("back");
  await scenario.rows(`ALTER TABLE ${scenario.target("back")} ADD CONSTRAINT positive CHECK (amount > 0)`);
  await scenario.iceberg(
    "back",
    "ALTER TABLE $t RENAME COLUMN note TO remark",
    "ALTER TABLE $t ADD COLUMN extra INT",
    "UPDATE $t SET amount = -1 WHERE id = 1",
  );
  const before = await targetColumns("back");
  const result = await scenario.load("back", KEY);
  expect(result.report.toJSON().error?.code).toBe("POSTGRES_CONSTRAINT_VIOLATED");
  expect(await targetColumns("back")).toEqual(before);
  await scenario.iceberg("back", "UPDATE $t SET amount = 1 WHERE id = 1");
  expect(await scenario.loaded("back", KEY)).toMatchObject({ updated: 1 });
  await expectEqual("back", ["id", "name", "remark", "amount", "extra"]);
});
