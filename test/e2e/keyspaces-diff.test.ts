import { randomUUID } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CreateBucketCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { auth, Client } from "cassandra-driver";
import { afterAll, beforeAll, expect, inject, test, vi } from "vitest";
import type { RunReportJson } from "../../lib/glue/index.js";
import { ensureCassandra } from "../../lib/targets/local/cassandra.js";
import { AWS_TEST_OPTIONS, awsVariables } from "../support/aws.js";
import { startBuilt } from "../support/built-command.js";

vi.setConfig({ testTimeout: 400_000 });

const bucket = `backup-${randomUUID().slice(0, 8)}`;
const s3 = new S3Client({ ...AWS_TEST_OPTIONS, endpoint: inject("awsEndpoint"), forcePathStyle: true });

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "glue-connect-chain-"));
  await s3.send(new CreateBucketCommand({ Bucket: bucket }));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** The built command, with the emulator as AWS. */
const start = (...args: readonly string[]) => startBuilt(folder, args, awsVariables(inject("awsEndpoint")));

async function run(...args: readonly string[]): Promise<{ readonly stdout: string; readonly stderr: string }> {
  const { code, ...said } = await start(...args).ended;
  expect({ code, stderr: said.stderr }).toEqual({ code: 0, stderr: expect.any(String) });
  return said;
}

test("an object in the watched prefix starts export, comparison and import; the copy gets what was inserted, changed, cleared and deleted", async () => {
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
    const found = await client.execute(`SELECT row_id, value, partition_id, day FROM sample.${table}`, [], {
      fetchSize: 50_000,
    });
    return found.rows.map((row) => JSON.stringify(row.values())).toSorted();
  };
  const sample = await run("sample", "keyspaces-diff");
  const given = Object.fromEntries(
    [...sample.stdout.matchAll(/--([A-Z]\w+) (\S+)/g)].map(([, name = "", value = ""]) => [name, value]),
  );
  const mirror: Record<string, string> = { ...given, S3URI: `s3://${bucket}/carts/` };

  // By hand first: the copy gets everything.
  const argv = Object.entries(mirror).flatMap(([name, value]) => [`--${name}`, value]);
  const first = await run("run", "keyspaces-diff", ...argv, "--json");
  expect(first.stdout + first.stderr).not.toContain(password);
  expect((JSON.parse(first.stdout) as RunReportJson).tables).toMatchObject({
    "2 import into embedded/sample.random_access_copy": { inserted: 5_000 },
  });
  const before = await rows("random_access_copy");
  expect(before).toHaveLength(5_000);
  expect(before).toEqual(await rows("random_access"));
  expect(before.some((row) => row.startsWith('["199","'))).toBe(true);

  const { JOB_NAME: _, ...args } = mirror;
  const config = {
    region: AWS_TEST_OPTIONS.region,
    jobs: { mirror: { job: "keyspaces-diff", arguments: args } },
    workflows: { carts: { maxConcurrentRuns: 1 } },
    triggers: {
      "carts-ready": {
        type: "EVENT",
        workflow: "carts",
        event: { prefix: `s3://${bucket}/ready/`, suffix: ".json" },
        actions: [{ job: "mirror" }],
        startOnCreation: true,
      },
    },
  };
  await writeFile(join(folder, "glue-connect.config.mjs"), `export default ${JSON.stringify(config)};`);
  const scheduler = start("scheduler");
  try {
    await expect.poll(() => scheduler.said.stderr, { timeout: 60_000 }).toContain("scheduler of 1 triggers");
    await run("sample", "keyspaces-diff", "--change");
    for (const Key of ["carts/not-watched.json", "ready/readme.txt", "ready/monday.json"]) {
      await s3.send(new PutObjectCommand({ Bucket: bucket, Key, Body: "{}" }));
    }
    await expect
      .poll(() => scheduler.said.stderr, { timeout: 200_000, interval: 200 })
      .toContain("workflow carts is COMPLETED");
  } finally {
    scheduler.child.kill("SIGTERM");
    await scheduler.ended;
  }

  const [chain, ...more] = JSON.parse((await run("workflow", "status", "--json")).stdout) as {
    readonly properties: object;
    readonly statistics: object;
    readonly runs: readonly { readonly id: string }[];
  }[];
  expect(more).toEqual([]);
  expect(chain).toMatchObject({
    properties: { "event.uri": `s3://${bucket}/ready/monday.json` },
    statistics: { TotalActions: 1, SucceededActions: 1 },
  });
  const own = join(inject("stateHome"), "runs", chain?.runs[0]?.id ?? "");
  expect((JSON.parse(await readFile(join(own, "report.json"), "utf8")) as RunReportJson).tables).toMatchObject({
    [`2 changes since ${known(first.stdout)}`]: { inserted: 500, updated: 1_000, deleted: 200 },
    "3 import into embedded/sample.random_access_copy": {
      inserted: 500,
      updated: 1_000,
      deleted: 200,
      reason: "on the executors",
    },
  });
  expect((await readFile(join(own, "output.log"), "utf8")) + scheduler.said.stderr).not.toContain(password);

  const after = await rows("random_access_copy");
  expect(after).toEqual(await rows("random_access"));
  expect(after).toHaveLength(5_300);
  expect(after.filter((row) => row.startsWith('["199","'))).toEqual([]);
  // A cell that was cleared is NULL, and not what it was.
  expect(after.filter((row) => JSON.parse(row)[1] === null)).toHaveLength(100);
});

/** The export that the first run has made. */
function known(report: string): string {
  const { tables } = JSON.parse(report) as RunReportJson;
  return String(Object.entries(tables).find(([name]) => name.startsWith("1 export of"))?.[1]?.target);
}
