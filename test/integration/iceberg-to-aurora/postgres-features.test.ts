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

const expectEqual = async (table: string, columns: string[]) => {
  expect(await scenario.targetRows(table, columns)).toEqual(await scenario.sourceRows(table, columns));
};

describe("columns that the server fills", () => {
  test("generated from what is loaded, an identity that is the key, and one of the target's own", async () => {
    const target = scenario.target("filled");
    await scenario.rows(
      `CREATE TABLE ${target} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, price integer,
         gross numeric GENERATED ALWAYS AS (price * 1.19) STORED, seen timestamptz NOT NULL DEFAULT now())`,
    );
    await scenario.iceberg(
      "filled",
      "CREATE TABLE $t (id BIGINT, price INT) USING iceberg",
      "INSERT INTO $t VALUES (7, 100), (8, 200)",
    );
    await scenario.loaded("filled", KEY);
    expect(await scenario.targetRows("filled", ["id", "price", "gross"])).toEqual(["7|100|119.00", "8|200|238.00"]);
    await scenario.iceberg("filled", "UPDATE $t SET price = 300 WHERE id = 8", "INSERT INTO $t VALUES (9, NULL)");
    expect(await scenario.loaded("filled", KEY)).toMatchObject({ updated: 1, inserted: 1 });
    expect(await scenario.targetRows("filled", ["id", "gross", "seen IS NOT NULL"])).toEqual([
      "7|119.00|true",
      "8|357.00|true",
      "9|NULL|true",
    ]);
  });

  test("a source column for a generated one is refused, with its name", async () => {
    await scenario.rows(
      `CREATE TABLE ${scenario.target("clash")} (id bigint PRIMARY KEY, price integer, gross integer GENERATED ALWAYS AS (price + 1) STORED)`,
    );
    await scenario.iceberg(
      "clash",
      "CREATE TABLE $t (id BIGINT, price INT, gross INT) USING iceberg",
      "INSERT INTO $t VALUES (1, 2, 3)",
    );
    const error = (await scenario.load("clash", KEY)).report.toJSON().error;
    expect(error).toMatchObject({
      code: "COLUMNS_DO_NOT_FIT",
      problems: [expect.stringContaining("generated and can't be written")],
    });
    expect(await scenario.targetRows("clash", ["id"])).toEqual([]);
  });
});

describe("a partitioned target", () => {
  test("without a primary key: rows move between its partitions, and one of two copies goes", async () => {
    const target = scenario.target("moving");
    await scenario.rows(`CREATE TABLE ${target} (id bigint, region text, name text) PARTITION BY LIST (region)`);
    await scenario.rows(`CREATE TABLE ${scenario.name}.moving_a PARTITION OF ${target} FOR VALUES IN ('a')`);
    await scenario.rows(`CREATE TABLE ${scenario.name}.moving_b PARTITION OF ${target} FOR VALUES IN ('b', NULL)`);
    await scenario.rows(`INSERT INTO ${target} VALUES (1, 'a', 'twice'), (1, 'b', 'twice')`);
    await scenario.iceberg(
      "moving",
      "CREATE TABLE $t (id BIGINT, region STRING, name STRING) USING iceberg",
      "INSERT INTO $t VALUES (1, 'a', 'one'), (2, 'a', 'two'), (3, NULL, 'three')",
    );
    await scenario.loaded("moving", KEY);
    await expectEqual("moving", ["id", "region", "name"]);
    await scenario.iceberg("moving", "UPDATE $t SET region = 'b' WHERE id = 2", "DELETE FROM $t WHERE id = 3");
    expect(await scenario.loaded("moving", KEY)).toMatchObject({ updated: 1, deleted: 1, inserted: 0 });
    expect(await scenario.rows(`SELECT id::int FROM ${scenario.name}.moving_b`)).toEqual([{ id: 2 }]);
  });

  test("a row for which there is no partition: refused by the server, and nothing is changed", async () => {
    const target = scenario.target("walled");
    await scenario.rows(`CREATE TABLE ${target} (id bigint PRIMARY KEY, name text) PARTITION BY RANGE (id)`);
    await scenario.rows(`CREATE TABLE ${scenario.name}.walled_low PARTITION OF ${target} FOR VALUES FROM (0) TO (10)`);
    await scenario.iceberg(
      "walled",
      "CREATE TABLE $t (id BIGINT, name STRING) USING iceberg",
      "INSERT INTO $t VALUES (1, 'in'), (11, 'out')",
    );
    const error = (await scenario.load("walled", KEY)).report.toJSON().error;
    expect(error?.code).toMatch(/^POSTGRES_/);
    expect(JSON.stringify(error)).toContain("no partition of relation");
    expect(await scenario.targetRows("walled", ["id"])).toEqual([]);
    await scenario.rows(
      `CREATE TABLE ${scenario.name}.walled_high PARTITION OF ${target} FOR VALUES FROM (10) TO (20)`,
    );
    expect(await scenario.loaded("walled", KEY)).toMatchObject({ inserted: 2 });
  });
});

