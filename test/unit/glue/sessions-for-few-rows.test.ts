import { status } from "@grpc/grpc-js";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { sessionsForFewRows } from "../../../lib/glue/incremental/index.js";
import { silentLogger } from "../../../lib/logger.js";
import { SparkSession } from "../../../lib/spark/index.js";
import { ScriptedServer } from "../spark/support/scripted-server.js";

let server: ScriptedServer;
let spark: SparkSession;

beforeEach(async () => {
  server = await ScriptedServer.start();
  spark = await SparkSession.builder().remote(server.address).getOrCreate();
});
afterEach(async () => {
  vi.useRealTimers();
  await spark.close();
  server.stop();
});

describe("sessionsForFewRows", () => {
  it("gives all tables one session that interprets, with the settings that results depend on", async () => {
    const open = sessionsForFewRows(spark, silentLogger);
    const [one, other] = await Promise.all([open(), open()]);
    expect(one).toBe(other);
    expect(one.sessionId).not.toBe(spark.sessionId);
    expect(server.configs).toHaveLength(1);
    const { sessionId, operation } = server.configs[0] ?? {};
    expect(sessionId).toBe(one.sessionId);
    expect(operation?.opType).toMatchObject({
      case: "set",
      value: {
        pairs: expect.arrayContaining([
          expect.objectContaining({ key: "spark.sql.codegen.wholeStage", value: "false" }),
          expect.objectContaining({ key: "spark.sql.session.timeZone", value: "UTC" }),
        ]),
      },
    });
  });

  it("begins another one before the server drops the first with its settings", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const open = sessionsForFewRows(spark, silentLogger);
    const first = await open();
    vi.setSystemTime(Date.now() + 15 * 60_000);
    expect(await open()).toBe(first);
    vi.setSystemTime(Date.now() + 15 * 60_000);
    expect(await open()).toBe(first);
    vi.setSystemTime(Date.now() + 21 * 60_000);
    expect((await open()).sessionId).not.toBe(first.sessionId);
    expect(server.configs).toHaveLength(2);
  });

  it("takes the run's own where the server gives no other", async () => {
    server.unaryFailures = [{ code: status.PERMISSION_DENIED, message: "one session only" }];
    const open = sessionsForFewRows(spark, silentLogger);
    expect(await open()).toBe(spark);
    expect(await open()).toBe(spark);
    expect(spark.client.isClosed).toBe(false);
  });
});
