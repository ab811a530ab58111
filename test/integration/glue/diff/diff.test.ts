import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  applyDiff,
  type DiffOptions,
  diff,
  duplicateKeys,
  isDuplicateKey,
  requireUniqueKeys,
} from "../../../../lib/glue/diff/index.js";
import * as f from "../../../../lib/spark/functions/index.js";
import {
  type Column,
  type DataFrame,
  type DataType,
  type SparkSession,
  types as sparkTypes,
} from "../../../../lib/spark/index.js";
import { builder } from "../../spark/support.js";

let spark: SparkSession;
beforeAll(async () => {
  // Small data on a busy machine: tasks are what takes time.
  spark = await builder().config("spark.sql.shuffle.partitions", "1").getOrCreate();
});
afterAll(() => spark.close());

/** A table of SQL values. */
const table = (columns: string, ...rows: readonly string[]): Promise<DataFrame> =>
  spark.sql(`SELECT * FROM VALUES ${rows.map((row) => `(${row})`).join(", ")} AS t(${columns})`);

async function rowsOf(left: DataFrame, right: DataFrame, options: DiffOptions): Promise<readonly object[]> {
  const { rows, schemas } = await diff(left, right, options);
  const ordered = rows.orderBy(...schemas.keys.map(({ name }) => `\`${name}\``));
  return (await ordered.collect()).map((row) => row.toObject());
}

describe("kinds", () => {
  test("inserted, changed, deleted, unchanged", async () => {
    const left = await table("id, v", "1, 'a'", "2, 'b'", "3, 'c'", "4, NULL", "5, 'x'");
    const right = await table("id, v", "2, 'b'", "3, 'd'", "4, ''", "5, NULL", "6, 'f'");
    expect(await rowsOf(left, right, { keys: ["id"] })).toEqual([
      { diff: "D", id: 1, left_v: "a", right_v: null },
      { diff: "C", id: 3, left_v: "c", right_v: "d" },
      { diff: "C", id: 4, left_v: null, right_v: "" },
      { diff: "C", id: 5, left_v: "x", right_v: null },
      { diff: "I", id: 6, left_v: null, right_v: "f" },
    ]);
    expect(await rowsOf(left, right, { keys: ["ID"], unchanged: "keep", values: "right" })).toEqual([
      { diff: "D", id: 1, right_v: null },
      { diff: "N", id: 2, right_v: "b" },
      { diff: "C", id: 3, right_v: "d" },
      { diff: "C", id: 4, right_v: "" },
      { diff: "C", id: 5, right_v: null },
      { diff: "I", id: 6, right_v: "f" },
    ]);
  });

  test("names, labels, changed and ignored columns", async () => {
    const left = await table("id, a, b, at", "1, 1, 1, 1", "2, 1, 1, 1", "3, 1, 1, 1", "4, 1, 1, 1");
    const right = await table("id, a, b, at", "1, 2, NULL, 1", "2, 1, 1, 2", "3, 1, 5, 2", "5, 1, 1, 1");
    const options: DiffOptions = {
      keys: ["id"],
      ignore: ["AT"],
      diffColumn: "op",
      changeColumn: "what",
      leftPrefix: "old",
      rightPrefix: "new",
      labels: { insert: "+", delete: "-", change: "~", unchanged: "=" },
      unchanged: "keep",
    };
    expect(await rowsOf(left, right, options)).toEqual([
      { op: "~", what: ["a", "b"], id: 1, old_a: 1, new_a: 2, old_b: 1, new_b: null, old_at: 1, new_at: 1 },
      { op: "=", what: [], id: 2, old_a: 1, new_a: 1, old_b: 1, new_b: 1, old_at: 1, new_at: 2 },
      { op: "~", what: ["b"], id: 3, old_a: 1, new_a: 1, old_b: 1, new_b: 5, old_at: 1, new_at: 2 },
      { op: "-", what: null, id: 4, old_a: 1, new_a: null, old_b: 1, new_b: null, old_at: 1, new_at: null },
      { op: "+", what: null, id: 5, old_a: null, new_a: 1, old_b: null, new_b: 1, old_at: null, new_at: 1 },
    ]);
  });

  test("several keys, NULL, NaN, -0.0 and binary in them; no key at all", async () => {
    const left = await table(
      "a, d, x, v",
      "1, double('NaN'), X'00', 1",
      "NULL, -0.0d, X'', 1",
      "NULL, NULL, NULL, 1",
      "2, 1.0d, X'01', 1",
    );
    const right = await table(
      "a, d, x, v",
      "1, double('NaN'), X'00', 1",
      "NULL, 0.0d, X'', 2",
      "NULL, NULL, NULL, 1",
      "2, 1.0d, X'02', 1",
    );
    const found = await rowsOf(left, right, { keys: ["a", "d", "x"] });
    expect(found).toMatchObject([
      { diff: "C", a: null, left_v: 1, right_v: 2 },
      { diff: "D", a: 2, x: new Uint8Array([1]) },
      { diff: "I", a: 2, x: new Uint8Array([2]) },
    ]);
    const bags = (await rowsOf(left, right, { keys: [] })).map((row) => (row as { diff: string }).diff);
    expect(bags.toSorted()).toEqual(["D", "D", "I", "I"]);
  });
});

