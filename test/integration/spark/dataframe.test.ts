import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as f from "../../../lib/spark/functions/index.js";
import {
  AnalysisException,
  and,
  col,
  type DataFrame,
  expr,
  lit,
  Observation,
  type Row,
  type SparkSession,
  types,
  Window,
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

describe("columns and rows", () => {
  it("selects, filters, adds, renames, drops", async () => {
    const df = orders
      .filter(col("region").eqTo("eu").and("amount > 5"))
      .select("id", col("amount").multiply(2).as("double"), expr("upper(customer) AS name"));
    await expect(collect(df)).rejects.toMatchObject({ name: "AnalysisException" });
    const right = orders
      .where("region = 'eu'")
      .withColumns({ twice: col("amount").multiply(2), name: f.upper("customer") })
      .withColumnRenamed("id", "key")
      .drop("tags", "region", "amount", "customer")
      .orderBy(col("key").desc());
    expect(await right.columns()).toEqual(["key", "twice", "name"]);
    expect(await collect(right)).toEqual([
      [3, "10.50", "ANN"],
      [1, "20.00", "ANN"],
    ]);
  });

  it("compares with NULL the way Spark does", async () => {
    const df = orders
      .orderBy("id")
      .select(
        col("customer").eqTo("ann").as("eq"),
        col("customer").eqNullSafe(null).as("safe"),
        col("customer").notEqual("ann").as("ne"),
        col("customer").isNull().as("is"),
        col("customer").isin("ann", "bob").as("in"),
        col("id").between(2, 3).as("between"),
      );
    expect(await collect(df)).toEqual([
      [true, false, false, false, true, false],
      [false, false, true, false, true, true],
      [true, false, false, false, true, true],
      [null, true, null, true, null, false],
    ]);
  });

  it("computes", async () => {
    const one = spark
      .range(7, 8)
      .select(
        col("id").plus(1).as("plus"),
        col("id").minus(1).as("minus"),
        col("id").divide(2).as("divide"),
        col("id").mod(4).as("mod"),
        col("id").negate().as("negate"),
        col("id").bitwiseAND(3n).as("and"),
        col("id").bitwiseOR(8n).as("or"),
        col("id").bitwiseXOR(1n).as("xor"),
        col("id").bitwiseNOT().as("not"),
        f.when(col("id").gt(5), "big").when(col("id").gt(3), "mid").otherwise("small").as("when"),
      );
    expect(await collect(one)).toEqual([[8n, 6n, 3.5, 3n, -7n, 3n, 15n, 6n, -8n, "big"]]);
  });

  it("matches text", async () => {
    const df = spark
      .range(1)
      .select(
        lit("Spark").like("S%k").as("like"),
        lit("Spark").ilike("s%K").as("ilike"),
        lit("Spark").rlike("^S.*k$").as("rlike"),
        lit("Spark").contains("par").as("contains"),
        lit("Spark").startsWith("Sp").as("starts"),
        lit("Spark").endsWith("rk").as("ends"),
        lit("Spark").substr(2, 3).as("substr"),
      );
    expect(await collect(df)).toEqual([[true, true, true, true, true, true, "par"]]);
  });

  it("reaches into nested values", async () => {
    const df = (
      await spark.sql("SELECT NAMED_STRUCT('a', 1, 'b', NAMED_STRUCT('c', 2)) AS s, MAP('k', 5) AS m, ARRAY(7, 8) AS l")
    ).select(
      col("s.b.c"),
      col("s").getField("a").as("a"),
      col("m").getItem("k").as("k"),
      col("l").getItem(1).as("second"),
      col("s").withField("b.c", lit(9)).getField("b").getField("c").as("changed"),
      col("s").dropFields("b").as("dropped"),
    );
    const [row] = await df.collect();
    expect(row?.toArray().slice(0, 5)).toEqual([2, 1, 5, 8, 9]);
    expect(row?.getStruct("dropped")?.toObject()).toEqual({ a: 1 });
  });

  it("casts to types and to DDL", async () => {
    const df = spark
      .range(1)
      .select(
        lit("12").cast("int").as("a"),
        lit("12.345").cast(types.decimal(5, 2)).as("b"),
        lit("x").cast("int").as("c"),
        f.array(col("id")).cast("array<string>").as("d"),
      );
    expect(await collect(df)).toEqual([[12, "12.35", null, ["0"]]]);
    await expect(
      spark
        .range(1)
        .select(col("id").cast(types.array(types.int)))
        .schema(),
    ).rejects.toBeInstanceOf(AnalysisException);
  });

  it("limits, skips, takes and counts", async () => {
    const sorted = spark.range(10).orderBy("id");
    expect(await collect(sorted.offset(2).limit(2))).toEqual([[2n], [3n]]);
    expect(arrays(await sorted.head(2))).toEqual([[0n], [1n]]);
    expect(arrays(await sorted.tail(2))).toEqual([[8n], [9n]]);
    expect((await sorted.first())?.get(0)).toBe(0n);
    expect(await spark.range(0).first()).toBeUndefined();
    expect(await spark.range(5, 15, 3).count()).toBe(4);
  });

  it("removes duplicates and fills NULLs", async () => {
    expect(await orders.select("region").distinct().count()).toBe(2);
    expect(await orders.dropDuplicates("region").count()).toBe(2);
    expect(await orders.na.drop().count()).toBe(2);
    expect(await orders.na.drop("any", ["customer"]).count()).toBe(3);
    expect(await collect(orders.na.fill("?", ["customer"]).filter("id = 4").select("customer"))).toEqual([["?"]]);
    expect(await collect(orders.na.fill({ customer: "x" }).filter("id = 4").select("customer"))).toEqual([["x"]]);
    const replaced = orders.na.replace(["customer"], new Map([["ann", "anna"]])).filter("id = 1");
    expect(await collect(replaced.select("customer"))).toEqual([["anna"]]);
  });

  it("builds a condition over 600 columns that the server can read", async () => {
    const wide = spark.range(1).select(...Array.from({ length: 600 }, (_, i) => col("id").plus(i).as(`c${i}`)));
    const same = and(...Array.from({ length: 600 }, (_, i) => col(`c${i}`).eqTo(BigInt(i))));
    expect(await wide.filter(same).count()).toBe(1);
  });
});

describe("two DataFrames", () => {
  it("joins by names, by conditions, and in every way", async () => {
    const left = await spark.createDataFrame(
      [
        { id: 1, a: "x" },
        { id: 2, a: "y" },
      ],
      "id INT, a STRING",
    );
    const right = await spark.createDataFrame(
      [
        { id: 2, b: "p" },
        { id: 3, b: "q" },
      ],
      "id INT, b STRING",
    );
    const joined = async (how: string) => collect(left.join(right, "id", how).orderBy("id"));
    expect(await joined("inner")).toEqual([[2, "y", "p"]]);
    expect(await joined("left")).toEqual([
      [1, "x", null],
      [2, "y", "p"],
    ]);
    expect(await joined("right_outer")).toEqual([
      [2, "y", "p"],
      [3, null, "q"],
    ]);
    expect(await joined("full")).toEqual([
      [1, "x", null],
      [2, "y", "p"],
      [3, null, "q"],
    ]);
    expect(await joined("left_semi")).toEqual([[2, "y"]]);
    expect(await joined("LEFTANTI")).toEqual([[1, "x"]]);
    expect(await left.crossJoin(right).count()).toBe(4);
    const byCondition = left.join(right, left.col("id").eqTo(right.col("id").minus(1)), "inner");
    expect(await collect(byCondition.orderBy(left.col("id")).select(left.col("id"), right.col("id")))).toEqual([
      [1, 2],
      [2, 3],
    ]);
    expect(() => left.join(right, "id", "sideways")).toThrow('Not a type of join: "sideways"');
  });

  it("tells the sides of a self-join apart", async () => {
    const newer = orders.filter("id > 2");
    const older = orders.filter("id <= 2");
    const pairs = older
      .join(newer, older.col("customer").eqTo(newer.col("customer")))
      .select(older.col("id"), newer.col("id"));
    expect(await collect(pairs)).toEqual([[1, 3]]);
    const aliased = orders
      .alias("a")
      .join(orders.alias("b"), col("a.id").eqTo(col("b.id").plus(3)))
      .select("a.id", "b.id");
    expect(await collect(aliased)).toEqual([[4, 1]]);
  });

  it("does set operations", async () => {
    const a = spark.range(0, 3);
    const b = spark.range(1, 4);
    const ids = async (df: DataFrame) => (await collect(df.orderBy("id"))).flat();
    expect(await ids(a.union(b))).toEqual([0n, 1n, 1n, 2n, 2n, 3n]);
    expect(await ids(a.intersect(b))).toEqual([1n, 2n]);
    expect(await ids(a.except(b))).toEqual([0n]);
    expect(await ids(a.union(a).exceptAll(b))).toEqual([0n, 0n, 1n, 2n]);
    expect(await ids(a.union(a).intersectAll(b.union(b)))).toEqual([1n, 1n, 2n, 2n]);
    const other = await spark.sql("SELECT 'x' AS extra, 9L AS id");
    expect(await collect(a.limit(1).unionByName(other, true))).toEqual([
      [0n, null],
      [9n, "x"],
    ]);
  });
});

describe("aggregates and windows", () => {
  it("groups", async () => {
    const totals = orders
      .groupBy("region")
      .agg(f.sum("amount").as("total"), f.count("*").as("n"), f.count_distinct("customer").as("people"));
    expect(await collect(totals.orderBy("region"))).toEqual([
      ["eu", "15.25", 2n, 1n],
      ["us", "20.50", 2n, 1n],
    ]);
    expect(await collect(orders.groupBy("region").count().orderBy("region"))).toEqual([
      ["eu", 2n],
      ["us", 2n],
    ]);
    expect(await collect(orders.groupBy("region").agg({ amount: "max" }).orderBy("region"))).toEqual([
      ["eu", "10.00"],
      ["us", "20.50"],
    ]);
    expect(await collect(orders.agg(f.min("id"), f.max_by("customer", "id")))).toEqual([[1, null]]);
    expect(await orders.rollup("region", "customer").count().count()).toBe(6);
    expect(await orders.cube("region", "customer").count().count()).toBe(9);
  });

  it("pivots", async () => {
    const pivoted = orders.groupBy("customer").pivot("region", ["eu", "us"]).sum("amount").orderBy("customer");
    expect(await pivoted.columns()).toEqual(["customer", "eu", "us"]);
    expect(await collect(pivoted)).toEqual([
      [null, null, null],
      ["ann", "15.25", null],
      ["bob", null, "20.50"],
    ]);
    expect(await orders.groupBy("customer").pivot("region").count().columns()).toEqual(["customer", "eu", "us"]);
  });

  it("ranks and sums over windows", async () => {
    const newest = Window.partitionBy("region").orderBy(col("id").desc());
    const running = Window.partitionBy("region")
      .orderBy("id")
      .rowsBetween(Window.unboundedPreceding, Window.currentRow);
    const df = orders
      .select(
        "id",
        f.row_number().over(newest).as("rank"),
        f.sum("id").over(running).as("running"),
        f.lag("id").over(Window.partitionBy("region").orderBy("id")).as("before"),
        f.lead("id", 1, -1).over(Window.partitionBy("region").orderBy("id")).as("after"),
        f.count("*").over(Window.orderBy("id").rangeBetween(-1, 1)).as("near"),
      )
      .orderBy("id");
    expect(await collect(df)).toEqual([
      [1, 2, 1n, null, 3, 2n],
      [2, 2, 2n, null, 4, 3n],
      [3, 1, 4n, 1, -1, 3n],
      [4, 1, 6n, 2, -1, 2n],
    ]);
  });

  it("runs lambdas, also inside each other", async () => {
    const df = (
      await spark.sql("SELECT ARRAY(1, 2, 3) AS l, MAP('a', 1, 'b', 2) AS m, ARRAY(ARRAY(1, 2), ARRAY(3)) AS ll")
    ).select(
      f.transform("l", (x) => x.plus(10)).as("plus"),
      f.transform("l", (x, i) => x.multiply(i)).as("index"),
      f.filter("l", (x) => x.gt(1)).as("filter"),
      f.exists("l", (x) => x.eqTo(2)).as("exists"),
      f.forall("l", (x) => x.gt(1)).as("forall"),
      f
        .aggregate(
          "l",
          lit(0),
          (sum, x) => sum.plus(x),
          (sum) => sum.multiply(2),
        )
        .as("sum"),
      f.zip_with("l", "l", (x, y) => x.multiply(y)).as("zip"),
      f.transform("ll", (inner) => f.transform(inner, (x) => x.plus(f.size(inner)))).as("nested"),
      f.map_filter("m", (_k, v) => v.gt(1)).as("mf"),
      f.transform_keys("m", (k, _v) => f.upper(k)).as("tk"),
      f.transform_values("m", (_k, v) => v.plus(1)).as("tv"),
      f.map_zip_with("m", "m", (_k, v1, v2) => v1.plus(v2)).as("mz"),
      f.array_sort("l", (x, y) => y.minus(x)).as("sorted"),
    );
    expect(await collect(df)).toEqual([
      [
        [11, 12, 13],
        [0, 2, 6],
        [2, 3],
        true,
        false,
        12,
        [1, 4, 9],
        [[3, 4], [4]],
        new Map([["b", 2]]),
        new Map([
          ["A", 1],
          ["B", 2],
        ]),
        new Map([
          ["a", 2],
          ["b", 3],
        ]),
        new Map([
          ["a", 2],
          ["b", 4],
        ]),
        [3, 2, 1],
      ],
    ]);
  });

  it("observes while it reads", async () => {
    const seen = new Observation("seen");
    const rows = await orders.observe(seen, f.count("*").as("rows"), f.max("amount").as("most")).collect();
    expect(rows).toHaveLength(4);
    expect(await seen.get()).toEqual({ rows: 4n, most: "20.50" });
  });
});

describe("SQL, views and the catalog", () => {
  it("runs a command once, and its DataFrame does not run it again", async () => {
    const path = files.path("once");
    await spark.sql(`CREATE TABLE once (id INT) USING parquet LOCATION '${path}'`);
    const inserted = await spark.sql("INSERT INTO once VALUES (1)");
    await inserted.collect();
    await inserted.collect();
    expect(await spark.table("once").count()).toBe(1);
    const tables = await spark.sql("SHOW TABLES LIKE 'once'");
    await spark.sql("DROP TABLE once");
    expect((await tables.collect()).map((row) => row.get("tableName"))).toEqual(["once"]);
  });

  it("has temporary views", async () => {
    await orders.createOrReplaceTempView("orders_view");
    await expect(orders.createTempView("orders_view")).rejects.toMatchObject({
      code: "TEMP_TABLE_OR_VIEW_ALREADY_EXISTS",
    });
    expect(await spark.table("orders_view").count()).toBe(4);
    expect((await (await spark.sql("SELECT max(id) FROM orders_view")).first())?.get(0)).toBe(4);
    expect(await spark.catalog.tableExists("orders_view")).toBe(true);
    expect(await spark.catalog.listTables()).toContainEqual(
      expect.objectContaining({ name: "orders_view", isTemporary: true }),
    );
    expect((await spark.catalog.listColumns("orders_view")).map((column) => column.name)).toEqual(
      await orders.columns(),
    );
    expect(await spark.catalog.dropTempView("orders_view")).toBe(true);
    expect(await spark.catalog.dropTempView("orders_view")).toBe(false);
    expect(await spark.catalog.tableExists("orders_view")).toBe(false);
    await orders.createOrReplaceGlobalTempView("orders_global");
    expect(await spark.table("global_temp.orders_global").count()).toBe(4);
    expect(await spark.catalog.dropGlobalTempView("orders_global")).toBe(true);
  });

  it("knows databases and functions", async () => {
    expect(await spark.catalog.currentDatabase()).toBe("default");
    expect(await spark.catalog.databaseExists("default")).toBe(true);
    expect(await spark.catalog.databaseExists("nowhere")).toBe(false);
    expect(await spark.catalog.functionExists("upper")).toBe(true);
    expect((await spark.catalog.listDatabases()).map((database) => database.name)).toContain("default");
    expect(await spark.catalog.currentCatalog()).toBe("spark_catalog");
  });

  it("has settings", async () => {
    await spark.conf.set("spark.sql.shuffle.partitions", 3);
    expect(await spark.conf.get("spark.sql.shuffle.partitions")).toBe("3");
    await spark.conf.unset("spark.sql.shuffle.partitions");
    expect(await spark.conf.getOption("spark.no.such.setting")).toBeUndefined();
    await expect(spark.conf.get("spark.no.such.setting")).rejects.toMatchObject({ condition: "SQL_CONF_NOT_FOUND" });
    expect(await spark.conf.isModifiable("spark.sql.shuffle.partitions")).toBe(true);
    expect(await spark.conf.isModifiable("spark.master")).toBe(false);
    await spark.conf.set({ "app.one": "1", "app.two": true });
    expect(await spark.conf.getAll("app.")).toEqual({ one: "1", two: "true" });
  });

  it("describes plans", async () => {
    expect(await orders.explain()).toContain("== Physical Plan ==");
    expect(await orders.explain("extended")).toContain("== Analyzed Logical Plan ==");
    expect(await spark.range(2).show()).toBe("+---+\n| id|\n+---+\n|  0|\n|  1|\n+---+\n");
    expect(await spark.range(1).printSchema()).toBe("root\n |-- id: long (nullable = false)\n");
    expect(await spark.range(3).sameSemantics(spark.range(3))).toBe(true);
    expect(await spark.range(3).semanticHash()).toBe(await spark.range(3).semanticHash());
    const cached = await spark.range(3).cache();
    expect(await cached.count()).toBe(3);
    await cached.unpersist(true);
  });
});
