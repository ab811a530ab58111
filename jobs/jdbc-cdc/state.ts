import { createHash } from "node:crypto";
import type { Writers } from "../../lib/postgres/exported-snapshot.js";
import type { SourceTable, TablePart } from "../../lib/postgres/source-tables.js";
import type { DataType } from "../../lib/spark/index.js";
import { simpleString } from "../../lib/spark/index.js";
import type { BatchState } from "../../lib/storage/index.js";

/** How far a table was delivered. Big numbers are decimal text. */
export type Watermark = {
  /** The greatest `updated_at` of the rows delivered; microseconds since 1970, UTC. */
  readonly to: string;
  /** Just before the last batch's snapshot was taken, by PostgreSQL's clock; microseconds since 1970. Grows with every batch. */
  readonly takenAt: string;
  /** Just after it was taken, see {@link lastTakenBy}. */
  readonly takenBy: string;
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
  /** Stands for the details, see {@link digestOf}: an output that is at another batch than the state has no others. */
  readonly shape: string;
};

/**
 * A snapshot is later than the last batch's when the clock was read for it after this time, microseconds since 1970: a run that pauses
 * between reading the clock and taking its snapshot sees more than the time before it says.
 */
export function lastTakenBy(watermark: Watermark | null): bigint {
  // An earlier release kept only the time before.
  const known: Partial<Watermark> = watermark ?? {};
  return BigInt(known.takenBy ?? known.takenAt ?? 0);
}

/** With `--late_rows clock`: transactions that have begun, but don't show it yet. */
export const UNSHOWN = 1_000_000n;

/** Whether a later run can go by the clock alone from `to` on: no transaction can bring rows up to it any more. */
export function isSettled(writers: Writers, to: bigint): boolean {
  return writers.allSeen && to <= writers.settled - UNSHOWN;
}

/** A column as the last batch had it. */
export interface KnownColumn {
  readonly name: string;
  readonly type: string;
  /** `attnum`. */
  readonly number: number;
  /** Rows that are older than the column have a value in it. */
  readonly filled: boolean;
}

/** What a table is written as. */
export type Format = "parquet" | "iceberg";

/** What else is kept: which table it was, what it was like, and what it was written as. */
export type Details = {
  readonly format: Format;
  /** Where, in the one way of writing it. */
  readonly place: string;
  /** Columns that rows of the output may have, and the source has lost since the last full load; `null`: it isn't known. */
  readonly lost: readonly string[] | null;
  readonly columns: readonly { readonly [name in keyof KnownColumn]: KnownColumn[name] }[];
  readonly key: readonly string[];
  readonly oid: string;
  readonly parts: readonly { readonly [name in keyof TablePart]: TablePart[name] }[];
};

/** The same of a state that an earlier release may have written. */
export type KnownDetails = Omit<Details, "format" | "place" | "lost"> & Partial<Details>;

/** What the last batch has left in the state; `undefined` before the first. */
export function knownDetails(state: BatchState<Watermark> | undefined): KnownDetails | undefined {
  return (state?.details ?? undefined) as KnownDetails | undefined;
}

/** What is kept of a table whose rows are all as they are now. */
export function detailsOf(
  columns: readonly { readonly name: string; readonly type: DataType }[],
  table: SourceTable,
  output: Pick<Details, "format" | "place">,
): Details {
  const found = new Map(table.columns.map((column) => [column.name, column]));
  return {
    format: output.format,
    place: output.place,
    lost: [],
    columns: columns.map(({ name, type }) => {
      const { number = 0, filled = false } = found.get(name) ?? {};
      return { name, type: simpleString(type), number, filled };
    }),
    key: table.primaryKey,
    oid: table.oid,
    parts: table.parts.map(({ oid, file }) => ({ oid, file })),
  };
}

/** The columns that rows of the output may still have after a batch that leaves those of earlier ones there. */
export function lostColumns(before: KnownDetails | undefined, now: Details): Details["lost"] {
  if (before?.lost == null) return null;
  const present = new Set(now.columns.map(({ name }) => name.toLowerCase()));
  const names = new Set([...before.lost, ...before.columns.map(({ name }) => name)]);
  return [...names].filter((name) => !present.has(name.toLowerCase()));
}

