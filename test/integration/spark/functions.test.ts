import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as f from "../../../lib/spark/functions/index.js";
import * as spark4 from "../../../lib/spark/functions/spark4.js";
import { Column, col, lit, type SparkSession, Timestamp, types, type Value } from "../../../lib/spark/index.js";
import { builder } from "./support.js";

let spark: SparkSession;
beforeAll(async () => {
  spark = await builder().config("spark.sql.session.timeZone", "UTC").getOrCreate();
});
afterAll(() => spark.close());

/** Exports that are no function of the server, or one that it resolves without listing it. */
const UNLISTED = new Set(["years", "months", "days", "hours", "bucket", "product"]);

/** The name that a function sends to the server, found by calling it; undefined when it is not a call by name. */
function serverName(candidate: unknown): string | undefined {
  const x = col("x");
  const fitting: readonly (readonly unknown[])[] = [
    [x, x, x, x, x, x],
    [x, "a", "b", "c"],
    [x, (a: Column) => a],
    [x, x, (a: Column, b: Column) => a.plus(b)],
    [x, lit(0), (a: Column, b: Column) => a.plus(b)],
    ["a", x, x],
    [x, {}],
    [1],
    [],
  ];
  for (const args of fitting) {
    try {
      const column: unknown = (candidate as (...values: unknown[]) => unknown)(...args);
      if (!(column instanceof Column)) return undefined;
      const { exprType } = column.expression;
      return exprType.case === "unresolvedFunction" ? exprType.value.functionName : undefined;
    } catch {
      // Not with these arguments.
    }
  }
  return undefined;
}

