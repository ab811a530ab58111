import * as f from "../../lib/spark/functions/index.js";
import {
  and,
  type Column,
  type DataFrame,
  quoteName,
  type SparkSession,
  type StructType,
  types,
} from "../../lib/spark/index.js";
import { type Hop, hopsToGroup, type JoinTree, spine } from "./join-tree.js";
import { groupsOf, leadsOf } from "./known.js";
import { groupId, type Mart, matchColumns, sourceOf } from "./mart.js";
import { BATCH_ID, GROUP_ID } from "./output-columns.js";

/**
 * The groups that changed rows take part in, or took part in before they changed: `group_id`, and the values `m0...` by which
 * the group's rows are found in the group table.
 *
 * @param tables that have changed rows.
 * @param changes the changed rows, and `before` what is known of earlier ones, see `known.ts`.
 */
export function touchedGroups(
  mart: Mart,
  tables: readonly string[],
  changes: DataFrame,
  before: DataFrame | undefined,
): DataFrame {
  const { groupTable } = mart.tree;
  const parts = tables.map((table) => {
    const [first, ...hops] = hopsToGroup(mart.tree, table);
    if (first === undefined) return groupsOf(mart, changes);
    let standing = first.table;
    let frontier = reached(mart, first, leadsOf(mart, table, changes, before));
    for (const hop of hops) {
      const values = frontier.select(
        ...hop.on.map(({ left }, index) => internal(mart, standing, left).as(`f${index}`)),
      );
      frontier = reached(mart, hop, values);
      standing = hop.table;
    }
    return frontier.select(
      groupOf(mart).as(GROUP_ID),
      ...matchColumns(mart).map((name, index) => internal(mart, groupTable, name).as(`m${index}`)),
    );
  });
  const [first, ...rest] = parts;
  if (first === undefined) throw new TypeError("touchedGroups needs changed rows of a table");
  return rest.reduce((all, one) => all.union(one), first).distinct();
}

/** The schema of {@link touchedGroups}. */
export function touchedSchema(mart: Mart): StructType {
  const { schema } = sourceOf(mart, mart.tree.groupTable);
  const typeOf = (name: string) => schema.fields.find((one) => one.name === name)?.dataType ?? types.string;
  const match = matchColumns(mart).map((name, index) => types.field(`m${index}`, typeOf(name)));
  return types.struct([types.field(GROUP_ID, types.string), ...match]);
}

/** Whether the groups of changed rows stand in those rows, and nothing else has to be read for them. */
export function groupsAreKnown(mart: Mart, tables: readonly string[]): boolean {
  return tables.every((table) => hopsToGroup(mart.tree, table).length === 0);
}

/** The rows of a table that values `f0...` lead to. Values may repeat: what is only looked up in them needn't be sent around to be made distinct. */
function reached(mart: Mart, { table, on }: Hop, values: DataFrame): DataFrame {
  const condition = and(...on.map(({ right }, index) => internal(mart, table, right).eqTo(f.col(`f${index}`))));
  return internalRows(mart, table).join(values, condition, "left_semi");
}

/**
 * The joined rows of some groups, or of all, with their group and the batch.
 *
 * @param touched as {@link touchedGroups} gives them; `undefined`: all groups.
 */
export function joinedRows(mart: Mart, touched: DataFrame | undefined, batchId: string): DataFrame {
  const { tree } = mart;
  const inner = spine(tree);
  // From the groups outwards when there are few of them; else as configured, which moves the big table's rows only once.
  const order =
    touched === undefined ? tree.tables : [...inner, ...tree.tables.filter((table) => !inner.includes(table))];
  const [start = "", ...rest] = order;
  const rowsOf = (table: string) => {
    if (table !== tree.groupTable) return internalRows(mart, table);
    const rows = touched === undefined ? internalRows(mart, table) : groupRows(mart, touched);
    // Here, and not of the joined rows: Spark compiles no selection that makes JSON, however many columns it has besides.
    return rows.select("*", groupOf(mart).as(GROUP_ID));
  };
  const present = new Set([start]);
  let joined = rowsOf(start);
  for (const table of rest) {
    const { child, parent, on, type } = edgeTo(tree, table, present);
    const condition = and(
      ...on.map(({ left, right }) => internal(mart, parent, left).eqTo(internal(mart, child, right))),
    );
    joined = joined.join(rowsOf(table), condition, inner.includes(table) ? "inner" : type);
    present.add(table);
  }
  return joined.select(
    ...mart.columns.map(({ table, column: name, name: output }) => internal(mart, table, name).as(output)),
    f.col(GROUP_ID),
    f.lit(batchId).as(BATCH_ID),
  );
}

