import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { auth, Client } from "cassandra-driver";
import { expect, onTestFinished, test, vi } from "vitest";
import { ensureCassandra, type LocalCassandra } from "../../../lib/targets/local/cassandra.js";
import { cassandraRefusal } from "../../../lib/targets/local/cassandra-probe.js";
import { localDown, localStatus } from "../../../lib/targets/local/local.js";
import { poll } from "../../../lib/targets/local/poll.js";
import { identifyProcess } from "../../../lib/targets/local/process-identity.js";
import { ownHome } from "./own-home.js";
import { output, program } from "./own-process.js";

// A node starts in 4 s on a machine of its own; here Spark and PostgreSQL are at work beside it.
vi.setConfig({ testTimeout: 400_000 });

/** Whatever becomes of a test, what it started ends with its process. */
const ownerPid = process.pid;

async function query(node: LocalCassandra, statements: readonly string[], password = node.password) {
  const client = new Client({
    contactPoints: [node.host],
    protocolOptions: { port: node.port },
    localDataCenter: node.localDataCenter,
    authProvider: new auth.PlainTextAuthProvider(node.username, password),
  });
  try {
    let rows: readonly Record<string, unknown>[] = [];
    for (const statement of statements) rows = (await client.execute(statement)).rows ?? [];
    return rows.map((row) => ({ ...row }));
  } finally {
    await client.shutdown();
  }
}

async function ended(pid: number): Promise<boolean> {
  return (await poll(() => (identifyProcess(pid) === undefined ? true : undefined), { timeoutMs: 60_000 })) ?? false;
}

test("one node for all, on loopback, with a password; data survives a kill and a restart", async () => {
  const home = ownHome();
  const ensure = await program(`const [, , home, ownerPid] = process.argv;
    const { pid, started } = await targets.ensureCassandra({ home, ownerPid: Number(ownerPid) });
    console.log(JSON.stringify({ pid, started }));`);
  const all = (await Promise.all([1, 2].map(() => output(ensure(home, String(ownerPid)))))).map(
    (text) => JSON.parse(text) as { pid: number; started: boolean },
  );
  expect(new Set(all.map(({ pid }) => pid)).size).toBe(1);
  expect(all.filter(({ started }) => started)).toHaveLength(1);
  const node = await ensureCassandra({ home, ownerPid });
  expect(node).toMatchObject({ pid: all[0]?.pid, started: false, localDataCenter: "datacenter1" });
  expect(statSync(join(home, "cassandra.json")).mode & 0o777).toBe(0o600);
  expect(await localStatus({ home })).toContainEqual(
    expect.objectContaining({ name: "cassandra", state: "up", endpoint: `127.0.0.1:${node.port}` }),
  );
  expect(readFileSync(`/proc/${node.pid}/cmdline`, "utf8")).not.toContain(node.password);

  await query(node, [
    "CREATE KEYSPACE kept WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
    "CREATE TABLE kept.t (a int PRIMARY KEY, b text)",
    "INSERT INTO kept.t (a, b) VALUES (1, 'ü')",
  ]);
  await expect(query(node, ["SELECT * FROM kept.t"], "guess")).rejects.toThrow();
  for (const { address } of Object.values(networkInterfaces()).flatMap((list) => list ?? [])) {
    if (address.startsWith("127.") || address.includes(":")) continue;
    expect(await cassandraRefusal(address, node.port, 5_000), address).toContain("ECONNREFUSED");
  }

  process.kill(node.pid, "SIGKILL");
  expect(await ended(node.pid)).toBe(true);
  const second = await ensureCassandra({ home, ownerPid });
  expect(second).toMatchObject({ started: true });
  expect(await query(second, ["SELECT * FROM kept.t"])).toEqual([{ a: 1, b: "ü" }]);

  expect(await localDown(["cassandra"], { home })).toEqual([{ name: "cassandra", pid: second.pid }]);
  expect(identifyProcess(second.pid)).toBeUndefined();
  expect(await localStatus({ home })).toContainEqual({ name: "cassandra", state: "down" });
});

test("it stops when nobody uses it, and not before; it ends with its owner; what was ephemeral goes", async () => {
  const home = ownHome();
  const node = await ensureCassandra({ home, ownerPid, ephemeral: true, idleMinutes: 3 / 60 });
  const client = new Client({
    contactPoints: [node.host],
    protocolOptions: { port: node.port },
    localDataCenter: node.localDataCenter,
    authProvider: new auth.PlainTextAuthProvider(node.username, node.password),
  });
  await client.connect();
  const begun = performance.now();
  // It is looked at twice a second: longer than its idle time it stays while a client is connected.
  expect(await poll(() => (identifyProcess(node.pid) ? undefined : true), { timeoutMs: 5_000 })).toBeUndefined();
  await client.shutdown();
  expect(await ended(node.pid)).toBe(true);
  expect(performance.now() - begun).toBeGreaterThan(8_000);

  const start = await program(`const [, , home] = process.argv;
    console.log((await targets.ensureCassandra({ home, ephemeral: true, ownerPid: process.pid, idleMinutes: 0 })).pid);`);
  const pid = Number(await output(start(home)));
  expect(await ended(pid)).toBe(true);
  const folders = () => readdirSync(join(home, "cassandra"));
  expect(folders()).toHaveLength(1);
  await ensureCassandra({ home, ownerPid, ephemeral: true });
  expect(folders()).toHaveLength(1);
  await localDown(["cassandra"], { home });
  expect(folders()).toEqual([]);
  expect(existsSync(join(home, "cassandra.json"))).toBe(false);
});

test("a busy port is told before anything starts", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  onTestFinished(() => void server.close());
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  await expect(ensureCassandra({ home: ownHome(), ownerPid, port })).rejects.toMatchObject({
    code: "CASSANDRA_PORT_BUSY",
  });
});
