import { mkdirSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { readFiles, storedFiles, writeFiles } from "../../../jobs/keyspaces-diff/files.js";
import { applyDiff, diff } from "../../../lib/glue/diff/index.js";
import { fixSession } from "../../../lib/glue/incremental/index.js";
import * as f from "../../../lib/spark/functions/index.js";
import type { DataFrame, SparkSession } from "../../../lib/spark/index.js";
import { builder, scratch } from "../spark/support.js";

vi.setConfig({ testTimeout: 400_000 });

const folder = scratch();
let spark: SparkSession;
beforeAll(async () => {
  spark = await builder().config("spark.sql.shuffle.partitions", "1").getOrCreate();
  await fixSession(spark);
});
afterAll(async () => {
  folder.remove();
  await spark?.close();
});

const FORMATS = ["parquet", "json", "csv"] as const;
const TEXTS = [
  "",
  " ",
  " a ",
  "\\N",
  "\\",
  "\\x41",
  "NULL",
  "null",
  '"',
  '""',
  "a,b",
  "a\nb",
  "a\r\nb",
  "\r",
  "#",
  "ü😀",
  "'",
  "\t",
  "{}",
];

/** Text of whole rows, the same for the same rows. */
async function contents(rows: DataFrame): Promise<readonly string[]> {
  const columns = (await rows.columns()).toSorted();
  const found = await rows.select(columns.map((name) => `\`${name}\``)).collect();
  return found.map((row) => JSON.stringify(row.toArray().map(inWords))).toSorted();
}

function inWords(value: unknown): unknown {
  if (value instanceof Map) return [...value].map((entry) => JSON.stringify(entry.map(inWords))).toSorted();
  if (value instanceof Uint8Array) return `bytes ${Buffer.from(value).toString("hex")}`;
  if (Array.isArray(value)) return value.map(inWords);
  if (typeof value === "bigint" || (typeof value === "number" && !Number.isFinite(value))) return String(value);
  if (typeof value === "object" && value !== null && value.constructor === Object) {
    return Object.entries(value).map(([name, field]) => [name, inWords(field)]);
  }
  if (typeof value === "object" && value !== null) return String(value);
  return value === 0 ? 0 : value;
}

type Format = (typeof FORMATS)[number];

/** Into files; what they are read by again. */
async function written(rows: DataFrame, format: Format, name: string): Promise<Parameters<typeof readFiles>> {
  const path = folder.path(`${name}-${format}`);
  mkdirSync(path);
  const uri = pathToFileURL(path).href;
  const schema = await rows.schema();
  await writeFiles(rows, schema, uri, format);
  return [spark, [uri], schema, format];
}

/** Through files and back. */
async function throughFiles(rows: DataFrame, format: Format, name: string): Promise<DataFrame> {
  return readFiles(...(await written(rows, format, name)));
}

describe.each(FORMATS)("%s", (format) => {
  test("every value comes back as it was, NULL apart from the empty text", async () => {
    const texts = await spark.createDataFrame(
      TEXTS.map((text, id) => [id, text]),
      "id INT, t STRING",
    );
    const rows = texts.select(
      f.col("id"),
      f.expr("IF(id = 3, NULL, t)").as("t"),
      f.expr("IF(id % 5 = 0, NULL, array(t, NULL, ''))").as("list"),
      f.expr("named_struct('a b', t, 'n', IF(id = 1, NULL, named_struct('d', double('NaN'))))").as("nested"),
      f.expr("map(t, id)").as("by_text"),
      f.expr("map(id, t, 99, NULL)").as("by_number"),
      f.expr("map(timestamp_micros(id), array(unhex('00ff')))").as("by_time"),
      f.expr("CASE id % 4 WHEN 0 THEN double('NaN') WHEN 1 THEN double('-Infinity') WHEN 2 THEN 0.1d END").as("d"),
      f.expr("float(0.1) * id").as("small"),
      f.expr("CAST(id AS DECIMAL(38, 18)) / 3").as("amount"),
      f.expr("9223372036854775807 - id").as("big"),
      f.expr("unhex(hex(t))").as("raw"),
      f.expr("timestamp_micros(1772359200342681 + id)").as("at"),
      f.expr("date_add(DATE'1969-12-31', id)").as("day"),
      f.expr("IF(id % 3 = 0, NULL, id % 2 = 0)").as("flag"),
      f.expr("CAST(NULL AS STRING)").as("nothing"),
      f.col("t").as('odd, "name"'),
    );
    const back = await throughFiles(rows, format, "values");
    expect(await contents(back)).toEqual(await contents(rows));
  });

  test("no rows at all", async () => {
    const rows = spark.range(3).where("id > 5").select(f.col("id"), f.expr("CAST(NULL AS STRING)").as("t"));
    const back = await throughFiles(rows, format, "empty");
    expect(await back.count()).toBe(0);
  });

  const SEED = Date.now() % 1_000_000;
  test(`a diff written and read makes the newer rows out of the older ones, seed ${SEED}`, async () => {
    const random = (salt: number, below: number) =>
      `abs(xxhash64(id, ${SEED}, ${salt}, IF(id % 3 = 0, 0, PART))) % ${below}`;
    const texts = `array(${TEXTS.slice(0, 9)
      .map((text) => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`)
      .join(", ")}, NULL)`;
    const rows = (part: number) =>
      spark.sql(
        `SELECT id % 9 AS k1, concat('\\\\', id) AS left_k2, ${texts}[CAST(${random(1, 10)} AS INT)] AS t,
           CASE ${random(2, 4)} WHEN 0 THEN NULL WHEN 1 THEN double('NaN') WHEN 2 THEN 0.0d ELSE -0.0d END AS d,
           IF(${random(3, 2)} = 0, NULL, map(${random(4, 2)}, array(t, NULL))) AS m,
           timestamp_micros(${random(5, 2)}) AS at
         FROM (SELECT id, ${texts}[CAST(${random(6, 10)} AS INT)] AS t FROM range(0, 60, 1, 1) WHERE ${random(7, 3)} > 0)`.replaceAll(
          "PART",
          String(part),
        ),
      );
    const [old, now] = [await rows(1), await rows(2)];
    const [l, r] = [await written(old, format, "old"), await written(now, format, "now")];
    const stored = format === "csv" ? { l: storedFiles(...l), r: storedFiles(...r) } : undefined;
    const found = await diff(readFiles(...l), readFiles(...r), { keys: ["k1", "left_k2"] }, { stored });
    const changes = await throughFiles(found.rows, format, "diff");
    expect(await contents(changes)).toEqual(await contents((await diff(old, now, { keys: ["k1", "left_k2"] })).rows));
    expect(await changes.count()).toBeGreaterThan(10);
    expect(await contents(applyDiff(old, { ...found, rows: changes }))).toEqual(await contents(now));
  });
});