describe("functions", () => {
  it("has only names that the server knows", async () => {
    const listed = new Set((await (await spark.sql("SHOW FUNCTIONS")).collect()).map((row) => row.getString(0)));
    const newer = new Set(Object.keys(spark4));
    const names = Object.entries(f)
      .filter(([name]) => !newer.has(name) && !UNLISTED.has(name))
      .map(([name, value]) => [name, serverName(value)] as const);
    const called = names.filter(([, name]) => name !== undefined);
    expect(called.length).toBeGreaterThan(390);
    expect(called.filter(([, name]) => !listed.has(name ?? "") && name !== "when")).toEqual([]);
  });

  it("has every function of Spark 3.5 that takes columns", async () => {
    const exported = new Set([...Object.values(f).map(serverName), ...UNLISTED]);
    const builtIn = (await (await spark.sql("SHOW SYSTEM FUNCTIONS")).collect()).map((row) => row.getString(0) ?? "");
    // Operators and casts, which are methods of Column, and functions of SQL that Scala's `functions` leaves out too.
    const elsewhere =
      /^[^a-z]|^(and|or|not|in|like|case|between|mod|div|cast|boolean|tinyint|smallint|int|bigint|float|double|decimal|string|binary|date|timestamp|window|when|isnan)$/;
    const missing = builtIn.filter((name) => !exported.has(name) && !elsewhere.test(name));
    expect(missing.sort()).toEqual(MISSING);
  });

  const now = lit(Timestamp.parse("2026-03-01T10:20:30.123456Z"));
  const cases: readonly (readonly [string, Column, Value])[] = [
    ["concat_ws", f.concat_ws("-", lit("a"), lit(null), lit("b")), "a-b"],
    ["date_format", f.date_format(now, "yyyy/MM/dd HH:mm:ss.SSSSSS"), "2026/03/01 10:20:30.123456"],
    ["to_date", f.to_date(lit("01.03.2026"), "dd.MM.yyyy"), "2026-03-01"],
    ["to_timestamp", f.to_timestamp(lit("2026-03-01 10:00:00.342680")), Timestamp.parse("2026-03-01T10:00:00.342680Z")],
    ["unix_micros", f.unix_micros(now), 1772360430123456n],
    ["timestamp_micros", f.timestamp_micros(lit(1n)), new Timestamp(1n)],
    ["date_trunc", f.date_trunc("hour", now), Timestamp.parse("2026-03-01T10:00:00Z")],
    ["trunc", f.trunc(f.to_date(now), "year"), "2026-01-01"],
    ["date_add", f.date_add(f.to_date(now), 31), "2026-04-01"],
    ["add_months", f.add_months(f.to_date(now), -1), "2026-02-01"],
    ["from_utc_timestamp", f.from_utc_timestamp(now, "Europe/Berlin"), Timestamp.parse("2026-03-01T11:20:30.123456Z")],
    ["months_between", f.months_between(f.to_date(lit("2026-03-01")), f.to_date(lit("2026-01-01"))), 2],
    ["from_unixtime", f.from_unixtime(lit(0n)), "1970-01-01 00:00:00"],
    ["sha2", f.sha2(lit("abc"), 256), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"],
    ["md5", f.md5(lit("abc")), "900150983cd24fb0d6963f7d28e17f72"],
    ["round", f.round(lit(2.345), 2), 2.35],
    ["bround", f.bround(lit(2.5)), 2],
    ["conv", f.conv(lit("ff"), 16, 10), "255"],
    ["shiftleft", f.shiftleft(lit(1), 4), 16],
    ["log", f.log(2, lit(8)), 3],
    ["pow", f.pow(lit(2), lit(10)), 1024],
    ["lpad", f.lpad(lit("7"), 3, "0"), "007"],
    ["trim", f.trim(lit("xxaxx"), "x"), "a"],
    ["rtrim", f.rtrim(lit("a  ")), "a"],
    ["locate", f.locate("b", lit("abcb"), 3), 4],
    ["instr", f.instr(lit("abc"), "c"), 3],
    ["split", f.split(lit("a,b,c"), ",", 2), ["a", "b,c"]],
    ["regexp_extract", f.regexp_extract(lit("a12"), "([a-z])(\\d+)", 2), "12"],
    ["regexp_replace", f.regexp_replace(lit("a1b2"), "\\d", "#"), "a#b#"],
    ["substring_index", f.substring_index(lit("a.b.c"), ".", 2), "a.b"],
    ["overlay", f.overlay(lit("Spark SQL"), lit("_"), lit(6)), "Spark_SQL"],
    ["format_string", f.format_string("%d-%s", lit(1), lit("x")), "1-x"],
    ["format_number", f.format_number(lit(12345.678), 1), "12,345.7"],
    ["translate", f.translate(lit("abc"), "ab", "x"), "xc"],
    ["coalesce", f.coalesce(lit(null), lit(2)), 2],
    ["nvl2", f.nvl2(lit(null), lit(1), lit(2)), 2],
    ["greatest", f.greatest(lit(1), lit(3), lit(2)), 3],
    ["array_contains", f.array_contains(f.array(lit(1), lit(2)), 2), true],
    ["array_join", f.array_join(f.array(lit("a"), lit(null)), "-", "?"), "a-?"],
    ["array_position", f.array_position(f.array(lit("a"), lit("b")), "b"), 2n],
    ["slice", f.slice(f.array(lit(1), lit(2), lit(3)), 2, 2), [2, 3]],
    ["sort_array", f.sort_array(f.array(lit(1), lit(3), lit(2)), false), [3, 2, 1]],
    ["sequence", f.sequence(lit(1), lit(3)), [1, 2, 3]],
    ["element_at", f.element_at(f.create_map(lit("k"), lit(5)), "k"), 5],
    ["map_from_arrays", f.map_from_arrays(f.array(lit("k")), f.array(lit(1))), new Map([["k", 1]])],
    [
      "to_json",
      f.to_json(f.struct(lit(1).as("a"), lit(null).as("b")), { ignoreNullFields: "false" }),
      '{"a":1,"b":null}',
    ],
    ["from_json", f.from_json(lit('{"a": 7}'), types.struct([types.field("a", types.bigint)])).getField("a"), 7n],
    ["from_json by DDL", f.from_json(lit("[1, 2]"), "array<int>"), [1, 2]],
    ["get_json_object", f.get_json_object(lit('{"a": {"b": 1}}'), "$.a.b"), "1"],
    ["to_csv", f.to_csv(f.struct(lit(1).as("a"), lit("x").as("b")), { sep: ";" }), "1;x"],
    ["from_csv", f.from_csv(lit("1|x"), "a INT, b STRING", { sep: "|" }).getField("b"), "x"],
    ["typeof", f.typeof(lit(1n)), "bigint"],
    ["hex", f.hex(lit(255)), "FF"],
    ["encode", f.encode(lit("a"), "UTF-8"), new Uint8Array([97])],
    ["assert_true", f.assert_true(lit(true)), null],
    ["callFunction", f.callFunction("upper", lit("a")), "A"],
    ["expr", f.expr("1 + 1"), 2],
  ];

  it.each(cases)("%s", async (_name, column, expected) => {
    const row = await spark.range(1).select(column.as("v")).first();
    expect(row?.get("v")).toStrictEqual(expected);
  });

  it("aggregates with literal arguments", async () => {
    const df = spark.range(1, 101, 1, 1);
    const values = async (...columns: Column[]) => (await df.agg(...columns).first())?.toArray() ?? [];
    expect(
      await values(
        f.percentile_approx("id", 0.5),
        f.first("id"),
        f.last(f.when(col("id").lt(50), col("id")), true),
        f.last(f.when(col("id").lt(50), col("id"))),
        f.product(lit(2)),
        f.count_if(col("id").gt(90)),
        f.sort_array(f.collect_set(col("id").mod(3))),
      ),
    ).toEqual([50n, 1n, 49n, null, 2 ** 100, 10n, [0n, 1n, 2n]]);
    const [approximate, sum, distinct] = await values(
      f.approx_count_distinct("id", 0.01),
      f.sum_distinct(col("id").mod(3)),
      f.count_distinct(col("id").mod(3), col("id").mod(2)),
    );
    expect(Math.abs(Number(approximate) - 100)).toBeLessThanOrEqual(3);
    expect([sum, distinct]).toEqual([3n, 6n]);
  });

  it("makes windows of time", async () => {
    const df = (
      await spark.createDataFrame(
        [["2026-03-01T10:03:00Z"], ["2026-03-01T10:07:00Z"], ["2026-03-01T10:12:00Z"]],
        "ts TIMESTAMP",
      )
    )
      .groupBy(f.window("ts", "10 minutes"))
      .count()
      .select("window.start", "count")
      .orderBy("start");
    expect((await df.collect()).map((row) => row.toArray())).toEqual([
      [Timestamp.parse("2026-03-01T10:00:00Z"), 2n],
      [Timestamp.parse("2026-03-01T10:10:00Z"), 1n],
    ]);
  });
});

/** Synonyms that go to the server under their other name, table functions, and what `when` and `repeat` do. */
const MISSING = ["dateadd", "if", "pow", "random", "range", "reduce", "space", "sql_keywords"];
