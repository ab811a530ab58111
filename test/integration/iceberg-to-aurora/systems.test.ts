import { afterAll, beforeAll, expect, test } from "vitest";
import { IcebergScenario } from "../../support/iceberg-scenario.js";

let scenario: IcebergScenario;
beforeAll(async () => {
  scenario = await IcebergScenario.create();
});
afterAll(async () => {
  await scenario[Symbol.asyncDispose]();
});

async function makeTable(table: string, rows: string): Promise<void> {
  await scenario.iceberg(
    table,
    "CREATE TABLE $t (id BIGINT, name STRING) USING iceberg",
    `INSERT INTO $t VALUES ${rows}`,
  );
}

const targetIds = (table: string) => scenario.targetRows(table, ["id"]);

test("several by list and by pattern; one failing alone; each goes on from its own state", async () => {
  await makeTable("north", "(1, 'n')");
  await makeTable("south", "(2, 's')");
  await makeTable("broken", "(3, 'x'), (3, 'y')");
  const key = { "db_load.primary_key": "id" };
  const items = await scenario.writeItems({
    shop_north: { table: "north", item: key },
    shop_south: { table: "south", item: key },
    shop_broken: { table: "broken", item: key },
    shop_nowhere: { table: "nowhere", item: key },
    other: { table: "other" },
  });

  const planned = await scenario.loadSystems(items, "shop_*,!shop_nowhere,!shop_broken", [], { mode: "plan" });
  expect(planned.exitCode).toBe(2);
  expect([...planned.report.tables].map(([name, table]) => [name, table.status, table.inserted])).toEqual([
    ["shop_north", "PLANNED", 1],
    ["shop_south", "PLANNED", 1],
  ]);

  const first = await scenario.loadSystems(items, "shop_*", ["--parallelism", "2"]);
  expect(first.exitCode).toBe(1);
  const outcome = [...first.report.tables].map(([name, table]) => [
    name,
    table.status,
    table.error?.code,
    table.details.source,
  ]);
  expect(outcome).toEqual([
    ["shop_broken", "FAILED", "PRIMARY_KEY_VIOLATED", `${scenario.name}.broken`],
    ["shop_north", "SUCCEEDED", undefined, `${scenario.name}.north`],
    ["shop_nowhere", "FAILED", "SOURCE_TABLE_NOT_FOUND", undefined],
    ["shop_south", "SUCCEEDED", undefined, `${scenario.name}.south`],
  ]);
  expect(first.report.toJSON().error).toMatchObject({ code: "TABLES_FAILED", message: "2 of 4 tables failed" });
  expect([await targetIds("north"), await targetIds("south")]).toEqual([["1"], ["2"]]);
  expect(await scenario.stagingTables()).toEqual([]);

  await scenario.iceberg("north", "INSERT INTO $t VALUES (4, 'new')");
  await scenario.iceberg("broken", "DELETE FROM $t WHERE name = 'y'");
  const second = await scenario.loadSystems(items, "shop_north, shop_south, shop_broken");
  expect(second.exitCode).toBe(0);
  expect([...second.report.tables].map(([name, table]) => [name, table.inserted, table.reason])).toEqual([
    ["shop_north", 1, expect.any(String)],
    ["shop_south", 0, "no new snapshot since the last run"],
    ["shop_broken", 1, "the first load of this target"],
  ]);
});

test("one that isn't there is named alone in a list, and a pattern that fits none says what there is", async () => {
  await makeTable("listed", "(1, 'a')");
  const items = await scenario.writeItems({ here: { table: "listed", item: { "db_load.primary_key": "id" } } });
  const listed = await scenario.loadSystems(items, "here,there");
  expect([...listed.report.tables].map(([name, table]) => [name, table.status, table.error?.code])).toEqual([
    ["here", "SUCCEEDED", undefined],
    ["there", "FAILED", "METADATA_ITEM_NOT_FOUND"],
  ]);
  const none = await scenario.loadSystems(items, "shop*");
  expect(none.exitCode).toBe(66);
  expect(none.report.toJSON().error).toMatchObject({ code: "METADATA_ITEM_NOT_FOUND", problems: ["it has here"] });
});

