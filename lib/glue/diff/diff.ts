import * as f from "../../spark/functions/index.js";
import { and, type Column, type DataFrame, or, type StructType } from "../../spark/index.js";
import { type DiffNames, type DiffOptions, diffNames, folded } from "./options.js";
import { type ComparedColumn, type ComparedSchemas, compareSchemas } from "./schemas.js";
import { nameIn, type Side, type StoredSides, sideOf, staysStored } from "./sides.js";
import { joinedOnce, keysAreSorted } from "./unique.js";
import { comparable } from "./values.js";

/** A diff that Spark has not computed yet. */
export interface Diff {
  /**
   * The diff column, the change column if one was asked for, the keys, then of each other column the old and the new value, as
   * `left_<column>` and `right_<column>`. Columns that one side lacks are NULL there.
   */
  readonly rows: DataFrame;
  readonly names: DiffNames;
  /** How the columns of both sides belong together, and what is not the same in their schemas. */
  readonly schemas: ComparedSchemas;
  /** Whether the query fails when a key isn't unique: what was asked for, unless the key's types stand in the way. */
  readonly failsOnDuplicates: boolean;
}

/** What is known about the sides already, so that it isn't asked. */
export interface DiffSides {
  readonly leftSchema?: StructType;
  readonly rightSchema?: StructType;
  /** How errors call the sides. Default: `left` and `right`. */
  readonly sides?: { readonly left: string; readonly right: string };
  /** The same rows as they are stored: of values that are the same there nothing is decoded. */
  readonly stored?: StoredSides | undefined;
}

/**
 * What turns the rows of `left` into those of `right`, by key: `I` for rows that only `right` has, `D` for those that only `left`
 * has, `C` for those whose values differ, and with `unchanged: "keep"` `N` for the others. A plan of Spark's own operators: a full
 * outer join on null-safe equality, so that a NULL in a key equals NULL. NaN equals NaN, -0.0 equals 0.0, maps are
 * compared without regard to order.
 *
 * Keys must be unique in each side, or rows of equal keys are paired each with each: see `duplicateKeys`.
 *
 * @example
 * const { rows } = await diff(yesterday, today, { keys: ["partition_id", "row_id"] });
 * await rows.write.parquet("s3://backup/changes/");
 * // diff  partition_id  row_id  left_amount  right_amount
 * // C     7             1       10           12
 * @throws UserError `DIFF_SCHEMAS_UNLIKE`, `DIFF_NAMES_COLLIDE`, `DIFF_LABELS_INVALID`.
 */
export async function diff(
  left: DataFrame,
  right: DataFrame,
  options: DiffOptions,
  known: DiffSides = {},
): Promise<Diff> {
  const [leftSchema, rightSchema] = await Promise.all([
    known.leftSchema ?? left.schema(),
    known.rightSchema ?? right.schema(),
  ]);
  const schemas = compareSchemas(leftSchema, rightSchema, options.keys, known.sides);
  const names = diffNames(
    schemas.keys.map(({ name }) => name),
    schemas.values.map(({ name }) => name),
    options,
  );
  const failsOnDuplicates = options.duplicates === "fail" && keysAreSorted(schemas);
  const { stored } = known;
  const [l, r] = [sideOf(left, "l", schemas, stored?.l), sideOf(right, "r", schemas, stored?.r)];
  const pairs = failsOnDuplicates ? joinedOnce(l, r, schemas) : joined(l, r, schemas);
  return { rows: resultRows(pairs, schemas, names, options, stored), names, schemas, failsOnDuplicates };
}

const key = (side: Side, index: number) => f.col(`${side}k${index}`);
const value = (side: Side, index: number) => f.col(`${side}v${index}`);

function joined(left: DataFrame, right: DataFrame, schemas: ComparedSchemas): DataFrame {
  const on = schemas.keys.map(({ dataType }, index) =>
    comparable(key("l", index), dataType).eqNullSafe(comparable(key("r", index), dataType)),
  );
  return left.join(right, and(...on), "full_outer");
}

function resultRows(
  pairs: DataFrame,
  { keys, values }: ComparedSchemas,
  names: DiffNames,
  options: DiffOptions,
  stored: StoredSides | undefined,
): DataFrame {
  const ignored = new Set((options.ignore ?? []).map(folded));
  const decoded = (side: Side, column: ComparedColumn, index: number) =>
    stored !== undefined && staysStored(column)
      ? stored[side].decode(value(side, index), nameIn(column, side))
      : value(side, index);
  const compared = values.flatMap((column, index): readonly Compared[] => {
    const { name, dataType } = column;
    if (ignored.has(folded(name))) return [];
    const of = (side: Side) => comparable(decoded(side, column, index), dataType);
    const sides = [of("l"), of("r")] as const;
    return [{ name, sides, stored: staysStored(column) ? [value("l", index), value("r", index)] : sides }];
  });
  const [noLeft, noRight] = [f.col("lthere").isNull(), f.col("rthere").isNull()];
  const same =
    stored === undefined ? alike(compared, "sides") : or(alike(compared, "stored"), alike(compared, "sides"));
  const { labels } = names;
  const alone = f.when(noLeft, labels.insert).when(noRight, labels.delete);
  const [rows, kind] =
    options.unchanged === "keep"
      ? [pairs, alone.when(same.not(), labels.change).otherwise(labels.unchanged)]
      : [pairs.where(or(noLeft, noRight, same.not())), alone.otherwise(labels.change)];
  const wanted = options.values ?? "both";
  return rows.select(
    kind.as(names.diffColumn),
    ...(names.changeColumn === undefined ? [] : [changed(compared, noLeft.or(noRight)).as(names.changeColumn)]),
    ...keys.map(({ name }, index) => f.when(noRight, key("l", index)).otherwise(key("r", index)).as(name)),
    ...values.flatMap((column, index) => [
      ...(wanted === "right" ? [] : [decoded("l", column, index).as(names.left(column.name))]),
      ...(wanted === "left" ? [] : [decoded("r", column, index).as(names.right(column.name))]),
    ]),
  );
}

/** A column's old and new value in a form that `<=>` compares: decoded, and as they are stored where both sides store them alike. */
type Compared = Readonly<Record<"sides" | "stored", readonly [Column, Column]>> & { readonly name: string };

/** One comparison of structs: a chain of hundreds of ANDs is slower to plan and to run. */
function alike(compared: readonly Compared[], form: "sides" | "stored"): Column {
  if (compared.length === 0) return f.lit(true);
  const struct = (side: 0 | 1) => f.struct(...compared.map((column, index) => column[form][side].as(`c${index}`)));
  return struct(0).eqNullSafe(struct(1));
}

/** Names of the columns that differ, in the order of the table. */
function changed(compared: readonly Compared[], alone: Column): Column {
  const found = compared.map(({ name, sides: [a, b] }) => f.when(a.eqNullSafe(b).not(), f.lit(name)));
  const list = found.length === 0 ? f.lit([]).cast("array<string>") : f.array_compact(f.array(...found));
  return f.when(alone.not(), list);
}
