import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { auth, Client } from "cassandra-driver";
import { expect, inject, test, vi } from "vitest";
import { ensureCassandra } from "../../lib/targets/local/cassandra.js";

vi.setConfig({ testTimeout: 400_000 });

const MAIN = join(import.meta.dirname, "..", "..", "dist", "lib", "cli", "main.js");

/** The built command, with the suite's servers as those of this machine. */
async function run(...args: readonly string[]): Promise<{ readonly stdout: string; readonly stderr: string }> {
  const child = spawn(process.execPath, [MAIN, ...args], {
    env: { ...process.env, GLUE_CONNECT_HOME: inject("stateHome"), NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (data) => {
    stdout += data;
  });
  child.stderr.on("data", (data) => {
    stderr += data;
  });
  const [code] = await once(child, "close");
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.any(String) });
  return { stdout, stderr };
}

test("the sample, the chain, changes, the chain: one command each on the servers of this machine, and both tables are equal", async () => {
  const options = { home: inject("stateHome"), ownerPid: inject("runPid"), idleMinutes: 0, ephemeral: true };
  const { host, port, localDataCenter, username, password } = await ensureCassandra(options);
  await using client = Object.assign(
    new Client({
      contactPoints: [host],
      protocolOptions: { port },
      localDataCenter,
      authProvider: new auth.PlainTextAuthProvider(username, password),
    }),
    { [Symbol.asyncDispose]: () => client.shutdown() },
  );
  const rows = async (table: string) => {
    const found = await client.execute(`SELECT * FROM sample.${table}`, [], { fetchSize: 50_000 });
    return found.rows.map((row) => JSON.stringify(row.values())).toSorted();
  };
  const sample = await run("sample", "keyspaces-diff");
  const argv = [...sample.stdout.matchAll(/(--[A-Z]\w+) (\S+)/g)].flatMap(([, name, value]) => [`${name}`, `${value}`]);
  const chain = async () => {
    const { stdout, stderr } = await run("run", "keyspaces-diff", ...argv, "--json");
    expect(stdout + stderr).not.toContain(password);
    expect(await rows("random_access_copy")).toEqual(await rows("random_access"));
    return JSON.parse(stdout) as { tables: Record<string, unknown> };
  };
  const first = await chain();
  expect(first.tables["2 import into embedded/sample.random_access_copy"]).toMatchObject({ inserted: 5_000 });
  await run("sample", "keyspaces-diff", "--change");
  const second = await chain();
  expect(second.tables["3 import into embedded/sample.random_access_copy"]).toMatchObject({
    inserted: 500,
    updated: 1000,
    deleted: 200,
    reason: "on the executors",
  });
  expect(await rows("random_access")).toHaveLength(5_300);
});
