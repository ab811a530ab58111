import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { JdbcScenario } from "../../support/jdbc-scenario.js";

let s: JdbcScenario;

beforeAll(async () => {
  s = await JdbcScenario.create(inject("sparkRemote"), inject("postgresUrl"));
});
afterAll(() => s?.[Symbol.asyncDispose]());

const load = (name: string, ...args: string[]) => s.load(name, "--output_format", "iceberg", ...args);

async function table(name: string, rows: string, key = "PRIMARY KEY"): Promise<void> {
  await s.sql(
    `CREATE TABLE ${name} (id int ${key}, v text, updated_at timestamptz)`,
    `INSERT INTO ${name} VALUES ${rows}`,
  );
}

describe("--output_format iceberg", () => {
  test("with a key the table holds the latest state: new, changed, backdated and deleted rows", async () => {
    await table("keyed", "(1, 'a', '2026-03-01Z'), (2, 'b', '2026-03-02Z'), (3, 'c', '2026-03-03Z')");
    expect((await load("keyed", "--deletes", "soft")).inserted).toBe(3);
    await s.sql(
      "UPDATE keyed SET v = 'backdated', updated_at = '2020-01-01Z' WHERE id = 3",
      "INSERT INTO keyed VALUES (4, 'd', '2026-03-04Z')",
      "DELETE FROM keyed WHERE id = 2",
    );
    expect(await load("keyed", "--deletes", "soft")).toMatchObject({ inserted: 2, deleted: 1 });
    expect(await s.merged("keyed", "id, v, cdc_deleted")).toEqual([
      "1|a|false",
      "2|b|true",
      "3|backdated|false",
      "4|d|false",
    ]);
    expect(s.tracker("keyed")).toBe("2026-03-04 00:00:00");
    expect((await load("keyed")).reason).toBe("nothing new");
  }, 100_000);

  test("after a rollback what has changed since comes again", async () => {
    await table("back", "(1, 'a', '2026-03-01Z'), (2, 'b', '2026-03-02Z')");
    await load("back");
    await s.sql("UPDATE back SET v = 'a2' WHERE id = 1");
    await load("back");
    const name = await s.iceberg("back");
    const [first] = await s.rows(
      `SELECT snapshot_id FROM ${name}.snapshots WHERE summary['glue-connect.batch-id'] IS NOT NULL ORDER BY committed_at LIMIT 1`,
    );
    await s.spark.sql(`CALL reader.system.rollback_to_snapshot('back', ${JSON.parse(first ?? "{}").snapshot_id})`);
    expect((await load("back")).reason).toBe("the output is at another batch than the state");
    expect(await s.merged("back")).toEqual(["1|a2", "2|b"]);

    // Between the decision and the commit: then the batch isn't added, and what the rollback took comes with the next one.
    await s.sql("UPDATE back SET v = 'b2' WHERE id = 2");
    const { report } = await s.run(["--tables", "back", "--output_format", "iceberg"], {
      onStep: async (step) => {
        if (step.name !== "publish" || step.phase !== "start") return;
        await s.spark.sql(`CALL reader.system.rollback_to_snapshot('back', ${JSON.parse(first ?? "{}").snapshot_id})`);
      },
    });
    expect(report.table("back").error?.code).toBe("BATCH_OUTDATED");
    expect(await s.merged("back")).toEqual(["1|a", "2|b"]);
    expect((await load("back")).reason).toBe("the output is at another batch than the state");
    expect(await s.merged("back")).toEqual(["1|a2", "2|b2"]);
    expect((await load("back")).reason).toBe("nothing new");
  }, 100_000);

  test("a table that is gone is loaded afresh", async () => {
    await table("dropped", "(1, 'a', '2026-03-01Z')");
    await load("dropped");
    await s.spark.sql(`DROP TABLE ${await s.iceberg("dropped")} PURGE`);
    expect(await load("dropped")).toMatchObject({ way: "everything", inserted: 1 });
    expect(await s.merged("dropped")).toEqual(await s.source("dropped"));
  }, 100_000);

  test("without a key every row; a backfill replaces its range exactly", async () => {
    // The key is the parent's alone: rows of a child are in the table, too, and may have the same.
    await table("bag", "(1, 'a', '2026-03-01 10:00Z'), (2, 'b', '2026-03-02 10:00Z')");
    await s.sql("CREATE TABLE more () INHERITS (bag)", "INSERT INTO more VALUES (1, 'a', '2026-03-01 10:00Z')");
    await load("bag");
    await s.sql(
      "INSERT INTO more VALUES (2, 'b', '2026-03-02 10:00Z')",
      "INSERT INTO bag VALUES (3, 'c', '2026-03-03Z')",
    );
    expect((await load("bag")).inserted).toBe(2);
    expect(await s.merged("bag")).toEqual(await s.source("bag"));
    await s.sql("DELETE FROM bag WHERE id = 1", "UPDATE bag SET v = 'b2' WHERE id = 2");
    await load("bag", "--from", "2026-03-01", "--to", "2026-03-01");
    expect(await s.merged("bag")).toEqual(["2|b", "2|b", "3|c"]);
    await load("bag", "--full_refresh", "--yes");
    expect(await s.merged("bag")).toEqual(await s.source("bag"));
  });

  test("columns are added and widened; a type that Iceberg can't change is refused before anything is written", async () => {
    await table("shape", "(1, 'a', '2026-03-01Z')");
    await load("shape");
    await s.sql(
      "ALTER TABLE shape ADD COLUMN more numeric(5,1), ALTER COLUMN id TYPE bigint",
      "INSERT INTO shape VALUES (2, 'b', '2026-03-02Z', 1.5)",
    );
    // The table was rewritten, so old rows might have values in the new column.
    expect((await load("shape")).way).toBe("everything");
    expect(await s.merged("shape", "id, v, more")).toEqual(["1|a|", "2|b|1.5"]);
    await s.sql("ALTER TABLE shape ALTER COLUMN more TYPE text");
    const { report } = await s.run(["--tables", "shape", "--output_format", "iceberg"]);
    expect(report.table("shape").error).toMatchObject({
      code: "SCHEMA_INCOMPATIBLE",
      problems: ["column more is decimal(5,1) there, and string in the source"],
    });
    await s.spark.sql(`ALTER TABLE ${await s.iceberg("shape")} RENAME COLUMN more TO more_before`);
    await load("shape");
    expect(await s.merged("shape", "id, v, more")).toEqual(["1|a|", "2|b|1.5"]);
  });

  test("another --output_format: a batch is finished in its own, then all rows come; an Iceberg table's files aren't deleted", async () => {
    await table("crossed", "(1, 'a', '2026-03-01Z')");
    const die = async (format: string) => {
      const { exitCode } = await s.run(["--tables", "crossed", "--output_format", format], {
        onStep: ({ name, phase }) => {
          if (name === "publish" && phase === "start") throw new Error("died");
        },
      });
      expect(exitCode).toBe(1);
    };
    await die("parquet");
    expect(await load("crossed")).toMatchObject({ reason: "so far the output was parquet", inserted: 1 });
    expect(s.files("crossed").filter((name) => name.startsWith("partition_date=2026-03-01"))).toHaveLength(1);
    expect(await s.merged("crossed")).toEqual(["1|a"]);

    await s.sql("INSERT INTO crossed VALUES (2, 'b', '2026-03-02Z')");
    await die("iceberg");
    for (const type of ["cdc", "full"]) {
      const { report } = await s.run(["--tables", "crossed", "--load_type", type]);
      expect(report.table("crossed").error?.code).toBe("OUTPUT_IS_ICEBERG");
      expect(await s.merged("crossed")).toEqual(await s.source("crossed"));
    }
    expect((await load("crossed")).reason).toBe("nothing new");

    // Elsewhere nothing says it but the state.
    await s.spark.sql(`DROP TABLE ${await s.iceberg("crossed")} PURGE`);
    expect(await s.load("crossed")).toMatchObject({ reason: "so far the output was iceberg", inserted: 2 });
    expect(await s.loaded("crossed")).toEqual(await s.source("crossed"));
  }, 100_000);
});
