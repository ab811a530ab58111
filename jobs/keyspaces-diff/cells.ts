import type { CassandraTable } from "../../lib/keyspaces/index.js";
import * as f from "../../lib/spark/functions/index.js";
import { type Column, type DataFrame, quoteName } from "../../lib/spark/index.js";
import { KEPT, type Kept } from "./arguments.js";
import type { Folder } from "./folders.js";

/** Names of the columns that hold it, of one column of the table. */
export type CellColumns = Readonly<Partial<Record<Kept, string>>>;

/** By names of the table's columns. */
export type Cells = Readonly<Record<string, CellColumns>>;

/**
 * The columns in which an export keeps the seconds that cells have left (`ttl_<column>`, NULL for those that stay) and their age
 * (`writetime_<column>`, microseconds since 1970). Keys have neither; collections that aren't frozen have one for each element,
 * which an import couldn't bring back.
 */
export function cellColumns(table: CassandraTable, keep: readonly string[] | undefined): Cells {
  if (keep === undefined) return {};
  const taken = new Set(table.columns.map(({ name }) => name.toLowerCase()));
  const free = (name: string): string => {
    if (taken.has(name.toLowerCase())) return free(`${name}_`);
    taken.add(name.toLowerCase());
    return name;
  };
  return Object.fromEntries(
    table.columns
      .filter(({ kind, elements }) => (kind === "regular" || kind === "static") && !elements)
      .map(({ name }) => [
        name,
        Object.fromEntries(KEPT.filter((kind) => keep.includes(kind)).map((kind) => [kind, free(`${kind}_${name}`)])),
      ]),
  );
}

/** Rows of a table with those columns. */
export function withCells(rows: DataFrame, cells: Cells): DataFrame {
  const more = Object.entries(cells).flatMap(([column, kept]) =>
    Object.entries(kept).map(([kind, name]) => f.expr(`${kind}(${quoteName(column)})`).as(name)),
  );
  return more.length === 0 ? rows : rows.select(f.col("*"), ...more);
}

/** One write into the table. */
export interface CellWrite {
  /** Keys, values, and what `ttl` and `writetime` name. */
  readonly rows: DataFrame;
  /** Names of the columns that are written beside the key's. */
  readonly values: readonly string[];
  /** Whether these are lists that aren't frozen, which can't be written twice as they are. */
  readonly lists: boolean;
  /** Name of a column with the seconds that the cells have left. */
  readonly ttl?: string;
  /** Name of a column with the microseconds since 1970 of which the cells are. */
  readonly writetime?: string;
}

/** A column's value. */
export interface CellValue {
  readonly column: string;
  readonly value: Column;
  /** Whether there is something in it that keeps the row. */
  readonly holds: Column;
  /** Whether a NULL has something to clear. A cell that never was is better left alone where values may come that are older. */
  readonly clears: Column;
  /** A list that isn't frozen. */
  readonly isList: boolean;
}

/** What the files of a folder keep of cells. */
export interface KeptCells {
  /** Whether they say how old cells are. */
  readonly timed: boolean;
  /** Whether they say how long cells live. */
  readonly expiring: boolean;
  /** Is it one of the columns that {@link cellColumns} has made? */
  isOwn(column: string): boolean;
  /** The columns that hold write times, of columns of the table that `isOf` is true for. */
  writetimes(isOf?: (column: string) => boolean): readonly string[];
  /**
   * The writes that make rows: one, one for lists, and where cells have times of their own one for each such column.
   *
   * @param keys columns of the key, and `values` the others, as the table has them.
   */
  writes(
    rows: DataFrame,
    keys: readonly Column[],
    values: readonly CellValue[],
    names: {
      /** Name in the files of a column of the export. */
      fileColumn(column: string): string;
      /** The one with what it was before, in changes. */
      oldColumn(column: string): string | undefined;
      /** Names of the table's columns. */
      readonly taken: readonly string[];
      /** Whether cells without a TTL need to be told that they stay, as the table has a TTL for them. */
      readonly lasting: boolean;
    },
  ): readonly CellWrite[];
}

