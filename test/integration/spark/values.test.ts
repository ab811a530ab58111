import { tableFromIPC } from "apache-arrow";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  DayTimeInterval,
  Decimal,
  type InputRow,
  LocalTimestamp,
  lit,
  Row,
  type SparkSession,
  type StructType,
  simpleString,
  Timestamp,
  types,
  type Value,
  YearMonthInterval,
} from "../../../lib/spark/index.js";
import { builder } from "./support.js";

let spark: SparkSession;
beforeAll(async () => {
  spark = await builder().config("spark.sql.session.timeZone", "America/New_York").getOrCreate();
});
afterAll(() => spark.close());

/** SQL for a value, its type, and what it must be here. */
const cases: readonly (readonly [string, string, Value])[] = [
  ["true", "boolean", true],
  ["CAST(-128 AS TINYINT)", "tinyint", -128],
  ["CAST(32767 AS SMALLINT)", "smallint", 32767],
  ["-2147483648", "int", -2147483648],
  ["9223372036854775807L", "bigint", 9223372036854775807n],
  ["CAST('-9223372036854775808' AS BIGINT)", "bigint", -9223372036854775808n],
  ["CAST('1.5' AS FLOAT)", "float", 1.5],
  ["CAST('0.1' AS FLOAT)", "float", Math.fround(0.1)],
  ["CAST('0.1' AS DOUBLE)", "double", 0.1],
  ["CAST('NaN' AS DOUBLE)", "double", Number.NaN],
  ["CAST('-Infinity' AS FLOAT)", "float", Number.NEGATIVE_INFINITY],
  ["CAST('-0.0' AS DOUBLE)", "double", -0],
  ["CAST('519.5' AS DECIMAL(10,3))", "decimal(10,3)", "519.500"],
  ["CAST('-0.05' AS DECIMAL(4,2))", "decimal(4,2)", "-0.05"],
  [
    "CAST('-99999999999999999999.999999999999999999' AS DECIMAL(38,18))",
    "decimal(38,18)",
    "-99999999999999999999.999999999999999999",
  ],
  ["CAST('99999999999999999999999999999999999999' AS DECIMAL(38,0))", "decimal(38,0)", "9".repeat(38)],
  ["''", "string", ""],
  ["'größe 😀 \\u0001'", "string", "größe 😀 \u0001"],
  ["X''", "binary", new Uint8Array()],
  ["X'00FF10'", "binary", new Uint8Array([0, 255, 16])],
  ["DATE'0001-01-01'", "date", "0001-01-01"],
  ["DATE'9999-12-31'", "date", "9999-12-31"],
  ["DATE'1969-12-31'", "date", "1969-12-31"],
  ["TIMESTAMP'2026-03-01T10:00:00.342680Z'", "timestamp", Timestamp.parse("2026-03-01T10:00:00.342680Z")],
  ["TIMESTAMP'9999-12-31T23:59:59.999999Z'", "timestamp", Timestamp.parse("9999-12-31T23:59:59.999999Z")],
  ["TIMESTAMP'1969-12-31T23:59:59.999999Z'", "timestamp", new Timestamp(-1n)],
  ["TIMESTAMP_NTZ'2026-03-08T02:30:00.000001'", "timestamp_ntz", LocalTimestamp.parse("2026-03-08T02:30:00.000001")],
  ["INTERVAL '-1 02:03:04.5' DAY TO SECOND", "interval day to second", new DayTimeInterval(-93_784_500_000n)],
  ["INTERVAL '3' HOUR", "interval hour", new DayTimeInterval(10_800_000_000n)],
  ["ARRAY(INTERVAL '2' YEAR)", "array<interval year>", [new YearMonthInterval(24)]],
  ["INTERVAL '-1-2' YEAR TO MONTH", "interval year to month", new YearMonthInterval(-14)],
  ["ARRAY(1, NULL, 3)", "array<int>", [1, null, 3]],
  ["CAST(ARRAY() AS ARRAY<STRING>)", "array<string>", []],
  ["ARRAY(ARRAY(1L), NULL, ARRAY())", "array<array<bigint>>", [[1n], null, []]],
  [
    "MAP('a', 1L, 'b', NULL)",
    "map<string,bigint>",
    new Map<Value, Value>([
      ["a", 1n],
      ["b", null],
    ]),
  ],
  [
    "MAP(1, MAP('x', ARRAY(DATE'2026-01-01')))",
    "map<int,map<string,array<date>>>",
    new Map([[1, new Map([["x", ["2026-01-01"]]])]]),
  ],
];

const structs = [
  "NAMED_STRUCT('x', 1, 'x', 'again', 'y', NAMED_STRUCT('z', CAST(NULL AS DOUBLE)))",
  "ARRAY(NAMED_STRUCT('a', 1L), NULL)",
];

