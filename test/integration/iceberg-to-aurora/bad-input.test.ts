import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import job from "../../../jobs/iceberg-to-aurora/job.js";
import { runJob } from "../../../lib/glue/index.js";
import { IcebergScenario, type LoadOptions } from "../../support/iceberg-scenario.js";

let scenario: IcebergScenario;
beforeAll(async () => {
  scenario = await IcebergScenario.create();
  await scenario.iceberg(
    "fine",
    "CREATE TABLE $t (id BIGINT, name STRING) USING iceberg",
    "INSERT INTO $t VALUES (1, 'one')",
  );
});
afterAll(async () => {
  await scenario[Symbol.asyncDispose]();
});

/** The error of a load as a user sees it: code, message, every problem and the hint in one text. */
async function failure(table: string, options: LoadOptions = {}) {
  const result = await scenario.load(table, options);
  const { error } = result.report.toJSON();
  expect(result.stack).toBeUndefined();
  return {
    exitCode: result.exitCode,
    code: error?.code,
    text: [error?.message, ...(error?.problems ?? []), error?.hint].join("\n"),
  };
}

test("missing and unknown arguments are listed in one message", async () => {
  const result = await runJob(job, ["--source_system_id", "x", "--meta_data_type", "y"], {});
  const { error } = result.report.toJSON();
  expect(result.exitCode).toBe(64);
  expect(error?.code).toBe("ARGUMENTS_INVALID");
  const text = error?.problems.join("\n") ?? "";
  for (const name of ["JOB_NAME", "metadata_table_name", "metadata_type", "meta_data_type"])
    expect(text).toContain(name);
});

test("an item that isn't there is named, with those that are", async () => {
  const file = await scenario.writeItem("fine");
  const argv = scenario.argv(file).map((word, index, all) => (all[index - 1] === "--source_system_id" ? "tset" : word));
  const result = await runJob(job, argv, {});
  expect(result.exitCode).toBe(66);
  expect(JSON.stringify(result.report.toJSON().error)).toMatch(/METADATA_ITEM_NOT_FOUND.*tset.*test/);
});

test("every missing and wrong key of the item is in one message", async () => {
  const { exitCode, code, text } = await failure("fine", {
    postgresUrl: undefined as never,
    item: {
      "iceberg_properties.table_name": undefined,
      "iceberg_properties.iceberg_configuration.iceberg_catalog_warehouse": "",
      "db_load.aurora_host": "db.example.com",
      "db_load.aurora_port": "54x",
      "db_load.aurora_data_load_type": "sometimes",
      "db_load.snapshot_s3_bucket": undefined,
      "db_load.primary_key": "id,name,id",
    },
  });
  expect({ exitCode, code }).toEqual({ exitCode: 66, code: "CONFIGURATION_INVALID" });
  for (const part of [
    /table_name is missing/,
    /iceberg_catalog_warehouse is empty/,
    /aurora_port is not a port.*"54x"/,
    /aurora_secret is missing/,
    /aurora_db_name is missing/,
    /aurora_data_load_type is neither "incremental" nor "full", got "sometimes"/,
    /snapshot_s3_bucket is missing/,
    /primary_key names id more than once/,
  ]) {
    expect(text).toMatch(part);
  }
});

test("credentials that stand where their reference belongs are not shown", async () => {
  const { code, text } = await failure("fine", {
    postgresUrl: undefined as never,
    item: {
      "db_load.aurora_host": "db.example.com",
      "db_load.aurora_port": 5432,
      "db_load.aurora_db_name": "shop",
      "db_load.aurora_secret": { username: "u", password: "hunter2" },
    },
  });
  expect(code).toBe("CONFIGURATION_INVALID");
  expect(text).not.toContain("hunter2");
  expect(text.match(/aurora_secret/g)).toHaveLength(1);
});

test("Spark and PostgreSQL that can't be reached are both said", async () => {
  const { exitCode, code, text } = await failure("fine", {
    sparkRemote: "sc://127.0.0.1:1",
    postgresUrl: "postgresql://u:p@127.0.0.1:1/db",
  });
  expect({ exitCode, code }).toEqual({ exitCode: 69, code: "SOURCE_AND_TARGET_UNUSABLE" });
  expect(text).toMatch(/POSTGRES_UNREACHABLE[\s\S]*127\.0\.0\.1:1[\s\S]*Spark/);
});

describe("the target's database", () => {
  const remote = (port: number, secret: string) => ({
    postgresUrl: undefined as never,
    item: {
      "db_load.aurora_host": "127.0.0.1",
      "db_load.aurora_port": port,
      "db_load.aurora_db_name": "postgres",
      "db_load.aurora_secret": secret,
    },
  });
  const port = () => Number(new URL(scenario.servers.postgresUrl).port);

  test("with a wrong password is refused without showing it", async () => {
    const secret = join(scenario.folder, "secret.json");
    await writeFile(secret, JSON.stringify({ username: "postgres", password: "wrong-and-secret" }));
    const { exitCode, code, text } = await failure("fine", remote(port(), `file:${secret}`));
    expect({ exitCode, code }).toEqual({ exitCode: 66, code: "POSTGRES_AUTHENTICATION_FAILED" });
    expect(text).toContain('"postgres"');
    expect(text).not.toContain("wrong-and-secret");
  });

  test("with a secret that isn't there, and a source that isn't there either: both are said", async () => {
    const { code, text } = await failure("missing", remote(port(), `file:${join(scenario.folder, "none.json")}`));
    expect(code).toBe("SOURCE_AND_TARGET_UNUSABLE");
    expect(text).toMatch(/SECRET_NOT_FOUND[\s\S]*SOURCE_TABLE_NOT_FOUND/);
  });

  test("that can't be reached is named with host and port", async () => {
    const secret = join(scenario.folder, "any.json");
    await writeFile(secret, JSON.stringify({ username: "u", password: "p" }));
    const { exitCode, code, text } = await failure("fine", remote(1, `file:${secret}`));
    expect({ exitCode, code }).toEqual({ exitCode: 69, code: "POSTGRES_UNREACHABLE" });
    expect(text).toContain("127.0.0.1:1");
  });

  test("without the schema is refused", async () => {
    const { code } = await failure("fine", { item: { "db_load.aurora_db_target_schema": "nowhere" } });
    expect(code).toBe("TARGET_SCHEMA_NOT_FOUND");
  });

  test("with a view in the target's place is refused", async () => {
    await scenario.database.query(`CREATE VIEW ${scenario.name}.a_view AS SELECT 1 AS id`);
    const { code } = await failure("fine", { item: { "db_load.aurora_db_target_table_name": "a_view" } });
    expect(code).toBe("TARGET_NOT_A_TABLE");
  });
});

