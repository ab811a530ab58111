import * as f from "../../spark/functions/index.js";
import { and, type Column, type DataFrame, or, type StructType } from "../../spark/index.js";
import { type DiffNames, type DiffOptions, diffNames, folded } from "./options.js";
import { type ComparedColumn, type ComparedSchemas, compareSchemas } from "./schemas.js";
import { type Side, sideOf } from "./sides.js";
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
  const pairs = failsOnDuplicates ? joinedOnce(left, right, schemas) : joined(left, right, schemas);
  return { rows: resultRows(pairs, schemas, names, options), names, schemas, failsOnDuplicates };
}

const key = (side: Side, index: number) => f.col(`${side}k${index}`);
const value = (side: Side, index: number) => f.col(`${side}v${index}`);

function joined(left: DataFrame, right: DataFrame, schemas: ComparedSchemas): DataFrame {
  const on = schemas.keys.map(({ dataType }, index) =>
    comparable(key("l", index), dataType).eqNullSafe(comparable(key("r", index), dataType)),
  );
  return sideOf(left, "l", schemas).join(sideOf(right, "r", schemas), and(...on), "full_outer");
}

function resultRows(
  pairs: DataFrame,
  { keys, values }: ComparedSchemas,
  names: DiffNames,
  options: DiffOptions,
): DataFrame {
  const ignored = new Set((options.ignore ?? []).map(folded));
  const compared = values.flatMap(({ name, dataType }, index) =>
    ignored.has(folded(name)) ? [] : [{ name, sides: sides(index, dataType) }],
  );
  const [noLeft, noRight] = [f.col("lthere").isNull(), f.col("rthere").isNull()];
  // One comparison of structs: a chain of hundreds of ANDs is slower to plan and to run.
  const struct = (side: 0 | 1) => f.struct(...compared.map((column, index) => column.sides[side].as(`c${index}`)));
  const same = compared.length === 0 ? f.lit(true) : struct(0).eqNullSafe(struct(1));
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
    ...values.flatMap(({ name }, index) => [
      ...(wanted === "right" ? [] : [value("l", index).as(names.left(name))]),
      ...(wanted === "left" ? [] : [value("r", index).as(names.right(name))]),
    ]),
  );
}

type Compared = { readonly name: string; readonly sides: readonly [Column, Column] };

function sides(index: number, dataType: ComparedColumn["dataType"]): readonly [Column, Column] {
  return [comparable(value("l", index), dataType), comparable(value("r", index), dataType)];
}

/** Names of the columns that differ, in the order of the table. */
function changed(compared: readonly Compared[], alone: Column): Column {
  const found = compared.map(({ name, sides: [a, b] }) => f.when(a.eqNullSafe(b).not(), f.lit(name)));
  const list = found.length === 0 ? f.lit([]).cast("array<string>") : f.array_compact(f.array(...found));
  return f.when(alone.not(), list);
}
