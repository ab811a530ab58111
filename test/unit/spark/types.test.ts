import { describe, expect, it } from "vitest";
import {
  type DataType,
  SparkConnectError,
  sameType,
  schemaFromJson,
  simpleString,
  toDDL,
  treeString,
  typeFromJson,
  types,
  typeToJson,
} from "../../../lib/spark/index.js";
import { typeFromProto, typeToProto } from "../../../lib/spark/types/proto.js";

const everyType: readonly [DataType, string][] = [
  [types.void, "void"],
  [types.boolean, "boolean"],
  [types.tinyint, "tinyint"],
  [types.smallint, "smallint"],
  [types.int, "int"],
  [types.bigint, "bigint"],
  [types.float, "float"],
  [types.double, "double"],
  [types.string, "string"],
  [{ kind: "string", collation: "UNICODE_CI" }, "string collate UNICODE_CI"],
  [types.char(3), "char(3)"],
  [types.varchar(20), "varchar(20)"],
  [types.binary, "binary"],
  [types.date, "date"],
  [types.time(3), "time(3)"],
  [types.timestamp, "timestamp"],
  [types.timestampNtz, "timestamp_ntz"],
  [types.calendarInterval, "interval"],
  [types.variant, "variant"],
  [types.decimal(), "decimal(10,0)"],
  [types.decimal(38, 18), "decimal(38,18)"],
  [types.dayTimeInterval(), "interval day to second"],
  [types.dayTimeInterval(1, 1), "interval hour"],
  [types.yearMonthInterval(), "interval year to month"],
  [types.array(types.array(types.int, false)), "array<array<int>>"],
  [types.map(types.string, types.map(types.int, types.date, false)), "map<string,map<int,date>>"],
  [
    types.struct([types.field("a", types.int, false, { comment: "the a" }), types.field("b b", types.string)]),
    "struct<a:int,b b:string>",
  ],
];

describe("types", () => {
  it.each(everyType)("names %o as Spark does: %s", (type, text) => {
    expect(simpleString(type)).toBe(text);
  });

  it.each(everyType)("survives protobuf and JSON: %o", (type) => {
    expect(typeFromProto(typeToProto(type))).toEqual(type);
    expect(typeFromJson(JSON.parse(JSON.stringify(typeToJson(type))))).toEqual(type);
    expect(sameType(type, typeFromJson(typeToJson(type)), true)).toBe(true);
  });

  it("writes JSON with Spark's own names", () => {
    const schema = types.struct([types.field("id", types.bigint, false), types.field("p", types.decimal(12, 2))]);
    expect(typeToJson(schema)).toEqual({
      type: "struct",
      fields: [
        { name: "id", type: "long", nullable: false, metadata: {} },
        { name: "p", type: "decimal(12,2)", nullable: true, metadata: {} },
      ],
    });
    expect(schemaFromJson(typeToJson(schema))).toEqual(schema);
  });

  it.each([["float8"], [{}], [null], [7]])("refuses %o", (json) => {
    expect(() => typeFromJson(json)).toThrow(SparkConnectError);
  });

  it("refuses a schema that is no struct, and a server that forgets a type", () => {
    expect(() => schemaFromJson("long")).toThrow(SparkConnectError);
    expect(() => typeFromProto(undefined)).toThrow(SparkConnectError);
  });

  it("writes DDL that keeps odd names, NOT NULL and comments, nested too", () => {
    const schema = types.struct([
      types.field("id", types.bigint, false),
      types.field("odd `name`, x", types.struct([types.field("in:ner", types.int, false)])),
      types.field("c", types.map(types.string, types.decimal(3, 1)), true, { comment: "it's" }),
    ]);
    expect(toDDL(schema)).toBe(
      "`id` BIGINT NOT NULL,`odd ``name``, x` STRUCT<`in:ner`: INT NOT NULL>,`c` MAP<STRING, DECIMAL(3,1)> COMMENT 'it\\'s'",
    );
  });

  it("tells types apart", () => {
    const a = types.struct([types.field("a", types.int)]);
    expect(sameType(a, types.struct([types.field("b", types.int)]))).toBe(false);
    expect(sameType(a, types.struct([types.field("a", types.bigint)]))).toBe(false);
    expect(sameType(a, types.struct([]))).toBe(false);
    expect(sameType(a, types.struct([types.field("a", types.int, false)]))).toBe(true);
    expect(sameType(a, types.struct([types.field("a", types.int, false)]), true)).toBe(false);
    expect(sameType(types.array(types.int), types.array(types.int, false), true)).toBe(false);
    expect(sameType(types.decimal(3, 1), types.decimal(3, 2))).toBe(false);
  });

  it("draws the tree of printSchema", () => {
    const schema = types.struct([
      types.field("id", types.bigint, false),
      types.field("m", types.map(types.string, types.array(types.struct([types.field("x", types.int)])))),
    ]);
    expect(treeString(schema)).toBe(
      [
        "root",
        " |-- id: long (nullable = false)",
        " |-- m: map (nullable = true)",
        " |    |-- key: string",
        " |    |-- value: array (valueContainsNull = true)",
        " |    |    |-- element: struct (containsNull = true)",
        " |    |    |    |-- x: integer (nullable = true)",
        "",
      ].join("\n"),
    );
  });
});
