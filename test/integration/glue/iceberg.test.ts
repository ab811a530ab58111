import { randomInt } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import {
  commitOnce,
  type IcebergBatch,
  type IcebergBranch,
  type IcebergTable,
  icebergCatalog,
} from "../../../lib/glue/incremental/index.js";
import { SparkSession } from "../../../lib/spark/index.js";

const folder = mkdtempSync(join(tmpdir(), "glue-connect-iceberg-"));
let table: (name: string) => IcebergTable;
let rowsOf: (name: string) => Promise<string[]>;
let spark: SparkSession;

beforeAll(async () => {
  spark = await SparkSession.builder().remote(inject("sparkRemote")).getOrCreate();
  const catalog = await icebergCatalog(spark, pathToFileURL(folder).href, "");
  table = (name) => ({ spark, catalog, table: name, step: (_step, work) => work() });
  rowsOf = async (name) =>
    (await (await spark.sql(`SELECT v FROM ${catalog.table(name)} ORDER BY v`)).collect()).map(
      (row) => row.getString(0) ?? "",
    );
});
afterAll(async () => {
  await spark?.close();
  rmSync(folder, { recursive: true, force: true });
});

const batch = (runId: string, more: Partial<IcebergBatch> = {}): IcebergBatch => ({
  runId,
  schema: [["v", "string"]],
  watermark: null,
  ...more,
});
const append =
  (...values: string[]) =>
  async (branch: IcebergBranch) =>
    await branch.write(await spark.sql(values.map((value) => `SELECT '${value}' AS v`).join(" UNION ALL "))).append();
const ours = async () => {};

/** A query whose rows come only when {@link go} is called, and a promise of somebody having asked for them. */
async function slowRows(value: string) {
  const lock = randomInt(2 ** 31);
  const url = new URL(inject("postgresUrl"));
  const client = new pg.Client(url.href);
  await client.connect();
  await client.query(`SELECT pg_advisory_lock(${lock})`);
  const rows = spark.read
    .format("jdbc")
    .options({
      url: `jdbc:postgresql://${url.host}${url.pathname}`,
      user: url.username,
      password: url.password,
      driver: "org.postgresql.Driver",
      query: `SELECT '${value}' AS v WHERE pg_advisory_lock_shared(${lock}) IS NOT NULL`,
    })
    .load();
  const waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = $1::oid AND NOT granted";
  return {
    rows,
    asked: () =>
      expect
        .poll(async () => (await client.query(waiting, [lock])).rowCount, { timeout: 60_000, interval: 20 })
        .toBe(1),
    go: () => client.end(),
  };
}

