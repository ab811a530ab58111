import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { IcebergScenario, type Overrides } from "../support/iceberg-scenario.js";
import { JobChild } from "../support/job-process.js";
import { PostgresProxy } from "../support/postgres-proxy.js";

const KEY: { item: Overrides } = { item: { "db_load.primary_key": "id" } };
const COLUMNS = ["id", "name", "version"];

let scenario: IcebergScenario;
let job: JobChild;

beforeAll(async () => {
  [scenario, job] = await Promise.all([IcebergScenario.create(), JobChild.build("iceberg-to-aurora")]);
});
afterAll(async () => {
  job?.[Symbol.dispose]();
  await scenario?.[Symbol.asyncDispose]();
});

async function startChild(table: string, killAt?: string, args: readonly string[] = [], { item } = KEY) {
  return job.start({
    argv: scenario.argv(await scenario.writeItem(table, item), args),
    sparkRemote: scenario.servers.sparkRemote,
    postgresUrl: scenario.servers.postgresUrl,
    ...(killAt === undefined ? {} : { killAt }),
  });
}

const runChild = async (...given: Parameters<typeof startChild>) => (await startChild(...given)).ended;

const targetExists = async (table: string) =>
  (await scenario.rows("SELECT 1 FROM pg_tables WHERE schemaname = $1 AND tablename = $2", [scenario.name, table]))
    .length > 0;

const targetRows = async (table: string) =>
  (await targetExists(table)) ? await scenario.targetRows(table, COLUMNS) : [];

const hasColumn = async (table: string, column: string) =>
  (
    await scenario.rows(
      "SELECT 1 FROM information_schema.columns WHERE table_schema = $1 AND table_name = $2 AND column_name = $3",
      [scenario.name, table, column],
    )
  ).length > 0;

async function makeTable(table: string): Promise<void> {
  await scenario.iceberg(
    table,
    "CREATE TABLE $t (id BIGINT, name STRING, version INT) USING iceberg",
    "INSERT INTO $t SELECT id, concat('n', id), 0 FROM range(40)",
  );
}

/** Inserts, updates and deletes in one snapshot. */
async function change(table: string, version: number): Promise<void> {
  const first = 1000 + version * 10;
  await scenario.iceberg(
    table,
    `MERGE INTO $t AS t USING (SELECT id FROM range(${version}, ${version + 6}) UNION ALL SELECT id FROM range(${first}, ${first + 5})) AS s ON t.id = s.id
      WHEN MATCHED AND s.id = ${version} THEN DELETE
      WHEN MATCHED THEN UPDATE SET t.version = ${version}
      WHEN NOT MATCHED THEN INSERT (id, name, version) VALUES (s.id, 'new', ${version})`,
  );
}

/** What a run may have to do, and the way it should take; `prepare` gives it that to do, each time with another number. */
const KINDS = {
  "everything at first": { way: "everything", prepare: async () => {} },
  "changes found by comparing, and a schema that changed": {
    way: "compare",
    prepare: async (table: string, version: number) => {
      await change(table, version);
      await scenario.iceberg(table, `ALTER TABLE $t ADD COLUMN extra_${version} STRING`);
    },
  },
  "changes found in the changelog": { way: "changelog", prepare: change },
  "a compaction": {
    way: "move state",
    prepare: async (table: string) => {
      const options = "options => map('rewrite-all', 'true')";
      await scenario.spark.sql(`CALL lake.system.rewrite_data_files(table => '${scenario.name}.${table}', ${options})`);
    },
  },
};

