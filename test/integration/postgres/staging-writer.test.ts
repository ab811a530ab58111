import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { describeFailure } from "../../../lib/glue/failure.js";
import { parsePostgresUrl } from "../../../lib/glue/postgres-settings.js";
import { quoteTable, type StagingWriter, stagingWriter, writeStaging } from "../../../lib/postgres/index.js";
import * as f from "../../../lib/spark/functions/index.js";
import { hasDataSource, SparkSession } from "../../../lib/spark/index.js";
import { findSparkProcess } from "../../../lib/targets/local/spark.js";
import { SPARK_VERSIONS } from "../../../lib/targets/local/spark-version.js";

const WRITERS: readonly StagingWriter[] = ["COPY", "JDBC"];
const schema = `t_${randomUUID().replaceAll("-", "").slice(0, 12)}`;
const role = `writer_${schema}`;
let spark: SparkSession;
let database: pg.Client;

beforeAll(async () => {
  spark = await SparkSession.builder().remote(inject("sparkRemote")).getOrCreate();
  database = new pg.Client(inject("postgresUrl"));
  await database.connect();
  await database.query(`CREATE SCHEMA ${schema}`);
  await database.query(`CREATE ROLE ${role} LOGIN PASSWORD 'sesame open' `);
  await database.query(`ALTER ROLE ${role} SET statement_timeout = '1min'`);
  await database.query(`GRANT USAGE ON SCHEMA ${schema} TO ${role}`);
});
afterAll(async () => {
  await database.query(`DROP SCHEMA ${schema} CASCADE`);
  await database.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
  await database.end();
  await spark.close();
});

const connection = (own: { user?: string; password?: string } = {}) => {
  const { host, port, user = "", password, database: name = "" } = parsePostgresUrl(inject("postgresUrl"));
  return { host, port, database: name, user, password, ...own };
};

/** Makes a table, and writes the rows of a query to it. @param columns `a int, b text`, named as those of the query. */
async function written(
  writer: StagingWriter,
  name: string,
  columns: string,
  query: string,
  own: { user?: string; password?: string } = {},
): Promise<string> {
  const table = { schema, name: `${name} "${writer}"` };
  await database.query(`CREATE TABLE ${quoteTable(table)} (${columns})`);
  await database.query(`GRANT INSERT, SELECT ON ${quoteTable(table)} TO ${role}`);
  const rows = await spark.sql(query);
  const names = (await rows.schema()).fields.map((field) => field.name);
  await writeStaging(
    rows,
    names.map((column) => [column, f.col(column)]),
    { writer, table, connection: connection(own), application: `test ${writer}` },
  );
  return quoteTable(table);
}

const rowsOf = async (text: string) => (await database.query({ text, rowMode: "array" })).rows as unknown[][];