describe("reading", () => {
  it.each(cases)("%s is exact", async (sql, type, expected) => {
    const df = await spark.sql(`SELECT ${sql} AS v, CAST(NULL AS ${type}) AS n`);
    const [row] = await df.collect();
    expect(row?.get("v")).toStrictEqual(expected);
    expect(row?.get("n")).toBeNull();
    expect(simpleString((await df.schema()).fields[0]?.dataType ?? types.void)).toBe(type);
  });

  it("keeps structs in order, names repeated", async () => {
    const [row] = await (await spark.sql(`SELECT ${structs[0]} AS s, ${structs[1]} AS l`)).collect();
    const struct = row?.getStruct("s");
    expect(struct?.schema.fields.map((field) => field.name)).toEqual(["x", "x", "y"]);
    expect(struct?.toArray().slice(0, 2)).toEqual([1, "again"]);
    expect(struct?.getStruct("y")?.get("z")).toBeNull();
    const list = row?.get("l") as readonly Value[];
    expect((list[0] as Row).toArray()).toEqual([1n]);
    expect(list[1]).toBeNull();
  });

  it("keeps columns of one name apart", async () => {
    const [row] = await (await spark.sql("SELECT 1 AS a, 'x' AS a, NULL AS b")).collect();
    expect(row?.toArray()).toEqual([1, "x", null]);
  });

  it("has the schema of an empty result, and no rows", async () => {
    const df = await spark.sql("SELECT 1 AS a, 'x' AS b WHERE false");
    expect(await df.collect()).toEqual([]);
    expect(await df.columns()).toEqual(["a", "b"]);
    expect(await df.isEmpty()).toBe(true);
  });

  it("says of a calendar interval, which Spark can't send, that it is not supported", async () => {
    await expect(spark.sql("SELECT make_interval(1, 2, 3) AS i")).rejects.toMatchObject({
      code: "UNSUPPORTED_DATATYPE",
    });
    const [row] = await (await spark.sql("SELECT CAST(make_interval(1, 2, 3) AS STRING) AS i")).collect();
    expect(row?.get("i")).toBe("1 years 2 months 21 days");
  });

  it("gives Arrow that apache-arrow reads the same", async () => {
    const df = spark.range(0, 1000, 1, 3);
    let sum = 0n;
    let batches = 0;
    for await (const ipc of df.toArrow()) {
      batches += 1;
      for (const value of tableFromIPC(ipc).getChildAt(0) ?? []) sum += value as bigint;
    }
    expect(sum).toBe(499_500n);
    expect(batches).toBeGreaterThanOrEqual(1);
  });
});

describe("createDataFrame", () => {
  const roundTrip = async (rows: readonly InputRow[], schema: StructType): Promise<Value[][]> => {
    const df = await spark.createDataFrame(rows, schema);
    expect(await df.schema()).toEqual(schema);
    return (await df.collect()).map((row) => row.toArray());
  };

  it.each(cases)("%s comes back as it went", async (sql, _type, expected) => {
    const source = await spark.sql(`SELECT ${sql} AS v`);
    const [field] = (await source.schema()).fields;
    const schema = types.struct([types.field("v", field?.dataType ?? types.void)]);
    expect(await roundTrip([{ v: expected }, { v: null }, [expected]], schema)).toStrictEqual([
      [expected],
      [null],
      [expected],
    ]);
    // Not only the same here: also what Spark's own literal is.
    const sent = await spark.createDataFrame([{ v: expected }], schema);
    const [same] = await sent
      .join(source.toDF("w"))
      .selectExpr("CAST(v AS STRING) <=> CAST(w AS STRING) AS same")
      .collect();
    expect(same?.get("same")).toBe(true);
  });

  it("takes DDL, which the server reads, and structs as objects, arrays or rows", async () => {
    const inner = types.struct([types.field("x", types.int, false), types.field("y", types.string)]);
    const rows = [
      { id: 1, s: { x: 1, y: "a" } },
      { id: 2n, s: [2, null] },
      { id: 3, s: new Row(inner, [3, "c"]) },
      { id: 4, s: null },
    ];
    const df = await spark.createDataFrame(rows, "id BIGINT NOT NULL, s STRUCT<x: INT NOT NULL, y: STRING>");
    expect((await df.orderBy("id").selectExpr("id", "s.x", "s.y").collect()).map((row) => row.toArray())).toEqual([
      [1n, 1, "a"],
      [2n, 2, null],
      [3n, 3, "c"],
      [4n, null, null],
    ]);
    expect((await df.schema()).fields[0]?.nullable).toBe(false);
  });

  it("sends every row of many, across bitmap and batch bounds", async () => {
    const rows = Array.from({ length: 20_011 }, (_, i) => ({
      id: i,
      even: i % 2 === 0,
      text: i % 3 === 0 ? null : `row ${i}`,
      list: i % 5 === 0 ? null : Array.from({ length: i % 4 }, (_, j) => i + j),
    }));
    const df = await spark.createDataFrame(rows, "id INT, even BOOLEAN, text STRING, list ARRAY<INT>");
    const back = await df.collect();
    expect(back).toHaveLength(rows.length);
    expect(back.map((row) => row.toObject())).toEqual(rows);
  });

  it("sends no rows at all", async () => {
    const df = await spark.createDataFrame([], "id INT, m MAP<STRING, ARRAY<STRUCT<x: INT>>>");
    expect(await df.count()).toBe(0);
    expect(await df.dtypes()).toEqual([
      ["id", "int"],
      ["m", "map<string,array<struct<x:int>>>"],
    ]);
  });

  it("is read by apache-arrow", async () => {
    const { encodeRows } = await import("../../../lib/spark/arrow/encode.js");
    const schema = types.struct([types.field("s", types.string), types.field("n", types.decimal(38, 2))]);
    const table = tableFromIPC(
      encodeRows(
        [
          ["a", "1.50"],
          [null, null],
        ],
        schema,
      ),
    );
    expect([...(table.getChildAt(0) ?? [])]).toEqual(["a", null]);
    expect(String(table.getChildAt(1)?.get(0))).toBe("150");
    expect(table.batches).toHaveLength(1);
  });

  it.each([
    [{ v: 1.5 }, types.int, "Row 1: a number does not fit v, a int"],
    [{ v: 2 ** 31 }, types.int, "Row 1: a number does not fit v"],
    [{ v: 2n ** 63n }, types.bigint, "Row 1: a bigint does not fit v"],
    [{ v: 2 ** 53 }, types.bigint, "Row 1: a number does not fit v"],
    [{ v: "1.005" }, types.decimal(10, 2), "Row 1: a string does not fit v, a decimal(10,2)"],
    [{ v: 0.1 }, types.decimal(10, 2), "Row 1: a number does not fit v"],
    [{ v: "2026-02-30" }, types.date, "Row 1: a string does not fit v"],
    [{ v: 1 }, types.string, "Row 1: a number does not fit v"],
    [{ v: ["a", 1] }, types.array(types.string), "a number does not fit v.element"],
    [{ v: "secret" }, types.struct([]), "Row 1: a string does not fit v"],
  ])("refuses %o for %o", async (row, type, message) => {
    await expect(spark.createDataFrame([{ v: null }, row], types.struct([types.field("v", type)]))).rejects.toThrow(
      message,
    );
  });

  it("refuses NULL where there can't be one, without telling the value of others", async () => {
    const schema = types.struct([types.field("v", types.int, false)]);
    await expect(spark.createDataFrame([{ v: 1 }, {}], schema)).rejects.toThrow(
      "Row 1: v is NOT NULL and has no value",
    );
  });
});

