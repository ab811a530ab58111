import { appendFileSync, copyFileSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, test, vi } from "vitest";
import { SparkConnectClient } from "../../../lib/spark/client/client.js";
import { AthenaScenario } from "../../support/athena-scenario.js";

let s: AthenaScenario;
beforeAll(async () => {
  s = await AthenaScenario.create(inject("sparkRemote"));
  s.keys("keys.csv", "keyed_few,id", "keyed_many,id");
});
afterAll(() => s[Symbol.asyncDispose]());

const at = (minute: number) => `TIMESTAMP'2026-03-01 10:${String(minute).padStart(2, "0")}:00'`;

/** How many rows a run delivered, and with how many Spark operations. */
async function load(
  table: string,
  { args = [], meanwhile }: { args?: string[]; meanwhile?: () => Promise<void> } = {},
) {
  const attempts = join(s.folder, "out", "_attempts");
  const execute = vi.spyOn(SparkConnectClient.prototype, "execute");
  let others = 0;
  const { report, stack } = await s.run(["--tables", table, ...args], {
    onStep: async ({ name, phase }) => {
      if (phase === "start") return;
      if (name === "look at new files" && meanwhile !== undefined) {
        const before = execute.mock.calls.length;
        await meanwhile();
        others = execute.mock.calls.length - before;
      }
      if (name !== "write the rows") return;
      const written = readdirSync(attempts, { recursive: true, encoding: "utf8" });
      // Checksum files would never be read; permissions are those that Hadoop gives.
      expect(written.filter((file) => file.endsWith(".crc"))).toEqual([]);
      for (const file of written.filter((file) => file.endsWith(".parquet"))) {
        expect(statSync(join(attempts, file)).mode & 0o777).toBe(0o644);
      }
    },
  });
  expect(report.toJSON().error, stack).toBeUndefined();
  // Without those for the run as a whole: the lists of tables and of views (a command and its result each).
  const operations = execute.mock.calls.length - others - 4;
  execute.mockRestore();
  return { inserted: report.table(table).inserted, operations };
}

