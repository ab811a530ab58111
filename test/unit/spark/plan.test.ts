import { create, fromBinary, isMessage, toBinary } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as f from "../../../lib/spark/functions/index.js";
import { RelationSchema } from "../../../lib/spark/generated/spark/connect/relations_pb.js";
import {
  and,
  type Column,
  canonical,
  col,
  type DataFrame,
  Decimal,
  expr,
  lit,
  mapPlan,
  or,
  planToJson,
  redact,
  SparkConnectError,
  type SparkSession,
  Timestamp,
  types,
  Window,
  walk,
} from "../../../lib/spark/index.js";
import { connect, RecordingClock, ScriptedServer } from "./support/scripted-server.js";

let server: ScriptedServer;
let spark: SparkSession;
beforeAll(async () => {
  server = await ScriptedServer.start();
  spark = await connect(server, new RecordingClock());
});
afterAll(async () => {
  await spark.close();
  server.stop();
});

const base = () => spark.table("t");
const T = { common: { planId: "1" }, read: { namedTable: { unparsedIdentifier: "t" } } };
const column = (name: string) => ({ unresolvedAttribute: { unparsedIdentifier: name } });
const integer = (value: number) => ({ literal: { integer: value } });
const text = (value: string) => ({ literal: { string: value } });
const call = (functionName: string, ...args: unknown[]) => ({
  unresolvedFunction: { functionName, ...(args.length === 0 ? {} : { arguments: args }) },
});
const alias = (inner: unknown, name: string) => ({ alias: { expr: inner, name: [name] } });
const ascending = (child: unknown) => ({
  child,
  direction: "SORT_DIRECTION_ASCENDING",
  nullOrdering: "SORT_NULLS_FIRST",
});