describe("foreign keys", () => {
  test("to the table itself: a tree grows, turns round and shrinks in one batch, deferrable or not", async () => {
    for (const [table, deferrable] of [
      ["tree", ""],
      ["late tree", "DEFERRABLE"],
    ] as const) {
      const target = scenario.target(table);
      await scenario.rows(
        `CREATE TABLE ${target} (id bigint PRIMARY KEY, parent bigint REFERENCES ${target} (id) ${deferrable})`,
      );
      await scenario.iceberg(
        table,
        "CREATE TABLE $t (id BIGINT, parent BIGINT) USING iceberg",
        "INSERT INTO $t VALUES (3, 2), (2, 1), (1, NULL), (9, 1)",
      );
      await scenario.loaded(table, KEY);
      await scenario.iceberg(
        table,
        "MERGE INTO $t AS t USING (SELECT * FROM VALUES (1, 'gone', NULL), (9, 'gone', NULL), (2, 'root', NULL), (10, 'new', 3) AS v(id, what, parent)) AS s ON t.id = s.id WHEN MATCHED AND s.what = 'gone' THEN DELETE WHEN MATCHED THEN UPDATE SET t.parent = s.parent WHEN NOT MATCHED THEN INSERT (id, parent) VALUES (s.id, s.parent)",
      );
      if (deferrable === "") {
        // Its old parent goes before the row turns to its new one: only a constraint that can wait allows that.
        const error = (await scenario.load(table, KEY)).report.toJSON().error;
        expect(error?.code).toBe("POSTGRES_CONSTRAINT_VIOLATED");
        expect(error?.hint).toContain("DEFERRABLE");
        await scenario.rows(`ALTER TABLE ${target} ALTER CONSTRAINT tree_parent_fkey DEFERRABLE`);
      }
      expect(await scenario.loaded(table, KEY)).toMatchObject({ inserted: 1, updated: 1, deleted: 2 });
      await expectEqual(table, ["id", "parent"]);
    }
  });

  test("to a table that is loaded by another run: refused until that one has been", async () => {
    await scenario.rows(`CREATE TABLE ${scenario.target("parent")} (id bigint PRIMARY KEY)`);
    await scenario.rows(
      `CREATE TABLE ${scenario.target("child")} (id bigint PRIMARY KEY, parent bigint REFERENCES ${scenario.target("parent")} (id))`,
    );
    await scenario.iceberg("parent", "CREATE TABLE $t (id BIGINT) USING iceberg", "INSERT INTO $t VALUES (1), (2)");
    await scenario.iceberg(
      "child",
      "CREATE TABLE $t (id BIGINT, parent BIGINT) USING iceberg",
      "INSERT INTO $t VALUES (10, 1)",
    );
    const error = (await scenario.load("child", KEY)).report.toJSON().error;
    expect(error?.code).toBe("POSTGRES_CONSTRAINT_VIOLATED");
    expect(JSON.stringify(error)).toContain("child_parent_fkey");
    expect(await scenario.targetRows("child", ["id"])).toEqual([]);
    await scenario.loaded("parent", KEY);
    expect(await scenario.loaded("child", KEY)).toMatchObject({ inserted: 1 });
  });
});

test("triggers of the target fire once for each row that changes, and for no other", async () => {
  const target = scenario.target("watched");
  await scenario.rows(`CREATE TABLE ${target} (id bigint PRIMARY KEY, name text, touched timestamptz)`);
  await scenario.rows(`CREATE TABLE ${scenario.name}.log (what text, id bigint)`);
  await scenario.rows(
    `CREATE FUNCTION ${scenario.name}.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
       INSERT INTO ${scenario.name}.log VALUES (TG_OP, coalesce(NEW.id, OLD.id));
       IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
       NEW.touched := now(); RETURN NEW; END $$`,
  );
  await scenario.rows(
    `CREATE TRIGGER note BEFORE INSERT OR UPDATE OR DELETE ON ${target} FOR EACH ROW EXECUTE FUNCTION ${scenario.name}.note()`,
  );
  await scenario.iceberg(
    "watched",
    "CREATE TABLE $t (id BIGINT, name STRING) USING iceberg",
    "INSERT INTO $t VALUES (1, 'a'), (2, 'b'), (3, 'c')",
  );
  await scenario.loaded("watched", KEY);
  await scenario.rows(`TRUNCATE ${scenario.name}.log`);
  await scenario.iceberg(
    "watched",
    "UPDATE $t SET name = 'x' WHERE id = 1",
    "DELETE FROM $t WHERE id = 2",
    "INSERT INTO $t VALUES (4, 'd')",
  );
  await scenario.loaded("watched", KEY);
  expect(await scenario.rows(`SELECT what, id::int FROM ${scenario.name}.log ORDER BY id`)).toEqual([
    { what: "UPDATE", id: 1 },
    { what: "DELETE", id: 2 },
    { what: "INSERT", id: 4 },
  ]);
  await expectEqual("watched", ["id", "name"]);
  expect(await scenario.targetRows("watched", ["touched IS NOT NULL"])).toEqual(["true", "true", "true"]);
});
