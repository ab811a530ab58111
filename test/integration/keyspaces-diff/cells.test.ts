import { afterAll, beforeAll, expect, test, vi } from "vitest";
import exportJob from "../../../jobs/keyspaces-diff/export-job.js";
import importJob from "../../../jobs/keyspaces-diff/import-job.js";
import chain from "../../../jobs/keyspaces-diff/job.js";
import { createObjectStore } from "../../../lib/storage/index.js";
import { KeyspacesScenario } from "../../support/keyspaces-scenario.js";

vi.setConfig({ testTimeout: 400_000, hookTimeout: 400_000 });

const KEYSPACE = "cells";
let s: KeyspacesScenario;
beforeAll(async () => {
  s = await KeyspacesScenario.create(KEYSPACE);
});
afterAll(async () => {
  await s?.[Symbol.asyncDispose]();
});

/** Rows with what is known of their cells, without those that go. */
async function cells(table: string) {
  const { rows } = await s.cassandra.client.execute(
    `SELECT a, b, v, w, s, ttl_v, tags, writetime(v) AS wv, writetime(w) AS ww, writetime(s) AS ws,
       ttl(v) AS tv, ttl(w) AS tw, ttl(s) AS ts FROM ${KEYSPACE}.${table}`,
  );
  const all = rows.map((row) => ({ ...row })).filter(({ a }) => !a.startsWith("goes"));
  return {
    values: all.map(({ tv, tw, ts, ...rest }) => JSON.stringify(rest)).toSorted(),
    ttls: all.toSorted((x, y) => x.b - y.b).map(({ tv, tw, ts }) => [tv, tw, ts] as readonly (number | null)[]),
  };
}

async function expectEqual(): Promise<void> {
  const [source, copy] = [await cells("source"), await cells("copy")];
  expect(copy.values).toEqual(source.values);
  for (const [index, ttls] of source.ttls.entries()) {
    for (const [cell, ttl] of ttls.entries()) {
      const other = copy.ttls[index]?.[cell] ?? null;
      if (ttl === null || other === null) expect([index, cell, other]).toEqual([index, cell, ttl]);
      // The seconds that its export and its write took.
      else
        expect(other - ttl, `row ${index} cell ${cell}: ${ttl}, now ${other}`).toSatisfy(
          (d: number) => d > -120 && d < 120,
        );
    }
  }
}