describe("relations", () => {
  const cases: readonly (readonly [string, () => DataFrame, object])[] = [
    [
      "select",
      () => base().select("a", col("b").as("c")),
      { project: { input: T, expressions: [column("a"), alias(column("b"), "c")] } },
    ],
    [
      "select *",
      () => base().select("*", "s.*"),
      {
        project: { input: T, expressions: [{ unresolvedStar: {} }, { unresolvedStar: { unparsedTarget: "s.*" } }] },
      },
    ],
    [
      "selectExpr",
      () => base().selectExpr("a + 1"),
      { project: { input: T, expressions: [{ expressionString: { expression: "a + 1" } }] } },
    ],
    [
      "filter",
      () => base().filter(col("a").eqTo("x")),
      { filter: { input: T, condition: call("==", column("a"), text("x")) } },
    ],
    [
      "where",
      () => base().where("a = 1"),
      { filter: { input: T, condition: { expressionString: { expression: "a = 1" } } } },
    ],
    [
      "withColumn",
      () => base().withColumn("b", lit(1)),
      { withColumns: { input: T, aliases: [{ expr: integer(1), name: ["b"] }] } },
    ],
    [
      "withColumnRenamed",
      () => base().withColumnRenamed("a", "b"),
      {
        withColumnsRenamed: { input: T, renameColumnsMap: { a: "b" }, renames: [{ colName: "a", newColName: "b" }] },
      },
    ],
    ["drop names", () => base().drop("a", "b"), { drop: { input: T, columnNames: ["a", "b"] } }],
    ["drop columns", () => base().drop(col("a"), "b"), { drop: { input: T, columns: [column("a"), column("b")] } }],
    ["limit", () => base().limit(3), { limit: { input: T, limit: 3 } }],
    ["offset", () => base().offset(3), { offset: { input: T, offset: 3 } }],
    ["distinct", () => base().distinct(), { deduplicate: { input: T, allColumnsAsKeys: true } }],
    ["dropDuplicates", () => base().dropDuplicates("a"), { deduplicate: { input: T, columnNames: ["a"] } }],
    ["alias", () => base().alias("x"), { subqueryAlias: { input: T, alias: "x" } }],
    ["toDF", () => base().toDF("x", "y"), { toDf: { input: T, columnNames: ["x", "y"] } }],
    ["orderBy", () => base().orderBy("a"), { sort: { input: T, order: [ascending(column("a"))], isGlobal: true } }],
    [
      "orderBy desc",
      () => base().orderBy(col("a").desc()),
      {
        sort: {
          input: T,
          order: [{ child: column("a"), direction: "SORT_DIRECTION_DESCENDING", nullOrdering: "SORT_NULLS_LAST" }],
          isGlobal: true,
        },
      },
    ],
    [
      "sortWithinPartitions",
      () => base().sortWithinPartitions("a"),
      { sort: { input: T, order: [ascending(column("a"))], isGlobal: false } },
    ],
    ["repartition", () => base().repartition(4), { repartition: { input: T, numPartitions: 4, shuffle: true } }],
    [
      "repartition by",
      () => base().repartition(4, "a"),
      { repartitionByExpression: { input: T, partitionExprs: [column("a")], numPartitions: 4 } },
    ],
    ["coalesce", () => base().coalesce(1), { repartition: { input: T, numPartitions: 1, shuffle: false } }],
    ["hint", () => base().hint("broadcast"), { hint: { input: T, name: "broadcast" } }],
    [
      "sample",
      () => base().sample(0.5, { seed: 7 }),
      { sample: { input: T, upperBound: 0.5, withReplacement: false, seed: "7" } },
    ],
    [
      "groupBy",
      () => base().groupBy("a").agg(f.sum("b")),
      {
        aggregate: {
          input: T,
          groupType: "GROUP_TYPE_GROUPBY",
          groupingExpressions: [column("a")],
          aggregateExpressions: [call("sum", column("b"))],
        },
      },
    ],
    [
      "count",
      () => base().groupBy().count(),
      {
        aggregate: {
          input: T,
          groupType: "GROUP_TYPE_GROUPBY",
          aggregateExpressions: [alias(call("count", integer(1)), "count")],
        },
      },
    ],
    [
      "pivot",
      () => base().groupBy("a").pivot("p", ["x"]).max("b"),
      {
        aggregate: {
          input: T,
          groupType: "GROUP_TYPE_PIVOT",
          groupingExpressions: [column("a")],
          aggregateExpressions: [call("max", column("b"))],
          pivot: { col: column("p"), values: [{ string: "x" }] },
        },
      },
    ],
    ["na.fill", () => base().na.fill(0, ["a"]), { fillNa: { input: T, cols: ["a"], values: [{ long: "0" }] } }],
    ["na.drop", () => base().na.drop("all"), { dropNa: { input: T, minNonNulls: 1 } }],
    ["describe", () => base().describe("a"), { describe: { input: T, cols: ["a"] } }],
    [
      "observe",
      () => base().observe("o", f.count("*").as("n")),
      {
        collectMetrics: { input: T, name: "o", metrics: [alias(call("count", integer(1)), "n")] },
      },
    ],
    [
      "unpivot",
      () => base().unpivot(["a"], ["b"], "k", "v"),
      {
        unpivot: {
          input: T,
          ids: [column("a")],
          values: { values: [column("b")] },
          variableColumnName: "k",
          valueColumnName: "v",
        },
      },
    ],
    [
      "to",
      () => base().to(types.struct([types.field("a", types.int)])),
      {
        toSchema: {
          input: T,
          schema: { struct: { fields: [{ name: "a", dataType: { integer: {} }, nullable: true }] } },
        },
      },
    ],
  ];

  it.each(cases)("%s", (_name, make, expected) => {
    expect(planToJson(make().relation)).toEqual({ common: { planId: "2" }, ...expected });
  });

  it("joins", () => {
    const right = { ...T, common: { planId: "2" } };
    expect(planToJson(base().join(base(), ["a", "b"], "left_anti").relation)).toEqual({
      common: { planId: "3" },
      join: { left: T, right, joinType: "JOIN_TYPE_LEFT_ANTI", usingColumns: ["a", "b"] },
    });
    const [l, r] = [base(), base()];
    expect(planToJson(l.join(r, l.col("a").eqTo(r.col("a"))).relation)).toMatchObject({
      join: {
        joinType: "JOIN_TYPE_INNER",
        joinCondition: call(
          "==",
          { unresolvedAttribute: { unparsedIdentifier: "a", planId: "1" } },
          { unresolvedAttribute: { unparsedIdentifier: "a", planId: "2" } },
        ),
      },
    });
  });

  it("reads files and databases", () => {
    const df = spark.read.format("csv").schema("a INT").option("header", true).load("p1", "p2");
    expect(planToJson(df.relation)).toEqual({
      common: { planId: "1" },
      read: { dataSource: { format: "csv", schema: "a INT", options: { header: "true" }, paths: ["p1", "p2"] } },
    });
    const split = { column: "id", lowerBound: 0, upperBound: 10n, numPartitions: 2 };
    expect(planToJson(spark.read.jdbc("jdbc:x:y", "t", { fetchsize: 10 }, split).relation)).toMatchObject({
      read: {
        dataSource: {
          format: "jdbc",
          options: {
            url: "jdbc:x:y",
            dbtable: "t",
            fetchsize: "10",
            partitionColumn: "id",
            lowerBound: "0",
            upperBound: "10",
            numPartitions: "2",
          },
        },
      },
    });
    expect(planToJson(spark.read.jdbc("jdbc:x:y", "t", {}, ["a < 1", "a >= 1"]).relation)).toMatchObject({
      read: { dataSource: { predicates: ["a < 1", "a >= 1"] } },
    });
  });

  it("changes nothing that was made before", () => {
    const df = base();
    const before = JSON.stringify(planToJson(df.relation));
    const bytes = toBinary(RelationSchema, df.relation);
    df.select("a").filter("b").withColumn("c", lit(1)).groupBy("a").count();
    expect(JSON.stringify(planToJson(df.relation))).toBe(before);
    expect(toBinary(RelationSchema, df.relation)).toEqual(bytes);
  });

  it("has an id of its own for each relation", () => {
    const ids = new Set<bigint | undefined>();
    let relations = 0;
    walk(base().select("a").union(base().limit(1)).relation, {
      relation(node) {
        relations += 1;
        ids.add(node.common?.planId);
      },
    });
    expect(relations).toBe(5);
    expect(ids.size).toBe(5);
    expect(ids).not.toContain(undefined);
  });
});

