import { randomUUID } from "node:crypto";
import { appendFileSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, inject, test, vi } from "vitest";
import { keyJson, rowJson } from "../../../lib/glue/incremental/index.js";
import { DataFrame, SparkSession } from "../../../lib/spark/index.js";
import { createObjectStore } from "../../../lib/storage/index.js";
import {
  at,
  BASE,
  DatamartScenario,
  PREFIX,
  TABLES,
  type TestRow,
  type TestRows,
} from "../../support/datamart-scenario.js";

let scenario: DatamartScenario | undefined;
const create = async (rows?: TestRows) => {
  scenario = await DatamartScenario.create(inject("sparkRemote"), rows);
  return scenario;
};
afterEach(async () => {
  await scenario?.[Symbol.asyncDispose]();
  scenario = undefined;
});

/** A session whose zone and settings are all other than the job's: results must not depend on them. */
async function otherSession(remote: string) {
  const own = `${remote};session_id=${randomUUID()}`;
  const session = await SparkSession.builder().remote(own).getOrCreate();
  await session.conf.set({
    "spark.sql.session.timeZone": "America/New_York",
    "spark.sql.caseSensitive": "true",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
  });
  return { remote: own, close: () => session.close() };
}

describe("datamart-join", () => {
  test("the JSON of a key is what to_json makes of it, whatever the values", async () => {
    const spark = await SparkSession.builder().remote(inject("sparkRemote")).getOrCreate();
    const values = [
      ...[
        "('a', 1L, 2S)",
        "(NULL, NULL, NULL)",
        "('', 9223372036854775807L, -3S)",
        "('naïve – 日本語 \u{7f}', NULL, 0S)",
      ],
      ...[
        "(concat('quote', chr(34)), 0L, 1S)",
        "(concat('back', chr(92)), 0L, 1S)",
        "(concat('tab', chr(9), 'line', chr(10)), 0L, NULL)",
      ],
    ];
    const rows = await spark.sql(`SELECT * FROM VALUES ${values.join(", ")} AS t(txt, Number, small)`);
    const schema = await rows.schema();
    for (const names of [["txt"], ["Number"], ["txt", "Number"], ["small", "txt"]]) {
      const keys = await rows.select(keyJson(schema, names).as("key"), rowJson(schema, names).as("expected")).collect();
      expect(keys.map((row) => row.getString("key"))).toEqual(keys.map((row) => row.getString("expected")));
      expect(new Set(keys.map((row) => row.getString("key"))).size).toBeGreaterThan(3);
    }
    await spark.stop();
  });

  test("what is missing or wrong is said in one error, and nothing is written", async () => {
    const s = await create();
    s.configure({ output_path: undefined });
    const wrong = await s.run(["--lookback", "soon", "--to", "2026-01-01"]);
    expect(wrong.report.error).toMatchObject({ code: "ARGUMENTS_INVALID" });
    expect(wrong.report.error?.problems.join()).toMatch(/--lookback must be.*--to needs --from/);
    expect(wrong.exitCode).toBe(64);
    const nowhere = await s.run();
    expect([nowhere.exitCode, nowhere.report.error]).toMatchObject([
      64,
      { code: "ARGUMENTS_INVALID", problems: [expect.stringMatching(/^--output_path is missing/)] },
    ]);
    s.configure();

    const database = await s.run(["--database_name", "nowhere"]);
    expect(database.report.error?.code).toBe("DATABASE_NOT_FOUND");
    s.timestampFile = "last_load_timestamp\nyesterday\n";
    const corrupt = await s.run();
    expect(corrupt.exitCode).toBe(1);
    expect(corrupt.report.error?.problems.join()).toMatch(/last_load.csv can't be read.*"yesterday"/);
    s.timestampFile = undefined;

    s.configure({ tables: { [`${PREFIX}queue`]: { key: ["queue_nr"] } } });
    expect((await s.run()).report.error).toMatchObject({
      code: "KEY_COLUMNS_MISSING",
      problems: [`${PREFIX}queue has no column queue_nr`],
    });
    s.configure();
    await s.spark.sql(`DROP TABLE ${s.table("queue")}`);
    await s.spark.sql(`DROP TABLE ${s.table("account_risk")}`);
    const missing = await s.run();
    expect(missing.report.error?.code).toBe("TABLES_MISSING");
    expect(missing.report.error?.message).toContain(`${PREFIX}account_risk, ${PREFIX}queue`);
    expect([...s.files("joined"), ...s.files("adjustment")]).toEqual([]);
  });

  test("empty tables, a missing table that stands alone: warnings, and the rest is loaded", async () => {
    const s = await create({ ...BASE, account_risk: [] });
    await s.spark.sql(`DROP TABLE ${s.table("adjustment")}`);
    const first = await s.load();
    expect(first.warnings).toEqual(expect.arrayContaining(["TABLE_EMPTY", "TABLE_MISSING", "NO_ROWS"]));
    expect(first.joined.inserted).toBe(0);
    expect(s.timestampFile).toBe("last_load_timestamp\n2026-01-01 10:08:00\n");
    await s.expectLikeFullLoad("no risks");
    // The first rows of the table that was empty, older than all that was loaded.
    s.put("account_risk", [1, "a1", 10, at(0)]);
    expect((await s.load()).joined.inserted).toBe(4);
    await s.expectLikeFullLoad("the first risk");
  });

  test("the timestamp file: set back by hand, deleted, adopted from the Python job", async () => {
    const s = await create();
    // As its csv module writes it: in a folder or not, with a fraction or not.
    s.timestampFile = "last_load_timestamp\n2026-01-01 10:07:00\n";
    const adopted = await s.load();
    expect(adopted.joined.reason).toBe("the timestamp file of an earlier job counts: 2026-01-01 10:07:00");
    expect(await s.lastBatch()).toEqual({ written: ["t7", "t8"], emptied: [] });
    expect(s.timestampFile).toBe("last_load_timestamp\n2026-01-01 10:08:00\n");
    // Where rows belonged before is known from the source, as it was then.
    s.put("account_metadata", [2, "a1", "iron", at(20)]);
    await s.load();
    expect((await s.lastBatch()).emptied).toEqual(["t5", "t6", "t7", "t8"]);

    s.timestampFile = "last_load_timestamp\n2026-01-01 10:06:00\n";
    const reset = await s.load();
    expect(reset.joined.reason).toBe("the timestamp file was changed by hand: 2026-01-01 10:06:00");
    expect(reset.joined.details.changed).toEqual({ account_metadata: 1, settlement_transaction: 3 });
    expect(s.timestampFile).toBe("last_load_timestamp\n2026-01-01 10:20:00\n");
    // What was kept of the past is kept.
    s.put("account_metadata", [2, "a2", "iron", at(21)]);
    await s.load();

    s.timestampFile = undefined;
    expect((await s.load()).joined).toMatchObject({ way: "full load", reason: "the timestamp file was deleted" });
    await s.expectLikeFullLoad();
  });

  test("rows without a time come with full loads, rows of the future at once; both are told", async () => {
    const s = await create();
    s.put("settlement_transaction", ["t20", "q1", 20, null], ["t21", "q1", 21, "2999-01-01T00:00:00.000000Z"]);
    const first = await s.load();
    expect(first.warnings).toEqual(expect.arrayContaining(["ROWS_WITHOUT_TIME", "ROWS_IN_THE_FUTURE"]));
    await s.expectLikeFullLoad("first");
    expect(s.timestampFile).toBe("last_load_timestamp\n2026-01-01 10:08:00\n");
    expect((await s.load()).joined.inserted).toBe(0);
    s.put("settlement_transaction", ["t22", "q1", 22, at(9)]);
    await s.load();
    expect(await s.lastBatch()).toEqual({ written: ["t22"], emptied: [] });
    await s.expectLikeFullLoad("then");
  });

  test("columns that are added, dropped or of another type", async () => {
    const s = await create();
    await s.load();
    const columns = "account_id STRING, tier STRING, id INT, updated_at TIMESTAMP";
    s.set("account_risk", [["a1", "high", 1, at(20)]], ["account_id", "tier", "id", "updated_at"]);
    await s.define("account_risk", columns);
    const failed = await s.run(["--on_schema_change", "fail"]);
    expect(failed.report.error?.problems.join()).toContain("added tier; dropped score");
    const { joined, warnings } = await s.load();
    expect(warnings).toContain("SCHEMA_CHANGED");
    expect(joined.details.schemaChanges).toEqual({ [`${PREFIX}account_risk`]: "added tier; dropped score" });
    // Another table's tier keeps its name.
    const rows = await s.select(
      `SELECT DISTINCT tier, account_risk_tier FROM ${s.output("joined")} WHERE account_risk_tier IS NOT NULL`,
    );
    expect(rows).toEqual(['{"tier":"gold","account_risk_tier":"high"}']);

    await s.define("account_risk", columns.replace("id INT", "id BIGINT"));
    expect((await s.load()).joined).toMatchObject({ way: "full load", inserted: 4 });
  });

  test("incremental columns of other types, in sessions of another zone; text that is no time fails its output alone", async () => {
    const s = await create();
    s.environment = { sparkRemote: () => otherSession(s.remote) };
    const local = (minute: number) => at(minute).replace("Z", "");
    await s.define("account", "account_id STRING, name STRING, updated_at TIMESTAMP_NTZ");
    s.set("account", [
      ["a1", "Ann", local(1)],
      ["a2", "Bob", local(2)],
    ]);
    await s.define("account_risk", "id INT, account_id STRING, score INT, updated_at DATE");
    s.set("account_risk", [
      [1, "a1", 10, "2026-01-01"],
      [2, "a2", 20, "2026-01-02"],
    ]);
    await s.define("queue", "queue_id STRING, account_id STRING, name STRING, updated_at BIGINT");
    await s.define("adjustment", "adjustment_id INT, reason STRING, updated_at STRING");
    s.set(
      "queue",
      (s.rows.get("queue") ?? []).map((row) => [...row.slice(0, 3), 1_767_261_600 + Number(String(row[0]).slice(1))]),
    );
    await s.load();
    s.put("account", ["a1", "Anna", local(20)]);
    s.put("queue", ["q3", "a1", "moved", 1_767_261_700]);
    // At the day that was loaded last.
    s.put("account_risk", [3, "a2", 30, "2026-01-02"]);
    expect((await s.load()).joined.details.changed).toEqual({ account: 1, account_risk: 1, queue: 1 });
    expect(s.timestampFile).toBe("last_load_timestamp\n2026-01-02 00:00:00\n");
    s.put("account_risk", [1, "a2", 10, "2026-01-03"]);
    expect((await s.load()).joined.details.changed).toEqual({ account_risk: 1 });
    expect(await s.lastBatch()).toEqual({ written: ["t7", "t8"], emptied: ["t1", "t2", "t3", "t4", "t5", "t6"] });
    expect(s.timestampFile).toBe("last_load_timestamp\n2026-01-03 00:00:00\n");
    const newest = await s.newest();
    await s.load("--full-refresh", "--yes");
    expect(await s.newest()).toEqual(newest);

    s.put("adjustment", [3, "fee", "soon"]);
    s.put("account", ["a2", "Bea", local(30)]);
    const { report, exitCode } = await s.run();
    expect(exitCode).toBe(1);
    expect(report.table("adjustment").error?.message).toMatch(/1 values of column updated_at are no time, e.g. "soon"/);
    expect(report.table("joined")).toMatchObject({ inserted: 6 });
  }, 240_000);

  test("columns of a transaction without a key: what was loaded isn't loaded once more beside itself", async () => {
    const s = await create();
    s.configure({ tables: {} });
    await s.load();
    const columns = ["transaction_id", "queue_id", "amount", "created_at", "note"];
    await s.define("settlement_transaction", `${TABLES.settlement_transaction.columns}, note STRING`);
    const rows = (s.rows.get("settlement_transaction") ?? []).map((row) => [...row, `note of ${row[0]}`]);
    s.set("settlement_transaction", [...rows, ["t9", "q4", 9, at(9), null]], columns);
    expect((await s.load()).joined).toMatchObject({
      way: "full load",
      reason: "the columns changed by which groups without a key are known",
    });
    const newest = (await s.newest()).map((row) => JSON.parse(row));
    expect(newest.map(({ transaction_id, note }) => `${transaction_id} ${note}`).toSorted()).toEqual([
      ...[1, 2, 3, 4, 5, 6, 7, 8].map((n) => `t${n} note of t${n}`),
      "t9 null",
    ]);
  });

  test("a change that touches no group; another timestamp file beside the state's", async () => {
    const s = await create();
    await s.load();
    // No queue, so no transaction, and no file.
    s.put("account", ["a3", "Cy", at(20)]);
    expect((await s.load()).joined).toMatchObject({ inserted: 0, details: { changed: { account: 1 } } });
    expect(s.timestampFile).toBe("last_load_timestamp\n2026-01-01 10:20:00\n");
    const beside = await s.run(["--timestamp_s3_path", s.uri("state/other.csv")]);
    expect(beside.report.error?.problems.join()).toMatch(
      /is the state of .* with last_load.csv, not of .* with other.csv/,
    );
  });

  test("files that change while they are listed, and a table that is defined otherwise over the same ones, are read again", async () => {
    const s = await create();
    const folder = join(s.folder, "in", "adjustment");
    const append = (id: number) => {
      const [file = ""] = readdirSync(folder);
      appendFileSync(join(folder, file), `\n{"adjustment_id":${id},"reason":"x","updated_at":"${at(id)}"}`);
    };
    const ids = async () =>
      (await s.newest("adjustment")).map((row) => JSON.parse(row).adjustment_id as number).toSorted((a, b) => a - b);
    await s.load();
    append(13);
    // Spark goes by the size that it found, and doesn't see this row.
    const list = DataFrame.prototype.inputFiles;
    const listing = vi.spyOn(DataFrame.prototype, "inputFiles").mockImplementation(async function (this: DataFrame) {
      const names = await list.call(this);
      if (names.some((name) => name.includes("/adjustment/"))) append(14);
      return names;
    });
    await s.load().finally(() => listing.mockRestore());
    expect(await ids()).toEqual([1, 2, 13]);
    await s.load();
    expect(await ids()).toEqual([1, 2, 13, 14]);

    const define = async (options: string) => {
      await s.spark.sql(`DROP TABLE ${s.table("adjustment")}`);
      await s.spark.sql(
        `CREATE TABLE ${s.table("adjustment")} (${TABLES.adjustment.columns}) USING json ${options} LOCATION '${folder}'`,
      );
    };
    await define("OPTIONS (timestampFormat 'yyyy/MM/dd')");
    expect((await s.load("--load_type", "full")).warnings).toContain("ROWS_WITHOUT_TIME");
    expect(await s.newest("adjustment")).toHaveLength(4);
    await define("");
    expect((await s.load()).adjustment.inserted).toBe(4);
  });

  test("a table that is rewritten between the looks at it: no row is lost, whichever of them saw it", async () => {
    const s = await create();
    const folder = join(s.folder, "in", "settlement_transaction");
    const columns = ["transaction_id", "queue_id", "amount", "created_at"];
    /** In place: Spark, which goes by the size that it found first, sees what is in the file when it reads it. */
    const rewrite = (...rows: readonly TestRow[]) => {
      const lines = rows.map((row) => JSON.stringify(Object.fromEntries(row.map((cell, at) => [columns[at], cell]))));
      const [file = ""] = readdirSync(folder);
      writeFileSync(join(folder, file), lines.join("\n").padEnd(4096));
      s.rows.set("settlement_transaction", [...rows]);
    };
    /** A run amid which, after the first of the two looks, the table has these rows. */
    const loadAmid = async (...rows: readonly TestRow[]) => {
      let looks = 0;
      const { report, exitCode } = await s.run([], {
        onStep: async ({ name, phase }) => {
          if (/^(fix the bounds|look near)/.test(name) && phase === "end" && looks++ === 0) rewrite(...rows);
        },
      });
      expect([exitCode, looks]).toEqual([0, 2]);
      return report.table("joined");
    };
    const base = BASE.settlement_transaction ?? [];
    await s.load();
    rewrite(...base);
    const atWatermark: readonly TestRow[] = [...base, ["t9", "q4", 9, at(8)], ["t10", "q4", 10, at(9)]];
    await loadAmid(...atWatermark);
    await s.expectLikeFullLoad("a row at the watermark, and a later one");

    // As many new rows as delivered ones that aren't back yet, and another table's change, with which the watermark moves on.
    const later: readonly TestRow[] = [11, 12, 13].map((n) => [`t${n}`, "q4", n, at(n)]);
    rewrite(...base.slice(0, 7), ...later);
    s.put("account", ["a1", "Anna", at(20)]);
    const changed = await loadAmid(...atWatermark, ...later);
    expect(changed.details.rowsSeen).toEqual({ account: 2n, settlement_transaction: 3n });
    expect(changed.stateAfter).toMatchObject({ settlement_transaction: "2026-01-01 10:13:00" });
    await s.load();
    await s.expectLikeFullLoad("rows after those that were delivered");
  });

  test("a state that an older version left: no news from it, then changes, then none again", async () => {
    const s = await create();
    const future = "2999-01-01T00:00:00.000000Z";
    s.put("settlement_transaction", ["t9", "q1", 9, future]);
    await s.load();
    // It didn't keep what files the tables had, and had all that it knew of a table's rows in one place.
    const store = createObjectStore();
    const uri = s.uri(`state/_glue_connect/datamart-join/${s.database}.json`);
    const object = await store.get(uri);
    const state = JSON.parse(Buffer.from(object?.body ?? []).toString());
    for (const mart of Object.values<Record<string, unknown>>(state.details.marts)) delete mart.sources;
    await store.put(uri, JSON.stringify(state), { ifMatch: object?.etag ?? "" });
    const known = join(s.folder, "state/_glue_connect/datamart-join/delivered");
    const counted = readdirSync(known, { recursive: true, encoding: "utf8" }).filter((name) => /-counted$/.test(name));
    expect(counted).not.toEqual([]);
    for (const name of counted) {
      const [from, to] = [join(known, name), join(known, name.replace(/-counted$/, ""))];
      mkdirSync(to, { recursive: true });
      for (const part of readdirSync(from)) renameSync(join(from, part), join(to, part.replace("part-", "part-1")));
      rmSync(from, { recursive: true });
    }

    /** Without the rows at the watermark nothing but what was delivered tells that the one of the future isn't new. */
    const nothingWithout = async (...ids: string[]) => {
      const rows = s.rows.get("settlement_transaction") ?? [];
      s.set(
        "settlement_transaction",
        rows.filter(([id]) => !ids.includes(String(id))),
      );
      const before = s.files("joined");
      const { joined, adjustment } = await s.load();
      for (const { inserted, reason } of [joined, adjustment]) {
        expect({ ids, inserted, reason }).toEqual({ ids, inserted: 0, reason: "no rows since the last run" });
      }
      expect(s.files("joined")).toEqual(before);
    };
    await nothingWithout("t8");
    // Where rows belonged is known from that version, and what it delivered.
    s.put("account_metadata", [1, "a2", "gold", at(20)]);
    s.put("settlement_transaction", ["t8", "q4", 8, at(8)], ["t10", "q4", 10, at(8)]);
    const { joined } = await s.load();
    expect(joined.details.changed).toEqual({ account_metadata: 1, settlement_transaction: 1 });
    expect(await s.lastBatch()).toEqual({
      written: ["t10", "t5", "t6", "t7", "t8"],
      emptied: ["t1", "t2", "t3", "t4", "t9"],
    });
    await s.expectLikeFullLoad("changes");
    await nothingWithout("t8", "t10");
  });

  test("plan writes nothing; a deleted output is loaded again by --load_type full", async () => {
    const s = await create();
    const { runJob } = await import("../../../lib/glue/index.js");
    const { default: job } = await import("../../../jobs/datamart-join/job.js");
    const plan = () => runJob(job, s.argv(), { sparkRemote: s.remote, catalog: "spark", mode: "plan" });
    const first = await plan();
    expect(first.exitCode).toBe(2);
    expect(first.report.table("joined")).toMatchObject({ inserted: 8, way: "full load" });
    expect(s.files("joined")).toEqual([]);
    await s.load();
    s.put("queue", ["q1", "a2", "queue 1", at(20)]);
    expect((await plan()).report.table("joined")).toMatchObject({ inserted: 2, way: "groups that changed" });
    await s.load();
    expect((await plan()).exitCode).toBe(0);
    rmSync(join(s.folder, "out"), { recursive: true });
    await s.load("--load_type", "full");
    await s.expectLikeFullLoad();
  });
});
