import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, inject, test } from "vitest";
import { at, DatamartScenario, TABLES } from "../../support/datamart-scenario.js";

const ICEBERG = ["--output_format", "iceberg"];
let scenario: DatamartScenario | undefined;
const create = async () => {
  scenario = await DatamartScenario.create(inject("sparkRemote"));
  scenario.args = ICEBERG;
  return scenario;
};
afterEach(async () => {
  await scenario?.[Symbol.asyncDispose]();
  scenario = undefined;
});

describe("datamart-join to Iceberg", () => {
  test("the table holds the newest groups; after a rollback, and without the state, it is caught up", async () => {
    const s = await create();
    await s.load();
    await s.expectLikeFullLoad("full", "iceberg");
    s.put("account_metadata", [1, "a2", "gold", at(20)]);
    s.put("adjustment", [2, "none", at(20)], [3, "fee", at(20)]);
    const moved = await s.load();
    expect(moved.joined).toMatchObject({ inserted: 8, deleted: 4 });
    await s.expectLikeFullLoad("metadata moves", "iceberg");
    expect((await s.inIceberg("adjustment")).map((row) => JSON.parse(row).reason)).toEqual(["fee", "none", "fee"]);
    expect((await s.load()).report.table(s.database).hasChanges).toBe(false);

    const snapshots = await (
      await s.spark.sql(
        "SELECT snapshot_id FROM mart_reader.joined.history WHERE is_current_ancestor ORDER BY made_current_at",
      )
    ).collect();
    // Before the batch: after the table's first, empty one and the full load.
    const full = snapshots[1]?.getBigInt(0);
    await s.spark.sql(`CALL mart_reader.system.rollback_to_snapshot('joined', ${full})`);
    expect((await s.load()).joined.reason).toBe("the Iceberg table is at another batch than the state");
    await s.expectLikeFullLoad("rolled back", "iceberg");

    rmSync(join(s.folder, "state"), { recursive: true });
    s.put("queue", ["q1", "a2", "queue 1", at(30)]);
    expect((await s.load()).joined.reason).toBe("the state is gone; the Iceberg table says how far it was loaded");
    await s.expectLikeFullLoad("state lost", "iceberg");

    // A widened column: all files are written anew, in the same table.
    await s.define("account_risk", TABLES.account_risk.columns.replace("score INT", "score BIGINT"));
    s.put("account_risk", [2, "a2", 5_000_000_000, at(40)]);
    expect((await s.load()).joined).toMatchObject({ way: "full load", reason: "a column's type changed" });
    s.put("account_risk", [2, "a2", 6_000_000_000, at(41)]);
    expect((await s.load()).joined).toMatchObject({ way: "groups that changed", inserted: 12 });
    const rows = (await s.inIceberg()).map((row) => JSON.parse(row));
    expect(rows.map((row) => JSON.stringify({ ...row, score: Number(row.score) })).toSorted()).toEqual(s.fullLoad());
  }, 240_000);

  test("another output format than before is a full load; what a table that is dropped before its commit lacks comes with the next batch", async () => {
    const s = await create();
    s.args = [];
    await s.load();
    s.put("account", ["a1", "Anna", at(20)]);
    const iceberg = await s.load(...ICEBERG);
    expect(iceberg.joined.reason).toBe("the output format changed");
    expect([...s.files("joined"), ...s.files("joined_emptied"), ...s.files("adjustment")]).toEqual([]);
    await s.expectLikeFullLoad("iceberg", "iceberg");
    // One table is dropped between the decision and its commit, when the other one has its part of the batch.
    s.put("queue", ["q2", "a2", "queue 2", at(40)]);
    s.put("adjustment", [3, "bonus", at(40)]);
    let drops = 1;
    const { report, exitCode } = await s.run(ICEBERG, {
      onStep: async ({ name, phase }) => {
        if (name === "move main" && phase === "end" && drops-- > 0)
          await s.spark.sql("DROP TABLE mart_reader.adjustment PURGE");
      },
    });
    expect([exitCode, report.table(s.database).error?.code]).toEqual([1, "BATCH_OUTDATED"]);
    const again = await s.load(...ICEBERG);
    expect([again.joined.reason, again.adjustment.reason]).toEqual([
      "the Iceberg table is at another batch than the state",
      "the Iceberg table is gone",
    ]);
    await s.expectLikeFullLoad("dropped before its commit", "iceberg");
    expect((await s.inIceberg("adjustment")).map((row) => JSON.parse(row).reason)).toEqual(["fee", "gift", "bonus"]);

    s.put("account", ["a2", "Bea", at(21)]);
    await s.load();
    await s.expectLikeFullLoad("parquet again");
  }, 240_000);
});
