import { readdirSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as f from "../../../lib/spark/functions/index.js";
import {
  col,
  type DataFrame,
  Decimal,
  lit,
  ParseException,
  type Row,
  type SparkSession,
} from "../../../lib/spark/index.js";
import { builder, scratch } from "./support.js";

let spark: SparkSession;
let orders: DataFrame;
const files = scratch();

beforeAll(async () => {
  spark = await builder().getOrCreate();
  orders = await spark.createDataFrame(
    [
      { id: 1, customer: "ann", region: "eu", amount: "10.00", tags: ["a", "b"] },
      { id: 2, customer: "bob", region: "us", amount: "20.50", tags: [] },
      { id: 3, customer: "ann", region: "eu", amount: "5.25", tags: null },
      { id: 4, customer: null, region: "us", amount: null, tags: ["b"] },
    ],
    "id INT, customer STRING, region STRING, amount DECIMAL(10,2), tags ARRAY<STRING>",
  );
});

afterAll(async () => {
  await spark.close();
  files.remove();
});

const arrays = (rows: readonly Row[]) => rows.map((row) => row.toArray());
const collect = async (df: DataFrame) => arrays(await df.collect());

describe("files", () => {
  it("writes and reads partitioned Parquet", async () => {
    const path = files.path("orders");
    await orders.drop("tags").write.partitionBy("region").parquet(path);
    expect(readdirSync(path).filter((name) => name.startsWith("region="))).toEqual(["region=eu", "region=us"]);
    expect(await collect(spark.read.parquet(path).filter("region = 'eu'").orderBy("id"))).toEqual([
      [1, "ann", "10.00", "eu"],
      [3, "ann", "5.25", "eu"],
    ]);
    await expect(orders.write.parquet(path)).rejects.toMatchObject({ code: "PATH_ALREADY_EXISTS" });
    await orders.limit(0).write.mode("ignore").parquet(path);
    expect(await spark.read.parquet(path).count()).toBe(4);
    await orders.drop("tags").filter("id = 1").write.mode("append").partitionBy("region").parquet(path);
    expect(await spark.read.parquet(path).count()).toBe(5);
    await orders.drop("tags").filter("id = 1").write.mode("overwrite").parquet(path);
    expect(await spark.read.parquet(path).count()).toBe(1);
    expect((await spark.read.parquet(path).inputFiles()).length).toBe(1);
  });

  it("writes and reads CSV and JSON with options and a schema", async () => {
    const flat = orders.drop("tags");
    await flat.write.option("header", true).csv(files.path("csv"));
    const schema = await flat.schema();
    const csv = spark.read.option("header", true).schema(schema).csv(files.path("csv")).orderBy("id");
    expect(await collect(csv)).toEqual(await collect(flat.orderBy("id")));
    await flat.coalesce(1).write.json(files.path("json"));
    const json = spark.read.schema("id INT, amount DECIMAL(10,2)").json(files.path("json")).orderBy("id");
    expect(await collect(json)).toEqual([
      [1, "10.00"],
      [2, "20.50"],
      [3, "5.25"],
      [4, null],
    ]);
    await spark.range(2).select(col("id").cast("string")).write.text(files.path("text"));
    expect(await spark.read.text(files.path("text")).count()).toBe(2);
  });

  it("saves tables and inserts into them", async () => {
    const path = files.path("saved");
    await spark.range(2).write.option("path", path).saveAsTable("saved_ids");
    await spark.range(5, 6).write.insertInto("saved_ids");
    expect(await collect(spark.table("saved_ids").orderBy("id"))).toEqual([[0n], [1n], [5n]]);
    await spark.sql("DROP TABLE saved_ids");
  });

  it("spreads rows over partitions", async () => {
    const parts = async (df: DataFrame) =>
      (await df.select(f.spark_partition_id().as("p")).distinct().collect()).length;
    expect(await parts(spark.range(100).repartition(3))).toBe(3);
    expect(await parts(spark.range(100).repartition(3).coalesce(1))).toBe(1);
    expect(await parts(spark.range(100).repartition(5, col("id").mod(2)))).toBeLessThanOrEqual(2);
    expect(await parts(spark.range(100).repartitionByRange(4, "id"))).toBe(4);
  });
});

describe("streams, stops and errors", () => {
  it("streams a million rows, and stops in the middle", async () => {
    let sum = 0n;
    for await (const row of spark.range(0, 1_000_000, 1, 4)) sum += row.getBigInt(0) ?? 0n;
    expect(sum).toBe(499_999_500_000n);
    let seen = 0;
    for await (const _ of spark.range(0, 1_000_000, 1, 4)) if (++seen === 1500) break;
    expect(seen).toBe(1500);
    expect(await spark.range(3).count()).toBe(3);
  });

  it("holds few rows in memory while it streams", async () => {
    const wide = spark.range(0, 400_000, 1, 8).select(col("id"), f.repeat(lit("x"), 200).as("text"));
    let most = 0;
    let rows = 0;
    for await (const batch of wide.batches()) {
      rows += batch.length;
      most = Math.max(most, batch.length);
    }
    expect(rows).toBe(400_000);
    expect(most).toBeLessThan(100_000);
  });

  it("interrupts what it started when the signal fires", async () => {
    const controller = new AbortController();
    const tag = `slow-${process.pid}`;
    spark.addTag(tag);
    const slow = await spark.sql("SELECT java_method('java.lang.Thread', 'sleep', 60000L) AS x FROM range(1)");
    const endless = slow.collect({ signal: controller.signal });
    setTimeout(() => controller.abort(), 1_000);
    const begun = Date.now();
    await expect(endless).rejects.toMatchObject({ name: "AbortError", code: "OPERATION_CANCELED" });
    expect(Date.now() - begun).toBeLessThan(20_000);
    spark.removeTag(tag);
    await pause(500);
    expect(await spark.interruptTag(tag)).toEqual([]);
    expect(await spark.range(2).count()).toBe(2);
  });

  it("interrupts another session of the same user, and takes an unknown one calmly", async () => {
    await using other = await builder().getOrCreate();
    const query = spark.range(0, 2_000_000_000_000, 1, 2).agg(f.sum(col("id").mod(7)));
    const running = expect(query.collect()).rejects.toMatchObject({ code: "OPERATION_CANCELED" });
    await expect
      .poll(() => other.interruptSession(spark.sessionId), { timeout: 20_000, interval: 300 })
      .toHaveLength(1);
    await running;
    expect(await other.interruptSession("00112233-4455-6677-8899-aabbccddeeff")).toEqual([]);
  });

  it("types its errors", async () => {
    await expect(spark.table("no_such_table").collect()).rejects.toMatchObject({
      name: "AnalysisException",
      condition: "TABLE_OR_VIEW_NOT_FOUND",
    });
    await expect(spark.sql("SELEC 1")).rejects.toBeInstanceOf(ParseException);
    await expect(orders.select("nope").schema()).rejects.toMatchObject({
      condition: "UNRESOLVED_COLUMN.WITH_SUGGESTION",
    });
    await spark.conf.set("spark.sql.ansi.enabled", true);
    const failing = spark.range(1).select(lit("x").cast("int"), lit(new Decimal("1.0")));
    const error = await failing.collect().catch((caught: unknown) => caught);
    await spark.conf.unset("spark.sql.ansi.enabled");
    expect(error).toMatchObject({ condition: "CAST_INVALID_INPUT", sqlState: undefined });
    expect(String((error as Error).message)).not.toMatch(/\n\s+at /);
  });
});
