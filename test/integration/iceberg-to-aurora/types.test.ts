import { afterAll, beforeAll, expect, test } from "vitest";
import { createTableSql, mapColumns } from "../../../jobs/iceberg-to-aurora/columns.js";
import { IcebergScenario } from "../../support/iceberg-scenario.js";

let scenario: IcebergScenario;
beforeAll(async () => {
  scenario = await IcebergScenario.create();
});
afterAll(async () => {
  await scenario[Symbol.asyncDispose]();
});

/** A column: its Spark type, values as Spark SQL, the type the job creates, and the values as PostgreSQL prints them. */
const TYPES: readonly [string, readonly [string, string | null][], string, string?][] = [
  [
    "boolean",
    [
      ["true", "true"],
      ["false", "false"],
      ["NULL", null],
    ],
    "boolean",
  ],
  [
    "int",
    [
      ["2147483647", "2147483647"],
      ["-2147483648", "-2147483648"],
    ],
    "integer",
  ],
  [
    "bigint",
    [
      ["9223372036854775807L", "9223372036854775807"],
      ["-9223372036854775808", "-9223372036854775808"],
    ],
    "bigint",
  ],
  [
    "float",
    [
      ["CAST('1.1' AS FLOAT)", "1.1"],
      ["CAST('NaN' AS FLOAT)", "NaN"],
      ["CAST('-Infinity' AS FLOAT)", "-Infinity"],
    ],
    "real",
  ],
  [
    "double",
    [
      ["0.1D", "0.1"],
      ["CAST('NaN' AS DOUBLE)", "NaN"],
      ["1.7976931348623157E308D", "1.7976931348623157e+308"],
      ["NULL", null],
    ],
    "double precision",
  ],
  [
    "decimal(38,10)",
    [
      ["CAST('9999999999999999999999999999.0123456789' AS DECIMAL(38,10))", "9999999999999999999999999999.0123456789"],
      ["CAST('-0.0000000001' AS DECIMAL(38,10))", "-0.0000000001"],
    ],
    "numeric(38,10)",
  ],
  [
    "string",
    [
      ["'plain'", "plain"],
      ["''", ""],
      ["NULL", null],
      ["'quotes \\' \" \\\\ backslash'", "quotes ' \" \\ backslash"],
      ["'zalgo e\u0301 😀 漢字 \\u200d \t\n'", "zalgo e\u0301 😀 漢字 \u200d \t\n"],
    ],
    "text",
  ],
  [
    "binary",
    [
      ["X'00FF10'", "\\x00ff10"],
      ["X''", "\\x"],
      ["NULL", null],
    ],
    "bytea",
  ],
  [
    "date",
    [
      ["DATE'2026-02-28'", "2026-02-28"],
      ["DATE'0001-01-01'", "0001-01-01"],
      ["DATE'9999-12-31'", "9999-12-31"],
      ["DATE'1582-10-04'", "1582-10-04"],
      ["NULL", null],
    ],
    "date",
  ],
  [
    "timestamp",
    [
      ["TIMESTAMP'2026-03-29 01:30:00.123456+02:00'", "2026-03-28 23:30:00.123456+00"],
      ["TIMESTAMP'1969-12-31 23:59:59.999999Z'", "1969-12-31 23:59:59.999999+00"],
      ["TIMESTAMP'9999-12-31 23:59:59.999999Z'", "9999-12-31 23:59:59.999999+00"],
      ["TIMESTAMP'0001-01-01 00:00:00.000001Z'", "0001-01-01 00:00:00.000001+00"],
      ["NULL", null],
    ],
    "timestamp with time zone",
  ],
  [
    "timestamp_ntz",
    [
      ["TIMESTAMP_NTZ'2026-03-29 02:30:00.000001'", "2026-03-29 02:30:00.000001"],
      ["TIMESTAMP_NTZ'1883-11-18 12:03:57.5'", "1883-11-18 12:03:57.5"],
      ["NULL", null],
    ],
    "timestamp without time zone",
  ],
  [
    "array<string>",
    [
      ["array('a', NULL, 'b \" {,} ü')", '{a,NULL,"b \\" {,} ü"}'],
      ["array()", "{}"],
      ["NULL", null],
    ],
    "text[]",
  ],
  ["array<bigint>", [["array(9223372036854775807L, NULL, -1L)", "{9223372036854775807,NULL,-1}"]], "bigint[]"],
  [
    "array<double>",
    [["array(0.1D, CAST('NaN' AS DOUBLE), CAST('Infinity' AS DOUBLE))", "{0.1,NaN,Infinity}"]],
    "double precision[]",
  ],
  ["array<boolean>", [["array(true, NULL, false)", "{t,NULL,f}"]], "boolean[]"],
  [
    "array<decimal(12,4)>",
    [["array(CAST(1.5 AS DECIMAL(12,4)), CAST(-0.0001 AS DECIMAL(12,4)))", "{1.5000,-0.0001}"]],
    "numeric[]",
  ],
  ["array<date>", [["array(DATE'2026-01-31', NULL)", "{2026-01-31,NULL}"]], "date[]"],
  [
    "array<timestamp>",
    [["array(TIMESTAMP'2026-01-31 10:00:00.000001Z')", '{"2026-01-31 10:00:00.000001+00"}']],
    "timestamp with time zone[]",
  ],
  [
    "array<timestamp_ntz>",
    [["array(TIMESTAMP_NTZ'2026-01-31 10:00:00.5')", '{"2026-01-31 10:00:00.5"}']],
    "timestamp without time zone[]",
  ],
  ["array<binary>", [["array(X'00ff', X'')", '{"\\\\x00ff","\\\\x"}']], "bytea[]"],
  ["array<array<int>>", [["array(array(1, 2), NULL, array())", "[[1, 2], null, []]"]], "jsonb"],
  [
    "struct<a: int, `b c`: struct<d: timestamp, e: decimal(10,2)>>",
    [
      [
        "named_struct('a', 1, 'b c', named_struct('d', TIMESTAMP'2026-01-31 10:00:00.123456Z', 'e', 1.50))",
        '{"a": 1, "b c": {"d": "2026-01-31T10:00:00.123456Z", "e": 1.50}}',
      ],
      ["named_struct('a', NULL, 'b c', NULL)", '{"a": null, "b c": null}'],
      ["NULL", null],
    ],
    "jsonb",
  ],
  [
    "map<string, int>",
    [
      ["map('k', 1, 'ü', NULL)", '{"k": 1, "ü": null}'],
      ["map()", "{}"],
      ["NULL", null],
    ],
    "jsonb",
  ],
  ["map<date, array<string>>", [["map(DATE'2026-01-31', array('x'))", '{"2026-01-31": ["x"]}']], "jsonb"],
  [
    "struct<m: map<int, struct<x: int>>>",
    [
      ["named_struct('m', map(7, named_struct('x', 1)))", '{"m": {"7": {"x": 1}}}'],
      ["NULL", null],
    ],
    "jsonb",
  ],
];

