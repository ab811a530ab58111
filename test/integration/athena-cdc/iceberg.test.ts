import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { publishBatch } from "../../../jobs/athena-cdc/iceberg-output.js";
import { createObjectStore } from "../../../lib/storage/index.js";
import { AthenaScenario } from "../../support/athena-scenario.js";

let s: AthenaScenario;
beforeAll(async () => {
  s = await AthenaScenario.create(inject("sparkRemote"));
  await s.spark.conf.set({
    "spark.sql.catalog.out": "org.apache.iceberg.spark.SparkCatalog",
    "spark.sql.catalog.out.type": "hadoop",
    "spark.sql.catalog.out.warehouse": join(s.folder, "out"),
    "spark.sql.catalog.out.cache-enabled": "false",
  });
});
afterAll(() => s[Symbol.asyncDispose]());

const ICEBERG = ["--output_format", "iceberg"];
const load = (table: string, ...args: readonly string[]) => s.load(table, ...ICEBERG, ...args);
const output = (table: string) => s.rows(`SELECT * FROM out.${table}`);
const intent = (table: string) =>
  JSON.parse(readFileSync(join(s.folder, "cdc", "_glue_connect", "athena-cdc", `${table}.json`), "utf8")).intent;
const dieAt = (table: string, step: string, at: "start" | "end", args: readonly string[] = ICEBERG) =>
  s.run(["--tables", table, ...args], {
    onStep: ({ name, phase }) => {
      if (name === step && phase === at) throw new Error("died");
    },
  });

async function create(table: string, columns: string, values: string): Promise<void> {
  await s.sql(table, `CREATE TABLE $t (${columns}) USING parquet`, `INSERT INTO $t VALUES ${values}`);
}