/** The join between a table and those that are joined already: its own, or on the way from the groups to the base a child's. */
function edgeTo(tree: JoinTree, table: string, present: ReadonlySet<string>) {
  const own = tree.edges.get(table);
  if (own !== undefined && present.has(own.parent)) return { ...own, child: table };
  for (const [child, edge] of tree.edges) if (edge.parent === table && present.has(child)) return { ...edge, child };
  throw new TypeError(`${table} isn't joined to any of the tables before it`);
}

/** The group table's rows of some groups. */
function groupRows(mart: Mart, touched: DataFrame): DataFrame {
  const { groupTable } = mart.tree;
  const match = matchColumns(mart);
  const rows = internalRows(mart, groupTable).join(
    touched.select(...match.map((_name, index) => f.col(`m${index}`))),
    and(...match.map((name, index) => internal(mart, groupTable, name).eqNullSafe(f.col(`m${index}`)))),
    "left_semi",
  );
  if (sourceOf(mart, groupTable).configuration.key.length > 0) return rows;
  const wanted = touched.select(f.col(GROUP_ID).as("wanted"));
  return rows.join(wanted, groupOf(mart).eqTo(f.col("wanted")), "left_semi");
}

/** A table's rows with column names that no two tables share. */
function internalRows(mart: Mart, table: string): DataFrame {
  const { rows, schema } = sourceOf(mart, table);
  return rows.select(...schema.fields.map(({ name }) => column(name).as(internalName(mart, table, name))));
}

/** The group of rows of the group table. To be asked for once the rows that are wanted were found, which takes Spark less time. */
function groupOf(mart: Mart): Column {
  const { groupTable } = mart.tree;
  return groupId(sourceOf(mart, groupTable), (name) => internal(mart, groupTable, name));
}

/** Touched groups that have no rows now; with a key its columns say which they are. */
export function emptiedGroups(mart: Mart, touched: DataFrame, written: DataFrame, batchId: string): DataFrame {
  const present = written.select(f.col(GROUP_ID).as("present")).distinct();
  return touched
    .join(present, f.col(GROUP_ID).eqTo(f.col("present")), "left_anti")
    .select(f.col(GROUP_ID), ...keyOutput(mart).map(({ name, index }) => f.col(`m${index}`).as(name)))
    .distinct()
    .withColumn(BATCH_ID, f.lit(batchId))
    .coalesce(1);
}

/** No groups, in the form of {@link emptiedGroups}. */
export function noGroups(mart: Mart, spark: SparkSession): DataFrame {
  return spark
    .range(0)
    .select(
      f.lit("").as(GROUP_ID),
      ...keyOutput(mart).map(({ name, dataType }) => f.lit(null).cast(dataType).as(name)),
      f.lit("").as(BATCH_ID),
    )
    .coalesce(1);
}

function keyOutput(mart: Mart) {
  const { groupTable } = mart.tree;
  return sourceOf(mart, groupTable).configuration.key.flatMap((name, index) => {
    const field = sourceOf(mart, groupTable).schema.fields.find((one) => one.name === name);
    return field === undefined ? [] : [{ index, dataType: field.dataType, name: outputOf(mart, groupTable, name) }];
  });
}

/** The output's name of a column; one that a table is joined on may come from the table that it is joined to. */
function outputOf(mart: Mart, table: string, name: string): string {
  const own = mart.columns.find((one) => one.table === table && one.column === name);
  if (own !== undefined) return own.name;
  const edge = mart.tree.edges.get(table);
  const pair = edge?.on.find(({ right }) => right === name);
  return edge === undefined || pair === undefined ? name : outputOf(mart, edge.parent, pair.left);
}

function internal(mart: Mart, table: string, name: string): Column {
  return f.col(internalName(mart, table, name));
}

function internalName(mart: Mart, table: string, name: string): string {
  const position = sourceOf(mart, table).schema.fields.findIndex((field) => field.name === name);
  return `t${mart.tree.tables.indexOf(table)}_${position}`;
}

function column(name: string): Column {
  return f.col(quoteName(name));
}
