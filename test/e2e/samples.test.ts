import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import type { RunReportJson } from "../../lib/glue/index.js";
import { startBuilt } from "../support/built-command.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "glue-connect-samples-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const command = (...args: readonly string[]) => startBuilt(folder, args).ended;

async function succeed(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await command(...args);
  expect({ args, code, stderr }).toMatchObject({ code: 0 });
  expect(stdout + stderr).not.toMatch(/token=|postgres:[^@\s]*@/);
  return stdout;
}

/** How many rows each run brings of each table: the first, one with nothing new, one after `--change`. */
const SAMPLES: readonly {
  readonly job: string;
  readonly rows: Readonly<Record<string, readonly [number, number, number]>>;
}[] = [
  { job: "athena-cdc", rows: { accounts: [1_000, 0, 50], orders: [5_000, 0, 100], events: [2_000, 0, 0] } },
  { job: "jdbc-cdc", rows: { accounts: [1_000, 0, 50], orders: [5_000, 0, 2], events: [2_000, 0, 0] } },
  // An account with 20 transactions is renamed, a queue moves with 10, and 10 are new.
  { job: "datamart-join", rows: { joined: [4_000, 0, 40], adjustment: [50, 0, 0] } },
];

test.each(SAMPLES)(
  "the sample of $job, and the command that it says: everything, nothing new, the changes",
  async ({ job, rows }) => {
    const said = await succeed("sample", job);
    // As a shell takes it.
    const line = said.replaceAll(/\\\n/g, " ").match(/^ *npx glue-connect (run .*)$/m)?.[1] ?? "";
    const argv = line.split(/\s+/);
    expect(argv.slice(0, 4)).toEqual(["run", job, "--JOB_NAME", "sample"]);
    const inserted = async () => {
      const report = JSON.parse(await succeed(...argv, "--json")) as RunReportJson;
      expect(report.state).toBe("SUCCEEDED");
      return Object.fromEntries(Object.keys(rows).map((table) => [table, report.tables[table]?.inserted]));
    };
    const expected = (index: 0 | 1 | 2) =>
      Object.fromEntries(Object.entries(rows).map(([name, counts]) => [name, counts[index]]));
    expect(await inserted()).toEqual(expected(0));
    expect(await inserted()).toEqual(expected(1));
    await succeed("sample", job, "--change");
    expect(await inserted()).toEqual(expected(2));
  },
);

test("a database that is mistyped isn't made for the mistake's sake, nor is anything else", async () => {
  const at = (name: string) => `file:${join(folder, name)}`;
  const { code, stderr } = await command(
    ...["run", "jdbc-cdc", "--JOB_NAME", "typo", "--database_name", "jdbc_smaple", "--environment", "dev"],
    ...["--load_type", "cdc", "--output_format", "iceberg", "--s3_output_path", at("out")],
    ...["--csv_file_name", at("state/max_timestamps.csv"), "--log_folder_path", at("logs")],
  );
  expect({ code, stderr }).toEqual({
    code: 66,
    stderr: expect.stringMatching(/POSTGRES_DATABASE_NOT_FOUND[\s\S]*jdbc_smaple/),
  });
  expect([existsSync(join(folder, "out")), existsSync(join(folder, "state"))]).toEqual([false, false]);
  const server = new pg.Client(inject("postgresUrl"));
  await server.connect();
  try {
    expect((await server.query("SELECT datname FROM pg_database WHERE datname = 'jdbc_smaple'")).rows).toEqual([]);
  } finally {
    await server.end();
  }
});
