import type { ChildProcess } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, inject, test, vi } from "vitest";
import { createObjectStore } from "../../lib/storage/index.js";
import { AthenaScenario } from "../support/athena-scenario.js";
import { AWS_TEST_OPTIONS } from "../support/aws.js";
import { type EndedChild, JobChild } from "../support/job-process.js";

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

const FULL_LOAD = ["write the rows end", "commit to a branch end", "mark the full load start"];

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

  test("on S3, amid moving files and before it, a rerun at once: newest rows with a key, the bag of rows without one", async () => {
    await using onS3 = await AthenaScenario.create(inject("sparkRemote"));
    const aws = { ...AWS_TEST_OPTIONS, endpoint: inject("awsEndpoint") };
    const bucket = onS3.database.replace("_", "-");
    await new S3Client({ ...aws, forcePathStyle: true }).send(new CreateBucketCommand({ Bucket: bucket }));
    onS3.base = `s3://${bucket}`;
    onS3.environment = { aws };
    onS3.keys("keys.csv", "keyed,id");
    const store = createObjectStore(aws);
    const parquet = async (folder: string) => {
      const found: string[] = [];
      for await (const { uri } of store.list(`${onS3.uri(folder)}/`)) if (uri.endsWith(".parquet")) found.push(uri);
      return found.length;
    };
    // More files than one task takes: the batch has two.
    await onS3.sql(
      "bag",
      "CREATE TABLE $t (id BIGINT, v STRING, updated_at TIMESTAMP) USING parquet",
      "INSERT INTO $t SELECT /*+ REPARTITION(17) */ id, 'a', TIMESTAMP'2026-03-01 10:00:00' FROM range(100)",
    );
    await onS3.table("keyed", "(1, 'a', TIMESTAMP'2026-03-01 10:00:00'), (2, 'a', TIMESTAMP'2026-03-01 10:00:00')");
    const input = (table: string) => ({ argv: onS3.argv("--tables", table), sparkRemote: onS3.remote, aws });
    const expectEqual = async (about: string) => {
      const { error, warnings } = (await onS3.run()).report.toJSON();
      const finished = warnings.filter(({ code }) => code === "BATCH_FINISHED").length;
      expect({ about, error, finished }).toEqual({ about, error: undefined, finished: 1 });
      const bag = await onS3.rows(`SELECT * FROM ${onS3.output("bag")}`);
      expect({ about, bag }).toEqual({ about, bag: await onS3.source("bag") });
      await onS3.expectNewest("keyed");
      expect({ about, attempts: await parquet("out/_attempts") }).toEqual({ about, attempts: 0 });
    };
    const amid = await job.killAmidMoves(input("bag"), onS3.uri("out"));
    expect({ signal: amid.signal, last: amid.places.at(-1) }, amid.errors).toEqual({
      signal: "SIGKILL",
      last: "move a file start",
    });
    expect([await parquet("out/bag"), await parquet("out/_attempts")]).toEqual([1, 2]);
    await expectEqual("amid moving files of the first load");

    await onS3.sql("bag", "INSERT INTO $t SELECT 7, 'a', TIMESTAMP'2026-03-01 10:00:00' FROM range(2)");
    await onS3.sql(
      "keyed",
      "INSERT INTO $t VALUES (1, 'b', TIMESTAMP'2026-03-02 10:00:00'), (3, 'c', TIMESTAMP'2026-03-02 10:00:00')",
    );
    const killAt = "store what is to be published end";
    const before = await job.run({ ...input("keyed"), killAt });
    expect({ signal: before.signal, last: before.places.at(-1) }, before.errors).toEqual({
      signal: "SIGKILL",
      last: killAt,
    });
    await expectEqual("before moving the file of the changes");
  }, 240_000);

  test("at the steps of a full load to Iceberg, and SIGSTOP there until another run has ended: the tables are the source", async () => {
    const names = FULL_LOAD.map((place, index) => `${index % 2 === 0 ? "bag" : "keyed"}_${place.replaceAll(" ", "_")}`);
    const tables = ["--tables", names.join(), "--output_format", "iceberg"];
    const iceberg = (table: string) => ["--tables", table, "--output_format", "iceberg"];
    const afresh = ["--full-refresh", "--yes"];
    s.keys("z_steps.csv", ...names.filter((name) => name.startsWith("keyed")).map((name) => `${name},id`));
    const insert = async (v: string, day: number) => {
      for (const name of names) {
        await s.sql(name, `INSERT INTO $t SELECT id % 3, '${v}', TIMESTAMP'2026-03-0${day} 10:00:00' FROM range(5)`);
      }
    };
    const runAll = async (about: string, ...args: readonly string[]) => {
      expect({ about, error: (await s.run([...tables, ...args])).report.toJSON().error }).toEqual({ about });
      for (const name of names) {
        const rows = name.startsWith("bag") ? await s.source(name) : await newest(`${s.database}.${name}`);
        expect({ about, name, rows: await s.rows(`SELECT * FROM ${await inIceberg(name)}`) }).toEqual({
          about,
          name,
          rows,
        });
      }
    };
    for (const name of names) await s.table(name, "");
    await insert("first", 1);
    for (const [index, place] of FULL_LOAD.entries()) {
      const killed = await killedAt(place, ...iceberg(names[index] ?? ""));
      expect({ signal: killed.signal, last: killed.places.at(-1) }, killed.errors).toEqual({
        signal: "SIGKILL",
        last: place,
      });
    }
    await insert("second", 1);
    await runAll("after a kill");

    // What is there is replaced: rows of a run that wakes up would come to those of the one that has taken over.
    for (const name of names) await s.rewrite(name, "SELECT * FROM $t WHERE id <> 1");
    const lease = join(s.folder, "cdc", "_glue_connect", "athena-cdc", "_lease");
    const stopped: { readonly process: ChildProcess; readonly ended: Promise<EndedChild> }[] = [];
    for (const [index, stopAt] of FULL_LOAD.entries()) {
      const argv = s.argv(...iceberg(names[index] ?? ""), ...afresh);
      stopped.push(await job.stop({ argv, sparkRemote: s.remote, stopAt }, lease));
    }
    for (const name of names) await s.rewrite(name, "SELECT * FROM $t WHERE id <> 2");
    await insert("third", 2);
    await runAll("while others are stopped", ...afresh);
    for (const { process } of stopped) process.kill("SIGCONT");
    for (const [index, { ended }] of stopped.entries()) {
      const { code, errors } = await ended;
      expect({ place: FULL_LOAD[index], code, errors }).toEqual({
        place: FULL_LOAD[index],
        code: 75,
        errors: expect.stringMatching(/"code":"(BATCH_TAKEN_OVER|LEASE_LOST)"/),
      });
    }
    await insert("fourth", 3);
    await runAll("with a batch after the others woke up");
  }, 240_000);

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

