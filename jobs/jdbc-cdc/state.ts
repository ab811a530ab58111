import type { SourceTable } from "../../lib/postgres/source-tables.js";
import type { DataType } from "../../lib/spark/index.js";
import { simpleString } from "../../lib/spark/index.js";

/** How far a table was delivered. Big numbers are decimal text. */
export type Watermark = {
  /** The greatest `updated_at` of the rows delivered; microseconds since 1970, UTC. */
  readonly to: string;
  /** When the last batch's snapshot was taken, by PostgreSQL's clock; microseconds since 1970. */
  readonly takenAt: string;
  /** Of that snapshot: rows written by this transaction or later ones may have been unseen. */
  readonly xmin: string;
  /** The cluster that numbers are of. */
  readonly system: string | null;
  /** Whether all transactions under way could be seen, and `to` lay before them. */
  readonly settled: boolean;
  /** Whether the last batch was found by the clock alone: late rows elsewhere weren't looked for. */
  readonly byClock: boolean;
  /** From this time on the state knows what was delivered; microseconds since 1970. */
  readonly knownFrom: string;
  /**
   * What the delivered rows kept with the state are, as row versions; `null` where rows have no versions (views), or where they
   * were kept from several snapshots.
   */
  readonly versions: string | null;
};

/** What else is kept. */
export type Details = {
  readonly columns: readonly { readonly name: string; readonly type: string }[];
  readonly key: readonly string[];
};

/** What is kept of a table's shape. */
export function detailsOf(
  columns: readonly { readonly name: string; readonly type: DataType }[],
  table: SourceTable,
): Details {
  return {
    columns: columns.map(({ name, type }) => ({ name, type: simpleString(type) })),
    key: table.primaryKey,
  };
}

const WIDER: Readonly<Partial<Record<string, readonly string[]>>> = {
  int: ["bigint"],
  float: ["double"],
  date: ["timestamp_ntz"],
};

/** A change of a table's columns since the last batch, in words. */
export interface SchemaDifference {
  readonly kind: "added" | "dropped" | "widened" | "changed";
  readonly text: string;
}

/** What changed between two shapes of a table. */
export function schemaDifferences(before: Details, now: Details): readonly SchemaDifference[] {
  const old = new Map(before.columns.map(({ name, type }) => [name, type]));
  const present = new Set(now.columns.map(({ name }) => name));
  return [
    ...now.columns.flatMap(({ name, type }): SchemaDifference[] => {
      const was = old.get(name);
      if (was === undefined) return [{ kind: "added", text: `column ${name} (${type}) was added` }];
      if (was === type) return [];
      const kind = isWider(was, type) ? "widened" : "changed";
      return [{ kind, text: `column ${name} was ${kind} from ${was} to ${type}` }];
    }),
    ...before.columns.flatMap(({ name, type }): SchemaDifference[] =>
      present.has(name) ? [] : [{ kind: "dropped", text: `column ${name} (${type}) was dropped` }],
    ),
  ];
}

function isWider(before: string, now: string): boolean {
  if (WIDER[before]?.includes(now) === true) return true;
  const [from, to] = [before, now].map((type) => /^decimal\((\d+),(\d+)\)$/.exec(type));
  if (from == null || to == null) return false;
  const [p1, s1, p2, s2] = [from[1], from[2], to[1], to[2]].map(Number) as [number, number, number, number];
  return s2 >= s1 && p2 - s2 >= p1 - s1;
}
