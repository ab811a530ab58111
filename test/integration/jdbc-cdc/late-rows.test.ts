import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { JdbcScenario } from "../../support/jdbc-scenario.js";

let s: JdbcScenario;

beforeAll(async () => {
  s = await JdbcScenario.create(inject("sparkRemote"), inject("postgresUrl"));
});
afterAll(() => s?.[Symbol.asyncDispose]());

async function table(name: string, key = "PRIMARY KEY"): Promise<void> {
  await s.sql(
    `CREATE TABLE ${name} (id int ${key}, v text, updated_at timestamptz DEFAULT now())`,
    `INSERT INTO ${name} VALUES (1, 'first', '2026-03-01Z')`,
  );
}

describe("transactions that commit late", () => {
  test.each(["xmin", "clock"])(
    "an older value, committed between two runs, arrives in the second; newer ones wait for it (--late_rows %s)",
    async (mode) => {
      const name = `held_${mode}`;
      await table(name);
      const writer = await s.connect();
      await writer.query("BEGIN");
      await writer.query(`INSERT INTO ${name} (id, v) VALUES (2, 'late')`);
      await s.sql(`INSERT INTO ${name} (id, v) VALUES (3, 'newer')`);
      const { report } = await s.run(["--tables", name, "--late_rows", mode]);
      expect(await s.loaded(name)).toEqual(["1|first"]);
      expect(report.toJSON().warnings).toContainEqual({
        code: "ROWS_WAIT",
        message: expect.stringMatching(
          /1 rows are later than .*, where the transaction of pid \d+ holds the load back/,
        ),
      });
      await writer.query("COMMIT");
      await writer.end();
      // By the clock a row is left alone for a second: its transaction may not show yet.
      await expect
        .poll(
          async () => {
            await s.load(name, "--late_rows", mode);
            return await s.loaded(name);
          },
          { timeout: 60_000, interval: 300 },
        )
        .toEqual(["1|first", "2|late", "3|newer"]);
      expect((await s.load(name, "--late_rows", mode)).reason).toBe("nothing new");
    },
  );

  test.each([
    ["client", "PRIMARY KEY"],
    ["bag", ""],
  ])("a time that the client sets, long past: a table called %s (%s)", async (name, key) => {
    await table(name, key);
    const writer = await s.connect();
    await writer.query("BEGIN");
    await writer.query(`INSERT INTO ${name} VALUES (2, 'backdated', '2020-01-01Z')`);
    await writer.query("SAVEPOINT a");
    await writer.query(`INSERT INTO ${name} VALUES (4, 'in a subtransaction', '2020-01-01Z')`);
    const other = await s.connect();
    await other.query("BEGIN");
    await other.query(`INSERT INTO ${name} VALUES (5, 'prepared', '2020-01-01Z')`);
    await other.query(`PREPARE TRANSACTION '${name}'`);
    await s.sql(`INSERT INTO ${name} VALUES (3, 'seen', '2026-03-01 00:00:01Z')`);
    await s.load(name);
    expect(await s.loaded(name)).toEqual(["1|first", "3|seen"]);
    await writer.query("COMMIT");
    await other.query(`COMMIT PREPARED '${name}'`);
    await Promise.all([writer.end(), other.end()]);
    await s.sql(`UPDATE ${name} SET v = 'without a new time' WHERE id = 1`);
    expect((await s.load(name)).inserted).toBe(4);
    const expected = ["2|backdated", "3|seen", "4|in a subtransaction", "5|prepared"];
    expect(await s.loaded(name)).toEqual(["1|first", "1|without a new time", ...expected]);
    expect((await s.load(name)).reason).toBe("nothing new");
  });

  test("rows that equal ones delivered long before are rows of their own without a key", async () => {
    await table("equal", "");
    await s.sql("INSERT INTO equal VALUES (2, 'later', '2026-03-05Z')");
    await s.load("equal");
    for (let more = 0; more < 2; more++) {
      await s.sql("INSERT INTO equal VALUES (1, 'first', '2026-03-01Z'), (2, 'later', '2026-03-05Z')");
      expect((await s.load("equal")).inserted).toBe(2);
      expect(await s.loaded("equal")).toEqual(await s.source("equal"));
    }
    expect((await s.load("equal")).reason).toBe("nothing new");
  });

  test("sessions that the role may not see: their rows are found all the same, also where the clock was asked for", async () => {
    await table("hidden");
    const role = `r_${s.name}`;
    await s.sql(`CREATE ROLE ${role} LOGIN PASSWORD 'test'`, `GRANT SELECT ON hidden TO ${role}`);
    const url = new URL(s.postgresUrl);
    [url.username, url.password] = [role, "test"];
    const writer = await s.connect();
    try {
      const load = async () => {
        const { report } = await s.run(["--tables", "hidden", "--late_rows", "clock"], { postgresUrl: url.href });
        expect(report.toJSON().error).toBeUndefined();
        expect(report.toJSON().warnings).toContainEqual({
          code: "TRANSACTIONS_UNSEEN",
          message: expect.stringMatching(
            /^hidden: the role may not see \d+ sessions .*; the next run looks for late rows by xmin$/,
          ),
        });
        return report.table("hidden");
      };
      await writer.query("BEGIN");
      // Before the end of the first load, so that the times alone would lose it.
      await writer.query("INSERT INTO hidden VALUES (2, 'late', '2026-03-01 12:00Z')");
      await s.sql("INSERT INTO hidden VALUES (3, 'newer', '2026-03-02Z')");
      await load();
      expect(await s.loaded("hidden")).toEqual(["1|first", "3|newer"]);
      await writer.query("COMMIT");
      expect((await load()).inserted).toBe(1);
      expect(await s.loaded("hidden")).toEqual(await s.source("hidden"));
    } finally {
      await writer.end();
      await s.sql(`DROP OWNED BY ${role}`, `DROP ROLE ${role}`);
    }
  });

  test("by the clock alone late rows come within the lookback, also when it grows", async () => {
    await table("looked");
    const load = (lookback: string) => s.load("looked", "--late_rows", "clock", "--lookback", lookback);
    await load("1h");
    await s.sql("INSERT INTO looked VALUES (2, 'late', '2026-02-28 23:30Z'), (3, 'too late', '2026-02-28 22:00Z')");
    expect((await load("1h")).inserted).toBe(1);
    await s.sql("INSERT INTO looked VALUES (4, 'new', '2026-03-01 00:00:01Z')");
    expect((await load("3d")).inserted).toBe(1);
    expect(await s.loaded("looked")).toEqual(["1|first", "2|late", "4|new"]);
    // Looked for by xmin, what is left comes too, and nothing twice.
    await s.load("looked");
    await s.load("looked", "--full_refresh", "--yes");
    expect(await s.loaded("looked")).toEqual(await s.source("looked"));
  });
});