test("tables with foreign keys come after those that they refer to, in whatever order they are named", async () => {
  const target = (name: string) => scenario.target(name);
  await scenario.rows(`CREATE TABLE ${target("customers")} (id bigint PRIMARY KEY, name text)`);
  await scenario.rows(
    `CREATE TABLE ${target("orders")} (id bigint PRIMARY KEY REFERENCES ${target("customers")} (id), name text)`,
  );
  await scenario.rows(
    `CREATE TABLE ${target("lines")} (id bigint PRIMARY KEY REFERENCES ${target("orders")} (id), name text)`,
  );
  for (const table of ["customers", "orders", "lines"]) await makeTable(table, "(1, 'a'), (2, 'b')");
  const items = await scenario.writeItems({ c: { table: "customers" }, o: { table: "orders" }, l: { table: "lines" } });
  const result = await scenario.loadSystems(items, "l,o,c", ["--parallelism", "1"]);
  expect({ exit: result.exitCode, error: result.report.toJSON().error }).toEqual({ exit: 0, error: undefined });
  for (const table of ["customers", "orders", "lines"]) expect(await targetIds(table)).toEqual(["1", "2"]);

  // Rows that refer to what is nowhere fail, once there is nothing left to wait for.
  await scenario.iceberg("lines", "INSERT INTO $t VALUES (9, 'lost')");
  const lost = await scenario.loadSystems(items, "l,o,c");
  expect([...lost.report.tables].map(([name, table]) => [name, table.status, table.error?.code])).toEqual([
    ["l", "FAILED", "POSTGRES_CONSTRAINT_VIOLATED"],
    ["o", "SUCCEEDED", undefined],
    ["c", "SUCCEEDED", undefined],
  ]);
  expect(await targetIds("lines")).toEqual(["1", "2"]);
});

test("what a dead run left is cleared, but its Spark session is let be while the run is alive elsewhere", async () => {
  await makeTable("left", "(1, 'a')");
  const items = await scenario.writeItems({ left: { table: "left", item: { "db_load.primary_key": "id" } } });
  /**
   * Loads while the dead run's session works: far longer than a load may take, even where this work's slot
   * is one of two, and tests of other files wait for the other. What becomes of it comes in its own time.
   */
  const clearing = async () => {
    await scenario.rows(`CREATE TABLE "${scenario.name}".glue_connect_stage_dead (op text)`);
    const owner = JSON.stringify({
      runId: "jr_other",
      job: "iceberg-to-aurora",
      target: `"${scenario.name}"."left"`,
      sparkSessionId: scenario.spark.sessionId,
    });
    await scenario.rows(`COMMENT ON TABLE "${scenario.name}".glue_connect_stage_dead IS '${owner}'`);
    const slow = await scenario.spark.sql(
      "SELECT java_method('java.lang.Thread', 'sleep', 600000L) AS x FROM range(1)",
    );
    const working = slow.collect().then(
      () => "ended",
      (error: Error) => error.message,
    );
    const loaded = await scenario.loadSystems(items, "left,left");
    expect(loaded.exitCode).toBe(0);
    expect(await scenario.stagingTables()).toEqual([]);
    return { working };
  };
  // The other run has the lock of some table.
  await scenario.rows("SET application_name = 'glue-connect jr_other'");
  await scenario.rows("SELECT pg_advisory_lock(1)");
  const letBe = await clearing();
  expect(await Promise.race([letBe.working, "still at work"])).toBe("still at work");
  await scenario.spark.interruptAll();
  await letBe.working;
  await scenario.rows("SELECT pg_advisory_unlock(1)");
  const cleared = await clearing();
  expect(await cleared.working).toMatch(/cancel/i);
}, 400_000);

test("two items with one target: the second is refused, or comes after", async () => {
  await makeTable("shared", "(1, 'a')");
  const item = { "db_load.primary_key": "id" };
  const items = await scenario.writeItems({ one: { table: "shared", item }, two: { table: "shared", item } });
  const result = await scenario.loadSystems(items, "one,two");
  const failed = [...result.report.tables.values()].filter((table) => table.status === "FAILED");
  expect(failed.map((table) => table.error?.code)).toEqual(failed.map(() => "ConcurrentRunsExceededException"));
  expect(failed.length).toBeLessThanOrEqual(1);
  expect(await targetIds("shared")).toEqual(["1"]);
});
