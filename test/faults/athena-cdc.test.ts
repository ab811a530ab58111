import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, test, vi } from "vitest";
import { AthenaScenario } from "../support/athena-scenario.js";
import { JobChild } from "../support/job-process.js";

let s: AthenaScenario;
let job: JobChild;

beforeAll(async () => {
  [s, job] = await Promise.all([AthenaScenario.create(inject("sparkRemote")), JobChild.build("athena-cdc")]);
});
afterAll(async () => {
  job?.[Symbol.dispose]();
  await s?.[Symbol.asyncDispose]();
});

const killedAt = (killAt: string, ...args: readonly string[]) =>
  job.run({ argv: s.argv(...args), sparkRemote: s.remote, killAt });

const FORMATS = {
  parquet: {
    args: [],
    places: ["write the rows end", "store what is to be published end", "move a file end"],
  },
  iceberg: {
    args: ["--output_format", "iceberg"],
    places: ["write the rows end", "commit to a branch end", "move main end"],
  },
};

describe("SIGKILL of athena-cdc", () => {
  test.each(Object.entries(FORMATS))(
    "at the steps that move rows to %s, a rerun at once: newest rows with a key, the bag of rows without one",
    async (format, { args, places }) => {
      const [keyed, bag] = [`keyed_${format}`, `bag_${format}`];
      s.keys(`z_${format}.csv`, `${keyed},id`);
      for (const name of [keyed, bag]) {
        await s.sql(
          name,
          "CREATE TABLE $t (id BIGINT, v STRING, updated_at TIMESTAMP) USING parquet",
          "INSERT INTO $t SELECT id % 3, 'v0', TIMESTAMP'2026-03-01 10:00:00' FROM range(6)",
        );
      }
      const both = ["--tables", `${keyed},${bag}`, "--parallelism", "1", ...args];
      expect((await s.run(both)).report.toJSON().error).toBeUndefined();
      for (const [index, place] of places.entries()) {
        for (const name of [keyed, bag]) {
          await s.sql(
            name,
            `INSERT INTO $t SELECT id % 3, 'v${index + 1}', TIMESTAMP'2026-03-01 10:00:00' + make_interval(0,0,0,0,${index},0,0) FROM range(4)`,
          );
        }
        // The bag shows what is doubled; the other one is killed in the midst of publishing.
        for (const only of index === 2 ? [bag, keyed] : [bag]) {
          const killed = await killedAt(place, "--tables", only, ...args);
          expect({ place, signal: killed.signal, last: killed.places.at(-1) }, killed.errors).toEqual({
            place,
            signal: "SIGKILL",
            last: place,
          });
        }
        const rerun = await s.run(both);
        const { error, warnings } = rerun.report.toJSON();
        const finished = warnings.filter(({ code }) => code === "BATCH_FINISHED").length;
        expect({ place, error, finished }).toEqual({
          place,
          error: undefined,
          finished: place === "write the rows end" ? 0 : index === 2 ? 2 : 1,
        });
        await expectEqual(format, keyed, bag, place);
      }
    },
    240_000,
  );

  test("amid the publishing, and a full refresh then: the output is the source, and nothing of the dead run comes back", async () => {
    const row = (id: number, v: string, day: number) => `(${id}, '${v}', TIMESTAMP'2026-03-0${day} 10:00:00')`;
    await s.table("discarded", `${row(1, "a", 1)}, ${row(2, "b", 1)}`);
    await s.load("discarded");
    await s.sql("discarded", `INSERT INTO $t VALUES ${row(3, "dead", 2)}, ${row(4, "d", 2)}`);
    const killed = await killedAt("move a file end", "--tables", "discarded");
    expect({ signal: killed.signal, last: killed.places.at(-1) }, killed.errors).toEqual({
      signal: "SIGKILL",
      last: "move a file end",
    });
    await s.rewrite("discarded", "SELECT * FROM $t WHERE id <> 3");
    expect(await s.load("discarded", "--full-refresh", "--yes")).toMatchObject({ way: "full load", inserted: 3 });
    expect(await s.loaded("discarded")).toEqual(await s.source("discarded"));
    expect((await s.load("discarded")).inserted).toBe(0);
    expect(await s.loaded("discarded")).toEqual(await s.source("discarded"));
  });

  test("while the executors write a batch, and a rerun at once: nothing of the dead run's rows arrives", async () => {
    await s.sql(
      "slow",
      "CREATE TABLE $t USING parquet AS SELECT id, sha2(CAST(id AS STRING), 512) AS v, timestamp_micros(1772359200000000 + id) AS updated_at FROM range(0, 400000, 1, 1)",
    );
    const { process: killed, ended } = job.start({ argv: s.argv("--tables", "slow"), sparkRemote: s.remote });
    const attempts = join(s.folder, "out", "_attempts");
    const written = () =>
      existsSync(attempts)
        ? readdirSync(attempts, { recursive: true, encoding: "utf8" }).filter((name) => /slow.*\.parquet$/.test(name))
        : [];
    await vi.waitFor(() => expect(written()).not.toEqual([]), { timeout: 200_000, interval: 5 });
    killed.kill("SIGKILL");
    expect((await ended).signal).toBe("SIGKILL");
    expect(s.files("slow")).toEqual([]);
    expect(await s.load("slow")).toMatchObject({ inserted: 400_000 });
    const sums = async (from: string) =>
      s.rows(`SELECT count(*), count(DISTINCT id), sum(xxhash64(id, v, updated_at)) FROM ${from}`);
    expect(await sums(s.output("slow"))).toEqual(await sums(`${s.database}.slow`));
    // What the dead run's executors finished after the rerun had cleared up goes with the next batch.
    await s.sql("slow", "INSERT INTO $t VALUES (400000, 'last', TIMESTAMP '2026-03-02 00:00:00')");
    expect(await s.load("slow")).toMatchObject({ inserted: 1 });
    expect(written()).toEqual([]);
  }, 300_000);
});

async function expectEqual(format: string, keyed: string, bag: string, place: string): Promise<void> {
  const output = async (table: string) => {
    if (format === "parquet") return s.output(table);
    await s.spark.conf.set({
      "spark.sql.catalog.reader": "org.apache.iceberg.spark.SparkCatalog",
      "spark.sql.catalog.reader.type": "hadoop",
      "spark.sql.catalog.reader.warehouse": join(s.folder, "out"),
      "spark.sql.catalog.reader.cache-enabled": "false",
    });
    return `reader.${table}`;
  };
  expect({ place, bag: await s.rows(`SELECT * FROM ${await output(bag)}`) }).toEqual({
    place,
    bag: await s.source(bag),
  });
  const newest = (from: string) =>
    s.rows(`SELECT id, max_by(v, struct(updated_at, v)) AS v, max(updated_at) AS updated_at FROM ${from} GROUP BY id`);
  const source = await newest(`${s.database}.${keyed}`);
  expect({ place, keyed: await newest(await output(keyed)) }).toEqual({ place, keyed: source });
  // An Iceberg table with a key holds the latest state itself.
  if (format === "iceberg") expect(await s.rows(`SELECT * FROM ${await output(keyed)}`)).toEqual(source);
}
