import { writeFile } from "node:fs/promises";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { IcebergScenario } from "../../support/iceberg-scenario.js";

let scenario: IcebergScenario;
beforeAll(async () => {
  scenario = await IcebergScenario.create();
});
afterAll(async () => {
  await scenario[Symbol.asyncDispose]();
});

const KEY = { item: { "db_load.primary_key": "id" } };
const COLUMNS = ["id", "name"];

async function makeTable(table: string): Promise<void> {
  await scenario.iceberg(
    table,
    "CREATE TABLE $t (id BIGINT, name STRING) USING iceberg",
    "INSERT INTO $t VALUES (1, 'one'), (2, 'two'), (3, 'three')",
  );
}

const equal = async (table: string) =>
  expect(await scenario.targetRows(table, COLUMNS)).toEqual(await scenario.sourceRows(table, COLUMNS));

const stateOf = async (table: string) =>
  (
    await scenario.rows<{ snapshot_id: string }>(
      `SELECT snapshot_id::text FROM ${scenario.name}.glue_connect_state WHERE target_table = $1`,
      [table],
    )
  )[0]?.snapshot_id;

describe("a batch that PostgreSQL refuses", () => {
  test("changes nothing, leaves the state, and names table, constraint and the database's message", async () => {
    await makeTable("refused");
    await scenario.loaded("refused", KEY);
    await scenario.database.query(
      `ALTER TABLE ${scenario.target("refused")} ADD CONSTRAINT short_names CHECK (length(name) < 10)`,
    );
    const before = await scenario.versions("refused");
    const state = await stateOf("refused");
    await scenario.iceberg(
      "refused",
      "DELETE FROM $t WHERE id = 1",
      "UPDATE $t SET name = 'TWO' WHERE id = 2",
      "INSERT INTO $t VALUES (4, 'four'), (5, 'much too long a name')",
    );
    const result = await scenario.load("refused", KEY);
    expect(result.exitCode).toBe(1);
    const { error } = result.report.toJSON();
    expect(error?.code).toBe("POSTGRES_CONSTRAINT_VIOLATED");
    expect(`${error?.message} ${error?.problems}`).toMatch(
      /"refused".*violates check constraint "short_names".*constraint short_names/s,
    );
    expect(await scenario.versions("refused")).toEqual(before);
    expect(await stateOf("refused")).toBe(state);
    expect(await scenario.stagingTables()).toEqual([]);

    await scenario.database.query(`ALTER TABLE ${scenario.target("refused")} DROP CONSTRAINT short_names`);
    expect(await scenario.loaded("refused", KEY)).toMatchObject({ inserted: 2, updated: 1, deleted: 1 });
    await equal("refused");
  });

  test("because another transaction holds the table: waits no longer than --lock_timeout, and says so", async () => {
    await makeTable("held");
    await scenario.loaded("held", KEY);
    await scenario.iceberg("held", "DELETE FROM $t WHERE id = 1");
    const holder = new pg.Client(scenario.servers.postgresUrl);
    await holder.connect();
    try {
      await holder.query("BEGIN");
      await holder.query(`LOCK TABLE ${scenario.target("held")} IN ACCESS EXCLUSIVE MODE`);
      const result = await scenario.load("held", { ...KEY, args: ["--lock_timeout", "1"] });
      expect(result.exitCode).toBe(75);
      expect(result.report.toJSON().error).toMatchObject({
        code: "POSTGRES_LOCK_TIMEOUT",
        hint: expect.stringContaining("pg_locks"),
      });
      expect(await scenario.stagingTables()).toEqual([]);

      // And Ctrl-C ends the wait at once.
      const controller = new AbortController();
      const load = scenario.load("held", {
        ...KEY,
        signal: controller.signal,
        onStep: ({ name, phase }) => {
          if (name !== "lock the target" || phase !== "start") return;
          const waiting = `SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'glue-connect jr%' AND wait_event_type = 'Lock' AND query LIKE 'LOCK TABLE "${scenario.name}"%'`;
          void (async () => {
            while ((await scenario.rows(waiting)).length === 0);
            controller.abort();
          })();
        },
      });
      expect((await load).exitCode).toBe(130);
    } finally {
      await holder.end();
    }
    expect(await scenario.stagingTables()).toEqual([]);
    expect(await scenario.loaded("held", KEY)).toMatchObject({ deleted: 1 });
    await equal("held");
  });
});