/** Both values, and whether they are the same. */
const VALUES: readonly (readonly [string, string, boolean])[] = [
  ["double('NaN')", "double('NaN')", true],
  ["-0.0d", "0.0d", true],
  ["NULL", "0", false],
  ["NULL", "NULL", true],
  ["''", "CAST(NULL AS STRING)", false],
  ["X''", "X''", true],
  ["X'00'", "X'0000'", false],
  ["1.10bd", "1.1bd", true],
  ["array(double('NaN'), -0.0d)", "array(double('NaN'), 0.0d)", true],
  ["array(1, NULL)", "array(1)", false],
  ["array(1, 2)", "array(2, 1)", false],
  ["array()", "CAST(NULL AS ARRAY<VOID>)", false],
  ["struct(NULL AS a)", "CAST(NULL AS STRUCT<a: VOID>)", false],
  ["struct(double('NaN') AS a)", "struct(double('NaN') AS a)", true],
  ["map('a', 1, 'b', 2)", "map('b', 2, 'a', 1)", true],
  ["map('a', 1)", "map('a', NULL)", false],
  ["map('a', map('x', 1, 'y', 2))", "map('a', map('y', 2, 'x', 1))", true],
  ["array(struct(map(1, 'x', 2, 'y') AS m))", "array(struct(map(2, 'y', 1, 'x') AS m))", true],
  ["array(struct(map(1, 'x') AS m))", "array(struct(map(1, 'z') AS m))", false],
  ["make_interval(0, 1)", "make_interval(0, 0, 4, 2)", false],
  ["timestamp_micros(1)", "timestamp_micros(2)", false],
  ["1", "1L", true],
  ["16777217", "float(16777216)", false],
];

test("values of every kind, all of them in one row", async () => {
  const side = (which: 0 | 1) =>
    spark.range(1).select(f.col("id"), ...VALUES.map((pair, index) => f.expr(pair[which]).as(`v${index}`)));
  const { rows } = await diff(side(0), side(1), { keys: ["id"], changeColumn: "what" });
  const [row, ...others] = await rows.select("what").collect();
  expect(others).toEqual([]);
  const found = row?.get("what") as readonly string[];
  expect(VALUES.map(([a, b], index) => [a, b, !found.includes(`v${index}`)])).toEqual(VALUES);
});

test("values as they are stored: the same text is the same, another text may be", async () => {
  const types: Readonly<Record<string, DataType>> = { id: sparkTypes.int, d: sparkTypes.double };
  const map = sparkTypes.map(sparkTypes.string, sparkTypes.int);
  const decode = (value: Column, name: string) =>
    name === "m" ? f.from_json(value, map) : value.cast(types[name] ?? sparkTypes.string);
  const decoded = async (side: DataFrame) => ({
    rows: side.select(...(await side.columns()).map((name) => decode(f.col(name), name).as(name))),
    stored: { rows: side, decode },
  });
  const left = await decoded(
    await table("id, d, t", "'1', '0.0', 'a'", "'2', '5', 'a'", "'3', 'NaN', NULL", "'4', '1', 'a'", "'5', NULL, ''"),
  );
  // A column that came, of a type that `<=>` does not compare.
  const right = await decoded(
    await table(
      "id, d, t, m",
      "'01', '-0.0', 'a', NULL",
      "'2', '5', 'b', NULL",
      "'3', 'NaN', NULL, NULL",
      "'4', '1.5', 'a', NULL",
      "'6', '7', 'c', '{\"a\": 1}'",
    ),
  );
  const found = await diff(left.rows, right.rows, { keys: ["id"] }, { stored: { l: left.stored, r: right.stored } });
  expect((await found.rows.orderBy("id").collect()).map((row) => row.toObject())).toEqual([
    { diff: "C", id: 2, left_d: 5, right_d: 5, left_t: "a", right_t: "b", left_m: null, right_m: null },
    { diff: "C", id: 4, left_d: 1, right_d: 1.5, left_t: "a", right_t: "a", left_m: null, right_m: null },
    { diff: "D", id: 5, left_d: null, right_d: null, left_t: "", right_t: null, left_m: null, right_m: null },
    {
      diff: "I",
      id: 6,
      left_d: null,
      right_d: 7,
      left_t: null,
      right_t: "c",
      left_m: null,
      right_m: new Map([["a", 1]]),
    },
  ]);
});

