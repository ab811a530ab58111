import { ExitCode, UserError } from "../../lib/errors.js";
import { type DataType, type StructType, simpleString } from "../../lib/spark/index.js";
import type { TableConfiguration } from "./configuration.js";
import type { JoinTree } from "./join-tree.js";

/** The group that a row belongs to. */
export const GROUP_ID = "group_id";
/** The batch that a row came with; later batches have greater ids. */
export const BATCH_ID = "batch_id";

/** A column of an output, and where it comes from. */
export interface OutputColumn {
  readonly table: string;
  readonly column: string;
  readonly name: string;
  readonly dataType: DataType;
}

/** Names of output columns by table and column, as the state keeps them. */
export type StoredNames = Readonly<Record<string, string>>;

/**
 * The columns of an output: those of the tables in their order. A column that a table is joined on and that has the same name
 * on both sides comes once, from the first table. Otherwise columns of one name get their table's short name in front.
 *
 * @param before names that earlier batches used: a column keeps its name when another table gets one of that name.
 * @throws UserError `OUTPUT_COLUMNS_COLLIDE`.
 */
export function outputColumns(
  tree: JoinTree,
  schemas: ReadonlyMap<string, StructType>,
  tables: ReadonlyMap<string, TableConfiguration>,
  before: StoredNames = {},
): OutputColumn[] {
  const columns = tree.tables.flatMap((table) => {
    const joined = new Set(
      (tree.edges.get(table)?.on ?? [])
        .filter(({ left, right }) => left.toLowerCase() === right.toLowerCase())
        .map(({ right }) => right),
    );
    return (schemas.get(table)?.fields ?? [])
      .filter(({ name }) => !joined.has(name))
      .map(({ name, dataType }) => ({ table, column: name, dataType }));
  });
  const kept = new Set(columns.map(({ table, column }) => before[storedName(table, column)]?.toLowerCase()));
  const times = new Map<string, number>([GROUP_ID, BATCH_ID].map((name) => [name, 1]));
  for (const { column } of columns) times.set(column.toLowerCase(), (times.get(column.toLowerCase()) ?? 0) + 1);
  const named = columns.map((column): OutputColumn => {
    const old = before[storedName(column.table, column.column)];
    if (old !== undefined) return { ...column, name: old };
    const bare = column.column.toLowerCase();
    const free = (times.get(bare) ?? 0) === 1 && !kept.has(bare);
    const short = tables.get(column.table)?.shortName ?? column.table;
    return { ...column, name: free ? column.column : `${short}_${column.column}` };
  });
  const taken = new Map<string, OutputColumn>();
  const problems: string[] = [];
  for (const column of named) {
    const other = taken.get(column.name.toLowerCase());
    if (other === undefined) taken.set(column.name.toLowerCase(), column);
    else problems.push(`${column.name}: ${other.table}.${other.column} and ${column.table}.${column.column}`);
  }
  if (problems.length > 0) {
    throw new UserError("OUTPUT_COLUMNS_COLLIDE", "Two columns of the output would have one name", {
      problems,
      hint: "Give a table another short_name in the configuration",
      exitCode: ExitCode.configuration,
    });
  }
  return named;
}

/** As the state keeps them. */
export function storedNames(columns: readonly OutputColumn[]): StoredNames {
  return Object.fromEntries(columns.map(({ table, column, name }) => [storedName(table, column), name]));
}

/** The output's schema, as text for a reader. */
export function outputSchema(columns: readonly OutputColumn[]): [name: string, type: string][] {
  return [
    ...columns.map(({ name, dataType }): [string, string] => [name, simpleString(dataType)]),
    [GROUP_ID, "string"],
    [BATCH_ID, "string"],
  ];
}

function storedName(table: string, column: string): string {
  return `${table}.${column.toLowerCase()}`;
}
