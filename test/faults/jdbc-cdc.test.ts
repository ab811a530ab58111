import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
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
        expect({ place, error: rerun.report.toJSON().error }).toEqual({ place, error: undefined });
        const output =
          format === "parquet"
            ? [await s.latest(keyed), await s.loaded(bag)]
            : [await s.merged(keyed), await s.merged(bag)];
        expect({ place, output }).toEqual({ place, output: [await s.source(keyed), await s.source(bag)] });
      }
    },
    240_000,
  );
});