describe("schemas", () => {
  test("columns named like what the result adds, odd names", async () => {
    const columns = "`left_x`, `diff`, `x`, `copyright_year`, `right_copyright_year`, `a.b``c`";
    const left = await table(columns, "1, 'd', 'x', 1999, 2000, 5");
    const right = await table(columns, "1, 'd', 'y', 1998, 2000, 6");
    expect(await rowsOf(left, right, { keys: ["left_x", "diff"] })).toEqual([
      {
        diff_: "C",
        left_x: 1,
        diff: "d",
        left__x: "x",
        right_x: "y",
        left__copyright_year: 1999,
        right_copyright_year: 1998,
        left__right_copyright_year: 2000,
        right_right_copyright_year: 2000,
        "left__a.b`c": 5,
        "right_a.b`c": 6,
      },
    ]);
  });

  test("a column that came or went counts as NULL; wider types are no change, inside of nested values either", async () => {
    const left = await spark.sql("SELECT 1 AS id, 5 AS n, array(struct(1 AS a)) AS s, map(1, 1) AS m, 'x' AS gone");
    const right = await spark.sql(
      "SELECT 1L AS id, 5L AS n, array(struct(NULL AS b, 1L AS a)) AS s, map(1L, 1L) AS m, CAST(NULL AS INT) AS come",
    );
    const all = await diff(left, right, { keys: ["id"], changeColumn: "what" });
    expect((await all.rows.collect()).map((row) => row.get("what"))).toEqual([["gone"]]);
    expect(all.schemas.differences).toEqual({
      added: ["come"],
      dropped: ["gone"],
      widened: [
        "id: int, now bigint",
        "n: int, now bigint",
        "s: array<struct<a:int>>, now array<struct<b:void,a:bigint>>",
        "m: map<int,int>, now map<bigint,bigint>",
      ],
    });
    expect(await (await diff(left.drop("gone"), right, { keys: ["id"] })).rows.collect()).toEqual([]);
  });

  test("300 columns", async () => {
    const columns = Array.from({ length: 300 }, (_, index) => `c${index}`);
    const select = (last: number) =>
      spark.sql(`SELECT id, ${columns.map((name, i) => `id + ${i === 299 ? last : i} AS ${name}`)} FROM range(3)`);
    const { rows } = await diff(await select(1), await select(2), { keys: ["id"], changeColumn: "what" });
    expect((await rows.select("diff", "what").collect()).map((row) => row.toArray())).toEqual(
      Array.from({ length: 3 }, () => ["C", ["c299"]]),
    );
  });
});

describe("keys that are not unique", () => {
  test("are found, counted, and named", async () => {
    const rows = await table(
      "a, d, v",
      "1, 0.0d, 1",
      "1, -0.0d, 2",
      "1, 0.0d, 3",
      "NULL, double('NaN'), 1",
      "NULL, double('NaN'), 2",
      "2, NULL, 1",
      "NULL, 2.0d, 1",
    );
    expect(await duplicateKeys(rows, ["a", "d"])).toEqual({
      keys: 2,
      surplus: 3,
      examples: [
        { key: { a: "1", d: "0.0" }, rows: 3 },
        { key: { a: null, d: "NaN" }, rows: 2 },
      ],
    });
    await expect(requireUniqueKeys(rows, ["a", "d"], "the past export")).rejects.toMatchObject({
      code: "DUPLICATE_KEYS",
      message: "2 keys have more than one row in the past export",
      problems: ["a = 1, d = 0.0: 3 rows", "a = NULL, d = NaN: 2 rows"],
    });
  });

  test("fail the query where they are met, in either side, with no exchange more; NULL is a key like others", async () => {
    const columns = "s, n, at, day, raw, v";
    const unlike = [
      "'', 0, timestamp_seconds(0), DATE'1970-01-01', X'', 1",
      "NULL, 0, timestamp_seconds(0), DATE'1970-01-01', X'', 2",
      "'', CAST(NULL AS TINYINT), timestamp_seconds(0), DATE'1970-01-01', X'', 3",
      "'', 0, CAST(NULL AS TIMESTAMP), DATE'1970-01-01', X'', 4",
      "'', 0, timestamp_seconds(0), CAST(NULL AS DATE), X'', 5",
      "'', 0, timestamp_seconds(0), DATE'1970-01-01', CAST(NULL AS BINARY), 6",
      "NULL, NULL, NULL, NULL, NULL, 7",
    ];
    const keys = ["s", "n", "at", "day", "raw"];
    const left = await table(columns, ...unlike);
    const right = left.withColumn("v", f.expr("IF(v = 7, 8, v)")).where("v <> 1");
    const options: DiffOptions = { keys, duplicates: "fail" };
    const found = await diff(left, right, options);
    expect(found.failsOnDuplicates).toBe(true);
    const nothing = { s: null, n: null, at: null, day: null, raw: null };
    const rows = (await found.rows.orderBy("diff").collect()).map((row) => row.toObject());
    expect(rows).toMatchObject([
      { diff: "C", ...nothing, left_v: 7, right_v: 8 },
      { diff: "D", s: "", n: 0, left_v: 1, right_v: null },
    ]);
    const exchanges = async (duplicates: "pair" | "fail") => {
      // As files have them: every column can be NULL.
      const big = (v: number) =>
        spark.range(1000).selectExpr("IF(id = 5, NULL, id) AS a", "IF(id = 5, NULL, concat(id)) AS b", `${v} AS v`);
      const plan = await (await diff(big(1), big(2), { keys: ["a", "b"], duplicates })).rows.explain();
      return plan.match(/Exchange hashpartitioning/g)?.length;
    };
    expect([await exchanges("fail"), await exchanges("pair")]).toEqual([2, 2]);

    const twice = (row: string) => left.union(left.where(row));
    for (const [a, b] of [
      [twice("v = 3"), right],
      [left, twice("v = 7")],
      [twice("v = 1"), right],
      [left.where("v = 2"), twice("v = 5")],
    ] as const) {
      const failing = (await diff(a, b, options)).rows;
      const error: unknown = await failing.count().catch((reason: unknown) => reason);
      expect(isDuplicateKey(error), String(error)).toBe(true);
    }
  });

  test("hashes that are equal by chance, as xxhash64 skips NULL, are no duplicates", async () => {
    const rows = await table("a, b", "'x', NULL", "NULL, 'x'");
    expect(await duplicateKeys(rows, ["a", "b"])).toEqual({ keys: 0, surplus: 0, examples: [] });
    await requireUniqueKeys(rows, ["a", "b"], "it");
  });
});

