import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import { expect, onTestFinished, test, vi } from "vitest";
import { localServers } from "../../../lib/cli/local-servers.js";
import { silentLogger } from "../../../lib/logger.js";
import { ExecutePlanRequestSchema } from "../../../lib/spark/generated/spark/connect/base_pb.js";
import { localDown, localEnvironment, localStatus } from "../../../lib/targets/local/local.js";
import { poll } from "../../../lib/targets/local/poll.js";
import { identifyProcess } from "../../../lib/targets/local/process-identity.js";
import { ensureSpark } from "../../../lib/targets/local/spark.js";
import { ownHome, processesNaming } from "./own-home.js";
import { output, program } from "./own-process.js";

/** Whatever becomes of a test, what it started ends with its process. */
const ownerPid = process.pid;

const ENSURE = `const [, , home, ownerPid] = process.argv;
const { pid, port, started } = await targets.ensureSpark({ home, ownerPid: Number(ownerPid) });
console.log(JSON.stringify({ pid, port, started }));`;

interface Ensured {
  readonly pid: number;
  readonly port: number;
  readonly started: boolean;
}

async function ended(pid: number): Promise<boolean> {
  return (await poll(() => (identifyProcess(pid) === undefined ? true : undefined), { timeoutMs: 30_000 })) ?? false;
}

test("one server for all: callers in three processes, one later, one after its state file was lost track of", async () => {
  const home = ownHome();
  const ensure = await program(ENSURE);
  const first = (await Promise.all([1, 2, 3].map(() => output(ensure(home, String(ownerPid)))))).map(
    (text) => JSON.parse(text) as Ensured,
  );
  expect(new Set(first.map(({ pid }) => pid)).size).toBe(1);
  expect(first.filter(({ started }) => started)).toHaveLength(1);
  expect(processesNaming(home)).toEqual([first[0]?.pid]);

  const later = await ensureSpark({ home, ownerPid });
  expect(later).toMatchObject({ pid: first[0]?.pid, port: first[0]?.port, started: false });

  // Its process is there, and is another's: as after a restart of the machine.
  const stateFile = join(home, "spark.json");
  const state = JSON.parse(readFileSync(stateFile, "utf8")) as object;
  writeFileSync(stateFile, JSON.stringify({ ...state, pid: process.pid }));
  const anew = await ensureSpark({ home, ownerPid });
  expect(anew.started).toBe(true);
  expect(anew.pid).not.toBe(later.pid);

  const [spark] = await localStatus({ home });
  expect(spark).toMatchObject({ state: "up", pid: anew.pid, endpoint: `sc://127.0.0.1:${anew.port}` });
  expect(await localEnvironment({ home })).toEqual({ SPARK_REMOTE: anew.remote });

  // Without --remote a run with tables on S3 asks for a local Spark that can read them.
  vi.stubEnv("GLUE_CONNECT_HOME", home);
  onTestFinished(() => void vi.unstubAllEnvs());
  const servers = localServers(silentLogger, new AbortController().signal);
  expect(await servers.spark({ locations: ["file:///tmp"] })).toEqual({ remote: anew.remote });
  await expect(servers.spark({ locations: ["s3://bucket/tables"] })).rejects.toMatchObject({
    code: "SPARK_WITHOUT_S3",
    hint: expect.stringContaining("local down spark"),
  });

  expect(await localDown(["spark", "postgres"], { home })).toEqual([{ name: "spark", pid: anew.pid }]);
  expect(identifyProcess(anew.pid)).toBeUndefined();
  expect(existsSync(stateFile)).toBe(false);
  // The one that was lost track of is not touched by it.
  expect(processesNaming(home)).toEqual([later.pid]);
  process.kill(later.pid);
  expect(await ended(later.pid)).toBe(true);
});

test("a caller that is killed while it starts one leaves it to the next", async () => {
  const home = ownHome();
  const ensure = await program(ENSURE);
  const killed = ensure(home, String(ownerPid));
  // The process alone is not enough: a caller that dies before it has noted the server leaves nothing to find it by.
  const noted = () => existsSync(join(home, "spark.json"));
  const started = () => (noted() ? processesNaming(join(home, "spark", "spark.properties"))[0] : undefined);
  const pid = await poll(started, { timeoutMs: 60_000 });
  killed.kill("SIGKILL");
  await once(killed, "close");
  const next = await ensureSpark({ home, ownerPid });
  expect(next).toMatchObject({ pid, started: false });
});

test("it ends with the process that it was started for", async () => {
  const home = ownHome();
  const start = await program(`const [, , home] = process.argv;
    console.log((await targets.ensureSpark({ home, ownerPid: process.pid })).pid);`);
  const pid = Number(await output(start(home)));
  expect(await ended(pid)).toBe(true);
});

test("it ends when nobody uses it, and not before: a job whose client has gone is use", async () => {
  const home = ownHome();
  const { port, remote, pid, logFile } = await ensureSpark({ home, ownerPid, idleMinutes: 2 / 60 });
  const begun = performance.now();
  await abandonQuery(
    port,
    remote.split("token=")[1] ?? "",
    "select reflect('java.lang.Thread', 'sleep', 6000L) from range(1)",
  );
  expect(await ended(pid)).toBe(true);
  const seconds = (performance.now() - begun) / 1000;
  expect(seconds).toBeGreaterThan(7);
  expect(readFileSync(logFile, "utf8")).toContain("Stopping: nobody used it for 2 s");
  expect(await localStatus({ home })).toContainEqual({ name: "spark", state: "down" });
  expect(processesNaming(home)).toEqual([]);
});

/** Sends a query that the server goes on with, and goes away. */
async function abandonQuery(port: number, token: string, query: string): Promise<void> {
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  const metadata = new Metadata();
  metadata.set("authorization", `Bearer ${token}`);
  const call = client.makeServerStreamRequest(
    "/spark.connect.SparkConnectService/ExecutePlan",
    (message: Uint8Array) => Buffer.from(message),
    (bytes: Buffer) => bytes,
    toBinary(
      ExecutePlanRequestSchema,
      create(ExecutePlanRequestSchema, {
        sessionId: randomUUID(),
        operationId: randomUUID(),
        userContext: { userId: "test" },
        plan: {
          opType: { case: "root", value: { relType: { case: "sql", value: { query } } } },
        },
        requestOptions: [{ requestOption: { case: "reattachOptions", value: { reattachable: true } } }],
      }),
    ),
    metadata,
  );
  call.on("error", () => {});
  // The schema comes first, when the query has begun.
  await once(call, "data");
  call.cancel();
  client.close();
}