describe("SIGKILL", () => {
  test.each(Object.entries(KINDS))(
    "between any two steps of a run that loads %s: the next run makes the target equal",
    async (_kind, { way, prepare }) => {
      const args = way === "compare" || way === "changelog" ? ["--find_changes", way] : [];
      const table = way.replaceAll(" ", "_");
      /** A first load has a target of its own each time, and a later one goes on where the last one ended. */
      const targetOf = (version: number) => (way === "everything" ? `${table}_${version}` : table);
      const itemOf = (target: string) => ({
        item: {
          ...KEY.item,
          "db_load.aurora_db_target_table_name": target,
          "db_load.snapshot_s3_key": `${target}.snapshot`,
        },
      });
      await makeTable(table);
      if (way !== "everything") await scenario.loaded(table, KEY);
      await prepare(table, 0);
      const plan = await scenario.load(table, { ...itemOf(targetOf(0)), args, mode: "plan" });
      const [planned] = plan.report.tables.values();
      expect(planned?.way).toBe(way);
      const whole = await runChild(table, undefined, args, itemOf(targetOf(0)));
      expect(whole.errors).toBe("");
      const starts = whole.places.filter((place) => place.endsWith(" start"));
      const must =
        way === "move state"
          ? []
          : ["write to the staging table start", "delete start", "update start", "insert start"];
      if (way === "compare") must.push("alter the target start");
      expect(starts).toEqual(
        expect.arrayContaining([...must, "store the state start", "commit start", "write the snapshot file start"]),
      );
      const places = [...starts, whole.places.at(-1) ?? ""];

      for (const [index, place] of places.entries()) {
        const version = index + 1;
        const target = targetOf(version);
        await prepare(table, version);
        const before = await targetRows(target);
        const source = await scenario.sourceRows(table, COLUMNS);
        const killed = await runChild(table, place, args, itemOf(target));
        expect({ place, signal: killed.signal, last: killed.places.at(-1) }).toEqual({
          place,
          signal: "SIGKILL",
          last: place,
        });
        // Whatever died: the old rows or the new ones, never a mixture.
        const after = await targetRows(target);
        const committed = index > places.indexOf("commit start");
        expect({ place, rows: after }).toEqual({ place, rows: committed ? source : before });
        if (way === "compare") {
          const altered = await hasColumn(target, `extra_${version}`);
          expect({ place, altered }).toEqual({ place, altered: committed });
        }
        expect((await scenario.load(table, { ...itemOf(target), args })).exitCode).toBe(0);
        expect({ place, rows: await targetRows(target) }).toEqual({ place, rows: source });
        expect({ place, file: scenario.snapshotFile(target) }).toEqual({
          place,
          file: await scenario.currentSnapshot(table),
        });
        expect({ place, staging: await scenario.stagingTables() }).toEqual({ place, staging: [] });
      }
    },
    400_000,
  );

  test("while the executors write: the next run, with them still at it, makes the target equal", async () => {
    const table = "busy";
    await makeTable(table);
    const { process: child, ended } = await startChild(table);
    // As soon as the staging table is there it is locked, so that the executors stand still in the middle of their work.
    const blocker = new pg.Client(scenario.servers.postgresUrl);
    await blocker.connect();
    try {
      let staging: string | undefined;
      while (staging === undefined) {
        expect(child.exitCode).toBeNull();
        [staging] = await scenario.stagingTables();
      }
      await blocker.query("BEGIN");
      await blocker.query(`LOCK TABLE ${scenario.name}.${staging} IN SHARE MODE`);
      const waiting = async () =>
        (
          await scenario.rows(
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'COPY %' || $1 || '%'",
            [staging],
          )
        ).length;
      while ((await waiting()) === 0) expect(child.exitCode).toBeNull();
      child.kill("SIGKILL");
      await ended;
      await change(table, 1);
      expect(await waiting()).toBeGreaterThan(0);
      const result = await scenario.load(table, KEY);
      expect(result.exitCode).toBe(0);
      expect(result.report.toJSON().warnings).toMatchObject([{ code: "LEFTOVER_IN_USE" }]);
      expect(await targetRows(table)).toEqual(await scenario.sourceRows(table, COLUMNS));
    } finally {
      await blocker.end();
    }
    // What the executors of the dead run still write goes nowhere, and the next run clears it.
    await change(table, 2);
    await scenario.loaded(table, KEY);
    expect(await targetRows(table)).toEqual(await scenario.sourceRows(table, COLUMNS));
    expect(await scenario.stagingTables()).toEqual([]);
  });
});

