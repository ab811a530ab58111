import { once } from "node:events";
import { chmodSync, existsSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { networkInterfaces, userInfo } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { describe, expect, onTestFinished, test } from "vitest";
import { localDown, localEnvironment, localStatus } from "../../../lib/targets/local/local.js";
import { poll } from "../../../lib/targets/local/poll.js";
import { ensurePostgres, type LocalPostgres } from "../../../lib/targets/local/postgres.js";
import { serviceAccount } from "../../../lib/targets/local/postgres-account.js";
import { identifyProcess } from "../../../lib/targets/local/process-identity.js";
import { ownHome, processesNaming } from "./own-home.js";
import { output, program } from "./own-process.js";

/** Whatever becomes of a test, what it started ends with its process. */
const ownerPid = process.pid;

async function query(url: string, sql: string): Promise<readonly unknown[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

async function ended(pid: number): Promise<boolean> {
  return (await poll(() => (identifyProcess(pid) === undefined ? true : undefined), { timeoutMs: 30_000 })) ?? false;
}

/** The server and its guard. */
function processesOf(home: string, { url }: LocalPostgres): readonly number[] {
  return [...new Set([...processesNaming(home), ...processesNaming(`port=${new URL(url).port}`)])];
}

test("data and password survive a restart; down leaves no process", async () => {
  const home = ownHome();
  const first = await ensurePostgres({ home, ownerPid });
  expect(first.started).toBe(true);
  await query(first.url, "create table kept as select 'ü' as a");
  expect(await query(first.url, "show fsync")).toEqual([{ fsync: "on" }]);
  expect(statSync(join(home, "postgres.json")).mode & 0o777).toBe(0o600);
  expect(statSync(join(home, "postgres", "password")).mode & 0o777).toBe(0o600);
  expect(await localEnvironment({ home })).toEqual({ DATABASE_URL: first.url });

  const again = await ensurePostgres({ home, ownerPid });
  expect(again).toEqual({ ...first, started: false });

  expect(await localDown(["postgres"], { home })).toEqual([{ name: "postgres", pid: first.pid }]);
  expect(await poll(() => processesOf(home, first).length === 0 || undefined, { timeoutMs: 10_000 })).toBe(true);
  expect(await localStatus({ home })).toContainEqual({ name: "postgres", state: "down" });

  const second = await ensurePostgres({ home, ownerPid });
  expect(second).toMatchObject({ started: true, password: first.password });
  expect(await query(second.url, "select * from kept")).toEqual([{ a: "ü" }]);
});

test("it was killed: the next start recovers what was committed", async () => {
  const home = ownHome();
  const first = await ensurePostgres({ home, ownerPid });
  await query(first.url, "create table kept as select 1 as a");
  process.kill(first.pid, "SIGKILL");
  expect(await ended(first.pid)).toBe(true);
  const second = await ensurePostgres({ home, ownerPid });
  expect(second.started).toBe(true);
  expect(await query(second.url, "select * from kept")).toEqual([{ a: 1 }]);
});

test("a state file whose pid is another program's counts for nothing", async () => {
  const home = ownHome();
  const { pid, url } = await ensurePostgres({ home, ownerPid });
  const stateFile = join(home, "postgres.json");
  const state = JSON.parse(readFileSync(stateFile, "utf8")) as object;
  await localDown(["postgres"], { home });
  writeFileSync(stateFile, JSON.stringify({ ...state, pid: process.pid }));
  const anew = await ensurePostgres({ home, ownerPid });
  expect(anew.started).toBe(true);
  expect(anew.pid).not.toBe(pid);
  expect(anew.password).toBe(new URL(url).password);
});

test("callers in three processes get one server", async () => {
  const home = ownHome();
  const ensure = await program(`const [, , home, ownerPid] = process.argv;
    const { pid, started } = await targets.ensurePostgres({ home, ownerPid: Number(ownerPid) });
    console.log(JSON.stringify({ pid, started }));`);
  const all = (await Promise.all([1, 2, 3].map(() => output(ensure(home, String(ownerPid)))))).map(
    (text) => JSON.parse(text) as { pid: number; started: boolean },
  );
  expect(new Set(all.map(({ pid }) => pid)).size).toBe(1);
  expect(all.filter(({ started }) => started)).toHaveLength(1);
});

test("a wrong password and none are refused, and other addresses hear nothing", async () => {
  const { url, port } = await ensurePostgres({ home: ownHome(), ownerPid, ephemeral: true });
  const wrong = new URL(url);
  wrong.password = "guess";
  await expect(query(wrong.href, "select 1")).rejects.toMatchObject({ code: "28P01" });
  wrong.password = "";
  await expect(query(wrong.href, "select 1")).rejects.toThrow();
  const outside = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ internal, family }) => !internal && family === "IPv4");
  for (const { address } of outside) {
    const elsewhere = new URL(url);
    elsewhere.hostname = address;
    elsewhere.port = String(port);
    await expect(query(elsewhere.href, "select 1")).rejects.toMatchObject({ code: "ECONNREFUSED" });
  }
});