describe("athena-cdc, rows in new files", () => {
  // Of more than 16 files, those that were there before aren't looked at.
  test.each([
    { table: "keyed_few", files: 1, keyed: true },
    { table: "keyed_many", files: 17, keyed: true },
    { table: "bag_few", files: 1, keyed: false },
    { table: "bag_many", files: 17, keyed: false },
  ])(
    "$table: each row once, be it late, equal, in the same file or put together with others",
    async ({ table, files, keyed }) => {
      const folder = join(s.folder, `in 100% + é ${table}`);
      await s.sql(
        table,
        `CREATE TABLE $t (id BIGINT, v STRING, updated_at TIMESTAMP) USING parquet LOCATION '${folder}'`,
        `INSERT INTO $t SELECT /*+ REPARTITION(${files}) */ id, 'old', ${at(0)} + make_interval(0, 0, 0, 0, 0, id DIV 20) FROM range(0, 100, 1, 20)`,
      );
      expect(readdirSync(folder).filter((name) => name.endsWith(".parquet"))).toHaveLength(files);
      expect(await load(table)).toMatchObject({ inserted: 100 });
      expect(await load(table)).toEqual({ inserted: 0, operations: 0 });

      // Two versions of a key, a new key, and rows whose key is NULL, which are no versions of each other; what is due later, and without a time.
      await s.sql(
        table,
        `INSERT INTO $t VALUES (1, 'newer', ${at(11)}), (1, 'newest', ${at(12)}), (100, 'new', ${at(12)}),
         (NULL, 'equal', ${at(12)}), (NULL, 'equal', ${at(12)}), (99, 'timeless', NULL)`,
      );
      expect(await load(table)).toEqual({ inserted: keyed ? 4 : 5, operations: 1 });

      // At the watermark: a row that was delivered and stands in a second file now, another one with the same time, one that is too late.
      await s.sql(
        table,
        `INSERT INTO $t VALUES (100, 'new', ${at(12)}), (101, 'as late', ${at(12)}), (102, 'too late', ${at(3)})`,
      );
      expect(await load(table)).toMatchObject({ inserted: keyed ? 1 : 2 });

      await s.rewrite(table, "SELECT * FROM $t");
      expect(await load(table)).toMatchObject({ inserted: 0 });
      await s.sql(table, `INSERT INTO $t VALUES (1, 'last', ${at(13)})`);
      expect(await load(table)).toMatchObject({ inserted: 1 });

      // A file that comes after the new ones were looked at: what belongs to the batch is in it, the rest comes with the next.
      await s.sql(table, `INSERT INTO $t VALUES (103, 'first', ${at(20)})`);
      const meanwhile = () =>
        s.sql(table, `INSERT INTO $t VALUES (104, 'second', ${at(19)}), (105, 'third', ${at(21)})`);
      expect(await load(table, { meanwhile })).toEqual({ inserted: 2, operations: 1 });
      const args = ["--lookback", "5m"];
      expect(await load(table, { args })).toEqual({ inserted: 1, operations: 2 });
      // A late row within the lookback, beside a later one.
      await s.sql(table, `INSERT INTO $t VALUES (106, 'late', ${at(20)}), (107, 'later', ${at(30)})`);
      expect(await load(table, { args })).toMatchObject({ inserted: 2 });
      expect(await load(table)).toMatchObject({ inserted: 0 });

      const newest = (from: string) =>
        s.rows(
          keyed
            ? `SELECT id, max_by(v, struct(updated_at, v)) AS v FROM ${from} WHERE v NOT IN ('too late', 'timeless') AND id IS NOT NULL GROUP BY id`
            : `SELECT * FROM ${from} WHERE v NOT IN ('too late', 'timeless')`,
        );
      expect(await newest(s.output(table))).toEqual(await newest(`${s.database}.${table}`));
      expect(await s.rows(`SELECT v FROM ${s.output(table)} WHERE id IS NULL`)).toHaveLength(2);
    },
  );

  test("a file that grows after Spark has listed it is read again", async () => {
    const folder = join(s.folder, "grows");
    mkdirSync(folder);
    const line = (id: number) => JSON.stringify({ id, v: "x", updated_at: "2026-03-01T10:00:00Z" });
    // More than are read in a session of their own, which would list them afresh.
    for (let id = 0; id < 17; id++) writeFileSync(join(folder, `part-${id}.json`), line(id));
    await s.sql("grows", `CREATE TABLE $t (id BIGINT, v STRING, updated_at TIMESTAMP) USING json LOCATION '${folder}'`);
    const first = await s.run(["--tables", "grows"], {
      onStep: async ({ name, phase }) => {
        if (name !== "read the schema" || phase !== "end") return;
        const file = join(folder, "part-3.json");
        appendFileSync(file, `\n${line(17)}`);
        // So that it isn't as new as the list of files that is asked for next.
        await vi.waitUntil(() => Date.now() > statSync(file).mtimeMs + 50, { interval: 10 });
      },
    });
    expect(first.report.table("grows").inserted).toBe(17);
    expect((await load("grows")).inserted).toBe(1);
    expect(await s.loaded("grows")).toEqual(await s.source("grows"));
  });

  test("to Iceberg with a lookback, each run as planned: a new partition, a late row by itself, files that are replaced or gone", async () => {
    const row = (id: number, v: string, minute: number, day: string) => `(${id}, '${v}', ${at(minute)}, '${day}')`;
    const values = (rows: readonly string[]) =>
      `SELECT /*+ COALESCE(1) */ CAST(id AS BIGINT) AS id, v, updated_at, day FROM VALUES ${rows.join(", ")} AS t(id, v, updated_at, day)`;
    const insert = (...rows: readonly string[]) => s.sql("lake", `INSERT INTO $t ${values(rows)}`);
    const fileOf = (day: string) => {
      const folder = join(s.folder, "in", "lake", `day=${day}`);
      const [file = "", ...others] = readdirSync(folder).filter((name) => name.endsWith(".parquet"));
      expect(others).toEqual([]);
      rmSync(join(folder, `.${file}.crc`), { force: true });
      return join(folder, file);
    };
    /** The partition's file has the same name and other rows then. */
    const replace = async (day: string, ...rows: readonly string[]) => {
      const made = join(s.folder, "made");
      await s.spark.sql(
        `INSERT OVERWRITE DIRECTORY '${made}' USING parquet SELECT id, v, updated_at FROM (${values(rows)})`,
      );
      const [written = ""] = readdirSync(made).filter((name) => name.endsWith(".parquet"));
      copyFileSync(join(made, written), fileOf(day));
    };
    const run = async (mode: "plan" | "run") => {
      const args = ["--tables", "lake", "--output_format", "iceberg", "--lookback", "10m"];
      const { report } = await s.run(args, { mode });
      expect(report.toJSON().error).toBeUndefined();
      const { read, inserted } = report.table("lake");
      return { read, inserted };
    };
    await s.spark.conf.set({
      "spark.sql.catalog.lake_out": "org.apache.iceberg.spark.SparkCatalog",
      "spark.sql.catalog.lake_out.type": "hadoop",
      "spark.sql.catalog.lake_out.warehouse": join(s.folder, "out"),
      "spark.sql.catalog.lake_out.cache-enabled": "false",
    });
    const delivered: string[] = [];
    /** @param read more than what is new where all rows within the lookback are looked at. */
    const expectRun = async (about: string, read: number, ...news: readonly string[]) => {
      const wanted = { about, read, inserted: news.length };
      expect({ about, ...(await run("plan")) }).toEqual(wanted);
      expect({ about, ...(await run("run")) }).toEqual(wanted);
      delivered.push(...news.map((text) => JSON.stringify({ text })));
      const rows = await s.rows("SELECT concat(id, ' ', v) AS text FROM lake_out.lake");
      expect({ about, rows }).toEqual({ about, rows: delivered.toSorted() });
    };
    await s.sql(
      "lake",
      "CREATE TABLE $t (id BIGINT, v STRING, updated_at TIMESTAMP, day STRING) USING parquet PARTITIONED BY (day)",
    );
    await insert(row(1, "a", 0, "d1"), row(2, "a", 10, "d1"));
    await expectRun("everything", 2, "1 a", "2 a");
    await insert(row(3, "b", 11, "d2"));
    await expectRun("a new partition", 1, "3 b");
    await insert(row(4, "late", 5, "d3"));
    await expectRun("a late row by itself", 3, "4 late");
    await replace("d1", row(1, "a", 0, "d1"), row(2, "c", 12, "d1"), row(5, "c", 13, "d1"));
    rmSync(fileOf("d3"));
    await expectRun("a file with other rows, and another one that is gone", 2, "2 c", "5 c");
    rmSync(fileOf("d2"));
    expect(await run("run")).toEqual({ read: 0, inserted: 0 });
    await replace("d1", row(1, "a", 0, "d1"), row(2, "c", 12, "d1"), row(5, "d", 13, "d1"));
    await expectRun("another row with the last time", 2, "5 d");
  });
});
