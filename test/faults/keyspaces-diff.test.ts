import { afterAll, beforeAll, expect, inject, test, vi } from "vitest";
import incrementalImport from "../../jobs/keyspaces-diff/incremental-import-job.js";
import chain from "../../jobs/keyspaces-diff/job.js";
import { JobChild } from "../support/job-process.js";
import { argvOf, KeyspacesScenario } from "../support/keyspaces-scenario.js";

vi.setConfig({ testTimeout: 400_000, hookTimeout: 400_000 });

const KEYSPACE = "killed";
let s: KeyspacesScenario;
let children: JobChild;
beforeAll(async () => {
  [s, children] = await Promise.all([KeyspacesScenario.create(KEYSPACE), JobChild.build("keyspaces-diff")]);
});
afterAll(async () => {
  await s?.[Symbol.asyncDispose]();
  children?.[Symbol.dispose]();
});

const PLACES = ["write the rows end", "write the changes end", "note the import end", "write end", "delete end"];

test("SIGKILL of the chain at the steps that move rows and lists, then changes that undo what it was about: the next run makes the tables equal", async () => {
  const [source, copy] = [`${KEYSPACE}.source`, `${KEYSPACE}.copy`];
  for (const table of [source, copy]) {
    await s.cassandra.execute(`CREATE TABLE ${table} (a text, b int, v text, n int, l list<text>, PRIMARY KEY (a, b))`);
  }
  const insert = (b: number, v: string) =>
    s.cassandra.execute(
      `INSERT INTO ${source} (a, b, v, n, l) VALUES ('p${b % 3}', ${b}, '${v}', ${b}, ['${v}', 'twice', 'twice'])`,
    );
  const remove = (b: number) => s.cassandra.execute(`DELETE FROM ${source} WHERE a = 'p${b % 3}' AND b = ${b}`);
  for (let b = 0; b < 12; b++) await insert(b, "first");
  const args = { KEYSPACE_NAME: KEYSPACE, TABLE_NAME: "source", TARGET_TABLE: "copy", S3URI: s.uri("chain") };
  const killed = async (killAt: string) => {
    const cassandra = s.connection;
    const child = await children.run({ argv: argvOf(args), sparkRemote: inject("sparkRemote"), cassandra, killAt });
    expect(child, `${killAt}: ${child.errors}`).toMatchObject({ signal: "SIGKILL" });
  };
  const equalAfterRun = async () => {
    const { json } = await s.run(chain, args);
    expect(json.error).toBeUndefined();
    expect(await s.rows("copy")).toEqual(await s.rows("source"));
    return json;
  };

  // The first run has brought everything in, and said so nowhere: what goes now must go there, too.
  await killed("write end");
  await remove(0);
  await equalAfterRun();

  let changes: string | undefined;
  for (const [index, place] of PLACES.entries()) {
    const [changed, gone, come] = [index + 1, index + 6, index + 20];
    await insert(changed, `changed for ${place}`);
    await remove(gone);
    await insert(come, "new");
    await killed(place);
    await insert(changed, "first");
    await insert(gone, "first");
    await remove(come);
    const { tables } = await equalAfterRun();
    changes = Object.entries(tables).find(([name]) => name.startsWith("2 changes"))?.[1].target ?? changes;
  }

  // A Spark that goes on writing for a run that is dead: its writes are older, and lose.
  await insert(3, "newer");
  await insert(7, "newer");
  await remove(8);
  await equalAfterRun();
  await insert(8, "back");
  await equalAfterRun();
  const late = await s.run(incrementalImport, {
    ...{ KEYSPACE_NAME: KEYSPACE, TABLE_NAME: "copy", S3URI: changes ?? "" },
    WRITE_TIMESTAMP: "export",
  });
  expect(late.json.error).toBeUndefined();
  expect(await s.rows("copy")).toEqual(await s.rows("source"));
});
