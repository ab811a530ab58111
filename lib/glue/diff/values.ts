import * as f from "../../spark/functions/index.js";
import { type Column, type DataType, type StructType, sameType, simpleString } from "../../spark/index.js";
import { folded } from "./options.js";

/** A value in a wider type; see `commonType`. Fields that a struct hasn't got are NULL. */
export function widened(column: Column, from: DataType, to: DataType): Column {
  if (sameType(from, to)) return column;
  if (from.kind === "array" && to.kind === "array") {
    return f.transform(column, (item: Column) => widened(item, from.elementType, to.elementType));
  }
  if (from.kind === "map" && to.kind === "map") {
    const values = sameType(from.valueType, to.valueType)
      ? column
      : f.transform_values(column, (_key, value) => widened(value, from.valueType, to.valueType));
    if (sameType(from.keyType, to.keyType)) return values;
    return f.transform_keys(values, (key) => widened(key, from.keyType, to.keyType));
  }
  if (from.kind === "struct" && to.kind === "struct") {
    const fields = to.fields.map(({ name, dataType }) => {
      const field = from.fields.find((candidate) => folded(candidate.name) === folded(name));
      if (field === undefined) return f.lit(null).cast(simpleString(dataType)).as(name);
      return widened(column.getField(field.name), field.dataType, dataType).as(name);
    });
    // A struct that is NULL must not turn into a struct of NULLs.
    return f.when(column.isNotNull(), f.struct(...fields));
  }
  return column.cast(to);
}

/**
 * A value in a form that `<=>` compares: maps as their sorted entries, so that the order in which they were written doesn't count;
 * NaN equals NaN and -0.0 equals 0.0 at any depth, as everywhere in Spark.
 */
export function comparable(column: Column, type: DataType): Column {
  if (isComparable(type)) return column;
  switch (type.kind) {
    case "array":
      return f.transform(column, (item: Column) => comparable(item, type.elementType));
    case "map":
      return f.array_sort(
        f.transform(f.map_entries(column), (entry: Column) =>
          f.struct(
            comparable(entry.getField("key"), type.keyType).as("key"),
            comparable(entry.getField("value"), type.valueType).as("value"),
          ),
        ),
      );
    case "struct":
      return rebuilt(column, type);
    default:
      // Intervals of months and days, variants: Spark compares neither, and their texts say all.
      return column.cast("string");
  }
}

function isComparable(type: DataType): boolean {
  switch (type.kind) {
    case "map":
    case "interval":
    case "variant":
    case "opaque":
      return false;
    case "array":
      return isComparable(type.elementType);
    case "struct":
      return type.fields.every(({ dataType }) => isComparable(dataType));
    default:
      return true;
  }
}

function rebuilt(column: Column, { fields }: StructType): Column {
  const parts = fields.map(({ name, dataType }) => comparable(column.getField(name), dataType).as(name));
  return f.when(column.isNotNull(), f.struct(...parts));
}