describe("literals", () => {
  const literals: readonly (readonly [Parameters<typeof lit>[0], string, Value])[] = [
    [null, "void", null],
    [true, "boolean", true],
    [1, "int", 1],
    [3e9, "bigint", 3_000_000_000n],
    [0.5, "double", 0.5],
    [2 ** 60, "double", 2 ** 60],
    [-0, "double", -0],
    [7n, "bigint", 7n],
    ["it's", "string", "it's"],
    [new Uint8Array([1, 2]), "binary", new Uint8Array([1, 2])],
    [new Date("2026-03-01T10:00:00.123Z"), "timestamp", Timestamp.parse("2026-03-01T10:00:00.123Z")],
    [Timestamp.parse("2026-03-01T10:00:00.342680Z"), "timestamp", Timestamp.parse("2026-03-01T10:00:00.342680Z")],
    [
      LocalTimestamp.parse("2026-03-01T10:00:00.342680"),
      "timestamp_ntz",
      LocalTimestamp.parse("2026-03-01T10:00:00.342680"),
    ],
    [new Decimal("519.500"), "decimal(6,3)", "519.500"],
    [new Decimal("-0.05"), "decimal(2,2)", "-0.05"],
    [new DayTimeInterval(1n), "interval day to second", new DayTimeInterval(1n)],
    [new YearMonthInterval(14), "interval year to month", new YearMonthInterval(14)],
    [[1, 2], "array<int>", [1, 2]],
    [[1, 3e9], "array<bigint>", [1n, 3_000_000_000n]],
    [["a"], "array<string>", ["a"]],
  ];

  it.each(literals)("%o is %s on the server", async (value, type, expected) => {
    const df = spark.range(1).select(lit(value).as("v"));
    expect(await df.dtypes()).toEqual([["v", type]]);
    expect((await df.first())?.get("v")).toStrictEqual(expected);
  });

  it("takes the type that it is given", async () => {
    const df = spark
      .range(1)
      .select(lit("2026-03-01", types.date).as("d"), lit(1, types.tinyint).as("t"), lit(null, types.string).as("n"));
    expect(await df.dtypes()).toEqual([
      ["d", "date"],
      ["t", "tinyint"],
      ["n", "string"],
    ]);
  });

  it("binds arguments of SQL", async () => {
    const text = "'; DROP TABLE x; --";
    const named = await spark.sql("SELECT :a AS a, :b AS b, :t AS t", { a: text, b: 7n, t: new Timestamp(1n) });
    expect((await named.first())?.toArray()).toEqual([text, 7n, new Timestamp(1n)]);
    const positional = await spark.sql("SELECT ? AS a, ? AS b", ["x", null]);
    expect((await positional.first())?.toArray()).toEqual(["x", null]);
  });
});
