import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { col } from "../../../lib/spark/functions/index.js";
import {
  Decimal,
  LocalTimestamp,
  SparkConnectError,
  SparkSession,
  Timestamp,
  type Value,
} from "../../../lib/spark/index.js";
import { probeSpark } from "../../../lib/targets/local/spark-probe.js";
import { type ExtraSpark, startExtraSpark } from "../../support/extra-spark.js";
import { IcebergScenario } from "../../support/iceberg-scenario.js";

// What of Spark 4 differs from 3.5 for us, and the job on it. The shared server is a 3.5, so this file has its own.
let server: ExtraSpark;
let spark: SparkSession;
let scenario: IcebergScenario;

beforeAll(async () => {
  server = await startExtraSpark({
    version: "4.1",
    // The server ends every stream after a second instead of two minutes: what takes longer has to reattach.
    conf: { "spark.connect.execute.reattachable.senderMaxStreamDuration": "1s" },
  });
  spark = await connect();
  scenario = await IcebergScenario.create(server);
});
afterAll(async () => {
  await scenario?.[Symbol.asyncDispose]();
  await spark?.close();
  await server?.stop();
});

const connect = (sessionId: string = randomUUID()) =>
  SparkSession.builder().remote(server.remote).sessionId(sessionId).getOrCreate();

async function failure(work: Promise<unknown>): Promise<SparkConnectError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof SparkConnectError) return error;
  throw new Error(`expected an error of Spark, got ${String(error)}`);
}

describe("the local Spark 4.1", () => {
  test("asks for its token by itself, and listens on this machine's own address only", async () => {
    const token = server.remote.split("token=")[1] ?? "";
    const ask = (given?: string, host?: string) =>
      probeSpark({
        port: server.port,
        timeoutMs: 20_000,
        ...(given === undefined ? {} : { token: given }),
        ...(host === undefined ? {} : { host }),
      });
    expect(await ask(token)).toMatchObject({ kind: "version", version: expect.stringMatching(/^4\.1\./) });
    expect(await ask()).toMatchObject({ kind: "refused" });
    expect(await ask(`${token}x`)).toMatchObject({ kind: "refused" });
    const outside = Object.values(networkInterfaces())
      .flatMap((addresses) => addresses ?? [])
      .filter(({ internal, family }) => !internal && family === "IPv4");
    const answers = await Promise.all(outside.map(({ address }) => ask(token, address)));
    expect(answers.map(({ kind }) => kind)).toEqual(outside.map(() => "absent"));
  });

  test("gives values of every kind as they are", async () => {
    const cases: readonly (readonly [string, Value])[] = [
      ["true", true],
      ["-2147483648", -2147483648],
      ["9223372036854775807L", 9223372036854775807n],
      ["CAST('0.1' AS DOUBLE)", 0.1],
      [
        "CAST('-99999999999999999999.999999999999999999' AS DECIMAL(38,18))",
        "-99999999999999999999.999999999999999999",
      ],
      ["'größe 😀'", "größe 😀"],
      ["X'00FF10'", new Uint8Array([0, 255, 16])],
      ["DATE'9999-12-31'", "9999-12-31"],
      ["TIMESTAMP'2026-03-01T10:00:00.342680Z'", Timestamp.parse("2026-03-01T10:00:00.342680Z")],
      ["TIMESTAMP_NTZ'2026-03-08T02:30:00.000001'", LocalTimestamp.parse("2026-03-08T02:30:00.000001")],
      ["ARRAY(1, NULL, 3)", [1, null, 3]],
      ["MAP('a', ARRAY(1L))", new Map([["a", [1n]]])],
    ];
    const frame = await spark.sql(`SELECT ${cases.map(([sql], index) => `${sql} AS c${index}`).join(", ")}`);
    expect((await frame.first())?.toArray()).toEqual(cases.map(([, value]) => value));
  });

  test("takes local rows", async () => {
    const rows = await spark.createDataFrame(
      [
        { id: 1n, amount: new Decimal("1.50"), at: Timestamp.parse("2026-03-01T10:00:00.342680Z") },
        { id: 2n, amount: null, at: null },
      ],
      "id BIGINT, amount DECIMAL(10,2), at TIMESTAMP",
    );
    await rows.createOrReplaceTempView("given");
    const found = await spark.table("given").where(col("id").eqTo(1n)).select("amount", "at").collect();
    expect(found.map((row) => row.toArray())).toEqual([["1.50", Timestamp.parse("2026-03-01T10:00:00.342680Z")]]);
  });

  // apache/iceberg#16625. When this fails the next Iceberg has mended it: bind :name and ? here then, and mend the README.
  test("refuses SQL with arguments, which the extensions of Iceberg 1.11.0 lose on Spark 4.1", async () => {
    const error = await failure(spark.sql("SELECT :id AS id", { id: 1n }).then((frame) => frame.collect()));
    expect(error.code).toBe("UNBOUND_SQL_PARAMETER");
  });

  test("says all about an error: condition, SQLSTATE, parameters, and the whole message", async () => {
    const cast = await failure((await spark.sql("SELECT CAST(concat('a', id) AS INT) FROM range(1)")).collect());
    expect(cast).toMatchObject({
      condition: "CAST_INVALID_INPUT",
      sqlState: "22018",
      parameters: { expression: "'a0'", targetType: '"INT"' },
    });
    // A status holds 2,048 characters of a message; FetchErrorDetails has the rest.
    const name = "x".repeat(5_000);
    const missing = await failure(spark.sql(`SELECT * FROM ${name}`).then((frame) => frame.collect()));
    expect(missing).toMatchObject({ code: "TABLE_OR_VIEW_NOT_FOUND", sqlState: "42P01" });
    expect(missing.message).toContain(name);
  });

  test("is reattached to when it ends the stream of a query that goes on", async () => {
    const begun = performance.now();
    const frame = await spark.sql(
      "SELECT id, reflect('java.lang.Thread', 'sleep', 1500L) FROM range(0, 2, 1, 2) UNION ALL SELECT id, '' FROM range(2, 5)",
    );
    const ids = (await frame.collect()).map((row) => row.get(0)).toSorted();
    expect(ids).toEqual([0n, 1n, 2n, 3n, 4n]);
    expect(performance.now() - begun).toBeGreaterThan(1_200);
  });

  test("lets go of a session that is closed", async () => {
    const sessionId = randomUUID();
    const session = await connect(sessionId);
    await session.range(1).count();
    await session.close();
    const error = await failure(connect(sessionId).then((again) => again.range(1).count()));
    expect(error.message).toContain("SESSION_CLOSED");
    expect(readFileSync(server.logFile, "utf8")).not.toContain("releaseSession");
  });
});