describe("expressions", () => {
  const json = (value: Column) => {
    const plan = planToJson(base().select(value).relation) as { project: { expressions: [unknown] } };
    return plan.project.expressions[0];
  };

  it.each<[string, Column, unknown]>([
    ["notEqual", col("a").notEqual(1), call("not", call("==", column("a"), integer(1)))],
    ["isin", col("a").isin(1, 2), call("in", column("a"), integer(1), integer(2))],
    ["isin list", col("a").isin([1, 2]), call("in", column("a"), integer(1), integer(2))],
    [
      "when",
      f.when(col("a"), 1).when(col("b"), 2).otherwise(3),
      call("when", column("a"), integer(1), column("b"), integer(2), integer(3)),
    ],
    ["cast text", col("a").cast("int"), { cast: { expr: column("a"), typeStr: "int" } }],
    [
      "cast type",
      col("a").cast(types.decimal(5, 2)),
      { cast: { expr: column("a"), type: { decimal: { precision: 5, scale: 2 } } } },
    ],
    ["tryCast", col("a").tryCast("int"), { cast: { expr: column("a"), typeStr: "int", evalMode: "EVAL_MODE_TRY" } }],
    [
      "as with metadata",
      col("a").as("b", { metadata: { comment: "c" } }),
      { alias: { expr: column("a"), name: ["b"], metadata: '{"comment":"c"}' } },
    ],
    ["getField", col("a").getField("x"), { unresolvedExtractValue: { child: column("a"), extraction: text("x") } }],
    ["expr", expr("a + 1"), { expressionString: { expression: "a + 1" } }],
    ["callFunction", f.callFunction("my.f", "a"), { callFunction: { functionName: "my.f", arguments: [column("a")] } }],
    [
      "distinct",
      f.count_distinct("a"),
      { unresolvedFunction: { functionName: "count", arguments: [column("a")], isDistinct: true } },
    ],
    [
      "window",
      f.rank().over(Window.partitionBy("p").orderBy("o").rowsBetween(Window.unboundedPreceding, -1)),
      {
        window: {
          windowFunction: call("rank"),
          partitionSpec: [column("p")],
          orderSpec: [ascending(column("o"))],
          frameSpec: { frameType: "FRAME_TYPE_ROW", lower: { unbounded: true }, upper: { value: integer(-1) } },
        },
      },
    ],
    [
      "lambda",
      f.transform("l", (x, i) => x.plus(i)),
      call("transform", column("l"), {
        lambdaFunction: {
          function: call(
            "+",
            { unresolvedNamedLambdaVariable: { nameParts: ["v1"] } },
            { unresolvedNamedLambdaVariable: { nameParts: ["v2"] } },
          ),
          arguments: [{ nameParts: ["v1"] }, { nameParts: ["v2"] }],
        },
      }),
    ],
    ["trim", f.trim("a", "x"), call("trim", text("x"), column("a"))],
    [
      "options",
      f.to_json("a", { pretty: "true" }),
      call("to_json", column("a"), call("map", text("pretty"), text("true"))),
    ],
    ["lag", f.lag("a"), call("lag", column("a"), integer(1))],
  ])("%s", (_name, value, expected) => {
    expect(json(value)).toEqual(expected);
  });

  it.each<[unknown, object]>([
    [null, { null: { null: {} } }],
    [2147483647, { integer: 2147483647 }],
    [2147483648, { long: "2147483648" }],
    [-2147483649, { long: "-2147483649" }],
    [Number.MAX_SAFE_INTEGER, { long: "9007199254740991" }],
    [2 ** 53, { double: 9007199254740992 }],
    [1.5, { double: 1.5 }],
    [Number.NaN, { double: "NaN" }],
    [1n, { long: "1" }],
    ["", { string: "" }],
    [new Uint8Array([255]), { binary: "/w==" }],
    [new Date(1), { timestamp: "1000" }],
    [new Timestamp(1n), { timestamp: "1" }],
    [new Decimal("-1.50"), { decimal: { value: "-1.50", precision: 3, scale: 2 } }],
    [[1, null], { array: { elementType: { integer: {} }, elements: [{ integer: 1 }, { null: { integer: {} } }] } }],
  ])("lit(%o)", (value, expected) => {
    expect(json(lit(value as Parameters<typeof lit>[0]))).toEqual({ literal: expected });
  });

  it("refuses literals that would be other values on the server", () => {
    expect(() => lit(2n ** 63n)).toThrow(SparkConnectError);
    expect(() => lit(300, types.tinyint)).toThrow("300 is not a tinyint");
    expect(() => lit("2026-02-30", types.date)).toThrow("No such day");
    expect(() => lit([1, "a"])).toThrow("mixes int, string");
    expect(() => lit({} as never)).toThrow("No literal can be made of a Object");
    expect(() => lit(new Date(Number.NaN))).toThrow(SparkConnectError);
    expect(() => col("a").otherwise(1)).toThrow("can only follow when()");
    expect(() => f.when(col("a"), 1).otherwise(2).otherwise(3)).toThrow("after otherwise()");
  });

  it("builds balanced trees that protobuf's limit of 100 levels takes", () => {
    const many = Array.from({ length: 1000 }, (_, i) => col(`c${i}`).eqTo(i));
    for (const condition of [and(...many), or(...many)]) {
      const { relation } = base().filter(condition);
      const back = fromBinary(RelationSchema, toBinary(RelationSchema, relation));
      const names: string[] = [];
      walk(back, {
        expression: ({ exprType }) => {
          if (exprType.case === "unresolvedAttribute") names.push(exprType.value.unparsedIdentifier);
        },
      });
      expect(names).toEqual(many.map((_, i) => `c${i}`));
    }
    expect(json(and())).toEqual({ literal: { boolean: true } });
    expect(json(or())).toEqual({ literal: { boolean: false } });
    expect(json(and(col("a")))).toEqual(column("a"));
  });
});

