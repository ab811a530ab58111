import { ExitCode, UserError } from "../../lib/errors.js";
import type { Table } from "../../lib/postgres/table.js";
import * as f from "../../lib/spark/functions/index.js";
import type { Column, DataFrame, Row } from "../../lib/spark/index.js";
import type { IcebergSchema } from "./iceberg-metadata.js";
import { columnName } from "./source.js";

/** The columns that identify a row, and how we know. */
export interface Key {
  /** Positions in the schema's fields, in key order. */
  readonly positions: readonly number[];
  /** Names of the fields. */
  readonly names: readonly string[];
  /** Iceberg's ids of the fields, which renames don't change. */
  readonly fieldIds: readonly number[];
  readonly from: "configuration" | "Iceberg identifier fields" | "target's primary key" | "first column";
}

/**
 * Decides on the key: the configuration's, else Iceberg's identifier fields, else the target's primary key, else the first
 * column, which the caller must then find to be unique and not NULL.
 *
 * @param target as it is when the rows come.
 * @param schemaChanges what changed in the source since the last load, for the error.
 * @throws UserError `PRIMARY_KEY_UNKNOWN` when the configuration names columns that the source doesn't have.
 */
export function resolveKey(
  schema: IcebergSchema,
  configured: readonly string[],
  target: Table | undefined,
  schemaChanges: readonly string[],
): Key {
  const key = (positions: readonly number[], from: Key["from"]): Key => ({
    positions,
    names: positions.map((position) => schema.fields[position]?.name ?? ""),
    fieldIds: positions.map((position) => schema.fields[position]?.id ?? -1),
    from,
  });
  if (configured.length > 0) {
    const positions = configured.map((name) => positionOf(schema, name));
    const unknown = configured.filter((_name, index) => positions[index] === undefined);
    if (unknown.length > 0) {
      throw new UserError(
        "PRIMARY_KEY_UNKNOWN",
        `The source has no column ${unknown.map((name) => JSON.stringify(name)).join(", ")}`,
        {
          problems: schemaChanges.filter((change) =>
            unknown.some((name) => change.startsWith(`column ${JSON.stringify(name)} `)),
          ),
          hint: `Set target.db_load.primary_key to columns of the table: ${schema.fields.map((field) => field.name).join(", ")}`,
          exitCode: ExitCode.configuration,
        },
      );
    }
    return key(
      positions.filter((position) => position !== undefined),
      "configuration",
    );
  }
  const identifiers = schema.identifierFieldIds.map((id) => schema.fields.findIndex((field) => field.id === id));
  if (identifiers.length > 0 && identifiers.every((position) => position >= 0)) {
    return key(
      identifiers.toSorted((a, b) => a - b),
      "Iceberg identifier fields",
    );
  }
  const primary = (target?.primaryKey ?? []).map((name) => positionOf(schema, name));
  if (primary.length > 0 && primary.every((position) => position !== undefined)) {
    return key(primary, "target's primary key");
  }
  return key([0], "first column");
}

function positionOf(schema: IcebergSchema, name: string): number | undefined {
  const exact = schema.fields.findIndex((field) => field.name === name);
  if (exact >= 0) return exact;
  const alike = schema.fields.flatMap((field, index) =>
    field.name.toLowerCase() === name.toLowerCase() ? [index] : [],
  );
  return alike.length === 1 ? alike[0] : undefined;
}

/** What a key's columns are found to be. */
export interface KeyCounts {
  readonly rows: bigint;
  /** Rows with NULL in a column of the key. */
  readonly nulls: bigint;
  /** Rows whose key another one has, too. */
  readonly shared: bigint;
}

/**
 * Counts the rows of a snapshot, and holds its key to be unique and without NULL; both are needed for every comparison by
 * key to be right.
 *
 * @param rows a snapshot as `f0`, `f1`, ...
 * @returns the number of rows.
 * @throws UserError `PRIMARY_KEY_VIOLATED` (says how many rows have no key or share one, with examples), or `PRIMARY_KEY_UNKNOWN` when the
 *   key was only guessed.
 */