/** The newest row of each key. */
const newest = (from: string) =>
  s.rows(`SELECT id, max_by(v, struct(updated_at, v)) AS v, max(updated_at) AS updated_at FROM ${from} GROUP BY id`);

async function inIceberg(table: string): Promise<string> {
  await s.spark.conf.set({
    "spark.sql.catalog.reader": "org.apache.iceberg.spark.SparkCatalog",
    "spark.sql.catalog.reader.type": "hadoop",
    "spark.sql.catalog.reader.warehouse": join(s.folder, "out"),
    "spark.sql.catalog.reader.cache-enabled": "false",
  });
  return `reader.${table}`;
}

async function expectEqual(format: string, keyed: string, bag: string, place: string): Promise<void> {
  const output = async (table: string) => (format === "parquet" ? s.output(table) : await inIceberg(table));
  expect({ place, bag: await s.rows(`SELECT * FROM ${await output(bag)}`) }).toEqual({
    place,
    bag: await s.source(bag),
  });
  const source = await newest(`${s.database}.${keyed}`);
  expect({ place, keyed: await newest(await output(keyed)) }).toEqual({ place, keyed: source });
  // An Iceberg table with a key holds the latest state itself.
  if (format === "iceberg") expect(await s.rows(`SELECT * FROM ${await output(keyed)}`)).toEqual(source);
}