const columns = TYPES.map(([type], index) => ({ name: `v${index}`, type }));
const rowCount = Math.max(...TYPES.map(([, values]) => values.length));

function valuesOf(row: number): string {
  return TYPES.map(([type, values]) => `CAST(${values[row]?.[0] ?? "NULL"} AS ${type})`).join(", ");
}

function expectedOf(row: number): (string | null)[] {
  return TYPES.map(([, values]) => values[row]?.[1] ?? null);
}

async function targetValues(): Promise<(string | null)[][]> {
  await scenario.database.query("SET TIME ZONE 'UTC'");
  const result = await scenario.database.query({
    text: `SELECT ${columns.map((column) => `"${column.name}"::text`).join(", ")} FROM ${scenario.target("types")} ORDER BY id`,
    rowMode: "array",
  });
  return result.rows as (string | null)[][];
}

test("every type arrives equal, in a full load, in an incremental one, and is seen as unchanged afterwards", async () => {
  await scenario.iceberg(
    "types",
    `CREATE TABLE $t (id INT NOT NULL, ${columns.map((column) => `${column.name} ${column.type}`).join(", ")}) USING iceberg`,
    "ALTER TABLE $t SET IDENTIFIER FIELDS id",
    ...Array.from({ length: rowCount }, (_, row) => `INSERT INTO $t SELECT ${row}, ${valuesOf(row)}`),
  );
  await scenario.loaded("types");
  const expected = Array.from({ length: rowCount }, (_, row) => expectedOf(row));
  expect(await targetValues()).toEqual(expected);
  const types = await scenario.rows<{ type: string }>(
    `SELECT format_type(atttypid, atttypmod) AS type FROM pg_attribute WHERE attrelid = '${scenario.target("types")}'::regclass AND attnum > 1 ORDER BY attnum`,
  );
  expect(types.map((row) => row.type)).toEqual(TYPES.map(([, , type]) => type));

  // The rows once more, rotated by one: every value changes its row.
  await scenario.iceberg(
    "types",
    "DELETE FROM $t WHERE true",
    ...Array.from({ length: rowCount }, (_, row) => `INSERT INTO $t SELECT ${row}, ${valuesOf((row + 1) % rowCount)}`),
  );
  await scenario.loaded("types");
  expect(await targetValues()).toEqual(expected.map((_, row) => expected[(row + 1) % rowCount]));

  const before = await scenario.versions("types");
  await scenario.iceberg(
    "types",
    `INSERT INTO $t SELECT 1000, ${valuesOf(0)}`,
    "INSERT OVERWRITE $t SELECT * FROM $t WHERE id < 1000",
  );
  expect(await scenario.loaded("types")).toMatchObject({ inserted: 0, updated: 0, deleted: 0 });
  expect(await scenario.loaded("types", { item: { "db_load.aurora_data_load_type": "full" } })).toMatchObject({
    inserted: 0,
    updated: 0,
    deleted: 0,
  });
  expect(await scenario.versions("types")).toEqual(before);
});

