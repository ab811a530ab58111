import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import exportJob from "../../../jobs/keyspaces-diff/export-job.js";
import importJob from "../../../jobs/keyspaces-diff/import-job.js";
import incrementalExport from "../../../jobs/keyspaces-diff/incremental-export-job.js";
import incrementalImport from "../../../jobs/keyspaces-diff/incremental-import-job.js";
import chain from "../../../jobs/keyspaces-diff/job.js";
import { KeyspacesScenario } from "../../support/keyspaces-scenario.js";

vi.setConfig({ testTimeout: 400_000, hookTimeout: 400_000 });

const KEYSPACE = "chain_test";
let scenario: KeyspacesScenario;
beforeAll(async () => {
  scenario = await KeyspacesScenario.create(KEYSPACE);
});
afterAll(async () => {
  await scenario?.[Symbol.asyncDispose]();
});

/** The key is in an order that its columns' names and types don't tell: what is deleted by position would be other rows. */
const COLUMNS = `pk2 text, pk1 text, ck1 bigint, ck2 text, "left_note" text, "diff" int, copyright_year smallint, amount decimal,
  ratio double, small float, flag boolean, raw blob, at timestamp, day date, id uuid, address inet, big varint,
  tags set<text>, list list<int>, scores map<int, timestamp>, names map<text, text>,
  PRIMARY KEY ((pk1, pk2), ck2, ck1)`;

async function makeTables(...names: readonly string[]): Promise<void> {
  for (const name of names) await scenario.cassandra.execute(`CREATE TABLE ${KEYSPACE}.${name} (${COLUMNS})`);
}

async function fill(table: string): Promise<void> {
  const insert = (values: Readonly<Record<string, string>>) =>
    scenario.cassandra.execute(
      `INSERT INTO ${KEYSPACE}.${table} (${Object.keys(values).join(", ")}) VALUES (${Object.values(values).join(", ")})`,
    );
  for (let i = 0; i < 40; i++) {
    await insert({
      pk1: `'p${i % 4}'`,
      pk2: `'p${i % 3}'`,
      ck1: `${i % 5}`,
      ck2: `'p${i % 2}-${i}'`,
      ...(i % 6 === 0 ? {} : { left_note: ["''", "'a,\"b\"\n c'", "'\\N'", "' ü\r '", "'\\x41'"][i % 5] ?? "" }),
      ...(i % 7 === 0 ? {} : { diff: `${i}`, copyright_year: `${1990 + i}` }),
      amount: `${i}.5000`,
      ratio: ["NaN", "-0.0", "Infinity", "0.1"][i % 4] ?? "",
      small: "0.1",
      flag: `${i % 2 === 0}`,
      raw: `0x00ff${i % 2 === 0 ? "" : "0a"}`,
      at: `${1_772_359_200_342 + i}`,
      day: "'2026-02-28'",
      id: `00000000-0000-4000-8000-0000000000${String(i).padStart(2, "0")}`,
      address: "'127.0.0.1'",
      big: `123456789012345678${i}`,
      tags: `{'a', 'b${i}'}`,
      list: `[${i}, 1]`,
      scores: `{${i}: ${1_772_359_200_000 + i}}`,
      names: "{'x': '', 'y, z': '\"'}",
    });
  }
}

/** Rows go, come and change; cells become NULL. */
async function change(table: string): Promise<void> {
  const row = (i: number) => `pk1 = 'p${i % 4}' AND pk2 = 'p${i % 3}' AND ck2 = 'p${i % 2}-${i}' AND ck1 = ${i % 5}`;
  const t = `${KEYSPACE}.${table}`;
  await scenario.cassandra.execute(
    `DELETE FROM ${t} WHERE ${row(1)}`,
    `DELETE FROM ${t} WHERE ${row(12)}`,
    `DELETE diff, tags, left_note FROM ${t} WHERE ${row(2)}`,
    `UPDATE ${t} SET left_note = '', ratio = 0.0, scores = scores + {999: 5} WHERE ${row(3)}`,
    // The same value once more is no change.
    `UPDATE ${t} SET small = 0.1 WHERE ${row(4)}`,
    `INSERT INTO ${t} (pk1, pk2, ck1, ck2) VALUES ('new', 'p', 7, 'only a key')`,
    `INSERT INTO ${t} (pk1, pk2, ck1, ck2, left_note, amount) VALUES ('p0', 'p0', 99, 'n', 'ü', 1.25)`,
  );
}

const CHANGES = { inserted: 2, updated: 2, deleted: 2 };

