import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { settledSchema, tableRows } from "../../../jobs/keyspaces-diff/cluster.js";
import {
  type CassandraTable,
  deleteStatement,
  executeFromHere,
  quoteCql,
  type RowStatement,
  SINK_FORMAT,
  updateStatement,
  type WriteSettings,
  writeOptions,
} from "../../../lib/keyspaces/index.js";
import type { DataFrame, SparkSession } from "../../../lib/spark/index.js";
import { KeyspacesScenario } from "../../support/keyspaces-scenario.js";
import { builder } from "../spark/support.js";

vi.setConfig({ testTimeout: 400_000, hookTimeout: 400_000 });

const KEYSPACE = "deletes";
let scenario: KeyspacesScenario;
let spark: SparkSession;
beforeAll(async () => {
  [scenario, spark] = await Promise.all([KeyspacesScenario.create(KEYSPACE), builder().getOrCreate()]);
});
afterAll(async () => {
  await scenario?.[Symbol.asyncDispose]();
  await spark?.close();
});

/** Every type that a key can have, once. */
const KEYS: Readonly<Record<string, readonly [type: string, value: (i: number) => string]>> = {
  MixedCase: ["text", (i) => `'ü"${i}'`],
  "odd, name": ["text", (i) => `'${i}'`],
  big: ["bigint", (i) => `${9223372036854775800n + BigInt(i)}`],
  whole: ["int", (i) => `${-i}`],
  small: ["smallint", (i) => `${i - 3}`],
  tiny: ["tinyint", (i) => `${i}`],
  letters: ["ascii", (i) => `'a${i}'`],
  id: ["uuid", (i) => `00000000-0000-4000-8000-00000000000${i}`],
  made: ["timeuuid", (i) => `50554d6e-29bb-11e5-b345-feff819cdc9${i}`],
  address: ["inet", (i) => `'2001:db8::${i}'`],
  day: ["date", (i) => `'196${i}-12-31'`],
  at: ["timestamp", (i) => `${-1_772_359_200_342 + i}`],
  time: ["time", (i) => `'23:59:59.12345678${i}'`],
  amount: ["decimal", (i) => `-${i}.250`],
  huge: ["varint", (i) => `-12345678901234567890${i}`],
  flag: ["boolean", (i) => `${i % 2 === 0}`],
  ratio: ["double", (i) => ["NaN", "-0.0", "Infinity", "0.1"][i % 4] ?? ""],
  narrow: ["float", () => "0.1"],
  raw: ["blob", (i) => `0x00ff0${i}`],
};

async function makeTable(table: string, using: string): Promise<DataFrame> {
  const name = { keyspace: KEYSPACE, table };
  const columns = Object.keys(KEYS).map(quoteCql);
  await scenario.cassandra.execute(
    `CREATE TABLE ${KEYSPACE}.${table} (${Object.entries(KEYS).map(([key, [type]]) => `${quoteCql(key)} ${type}`)}, v int, PRIMARY KEY (${columns}))`,
  );
  for (let i = 0; i < 8; i++) {
    await scenario.cassandra.execute(
      `INSERT INTO ${KEYSPACE}.${table} (${columns}, v) VALUES (${Object.values(KEYS).map(([, value]) => value(i))}, ${i}) ${using}`,
    );
  }
  const rows = () => tableRows(spark, name, scenario.connection);
  await settledSchema(await scenario.cassandra.table(name), rows);
  return rows();
}

async function left(table: string): Promise<readonly unknown[]> {
  const { rows } = await scenario.cassandra.client.execute(`SELECT v FROM ${KEYSPACE}.${table}`);
  return rows.map((row) => row.v).toSorted();
}

/** Columns in an order that is not the key's, and one too many: rows must be told by names. */
const shuffled = (rows: DataFrame, where: string) =>
  rows.where(where).select(...[...Object.keys(KEYS), "v"].toReversed().map((name) => `\`${name}\``));

async function onExecutors(table: string, keys: DataFrame, settings: WriteSettings): Promise<void> {
  const options = writeOptions({ keyspace: KEYSPACE, table }, scenario.connection, settings);
  await keys.write
    .format(SINK_FORMAT)
    .options({ ...options, operation: "delete" })
    .mode("append")
    .save();
}

test("rows go by keys of every type, on the executors and from here; what is younger than the timestamp stays", async () => {
  const rows = await makeTable("every_type", "USING TIMESTAMP 1000");
  const name = { keyspace: KEYSPACE, table: "every_type" };
  await onExecutors("every_type", shuffled(rows, "v = 0"), {});
  expect(await left("every_type")).toEqual([1, 2, 3, 4, 5, 6, 7]);
  await onExecutors("every_type", shuffled(rows, "v IN (1, 2)"), { timestamp: 2000n, rowsPerSecond: 1000 });
  expect(await left("every_type")).toEqual([3, 4, 5, 6, 7]);
  await onExecutors("every_type", shuffled(rows, "v IN (3, 4)"), { timestamp: 999n });
  expect(await left("every_type")).toEqual([3, 4, 5, 6, 7]);

  const table = await scenario.cassandra.table(name);
  const fromHere = (where: string, settings: WriteSettings = {}) => {
    const statement = deleteStatement(table, { keys: table.primaryKey, values: [] }, settings);
    return executeFromHere(scenario.cassandra, table, shuffled(rows, where), statement, settings);
  };
  expect(await fromHere("v = 3", { timestamp: 999n })).toBe(1);
  expect(await left("every_type")).toEqual([3, 4, 5, 6, 7]);
  expect(await fromHere("v IN (3, 4)", { timestamp: 2000n })).toBe(2);
  expect(await fromHere("v = 5")).toBe(1);
  expect(await left("every_type")).toEqual([6, 7]);
});

