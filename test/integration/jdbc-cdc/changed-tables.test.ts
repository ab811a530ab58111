import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { JdbcScenario } from "../../support/jdbc-scenario.js";

let s: JdbcScenario;

beforeAll(async () => {
  s = await JdbcScenario.create(inject("sparkRemote"), inject("postgresUrl"));
});
afterAll(() => s?.[Symbol.asyncDispose]());

const KEYED = ["swapped", "parted", "named", "defaulted", "parted_default"];
const columnsOf = (name: string) => (name.includes("default") ? "id, v, c" : "id, v");

test("tables that are altered between two runs: the rows are the source's, none is stale, lost or doubled", async () => {
  const shape = "id int, v text, w text, updated_at timestamptz";
  const rows = "VALUES (1, 'a', 'x', '2026-03-01Z'), (2, 'b', 'y', '2026-03-02Z')";
  for (const name of ["swapped", "named", "defaulted"]) {
    await s.sql(`CREATE TABLE ${name} (${shape}, PRIMARY KEY (id))`, `INSERT INTO ${name} ${rows}`);
  }
  for (const name of ["parted", "parted_default"]) {
    await s.sql(
      `CREATE TABLE ${name} (${shape}, PRIMARY KEY (id)) PARTITION BY RANGE (id)`,
      `CREATE TABLE ${name}_1 PARTITION OF ${name} FOR VALUES FROM (0) TO (10)`,
      `INSERT INTO ${name} ${rows}`,
    );
  }
  await s.sql(
    `CREATE TABLE rewritten (${shape})`,
    `INSERT INTO rewritten ${rows}`,
    // Older than the first run, in time and by transaction.
    `CREATE TABLE swapped_new (${shape}, PRIMARY KEY (id))`,
    "INSERT INTO swapped_new VALUES (1, 'other', 'x', '2025-03-01Z'), (3, 'one more', 'x', '2025-03-01Z')",
    `CREATE TABLE parted_0 (${shape}, PRIMARY KEY (id))`,
    "INSERT INTO parted_0 VALUES (10, 'attached', 'x', '2025-03-01Z')",
  );
  const run = async () => {
    const { report, stack } = await s.run(["--tables", [...KEYED, "rewritten"].join()]);
    expect(report.toJSON().error, `${stack}\n${JSON.stringify(report.toJSON().tables)}`).toBeUndefined();
    return report;
  };
  await run();
  await s.sql(
    "ALTER TABLE swapped RENAME TO swapped_old",
    "ALTER TABLE swapped_new RENAME TO swapped",
    "ALTER TABLE parted ATTACH PARTITION parted_0 FOR VALUES FROM (10) TO (20)",
    "ALTER TABLE named RENAME COLUMN v TO u",
    "ALTER TABLE named RENAME COLUMN w TO v",
    "ALTER TABLE named RENAME COLUMN u TO w",
    "ALTER TABLE defaulted ADD COLUMN c int DEFAULT 5",
    "ALTER TABLE parted_default ADD COLUMN c int DEFAULT 5",
    "ALTER TABLE parted_default ALTER COLUMN c DROP DEFAULT",
    "ALTER TABLE rewritten ALTER COLUMN v TYPE text USING v || ''",
    "INSERT INTO rewritten VALUES (3, 'c', 'z', '2026-03-03Z')",
  );
  const report = await run();
  for (const name of KEYED) {
    expect({ name, rows: await s.latest(name, columnsOf(name)) }).toEqual({
      name,
      rows: await s.source(name, columnsOf(name)),
    });
  }
  expect(await s.loaded("rewritten")).toEqual(await s.source("rewritten"));
  expect(Object.fromEntries(KEYED.map((name) => [name, report.table(name).way]))).toEqual({
    swapped: "everything",
    parted: "changes",
    named: "everything",
    defaulted: "everything",
    parted_default: "everything",
  });
}, 100_000);