export async function checkKey(rows: DataFrame, key: Key, label: string): Promise<bigint> {
  return await checkUniqueness(rows.select(...keyColumns(key), f.lit(1n).as("copies")), key, label);
}

/** The columns of a key among `f0`, `f1`, ... */
export const keyColumns = (key: Key) => key.positions.map((position) => f.col(columnName(position)));

/**
 * Counts rows that have no key or share one.
 *
 * @param rows the key's columns, and `copies`: for how many equal rows one stands.
 */
async function countKeys(rows: DataFrame, key: Key): Promise<KeyCounts> {
  const [found] = await perKey(rows, key)
    .agg(...keySums(key))
    .collect();
  return keyCounts(found);
}

/** The sums of {@link KeyCounts} over rows of which each is a key, with the number `n` of its rows. */
export function keySums(key: Key): readonly [Column, Column, Column] {
  const isNull = hasNull(key);
  return [
    sumOf(f.col("n")).as("rows"),
    sumOf(f.when(isNull, f.col("n"))).as("nulls"),
    sumOf(f.when(f.not(isNull).and(f.col("n").gt(1)), f.col("n"))).as("shared"),
  ];
}

/** What {@link keySums} have come to. */
export function keyCounts(found: Row | undefined): KeyCounts {
  const of = (name: keyof KeyCounts) => found?.getBigInt(name) ?? 0n;
  return { rows: of("rows"), nulls: of("nulls"), shared: of("shared") };
}

/** The sum of a column, 0 of no rows. */
export const sumOf = (column: Column) => f.coalesce(f.sum(column), f.lit(0n));

const perKey = (rows: DataFrame, key: Key) => rows.groupBy(...keyColumns(key)).agg(f.sum("copies").as("n"));
const hasNull = (key: Key) =>
  keyColumns(key)
    .map((column) => column.isNull())
    .reduce((any, one) => any.or(one));

/**
 * The same as {@link checkKey} for any rows, of which one may stand for several equal ones.
 *
 * @param rows the key's columns, and `copies`.
 * @param what what the rows are, for the message.
 */
export async function checkUniqueness(rows: DataFrame, key: Key, label: string, what = "rows"): Promise<bigint> {
  const { rows: total, nulls, shared } = await countKeys(rows, key);
  if (nulls === 0n && shared === 0n) return total;

  const names = key.names.join(", ");
  const problems: string[] = [];
  if (nulls > 0n) problems.push(`${nulls} of ${total} ${what} have NULL in ${names}`);
  if (shared > 0n) {
    const examples = await perKey(rows, key)
      .where(
        f
          .col("n")
          .gt(1)
          .and(f.not(hasNull(key))),
      )
      .limit(3)
      .collect();
    const shown = examples.map((row) => key.names.map((name, index) => `${name}=${String(row.get(index))}`).join(", "));
    problems.push(`${shared} of ${total} ${what} share their ${names} with another, e.g. ${shown.join("; ")}`);
  }
  if (key.from === "first column") {
    throw new UserError("PRIMARY_KEY_UNKNOWN", `No primary key is known for ${label}, and its first column is none`, {
      problems,
      hint:
        "Set target.db_load.primary_key in the configuration item (several columns: separated by commas), or identifier fields on the " +
        "Iceberg table (ALTER TABLE ... SET IDENTIFIER FIELDS), or a primary key on the target table",
      exitCode: ExitCode.configuration,
    });
  }
  throw new UserError(
    "PRIMARY_KEY_VIOLATED",
    `The key of ${label} (${names}, from the ${key.from}) doesn't identify its rows`,
    {
      problems,
      hint: "Nothing was changed. Mend the rows in the source, or set target.db_load.primary_key to columns that identify them",
    },
  );
}