test("an existing target's own types are filled when they hold every value, and refused when they don't", async () => {
  await scenario.iceberg(
    "fitting",
    "CREATE TABLE $t (id INT, code STRING, doc STRING, at TIMESTAMP, n DECIMAL(10,2), small BIGINT, mood STRING) USING iceberg",
    `INSERT INTO $t VALUES (1, '5a1c5f6e-0000-4000-8000-000000000001', '{"a": [1, 2]}', TIMESTAMP'2026-01-31 10:00:00.5Z', 1.25, 7, 'happy')`,
  );
  const create = (n: string, small: string) =>
    `CREATE TABLE ${scenario.target("fitting")} ("ID" bigint PRIMARY KEY, code uuid, doc json, at timestamp, n ${n}, small ${small}, mood mood, extra text DEFAULT 'x')`;
  await scenario.database.query(`SET search_path = ${scenario.name}, public`);
  await scenario.database.query("CREATE TYPE mood AS ENUM ('happy', 'sad')");
  await scenario.database.query(create("numeric(10,1)", "integer"));
  const refused = await scenario.load("fitting");
  expect(refused.report.toJSON().error).toMatchObject({ code: "COLUMNS_DO_NOT_FIT" });
  expect(refused.report.toJSON().error?.problems).toHaveLength(2);
  expect(refused.report.toJSON().error?.problems.join("\n")).toMatch(/"n".*numeric\(10,1\)[\s\S]*"small".*integer/);

  await scenario.database.query(`DROP TABLE ${scenario.target("fitting")}`);
  await scenario.database.query(create("numeric(12,4)", "numeric"));
  expect(await scenario.loaded("fitting")).toMatchObject({ inserted: 1 });
  const rows = await scenario.targetRows("fitting", ['"ID"', "code", "doc", "at", "n", "small", "mood", "extra"]);
  expect(rows).toEqual(['1|5a1c5f6e-0000-4000-8000-000000000001|{"a": [1, 2]}|2026-01-31 10:00:00.5|1.2500|7|happy|x']);
  await scenario.iceberg("fitting", "UPDATE $t SET mood = 'sad'");
  expect(await scenario.loaded("fitting")).toMatchObject({ updated: 1 });
});

