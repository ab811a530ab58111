import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import job from "../../../jobs/jdbc-cdc/job.js";
import { runJob } from "../../../lib/glue/index.js";
import { createObjectStore } from "../../../lib/storage/index.js";
import { JdbcScenario } from "../../support/jdbc-scenario.js";

let s: JdbcScenario;

beforeAll(async () => {
  s = await JdbcScenario.create(inject("sparkRemote"), inject("postgresUrl"));
});
afterAll(() => s?.[Symbol.asyncDispose]());

async function table(name: string, rows: string, key = "PRIMARY KEY"): Promise<void> {
  await s.sql(
    `CREATE TABLE ${name} (id int ${key}, v text, updated_at timestamptz)`,
    `INSERT INTO ${name} VALUES ${rows}`,
  );
}

/** Something that one run waits for and another one gives. */
function signal() {
  let give = () => {};
  const given = new Promise<void>((resolve) => {
    give = resolve;
  });
  return { given, give: () => give() };
}

describe("max_timestamps.csv", () => {
  test("of the Python job is adopted; a value set by hand counts; without its row a table is loaded in full", async () => {
    await table("moved", "(1, 'a', '2026-03-01 10:00Z'), (2, 'b', '2026-03-02 10:00Z')");
    s.writeTrackerFile("table_name,max_timestamp\nother,2026-01-01 00:00:00\nmoved,2026-03-02 00:00:00\n");
    expect((await s.load("moved")).inserted).toBe(1);
    expect(s.trackerFile()).toBe("table_name,max_timestamp\nother,2026-01-01 00:00:00\nmoved,2026-03-02 10:00:00\n");
    s.setTracker("moved", "2026-03-01 00:00:00");
    expect(await s.load("moved")).toMatchObject({ way: "changes", inserted: 2 });
    expect((await s.load("moved")).reason).toBe("nothing new");
    s.setTracker("moved", undefined);
    expect(await s.load("moved")).toMatchObject({ way: "everything", inserted: 2 });
    expect(await s.loaded("moved")).toEqual(await s.source("moved"));
  });

  test("without a key a value set by hand replaces the days from it on", async () => {
    await table(
      "days",
      "(1, 'a', '2026-03-01Z'), (2, 'b', '2026-03-02Z'), (2, 'b', '2026-03-02Z'), (3, 'c', '2026-03-03Z')",
      "",
    );
    await s.load("days");
    s.setTracker("days", "2026-03-02 12:00:00");
    expect((await s.load("days")).inserted).toBe(3);
    expect(await s.loaded("days")).toEqual(await s.source("days"));
    expect((await s.load("days")).reason).toBe("nothing new");
  });

  test("changed behind the run's back: the change stays, the rows of the run too, and the next run begins there", async () => {
    await table("behind", "(1, 'a', '2026-03-01Z')");
    await s.load("behind");
    await s.sql("INSERT INTO behind VALUES (2, 'b', '2026-03-02Z')");
    const { report } = await s.run(["--tables", "behind"], {
      onStep: ({ name, phase }) => {
        if (name === "write the rows" && phase === "end") s.setTracker("behind", "2026-02-01 00:00:00");
      },
    });
    expect(report.toJSON().warnings).toContainEqual({
      code: "TRACKER_RESET",
      message: expect.stringContaining("2026-02-01"),
    });
    expect(s.tracker("behind")).toBe("2026-02-01 00:00:00");
    expect(await s.loaded("behind")).toEqual(await s.source("behind"));
    expect((await s.load("behind")).inserted).toBe(2);
    expect(await s.latest("behind")).toEqual(await s.source("behind"));
  });

  test("that can't be read fails the tables, and nothing is written", async () => {
    const whole = s.trackerFile() ?? "";
    await table("corrupt", "(1, 'a', '2026-03-01Z')");
    for (const [text, ...lines] of [
      ["table,when\nx,y\n", /line 1: the header must be table_name,max_timestamp/, /line 2: "y" is no timestamp/],
      ["table_name,max_timestamp\ncorrupt,None\n", /line 2 \(corrupt\) can't be read: "None" is no timestamp/],
      ["table_name,max_timestamp\nnonsense\n", /line 2: a row must be like/],
    ] as const) {
      s.writeTrackerFile(text);
      const { report, exitCode } = await s.run(["--tables", "corrupt"]);
      expect(exitCode).toBe(1);
      expect(report.table("corrupt").error?.code).toBe("TRACKER_UNREADABLE");
      const said = report.error?.problems.join("; ") ?? "";
      for (const line of lines) expect(said).toMatch(line);
      expect(s.trackerFile()).toBe(text);
    }
    expect(s.files("corrupt")).toEqual([]);
    s.writeTrackerFile(whole);
  });

  test("rows of tables that are loaded at once are all there", async () => {
    const names = Array.from({ length: 6 }, (_, index) => `many_${index}`);
    for (const name of names) await table(name, "(1, 'a', '2026-03-01Z')");
    const { report } = await s.run(["--tables", "many_*", "--parallelism", "6"]);
    expect(report.toJSON().error).toBeUndefined();
    for (const name of names) expect(s.tracker(name)).toBe("2026-03-01 00:00:00");
  });
});

describe("runs", () => {
  test("a full load takes the place of files, too, that a slower run moves while it begins", async () => {
    await table("slow", "(1, 'a', '2026-03-01Z')");
    const [waiting, woken, moved] = [signal(), signal(), signal()];
    const slow = s.run(["--tables", "slow"], {
      onStep: async ({ name, phase }) => {
        if (name !== "move a file") return;
        if (phase === "end") return moved.give();
        waiting.give();
        await woken.given;
      },
    });
    await Promise.race([waiting.given, slow]);
    // As if it had been silent until its lease ran out.
    await createObjectStore().delete(s.uri("state/_glue_connect/jdbc-cdc/_lease/holder.json"));
    const { report } = await s.run(["--tables", "slow", "--load_type", "full"], {
      onStep: async ({ name, phase }) => {
        if (name !== "store that the batch starts" || phase === "end") return;
        woken.give();
        await moved.given;
      },
    });
    expect(report.toJSON().error).toBeUndefined();
    expect(report.table("slow").details.filesReplaced).toBe(1);
    expect((await slow).exitCode).not.toBe(0);
    expect(await s.loaded("slow")).toEqual(["1|a"]);
  });

  test("a second one at the same time is refused", async () => {
    await table("busy", "(1, 'a', '2026-03-01Z')");
    let second: Awaited<ReturnType<typeof s.run>> | undefined;
    const { exitCode } = await s.run(["--tables", "busy"], {
      onStep: async ({ name, phase }) => {
        if (name === "write the rows" && phase === "end") second = await s.run(["--tables", "busy"]);
      },
    });
    expect(exitCode).toBe(0);
    expect([second?.exitCode, second?.report.toJSON().error?.code]).toEqual([75, "ConcurrentRunsExceededException"]);
    expect(await s.loaded("busy")).toEqual(["1|a"]);
  });

  test("plan writes nothing, nor does a run whose table is altered while it is read", async () => {
    await table("planned", "(1, 'a', '2026-03-01Z'), (2, 'b', NULL)");
    const { report, exitCode } = await s.run(["--tables", "planned"], { mode: "plan" });
    expect(exitCode).toBe(2);
    expect(report.table("planned")).toMatchObject({ way: "everything", inserted: 2 });
    expect(s.files("planned")).toEqual([]);
    expect(s.tracker("planned")).toBeUndefined();
    // Nor does a run that read a table which was altered meanwhile.
    const altered = await s.run(["--tables", "planned"], {
      onStep: async ({ name, phase }) => {
        if (name === "write the rows" && phase === "end") await s.sql("ALTER TABLE planned ALTER v TYPE varchar(9)");
      },
    });
    expect(altered.report.table("planned").error?.code).toBe("TABLE_ALTERED");
    expect(s.files("planned")).toEqual([]);
    expect(s.tracker("planned")).toBeUndefined();
    await s.load("planned");
    expect((await s.run(["--tables", "planned"], { mode: "plan" })).exitCode).toBe(0);
    // It counts late rows, too: what the run then brings.
    await s.sql("INSERT INTO planned VALUES (3, 'late', '2026-02-01Z'), (4, 'new', '2026-03-02Z')");
    const planned = await s.run(["--tables", "planned"], { mode: "plan" });
    expect(planned.report.table("planned")).toMatchObject({ way: "changes", inserted: 2 });
    expect(await s.load("planned")).toMatchObject({ inserted: 2 });
  });

  test.each([
    ["fill", "PRIMARY KEY"],
    ["fill_bag", ""],
  ])("a backfill replaces whole days and leaves the tracker alone (table %s %s)", async (name, key) => {
    await table(name, [1, 2, 3, 4].map((day) => `(${day}, 'v${day}', '2026-03-0${day} 10:00Z')`).join(), key);
    await s.load(name);
    const tracker = s.tracker(name);
    await s.sql(
      `UPDATE ${name} SET v = v || '!' WHERE id IN (2, 4)`,
      `DELETE FROM ${name} WHERE id = 3`,
      `INSERT INTO ${name} VALUES (5, 'late', '2026-03-02 11:00Z'), (6, 'new', '2026-03-05Z')`,
    );
    const report = await s.load(name, "--from", "2026-03-02 12:00:00", "--to", "2026-03-03");
    expect(report).toMatchObject({ way: "backfill", inserted: 2, details: { filesReplaced: 2 } });
    expect(s.tracker(name)).toBe(tracker);
    expect(await s.loaded(name)).toEqual(["1|v1", "2|v2!", "4|v4", "5|late"]);
    // What the backfill brought doesn't come again.
    expect((await s.load(name)).inserted).toBe(2);
    expect(await s.loaded(name)).toEqual(["1|v1", "2|v2!", "4|v4", "4|v4!", "5|late", "6|new"]);
    expect((await s.load(name)).reason).toBe("nothing new");
    // A part isn't loaded where everything is due.
    s.setTracker(name, undefined);
    const loaded = await s.loaded(name);
    const { report: refused } = await s.run(["--tables", name, "--from", "2026-03-01"]);
    expect(refused.table(name).error).toMatchObject({
      code: "BACKFILL_NOT_POSSIBLE",
      message: `${name} can't be loaded for a part of the time: the row of ${name} is gone from the tracker`,
    });
    expect([await s.loaded(name), s.tracker(name)]).toEqual([loaded, undefined]);
  });

  test("--full_refresh and --load_type full replace what is there; the first asks", async () => {
    await table("fresh", "(1, 'a', '2026-03-01Z')");
    await s.load("fresh");
    await s.sql("DELETE FROM fresh", "INSERT INTO fresh VALUES (2, 'b', '2026-02-01Z')");
    expect((await s.run(["--tables", "fresh", "--full_refresh"])).report.toJSON().error?.code).toBe(
      "CONFIRMATION_NEEDED",
    );
    expect(await s.loaded("fresh")).toEqual(["1|a"]);
    await s.load("fresh", "--full_refresh", "--yes");
    expect(await s.loaded("fresh")).toEqual(["2|b"]);
    await s.sql("INSERT INTO fresh VALUES (3, 'c', '2026-02-02Z')");
    await s.load("fresh", "--load_type", "full");
    expect(await s.loaded("fresh")).toEqual(["2|b", "3|c"]);
    expect(s.tracker("fresh")).toBe("2026-02-02 00:00:00");
  });

  test("files that nobody knows are not replaced unasked", async () => {
    await table("there", "(1, 'a', '2026-03-01Z')");
    const folder = join(s.folder, "out", "there", "partition_date=2025-01-01");
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "part-0.parquet"), "somebody's");
    const { report } = await s.run(["--tables", "there"]);
    expect(report.table("there").error?.code).toBe("OUTPUT_NOT_EMPTY");
    await s.load("there", "--yes");
    expect(await s.loaded("there")).toEqual(["1|a"]);
  });

  test("what is wrong with the arguments is said at once", async () => {
    const { report, exitCode } = await s.run(["--parallelism", "0", "--lookback", "soon", "--from", "yesterday"]);
    expect(exitCode).toBe(64);
    expect(report.toJSON().error?.problems).toHaveLength(3);
    expect((await s.run(["--tables", "nosuch*"])).report.toJSON().error?.code).toBe("NO_TABLES");
  });

  test("a connection in the shape of GetConnection, from a file", async () => {
    await table("connected", "(1, 'a', '2026-03-01Z')");
    const { hostname, port, username, password } = new URL(s.postgresUrl);
    const file = join(s.folder, "connections.json");
    const connection = {
      Name: s.name,
      ConnectionType: "JDBC",
      ConnectionProperties: {
        JDBC_CONNECTION_URL: `jdbc:postgresql://${hostname}:${port}/${s.name}`,
        USERNAME: decodeURIComponent(username),
        PASSWORD: decodeURIComponent(password),
      },
    };
    writeFileSync(file, JSON.stringify([{ Name: "another" }, connection]));
    const run = (uri: string) =>
      runJob(job, s.argv("--tables", "connected", "--connection", uri), { sparkRemote: s.remote, catalog: "spark" });
    expect((await run(`file:${file}`)).report.toJSON().error).toBeUndefined();
    expect(await s.loaded("connected")).toEqual(["1|a"]);
    writeFileSync(
      file,
      JSON.stringify({ ...connection, ConnectionProperties: { JDBC_CONNECTION_URL: "jdbc:mysql://x/y" } }),
    );
    const { report } = await run(`file:${file}`);
    expect(report.toJSON().error).toMatchObject({ code: "CONNECTION_INVALID" });
    expect(report.toJSON().error?.problems).toHaveLength(2);
  });
});
