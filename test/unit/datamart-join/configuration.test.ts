import { describe, expect, test } from "vitest";
import { readConfiguration } from "../../../jobs/datamart-join/configuration.js";
import { hopsToGroup, joinTree, spine } from "../../../jobs/datamart-join/join-tree.js";
import { outputColumns, storedNames } from "../../../jobs/datamart-join/output-columns.js";
import { type StructType, types } from "../../../lib/spark/index.js";

const P = "account_metadata_datamart_public_";
const schema = (...names: readonly string[]): StructType =>
  types.struct(names.map((name) => types.field(name, types.string)));

/** Configuration errors, all of them. */
function problemsOf(json: unknown): readonly string[] {
  try {
    readConfiguration(json, "test.json");
  } catch (error) {
    return (error as { problems: readonly string[] }).problems;
  }
  return [];
}

describe("the configuration", () => {
  test("without a file it is the documented one", () => {
    const { tables, marts, outputPath } = readConfiguration({}, "the defaults");
    expect(outputPath).toBeUndefined();
    expect([...tables.values()].map(({ name, incrementalColumn, key }) => [name, incrementalColumn, key])).toEqual([
      [`${P}queue`, "updated_at", []],
      [`${P}account`, "updated_at", []],
      [`${P}account_metadata`, "updated_at", []],
      [`${P}settlement_transaction`, "created_at", []],
      [`${P}account_risk`, "updated_at", []],
      [`${P}adjustment`, "updated_at", []],
    ]);
    expect(marts.map(({ name, base, joins }) => [name, base, joins.map(({ table }) => table)])).toEqual([
      [
        "joined",
        `${P}account`,
        [`${P}account_metadata`, `${P}account_risk`, `${P}queue`, `${P}settlement_transaction`],
      ],
      ["adjustment", `${P}adjustment`, []],
    ]);
    expect(marts[0]?.joins.every(({ type }) => type === "inner")).toBe(true);
  });

  test("a table more stands alone; with joins of its own there are no tables but those that are named", () => {
    const more = readConfiguration(
      { tables: { [`${P}refund`]: { incremental_column: "changed_at", key: "id" } } },
      "x",
    );
    expect(more.marts.map(({ name }) => name)).toEqual(["joined", "adjustment", "refund"]);
    expect(more.tables.get(`${P}refund`)).toMatchObject({ incrementalColumn: "changed_at", key: ["id"] });
    const own = readConfiguration({ joined: { base: "a", joins: [{ table: "b", on: ["x"] }], group_table: "b" } }, "x");
    expect([...own.tables.keys()]).toEqual(["a", "b"]);
  });

  test("everything that is wrong is said at once", () => {
    expect(problemsOf({ output_path: "out", tabels: {} }).join()).toMatch(/output_path: must be a location.*tabels/);
    const joined = {
      base: "a",
      joins: [
        { table: "b", on: ["x"], to: "c" },
        { table: "b", on: ["x"] },
        { table: "g", on: ["y"], type: "left" },
      ],
      group_table: "g",
    };
    expect(problemsOf({ joined })).toEqual([
      "joined: b is joined more than once",
      "joined.joins.0.to: c doesn't come before b",
      "joined.joins.2: the group table can't be joined left; make it the base, and join the others left",
      "tables.b.short_name: b is used twice",
    ]);
    expect(problemsOf({ tables: { [`${P}adjustment`]: { short_name: "joined" } } })).toEqual([
      "two outputs would be in one folder joined: give a table another short_name",
      "two outputs would be in one folder joined_emptied: give a table another short_name",
    ]);
    // Nothing of such a folder would be published.
    expect(problemsOf({ tables: { _audit: {}, [`${P}adjustment`]: { short_name: "_adjustment" } } })).toEqual([
      `tables.${P}adjustment.short_name: readers don't see a folder like _adjustment; begin it with a letter`,
      "tables._audit.short_name: readers don't see a folder like _audit; begin it with a letter",
    ]);
    expect(problemsOf({ tables: { Refund: {}, refund: {} } })).toEqual(["tables.refund: refund is described twice"]);
  });

  test("tables are the same whatever the case of their names", () => {
    const joined = { base: "Account", joins: [{ table: "QUEUE", on: ["x"], to: "ACCOUNT" }], group_table: "Queue" };
    const { marts, tables } = readConfiguration({ tables: { queue: { key: "id" } }, joined }, "x");
    expect(marts).toMatchObject([{ base: "account", groupTable: "queue", joins: [{ table: "queue", to: "account" }] }]);
    expect(tables.get("queue")?.key).toEqual(["id"]);
    const documented = readConfiguration({ tables: { [`${P}Queue`.toUpperCase()]: { key: "queue_id" } } }, "x");
    expect(documented.marts.map(({ name }) => name)).toEqual(["joined", "adjustment"]);
    expect(documented.tables.get(`${P}queue`)?.key).toEqual(["queue_id"]);
  });
});

