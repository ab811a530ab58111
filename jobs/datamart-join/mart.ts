import { type Clock, keyJson, rowJson, type SourceFiles } from "../../lib/glue/incremental/index.js";
import * as f from "../../lib/spark/functions/index.js";
import type { Column, DataFrame, StructType } from "../../lib/spark/index.js";
import type { TableConfiguration } from "./configuration.js";
import type { JoinTree } from "./join-tree.js";
import type { OutputColumn } from "./output-columns.js";

/** A source table that is open. */
export interface Source {
  readonly configuration: TableConfiguration;
  readonly schema: StructType;
  /** `undefined`: the table has no incremental column. */
  readonly clock: Clock | undefined;
  /** `undefined`: they can't be looked at. */
  readonly files: SourceFiles | undefined;
  /** All its rows, as a plan. */
  readonly rows: DataFrame;
}

/** What an output is made of. */
export interface Mart {
  readonly name: string;
  readonly tree: JoinTree;
  readonly sources: ReadonlyMap<string, Source>;
  readonly columns: readonly OutputColumn[];
}

export function sourceOf({ sources }: Pick<Mart, "sources">, table: string): Source {
  const source = sources.get(table);
  if (source === undefined) throw new TypeError(`${table} isn't open`);
  return source;
}

/**
 * What a group is known by: its key as JSON, or without one SHA-256 of the row.
 *
 * @param column where the rows have a column of the table under another name.
 */
export function groupId({ configuration, schema }: Source, column?: (name: string) => Column): Column {
  if (configuration.key.length > 0) return keyJson(schema, configuration.key, column);
  return f.sha2(rowJson(schema, undefined, column), 256);
}

/** Columns of the group table whose values all rows of a group share, to find them by. */
export function matchColumns({ tree, sources }: Mart): readonly string[] {
  const source = sources.get(tree.groupTable);
  if (source === undefined) return [];
  if (source.configuration.key.length > 0) return source.configuration.key;
  const joined = [
    ...(tree.edges.get(tree.groupTable)?.on ?? []).map(({ right }) => right),
    ...[...tree.edges.values()]
      .filter(({ parent }) => parent === tree.groupTable)
      .flatMap(({ on }) => on.map(({ left }) => left)),
  ];
  return [...new Set([...joined, ...(source.clock === undefined ? [] : [source.clock.name])])];
}
