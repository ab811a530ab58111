import { afterAll, beforeAll, expect, test, vi } from "vitest";
import importJob from "../../../jobs/keyspaces-diff/import-job.js";
import incrementalExport from "../../../jobs/keyspaces-diff/incremental-export-job.js";
import incrementalImport from "../../../jobs/keyspaces-diff/incremental-import-job.js";
import chain from "../../../jobs/keyspaces-diff/job.js";
import { childUri, createObjectStore } from "../../../lib/storage/index.js";
import { KeyspacesScenario } from "../../support/keyspaces-scenario.js";

vi.setConfig({ testTimeout: 400_000, hookTimeout: 400_000 });

const KEYSPACE = "partitions";
let s: KeyspacesScenario;
beforeAll(async () => {
  s = await KeyspacesScenario.create(KEYSPACE);
});
afterAll(async () => {
  await s?.[Symbol.asyncDispose]();
});

const COLUMNS = `(p text, s int static, tags list<int> static, kinds set<text> static, c int, v text, l list<int>, f frozen<list<int>>,
  PRIMARY KEY (p, c))`;

test("static columns, with rows and without, and lists: the chain makes the tables equal, and what is imported again changes nothing", async () => {
  const [source, copy] = [`${KEYSPACE}.source`, `${KEYSPACE}.copy`];
  const makeCopy = () => s.cassandra.execute(`CREATE TABLE ${copy} ${COLUMNS} WITH default_time_to_live = 100000`);
  await s.cassandra.execute(`CREATE TABLE ${source} ${COLUMNS}`);
  await makeCopy();
  const alone = (p: string, n: number) =>
    `INSERT INTO ${source} (p, s, tags, kinds) VALUES ('${p}', ${n}, [${n}, ${n}], {'k${n}'})`;
  const row = (p: string, c: number, n: number) =>
    `INSERT INTO ${source} (p, c, v, l, f) VALUES ('${p}', ${c}, 'v${n}', [${n}, ${n}], [${n}])`;
  const both = (p: string) => [alone(p, 1), row(p, 1, 1), row(p, 2, 2)];
  await s.cassandra.execute(
    ...["stays alone", "changes alone", "alone goes", "alone gets a row", "another gets a row"].map((p) => alone(p, 1)),
    ...["stays", "goes", "loses its rows", "loses a row and static columns", "static columns change"].flatMap(both),
    `INSERT INTO ${source} (p, c, v) VALUES ('no static columns', 1, 'x')`,
    `INSERT INTO ${source} (p, c, v) VALUES ('no static columns that goes', 1, 'x')`,
  );
  const base = { KEYSPACE_NAME: KEYSPACE, TABLE_NAME: "source" };
  const args = { ...base, TARGET_TABLE: "copy", S3URI: s.uri("chain") };
  const run = async () => {
    const { json } = await s.run(chain, args);
    expect(json.error).toBeUndefined();
    expect(await s.rows("copy")).toEqual(await s.rows("source"));
    return json;
  };
  const first = await run();
  expect(first.warnings).toMatchObject([{ code: "DEFAULT_TTL_UNUSED" }]);

  await s.cassandra.execute(
    `UPDATE ${source} SET s = 2, tags = null WHERE p = 'changes alone'`,
    `DELETE FROM ${source} WHERE p = 'alone goes'`,
    row("alone gets a row", 1, 5),
    row("another gets a row", 1, 5),
    `DELETE s, tags FROM ${source} WHERE p = 'another gets a row'`,
    `DELETE FROM ${source} WHERE p = 'goes'`,
    `DELETE FROM ${source} WHERE p = 'no static columns that goes'`,
    ...[1, 2].map((c) => `DELETE FROM ${source} WHERE p = 'loses its rows' AND c = ${c}`),
    `DELETE s, tags, kinds FROM ${source} WHERE p = 'loses a row and static columns'`,
    `DELETE FROM ${source} WHERE p = 'loses a row and static columns' AND c = 1`,
    `UPDATE ${source} SET s = 9, tags = tags + [3], kinds = {'z'} WHERE p = 'static columns change'`,
    `UPDATE ${source} SET l = l + [7], f = null WHERE p = 'stays' AND c = 1`,
    alone("comes alone", 3),
  );
  const second = await run();
  const ttls = await s.cassandra.client.execute(`SELECT p, ttl(v) AS v, ttl(s) AS s FROM ${copy}`);
  expect(ttls.rows.filter((one) => one.v !== null || one.s !== null)).toEqual([]);

  // Another folder of the same changes, both that were imported, and the export that the changes lead to: lists are as they were, though
  // all but one carry the same time, and what is older loses.
  const again = { KEYSPACE_NAME: KEYSPACE, TABLE_NAME: "copy", WRITE_TIMESTAMP: "export" };
  const changes = second.tables[`2 changes since ${first.tables[`1 export of ${source}`]?.target}`]?.target ?? "";
  const whole = first.tables[`1 export of ${source}`]?.target ?? "";
  const newest = second.tables[`1 export of ${source}`]?.target ?? "";
  const compared = await s.run(incrementalExport, { ...base, S3URI: args.S3URI, PASTURI: whole, CURRENTURI: newest });
  const sameChanges = compared.json.tables[source]?.target ?? "";
  expect(sameChanges).not.toBe(changes);
  for (const [job, S3URI] of [
    [incrementalImport, sameChanges],
    [importJob, whole],
    [importJob, newest],
    [incrementalImport, changes],
  ] as const) {
    const { json } = await s.run(job, { ...again, S3URI });
    expect(json.error).toBeUndefined();
    expect(json.warnings).not.toContainEqual(expect.objectContaining({ code: "LISTS_MAY_DOUBLE" }));
    expect(await s.rows("copy")).toEqual(await s.rows("source"));
  }

  // A clock that was set back: nothing is exported, as what it leads to would lose.
  const store = createObjectStore();
  const uri = childUri(args.S3URI, "_keyspaces_diff", `${encodeURIComponent(`embedded/${copy}`)}.json`);
  const state = JSON.parse(Buffer.from((await store.get(uri))?.body ?? "").toString("utf8")) as object;
  await store.put(uri, JSON.stringify({ ...state, exportedAt: "2100-01-01T00:00:00.000Z" }));
  const behind = await s.run(chain, args);
  expect([behind.exitCode, behind.json.error?.code, behind.json.tables]).toEqual([75, "CLOCK_BEHIND", {}]);
  await store.put(uri, JSON.stringify(state));

  // A target that was made anew has nothing of what the last one had.
  await s.cassandra.execute(`DROP TABLE ${copy}`);
  await makeCopy();
  expect((await run()).warnings).toContainEqual(expect.objectContaining({ code: "TARGET_IS_NEW" }));
});