/** What the manifest of a folder says. */
export function keptCells({ manifest }: Folder): KeptCells {
  const cells = manifest?.cells ?? {};
  const own = new Set(
    Object.values(cells)
      .flatMap((kept) => Object.values(kept))
      .map((name) => name.toLowerCase()),
  );
  const exportedAt = Date.parse(manifest?.exportedAt ?? "");
  // A row may have been read at the end of its export: one that stays too long goes with the next changes, one that went too early is lost.
  const until = manifest?.kind === "diff" ? manifest.exportedUntil : manifest?.finishedAt;
  const readUntil = until === undefined ? exportedAt : Date.parse(until);
  const has = (kind: Kept) => Object.values(cells).some((kept) => kept[kind] !== undefined);
  const [timed, expiring] = [has("writetime"), has("ttl")];
  return {
    timed,
    expiring,
    isOwn: (column) => own.has(column.toLowerCase()),
    writetimes: (isOf = () => true) =>
      Object.entries(cells).flatMap(([column, { writetime }]) => (isOf(column) ? (writetime ?? []) : [])),
    writes(rows, keys, values, { fileColumn, oldColumn, taken, lasting }) {
      const plain = values.filter(({ column }) => cells[column] === undefined);
      const together = (isList: boolean, ...ttl: readonly Column[]) => {
        const chosen = plain.filter((value) => value.isList === isList);
        const selected = rows.select(...keys, ...chosen.map(named), ...ttl);
        return { rows: selected, values: chosen.map(({ column }) => column), lists: isList };
      };
      const hasLists = plain.some(({ isList }) => isList);
      const [ttl, writetime] = [freeName("glue_ttl", taken), freeName("glue_writetime", taken)];
      // The connector knows no TTL of 0 but as a column.
      const withTtl = expiring || lasting;
      const times = withTtl ? { ttl } : {};
      const allTogether = (...ttls: readonly Column[]) =>
        (hasLists ? [false, true] : [false]).map((isList) => ({ ...together(isList, ...ttls), ...times }));
      if (own.size === 0) return allTogether(...(withTtl ? [f.lit(0).as(ttl)] : []));
      const elapsed = f.greatest(f.unix_seconds(f.current_timestamp()).minus(Math.ceil(readUntil / 1000)), f.lit(0));
      const fileValue = (name: string) => f.col(quoteName(fileColumn(name)));
      const kept = values.flatMap(({ column, value, holds, clears }) => {
        const names = cells[column];
        if (names === undefined) return [];
        const left = names.ttl === undefined ? f.lit(null).cast("int") : fileValue(names.ttl).minus(elapsed);
        const expired = left.leq(0);
        return [
          {
            column,
            left,
            holds,
            clears,
            lives: value.isNotNull().and(f.coalesce(expired.not(), f.lit(true))),
            // One that has expired on the way is none.
            value: f.when(f.coalesce(expired, f.lit(false)).not(), value),
            age: names.writetime === undefined ? undefined : fileValue(names.writetime),
            oldAge: names.writetime === undefined ? undefined : oldColumn(names.writetime),
          },
        ];
      });
      // The row itself lives as long as the longest of its cells: without a TTL it would stay when all of them have gone.
      const stays = [
        ...plain.map(({ holds }) => holds),
        ...kept.map(({ lives, left, holds }) => lives.and(left.isNull()).and(holds)),
        // Nothing but a key: it isn't known for how long.
        f.not(kept.map(({ holds }) => holds).reduce((a, b) => a.or(b), f.lit(false))).and(noneExpired(kept)),
      ].reduce((a, b) => a.or(b));
      const longest = kept
        .map(({ lives, left }) => f.when(lives, left))
        .reduce<Column>((a, b) => f.greatest(a, b, f.lit(1)), f.lit(1));
      const rowTtl = f
        .when(stays, f.lit(0))
        .otherwise(f.coalesce(longest, f.lit(1)))
        .cast("int");
      return [
        ...allTogether(...(withTtl ? [rowTtl.as(ttl)] : [])),
        ...kept.map(({ column, value, left, lives, clears, age, oldAge }) => {
          const cellTtl = f
            .when(lives, f.coalesce(left, f.lit(0)))
            .otherwise(rowTtl)
            .cast("int");
          const cell = [value.as(column), ...(withTtl ? [cellTtl.as(ttl)] : [])];
          const base = { values: [column], lists: false, ...times };
          if (age === undefined) return { ...base, rows: rows.select(...keys, ...cell) };
          // What is cleared takes no more than what was there: a value may come late, that is older than this export.
          const cleared = oldAge === undefined ? [] : [f.greatest(f.col(quoteName(oldAge)), age)];
          const written = f.coalesce(f.when(lives, age), ...cleared, f.lit(BigInt(exportedAt) * 1000n));
          return {
            ...base,
            rows: rows.where(value.isNotNull().or(clears)).select(...keys, ...cell, written.as(writetime)),
            writetime,
          };
        }),
      ];
    },
  };
}

function noneExpired(kept: readonly { readonly left: Column }[]): Column {
  return f.not(kept.map(({ left }) => f.coalesce(left.leq(0), f.lit(false))).reduce((a, b) => a.or(b), f.lit(false)));
}

const named = ({ column, value }: CellValue) => value.as(column);

/** A bare CQL name that no column has. */
export function freeName(name: string, taken: readonly string[]): string {
  return taken.some((column) => column.toLowerCase() === name) ? freeName(`${name}_`, taken) : name;
}