describe("the state and the target part ways", () => {
  test("a target that was dropped is created and loaded again", async () => {
    await makeTable("dropped");
    await scenario.loaded("dropped", KEY);
    await scenario.database.query(`DROP TABLE ${scenario.target("dropped")}`);
    expect(await scenario.loaded("dropped", KEY)).toMatchObject({ inserted: 3, reason: "the target table is gone" });
    await equal("dropped");
  });

  test("a target that was dropped and created by somebody else is reconciled, with what its role needs kept", async () => {
    await makeTable("recreated");
    await scenario.loaded("recreated", KEY);
    await scenario.database.query(`DROP TABLE ${scenario.target("recreated")}`);
    await scenario.database.query(`CREATE TABLE ${scenario.target("recreated")} (id bigint PRIMARY KEY, name text)`);
    await scenario.database.query(`INSERT INTO ${scenario.target("recreated")} VALUES (1, 'one'), (7, 'seven')`);
    await scenario.database.query(`GRANT SELECT ON ${scenario.target("recreated")} TO PUBLIC`);
    const report = await scenario.loaded("recreated", KEY);
    expect(report).toMatchObject({
      inserted: 2,
      updated: 0,
      deleted: 1,
      reason: "the target table was dropped and created again",
    });
    await equal("recreated");
    const grants = await scenario.rows(
      "SELECT privilege_type FROM information_schema.role_table_grants WHERE table_schema = $1 AND table_name = 'recreated' AND grantee = 'PUBLIC'",
      [scenario.name],
    );
    expect(grants).toEqual([{ privilege_type: "SELECT" }]);
  });

  test("a source that was dropped and created again is another table, though snapshots and names look alike", async () => {
    await makeTable("replaced");
    await scenario.loaded("replaced", KEY);
    await scenario.iceberg(
      "replaced",
      "DROP TABLE $t PURGE",
      "CREATE TABLE $t (id BIGINT, name STRING) USING iceberg",
      "INSERT INTO $t VALUES (1, 'one'), (8, 'eight')",
    );
    const report = await scenario.loaded("replaced", KEY);
    expect(report).toMatchObject({
      inserted: 1,
      updated: 0,
      deleted: 2,
      reason: "the source is another table than the one loaded before",
    });
    await equal("replaced");
  });

  test("a target loaded by the Python job is adopted once, with a full reconcile", async () => {
    await makeTable("adopted");
    await scenario.database.query(`CREATE TABLE ${scenario.target("adopted")} (id bigint, name text)`);
    await scenario.database.query(
      `INSERT INTO ${scenario.target("adopted")} VALUES (1, 'one'), (2, 'stale'), (9, 'gone')`,
    );
    await writeFile(`${scenario.folder}/adopted.snapshot`, `${await scenario.currentSnapshot("adopted")}\n`);
    const report = await scenario.loaded("adopted", KEY);
    expect(report).toMatchObject({ inserted: 1, updated: 1, deleted: 1 });
    expect(report.reason).toContain("loaded by another program");
    await equal("adopted");
    expect(await scenario.loaded("adopted", KEY)).toMatchObject({ reason: "no new snapshot since the last run" });
  });

  test("another primary key in the configuration reconciles everything", async () => {
    await makeTable("rekeyed");
    await scenario.loaded("rekeyed", KEY);
    const report = await scenario.loaded("rekeyed", { item: { "db_load.primary_key": "name" } });
    expect(report).toMatchObject({
      inserted: 0,
      updated: 0,
      deleted: 0,
      reason: "the primary key was id and is now name",
    });
  });
});