test("an import that died goes on only when it is told to, and not into another table of the name", async () => {
  const table = `${KEYSPACE}.big`;
  await s.cassandra.execute(`CREATE TABLE ${table} (a int PRIMARY KEY, v text, w int)`);
  const store = createObjectStore();
  const rows = (from: number, more = "") =>
    Array.from({ length: 3 }, (_, index) => `{"a":${from + index},"v":"${"x".repeat(200_000)}"${more}}\n`).join("");
  await store.put(`${s.uri("big")}/part-0.json`, rows(0));
  // The batch of the other file knows nothing of this column.
  await store.put(`${s.uri("big")}/part-1.json`, rows(10, ',"w":1'));
  const args = { KEYSPACE_NAME: KEYSPACE, TABLE_NAME: "big", FORMAT: "json", S3URI: s.uri("big"), BATCH_MB: 1 };
  const keys = async () => {
    const { rows: found } = await s.cassandra.client.execute(`SELECT a FROM ${table}`);
    return found.map((one) => Number(one.a)).toSorted((a, b) => a - b);
  };
  const dies = async (at = 2) => {
    const { json } = await s.run(importJob, args, {
      onStep: ({ name, phase }) => {
        if (name === `write ${at} of 2` && phase === "start") throw new Error("power cut");
      },
    });
    expect(json.error?.message).toContain("power cut");
  };
  await dies();
  expect(await keys()).toEqual([0, 1, 2]);
  await s.cassandra.execute(`TRUNCATE ${table}`);
  const { json } = await s.run(importJob, { ...args, RESUME: true });
  expect(json.tables[table]).toMatchObject({ inserted: 3, details: { resumed: "1 files were in already" } });
  expect(await keys()).toEqual([10, 11, 12]);

  // One that begins anew has nothing of what the last one noted, though it dies before it notes anything itself.
  await dies();
  await s.cassandra.execute(`TRUNCATE ${table}`);
  await dies(1);
  await s.run(importJob, { ...args, RESUME: true });
  expect(await keys()).toEqual([0, 1, 2, 10, 11, 12]);

  await dies();
  await s.cassandra.execute(`DROP TABLE ${table}`, `CREATE TABLE ${table} (a int PRIMARY KEY, v text, w int)`);
  await s.run(importJob, { ...args, RESUME: true });
  expect(await keys()).toEqual([0, 1, 2, 10, 11, 12]);
});