test("it stops when nobody uses it, not while a client is connected, and its guard with it", async () => {
  const home = ownHome();
  const server = await ensurePostgres({ home, ownerPid, ephemeral: true, idleMinutes: 2 / 60 });
  const client = new pg.Client({ connectionString: server.url });
  await client.connect();
  const begun = performance.now();
  await client.query("select pg_sleep(4)");
  await client.end();
  expect(await ended(server.pid)).toBe(true);
  expect((performance.now() - begun) / 1000).toBeGreaterThan(5);
  expect(await poll(() => processesOf(home, server).length === 0 || undefined, { timeoutMs: 10_000 })).toBe(true);
});

test("it ends with the process that it was started for, and takes its data with it when that is ephemeral", async () => {
  const home = ownHome();
  const start = await program(`const [, , home] = process.argv;
    console.log((await targets.ensurePostgres({ home, ephemeral: true, ownerPid: process.pid, idleMinutes: 0 })).pid);`);
  const pid = Number(await output(start(home)));
  const state = JSON.parse(readFileSync(join(home, "postgres.json"), "utf8")) as { dataFolder: string };
  expect(await ended(pid)).toBe(true);
  expect(await poll(() => (existsSync(state.dataFolder) ? undefined : true), { timeoutMs: 10_000 })).toBe(true);
});

describe("clear errors", () => {
  test("a busy port", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    onTestFinished(() => void server.close());
    await once(server, "listening");
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    await expect(ensurePostgres({ home: ownHome(), ownerPid, port })).rejects.toMatchObject({
      code: "POSTGRES_PORT_BUSY",
    });
  });

  test("a setting that PostgreSQL doesn't know", async () => {
    const settings = { no_such_setting: "1" };
    await expect(ensurePostgres({ home: ownHome(), ownerPid, ephemeral: true, settings })).rejects.toMatchObject({
      code: "POSTGRES_START_FAILED",
      problems: [expect.stringContaining("no_such_setting"), expect.stringContaining("Its log is")],
    });
  });

  test("a GLUE_CONNECT_PG_BIN without PostgreSQL", async () => {
    const env = { ...process.env, GLUE_CONNECT_PG_BIN: "/nowhere" };
    await expect(ensurePostgres({ home: ownHome(), ownerPid, env })).rejects.toMatchObject({
      code: "POSTGRES_MISSING",
      message: "GLUE_CONNECT_PG_BIN is /nowhere, and initdb and postgres can't be run there",
      exitCode: 66,
    });
  });

  test("data of another version, and data whose password is gone", async () => {
    const home = ownHome();
    await ensurePostgres({ home, ownerPid });
    const { dataFolder } = JSON.parse(readFileSync(join(home, "postgres.json"), "utf8")) as { dataFolder: string };
    await localDown(["postgres"], { home });
    const version = readFileSync(join(dataFolder, "PG_VERSION"), "utf8");
    writeFileSync(join(dataFolder, "PG_VERSION"), "9\n");
    await expect(ensurePostgres({ home, ownerPid })).rejects.toMatchObject({
      code: "POSTGRES_DATA_UNUSABLE",
      message: expect.stringContaining("is of PostgreSQL 9, the programs are postgres (PostgreSQL)"),
    });
    writeFileSync(join(dataFolder, "PG_VERSION"), version);
    rmSync(join(home, "postgres", "password"));
    await expect(ensurePostgres({ home, ownerPid })).rejects.toMatchObject({
      code: "POSTGRES_DATA_UNUSABLE",
      message: expect.stringContaining("password"),
    });
  });
});

describe("whoever starts it", () => {
  test("root's runs as another user, anyone else's as themselves", async () => {
    const { pid } = await ensurePostgres({ home: ownHome(), ownerPid, ephemeral: true });
    const runner = Number(/^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
    expect(runner).toBe(serviceAccount()?.uid ?? userInfo().uid);
    expect(runner).not.toBe(0);
  });

  test("with a state home that it can't get to, as under /root: the data is elsewhere, and stays there", async () => {
    const home = ownHome();
    chmodSync(join(home, ".."), 0o700);
    const first = await ensurePostgres({ home, ownerPid });
    const { dataFolder } = JSON.parse(readFileSync(join(home, "postgres.json"), "utf8")) as { dataFolder: string };
    // For whoever isn't root a closed folder of their own is no obstacle.
    expect(dataFolder.startsWith(home)).toBe(serviceAccount() === undefined);
    if (!dataFolder.startsWith(home)) {
      onTestFinished(async () => {
        await localDown(["postgres"], { home });
        rmSync(join(dataFolder, ".."), { recursive: true });
      });
    }
    await query(first.url, "create table kept as select 1 as a");
    await localDown(["postgres"], { home });

    chmodSync(join(home, ".."), 0o711);
    const second = await ensurePostgres({ home, ownerPid });
    expect(await query(second.url, "select * from kept")).toEqual([{ a: 1 }]);
  });
});