describe("commitOnce", () => {
  test("a branch that another finisher of the batch has dropped meanwhile isn't published a second time", async () => {
    const t = table("twice");
    await commitOnce(t, batch("r1"), ours, append("a"));
    const slow = await slowRows("b");
    const late = commitOnce(t, batch("r2"), ours, async (branch) => await branch.write(slow.rows).append());
    await slow.asked();
    // Drops the branch of the other one, which makes it again with its commit, on top of where main is then.
    await commitOnce(t, batch("r2"), ours, append("b"));
    await slow.go();
    await late;
    expect(await rowsOf("twice")).toEqual(["a", "b"]);
  });

  test("who finds its batch published leaves the branches of others alone, whose commits would begin them anew", async () => {
    const t = table("stale");
    await commitOnce(t, batch("r1"), ours, append("a"));
    const slow = await slowRows("c");
    const atWork = commitOnce(t, batch("r2", { after: "r1" }), ours, async (branch) => {
      await append("b")(branch);
      await branch.write(slow.rows).append();
    });
    await slow.asked();
    await commitOnce(t, batch("r1"), ours, append("a"));
    await slow.go();
    await atWork;
    expect(await rowsOf("stale")).toEqual(["a", "b", "c"]);
  });

  test("a batch isn't added to a table that was rolled back, dropped or made anew since; expired snapshots are no obstacle", async () => {
    const t = table("after");
    const name = t.catalog.table("after");
    const at = async () =>
      (await (await spark.sql(`SELECT snapshot_id FROM ${name}.refs WHERE name = 'main'`)).collect())[0]?.getBigInt(0);
    const rollBack = async (snapshot: bigint | null | undefined) =>
      void (await spark.sql(`CALL ${t.catalog.name}.system.rollback_to_snapshot('after', ${snapshot})`));
    const third = () => commitOnce(t, batch("r3", { after: "r2" }), ours, append("c"));
    await commitOnce(t, batch("r0", { replace: true }), ours, async () => {
      throw new Error("died");
    }).catch(() => {});
    const empty = await at();
    await commitOnce(t, batch("r1", { replace: true }), ours, append("a"));
    const first = await at();
    await commitOnce(t, batch("r2", { after: "r1" }), ours, append("b"));
    const second = await at();
    for (const snapshot of [first, empty]) {
      await rollBack(snapshot);
      await expect(third()).rejects.toMatchObject({ code: "BATCH_OUTDATED", message: expect.stringContaining("r3") });
    }
    expect(await rowsOf("after")).toEqual([]);
    await spark.sql(`CALL ${t.catalog.name}.system.set_current_snapshot('after', ${second})`);
    // As maintenance does: the rows are in new files, and no batch's snapshot is left.
    await spark.sql(
      `CALL ${t.catalog.name}.system.rewrite_data_files(table => 'after', options => map('rewrite-all', 'true'))`,
    );
    const expire = `CALL ${t.catalog.name}.system.expire_snapshots(table => 'after', retain_last => 1, older_than => TIMESTAMP '${new Date().toISOString()}')`;
    await spark.sql(expire);
    await third();
    expect(await rowsOf("after")).toEqual(["a", "b", "c"]);
    await spark.sql(`DROP TABLE ${name} PURGE`);
    const fourth = () => commitOnce(t, batch("r4", { after: "r3" }), ours, append("d"));
    await expect(fourth()).rejects.toMatchObject({ code: "BATCH_OUTDATED" });
    expect(await spark.catalog.tableExists(name)).toBe(false);
    await spark.sql(`CREATE TABLE ${name} (v string) USING iceberg`);
    await expect(fourth()).rejects.toMatchObject({ code: "BATCH_OUTDATED" });
    expect((await (await spark.sql(`SELECT name FROM ${name}.refs`)).collect()).map((row) => row.getString(0))).toEqual(
      ["main"],
    );
  });

  test("a commit of somebody else's meanwhile: once more, on top of it; the branches of dead runs go", async () => {
    const t = table("moved");
    const name = t.catalog.table("moved");
    await commitOnce(t, batch("r1"), ours, append("a"));
    await spark.sql(`ALTER TABLE ${name} CREATE BRANCH glue_connect_dead`);
    let tries = 0;
    await commitOnce(t, batch("r2", { after: "r1" }), ours, async (branch) => {
      if (tries++ === 0) await spark.sql(`INSERT INTO ${name} VALUES ('user')`);
      await append("b")(branch);
    });
    expect([tries, await rowsOf("moved")]).toEqual([2, ["a", "b", "user"]]);
    expect((await (await spark.sql(`SELECT name FROM ${name}.refs`)).collect()).map((row) => row.getString(0))).toEqual(
      ["main"],
    );
    const endless = commitOnce(t, batch("r3", { after: "r2" }), ours, async (branch) => {
      await append("c")(branch);
      await spark.sql(`INSERT INTO ${name} VALUES ('user')`);
    });
    await expect(endless).rejects.toMatchObject({ code: "ICEBERG_TABLE_BUSY", exitCode: 75 });
    expect(await rowsOf("moved")).toEqual(["a", "b", ...Array(5).fill("user")]);
  });
});
