import { describe, expect, test } from "vitest";
import { commonType, compareSchemas, diffNames } from "../../../lib/glue/diff/index.js";
import { type DataType, type StructType, simpleString, types } from "../../../lib/spark/index.js";

const schema = (columns: Readonly<Record<string, DataType>>): StructType =>
  types.struct(Object.entries(columns).map(([name, type]) => types.field(name, type)));

describe("names of the result", () => {
  test("are those of spark-extension, and columns that look like them are only columns", () => {
    const names = diffNames(["id", "left_id"], ["copyright_year", "left_x", "diff"]);
    expect(names.diffColumn).toBe("diff");
    expect(["copyright_year", "left_x", "diff"].map(names.left)).toEqual([
      "left_copyright_year",
      "left_left_x",
      "left_diff",
    ]);
    expect(names.right("copyright_year")).toBe("right_copyright_year");
  });

  test("that a key has already get underscores", () => {
    const names = diffNames(["Diff", "LEFT_x", "right_x", "right__x"], ["x"]);
    expect([names.diffColumn, names.left("x"), names.right("x")]).toEqual(["diff_", "left__x", "right___x"]);
    expect(diffNames(["left_x"], ["x"], { values: "right" }).right("x")).toBe("right_x");
  });

  test("that the caller chose are not changed, but refused", () => {
    expect(() => diffNames(["id", "op"], ["x"], { diffColumn: "op", leftPrefix: "a", changeColumn: "a_x" })).toThrow(
      expect.objectContaining({
        code: "DIFF_NAMES_COLLIDE",
        problems: ['"op" makes op', '"a" makes a_x'],
      }),
    );
    expect(() => diffNames(["id"], [], { labels: { insert: "N" } })).toThrow(
      expect.objectContaining({ code: "DIFF_LABELS_INVALID" }),
    );
  });
});

test.each<[DataType, DataType, string | undefined]>([
  [types.int, types.int, "int"],
  [types.int, types.bigint, "bigint"],
  [types.tinyint, types.smallint, "smallint"],
  [types.float, types.double, "double"],
  [types.int, types.float, "double"],
  [types.smallint, types.float, "float"],
  [types.int, types.double, "double"],
  [types.bigint, types.double, undefined],
  [types.decimal(10, 2), types.decimal(5, 4), "decimal(12,4)"],
  [types.decimal(10, 2), types.int, "decimal(12,2)"],
  [types.decimal(38, 0), types.decimal(38, 10), undefined],
  [types.decimal(10, 2), types.double, undefined],
  [types.varchar(5), types.string, "string"],
  [types.void, types.date, "date"],
  [types.string, types.int, undefined],
  [types.date, types.timestamp, undefined],
  [types.array(types.int), types.array(types.bigint), "array<bigint>"],
  [types.map(types.string, types.int), types.map(types.string, types.bigint), "map<string,bigint>"],
  [
    schema({ a: types.int, b: types.string }),
    schema({ A: types.bigint, c: types.date }),
    "struct<A:bigint,c:date,b:string>",
  ],
  [schema({ a: types.int }), schema({ a: types.string }), undefined],
])("%j and %j", (a, b, common) => {
  const found = commonType(a, b);
  expect(found && simpleString(found)).toBe(common);
});

describe("schemas", () => {
  test("are matched by name without case; what differs is told", () => {
    const compared = compareSchemas(
      schema({ ID: types.int, gone: types.date, v: types.float }),
      schema({ v: types.double, id: types.int, come: types.string }),
      ["id"],
    );
    expect(compared.keys.map(({ name }) => name)).toEqual(["id"]);
    expect(compared.values.map(({ name }) => name)).toEqual(["v", "come", "gone"]);
    expect(compared.differences).toEqual({ added: ["come"], dropped: ["gone"], widened: ["v: float, now double"] });
  });

  test("that can't be compared: everything is said at once", () => {
    const left = schema({ id: types.int, a: types.int, b: types.string });
    const right = schema({ id: types.int, A: types.string, B: types.binary, k: types.int });
    expect(() => compareSchemas(left, right, ["k", "id", "ID", "nowhere"], { left: "past", right: "current" })).toThrow(
      expect.objectContaining({
        code: "DIFF_SCHEMAS_UNLIKE",
        message: "past and current can't be compared",
        problems: [
          "a key column is named twice: k, id, ID, nowhere",
          "key column k is missing in past",
          "key column nowhere is missing in past and in current",
          "column A is int in past and string in current",
          "column B is string in past and binary in current",
          "the columns of past are id int, a int, b string",
          "those of current are id int, A string, B binary, k int",
        ],
      }),
    );
  });
});
