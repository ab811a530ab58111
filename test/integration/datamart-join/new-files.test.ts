import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, inject, test, vi } from "vitest";
import { at, DatamartScenario, TABLES, type TableName, type TestRow } from "../../support/datamart-scenario.js";

let scenario: DatamartScenario | undefined;
afterEach(async () => {
  await scenario?.[Symbol.asyncDispose]();
  scenario = undefined;
});

/** The documented tables as Parquet, whose times this process can read. */
async function parquetScenario() {
  const s = await DatamartScenario.create(inject("sparkRemote"));
  scenario = s;
  for (const name of Object.keys(TABLES)) {
    await s.spark.sql(`CREATE TABLE ${s.table(`${name}_parquet`)} USING parquet AS SELECT * FROM ${s.table(name)}`);
    await s.spark.sql(`DROP TABLE ${s.table(name)}`);
    await s.spark.sql(`ALTER TABLE ${s.table(`${name}_parquet`)} RENAME TO ${s.table(name)}`);
  }
  return s;
}

/** Adds rows as new files. */
async function insert(s: DatamartScenario, name: TableName, ...rows: readonly TestRow[]): Promise<void> {
  const types = TABLES[name].columns.split(", ").map((column) => column.split(" ")[1] ?? "");
  const values = rows.map((row) => `(${row.map((cell, index) => `CAST('${cell}' AS ${types[index]})`).join(", ")})`);
  await s.spark.sql(`INSERT INTO ${s.table(name)} VALUES ${values.join(", ")}`);
  s.rows.set(name, [...(s.rows.get(name) ?? []), ...rows]);
}

/** A run: which looks at the source it took, and how many rows of which tables had changed. */
async function load(s: DatamartScenario, ...args: readonly string[]) {
  const { report, joined, warnings } = await s.load(...args);
  const looks = report.steps.flatMap(({ name }) => (/bounds|watermarks|look for/.test(name) ? [name] : []));
  return { looks, changed: joined.details.changed ?? {}, warnings };
}

const LOOK_NEAR = "look near the watermarks";
const transactions = (changed: number) => ({ settlement_transaction: changed });

test("later rows in new files are told by these; others are held against what was delivered", async () => {
  const s = await parquetScenario();
  expect((await load(s)).looks).toEqual([]);
  await s.expectLikeFullLoad("everything");

  await insert(s, "settlement_transaction", ["t20", "q4", 20, at(20)]);
  expect(await load(s)).toMatchObject({ looks: [], changed: transactions(1) });
  await s.expectLikeFullLoad("a later row");
  expect(await load(s)).toMatchObject({ looks: [], changed: {} });

  await insert(s, "settlement_transaction", ["t21", "q4", 21, at(20)], ["t22", "q4", 22, at(22)]);
  expect(await load(s)).toMatchObject({ changed: transactions(2) });
  await s.expectLikeFullLoad("a row at the watermark, and a later one");

  await insert(s, "settlement_transaction", ["t23", "q4", 23, at(21)]);
  expect(await load(s)).toMatchObject({ looks: [], changed: {} });
  // The same files have rows for a longer lookback.
  expect(await load(s, "--lookback", "2m")).toMatchObject({ changed: transactions(1) });
  await s.expectLikeFullLoad("a row before the watermark");
  expect(await load(s, "--lookback", "2m")).toMatchObject({ looks: [], changed: {} });
});