test("a key that is nearly one of ours is warned of", async () => {
  const result = await scenario.load("fine", {
    item: { "db_load.primary_kye": "name", "db_load.owner": "etl", "db_load.aurora_db_target_table_name": "misspelt" },
  });
  expect(result.report.toJSON().warnings).toContainEqual({
    code: "CONFIGURATION_KEY_UNKNOWN",
    message: "target.db_load.primary_kye is not a key of this job; did you mean target.db_load.primary_key?",
  });
  expect(JSON.stringify(result.report.toJSON().warnings)).not.toContain("owner");
});

test("a source table that isn't there is named with its warehouse", async () => {
  const { exitCode, code, text } = await failure("nothing");
  expect({ exitCode, code }).toEqual({ exitCode: 66, code: "SOURCE_TABLE_NOT_FOUND" });
  expect(text).toContain(`${scenario.name}.nothing`);
});

describe("the primary key", () => {
  test("that the configuration names must be columns of the source", async () => {
    const { code, text } = await failure("fine", { item: { "db_load.primary_key": "id, idd" } });
    expect(code).toBe("PRIMARY_KEY_UNKNOWN");
    expect(text).toMatch(/"idd"[\s\S]*id, name/);
  });

  test("guessed from the first column is taken with a warning when it identifies the rows", async () => {
    const result = await scenario.load("fine", {
      item: { "db_load.aurora_db_target_table_name": "guessed", "db_load.snapshot_s3_key": "guessed" },
    });
    expect(result.exitCode).toBe(0);
    expect(result.report.toJSON().warnings).toMatchObject([{ code: "PRIMARY_KEY_GUESSED" }]);
  });

  test("that is in no way known is an error that says the ways", async () => {
    await scenario.iceberg(
      "keyless",
      "CREATE TABLE $t (kind STRING, id BIGINT) USING iceberg",
      "INSERT INTO $t VALUES ('a', 1), ('a', 2), (NULL, 3)",
    );
    const { exitCode, code, text } = await failure("keyless");
    expect({ exitCode, code }).toEqual({ exitCode: 66, code: "PRIMARY_KEY_UNKNOWN" });
    expect(text).toMatch(
      /1 of 3 rows have NULL in kind[\s\S]*2 of 3 rows share their kind[\s\S]*primary_key[\s\S]*IDENTIFIER FIELDS/,
    );
    expect(
      await scenario.rows("SELECT 1 FROM pg_tables WHERE schemaname = $1 AND tablename = 'keyless'", [scenario.name]),
    ).toEqual([]);
  });

  test("comes from the target's own when nothing else names it", async () => {
    await scenario.iceberg(
      "by_target",
      "CREATE TABLE $t (kind STRING, id BIGINT) USING iceberg",
      "INSERT INTO $t VALUES ('a', 1), ('a', 2)",
    );
    await scenario.database.query(`CREATE TABLE ${scenario.target("by_target")} (kind text, id bigint PRIMARY KEY)`);
    const report = await scenario.loaded("by_target");
    expect(report).toMatchObject({
      inserted: 2,
      details: { primaryKey: { columns: ["id"], from: "target's primary key" } },
    });
  });

  test("violated by rows of the source is refused with examples, and nothing is changed", async () => {
    await scenario.iceberg(
      "doubled",
      "CREATE TABLE $t (id BIGINT, name STRING) USING iceberg",
      "INSERT INTO $t VALUES (1, 'one'), (2, 'two')",
    );
    const options = { item: { "db_load.primary_key": "id" } };
    await scenario.loaded("doubled", options);
    await scenario.iceberg("doubled", "INSERT INTO $t VALUES (2, 'two'), (NULL, 'none')");
    const refused = async (way: string) => {
      const { exitCode, code, text } = await failure("doubled", { ...options, args: ["--find_changes", way] });
      expect({ exitCode, code }).toEqual({ exitCode: 1, code: "PRIMARY_KEY_VIOLATED" });
      return text;
    };
    expect(await refused("compare")).toMatch(
      /1 of 4 rows have NULL in id[\s\S]*2 of 4 rows share their id with another, e\.g\. id=2/,
    );
    // Of these ways only what came is read; that a new row doubles an untouched one shows when it is applied.
    expect(await refused("changelog")).toContain("1 of 2 new and changed rows have NULL in id");
    expect(await refused("files")).toContain("1 of 2 rows of touched files have NULL in id");
    await scenario.iceberg("doubled", "DELETE FROM $t WHERE id IS NULL");
    expect(await refused("compare")).toContain("2 of 3 rows share their id with another, e.g. id=2");
    for (const way of ["changelog", "files"]) expect(await refused(way)).toContain("id");
    expect(await scenario.targetRows("doubled", ["id", "name"])).toEqual(["1|one", "2|two"]);
  });
});
