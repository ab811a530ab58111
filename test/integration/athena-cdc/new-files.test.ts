import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { AthenaScenario } from "../../support/athena-scenario.js";

let s: AthenaScenario;
beforeAll(async () => {
  s = await AthenaScenario.create(inject("sparkRemote"));
  s.keys("keys.csv", "keyed_few,id", "keyed_many,id");
});
afterAll(() => s[Symbol.asyncDispose]());

const at = (minute: number) => `TIMESTAMP'2026-03-01 10:${String(minute).padStart(2, "0")}:00'`;

/** How many rows a run delivered, and how often it wrote: once more where the new files weren't all. */
async function load(table: string, meanwhile?: () => Promise<void>) {
  let writes = 0;
  const attempts = join(s.folder, "out", "_attempts");
  const { report, stack } = await s.run(["--tables", table], {
    onStep: async ({ name, phase }) => {
      if (phase === "start") return;
      if (name === "look at new files") await meanwhile?.();
      if (name !== "write the rows") return;
      writes++;
      const written = readdirSync(attempts, { recursive: true, encoding: "utf8" });
      // Checksum files would never be read; permissions are those that Hadoop gives.
      expect(written.filter((file) => file.endsWith(".crc"))).toEqual([]);
      for (const file of written.filter((file) => file.endsWith(".parquet"))) {
        expect(statSync(join(attempts, file)).mode & 0o777).toBe(0o644);
      }
    },
  });
  expect(report.toJSON().error, stack).toBeUndefined();
  return { inserted: report.table(table).inserted, writes };
}

describe("athena-cdc, rows in new files", () => {
  // Of more than 16 files only the new ones are read; their names are as hard to spell as can be.
  test.each([
    { table: "keyed_few", files: 1, keyed: true },
    { table: "keyed_many", files: 17, keyed: true },
    { table: "bag_few", files: 1, keyed: false },
    { table: "bag_many", files: 17, keyed: false },
  ])(
    "$table: each row once, be it late, equal, in the same file or put together with others",
    async ({ table, files, keyed }) => {
      await s.sql(
        table,
        `CREATE TABLE $t (id BIGINT, v STRING, updated_at TIMESTAMP) USING parquet LOCATION '${join(s.folder, `in 100% + é ${table}`)}'`,
        `INSERT INTO $t SELECT /*+ REPARTITION(${files}, id) */ id, 'old', ${at(0)} + make_interval(0, 0, 0, 0, 0, id DIV 20) FROM range(100)`,
      );
      expect(await load(table)).toEqual({ inserted: 100, writes: 1 });
      expect(await load(table)).toEqual({ inserted: 0, writes: 0 });

      // Two versions of a key, a new key, and rows whose key is NULL, which are no versions of each other.
      await s.sql(
        table,
        `INSERT INTO $t VALUES (1, 'newer', ${at(11)}), (1, 'newest', ${at(12)}), (100, 'new', ${at(12)}), (NULL, 'equal', ${at(12)}), (NULL, 'equal', ${at(12)})`,
      );
      expect(await load(table)).toEqual({ inserted: keyed ? 4 : 5, writes: 1 });

      // At the watermark: a row that was delivered and stands in a second file now, another one with the same time, one that is too late.
      await s.sql(
        table,
        `INSERT INTO $t VALUES (100, 'new', ${at(12)}), (101, 'as late', ${at(12)}), (102, 'too late', ${at(3)})`,
      );
      expect(await load(table)).toEqual({ inserted: keyed ? 1 : 2, writes: 1 });

      await s.rewrite(table, "SELECT * FROM $t");
      expect(await load(table)).toMatchObject({ inserted: 0 });

      await s.sql(table, `INSERT INTO $t VALUES (1, 'last', ${at(13)})`);
      expect(await load(table)).toEqual({ inserted: 1, writes: 1 });

      // A file that comes after the new ones were looked at: what belongs to the batch has it look at all, the rest waits.
      await s.sql(table, `INSERT INTO $t VALUES (103, 'first', ${at(20)})`);
      const meanwhile = () =>
        s.sql(table, `INSERT INTO $t VALUES (104, 'second', ${at(19)}), (105, 'third', ${at(21)})`);
      expect(await load(table, meanwhile)).toEqual({ inserted: 2, writes: 2 });
      expect(await load(table)).toMatchObject({ inserted: 1 });
      expect(await load(table)).toEqual({ inserted: 0, writes: 0 });

      const newest = (from: string) =>
        s.rows(
          keyed
            ? `SELECT id, max_by(v, struct(updated_at, v)) AS v FROM ${from} WHERE v <> 'too late' AND id IS NOT NULL GROUP BY id`
            : `SELECT * FROM ${from} WHERE v <> 'too late'`,
        );
      expect(await newest(s.output(table))).toEqual(await newest(`${s.database}.${table}`));
      expect(await s.rows(`SELECT v FROM ${s.output(table)} WHERE id IS NULL`)).toHaveLength(2);
    },
  );
});