test.each(["parquet", "json", "csv"])("the four jobs, one after the other, as %s", async (format) => {
  const [source, copy] = [`source_${format}`, `copy_${format}`];
  await makeTables(source, copy);
  await fill(source);
  const S3URI = scenario.uri(format);
  const base = { KEYSPACE_NAME: KEYSPACE, FORMAT: format };
  const exported = async () => {
    const { json, exitCode } = await scenario.run(exportJob, { ...base, TABLE_NAME: source, S3URI });
    expect(json.error).toBeUndefined();
    expect(exitCode).toBe(0);
    const report = json.tables[`${KEYSPACE}.${source}`];
    expect(report?.target).toMatch(/\/snapshot\/year=\d{4}\/month=\d\d\/day=\d\d\/hour=\d\d\/minute=\d\d(-\d)?$/);
    return { uri: report?.target ?? "", rows: report?.read };
  };
  const past = await exported();
  expect(past.rows).toBe(40);
  const whole = await scenario.run(importJob, { ...base, TABLE_NAME: copy, S3URI: past.uri });
  expect(whole.json.error).toBeUndefined();
  expect(await scenario.rows(copy)).toEqual(await scenario.rows(source));

  await change(source);
  const current = await exported();
  expect(current.uri).not.toBe(past.uri);
  const diffArguments = { ...base, TABLE_NAME: source, S3URI, PASTURI: past.uri, CURRENTURI: current.uri };
  const planned = await scenario.run(incrementalExport, diffArguments, { mode: "plan" });
  expect(planned.json.error).toBeUndefined();
  expect([planned.exitCode, planned.json.tables[`${KEYSPACE}.${source}`]]).toMatchObject([2, CHANGES]);
  const changes = await scenario.run(incrementalExport, diffArguments);
  expect(changes.json.error).toBeUndefined();
  const report = changes.json.tables[`${KEYSPACE}.${source}`];
  expect(report).toMatchObject(CHANGES);
  if (format === "json") {
    expect(jsonRows(report?.target ?? "").find((row) => row.diff === "C" && row.pk1 === "p2")).toMatchObject({
      diff: "C",
      pk1: "p2",
      pk2: "p2",
      ck1: 2,
      ck2: "p0-2",
      left_diff: 2,
      left_left_note: "\\N",
      left_copyright_year: 1992,
      right_copyright_year: 1992,
    });
  }

  const apply = { ...base, TABLE_NAME: copy, S3URI: report?.target ?? "", WRITE_TIMESTAMP: "none" };
  const preview = await scenario.run(incrementalImport, apply, { mode: "plan" });
  expect([preview.exitCode, preview.json.tables[`${KEYSPACE}.${copy}`]]).toMatchObject([2, CHANGES]);
  // Twice is the same as once.
  for (let time = 0; time < 2; time++) {
    const applied = await scenario.run(incrementalImport, apply);
    expect(applied.json.error).toBeUndefined();
    expect(applied.json.tables[`${KEYSPACE}.${copy}`]).toMatchObject({ ...CHANGES, reason: "on the executors" });
    expect(await scenario.rows(copy)).toEqual(await scenario.rows(source));
  }
});

function jsonRows(folder: string): Record<string, unknown>[] {
  const path = fileURLToPath(folder);
  return readdirSync(path)
    .filter((name) => name.endsWith(".json") && !name.startsWith("_"))
    .flatMap((name) => readFileSync(join(path, name), "utf8").trim().split("\n"))
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

test("the chain in one command: everything first, then what changed; a target that lost rows meanwhile is not its concern", async () => {
  await makeTables("chained", "target");
  await fill("chained");
  const args = { KEYSPACE_NAME: KEYSPACE, TABLE_NAME: "chained", TARGET_TABLE: "target", S3URI: scenario.uri("chain") };
  const first = await scenario.run(chain, args);
  expect(first.json.error).toBeUndefined();
  expect(first.json.tables[`2 import into embedded/${KEYSPACE}.target`]).toMatchObject({ inserted: 40 });
  expect(await scenario.rows("target")).toEqual(await scenario.rows("chained"));

  await change("chained");
  const second = await scenario.run(chain, { ...args, WRITE_TIMESTAMP: "none", RATE_LIMIT: 1000 });
  expect(second.json.error).toBeUndefined();
  expect(second.json.tables[`3 import into embedded/${KEYSPACE}.target`]).toMatchObject(CHANGES);
  expect(await scenario.rows("target")).toEqual(await scenario.rows("chained"));

  const third = await scenario.run(chain, args);
  expect(third.json.tables[`3 import into embedded/${KEYSPACE}.target`]).toMatchObject({
    inserted: 0,
    updated: 0,
    deleted: 0,
  });
});