/** Spark SQL, and what PostgreSQL has of it as text. */
const VALUES: Readonly<Record<string, readonly [type: string, ...(readonly [string, string])[]]>> = {
  boolean: ["boolean", ["true", "true"], ["false", "false"]],
  tinyint: ["smallint", ["-128Y", "-128"], ["0Y", "0"]],
  smallint: ["smallint", ["-32768S", "-32768"], ["32767S", "32767"]],
  int: ["integer", ["-2147483648", "-2147483648"], ["2147483647", "2147483647"], ["0", "0"], ["10", "10"], ["9", "9"]],
  bigint: [
    "bigint",
    ["-9223372036854775808L", "-9223372036854775808"],
    ["9223372036854775807L", "9223372036854775807"],
    ["1000000000000000000L", "1000000000000000000"],
    ["-999999999999999999L", "-999999999999999999"],
    ["-1L", "-1"],
  ],
  float: [
    "real",
    ["CAST('NaN' AS FLOAT)", "NaN"],
    ["CAST('-Infinity' AS FLOAT)", "-Infinity"],
    ["CAST('1.4E-45' AS FLOAT)", "1e-45"],
    ["CAST('3.4028235E38' AS FLOAT)", "3.4028235e+38"],
    ["CAST('0.1' AS FLOAT)", "0.1"],
  ],
  double: [
    "double precision",
    ["CAST('NaN' AS DOUBLE)", "NaN"],
    ["CAST('Infinity' AS DOUBLE)", "Infinity"],
    ["4.9E-324D", "5e-324"],
    ["2.0E-3D", "0.002"],
    ["-0.0D", "-0"],
    ["0.1D + 0.2D", "0.30000000000000004"],
  ],
  "decimal(38,10)": [
    "numeric",
    ["CAST('-9999999999999999999999999999.0123456789' AS DECIMAL(38,10))", "-9999999999999999999999999999.0123456789"],
    ["CAST('0.0000000001' AS DECIMAL(38,10))", "0.0000000001"],
    ["CAST('0' AS DECIMAL(38,10))", "0.0000000000"],
  ],
  "decimal(12,2)": ["numeric", ["CAST('-0.01' AS DECIMAL(12,2))", "-0.01"], ["CAST(7 AS DECIMAL(12,2))", "7.00"]],
  string: [
    "text",
    ["''", ""],
    ["'\\\\N'", "\\N"],
    ["'\\\\.'", "\\."],
    ["'a\\tb\\nc\\rd\\\\te\\b'", "a\tb\nc\rd\\te\b"],
    ["'e\u0301 😀 漢字 \u200d\\\\'", "e\u0301 😀 漢字 \u200d\\"],
    ["CAST(X'61FF62' AS STRING)", "a\uFFFDb"],
    ["repeat('ü\\\\\\n', 30000)", "ü\\\n".repeat(30_000)],
    ["repeat('\\\\', 70000)", "\\".repeat(70_000)],
  ],
  binary: ["bytea", ["X''", "\\x"], ["X'00FF5C0A7F80'", "\\x00ff5c0a7f80"], ["CAST('x' AS BINARY)", "\\x78"]],
};

test("values of every type arrive as what they are, NULLs among them, by COPY and by JDBC alike", async () => {
  const types = Object.entries(VALUES);
  const count = Math.max(...types.map(([, [, ...values]]) => values.length)) + 1;
  const select = (row: number) =>
    types.map(([type, [, ...values]], index) => `CAST(${values[row]?.[0] ?? "NULL"} AS ${type}) AS v${index}`);
  const query = Array.from({ length: count }, (_, row) => `SELECT ${row} AS id, ${select(row).join(", ")}`);
  const columns = ["id integer", ...types.map(([, [type]], index) => `v${index} ${type}`)].join(", ");
  const expected = Array.from({ length: count }, (_, row) =>
    types.map(([, [, ...values]]) => values[row]?.[1] ?? null),
  );
  for (const writer of WRITERS) {
    const table = await written(writer, "types", columns, query.join(" UNION ALL "));
    const list = types.map((_type, index) => `v${index}::text`).join(", ");
    expect({ writer, rows: await rowsOf(`SELECT ${list} FROM ${table} ORDER BY id`) }).toEqual({
      writer,
      rows: expected,
    });
  }
});

test("many rows of many partitions: all of them, over no more connections than are allowed, with their name and without the role's limits", async () => {
  const query = "SELECT id, concat('row ', id, repeat('.', CAST(id % 50 AS INT))) AS name FROM range(0, 40000, 1, 20)";
  const seen = "pid integer DEFAULT pg_backend_pid(), app text DEFAULT current_setting('application_name')";
  const table = await written(
    "COPY",
    "many",
    `id bigint, name text, ${seen}, timeout text DEFAULT current_setting('statement_timeout')`,
    query,
    { user: role, password: "sesame open" },
  );
  const [found] = await rowsOf(
    `SELECT count(*)::int, count(DISTINCT id)::int, sum(length(name))::int, min(app), max(app), min(timeout), max(timeout) FROM ${table}`,
  );
  const length = Array.from({ length: 40_000 }, (_, id) => `row ${id}`.length + (id % 50)).reduce((a, b) => a + b);
  expect(found).toEqual([40_000, 40_000, length, "test COPY", "test COPY", "0", "0"]);
  const [pids] = await rowsOf(`SELECT count(DISTINCT pid)::int FROM ${table}`);
  expect(pids?.[0]).toBeGreaterThan(1);
  expect(pids?.[0]).toBeLessThanOrEqual(8);
});

