import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, inject, test } from "vitest";
import job from "../../../jobs/datamart-join/job.js";
import { runJob } from "../../../lib/glue/index.js";
import { createObjectStore } from "../../../lib/storage/index.js";
import { at, DatamartScenario, PREFIX, TABLES } from "../../support/datamart-scenario.js";

let scenario: DatamartScenario | undefined;
const create = async () => {
  scenario = await DatamartScenario.create(inject("sparkRemote"));
  return scenario;
};
afterEach(async () => {
  await scenario?.[Symbol.asyncDispose]();
  scenario = undefined;
});

/** Every file below output and state, hidden ones too, but those that say who is at work. */
function everyFile({ folder }: DatamartScenario): string[] {
  return ["out", "state"]
    .flatMap((name) => readdirSync(join(folder, name), { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((name) => !name.includes("/_lease/"))
    .toSorted();
}

const codesOf = (report: { readonly warnings: readonly { readonly code: string }[] }) =>
  report.warnings.map(({ code }) => code);

describe("runs of datamart-join", () => {
  test("a second one at the same time is refused; --continue runs only when the last one failed", async () => {
    const s = await create();
    const tooEarly = await s.run(["--continue"]);
    expect([tooEarly.exitCode, tooEarly.report.error?.code]).toEqual([64, "NOTHING_TO_CONTINUE"]);
    let second: Awaited<ReturnType<typeof s.run>> | undefined;
    let files: readonly string[][] = [];
    const first = await s.run([], {
      onStep: async ({ name, phase, table }) => {
        if (name !== "store what is to be published" || phase !== "start" || table !== s.database) return;
        const before = everyFile(s);
        second = await s.run();
        files = [before, everyFile(s)];
      },
    });
    expect([second?.exitCode, second?.report.error?.code]).toEqual([75, "ConcurrentRunsExceededException"]);
    // Neither its own files, nor those that the first one was about to publish are touched.
    expect(files[1]).toEqual(files[0]);
    expect(files[0]?.join("\n")).toContain("/_attempts/");
    expect(first.exitCode).toBe(0);
    await s.expectLikeFullLoad("the first run");

    s.put("account", ["a1", "Anna", at(20)]);
    const nothing = await s.run(["--continue"]);
    expect([nothing.exitCode, [...nothing.report.tables]]).toEqual([0, []]);
    // An output that fails: what could be loaded isn't loaded again.
    await s.define("adjustment", "adjustment_id INT, reason STRING, updated_at STRING");
    s.put("adjustment", [3, "fee", "soon"]);
    const failed = await s.run();
    expect([failed.exitCode, failed.report.table("joined").inserted]).toEqual([1, 4]);
    const loaded = s.files("joined");
    s.put("adjustment", [3, "fee", at(21)]);
    const { joined, adjustment, report } = await s.load("--continue");
    expect([joined.inserted, s.files("joined")]).toEqual([0, loaded]);
    // Its times are text now, so that its files don't go with those before.
    expect(adjustment).toMatchObject({ way: "full load", inserted: 3, status: "SUCCEEDED" });
    expect(report.table(s.database).hasChanges).toBe(true);
    expect((await s.newest("adjustment")).map((row) => JSON.parse(row).reason)).toEqual(["fee", "gift", "fee"]);
    expect([...(await s.run(["--continue"])).report.tables]).toEqual([]);
  }, 240_000);

  test("the timestamp file, and then the state, change behind a run's back: the user's value stays, and nothing is half-done", async () => {
    const s = await create();
    await s.load();
    s.put("account", ["a1", "Anna", at(20)]);
    const value = "last_load_timestamp\n2026-01-01 10:03:00\n";
    const { report, exitCode } = await s.run([], {
      onStep: async ({ name, phase }) => {
        if (name === "write the tracker" && phase === "start") s.timestampFile = value;
      },
    });
    expect([exitCode, codesOf(report), report.table("joined").inserted]).toEqual([0, ["TRACKER_RESET"], 4]);
    expect(s.timestampFile).toBe(value);
    await s.expectLikeFullLoad("the batch is there");
    const next = await s.load();
    expect(next.joined.reason).toBe("the timestamp file was changed by hand: 2026-01-01 10:03:00");
    expect(next.joined.details.changed).toEqual({
      ...{ account: 1, queue: 2, settlement_transaction: 6 },
      // They lag behind the user's value: their last rows are looked at again.
      ...{ account_metadata: 1, account_risk: 1 },
    });
    expect(s.timestampFile).toBe("last_load_timestamp\n2026-01-01 10:20:00\n");
    await s.expectLikeFullLoad("from there on");

    s.put("account", ["a2", "Bea", at(30)]);
    const [files, newest] = [s.files("joined"), await s.newest()];
    const store = createObjectStore();
    const uri = s.uri(`state/_glue_connect/datamart-join/${s.database}.json`);
    const overtaken = await s.run([], {
      onStep: async ({ name, phase }) => {
        if (name !== "store what is to be published" || phase === "end") return;
        // As another run begins: with a state that counts one further.
        const object = await store.get(uri);
        const state = JSON.parse(Buffer.from(object?.body ?? []).toString());
        await store.put(uri, JSON.stringify({ ...state, generation: state.generation + 1, intent: null }), {
          ifMatch: object?.etag ?? "",
        });
      },
    });
    expect(overtaken.report.table(s.database).error?.code).toBe("BATCH_TAKEN_OVER");
    expect(overtaken.report.table("joined").inserted).toBe(0);
    expect([s.files("joined"), await s.newest()]).toEqual([files, newest]);
    expect(s.timestampFile).toBe("last_load_timestamp\n2026-01-01 10:20:00\n");
    expect((await s.load()).joined.inserted).toBe(4);
    await s.expectLikeFullLoad("after all");
    expect(everyFile(s).filter((name) => name.includes("/_attempts/"))).toEqual([]);
  }, 240_000);

  test("the documented four arguments and an output path; then a configuration, and tables without their column", async () => {
    const s = await create();
    const documented = [
      ...["--JOB_NAME", "nightly", "--database_name", s.database, "--load_type", "incremental"],
      ...["--timestamp_s3_path", s.uri("state/last_load.csv")],
    ];
    const run = (...more: readonly string[]) =>
      runJob(job, [...documented, ...more], { sparkRemote: s.remote, catalog: "spark" });
    const homeless = await run();
    expect([homeless.exitCode, homeless.report.error]).toMatchObject([
      64,
      { code: "ARGUMENTS_INVALID", problems: [expect.stringContaining("--output_path is missing")] },
    ]);
    const nowhere = await run("--config", s.uri("config.jsn"));
    expect([nowhere.exitCode, nowhere.report.error?.code]).toEqual([66, "CONFIGURATION_NOT_FOUND"]);
    expect(readdirSync(s.folder).toSorted()).toEqual(["config.json", "in"]);

    const output = ["--output_path", s.uri("out")];
    const withoutGroup = (rows: readonly string[]) =>
      rows.map((row) => JSON.stringify({ ...JSON.parse(row), group_id: undefined })).toSorted();
    const full = await run(...output);
    expect([full.exitCode, full.report.table("joined").inserted, full.report.table("adjustment").inserted]).toEqual([
      ...[0, 8, 2],
    ]);
    expect(withoutGroup(await s.newest())).toEqual(withoutGroup(s.fullLoad()));
    // Without keys a group is known by its row.
    expect(new Set((await s.newest()).map((row) => JSON.parse(row).group_id.length))).toEqual(new Set([64]));
    s.put("queue", ["q1", "a2", "queue 1", at(20)]);
    s.put("settlement_transaction", ["t9", "q4", 9, at(20)]);
    s.put("adjustment", [3, "fee", at(20)]);
    const changes = await run(...output);
    expect([
      changes.report.table("joined").details.changed,
      changes.report.table("joined").inserted,
      changes.report.table("adjustment").inserted,
    ]).toEqual([{ queue: 1, settlement_transaction: 1 }, 3, 1]);
    expect(withoutGroup(await s.newest())).toEqual(withoutGroup(s.fullLoad()));
    expect(await s.newest("adjustment")).toHaveLength(3);

    // With keys the groups have other names: all of them are written again, in place of the old ones.
    const configured = await s.load();
    expect(configured.warnings).toEqual(["CONFIGURATION_CHANGED", "CONFIGURATION_CHANGED"]);
    expect(configured.joined).toMatchObject({ way: "full load", reason: "the configuration changed", inserted: 9 });
    expect(await s.select(`SELECT count(*) AS n FROM ${s.output("joined")}`)).toEqual(['{"n":"9"}']);
    await s.expectLikeFullLoad("configured");

    // With another short name a column would be called as another table's one is: that output fails alone.
    const columns = ["id", "account_id", "line_name"];
    await s.define("account_risk", "id INT, account_id STRING, line_name STRING");
    s.set("account_risk", [[1, "a1", "fast"]], columns);
    s.put("adjustment", [4, "fee", at(21)]);
    const keys = Object.fromEntries(Object.entries(TABLES).map(([name, { key }]) => [`${PREFIX}${name}`, { key }]));
    const callQueue = (short_name: string) =>
      s.configure({ tables: { ...keys, [`${PREFIX}queue`]: { key: ["queue_id"], short_name } } });
    callQueue("line");
    const before = s.files("joined");
    const collision = await s.run();
    expect([collision.exitCode, collision.report.table("joined").error]).toMatchObject([
      1,
      {
        code: "OUTPUT_COLUMNS_COLLIDE",
        problems: [`line_name: ${PREFIX}account_risk.line_name and ${PREFIX}queue.name`],
      },
    ]);
    expect([collision.report.table("adjustment").inserted, s.files("joined")]).toEqual([1, before]);

    callQueue("waiting");
    // That changes can't be seen without the incremental column is told each time, and nothing is doubled.
    for (const value of ["first", "second"]) {
      s.set("account_risk", [[1, "a1", value]], columns);
      const { joined, warnings } = await s.load();
      expect(warnings).toContain("INCREMENTAL_COLUMN_MISSING");
      expect(joined).toMatchObject({ way: "full load", reason: "a table has no incremental column", inserted: 2 });
      const rows = await s.select(`SELECT transaction_id, line_name, waiting_name FROM ${s.output("joined")}`);
      expect(rows.map((row) => Object.values(JSON.parse(row)).join())).toEqual([
        `t3,${value},queue 2`,
        `t4,${value},queue 2`,
      ]);
    }
    expect(s.timestampFile).toBe("last_load_timestamp\n2026-01-01 10:21:00\n");
  }, 240_000);
});
