import { status } from "@grpc/grpc-js";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  AnalysisException,
  col,
  defaultRetryPolicy,
  ParseException,
  SparkConnectError,
  SparkSession,
} from "../../../lib/spark/index.js";
import { connect, queryResponses, RecordingClock, ScriptedServer, unavailable } from "./support/scripted-server.js";

describe("client", () => {
  let server: ScriptedServer;
  let clock: RecordingClock;

  beforeEach(async () => {
    server = await ScriptedServer.start();
    server.responses = queryResponses([[1]]);
    clock = new RecordingClock();
  });

  afterEach(() => server.stop());

  it("asks for headers before every call, releases included", async () => {
    let asked = 0;
    const spark = await SparkSession.builder()
      .remote(`${server.address}/;use_ssl=false;token=secret-1;x-team=data`)
      .headers(async () => ({ "x-aws-proxy-auth": `token-${++asked}` }))
      .getOrCreate();
    await spark.range(1).collect();
    await spark.close();
    expect(server.calls.slice(0, 2)).toEqual(["analyze", "execute"]);
    expect(server.calls).toContain("release");
    expect(server.headers.map((headers) => headers["x-aws-proxy-auth"])).toEqual(
      server.headers.map((_, i) => `token-${i + 1}`),
    );
    for (const headers of server.headers) {
      expect(headers).toMatchObject({ authorization: "Bearer secret-1", "x-team": "data" });
      expect(headers["user-agent"]).toMatch(/^_SPARK_CONNECT_TYPESCRIPT node\//);
    }
  });

  it("tries a refused call again with new headers, and says which ones were refused", async () => {
    const refusal = { code: status.UNAUTHENTICATED, message: "the token has expired" };
    const refused: unknown[] = [];
    server.unaryFailures = [refusal];
    server.streams = [{ send: 1, after: refusal }, { after: "end" }];
    await using spark = await SparkSession.builder()
      .remote(server.address)
      .headers((request) => {
        refused.push(request.refused?.token);
        return { token: `token-${refused.length}` };
      })
      .retryPolicies([defaultRetryPolicy], clock)
      .getOrCreate();
    const rows = await spark.range(1).collect();
    expect(rows.map((row) => row.get("id"))).toEqual([1n]);
    const calls = server.calls.filter((call) => call !== "release");
    expect(calls).toEqual(["analyze", "analyze", "execute", "reattach"]);
    // Of the stream's refusal the next call is told, be it a release.
    expect(refused.filter((token) => token !== undefined)).toEqual(["token-1", "token-3"]);
  });

  it("gives up soon when new headers are refused too, and at once when there are none", async () => {
    const refusal = { code: status.UNAUTHENTICATED, message: "wrong token" };
    server.unaryFailures = Array.from({ length: 20 }, () => refusal);
    const builder = () => SparkSession.builder().remote(server.address).retryPolicies([defaultRetryPolicy], clock);
    await expect(builder().getOrCreate()).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
    expect(server.calls).toHaveLength(1);
    await expect(
      builder()
        .headers(() => ({}))
        .getOrCreate(),
    ).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
    expect(server.calls).toHaveLength(5);
  });

  it("says its identity in each request", async () => {
    const sessionId = "00112233-4455-6677-8899-aabbccddeeff";
    const address = `${server.address}/;user_id=etl;session_id=${sessionId}`;
    await using spark = await SparkSession.builder().remote(address).getOrCreate();
    await spark.range(1).collect();
    expect(spark.sessionId).toBe(sessionId);
    for (const request of [server.analyzes[0], server.executes[0]]) {
      expect(request).toMatchObject({ sessionId, userContext: { userId: "etl" } });
    }
  });

  it("applies the builder's settings in one call", async () => {
    await using _spark = await SparkSession.builder()
      .remote(server.address)
      .appName("orders")
      .config("spark.sql.ansi.enabled", true)
      .config({ "spark.sql.shuffle.partitions": 8 })
      .getOrCreate();
    expect(server.configs.map((request) => request.operation?.opType)).toMatchObject([
      {
        case: "set",
        value: {
          pairs: [
            { key: "spark.app.name", value: "orders" },
            { key: "spark.sql.ansi.enabled", value: "true" },
            { key: "spark.sql.shuffle.partitions", value: "8" },
          ],
        },
      },
    ]);
  });

  it("sends tags with the operations that start after them", async () => {
    await using spark = await connect(server, clock);
    spark.addTag("load");
    spark.addTag("orders");
    await spark.range(1).collect();
    spark.removeTag("orders");
    await spark.range(1).collect();
    spark.clearTags();
    await spark.range(1).collect();
    expect(server.executes.map((request) => request.tags)).toEqual([["load", "orders"], ["load"], []]);
    expect(() => spark.addTag("a,b")).toThrow(SparkConnectError);
  });

  it("names host and port, not the token, when nothing listens", async () => {
    server.stop();
    const address = server.address;
    const builder = SparkSession.builder().remote(`${address}/;token=hunter2`).connectTimeout(200);
    const error = await builder.getOrCreate().catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: "ENDPOINT_UNREACHABLE" });
    expect(String(error)).toContain(address.replace("sc://", ""));
    expect(JSON.stringify(error) + String(error)).not.toContain("hunter2");
  });

  it("needs an address", async () => {
    await expect(SparkSession.builder().remote("").getOrCreate()).rejects.toMatchObject({
      code: "INVALID_CONNECTION_STRING",
    });
  });

  it("refuses a server that is too old", async () => {
    server.version = "3.4.2";
    await expect(connect(server, clock)).rejects.toMatchObject({ code: "UNSUPPORTED_ON_SERVER" });
  });

  it("repeats unary calls by the same rules", async () => {
    server.unaryFailures = [unavailable, unavailable];
    await using spark = await connect(server, clock);
    expect(await spark.version()).toBe("3.5.7");
    expect(clock.sleeps).toEqual([50, 200]);
    expect(server.calls.filter((call) => call === "analyze")).toHaveLength(3);
  });

  it("releases the session on a server that can, once", async () => {
    server.version = "4.0.1";
    const spark = await connect(server, clock);
    await Promise.all([spark.close(), spark.close()]);
    expect(server.sessionReleases.map((request) => request.sessionId)).toEqual([spark.sessionId]);
  });

  it("opens a session beside it on the same connection, which ends with it or before", async () => {
    server.version = "4.0.1";
    const spark = await connect(server, clock);
    spark.addTag("run");
    const [first, second] = [spark.newSession(), spark.newSession()];
    await first.conf.set("spark.sql.codegen.wholeStage", false);
    await first.range(1).collect();
    expect(server.configs.map((request) => request.sessionId)).toEqual([first.sessionId]);
    expect(server.executes[0]).toMatchObject({
      sessionId: first.sessionId,
      userContext: server.analyzes[0]?.userContext,
      tags: ["run"],
    });
    // The server was asked for its version once.
    expect(server.analyzes).toHaveLength(1);
    await first.close();
    await spark.range(1).collect();
    await expect(first.range(1).collect()).rejects.toMatchObject({ code: "SESSION_CLOSED" });
    await spark.close();
    expect(second.client.isClosed).toBe(true);
    expect(server.sessionReleases.map((request) => request.sessionId)).toEqual([
      first.sessionId,
      second.sessionId,
      spark.sessionId,
    ]);
    expect(() => spark.newSession()).toThrow(SparkConnectError);
  });

  it("does not ask an older server to", async () => {
    const spark = await connect(server, clock);
    await spark.close();
    expect(server.calls).toEqual(["analyze"]);
  });

  it("refuses a plan that an older server would misread, before it is sent", async () => {
    await using spark = await connect(server, clock);
    const df = spark.range(1).select(col("id").plus(col("id").tryCast("int")));
    await expect(df.collect()).rejects.toMatchObject({ code: "UNSUPPORTED_ON_SERVER" });
    await expect(df.schema()).rejects.toMatchObject({ code: "UNSUPPORTED_ON_SERVER" });
    expect(server.executes).toEqual([]);
    server.version = "4.0.0";
    await using newer = await connect(server, clock);
    await newer.range(1).select(col("id").tryCast("int")).collect();
    expect(server.executes).toHaveLength(1);
  });

  it("asks for large batches in pieces only where the server knows them, and joins them", async () => {
    server.version = "4.1.2";
    const [schema, batch, complete] = queryResponses([[1, 2, 3]]);
    if (schema === undefined || batch?.responseType.case !== "arrowBatch" || complete === undefined) throw new Error();
    const { data, rowCount } = batch.responseType.value;
    const cut = Math.floor(data.length / 2);
    const piece = (index: number, bytes: Uint8Array) => ({
      ...batch,
      responseId: `piece-${index}`,
      responseType: {
        case: "arrowBatch" as const,
        value: {
          ...(batch.responseType.value as object),
          data: bytes,
          rowCount,
          chunkIndex: BigInt(index),
          numChunksInBatch: 2n,
        },
      },
    });
    server.responses = [
      schema,
      piece(0, data.slice(0, cut)),
      piece(1, data.slice(cut)),
      complete,
    ] as typeof server.responses;
    await using spark = await connect(server, clock);
    expect((await spark.range(1).collect()).map((row) => row.get(0))).toEqual([1n, 2n, 3n]);
    expect(server.executes[0]?.requestOptions.map((option) => option.requestOption.case)).toEqual([
      "reattachOptions",
      "resultChunkingOptions",
    ]);
  });

  describe("errors", () => {
    const fail = async (message: string, info?: Record<string, string>): Promise<SparkConnectError> => {
      await using spark = await connect(server, clock);
      server.streams = [
        { send: 0, after: { code: status.INTERNAL, message, ...(info === undefined ? {} : { info }) } },
      ];
      return await spark
        .range(1)
        .collect()
        .then(
          () => expect.unreachable(),
          (error: SparkConnectError) => error,
        );
    };

    it("reads condition and SQLSTATE out of the message of 3.5", async () => {
      const classes = JSON.stringify(["org.apache.spark.sql.AnalysisException", "java.lang.Exception"]);
      const error = await fail("[TABLE_OR_VIEW_NOT_FOUND] The table `x` cannot be found. SQLSTATE: 42P01", { classes });
      expect(error).toBeInstanceOf(AnalysisException);
      expect(error).toMatchObject({
        name: "AnalysisException",
        code: "TABLE_OR_VIEW_NOT_FOUND",
        condition: "TABLE_OR_VIEW_NOT_FOUND",
        sqlState: "42P01",
        grpcStatus: "INTERNAL",
        retryable: false,
      });
    });

    it("finds the condition of a failed task inside the story of its stage, and leaves Java's stack out", async () => {
      const error = await fail(
        [
          "Job aborted due to stage failure: Task 0 in stage 7.0 failed 1 times, most recent failure: Lost task: " +
            "org.apache.spark.SparkArithmeticException: [DIVIDE_BY_ZERO] Division by zero. SQLSTATE: 22012",
          "\tat org.apache.spark.sql.errors.QueryExecutionErrors$.divideByZeroError(QueryExecutionErrors.scala:201)",
          "\t... 23 more",
          "",
          "Driver stacktrace:",
        ].join("\n"),
      );
      expect(error).toMatchObject({ condition: "DIVIDE_BY_ZERO", sqlState: "22012" });
      expect(error.message).toMatch(/^Job aborted .*Division by zero. SQLSTATE: 22012$/);
    });

    it("leaves out the analyzer's tree, which holds the literals of the query", async () => {
      const error = await fail(
        "[UNRESOLVED_COLUMN.WITH_SUGGESTION] No column `a`.;\n'Project ['a]\n+- LocalRelation [secret]",
        {
          classes: JSON.stringify([
            "org.apache.spark.sql.catalyst.ExtendedAnalysisException",
            "org.apache.spark.sql.AnalysisException",
          ]),
        },
      );
      expect(error.message).toBe("[UNRESOLVED_COLUMN.WITH_SUGGESTION] No column `a`.");
      expect(error.condition).toBe("UNRESOLVED_COLUMN.WITH_SUGGESTION");
    });

    it("prefers what 4.x says in fields", async () => {
      const error = await fail("Something about [BRACKETS]", {
        classes: JSON.stringify([
          "org.apache.spark.sql.catalyst.parser.ParseException",
          "org.apache.spark.sql.AnalysisException",
        ]),
        errorClass: "PARSE_SYNTAX_ERROR",
        sqlState: "42601",
        messageParameters: JSON.stringify({ error: "'x'" }),
      });
      expect(error).toBeInstanceOf(ParseException);
      expect(error).toMatchObject({ code: "PARSE_SYNTAX_ERROR", sqlState: "42601", parameters: { error: "'x'" } });
    });

    it("fetches the chain of causes from 4.x, and is not trapped by a cycle", async () => {
      server.version = "4.0.1";
      server.errorDetails = {
        rootErrorIdx: 0,
        errors: [
          {
            errorTypeHierarchy: ["org.apache.spark.sql.AnalysisException"],
            message: "outer",
            causeIdx: 1,
            sparkThrowable: { errorClass: "OUTER", sqlState: "42000", messageParameters: { name: "`t`" } },
          },
          { errorTypeHierarchy: ["java.io.IOException"], message: "inner", causeIdx: 0 },
        ],
      };
      const error = await fail("short", { errorId: "id-1", classes: "[]" });
      expect(server.detailRequests.map((request) => request.errorId)).toEqual(["id-1"]);
      expect(error).toBeInstanceOf(AnalysisException);
      expect(error).toMatchObject({ message: "outer", code: "OUTER", sqlState: "42000", parameters: { name: "`t`" } });
      expect(error.cause).toMatchObject({ message: "inner" });
      expect((error.cause as Error).cause).toBeUndefined();
    });

    it("keeps the status when the server names no condition", async () => {
      const error = await fail("boom");
      expect(error).toMatchObject({
        name: "SparkConnectError",
        code: "INTERNAL",
        condition: undefined,
        message: "boom",
      });
    });
  });
});