describe("the staging table", () => {
  const stagedBefore = async (table: string, sql: (staging: string) => string) =>
    await scenario.load(table, {
      ...KEY,
      onStep: async ({ name, phase }) => {
        if (name !== "write to the staging table" || phase !== "end") return;
        const [staging] = await scenario.stagingTables();
        await scenario.database.query(sql(`${scenario.name}.${staging}`));
      },
    });

  async function changedTable(table: string): Promise<string[]> {
    await makeTable(table);
    await scenario.loaded(table, KEY);
    await change(table, 1);
    return await targetRows(table);
  }

  test("with a partition written twice, as a repeated task does: one copy is taken, and said so", async () => {
    await changedTable("staged_twice");
    const result = await stagedBefore(
      "staged_twice",
      (staging) => `INSERT INTO ${staging} SELECT * FROM ${staging} WHERE c1 % 2 = 0`,
    );
    expect(result.exitCode).toBe(0);
    expect(result.report.toJSON().warnings).toMatchObject([{ code: "STAGED_TWICE" }]);
    expect(await targetRows("staged_twice")).toEqual(await scenario.sourceRows("staged_twice", COLUMNS));
  });

  test.each([
    ["emptied, as a crash of PostgreSQL does", (staging: string) => `TRUNCATE ${staging}`, "STAGING_INCOMPLETE"],
    [
      "with one row gone and another one twice",
      (staging: string) =>
        `WITH gone AS (DELETE FROM ${staging} WHERE c1 = 2) INSERT INTO ${staging} SELECT op, c1, 'other', c3 FROM ${staging} WHERE c1 = 3`,
      "STAGING_NOT_UNIQUE",
    ],
    ["gone", (staging: string) => `DROP TABLE ${staging}`, "POSTGRES_STATEMENT_FAILED"],
  ])("%s: refused, nothing changed, and the next run is right", async (name, sql, code) => {
    const table = `staging ${name}`.replaceAll(/[ ,]+/g, "_").slice(0, 40);
    const before = await changedTable(table);
    const result = await stagedBefore(table, sql);
    expect(result.report.toJSON().error?.code).toBe(code);
    expect(await targetRows(table)).toEqual(before);
    await scenario.loaded(table, KEY);
    expect(await targetRows(table)).toEqual(await scenario.sourceRows(table, COLUMNS));
  });
});

describe("a COMMIT whose answer is lost", () => {
  async function loadAcross(table: string, lose: "before the server" | "after the server") {
    await makeTable(table);
    await scenario.loaded(table, KEY);
    await change(table, 1);
    await using proxy = await PostgresProxy.start(scenario.servers.postgresUrl);
    return await scenario.load(table, {
      ...KEY,
      postgresUrl: proxy.url(scenario.servers.postgresUrl),
      onStep: ({ name, phase }) => {
        if (name === "commit" && phase === "start") proxy.lose = lose;
      },
    });
  }

  test("but that had its effect: the run finds its own id, and succeeds with its counts", async () => {
    const result = await loadAcross("answer_lost", "after the server");
    expect(result.report.toJSON().error).toBeUndefined();
    expect(result.report.table(`${scenario.name}.answer_lost`)).toMatchObject({ inserted: 5, updated: 5, deleted: 1 });
    expect(await targetRows("answer_lost")).toEqual(await scenario.sourceRows("answer_lost", COLUMNS));
    expect(await scenario.loaded("answer_lost", KEY)).toMatchObject({ reason: "no new snapshot since the last run" });
  });

  test("and that never arrived: the run fails as worth repeating, and the next one is right", async () => {
    const result = await loadAcross("commit_lost", "before the server");
    expect(result.exitCode).toBe(75);
    expect(result.report.toJSON().error?.code).toBe("POSTGRES_CONNECTION_LOST");
    expect(await scenario.loaded("commit_lost", KEY)).toMatchObject({ inserted: 5, updated: 5, deleted: 1 });
    expect(await targetRows("commit_lost")).toEqual(await scenario.sourceRows("commit_lost", COLUMNS));
  });
});
