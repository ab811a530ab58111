import { UserError } from "../../lib/errors.js";
import { findColumn } from "../../lib/glue/incremental/index.js";
import type { StructType } from "../../lib/spark/index.js";
import type { JoinConfiguration, JoinType, MartConfiguration } from "./configuration.js";

/** Columns that are equal in two tables, spelt as the tables spell them. */
export interface ColumnPair {
  readonly left: string;
  readonly right: string;
}

/** The join of a table to an earlier one. */
export interface Edge {
  readonly parent: string;
  readonly type: JoinType;
  /** Parent's column, table's column. */
  readonly on: readonly ColumnPair[];
}

/** The tables of an output: the base is the root, and each joined table hangs on the one that it is joined to. */
export interface JoinTree {
  /** As they are joined; the base first. */
  readonly tables: readonly string[];
  readonly groupTable: string;
  /** By the joined table. */
  readonly edges: ReadonlyMap<string, Edge>;
}

/** From one table's rows to those of another that belong to them. */
export interface Hop {
  readonly table: string;
  /** Column of the table before, column of this one. */
  readonly on: readonly ColumnPair[];
}

/**
 * Finds the table that each join goes to.
 *
 * @throws UserError `JOIN_COLUMNS_MISSING` with every join whose columns aren't there.
 */
export function joinTree(mart: MartConfiguration, schemas: ReadonlyMap<string, StructType>): JoinTree {
  const problems: string[] = [];
  const edges = new Map<string, Edge>();
  const tables = [mart.base];
  for (const join of mart.joins) {
    const edge = edgeOf(join, tables, schemas, problems);
    if (edge !== undefined) edges.set(join.table, edge);
    tables.push(join.table);
  }
  if (problems.length > 0) {
    throw new UserError("JOIN_COLUMNS_MISSING", "The tables can't be joined as configured", {
      problems,
      hint: "Say in the configuration which columns are equal: on, and where it isn't the first table that has them, to",
    });
  }
  return { tables, groupTable: mart.groupTable, edges };
}

function edgeOf(
  { table, on, type, to }: JoinConfiguration,
  earlier: readonly string[],
  schemas: ReadonlyMap<string, StructType>,
  problems: string[],
): Edge | undefined {
  const find = (owner: string, column: string) => findColumn(schemas.get(owner) ?? NO_COLUMNS, column);
  for (const { right } of on) {
    if (find(table, right) === undefined) problems.push(`${table} has no column ${right}`);
  }
  const parents = to === undefined ? earlier : [to];
  const parent = parents.find((candidate) => on.every(({ left }) => find(candidate, left) !== undefined));
  if (parent === undefined) {
    const names = on.map(({ left }) => left).join(", ");
    problems.push(
      `${table}: ${to ?? "no table before it"} has ${to === undefined ? "" : "no "}column${on.length > 1 ? "s" : ""} ${names}`,
    );
    return undefined;
  }
  const pairs = on.map(({ left, right }) => ({ left: find(parent, left) ?? left, right: find(table, right) ?? right }));
  return { parent, type, on: pairs };
}

/** The tables between the group table and the base, group table first. Joins between them are inner ones in effect. */
export function spine(tree: JoinTree): string[] {
  const path = [tree.groupTable];
  for (let edge = tree.edges.get(tree.groupTable); edge !== undefined; edge = tree.edges.get(edge.parent)) {
    path.push(edge.parent);
  }
  return path;
}

/**
 * How the rows of the group table are found that a table's rows are joined with: along the joins between them, leaving out a
 * table where the columns that lead to it lead on as well (account_metadata to account to queue, all on account_id: straight
 * to queue). Other tables don't matter: what they make of a group is seen when it is joined.
 */
export function hopsToGroup(tree: JoinTree, from: string): Hop[] {
  const path = pathBetween(tree, from, tree.groupTable);
  const hops: Hop[] = [];
  /** Columns of the table on the path by name, as the columns of the table that the walk stands on. */
  let carried: (column: string) => string = (column) => column;
  for (let index = 1; index < path.length; index++) {
    const table = path[index] ?? "";
    const pairs = pairsBetween(tree, path[index - 1] ?? "", table);
    const on = pairs.map(({ left, right }) => ({ left: carried(left), right }));
    const next = path[index + 1];
    const known = new Map(on.map(({ left, right }) => [right, left]));
    if (next !== undefined && pairsBetween(tree, table, next).every(({ left }) => known.has(left))) {
      carried = (column) => known.get(column) ?? column;
      continue;
    }
    hops.push({ table, on });
    carried = (column) => column;
  }
  return hops;
}

/** Equal columns of two tables next to each other, those of `from` on the left. */
function pairsBetween(tree: JoinTree, from: string, to: string): readonly ColumnPair[] {
  const down = tree.edges.get(to);
  if (down?.parent === from) return down.on;
  return (tree.edges.get(from)?.on ?? []).map(({ left, right }) => ({ left: right, right: left }));
}

function pathBetween(tree: JoinTree, from: string, to: string): string[] {
  const upwards = (table: string) => {
    const path = [table];
    for (let edge = tree.edges.get(table); edge !== undefined; edge = tree.edges.get(edge.parent))
      path.push(edge.parent);
    return path;
  };
  const [up, down] = [upwards(from), upwards(to)];
  const meeting = up.findIndex((table) => down.includes(table));
  return [...up.slice(0, meeting + 1), ...down.slice(0, down.indexOf(up[meeting] ?? "")).toReversed()];
}

const NO_COLUMNS: StructType = { kind: "struct", fields: [] };
