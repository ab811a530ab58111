import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, test, vi } from "vitest";
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
        const argv = s.argv("--tables", index % 2 === 0 ? bag : keyed, ...args);
        const killed = await children.run({ argv, sparkRemote: s.remote, postgresUrl: s.postgresUrl, killAt: place });
        expect({ place, signal: killed.signal, last: killed.places.at(-1) }, killed.errors).toEqual({
          place,
          signal: "SIGKILL",
          last: place,
        });
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
      const argv = s.argv("--tables", name);
      const killed = await children.run({ argv, sparkRemote: s.remote, postgresUrl: s.postgresUrl, killAt });
      expect({ signal: killed.signal, last: killed.places.at(-1) }, killed.errors).toEqual({
        signal: "SIGKILL",
        last: killAt,
      });
      await s.sql(`DELETE FROM ${name} WHERE id IN (2, 8)`, `UPDATE ${name} SET v = 'lives' WHERE id = 9`);
      expect(await s.load(name, "--full_refresh", "--yes")).toMatchObject({ way: "everything", inserted: 7 });
      expect(await s.loaded(name)).toEqual(await s.source(name));
      expect((await s.load(name)).reason).toBe("nothing new");
      expect(await s.loaded(name)).toEqual(await s.source(name));
    },
  );
});
