import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, inject, test, vi } from "vitest";
import { createObjectStore } from "../../lib/storage/index.js";
import { AWS_TEST_OPTIONS } from "../support/aws.js";
import { JdbcScenario } from "../support/jdbc-scenario.js";
import { JobChild } from "../support/job-process.js";

let s: JdbcScenario;
let children: JobChild;

beforeAll(async () => {
  [s, children] = await Promise.all([
    JdbcScenario.create(inject("sparkRemote"), inject("postgresUrl")),
    JobChild.build("jdbc-cdc"),
  ]);
});
afterAll(async () => {
  await s?.[Symbol.asyncDispose]();
  children?.[Symbol.dispose]();
});

const FORMATS = {
  parquet: {
    args: [],
    places: [
      "write the rows end",
      "write what was delivered end",
      "store what is to be published end",
      "move a file end",
      "store the state end",
    ],
  },
  iceberg: {
    args: ["--output_format", "iceberg"],
    places: ["write the rows end", "commit to a branch end", "move main end"],
  },
};

/** From here on it is the next run that finishes the batch. */
const IN_PUBLISHING = [
  "store what is to be published end",
  "move a file end",
  "commit to a branch end",
  "move main end",
];

async function kill(of: JdbcScenario, killAt: string, ...args: readonly string[]): Promise<void> {
  const { aws } = of.environment;
  const killed = await children.run({
    ...{ argv: of.argv(...args), sparkRemote: of.remote, postgresUrl: of.postgresUrl, killAt },
    ...(aws === undefined ? {} : { aws }),
  });
  expect({ signal: killed.signal, last: killed.places.at(-1) }, killed.errors).toEqual({
    signal: "SIGKILL",
    last: killAt,
  });
}