/** Changes with whatever an output of another batch can't be brought up to date from. */
export function digestOf({ columns, key, oid, parts }: KnownDetails): string {
  const shape = [
    columns.map(({ name, type, number }) => [name, type, number]),
    key,
    oid,
    parts.map((part) => part.oid),
  ];
  return createHash("sha256").update(JSON.stringify(shape)).digest("hex").slice(0, 32);
}

const WIDER: Readonly<Partial<Record<string, readonly string[]>>> = {
  int: ["bigint"],
  float: ["double"],
  date: ["timestamp_ntz"],
};

/** A change of a table's columns since the last batch, in words. */
export interface SchemaDifference {
  /** `filled`: added with values for the rows that are there. `replaced`: another column has the name. */
  readonly kind: "added" | "filled" | "dropped" | "widened" | "changed" | "renamed" | "replaced";
  readonly text: string;
}

/** What changed between two shapes of a table. Columns are known by their number: a name may change hands. */
export function schemaDifferences(before: KnownDetails, now: Details): readonly SchemaDifference[] {
  const old = new Map(before.columns.map((column) => [column.name, column]));
  const oldNames = new Map(before.columns.map(({ number, name }) => [number, name]));
  const names = new Set(now.columns.map(({ name }) => name));
  const numbers = new Set(now.columns.map(({ number }) => number));
  return [
    ...now.columns.flatMap(({ name, type, number, filled }): SchemaDifference[] => {
      const was = old.get(name);
      if (was !== undefined && was.number !== number) {
        return [{ kind: "replaced", text: `column ${name} (${type}) is another one than before` }];
      }
      const otherName = oldNames.get(number);
      if (was === undefined && otherName !== undefined) {
        return [{ kind: "renamed", text: `column ${otherName} was renamed to ${name}` }];
      }
      if (was === undefined) {
        const values = filled ? " with values for all rows" : "";
        return [{ kind: filled ? "filled" : "added", text: `column ${name} (${type}) was added${values}` }];
      }
      if (was.type === type) return [];
      const kind = isWider(was.type, type) ? "widened" : "changed";
      return [{ kind, text: `column ${name} was ${kind} from ${was.type} to ${type}` }];
    }),
    ...before.columns.flatMap(({ name, type, number }): SchemaDifference[] =>
      names.has(name) || numbers.has(number) ? [] : [{ kind: "dropped", text: `column ${name} (${type}) was dropped` }],
    ),
  ];
}

/** Partitions and children that the last batch didn't know: their rows may be older than it. */
export function newParts(before: KnownDetails, now: Details): readonly string[] {
  const known = new Set(before.parts.map(({ oid }) => oid));
  return now.parts.flatMap(({ oid }) => (known.has(oid) ? [] : [oid]));
}

/** Whether a part of the table was rewritten or emptied: its rows aren't those of before, whatever they hold. */
export function wasRewritten(before: Pick<Details, "parts">, now: Pick<Details, "parts">): boolean {
  const files = new Map(before.parts.map(({ oid, file }) => [oid, file]));
  return now.parts.some(({ oid, file }) => files.has(oid) && files.get(oid) !== file);
}

/**
 * Whether a table was altered while it was read: what PostgreSQL evaluates for a snapshot goes by the present columns, and rows of a table
 * that was rewritten are later than the snapshot. Columns and partitions that were added meanwhile change nothing.
 */
export function wasAltered(read: SourceTable, now: SourceTable | undefined): boolean {
  if (now === undefined || now.oid !== read.oid) return true;
  const columns = new Map(now.columns.map((column) => [column.name, column]));
  const same = read.columns.every(({ name, number, type }) => {
    const column = columns.get(name);
    return column?.number === number && column.type === type;
  });
  return !same || wasRewritten(read, now);
}

function isWider(before: string, now: string): boolean {
  if (WIDER[before]?.includes(now) === true) return true;
  const [from, to] = [before, now].map((type) => /^decimal\((\d+),(\d+)\)$/.exec(type));
  if (from == null || to == null) return false;
  const [p1, s1, p2, s2] = [from[1], from[2], to[1], to[2]].map(Number) as [number, number, number, number];
  return s2 >= s1 && p2 - s2 >= p1 - s1;
}