/** Rows as text that is equal for equal rows, in an order that is, too. */
async function contents(rows: DataFrame): Promise<readonly string[]> {
  const columns = (await rows.columns()).toSorted();
  const found = await rows.select(columns.map((name) => `\`${name}\``)).collect();
  return found.map((row) => JSON.stringify(row.toArray().map(inWords))).toSorted();
}

function inWords(value: unknown): unknown {
  if (value instanceof Map) return [...value].map((entry) => JSON.stringify(entry.map(inWords))).toSorted();
  if (Array.isArray(value)) return value.map(inWords);
  if (typeof value === "bigint" || Object.is(value, Number.NaN)) return String(value);
  if (typeof value === "object" && value !== null && value.constructor === Object) {
    return Object.entries(value).map(([name, field]) => [name, inWords(field)]);
  }
  return value === 0 ? 0 : value;
}

const SEEDS = Array.from({ length: 2 }, (_, index) => (Date.now() % 1_000_000) + index);

test.each(SEEDS)("a diff applied to the old rows makes the new ones: random rows %i", async (seed) => {
  // A third of the rows has the same values in both parts.
  const random = (salt: number, below: number) =>
    `abs(xxhash64(id, ${seed}, ${salt}, IF(id % 3 = 0, 0, PART))) % ${below}`;
  const rows = (part: number) =>
    spark.sql(
      `SELECT * FROM (
      SELECT id % 20 AS k1, CASE WHEN id < 5 THEN NULL ELSE concat('k', id) END AS k2,
        CASE ${random(1, 4)} WHEN 0 THEN NULL WHEN 1 THEN double('NaN') WHEN 2 THEN -0.0d ELSE 1.5d END AS d,
        CASE WHEN ${random(2, 2)} = 0 THEN array(struct(${random(3, 2)} AS n, CAST(NULL AS STRING) AS s)) END AS nested,
        map(${random(4, 2)}, 'x', 7L, CAST(${random(5, 2)} AS STRING)) AS m,
        CAST(${random(6, 3)} AS DECIMAL(20, 5)) AS amount, CAST(CAST(${random(7, 2)} AS STRING) AS BINARY) AS raw
      FROM range(0, 60, 1, 1) WHERE ${random(8, 3)} > 0)`.replaceAll("PART", String(part)),
    );
  const [old, now] = [await rows(1), await rows(2)];
  const found = await diff(old, now, { keys: ["k1", "k2"] });
  const counts = await found.rows.groupBy("diff").count().collect();
  expect(counts.length).toBeGreaterThanOrEqual(2);
  const applied = applyDiff(old, found);
  expect(await contents(applied)).toEqual(await contents(now));
  expect(await contents(applyDiff(applied, found))).toEqual(await contents(now));
  expect(await (await diff(applied, now, { keys: ["k1", "k2"] })).rows.isEmpty()).toBe(true);
});
