import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { AthenaScenario } from "../../support/athena-scenario.js";

let s: AthenaScenario;
beforeAll(async () => {
  s = await AthenaScenario.create(inject("sparkRemote"));
});
afterAll(() => s[Symbol.asyncDispose]());

const ROW = "(1, 'a', TIMESTAMP'2026-03-01 10:00:00')";

describe("athena-cdc, many tables", () => {
  test("200 tables, 3 of them bad: those fail alone, and --continue takes only them", async () => {
    const names = Array.from({ length: 200 }, (_, index) => `t${String(index).padStart(3, "0")}`);
    await s.sql(
      "seed",
      "CREATE TABLE $t (id BIGINT, v STRING, updated_at TIMESTAMP) USING parquet",
      `INSERT INTO $t VALUES ${ROW}`,
    );
    const data = join(s.folder, "in", "seed");
    const waiting = [...names];
    const make = async () => {
      for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
        const bad = name === "t050" || name === "t100" || name === "t150";
        const where = bad ? join(s.folder, "bad", name) : data;
        const type = bad ? "DOUBLE" : "TIMESTAMP";
        await s.sql(
          name,
          `CREATE TABLE $t (id BIGINT, v STRING, updated_at ${type}) USING parquet LOCATION '${where}'`,
        );
      }
    };
    await Promise.all([make(), make(), make(), make()]);
    const first = await s.run(["--tables", "t*", "--parallelism", "6"]);
    expect(first.exitCode).toBe(1);
    const failed = [...first.report.tables].filter(([, table]) => table.status === "FAILED").map(([name]) => name);
    expect(failed).toEqual(["t050", "t100", "t150"]);
    expect([...first.report.tables].filter(([, table]) => table.inserted === 1)).toHaveLength(197);
    for (const name of failed.slice(0, 2)) {
      await s.sql(
        name,
        "DROP TABLE $t",
        `CREATE TABLE $t (id BIGINT, v STRING, updated_at TIMESTAMP) USING parquet LOCATION '${data}'`,
      );
    }
    const second = await s.run(["--tables", "t*", "--continue"]);
    expect([...second.report.tables.keys()]).toEqual(failed);
    expect([...second.report.tables.values()].map(({ status }) => status)).toEqual([
      "SUCCEEDED",
      "SUCCEEDED",
      "FAILED",
    ]);
    expect(await s.loaded("t199")).toEqual(await s.source("seed"));
    rmSync(join(s.folder, "bad"), { recursive: true, force: true });
  }, 180_000);

  test("a second run is refused while the first one lives, and can run after it", async () => {
    let second: Awaited<ReturnType<typeof s.run>> | undefined;
    const first = await s.run(["--tables", "seed"], {
      onStep: async ({ name, phase }) => {
        if (name === "write the rows" && phase === "start") second = await s.run(["--tables", "seed"]);
      },
    });
    expect(first.exitCode).toBe(0);
    expect(second?.exitCode).toBe(75);
    expect(second?.report.error?.code).toBe("ConcurrentRunsExceededException");
    const said: string[] = [];
    const say = (level: string) => (message: string) => void said.push(`${level} ${message}`);
    const log = { debug() {}, info: say("info"), warn: say("warn"), error: say("error") };
    expect((await s.run(["--tables", "seed"], { log })).exitCode).toBe(0);
    expect(said).toEqual([
      "warn NO_PRIMARY_KEY: seed: no primary key is known; rows are not deduplicated",
      "info seed: rows since the last run (the table has the same files as in the last run): 0 read, 0 inserted, 0 updated, 0 deleted",
    ]);
    expect(await s.loaded("seed")).toEqual(await s.source("seed"));
  });

  test("a database that isn't there, no table that fits, an output that can't be written", async () => {
    expect((await s.run(["--athena_database_name", "nowhere"])).report.error?.code).toBe("DATABASE_NOT_FOUND");
    const { report, exitCode } = await s.run(["--tables", "x*"]);
    expect({ exitCode, code: report.error?.code }).toEqual({ exitCode: 66, code: "NO_TABLES" });
    const keys = ["--primary_key_s3_prefix", `${s.uri("none")}/`];
    const { warnings } = (await s.run(["--tables", "seed,sead", ...keys])).report;
    expect(warnings.slice(0, 2)).toMatchObject([
      { code: "PRIMARY_KEYS_MISSING" },
      { code: "TABLE_NOT_FOUND", message: expect.stringMatching(/no table sead, .* did you mean seed\?$/) },
    ]);
    const unwritable = await s.run(["--tables", "seed", "--output_path", "file:///proc/none"]);
    expect(unwritable.report.table("seed").error).toMatchObject({
      code: "STORAGE_ACCESS_DENIED",
      message: "Spark can't write file:/proc/none",
      problems: [expect.stringMatching(/^Mkdirs failed to create /)],
      hint: expect.stringMatching(/^Correct the path/),
    });
  });
});