test("files that were put together or are gone bring nothing; rows of the future come once", async () => {
  const s = await parquetScenario();
  const table = s.table("settlement_transaction");
  await load(s);
  await s.spark.sql(`CREATE TABLE ${s.table("kept")} USING parquet AS SELECT * FROM ${table}`);
  await s.spark.sql(`INSERT OVERWRITE ${table} SELECT * FROM ${s.table("kept")}`);
  expect(await load(s)).toEqual({ looks: [LOOK_NEAR], changed: {}, warnings: [] });

  await insert(s, "settlement_transaction", ["t30", "q4", 30, "2999-01-01T00:00:00.000000Z"]);
  const future = await load(s);
  expect(future).toMatchObject({ changed: transactions(1), warnings: ["ROWS_IN_THE_FUTURE"] });
  await s.expectLikeFullLoad("a row of the future");
  await insert(s, "settlement_transaction", ["t31", "q4", 31, at(31)]);
  expect(await load(s)).toMatchObject({ changed: transactions(1) });
  await s.expectLikeFullLoad("a row before one of the future");
  await insert(s, "settlement_transaction", ["t32", "q4", 32, at(32)]);
  expect(await load(s)).toMatchObject({ changed: transactions(1) });
  await s.expectLikeFullLoad("once more");

  await insert(s, "account", ["a9", "Ida", at(40)]);
  expect(await load(s)).toMatchObject({ looks: [], changed: { account: 1 } });
  const folder = join(s.folder, "in", `${s.table("account").split(".")[1]}`);
  const before = new Set(readdirSync(folder));
  await insert(s, "account", ["a10", "Jo", at(41)]);
  for (const file of readdirSync(folder)) if (!before.has(file)) rmSync(join(folder, file));
  s.rows.set("account", (s.rows.get("account") ?? []).slice(0, -1));
  await s.spark.sql(`REFRESH TABLE ${s.table("account")}`);
  expect(await load(s)).toMatchObject({ looks: [], changed: {} });
  await s.expectLikeFullLoad("a file that is gone");
});

test("a late row within the lookback of a timestamp that another job wrote; a clock of this process that is ahead", async () => {
  const s = await parquetScenario();
  await insert(s, "settlement_transaction", ["t15", "q4", 15, at(15)]);
  s.timestampFile = "last_load_timestamp\n2026-01-01 10:20:00\n";
  expect(await load(s, "--lookback", "15m")).toMatchObject({ changed: {} });
  await insert(s, "settlement_transaction", ["t22", "q4", 22, at(22)]);
  // That batch began at the timestamp, and looked at nothing before it.
  await load(s, "--lookback", "15m");
  const ids = async () => (await s.newest()).map((row) => JSON.parse(row).transaction_id as string);
  expect(await ids()).toEqual(expect.arrayContaining(["t15", "t22"]));

  const inMinutes = (minutes: number) => new Date(Date.now() + minutes * 60_000).toISOString();
  await insert(s, "settlement_transaction", ["t-future", "q4", 30, inMinutes(30)]);
  const real = Date.now.bind(Date);
  const ahead = vi.spyOn(Date, "now").mockImplementation(() => real() + 3_600_000);
  const future = await load(s).finally(() => ahead.mockRestore());
  expect(future.warnings).toContain("ROWS_IN_THE_FUTURE");
  await insert(s, "settlement_transaction", ["t-now", "q4", 31, inMinutes(0)]);
  await load(s);
  expect(await ids()).toEqual(expect.arrayContaining(["t-future", "t-now"]));
});

test("new rows that the executors don't find any more: nothing is published, and the next run goes on from there", async () => {
  const s = await parquetScenario();
  await load(s);
  const folder = join(s.folder, "in", `${s.table("settlement_transaction").split(".")[1]}`);
  const old = readdirSync(folder).find((name) => name.endsWith(".parquet")) ?? "";
  const before = new Set(readdirSync(folder));
  await insert(s, "settlement_transaction", ["t40", "q4", 40, at(40)]);
  const added = readdirSync(folder).find((name) => name.endsWith(".parquet") && !before.has(name)) ?? "";
  const content = readFileSync(join(folder, added));
  const state = s.timestampFile;
  /** In place, without Hadoop's checksum of what was there. */
  const rewrite = (bytes: Uint8Array) => {
    writeFileSync(join(folder, added), bytes);
    rmSync(join(folder, `.${added}.crc`), { force: true });
  };
  const { report, exitCode } = await s.run([], {
    onStep: async ({ name, phase }) => {
      if (name === "write the changes" && phase === "start") rewrite(readFileSync(join(folder, old)));
    },
  });
  expect([exitCode, report.table("joined").error?.code]).toEqual([1, "TABLE_REWRITTEN"]);
  expect(s.timestampFile).toBe(state);
  rewrite(content);
  expect(await load(s)).toMatchObject({ changed: transactions(1) });
  await s.expectLikeFullLoad("after a run that found less");
});