describe("a target that isn't what the last run left", () => {
  test("because somebody else wrote to it: the next changes reconcile it, with a warning", async () => {
    await makeTable("touched");
    await scenario.loaded("touched", KEY);
    await scenario.database.query(`DELETE FROM ${scenario.target("touched")} WHERE id = 1`);
    await scenario.database.query(`INSERT INTO ${scenario.target("touched")} VALUES (50, 'x'), (51, 'y')`);
    await scenario.iceberg("touched", "UPDATE $t SET name = 'changed' WHERE id = 3");
    const result = await scenario.load("touched", KEY);
    expect(result.exitCode).toBe(0);
    expect(result.report.toJSON().warnings).toMatchObject([{ code: "TARGET_HAD_CHANGED" }]);
    expect(result.report.table(`${scenario.name}.touched`)).toMatchObject({
      way: "everything",
      inserted: 1,
      updated: 1,
      deleted: 2,
    });
    await equal("touched");
    expect(await scenario.stagingTables()).toEqual([]);
  });

  test("because it has no key and holds rows twice, as the Python job leaves it: one of each stays", async () => {
    await makeTable("doubled");
    await scenario.database.query(`CREATE TABLE ${scenario.target("doubled")} (id bigint, name text)`);
    await scenario.database.query(
      `INSERT INTO ${scenario.target("doubled")} VALUES (1, 'one'), (1, 'one'), (2, 'old'), (2, 'older'), (2, 'two'), (NULL, 'none')`,
    );
    expect(await scenario.loaded("doubled", KEY)).toMatchObject({ inserted: 1, deleted: 4 });
    await equal("doubled");
  });

  test("because a trigger swallows rows: refused, and nothing is changed", async () => {
    await makeTable("swallowed");
    await scenario.database.query(`CREATE TABLE ${scenario.target("swallowed")} (id bigint PRIMARY KEY, name text)`);
    await scenario.database.query(
      `CREATE FUNCTION ${scenario.name}.swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF new.id = 2 THEN RETURN NULL; END IF; RETURN new; END'`,
    );
    await scenario.database.query(
      `CREATE TRIGGER swallow BEFORE INSERT ON ${scenario.target("swallowed")} FOR EACH ROW EXECUTE FUNCTION ${scenario.name}.swallow()`,
    );
    const result = await scenario.load("swallowed", KEY);
    expect(result.exitCode).toBe(1);
    expect(result.report.toJSON().error).toMatchObject({
      code: "TARGET_ROWS_DIFFER",
      message: expect.stringContaining("2 rows where the source has 3"),
    });
    expect(await scenario.targetRows("swallowed", COLUMNS)).toEqual([]);
    expect(await stateOf("swallowed")).toBeUndefined();
  });
});

test("a role with only the documented grants loads, and one whose rows a policy hides is refused", async () => {
  await makeTable("granted");
  await scenario.loaded("granted", KEY);
  const role = `loader_${scenario.name}`;
  await scenario.database.query(`CREATE ROLE ${role} LOGIN PASSWORD 'loader'`);
  await scenario.database.query(`GRANT USAGE, CREATE ON SCHEMA ${scenario.name} TO ${role}`);
  await scenario.database.query(
    `GRANT SELECT, INSERT, UPDATE, DELETE ON ${scenario.target("granted")}, ${scenario.name}.glue_connect_state TO ${role}`,
  );
  const url = new URL(scenario.servers.postgresUrl);
  url.username = role;
  url.password = "loader";
  const options = { ...KEY, postgresUrl: url.href };
  try {
    await scenario.iceberg(
      "granted",
      "DELETE FROM $t WHERE id = 1",
      "UPDATE $t SET name = 'x' WHERE id = 2",
      "INSERT INTO $t VALUES (4, 'four')",
    );
    expect(await scenario.loaded("granted", options)).toMatchObject({ inserted: 1, updated: 1, deleted: 1 });
    await equal("granted");

    await scenario.database.query(`ALTER TABLE ${scenario.target("granted")} ENABLE ROW LEVEL SECURITY`);
    await scenario.database.query(`CREATE POLICY visible ON ${scenario.target("granted")} USING (id = 2)`);
    const before = await scenario.versions("granted");
    await scenario.iceberg("granted", "UPDATE $t SET name = 'y' WHERE id = 3");
    const hidden = await scenario.load("granted", options);
    expect(hidden.report.toJSON().error).toMatchObject({
      code: "POSTGRES_PERMISSION_DENIED",
      message: expect.stringContaining("row-level security"),
    });
    expect(await scenario.versions("granted")).toEqual(before);
  } finally {
    await scenario.database.query(`DROP OWNED BY ${role}`);
    await scenario.database.query(`DROP ROLE ${role}`);
  }
});

test("whoever reads meanwhile waits for nothing, and sees all of the old rows until all of the new ones are there", async () => {
  await makeTable("read");
  await scenario.loaded("read", KEY);
  const reader = new pg.Client(scenario.servers.postgresUrl);
  await reader.connect();
  try {
    await reader.query("SET lock_timeout = '1ms'");
    const seen = async () => {
      const { rows } = await reader.query<{ row: string }>(
        `SELECT id || '|' || name AS row FROM ${scenario.target("read")} ORDER BY 1`,
      );
      return rows.map(({ row }) => row);
    };
    for (const type of ["incremental", "full"]) {
      const before = await seen();
      await scenario.iceberg(
        "read",
        "DELETE FROM $t WHERE id = (SELECT min(id) FROM $t)",
        "UPDATE $t SET name = concat(name, '!') WHERE id = 3",
        "INSERT INTO $t SELECT max(id) + 1, 'new' FROM $t",
      );
      const during = new Map<string, readonly string[]>();
      await scenario.loaded("read", {
        item: { ...KEY.item, "db_load.aurora_data_load_type": type },
        onStep: async ({ name, phase }) => void during.set(`${name} ${phase}`, await seen()),
      });
      expect([...during.keys()]).toEqual(expect.arrayContaining(["insert end", "commit start", "commit end"]));
      const after = await seen();
      expect(after).toEqual(await scenario.sourceRows("read", ["id", "name"]));
      expect(after).not.toEqual(before);
      for (const [moment, rows] of during) {
        const committed = moment === "commit end" || moment.startsWith("write the snapshot file");
        expect({ type, moment, rows }).toEqual({ type, moment, rows: committed ? after : before });
      }
    }
  } finally {
    await reader.end();
  }
});