describe("SIGKILL of jdbc-cdc", () => {
  test.each(Object.entries(FORMATS))(
    "at the steps that move rows to %s, a rerun at once: the latest rows with a key, the bag of rows without one",
    async (format, { args, places }) => {
      const [keyed, bag] = [`keyed_${format}`, `bag_${format}`];
      for (const [name, key] of [
        [keyed, "PRIMARY KEY"],
        [bag, ""],
      ] as const) {
        await s.sql(
          `CREATE TABLE ${name} (id int ${key}, v text, updated_at timestamptz)`,
          `INSERT INTO ${name} SELECT i, 'v0', '2026-03-01 10:00Z' FROM generate_series(1, 6) AS i`,
        );
      }
      const both = ["--tables", `${keyed},${bag}`, ...args];
      expect((await s.run(both)).report.toJSON().error).toBeUndefined();
      for (const [index, place] of places.entries()) {
        // The same time as before: nothing but what the state knows tells these rows from those that are there.
        await s.sql(
          `INSERT INTO ${bag} SELECT i % 3, 'v0', '2026-03-01 10:00Z' FROM generate_series(1, 4) AS i`,
          `UPDATE ${keyed} SET v = 'v${index + 1}' WHERE id % 2 = ${index % 2}`,
          `INSERT INTO ${keyed} VALUES (${100 + index}, 'new', '2026-03-01 10:00Z')`,
        );
        await kill(s, place, "--tables", index % 2 === 0 ? bag : keyed, ...args);
        const rerun = await s.run(both);
        const { error, warnings } = rerun.report.toJSON();
        expect({ place, error, warnings: warnings.map(({ code }) => code) }).toEqual({
          place,
          error: undefined,
          warnings: IN_PUBLISHING.includes(place) ? ["BATCH_RECOVERED"] : [],
        });
        const output =
          format === "parquet"
            ? [await s.latest(keyed), await s.loaded(bag)]
            : [await s.merged(keyed), await s.merged(bag)];
        expect({ place, output }).toEqual({ place, output: [await s.source(keyed), await s.source(bag)] });
      }
    },
    240_000,
  );

  test("on S3, amid moving files and before it, a rerun at once: the latest rows with a key, the bag of rows without one", async () => {
    await using onS3 = await JdbcScenario.create(inject("sparkRemote"), inject("postgresUrl"));
    const aws = { ...AWS_TEST_OPTIONS, endpoint: inject("awsEndpoint") };
    const bucket = onS3.name.replace("_", "-");
    await new S3Client({ ...aws, forcePathStyle: true }).send(new CreateBucketCommand({ Bucket: bucket }));
    onS3.base = `s3://${bucket}`;
    onS3.environment = { aws };
    const store = createObjectStore(aws);
    const parquet = async (folder: string) => {
      const found: string[] = [];
      for await (const { uri } of store.list(`${onS3.uri(folder)}/`)) if (uri.endsWith(".parquet")) found.push(uri);
      return found.length;
    };
    // A folder for each day, and more of them than are moved at once.
    const days = "SELECT i, 'a', '2026-03-01Z'::timestamptz + i * interval '1 day' FROM generate_series(1, 10) AS i";
    await onS3.sql(
      "CREATE TABLE keyed (id int PRIMARY KEY, v text, updated_at timestamptz)",
      "CREATE TABLE bag (id int, v text, updated_at timestamptz)",
      "INSERT INTO keyed VALUES (1, 'a', '2026-03-01Z'), (2, 'a', '2026-03-01Z'), (3, 'a', '2026-03-01Z')",
      `INSERT INTO bag ${days}`,
    );
    const expectEqual = async (about: string) => {
      const { error, warnings } = (await onS3.run()).report.toJSON();
      expect({ about, error, warnings: warnings.map(({ code }) => code) }).toEqual({
        about,
        error: undefined,
        warnings: ["BATCH_RECOVERED"],
      });
      expect({ about, rows: [await onS3.latest("keyed"), await onS3.loaded("bag")] }).toEqual({
        about,
        rows: [await onS3.source("keyed"), await onS3.source("bag")],
      });
    };
    await kill(onS3, "move a file end", "--tables", "bag");
    expect([await parquet("out/bag"), await parquet("out/_attempts")]).not.toContain(0);
    await expectEqual("amid moving files of the first load");

    await onS3.sql(
      "UPDATE keyed SET v = 'b' WHERE id > 1",
      "INSERT INTO keyed VALUES (4, 'new', '2026-03-01Z')",
      "INSERT INTO bag SELECT * FROM bag WHERE id < 3",
    );
    await kill(onS3, "store what is to be published end", "--tables", "keyed");
    await expectEqual("before moving the file of the changes");
    expect(await parquet("out/_attempts")).toBe(0);
  });

  test("while the executors write a batch, and a rerun at once: the latest row of each key is the source's", async () => {
    await s.sql(
      "CREATE TABLE slow (id int PRIMARY KEY, v text, updated_at timestamptz)",
      "INSERT INTO slow SELECT i, 'old', '2026-03-01Z' FROM generate_series(1, 10) AS i",
    );
    await s.load("slow");
    await s.sql(
      "UPDATE slow SET v = 'new', updated_at = '2026-03-02Z' WHERE id > 5",
      `INSERT INTO slow SELECT i, encode(sha256(i::text::bytea), 'hex'), '2026-03-03Z'::timestamptz + i * interval '1 us'
         FROM generate_series(11, 200000) AS i`,
    );
    const before = s.files("slow");
    const attempts = join(s.folder, "out", "_attempts");
    const written = () =>
      existsSync(attempts)
        ? readdirSync(attempts, { recursive: true, encoding: "utf8" }).filter((name) => /slow.*\.parquet$/.test(name))
        : [];
    const argv = s.argv("--tables", "slow");
    const { process: killed, ended } = children.start({ argv, sparkRemote: s.remote, postgresUrl: s.postgresUrl });
    await vi.waitFor(() => expect(written()).not.toEqual([]), { timeout: 200_000, interval: 5 });
    killed.kill("SIGKILL");
    expect((await ended).signal).toBe("SIGKILL");
    expect(s.files("slow")).toEqual(before);
    // What the dead run had read is over when the next one begins.
    await s.sql("UPDATE slow SET v = 'newest' WHERE id IN (6, 11, 200000)", "DELETE FROM slow WHERE id = 12");
    expect(await s.load("slow")).toMatchObject({ way: "changes", inserted: 199_994 });
    const sums = "count(*), count(DISTINCT id), sum(id)";
    const digits = "substr(md5(id || v), 1, 8)";
    expect(await s.latest("slow", `${sums}, sum(CAST(conv(${digits}, 16, 10) AS BIGINT))`)).toEqual(
      await s.lines(`SELECT ${sums}, sum(('x' || ${digits})::bit(32)::bigint) FROM slow`),
    );
    // What the dead run's executors finished after the rerun had cleared up goes with the next batch.
    await s.sql("UPDATE slow SET v = 'last', updated_at = '2026-03-04Z' WHERE id = 1");
    expect(await s.load("slow")).toMatchObject({ way: "changes", inserted: 1 });
    expect(written()).toEqual([]);
    expect((await s.load("slow")).reason).toBe("nothing new");
  }, 300_000);

  test.each(["write the rows end", "move a file end"])(
    "%s, and a full refresh then: the output is the source, and nothing of the dead run comes back",
    async (killAt) => {
      const name = killAt.startsWith("move") ? "moved" : "written";
      await s.sql(
        `CREATE TABLE ${name} (id int, v text, updated_at timestamptz)`,
        `INSERT INTO ${name} SELECT i, 'v', '2026-03-01Z'::timestamptz + i % 3 * interval '1 day' FROM generate_series(1, 6) AS i`,
      );
      await s.load(name);
      await s.sql(
        `INSERT INTO ${name} SELECT i, 'dead', '2026-03-05Z'::timestamptz + i * interval '1 day' FROM generate_series(7, 9) AS i`,
      );
      await kill(s, killAt, "--tables", name);
      await s.sql(`DELETE FROM ${name} WHERE id IN (2, 8)`, `UPDATE ${name} SET v = 'lives' WHERE id = 9`);
      expect(await s.load(name, "--full_refresh", "--yes")).toMatchObject({ way: "everything", inserted: 7 });
      expect(await s.loaded(name)).toEqual(await s.source(name));
      expect((await s.load(name)).reason).toBe("nothing new");
      expect(await s.loaded(name)).toEqual(await s.source(name));
    },
  );
});