describe("what PostgreSQL refuses", () => {
  const denied = { user: role, password: "wrong and secret" };
  test.each<[string, string, string, { user?: string; password?: string }, RegExp]>([
    [
      "U+0000 in a text",
      "id bigint, name text",
      "SELECT id, concat('a', char(id), 'b') AS name FROM range(1)",
      {},
      /0x00/,
    ],
    [
      "two rows of one key",
      "id bigint UNIQUE",
      "SELECT id % 3 AS id FROM range(0, 9, 1, 1)",
      {},
      /duplicate key.*\(id\)=\(0\)/s,
    ],
    ["a number out of range", "id smallint", "SELECT id + 40000 AS id FROM range(1)", {}, /out of range/],
    ["a NULL", "id bigint NOT NULL", "SELECT CAST(NULL AS BIGINT) AS id", {}, /null value in column "id"/],
    ["a wrong password", "id bigint", "SELECT id FROM range(1)", denied, /password authentication failed/],
    [
      "a role without the right",
      "id bigint",
      "SELECT id FROM range(1)",
      { user: `${role}_2`, password: "another secret" },
      /permission denied/,
    ],
  ])(
    "%s: the same error either way, its own words in it and no secret, and no row stays",
    async (name, columns, query, own, message) => {
      if (own.user === `${role}_2`) await database.query(`CREATE ROLE ${role}_2 LOGIN PASSWORD 'another secret'`);
      try {
        const codes: string[] = [];
        for (const writer of WRITERS) {
          const failure = await written(writer, name, columns, query, own).then(
            () => undefined,
            (error: unknown) => describeFailure(error),
          );
          expect({ writer, text: failure?.error.message }).toEqual({ writer, text: expect.stringMatching(message) });
          expect(JSON.stringify(failure)).not.toContain(own.password ?? connection().password);
          codes.push(failure?.error.code ?? "");
          expect(await rowsOf(`SELECT 1 FROM ${quoteTable({ schema, name: `${name} "${writer}"` })}`)).toEqual([]);
        }
        expect(codes[0]).toBe(codes[1]);
      } finally {
        if (own.user === `${role}_2`) await database.query(`DROP ROLE ${role}_2`);
      }
    },
  );

  test("a type that COPY is not given: said before anything is written", async () => {
    await expect(written("COPY", "dates", "id date", "SELECT DATE'2026-01-31' AS id")).rejects.toThrow(
      /Column id has the type date, which can't be written by COPY/,
    );
  });

  test("a connection that ends in the middle: an error, and no row stays", async () => {
    const table = { schema, name: "cut" };
    await database.query(`CREATE TABLE ${quoteTable(table)} (id bigint)`);
    const blocker = new pg.Client(inject("postgresUrl"));
    await blocker.connect();
    try {
      await blocker.query("BEGIN");
      await blocker.query(`LOCK TABLE ${quoteTable(table)} IN SHARE MODE`);
      const writing = writeStaging(await spark.sql("SELECT id FROM range(0, 9, 1, 1)"), [["id", f.col("id")]], {
        writer: "COPY",
        table,
        connection: connection(),
        application: "test cut",
      });
      const refused = expect(writing).rejects.toThrow(/COPY to PostgreSQL failed/);
      const waiting =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test cut' AND wait_event_type = 'Lock'";
      await expect.poll(() => rowsOf(waiting)).toEqual([[true]]);
      await refused;
    } finally {
      await blocker.end();
    }
    expect(await rowsOf(`SELECT 1 FROM ${quoteTable(table)}`)).toEqual([]);
  });

  test("nothing stays open on the server, and no password is in Spark's log", async () => {
    const open = `SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'test %'`;
    await expect.poll(() => rowsOf(open)).toEqual([]);
    const log = SPARK_VERSIONS.map((version) => findSparkProcess(inject("stateHome"), version)?.logFile)
      .flatMap((file) => (file === undefined ? [] : [readFileSync(file, "utf8")]))
      .join("\n");
    expect(log).toContain("password authentication failed");
    expect(log).not.toContain("wrong and secret");
    expect(log).not.toContain("sesame open");
    expect(log).not.toContain(connection().password);
  });
});

test("the server is found to have the sink, and not to have what it hasn't", async () => {
  expect(await stagingWriter(spark)).toBe("COPY");
  expect(await hasDataSource(spark, "io.glueconnect.spark.postgres.NoSink")).toBe(false);
});
