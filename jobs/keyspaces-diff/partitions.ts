import type { Diff } from "../../lib/glue/diff/index.js";
import * as f from "../../lib/spark/functions/index.js";
import { type DataFrame, or, quoteName } from "../../lib/spark/index.js";
import type { Cells } from "./cells.js";
import { holdsValue } from "./conversion.js";
import type { Folder, Manifest } from "./folders.js";

type Statics = NonNullable<Manifest["statics"]>;

/** The static columns of two exports of all rows; `undefined` when there are none, or nothing can be said of partitions. */
export function staticColumns({ manifest: past }: Folder, { manifest: current }: Folder): Statics | undefined {
  if (past?.statics === undefined || current?.statics === undefined) return undefined;
  // A partition that lost the rows that were asked for may have others.
  if (past.where !== undefined || current.where !== undefined) return undefined;
  const columns = current.statics.columns.filter((name) => past.statics?.columns.includes(name));
  return columns.length === 0 ? undefined : { ...current.statics, columns };
}

/**
 * A diff with a row without clustering columns, as deleted, for each partition that had rows and static columns and has gone: its rows
 * alone would leave the static columns where they are.
 */
export async function withPartitionsGone(
  { rows, names, schemas }: Diff,
  past: DataFrame,
  current: DataFrame,
  { partitionKey, columns }: Statics,
  cells: Cells = {},
): Promise<DataFrame> {
  const partition = partitionKey.map(quoteName);
  const value = (name: string) => f.col(quoteName(name));
  const clustering = schemas.keys.map(({ name }) => name).filter((name) => !partitionKey.includes(name));
  const typeOf = (name: string) => schemas.values.find((column) => column.name === name)?.left?.dataType;
  const held = columns.map((name) => {
    const type = typeOf(name);
    return type === undefined ? value(name).isNotNull() : holdsValue(value(name), type);
  });
  const hadRows = clustering.map((name) => value(name).isNotNull());
  const gone = past
    .where(or(...held))
    .where(or(...hadRows))
    .dropDuplicates([...partitionKey])
    .join(current.select(partition), [...partitionKey], "left_anti");
  const kept = columns.flatMap((name) => Object.values(cells[name] ?? {}));
  const leftOf = new Map([...columns, ...kept].map((name) => [names.left(name).toLowerCase(), name]));
  const { fields } = await rows.schema();
  return rows.union(
    gone.select(
      ...fields.map(({ name, dataType }) => {
        if (name === names.diffColumn) return f.lit(names.labels.delete).as(name);
        if (partitionKey.includes(name)) return value(name).cast(dataType).as(name);
        const from = clustering.includes(name) ? undefined : leftOf.get(name.toLowerCase());
        return (from === undefined ? f.lit(null) : value(from)).cast(dataType).as(name);
      }),
    ),
  );
}