describe("iceberg-to-aurora on Spark 4.1", () => {
  test.each(["compare", "changelog"])("full, then incremental by %s, then nothing", async (way) => {
    const table = `orders_${way}`;
    const columns = ["id", "name", "amount"];
    const args = ["--find_changes", way];
    await scenario.iceberg(
      table,
      "CREATE TABLE $t (id BIGINT NOT NULL, name STRING, amount DECIMAL(10,2)) USING iceberg",
      "ALTER TABLE $t SET IDENTIFIER FIELDS id",
      "INSERT INTO $t SELECT id, concat('name ', id), CAST(id * 1.5 AS DECIMAL(10,2)) FROM range(1, 9)",
    );
    expect(await scenario.loaded(table, { args })).toMatchObject({ inserted: 8, way: "everything" });
    await scenario.iceberg(
      table,
      "UPDATE $t SET name = 'new name' WHERE id = 2",
      "DELETE FROM $t WHERE id = 3",
      "INSERT INTO $t VALUES (100, 'inserted', 7.25)",
    );
    expect(await scenario.loaded(table, { args })).toMatchObject({ inserted: 1, updated: 1, deleted: 1, way });
    expect(await scenario.targetRows(table, columns)).toEqual(await scenario.sourceRows(table, columns));
    expect(await scenario.loaded(table, { args })).toMatchObject({
      inserted: 0,
      updated: 0,
      deleted: 0,
      changes: false,
    });
    expect(await scenario.stagingTables()).toEqual([]);
  });
});