describe("two runs at once", () => {
  test("the second is refused as Glue refuses it, and the first goes on", async () => {
    await makeTable("twice");
    let second: Awaited<ReturnType<typeof scenario.load>> | undefined;
    const first = await scenario.loaded("twice", {
      ...KEY,
      onStep: async ({ name, phase }) => {
        if (name === "create the staging table" && phase === "end") second = await scenario.load("twice", KEY);
      },
    });
    expect(second?.exitCode).toBe(75);
    expect(second?.report.toJSON().error?.code).toBe("ConcurrentRunsExceededException");
    expect(first).toMatchObject({ inserted: 3 });
    await equal("twice");
  });

  test("even without the lock the later commit finds the state changed, and changes nothing", async () => {
    await makeTable("raced");
    await scenario.loaded("raced", KEY);
    await scenario.iceberg("raced", "UPDATE $t SET name = 'raced' WHERE id = 1");
    const late = await scenario.load("raced", {
      ...KEY,
      onStep: async ({ name, phase }) => {
        if (name !== "write to the staging table" || phase !== "end") return;
        // The first run's connection is cut, so its lock is free, and a second run passes it by.
        await scenario.database.query(
          `SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
            WHERE l.locktype = 'advisory' AND a.application_name LIKE 'glue-connect jr%'
              AND EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                           WHERE n.nspname = $1 AND c.relname LIKE 'glue_connect_stage_' || substr(a.application_name, 17) || '%')`,
          [scenario.name],
        );
        await scenario.iceberg("raced", "UPDATE $t SET name = 'newer' WHERE id = 1");
        expect(await scenario.loaded("raced", KEY)).toMatchObject({ updated: 1 });
      },
    });
    expect(late.exitCode).toBe(75);
    expect(late.report.toJSON().error?.code).toBe("TARGET_CHANGED");
    await equal("raced");
  });
});

describe("plan", () => {
  test("says what a run would do, writes nothing, and exits with 2 when there is work", async () => {
    await makeTable("planned");
    const first = await scenario.load("planned", { ...KEY, mode: "plan" });
    expect(first.exitCode).toBe(2);
    expect(first.report.toJSON().tables[`${scenario.name}.planned`]).toMatchObject({
      status: "PLANNED",
      inserted: 3,
      ddl: [
        `CREATE TABLE "${scenario.name}"."planned" ("id" bigint NOT NULL, "name" text)`,
        `ALTER TABLE "${scenario.name}"."planned" ADD PRIMARY KEY ("id")`,
      ],
    });
    expect(
      await scenario.rows("SELECT 1 FROM pg_tables WHERE schemaname = $1 AND tablename = 'planned'", [scenario.name]),
    ).toEqual([]);
    expect(scenario.snapshotFile("planned")).toBeUndefined();

    await scenario.loaded("planned", KEY);
    expect((await scenario.load("planned", { ...KEY, mode: "plan" })).exitCode).toBe(0);
    await scenario.iceberg(
      "planned",
      "DELETE FROM $t WHERE id = 1",
      "UPDATE $t SET name = 'x' WHERE id = 2",
      "INSERT INTO $t VALUES (4, 'four')",
    );
    const before = await scenario.versions("planned");
    const second = await scenario.load("planned", { ...KEY, mode: "plan" });
    expect(second.exitCode).toBe(2);
    expect(second.report.table(`${scenario.name}.planned`)).toMatchObject({ inserted: 1, updated: 1, deleted: 1 });
    expect(await scenario.versions("planned")).toEqual(before);
    expect(await scenario.stagingTables()).toEqual([]);
    expect(await scenario.loaded("planned", KEY)).toMatchObject({ inserted: 1, updated: 1, deleted: 1 });
  });
});