test("columns whose own equality is wider than identity are still brought up to date, and are refused as keys", async () => {
  await scenario.database.query("CREATE EXTENSION IF NOT EXISTS citext SCHEMA public");
  await scenario.database.query(`SET search_path = ${scenario.name}, public`);
  await scenario.database.query(
    "CREATE COLLATION no_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
  );
  await scenario.iceberg(
    "wide",
    "CREATE TABLE $t (id INT, c STRING, k STRING, j STRING) USING iceberg",
    `INSERT INTO $t VALUES (1, 'ABC', 'ABC', '{"a": 1.50, "b": 2}')`,
  );
  await scenario.database.query(
    `CREATE TABLE ${scenario.target("wide")} (id int PRIMARY KEY, c citext, k text COLLATE no_case, j json)`,
  );
  const options = { item: { "db_load.primary_key": "id" } };
  await scenario.loaded("wide", options);
  const values = ["id", "c", "k", "j"];
  for (const change of ["c = 'abc'", "k = 'abc'", `j = '{"b": 2, "a": 1.5}'`]) {
    await scenario.iceberg("wide", `UPDATE $t SET ${change}`);
    expect(await scenario.loaded("wide", options)).toMatchObject({ updated: 1 });
    expect(await scenario.targetRows("wide", values)).toEqual(await scenario.sourceRows("wide", values));
  }
  const refused = await scenario.load("wide", { item: { "db_load.primary_key": "c,k,j" } });
  expect(refused.report.toJSON().error).toMatchObject({ code: "COLUMNS_DO_NOT_FIT" });
  expect(refused.report.toJSON().error?.problems).toHaveLength(3);
});

test("target types that would round are refused", async () => {
  await scenario.iceberg(
    "rounding",
    "CREATE TABLE $t (id INT, a TIMESTAMP, b TIMESTAMP_NTZ, c ARRAY<DECIMAL(12,4)>, d TIMESTAMP) USING iceberg",
  );
  await scenario.database.query(
    `CREATE TABLE ${scenario.target("rounding")} (id int PRIMARY KEY, a timestamptz(3), b timestamp(0), c numeric(10,1)[], d timestamp(3))`,
  );
  const refused = await scenario.load("rounding");
  expect(refused.report.toJSON().error).toMatchObject({ code: "COLUMNS_DO_NOT_FIT" });
  expect(refused.report.toJSON().error?.problems.map((problem) => problem.slice(0, 10))).toEqual([
    'column "a"',
    'column "b"',
    'column "c"',
    'column "d"',
  ]);
});

test("uuids, which Spark's DDL can't make, are decoded into columns that the job creates and into a user's", async () => {
  const type = { kind: "primitive", name: "uuid" } as const;
  const fields = [
    { id: 1, name: "id", required: true, type },
    {
      id: 2,
      name: "list",
      required: false,
      type: { kind: "list", element: { id: 3, name: "element", required: false, type } },
    },
  ] as const;
  const { columns, problems } = mapColumns(fields, ["id"], undefined);
  expect(problems).toEqual([]);
  const [id, list] = columns;
  await scenario.database.query(createTableSql({ schema: scenario.name, name: "uuids" }, columns).table);
  const uuid = "5a1c5f6e-0000-4000-8000-000000000001";
  await scenario.database.query(
    `INSERT INTO ${scenario.target("uuids")} SELECT ${id?.decode("s.c1")}, ${list?.decode("s.c2")} FROM (SELECT $1::${id?.staging.type} AS c1, $2::${list?.staging.type} AS c2) AS s`,
    [uuid, JSON.stringify([uuid, null])],
  );
  expect(await scenario.targetRows("uuids", ["id", "list"])).toEqual([`${uuid}|{${uuid},NULL}`]);
});

test("text that PostgreSQL can't hold is refused with the reason, and nothing is changed", async () => {
  await scenario.iceberg(
    "nul",
    "CREATE TABLE $t (id INT, name STRING) USING iceberg",
    "INSERT INTO $t VALUES (1, 'fine')",
  );
  await scenario.loaded("nul", { item: { "db_load.primary_key": "id" } });
  await scenario.iceberg("nul", "INSERT INTO $t VALUES (2, concat('a', char(0), 'b'))");
  const result = await scenario.load("nul", { item: { "db_load.primary_key": "id" } });
  expect(result.exitCode).toBe(1);
  expect(result.report.toJSON().error?.message).toMatch(/0x00/);
  expect(await scenario.targetRows("nul", ["id", "name"])).toEqual(["1|fine"]);
  expect(await scenario.stagingTables()).toEqual([]);
});