test("TTLs and write times of cells come along, renewed ones and backdated values too; a row whose cells all go goes; nothing changes while they run down", async () => {
  for (const table of ["source", "copy", "long"]) {
    await s.cassandra.execute(
      `CREATE TABLE ${KEYSPACE}.${table} (a text, s int static, b int, v text, w int, ttl_v int, tags set<text>, PRIMARY KEY (a, b)) WITH default_time_to_live = 100000`,
    );
  }
  const source = `${KEYSPACE}.source`;
  const insert = (values: string, using: string) =>
    s.cassandra.execute(`INSERT INTO ${source} (a, b, v, w) VALUES (${values}) USING ${using}`);
  await insert("'p', 1, 'x', 1", "TTL 10000 AND TIMESTAMP 1000000");
  await insert("'p', 2, 'y', 2", "TTL 0 AND TIMESTAMP 2000000");
  await insert("'p', 3, '', null", "TTL 20000 AND TIMESTAMP 3000000");
  await s.cassandra.execute(
    `UPDATE ${source} USING TTL 5000 AND TIMESTAMP 4000000 SET w = 22, ttl_v = 7 WHERE a = 'p' AND b = 2`,
    `UPDATE ${source} SET tags = {'t', 'u'} WHERE a = 'p' AND b = 3`,
    `INSERT INTO ${source} (a, b) VALUES ('key only', 4)`,
    `INSERT INTO ${source} (a, s) VALUES ('no rows', 5) USING TTL 40000 AND TIMESTAMP 7000000`,
    // What the target had is cleared where the source has nothing.
    `INSERT INTO ${KEYSPACE}.copy (a, b, v, w) VALUES ('p', 3, 'stale', 33) USING TIMESTAMP 500`,
  );
  // A client whose clock is ahead.
  const future = (BigInt(Date.now()) + 3_600_000n) * 1000n;
  for (const [partition, b] of [
    ["future", 5],
    ["future", 6],
    ["future too", 7],
    ["late", 8],
  ] as const) {
    await s.cassandra.execute(
      `INSERT INTO ${source} (a, s, b, v, w) VALUES ('${partition}', 1, ${b}, 'v', 1) USING TIMESTAMP ${b === 8 ? 7_000_000n : future}`,
    );
  }
  const args = { KEYSPACE_NAME: KEYSPACE, TABLE_NAME: "source", TARGET_TABLE: "copy", S3URI: s.uri("cells") };
  const run = async () => {
    const { json } = await s.run(chain, { ...args, KEEP: "ttl,writetime" });
    expect(json.error).toBeUndefined();
    await expectEqual();
    return json.tables;
  };
  const imported = `3 import into embedded/${KEYSPACE}.copy`;
  const count = async (table: string) => {
    const { rows } = await s.cassandra.client.execute(
      `SELECT b FROM ${KEYSPACE}.${table} WHERE a IN ('goes', 'goes too')`,
    );
    return rows.filter(({ b }) => b !== null).length;
  };
  const begun = performance.now();
  const first = await run();
  const between = BigInt(Date.now()) * 1000n;
  // They are to be there when they are imported; collections, which they haven't, and static columns keep them no longer.
  const ttl = `TTL ${Math.ceil((performance.now() - begun) / 800) + 5}`;
  await insert("'goes', 9, 'z', 9", ttl);
  await insert("'goes too', 9, 'z', 9", ttl);
  await s.cassandra.execute(
    `INSERT INTO ${source} (a, s) VALUES ('goes', 1) USING TTL 0`,
    `INSERT INTO ${source} (a, s) VALUES ('goes too', 1) USING TTL 50000`,
    `DELETE FROM ${source} USING TIMESTAMP ${future + 1n} WHERE a = 'future' AND b = 5`,
    `DELETE s, v FROM ${source} USING TIMESTAMP ${future + 1n} WHERE a = 'future' AND b = 6`,
    `DELETE FROM ${source} USING TIMESTAMP ${future + 1n} WHERE a = 'future too'`,
    `DELETE FROM ${source} USING TIMESTAMP ${between - 1n} WHERE a = 'late'`,
  );
  await s.cassandra.execute(
    `UPDATE ${source} USING TTL 30000 AND TIMESTAMP 5000000 SET v = 'x' WHERE a = 'p' AND b = 1`,
    `DELETE w FROM ${source} USING TIMESTAMP 4000001 WHERE a = 'p' AND b = 2`,
    `UPDATE ${source} USING TTL 0 AND TIMESTAMP 6000000 SET v = 'v' WHERE a = 'p' AND b = 3`,
    `UPDATE ${source} USING TIMESTAMP 6000000 SET v = 'v' WHERE a = 'key only' AND b = 4`,
  );
  expect((await run())[imported]).toMatchObject({ inserted: 2, updated: 5, deleted: 5 });
  expect([await count("source"), await count("copy")]).toEqual([2, 2]);

  // Seconds count from the end of an export: it may have read a row then.
  const folder = first[`1 export of ${source}`]?.target ?? "";
  const store = createObjectStore();
  const manifest = JSON.parse(Buffer.from((await store.get(`${folder}/_glue_connect.json`))?.body ?? "").toString());
  const exportedAt = new Date(Date.parse(manifest.exportedAt) - 4_000_000).toISOString();
  await store.put(`${folder}/_glue_connect.json`, JSON.stringify({ ...manifest, exportedAt }));
  const long = await s.run(importJob, { KEYSPACE_NAME: KEYSPACE, TABLE_NAME: "long", S3URI: folder });
  expect(long.json.error).toBeUndefined();
  const { rows } = await s.cassandra.client.execute(`SELECT ttl(w) AS t FROM ${KEYSPACE}.long WHERE a = 'p' AND b = 2`);
  expect(rows[0]?.t).toBeGreaterThan(3000);
  await store.put(`${folder}/_glue_connect.json`, JSON.stringify(manifest));

  await vi.waitUntil(async () => (await count("source")) + (await count("copy")) === 0, { timeout: 120_000 });
  // Values that come late, and are older than the newest export: nothing that was written meanwhile may hide them.
  await s.cassandra.execute(
    `UPDATE ${source} USING TIMESTAMP 6500000 SET w = 44 WHERE a = 'key only' AND b = 4`,
    `UPDATE ${source} USING TIMESTAMP 6500000 SET w = 44 WHERE a = 'p' AND b = 2`,
    `UPDATE ${source} USING TIMESTAMP 6500000 SET s = 44 WHERE a = 'p'`,
    `INSERT INTO ${source} (a, s, b, v) VALUES ('late', 2, 8, 'late') USING TIMESTAMP ${between}`,
  );
  expect((await run())[imported]).toMatchObject({ inserted: 3, updated: 4, deleted: 2 });

  // After a restore from a backup values are older than those that the target has, and would lose.
  await s.cassandra.execute(`TRUNCATE ${source}`);
  await insert("'p', 1, 'restored', 1", "TIMESTAMP 500000");
  const restored = await s.run(chain, { ...args, KEEP: "ttl,writetime" });
  expect(restored.json.error).toMatchObject({ code: "WRITE_TIMES_OLDER", message: expect.stringMatching(/^1 rows/) });
});

test("what can't be kept is said before anything is exported", async () => {
  const base = { KEYSPACE_NAME: KEYSPACE, TABLE_NAME: "source", TARGET_TABLE: "copy", S3URI: s.uri("refused") };
  for (const [more, problem] of [
    [{ KEEP: "ttl" }, "a TTL was renewed"],
    [{ KEEP: "ttl,writetime", values: "right" }, "the old values"],
    [{ WRITE_TIMESTAMP: "2026-01-31T10:00:00Z" }, "take export or none"],
  ] as const) {
    const { json, exitCode } = await s.run(chain, { ...base, ...more });
    expect([exitCode, json.error]).toMatchObject([64, { problems: [expect.stringContaining(problem)] }]);
  }
});

test("a number that the connector can't read whole ends the export, and nothing of it stays", async () => {
  await s.cassandra.execute(
    `CREATE TABLE ${KEYSPACE}.numbers (a int PRIMARY KEY, amount decimal)`,
    `INSERT INTO ${KEYSPACE}.numbers (a, amount) VALUES (1, 12345678901234567890123456789)`,
  );
  const S3URI = s.uri("numbers");
  const { json } = await s.run(exportJob, { KEYSPACE_NAME: KEYSPACE, TABLE_NAME: "numbers", S3URI, KEEP: "age" });
  expect(json.error).toMatchObject({
    code: "ARGUMENTS_INVALID",
    problems: ['--KEEP must be one or more of ttl, writetime; "age" is none'],
  });
  const overflow = await s.run(exportJob, { KEYSPACE_NAME: KEYSPACE, TABLE_NAME: "numbers", S3URI });
  expect(overflow.json.error).toMatchObject({
    code: "NUMBER_TOO_BIG",
    problems: ["amount is decimal(38,18) to Spark"],
  });
  for await (const { uri } of createObjectStore().list(`${S3URI}/`)) throw new Error(`${uri} stayed`);
});