describe("the joins", () => {
  const schemas = new Map([
    [`${P}account`, schema("account_id", "name", "updated_at")],
    [`${P}account_metadata`, schema("id", "ACCOUNT_ID", "tier", "updated_at")],
    [`${P}account_risk`, schema("id", "account_id", "score", "updated_at")],
    [`${P}queue`, schema("queue_id", "account_id", "name", "updated_at")],
    [`${P}settlement_transaction`, schema("transaction_id", "queue_id", "created_at")],
  ]);
  const { marts, tables } = readConfiguration({}, "the defaults");
  const mart = marts[0] as (typeof marts)[number];

  test("each goes to the first table that has the columns, whatever their case", () => {
    const tree = joinTree(mart, schemas);
    expect(tree.edges.get(`${P}account_metadata`)).toEqual({
      parent: `${P}account`,
      type: "inner",
      on: [{ left: "account_id", right: "ACCOUNT_ID" }],
    });
    expect(tree.edges.get(`${P}settlement_transaction`)?.parent).toBe(`${P}queue`);
    expect(spine(tree)).toEqual([`${P}settlement_transaction`, `${P}queue`, `${P}account`]);
  });

  test("rows lead to their groups by the shortest way", () => {
    const tree = joinTree(mart, schemas);
    const ways = (table: string) =>
      hopsToGroup(tree, `${P}${table}`).map(({ table: to, on }) => [to.slice(P.length), on]);
    const toTransactions = ["settlement_transaction", [{ left: "queue_id", right: "queue_id" }]];
    expect(ways("account_metadata")).toEqual([
      ["queue", [{ left: "ACCOUNT_ID", right: "account_id" }]],
      toTransactions,
    ]);
    expect(ways("account")).toEqual([["queue", [{ left: "account_id", right: "account_id" }]], toTransactions]);
    expect(ways("queue")).toEqual([toTransactions]);
    expect(ways("settlement_transaction")).toEqual([]);
  });

  test("columns that aren't there are told for all joins", () => {
    const broken = new Map([...schemas, [`${P}queue`, schema("id")]]);
    let problems: readonly string[] = [];
    try {
      joinTree(mart, broken);
    } catch (error) {
      problems = (error as { problems: readonly string[] }).problems;
    }
    expect(problems).toEqual([
      `${P}queue has no column account_id`,
      `${P}settlement_transaction: no table before it has column queue_id`,
    ]);
  });

  test("columns of one name get their table's short name, and keep it in later batches", () => {
    const tree = joinTree(mart, schemas);
    const names = (columns: ReturnType<typeof outputColumns>) => columns.map(({ name }) => name);
    const first = outputColumns(tree, schemas, tables);
    expect(names(first)).toEqual([
      ...["account_id", "account_name", "account_updated_at"],
      ...["account_metadata_id", "tier", "account_metadata_updated_at"],
      ...["account_risk_id", "score", "account_risk_updated_at"],
      ...["queue_id", "queue_name", "queue_updated_at", "transaction_id", "created_at"],
    ]);
    const later = new Map([
      ...schemas,
      [`${P}account_risk`, schema("id", "account_id", "tier", "batch_id", "updated_at")],
    ]);
    expect(names(outputColumns(tree, later, tables, storedNames(first))).slice(3, 9)).toEqual([
      ...["account_metadata_id", "tier", "account_metadata_updated_at"],
      ...["account_risk_id", "account_risk_tier", "account_risk_batch_id"],
    ]);
    const clash = new Map([...schemas, [`${P}queue`, schema("queue_id", "account_id", "account_name", "name")]]);
    expect(() => outputColumns(tree, clash, tables)).toThrow("Two columns of the output would have one name");
  });
});
