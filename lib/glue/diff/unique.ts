import * as f from "../../spark/functions/index.js";
import { and, type Column, type DataFrame, type DataType, SparkConnectError, Window } from "../../spark/index.js";
import type { ComparedSchemas } from "./schemas.js";
import type { Side } from "./sides.js";

const MESSAGE = "glue-connect: a key has more than one row";

/** Whether an error is that of a diff with `duplicates: "fail"`, as far as the server tells: it cuts long messages. */
export function isDuplicateKey(error: unknown): boolean {
  for (let one = error; one instanceof Error; one = one.cause) {
    if (one instanceof SparkConnectError && one.message.includes(MESSAGE)) return true;
  }
  return false;
}

/** Whether {@link joinedOnce} can be used. */
export function keysAreSorted({ keys }: ComparedSchemas): boolean {
  return keys.length > 0 && keys.every(({ dataType }) => filler(dataType) !== undefined);
}

/**
 * A full outer join by key that fails on a second row of a key. Rows of a key are neighbours where the join has sorted them: numbering them
 * there takes no further exchange, if the join's keys are columns without NULL. So a key is two columns, its value and whether it is NULL.
 */
export function joinedOnce(left: DataFrame, right: DataFrame, schemas: ComparedSchemas): DataFrame {
  const side = (rows: DataFrame, name: Side) => {
    const parts = schemas.keys.flatMap(({ dataType }, index) => {
      const key = f.col(`${name}k${index}`);
      return [f.coalesce(key, filler(dataType) ?? key).as(`${name}e${index}`), key.isNull().as(`${name}n${index}`)];
    });
    const names = schemas.keys.flatMap((_key, index) => [`${name}e${index}`, `${name}n${index}`]);
    const others = [...schemas.values.map((_value, index) => `${name}v${index}`), `${name}there`];
    const number = f.row_number().over(Window.partitionBy(...names).orderBy(names[0] ?? ""));
    return rows
      .select(...parts, ...others)
      .select("*", number.as(`${name}number`))
      .where(f.when(f.col(`${name}number`).gt(1), f.raise_error(f.lit(MESSAGE)).cast("boolean")).otherwise(true))
      .select(
        ...names,
        ...others,
        ...schemas.keys.map((_key, index) =>
          f.when(f.col(`${name}n${index}`).not(), f.col(`${name}e${index}`)).as(`${name}k${index}`),
        ),
      );
  };
  const same = schemas.keys.flatMap((_key, index) =>
    ["e", "n"].map((part) => f.col(`l${part}${index}`).eqTo(f.col(`r${part}${index}`))),
  );
  return side(left, "l").join(side(right, "r"), and(...same), "full_outer");
}

/** A value that takes the place of NULL; `undefined` for types whose equality isn't that of plain columns. */
function filler(type: DataType): Column | undefined {
  switch (type.kind) {
    case "string":
      return f.lit("");
    case "binary":
      return f.expr("X''");
    case "boolean":
      return f.lit(false);
    case "tinyint":
    case "smallint":
    case "int":
    case "bigint":
    case "decimal":
      return f.lit(0).cast(type);
    case "date":
      return f.expr("DATE'1970-01-01'");
    case "timestamp":
      return f.expr("timestamp_seconds(0)");
    default:
      return undefined;
  }
}