test("statements set lists, nested values and static columns, on the executors and from here; lists written again aren't doubled", async () => {
  const { cassandra } = scenario;
  await cassandra.execute(`CREATE TYPE ${KEYSPACE}.pair (word text, day date)`);
  for (const table of ["written", "here", "there"]) {
    await cassandra.execute(
      `CREATE TABLE ${KEYSPACE}.${table} (p int, c int, s text static, tags list<text> static, l list<frozen<map<int, timestamp>>>,
        u frozen<pair>, t tuple<int, decimal, uuid>, m map<bigint, blob>, n set<inet>, PRIMARY KEY (p, c))`,
    );
  }
  for (const c of [1, 2]) {
    await cassandra.execute(
      `INSERT INTO ${KEYSPACE}.written (p, c, s, tags, l, u, t, m, n) VALUES (7, ${c}, 'static', ['a', 'b'], [{1: 1772359200342}, {-2: 0}],
        {word: 'ü', day: '1969-12-31'}, (5, 1.5, 00000000-0000-4000-8000-000000000001), {9223372036854775807: 0x00ff}, {'127.0.0.1'})`,
      `INSERT INTO ${KEYSPACE}.written (p, c, u) VALUES (8, ${c}, {word: null, day: '2026-01-31'})`,
    );
  }
  const source = await cassandra.table({ keyspace: KEYSPACE, table: "written" });
  const rows = () => tableRows(spark, source, scenario.connection);
  await settledSchema(source, rows);
  const onServer = async ({ keyspace, table }: CassandraTable, from: DataFrame, statement: RowStatement) => {
    const { cql, columns, idempotent, growingFrom } = statement;
    const options = {
      ...writeOptions({ keyspace, table }, scenario.connection, {}),
      operation: "execute",
      cql,
      idempotent,
    };
    await from
      .select([...columns])
      .write.format(SINK_FORMAT)
      .options(growingFrom === undefined ? options : { ...options, growingFrom: String(growingFrom) })
      .mode("append")
      .save();
  };
  const ways = {
    here: (table: CassandraTable, from: DataFrame, statement: RowStatement) =>
      executeFromHere(cassandra, table, from, statement),
    there: onServer,
  };
  for (const [name, execute] of Object.entries(ways)) {
    const table = await cassandra.table({ keyspace: KEYSPACE, table: name });
    const [row, partition] = [{ keys: ["p", "c"] }, { keys: ["p"] }];
    const once = rows().dropDuplicates(["p"]);
    await execute(table, rows(), updateStatement(table, { ...row, values: ["u", "t", "m", "n"] }, { ttl: 0 }));
    await execute(table, once, updateStatement(table, { ...partition, values: ["s"] }, { timestamp: 5_000n }));
    for (const timestamp of [5_000n, 6_000n, undefined, undefined]) {
      const times = timestamp === undefined ? {} : { timestamp };
      await execute(table, rows(), updateStatement(table, { ...row, values: ["l"] }, times, "lists"));
      await execute(table, once, updateStatement(table, { ...partition, values: ["tags"] }, times, "lists"));
    }
    expect(await scenario.rows(name), name).toEqual(await scenario.rows("written"));
    // What is older than the static column leaves it, what is younger doesn't.
    for (const [timestamp, s] of [
      [4_999n, "static"],
      [5_000n, null],
    ] as const) {
      await execute(table, once, deleteStatement(table, { ...partition, values: ["s"] }, { timestamp }));
      const { rows: found } = await cassandra.client.execute(
        `SELECT DISTINCT p, s FROM ${KEYSPACE}.${name} WHERE p = 7`,
      );
      expect(found.map((one) => one.s as unknown)).toEqual([s]);
    }
  }
});

test("keys of one type: by position in another order other rows would go", async () => {
  const name = { keyspace: KEYSPACE, table: "pairs" };
  await scenario.cassandra.execute(`CREATE TABLE ${KEYSPACE}.pairs (a text, b text, v int, PRIMARY KEY (b, a))`);
  for (const [a, b, v] of [
    ["x", "y", 1],
    ["y", "x", 2],
  ]) {
    await scenario.cassandra.execute(`INSERT INTO ${KEYSPACE}.pairs (a, b, v) VALUES ('${a}', '${b}', ${v})`);
  }
  await settledSchema(await scenario.cassandra.table(name), () => tableRows(spark, name, scenario.connection));
  const key = await spark.sql("SELECT 'x' AS a, 'y' AS b");
  await onExecutors("pairs", key, {});
  expect(await left("pairs")).toEqual([2]);
});

test("deletes and upserts keep to a rate over all tasks", async () => {
  const name = { keyspace: KEYSPACE, table: "paced" };
  await scenario.cassandra.execute(`CREATE TABLE ${KEYSPACE}.paced (v int PRIMARY KEY)`);
  await settledSchema(await scenario.cassandra.table(name), () => tableRows(spark, name, scenario.connection));
  const rows = spark.range(100).selectExpr("CAST(id AS INT) AS v").repartition(2);
  const options = writeOptions(name, scenario.connection, { rowsPerSecond: 50 });
  for (const [operation, count] of [
    ["upsert", 100],
    ["delete", 0],
  ] as const) {
    const start = performance.now();
    await rows.write
      .format(SINK_FORMAT)
      .options({ ...options, operation })
      .mode("append")
      .save();
    // The first row of each of the two tasks waits for nothing.
    expect(performance.now() - start).toBeGreaterThan((98 / 50) * 1000 * 0.95);
    expect(await left("paced")).toHaveLength(count);
  }
});
