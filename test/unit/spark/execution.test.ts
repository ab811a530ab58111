import { status } from "@grpc/grpc-js";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { SparkConnectError, SparkSession } from "../../../lib/spark/index.js";
import {
  connect,
  operationNotFound,
  queryResponses,
  RecordingClock,
  ScriptedServer,
  type StreamScript,
  toTheEnd,
  unavailable,
} from "./support/scripted-server.js";

const BATCHES = [[0, 1], [2], [3, 4, 5]];
const IDS = BATCHES.flat();
/** Schema, three batches, `result_complete`. */
const RESPONSES = 5;

describe("reattachable execution", () => {
  let server: ScriptedServer;
  let clock: RecordingClock;
  let spark: SparkSession;

  beforeEach(async () => {
    server = await ScriptedServer.start();
    server.responses = queryResponses(BATCHES);
    clock = new RecordingClock();
    spark = await connect(server, clock);
  });

  afterEach(async () => {
    await spark.close();
    server.stop();
  });

  /** All ids that a query yields, and a check that it left nothing behind on the server. */
  async function run(...streams: StreamScript[]): Promise<number[]> {
    server.streams = streams;
    const rows = await spark.range(6).collect();
    await spark.close();
    expect(server.releasedAll).toEqual([server.executes[0]?.operationId]);
    expect(server.openStreams).toBe(0);
    return rows.map((row) => Number(row.get(0)));
  }

  it("asks for a reattachable operation under an id of its own", async () => {
    expect(await run()).toEqual(IDS);
    const [request] = server.executes;
    expect(request?.operationId).toMatch(/^[0-9a-f-]{36}$/);
    expect(request?.requestOptions.map((option) => option.requestOption)).toMatchObject([
      { case: "reattachOptions", value: { reattachable: true } },
    ]);
    expect(server.reattaches).toEqual([]);
  });

  for (let cut = 0; cut < RESPONSES; cut++) {
    it(`goes on after a connection lost behind ${cut} responses, without loss or repetition`, async () => {
      expect(await run({ send: cut, after: unavailable }, toTheEnd)).toEqual(IDS);
      expect(server.executes).toHaveLength(1);
      expect(server.reattaches.map((request) => request.lastResponseId)).toEqual([
        cut === 0 ? undefined : `response-${cut}`,
      ]);
      expect(server.reattaches[0]?.operationId).toBe(server.executes[0]?.operationId);
    });

    it(`takes a clean end behind ${cut} responses for the server's limit, not for the end`, async () => {
      expect(await run({ send: cut, after: "end" }, toTheEnd)).toEqual(IDS);
      expect(server.reattaches).toHaveLength(1);
      expect(clock.sleeps).toEqual([]);
    });
  }

  it("is done with result_complete, however the stream ends behind it", async () => {
    expect(await run({ send: RESPONSES, after: unavailable })).toEqual(IDS);
    expect(server.reattaches).toEqual([]);
  });

  it("takes the stream up again after each single response", async () => {
    const streams = Array.from(
      { length: RESPONSES },
      (_, i): StreamScript => ({
        send: 1,
        after: i % 2 === 0 ? unavailable : "end",
      }),
    );
    expect(await run(...streams)).toEqual(IDS);
    expect(server.reattaches).toHaveLength(RESPONSES - 1);
  });

  it("keeps asking when the server has nothing yet, with growing pauses", async () => {
    const nothing: StreamScript = { send: 0, after: "end" };
    expect(await run(nothing, nothing, nothing, nothing, toTheEnd)).toEqual(IDS);
    expect(server.reattaches).toHaveLength(4);
    expect(clock.sleeps).toEqual([50, 100, 200]);
  });

  it("sends the plan again, under the same id, when the server never got it", async () => {
    expect(await run({ send: 0, after: unavailable }, { send: 0, after: operationNotFound }, toTheEnd)).toEqual(IDS);
    expect(server.calls.filter((call) => call === "execute" || call === "reattach")).toEqual([
      "execute",
      "reattach",
      "execute",
    ]);
    expect(new Set(server.executes.map((request) => request.operationId)).size).toBe(1);
  });

  it("reattaches when the plan that it sends again turns out to have arrived", async () => {
    const exists = {
      code: status.INTERNAL,
      message: "[INVALID_HANDLE.OPERATION_ALREADY_EXISTS] The handle is invalid. Operation already exists.",
    };
    const streams: StreamScript[] = [
      { send: 0, after: unavailable },
      { send: 0, after: operationNotFound },
      { send: 0, after: exists },
      toTheEnd,
    ];
    expect(await run(...streams)).toEqual(IDS);
    expect(server.calls.filter((call) => call === "execute" || call === "reattach")).toEqual([
      "execute",
      "reattach",
      "execute",
      "reattach",
    ]);
  });

  it("does not run a plan twice when the server forgot an operation whose responses had come", async () => {
    server.streams = [
      { send: 2, after: unavailable },
      { send: 0, after: operationNotFound },
    ];
    await expect(spark.range(6).collect()).rejects.toMatchObject({
      code: "RESPONSE_ALREADY_RECEIVED",
      condition: "INVALID_HANDLE.OPERATION_NOT_FOUND",
    });
    expect(server.executes).toHaveLength(1);
  });

  it("survives fifteen failures in a row, waiting longer each time", async () => {
    const down: StreamScript = { send: 0, after: unavailable };
    expect(await run(...Array.from({ length: 15 }, () => down), toTheEnd)).toEqual(IDS);
    expect(clock.sleeps.slice(0, 8)).toEqual([50, 200, 800, 3450, 13_050, 51_450, 60_250, 60_250]);
    expect(clock.sleeps).toHaveLength(15);
  });

  it("gives up after the sixteenth, with the error of the connection", async () => {
    server.streams = Array.from({ length: 16 }, (): StreamScript => ({ send: 0, after: unavailable }));
    await expect(spark.range(6).collect()).rejects.toMatchObject({ code: "UNAVAILABLE", retryable: true });
    expect(clock.sleeps).toHaveLength(15);
  });

  it("starts counting anew once something arrived", async () => {
    const down: StreamScript = { send: 0, after: unavailable };
    const burst = Array.from({ length: 12 }, () => down);
    expect(await run(...burst, { send: 2, after: unavailable }, ...burst, toTheEnd)).toEqual(IDS);
    expect(clock.sleeps[12]).toBe(50);
  });

  it("starts counting anew after a stream that held for long, however silent: balancers cut off silence", async () => {
    const failures = Array.from({ length: 40 }, () => ({ send: 0, after: unavailable }));
    let time = 0;
    const now = vi.spyOn(performance, "now").mockImplementation(() => {
      time += 30_000;
      return time;
    });
    try {
      expect(await run({ send: 1, after: unavailable }, ...failures, toTheEnd)).toEqual(IDS);
    } finally {
      now.mockRestore();
    }
    expect(new Set(clock.sleeps)).toEqual(new Set([50]));
  });

  it("waits as long as the server asks, whatever the status, up to ten minutes", async () => {
    const asks = (retryAfterMs: number): StreamScript => ({
      send: 0,
      after: { code: status.RESOURCE_EXHAUSTED, message: "busy", retryAfterMs },
    });
    expect(await run(asks(1_500), asks(7_000), asks(3_600_000), toTheEnd)).toEqual(IDS);
    expect(clock.sleeps).toEqual([1_500, 7_250, 600_250]);
  });

  it("tries again when another call took its cursor", async () => {
    const disconnected = {
      code: status.INTERNAL,
      message: "[INVALID_CURSOR.DISCONNECTED] The cursor is invalid. The cursor has been disconnected by the server.",
    };
    expect(await run({ send: 2, after: disconnected }, toTheEnd)).toEqual(IDS);
  });

  it.each([
    "[OPERATION_ABANDONED] Operation was abandoned.",
    "[INVALID_CURSOR.POSITION_NOT_AVAILABLE] The cursor position is no longer available.",
    "[DIVIDE_BY_ZERO] Division by zero. SQLSTATE: 22012",
  ])("does not repeat what can't succeed: %s", async (message) => {
    server.streams = [{ send: 2, after: { code: status.INTERNAL, message } }];
    await expect(spark.range(6).collect()).rejects.toMatchObject({ condition: message.slice(1, message.indexOf("]")) });
    expect(server.reattaches).toEqual([]);
    expect(clock.sleeps).toEqual([]);
    await spark.close();
    expect(server.releasedAll).toHaveLength(1);
  });

  it("releases what was consumed while it reads on", async () => {
    server.responses = queryResponses(Array.from({ length: 50 }, (_, i) => [i]));
    expect(await run()).toHaveLength(50);
    expect(server.releasedUntil.length).toBeGreaterThan(0);
    const positions = server.releasedUntil.map((id) => Number(id.replace("response-", "")));
    expect(positions).toEqual([...positions].sort((a, b) => a - b));
    expect(server.calls.lastIndexOf("release")).toBe(server.calls.length - 1);
  });

  it("does not mind a release that fails", async () => {
    server.releaseFails = true;
    expect(await run()).toEqual(IDS);
  });

  it("frees the operation when a loop is left early", async () => {
    server.streams = [{ send: 2, after: "hang" }];
    const seen: number[] = [];
    for await (const row of spark.range(6)) {
      seen.push(Number(row.get(0)));
      break;
    }
    await spark.close();
    expect(seen).toEqual([0]);
    expect(server.releasedAll).toEqual([server.executes[0]?.operationId]);
    await expect.poll(() => server.openStreams).toBe(0);
    expect(server.interrupts).toEqual([]);
  });

  it("frees the operation when the loop's body throws", async () => {
    server.streams = [{ send: 2, after: "hang" }];
    const failing = async () => {
      for await (const _ of spark.range(6)) throw new Error("not today");
    };
    await expect(failing()).rejects.toThrow("not today");
    await spark.close();
    expect(server.releasedAll).toHaveLength(1);
  });

  it("does not wait minutes to interrupt a query on a server that is gone", async () => {
    server.streams = [{ send: 2, after: "hang" }];
    const controller = new AbortController();
    const rows = spark.range(6).collect({ signal: controller.signal });
    await vi.waitUntil(() => server.openStreams === 1);
    server.stop();
    controller.abort(new Error("interrupted by SIGTERM"));
    await expect(rows).rejects.toMatchObject({ code: "OPERATION_CANCELED" });
    expect(clock.sleeps.length).toBeGreaterThan(0);
    expect(clock.sleeps.reduce((sum, ms) => sum + ms, 0)).toBeLessThan(10_000);
  });

  it("interrupts the operation on the server when its signal fires, and rejects", async () => {
    server.streams = [{ send: 2, after: "hang" }];
    const controller = new AbortController();
    const seen: number[] = [];
    const reading = (async () => {
      for await (const row of spark.range(6).rows({ signal: controller.signal })) {
        seen.push(Number(row.get(0)));
        if (seen.length === 2) setImmediate(() => controller.abort(new Error("enough")));
      }
    })();
    await expect(reading).rejects.toMatchObject({
      name: "AbortError",
      code: "OPERATION_CANCELED",
      message: "The operation was canceled: enough",
    });
    expect(seen).toEqual([0, 1]);
    expect(server.interrupts.map((request) => request.interrupt)).toMatchObject([
      { case: "operationId", value: server.executes[0]?.operationId },
    ]);
    await spark.close();
    expect(server.releasedAll).toHaveLength(1);
    await expect.poll(() => server.openStreams).toBe(0);
  });

  it("sends nothing when the signal has fired already", async () => {
    const signal = AbortSignal.abort();
    await expect(spark.range(6).collect({ signal })).rejects.toMatchObject({ code: "OPERATION_CANCELED" });
    await expect(spark.range(6).schema({ signal })).rejects.toMatchObject({ code: "OPERATION_CANCELED" });
    expect(server.executes).toEqual([]);
    expect(server.releases).toEqual([]);
  });

  it("leaves no listener on a signal that outlives its operations", async () => {
    const { signal } = new AbortController();
    let listeners = 0;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners += 1;
      add(...args);
    };
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners -= 1;
      remove(...args);
    };
    for (let i = 0; i < 3; i++) expect(await spark.range(6).collect({ signal })).toHaveLength(6);
    expect(listeners).toBe(0);
  });

  it("notices rows that are missing", async () => {
    server.responses.splice(2, 1);
    await expect(spark.range(6).collect()).rejects.toMatchObject({
      code: "PROTOCOL_ERROR",
      message: "Expected row 2 of the result, the server sent row 3",
    });
  });

  it("notices a server that was restarted under it, and stays dead", async () => {
    server.serverSideSessionId = "first";
    expect(await spark.range(6).collect()).toHaveLength(6);
    server.serverSideSessionId = "second";
    await expect(spark.range(6).collect()).rejects.toMatchObject({ code: "SESSION_CHANGED" });
    const sent = server.executes.length;
    await expect(spark.range(6).count()).rejects.toMatchObject({ code: "SESSION_CHANGED" });
    expect(server.executes).toHaveLength(sent);
  });

  it("tells the server which server-side session it saw", async () => {
    server.serverSideSessionId = "first";
    await spark.range(6).collect();
    await spark.range(6).collect();
    expect(server.executes.map((request) => request.clientObservedServerSideSessionId)).toEqual([undefined, "first"]);
  });

  it("is refused after close", async () => {
    await spark.close();
    const error = await spark
      .range(6)
      .collect()
      .catch((caught: SparkConnectError) => caught);
    expect(error).toMatchObject({ code: "SESSION_CLOSED" });
  });
});
