import * as f from "../../spark/functions/index.js";
import { and, type DataFrame, quoteName } from "../../spark/index.js";
import type { Diff } from "./diff.js";
import { comparable, widened } from "./values.js";

/**
 * Applies a diff to rows: those of `D` go, those of `I` and `C` come with their new values. `applyDiff(old, diff(old, new))` has the
 * rows of `new`, in the types that hold both.
 *
 * @param rows the old rows, or rows that have been changed since; applying twice changes nothing more.
 * @param changes with new values in it; `rows` may be read from where they were written.
 */
export function applyDiff(rows: DataFrame, { rows: changes, names, schemas }: Diff): DataFrame {
  const { keys, values } = schemas;
  const all = [...keys, ...values];
  const kept = rows
    .select(
      ...all.map((column) => {
        const { name, dataType, left } = column;
        if (left === undefined) return f.lit(null).cast(dataType).as(name);
        return widened(f.col(quoteName(left.name)), left.dataType, dataType).as(name);
      }),
    )
    .as("kept");
  const changedKeys = changes.select(...keys.map(({ name }, i) => f.col(quoteName(name)).as(`k${i}`))).as("changed");
  const on = keys.map(({ name, dataType }, index) =>
    comparable(f.col(`kept.${quoteName(name)}`), dataType).eqNullSafe(comparable(f.col(`changed.k${index}`), dataType)),
  );
  const { insert, change } = names.labels;
  const come = changes
    .where(f.col(quoteName(names.diffColumn)).isin(insert, change))
    .select(
      ...keys.map(({ name }) => f.col(quoteName(name))),
      ...values.map(({ name }) => f.col(quoteName(names.right(name))).as(name)),
    );
  return kept
    .join(changedKeys, and(...on), "left_anti")
    .unionAll(come)
    .select(...all.filter((column) => column.right !== undefined).map(({ name }) => f.col(quoteName(name))));
}