describe("canonical form and redaction", () => {
  it("makes equal plans equal, and keeps links to DataFrames", () => {
    const make = () => {
      const df = base();
      return df.filter(df.col("a").gt(1)).select(f.transform("l", (x) => x.plus(1)));
    };
    expect(canonical(make().relation)).toEqual(canonical(make().relation));
    const [l, r] = [base(), base()];
    const a = canonical(l.join(r, l.col("x").eqTo(r.col("x"))).relation);
    const b = canonical(l.join(r, l.col("x").eqTo(l.col("x"))).relation);
    expect(a).not.toEqual(b);
  });

  it("is the identity when nothing is changed, down to the bytes", () => {
    const { relation } = base()
      .withColumn("b", f.sha2(col("a"), 256))
      .groupBy("b")
      .agg(f.max_by("x", "y"));
    const copy = mapPlan(relation, (message) => message);
    expect(copy).not.toBe(relation);
    expect(isMessage(create(RelationSchema, copy), RelationSchema)).toBe(true);
    expect(toBinary(RelationSchema, create(RelationSchema, copy))).toEqual(toBinary(RelationSchema, relation));
  });

  it("visits a plan a thousand levels deep", () => {
    let df = base();
    for (let i = 0; i < 1000; i++) df = df.filter("a");
    let seen = 0;
    walk(df.relation, { relation: () => (seen += 1) });
    expect(seen).toBe(1001);
  });

  const secret = "hunter2";
  it.each<[string, () => DataFrame]>([
    ["a JDBC password", () => spark.read.jdbc("jdbc:postgresql://h/db", "t", { user: "etl", password: secret })],
    ["a password in a URL", () => spark.read.jdbc(`jdbc:postgresql://h/db?user=etl&password=${secret}&ssl=true`, "t")],
    ["credentials before a host", () => spark.read.format("x").option("uri", `mongodb://etl:${secret}@h/db`).load()],
    ["keys of a store", () => spark.read.option("fs.s3a.secret.key", secret).parquet("s3a://b/k")],
    ["a session token", () => spark.read.option("fs.s3a.session.token", secret).parquet("s3a://b/k")],
    ["a signed path", () => spark.read.csv(`https://h/f?sv=1&sig=1&token=${secret}`)],
    ["deep in a join", () => base().join(spark.read.option("Password", secret).format("jdbc").load(), "id").limit(1)],
  ])("leaves out %s", (_name, make) => {
    const df = make();
    expect(JSON.stringify(df)).not.toContain(secret);
    expect(JSON.stringify(df)).toContain("*(redacted)");
    expect(
      String((df as unknown as Record<symbol, () => string>)[Symbol.for("nodejs.util.inspect.custom")]?.()),
    ).not.toContain(secret);
    // The plan that is sent still has it.
    expect(Buffer.from(toBinary(RelationSchema, df.relation)).includes(secret)).toBe(true);
  });

  it("leaves out secrets in SQL and its arguments, and nothing else", () => {
    const sql = `CREATE TABLE t USING jdbc OPTIONS (url 'jdbc:x', password '${secret}', "secret" = "it''s")`;
    const plan = create(RelationSchema, {
      relType: {
        case: "sql",
        value: {
          query: sql,
          args: {
            password: { literalType: { case: "string", value: secret } },
            day: { literalType: { case: "string", value: "today" } },
          },
        },
      },
    });
    const shown = JSON.stringify(planToJson(redact(plan)));
    expect(shown).not.toContain(secret);
    expect(shown).toContain("url 'jdbc:x'");
    expect(shown).toContain("today");
    const harmless = create(RelationSchema, {
      relType: { case: "sql", value: { query: "SELECT 'a' AS token_count" } },
    });
    expect(JSON.stringify(planToJson(harmless))).toContain("SELECT 'a' AS token_count");
  });
});