describe("athena-cdc to Iceberg", () => {
  const snapshot = async (which: string) =>
    (await (await s.spark.sql(`SELECT snapshot_id FROM out.bag.snapshots ${which}`)).collect())[0]?.getBigInt(0);

  test("after a rollback the rows since then come again, those at the batch's time not", async () => {
    const row = "(1, TIMESTAMP'2026-03-01 10:00:00')";
    await create("bag", "id BIGINT, updated_at TIMESTAMP", `${row}, ${row}`);
    await load("bag");
    const first = await snapshot("ORDER BY committed_at DESC LIMIT 1");
    await s.sql("bag", `INSERT INTO $t VALUES ${row}, (2, TIMESTAMP'2026-03-02 10:00:00')`);
    expect((await load("bag")).inserted).toBe(2);
    await s.spark.sql(`CALL out.system.rollback_to_snapshot('bag', ${first})`);
    expect((await s.run(["--tables", "bag", ...ICEBERG, "--from", "2026-03-01"])).report.table("bag").error?.code).toBe(
      "BACKFILL_IMPOSSIBLE",
    );
    expect(await load("bag")).toMatchObject({ inserted: 2, reason: expect.stringContaining("at another batch") });
    expect(await output("bag")).toEqual(await s.source("bag"));

    // While a batch that died on its way waits to be published: it is given up, and what the rollback took comes too.
    await s.sql("bag", "INSERT INTO $t VALUES (3, TIMESTAMP'2026-03-03 10:00:00')");
    const died = await s.run(["--tables", "bag", ...ICEBERG], {
      onStep: ({ name, phase }) => {
        if (name === "publish" && phase === "start") throw new Error("died");
      },
    });
    expect([died.exitCode, intent("bag").kind]).toEqual([1, "publishing"]);
    await s.spark.sql(`CALL out.system.rollback_to_snapshot('bag', ${first})`);
    const { report } = await s.run(["--tables", "bag", ...ICEBERG]);
    expect(report.warnings.map(({ code }) => code)).toContain("BATCH_OUTDATED");
    expect(report.table("bag")).toMatchObject({ inserted: 3, reason: expect.stringContaining("at another batch") });
    expect(await output("bag")).toEqual(await s.source("bag"));
  });

  test("without the state the table tells which rows at its time were delivered, to the batch and to the next one", async () => {
    const row = "(1, TIMESTAMP'2026-03-01 10:00:00')";
    await create("stateless", "id BIGINT, updated_at TIMESTAMP", row);
    await load("stateless");
    for (const file of readdirSync(join(s.folder, "cdc"), { recursive: true }).map(String)) {
      if (/(^|\/)\.?stateless\./.test(file)) rmSync(join(s.folder, "cdc", file), { recursive: true, force: true });
    }
    for (let more = 0; more < 2; more++) {
      await s.sql("stateless", `INSERT INTO $t VALUES ${row}`);
      expect((await load("stateless")).inserted).toBe(1);
      expect(await output("stateless")).toEqual(await s.source("stateless"));
    }
  });

  test("a state from before the last batch, with that time's tracker or the last one: nothing of the batch is lost or comes again", async () => {
    const trackerToo = ["bag_then", "keyed_then"];
    const names = [...trackerToo, "bag_now", "keyed_now"];
    s.keys("behind.csv", "keyed_then,id", "keyed_now,id");
    const row = (id: number, v: string, day: number) => `(${id}, '${v}', TIMESTAMP'2026-03-0${day} 10:00:00')`;
    const insert = async (...rows: readonly string[]) => {
      for (const name of names) await s.sql(name, `INSERT INTO $t VALUES ${rows.join(", ")}`);
    };
    const run = async () => {
      const { report } = await s.run(["--tables", names.join(","), ...ICEBERG]);
      expect(report.toJSON().error).toBeUndefined();
      return names.map((name) => report.table(name));
    };
    for (const name of names) await s.table(name, `${row(1, "a", 1)}, ${row(2, "a", 1)}`);
    await run();
    const store = createObjectStore();
    const stateUri = (name: string) => s.uri(`cdc/_glue_connect/athena-cdc/${name}.json`);
    const before = await Promise.all(
      names.map(async (name) => ({ state: await store.get(stateUri(name)), tracker: s.tracker(name) })),
    );
    await insert(row(1, "b", 2), row(3, "b", 2));
    await run();
    for (const [index, name] of names.entries()) {
      await store.put(stateUri(name), before[index]?.state?.body ?? "");
      if (trackerToo.includes(name)) s.setTracker(name, before[index]?.tracker);
    }
    // At the time of the batch that the state doesn't know, and later.
    await insert(row(3, "b", 2), row(4, "c", 2), row(2, "c", 3));
    const reason = expect.stringContaining("the Iceberg table is at another batch than the state");
    const [bag, keyed] = [
      { inserted: 3, reason },
      { inserted: 2, reason },
    ];
    expect(await run()).toMatchObject([bag, keyed, bag, keyed]);
    for (const name of names) {
      const newest = `SELECT id, max_by(v, updated_at) AS v, max(updated_at) AS updated_at FROM ${s.database}.${name} GROUP BY id`;
      const rows = await (name.startsWith("bag") ? s.source(name) : s.rows(newest));
      expect({ name, rows: await output(name) }).toEqual({ name, rows });
    }
    expect((await run()).map(({ inserted }) => inserted)).toEqual([0, 0, 0, 0]);
  });

  test("rolled back to where no batch is left, everything comes again", async () => {
    const empty = await snapshot("WHERE parent_id IS NULL");
    await s.spark.sql(`CALL out.system.rollback_to_snapshot('bag', ${empty})`);
    const died = await dieAt("bag", "move main", "end");
    expect(died.report.table("bag")).toMatchObject({ status: "FAILED", way: "full load", inserted: 5 });
    expect((await load("bag")).inserted).toBe(0);
    expect(await output("bag")).toEqual(await s.source("bag"));
  });

  test("a full load that wakes up after a later one leaves the later one's mark", async () => {
    let isOver = false;
    const store = createObjectStore();
    const publish = publishBatch({
      ...{ spark: s.spark, store, output: s.uri("out"), table: "bag" },
      step: async (name, work) => {
        isOver ||= name === "commit to a branch";
        return await work();
      },
    });
    const commit = {
      ...{ mode: "replace", database: "", fullLoad: "jr_late", attempt: null, key: [], clock: "updated_at" },
      schema: [
        ["id", "bigint"],
        ["updated_at", "timestamp"],
      ],
      ...{ watermark: null, range: null },
    };
    const check = async () => {
      if (isOver) throw new Error("taken over");
    };
    await expect(publish({ runId: "jr_late", add: [], remove: [], commit }, check)).rejects.toThrow("taken over");
    await s.sql("bag", "INSERT INTO $t VALUES (3, TIMESTAMP'2026-03-03 10:00:00')");
    expect((await load("bag")).inserted).toBe(1);
    expect(await output("bag")).toEqual(await s.source("bag"));
  });

  test("a key of two columns, NULL in one of them; a backfill replaces its range", async () => {
    s.keys("pairs.csv", "pairs,a", "pairs,b");
    const none = "(NULL, 'x', 'n', TIMESTAMP'2026-03-01 10:00:00')";
    const rows = (x: string, y: string) =>
      `(1, 'x', '${x}', TIMESTAMP'2026-03-01 10:00:00'), (1, 'y', '${y}', TIMESTAMP'2026-03-01 10:00:00')`;
    await create("pairs", "a BIGINT, b STRING, v STRING, updated_at TIMESTAMP", `${rows("z", "z")}, ${none}, ${none}`);
    expect((await load("pairs")).inserted).toBe(4);
    const next = "(2, 'x', 'next', TIMESTAMP'2026-03-02 10:00:00')";
    await s.sql("pairs", `INSERT OVERWRITE $t VALUES ${rows("a", "z")}, ${none}, ${none}, ${next}`);
    expect((await load("pairs")).inserted).toBe(2);
    expect(await output("pairs")).toEqual(await s.source("pairs"));
    await s.sql("pairs", `INSERT OVERWRITE $t VALUES ${rows("a", "y")}, ${none}, ${next}`);
    expect(await load("pairs", "--from", "2026-03-01", "--to", "2026-03-01 12:00:00")).toMatchObject({ inserted: 3 });
    expect(await output("pairs")).toEqual(await s.source("pairs"));
  });

  test("a change that Iceberg refuses is found before anything is stored, and a full refresh answers it", async () => {
    await create(
      "typed",
      "id INT, n STRUCT<`user-id`: INT, l: ARRAY<SMALLINT>>, updated_at STRING",
      "(1, named_struct('user-id', 1, 'l', array(1S)), '2026-03-01T12:00:00+02:00')",
    );
    s.keys("typed.csv", "typed,id");
    await load("typed");
    // By its text it is older than the row that is there, by its time newer.
    await s.sql("typed", "INSERT INTO $t VALUES (1, NULL, '2026-03-01 11:00:00')");
    expect((await load("typed")).inserted).toBe(1);
    expect(await output("typed")).toEqual(['{"id":1,"n":null,"updated_at":"2026-03-01 11:00:00"}']);
    await s.sql(
      "typed",
      "DROP TABLE $t",
      `CREATE TABLE $t (id STRING, updated_at STRING) USING parquet LOCATION '${join(s.folder, "typed2")}'`,
      "INSERT INTO $t VALUES ('x', '2026-03-02')",
    );
    const { report } = await s.run(["--tables", "typed", ...ICEBERG]);
    expect(report.table("typed").error?.code).toBe("ICEBERG_TYPE_CHANGE");
    expect(intent("typed")).toBeNull();
    await load("typed", "--full-refresh", "--yes");
    expect(await s.rows("SELECT id, updated_at FROM out.typed")).toEqual(await s.source("typed"));
    s.keys("typed2.csv", "typed,updated_at");
    const rekeyed = await s.run(["--tables", "typed", ...ICEBERG]);
    expect(rekeyed.report.table("typed").error?.code).toBe("KEY_CHANGED");
    s.keys("typed3.csv", "none,none");
  });

  test("a batch is finished in the format that it was begun in; the files of an Iceberg table aren't deleted for Parquet's sake", async () => {
    await create("crossed", "id BIGINT, updated_at TIMESTAMP", "(1, TIMESTAMP'2026-03-01 10:00:00')");
    const die = (args: readonly string[]) => dieAt("crossed", "publish", "start", args);
    expect((await die([])).exitCode).toBe(1);
    expect(intent("crossed").kind).toBe("publishing");
    expect(await load("crossed")).toMatchObject({ reason: "so far the output was parquet", inserted: 1 });
    expect(s.files("crossed")).toHaveLength(1);
    await s.sql("crossed", "INSERT INTO $t VALUES (2, TIMESTAMP'2026-03-02 10:00:00')");
    expect((await die(ICEBERG)).exitCode).toBe(1);
    const { report } = await s.run(["--tables", "crossed"]);
    expect(report.table("crossed").error?.code).toBe("OUTPUT_IS_ICEBERG");
    expect(await output("crossed")).toEqual(await s.source("crossed"));
    await s.spark.sql("DROP TABLE out.crossed PURGE");
    expect(await load("crossed")).toMatchObject({ reason: "the Iceberg table is gone", inserted: 2 });
    expect(await output("crossed")).toEqual(await s.source("crossed"));
  });

  test("a widened column, a type that Iceberg hasn't got, a table that was made anew before its batch", async () => {
    const [first, second] = ["TIMESTAMP'2026-03-01 10:00:00'", "TIMESTAMP'2026-03-02 10:00:00'"];
    await create("wide", "id INT, n INT, updated_at TIMESTAMP", `(1, 1, ${first})`);
    await create(
      "lasting",
      "id INT, d INTERVAL YEAR TO MONTH, updated_at TIMESTAMP",
      `(1, INTERVAL '1-0' YEAR TO MONTH, ${first})`,
    );
    await create("anew", "id INT, updated_at TIMESTAMP", `(1, ${first})`);
    s.keys("wide.csv", "wide,id");
    const tables = ["--tables", "wide,lasting,anew", ...ICEBERG];
    const begun = await s.run(tables);
    expect(begun.report.table("lasting").error).toMatchObject({
      code: "ICEBERG_TYPE_MISSING",
      problems: ["d is interval year to month"],
    });
    expect([begun.report.table("wide").inserted, begun.report.table("anew").inserted]).toEqual([1, 1]);
    expect(existsSync(join(s.folder, "cdc", "_glue_connect", "athena-cdc", "lasting.json"))).toBe(false);

    await s.sql(
      "wide",
      "DROP TABLE $t",
      `CREATE TABLE $t (id BIGINT, n BIGINT, updated_at TIMESTAMP) USING parquet LOCATION '${join(s.folder, "wide2")}'`,
      `INSERT INTO $t VALUES (1, 1, ${first}), (5000000000, 6000000000, ${second})`,
    );
    await s.sql("anew", `INSERT INTO $t VALUES (2, ${second})`);
    const { report } = await s.run(tables, {
      onStep: ({ name, phase, table }) => {
        if (table === "anew" && name === "publish" && phase === "start") throw new Error("died");
      },
    });
    expect(report.table("wide")).toMatchObject({ status: "SUCCEEDED", way: "rows since the last run", inserted: 1 });
    expect(await output("wide")).toEqual(await s.source("wide"));

    // Another run's, with a state of its own elsewhere.
    await s.spark.sql("DROP TABLE out.anew PURGE");
    await load("anew", "--cdc_path", s.uri("other"));
    const late = await s.run(["--tables", "anew", ...ICEBERG]);
    expect(late.report.table("anew").error?.code).toBe("ICEBERG_TABLE_REPLACED");
    expect(await output("anew")).toEqual(await s.source("anew"));
    expect(await load("anew", "--full-refresh", "--yes")).toMatchObject({ inserted: 2 });
    expect(await output("anew")).toEqual(await s.source("anew"));
  });
});
