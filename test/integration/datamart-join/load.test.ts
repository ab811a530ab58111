import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, inject, test } from "vitest";
import { at, DatamartScenario, type TestRow, type TestRows } from "../../support/datamart-scenario.js";

let scenario: DatamartScenario | undefined;
const create = async (rows?: TestRows) => {
  scenario = await DatamartScenario.create(inject("sparkRemote"), rows);
  return scenario;
};
afterEach(async () => {
  await scenario?.[Symbol.asyncDispose]();
  scenario = undefined;
});

describe("datamart-join", () => {
  test("full, nothing new, then a change in each table: only the groups that it touches are written", async () => {
    const s = await create();
    const first = await s.load();
    expect(first.joined).toMatchObject({
      way: "full load",
      reason: "the first load",
      inserted: 8,
      status: "SUCCEEDED",
    });
    expect(first.adjustment).toMatchObject({ inserted: 2 });
    expect(s.timestampFile).toBe("last_load_timestamp\n2026-01-01 10:08:00\n");
    await s.expectLikeFullLoad("first");

    const before = s.files("joined");
    const nothing = await s.load();
    expect(nothing.joined).toMatchObject({ inserted: 0, reason: "no rows since the last run" });
    expect(nothing.report.table(s.database).hasChanges).toBe(false);
    expect(s.files("joined")).toEqual(before);
    // The very same files aren't read, and the same rows in other files aren't held against the delivered ones by Spark.
    const asked = (report: typeof nothing.report) =>
      report.steps.map(({ name }) => name).filter((name) => /bounds|watermarks|look for|write/.test(name));
    expect(asked(nothing.report)).toEqual([]);
    s.put("settlement_transaction");
    s.put("account");
    const phases: string[] = [];
    const { report: rewritten } = await s.run([], {
      onStep: async ({ name, phase }) => void (/bounds|watermarks/.test(name) && phases.push(`${name}: ${phase}`)),
    });
    expect(rewritten.table("joined")).toMatchObject({ inserted: 0, reason: "no rows since the last run" });
    expect(asked(rewritten)).toEqual(["fix the bounds", "look near the watermarks"]);
    // A row up to the bounds that the look didn't see would never come.
    expect(phases).toEqual(
      ["fix the bounds", "look near the watermarks"].flatMap((name) => [`${name}: start`, `${name}: end`]),
    );
    expect(s.files("joined")).toEqual(before);

    const changes: readonly (readonly [Parameters<typeof s.put>[0], TestRow, string[]])[] = [
      ["account", ["a1", "Anna", at(20)], ["t1", "t2", "t3", "t4"]],
      ["account_metadata", [1, "a1", "silver", at(21)], ["t1", "t2", "t3", "t4"]],
      ["account_risk", [2, "a2", 21, at(22)], ["t5", "t6", "t7", "t8"]],
      ["queue", ["q3", "a2", "third", at(23)], ["t5", "t6"]],
      ["settlement_transaction", ["t8", "q4", 99.5, at(24)], ["t8"]],
    ];
    for (const [table, row, groups] of changes) {
      s.put(table, row);
      const { joined, adjustment } = await s.load();
      expect(joined.details.changed).toEqual({ [table]: 1 });
      expect(await s.lastBatch()).toEqual({ written: groups, emptied: [] });
      expect(adjustment.inserted).toBe(0);
      await s.expectLikeFullLoad(table);
    }
    s.put("adjustment", [1, "none", at(30)]);
    expect((await s.load()).adjustment.inserted).toBe(1);
    expect(await s.newest("adjustment")).toHaveLength(2);
    expect(s.timestampFile).toBe("last_load_timestamp\n2026-01-01 10:30:00\n");
    // Nothing lies about.
    const published = readdirSync(join(s.folder, "out", "datamart"), { recursive: true, encoding: "utf8" });
    expect(published.filter((name) => !/^[^_./]\w+(\/\w+(\/part-[^/]+\.parquet)?)?$/.test(name))).toEqual([
      "_attempts",
    ]);
  });

  test("rows that move to another parent: old and new groups are written, and those without rows are listed", async () => {
    const s = await create();
    await s.load();
    // A queue takes its transactions along.
    s.put("queue", ["q1", "a2", "queue 1", at(20)]);
    await s.load();
    expect(await s.lastBatch()).toEqual({ written: ["t1", "t2"], emptied: [] });
    await s.expectLikeFullLoad("a queue moves");

    // What leaves one account joins the other: both ones' transactions change.
    s.put("account_metadata", [1, "a2", "gold", at(21)]);
    const moved = await s.load();
    expect(await s.lastBatch()).toEqual({ written: ["t1", "t2", "t5", "t6", "t7", "t8"], emptied: ["t3", "t4"] });
    expect(moved.joined).toMatchObject({ inserted: 12, deleted: 2 });
    await s.expectLikeFullLoad("metadata moves");

    // Nowhere: the join is an inner one. In the same batch a transaction goes elsewhere, and one comes that has no queue.
    s.put("account_risk", [2, null, 20, at(22)]);
    s.put("settlement_transaction", ["t3", "q9", 3, at(22)], ["t9", "q9", 9, at(22)]);
    await s.load();
    await s.expectLikeFullLoad("risk leaves");
    expect(await s.lastBatch()).toEqual({ written: [], emptied: ["t1", "t2", "t3", "t5", "t6", "t7", "t8", "t9"] });

    s.put("account_risk", [2, "a2", 20, at(23)], [3, "a1", 30, at(23)]);
    s.put("account_metadata", [1, "a1", "gold", at(23)]);
    s.put("queue", ["q9", "a1", "queue 9", at(23)]);
    await s.load();
    await s.expectLikeFullLoad("all come back, some twice");
  });

  test("rows at the timestamp that come later, to the microsecond; late ones with lookback; equal rows", async () => {
    const s = await create();
    s.put("settlement_transaction", ["t8", "q4", 8, at(8, 342680)]);
    // No key: a transaction is known by all its columns, and equal ones are one group of several rows.
    s.configure({ tables: {} });
    await s.load();
    expect(s.timestampFile).toBe("last_load_timestamp\n2026-01-01 10:08:00.34268\n");
    const newest = async () => (await s.newest()).map((row) => JSON.parse(row).transaction_id as string);
    const full = () => s.fullLoad().map((row) => JSON.parse(row).transaction_id as string);

    s.set("settlement_transaction", [
      ...(s.rows.get("settlement_transaction") ?? []),
      ["t9", "q4", 9, at(8, 342680)],
      ["t8", "q4", 8, at(8, 342680)],
      ["t10", "q4", 10, at(8, 342681)],
    ]);
    const second = await s.load();
    expect(second.joined.details.changed).toEqual({ settlement_transaction: 3 });
    expect(second.joined.inserted).toBe(4);
    expect(await newest()).toEqual(full());
    expect(full().filter((id) => id === "t8")).toHaveLength(2);
    expect(s.timestampFile).toBe("last_load_timestamp\n2026-01-01 10:08:00.342681\n");

    // Equal timestamps over a third run, and a row that is late by a microsecond.
    s.set("settlement_transaction", [
      ...(s.rows.get("settlement_transaction") ?? []),
      ["t11", "q4", 11, at(8, 342681)],
      ["t12", "q4", 12, at(8, 342680)],
    ]);
    expect((await s.load()).joined.details.changed).toEqual({ settlement_transaction: 1 });
    expect(await newest()).toEqual(full().filter((id) => id !== "t12"));
    const late = await s.load("--lookback", "1s");
    expect(late.joined.reason).toBe("rows since the last run");
    expect(await newest()).toEqual(full());
    // They are known now.
    expect((await s.load("--lookback", "1s")).joined).toMatchObject({ inserted: 0 });
  });

  test("a full load replaces what is there; the newest groups before it are the rows after it", async () => {
    const s = await create();
    await s.load();
    s.put("account", ["a2", "Bea", at(20)]);
    s.put("account_metadata", [1, "a9", "gold", at(20)]);
    await s.load();
    const newest = await s.newest();
    const before = s.files("joined");

    const refused = await s.run(["--full-refresh"]);
    expect(refused.report.error?.code).toBe("CONFIRMATION_NEEDED");
    const { joined } = await s.load("--full-refresh", "--yes");
    expect(joined).toMatchObject({ way: "full load", reason: "--full-refresh", inserted: newest.length });
    expect(s.files("joined").filter((file) => before.includes(file))).toEqual([]);
    const rows = await s.select(`SELECT * FROM ${s.output("joined")}`);
    expect(rows.map((row) => JSON.stringify({ ...JSON.parse(row), batch_id: undefined }))).toEqual(newest);
    await s.expectLikeFullLoad();

    // Deleted rows leave no trace in the source; a full load does without them.
    s.set("settlement_transaction", (s.rows.get("settlement_transaction") ?? []).slice(0, 7));
    await s.load("--load_type", "full");
    await s.expectLikeFullLoad("deleted");
  });

  test("a backfill writes the groups of a time range again and leaves the timestamp file alone", async () => {
    const s = await create();
    const tooEarly = await s.run(["--from", "2026-01-01"]);
    expect(JSON.stringify(tooEarly.report.toJSON().tables)).toContain("BACKFILL_IMPOSSIBLE");
    await s.load();
    // Changed behind the clock's back: no run would see it.
    s.put("account", ["a1", "Ann of old", at(1)]);
    s.put("settlement_transaction", ["t7", "q4", 77, at(7)]);
    expect((await s.load()).joined.inserted).toBe(0);
    const { joined } = await s.load("--from", "2026-01-01 10:07:00", "--to", "2026-01-01 10:07:00");
    expect(joined).toMatchObject({ way: "backfill", inserted: 1 });
    expect(await s.lastBatch()).toEqual({ written: ["t7"], emptied: [] });
    await s.load("--from", "2026-01-01 10:01:00", "--to", "2026-01-01 10:01:30");
    await s.expectLikeFullLoad();
    expect(s.timestampFile).toBe("last_load_timestamp\n2026-01-01 10:08:00\n");
    expect((await s.load()).joined.inserted).toBe(0);
  });
});
