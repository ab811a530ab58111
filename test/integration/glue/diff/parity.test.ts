import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { type Diff, diff } from "../../../../lib/glue/diff/index.js";
import * as f from "../../../../lib/spark/functions/index.js";
import type { DataFrame, SparkSession } from "../../../../lib/spark/index.js";
import { pySparkRemote } from "../../../support/pyspark.js";
import { pythonEnvironment } from "../../../support/python.js";
import { builder, scratch } from "../../spark/support.js";

const file = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const folder = scratch();
let spark: SparkSession;
let python: string;

beforeAll(async () => {
  spark = await builder().config("spark.sql.shuffle.partitions", "1").getOrCreate();
  python = await pythonEnvironment("pyspark");
}, 600_000);
afterAll(async () => {
  folder.remove();
  await spark?.close();
});

interface Comparison {
  readonly left: string;
  readonly right: string;
  readonly out: string;
  readonly keys: readonly string[];
  readonly ignore: readonly string[];
  readonly change: string | null;
}

/** spark-extension's diff, from PyPI, over the same server. */
async function extensionDiff(comparisons: readonly Comparison[]): Promise<void> {
  await promisify(execFile)(python, [file("../../../support/extension_diff.py"), JSON.stringify(comparisons)], {
    env: { ...process.env, SPARK_REMOTE: pySparkRemote(inject("sparkRemote")) },
  });
}

/** Random rows of many types: NULLs, NaN, both zeros, nested values; keys are unique and partly NULL. */
function randomRows(seed: number, part: number): Promise<DataFrame> {
  // A third of the rows has the same values in both parts.
  const random = (salt: number, below: number) =>
    `abs(xxhash64(id, ${seed}, ${salt}, IF(id % 3 = 0, 0, ${part}))) % ${below}`;
  const double = (salt: number) =>
    `CASE ${random(salt, 5)} WHEN 0 THEN NULL WHEN 1 THEN double('NaN') WHEN 2 THEN -0.0d WHEN 3 THEN 0.0d ELSE 1.5d END`;
  return spark.sql(`SELECT * FROM (SELECT
    CASE WHEN id % 7 = 0 THEN NULL ELSE id END AS k1,
    CASE WHEN id % 7 = 0 THEN double(id) WHEN id % 5 = 0 THEN double('NaN') ELSE ${part === 1 ? "0.0d" : "-0.0d"} END AS k2,
    ${double(1)} AS d, CAST(${double(2)} AS FLOAT) AS left_d,
    CASE ${random(3, 3)} WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'ü' END AS s,
    CASE WHEN ${random(4, 3)} > 0 THEN array(${double(5)}, NULL) END AS list,
    CASE WHEN ${random(6, 3)} > 0 THEN named_struct('a', ${double(7)}, 'b', array(named_struct('c', ${random(8, 2)}))) END AS nested,
    CAST(${random(9, 3)} AS DECIMAL(30, 9)) AS amount,
    CAST(CAST(${random(10, 2)} AS STRING) AS BINARY) AS raw,
    timestamp_micros(${random(11, 2)}) AS at, date_add(DATE'2024-02-28', CAST(${random(12, 2)} AS INT)) AS day,
    ${random(13, 2)} = 0 AS flag, ${random(14, 99)} AS seen
    FROM range(0, 120, 1, 1) WHERE ${random(15, 4)} > 0)`);
}

const SEED = Date.now() % 1_000_000;

test(`the same rows as spark-extension, with one key and with several, seed ${SEED}`, {
  timeout: 400_000,
}, async () => {
  const comparison = (name: string, keys: readonly string[], ignore: readonly string[], change: string | null) => {
    const [left, right, out] = ["left", "right", "out"].map((side) => folder.path(`${name}-${side}`));
    return { left, right, out, keys, ignore, change } as Comparison;
  };
  const comparisons = [comparison("several", ["k1", "k2"], ["seen"], "changes"), comparison("one", ["K1"], [], null)];
  for (const { keys, left, right } of comparisons) {
    const rows = async (part: number) => {
      const all = await randomRows(SEED + keys.length, part);
      return keys.length > 1 ? all : all.where("k1 IS NOT NULL OR k2 = 0");
    };
    await Promise.all([(await rows(1)).write.parquet(left), (await rows(2)).write.parquet(right)]);
  }
  await extensionDiff(comparisons);
  for (const comparison of comparisons) await compare(comparison);
});

async function compare({ left, right, out, keys, ignore, change }: Comparison): Promise<void> {
  const theirs = spark.read.parquet(out);
  const [ours, failing] = (await Promise.all(
    (["pair", "fail"] as const).map((duplicates) =>
      diff(spark.read.parquet(left), spark.read.parquet(right), {
        keys,
        ignore,
        duplicates,
        unchanged: "keep",
        ...(change === null ? {} : { changeColumn: change }),
      }),
    ),
  )) as [Diff, Diff];
  // A double isn't compared by its bits.
  expect(failing.failsOnDuplicates).toBe(keys.length === 1);
  const columns = await theirs.columns();
  expect((await ours.rows.columns()).map((name) => name.toLowerCase())).toEqual(columns.map((n) => n.toLowerCase()));
  const kinds = Object.fromEntries(
    (await theirs.groupBy("diff").count().collect()).map((row) => [row.get("diff"), row.get("count")]),
  );
  for (const kind of ["I", "C", "D", "N"]) expect(kinds[kind], kind).toBeGreaterThan(0n);
  const texts = async (diffed: DataFrame) =>
    (await diffed.select(f.to_json(f.struct(...columns), { ignoreNullFields: "false" }).as("row")).collect())
      .map((row) => row.getString(0))
      // Of a key -0.0 and 0.0 either may be shown: they are the same.
      .map((text) => text?.replace(/"k2":-0.0/i, '"k2":0.0'))
      .toSorted();
  const expected = await texts(theirs);
  expect(await texts(ours.rows)).toEqual(expected);
  expect(await texts(failing.rows)).toEqual(expected);
}
