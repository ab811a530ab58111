import * as f from "../../lib/spark/functions/index.js";
import type { Column } from "../../lib/spark/index.js";
import type { IcebergField, IcebergType } from "./iceberg-metadata.js";

const isString = (type: IcebergType) => type.kind === "primitive" && type.name === "string";

function contains(type: IcebergType, wanted: (type: IcebergType) => boolean): boolean {
  if (wanted(type)) return true;
  switch (type.kind) {
    case "primitive":
      return false;
    case "list":
      return contains(type.element.type, wanted);
    case "map":
      return contains(type.key.type, wanted) || contains(type.value.type, wanted);
    case "struct":
      return type.fields.some((field) => contains(field.type, wanted));
  }
}

const isMap = (type: IcebergType) => type.kind === "map";

/** Whether there is a map anywhere in the type: Spark can neither compare nor sort those. */
export function containsMap(type: IcebergType): boolean {
  return contains(type, isMap);
}

/**
 * The value in a form that `<=>` can compare: a map as its sorted entries, so that the order in which they were written
 * doesn't count.
 */
export function comparable(column: Column, type: IcebergType): Column {
  if (!containsMap(type)) return column;
  switch (type.kind) {
    case "list":
      return f.transform(column, (item: Column) => comparable(item, type.element.type));
    case "map":
      return f.array_sort(
        f.transform(f.map_entries(column), (entry: Column) =>
          f.struct(
            comparable(entry.getField("key"), type.key.type).as("key"),
            comparable(entry.getField("value"), type.value.type).as("value"),
          ),
        ),
      );
    case "struct":
      return rebuilt(column, type.fields, comparable);
    case "primitive":
      return column;
  }
}

/**
 * The value in a form that `to_json` writes right: it prints map keys by their internal representation (a date as a number
 * of days), so keys become strings first.
 */
export function jsonReady(column: Column, type: IcebergType): Column {
  if (!contains(type, (inner) => inner.kind === "map" && !isString(inner.key.type))) return column;
  switch (type.kind) {
    case "list":
      return f.transform(column, (item: Column) => jsonReady(item, type.element.type));
    case "map": {
      const values = f.transform_values(column, (_key, value) => jsonReady(value, type.value.type));
      if (isString(type.key.type)) return values;
      const binary = type.key.type.kind === "primitive" && ["binary", "fixed"].includes(type.key.type.name);
      return f.transform_keys(values, (key) => {
        if (type.key.type.kind !== "primitive") return f.to_json(jsonReady(key, type.key.type));
        return binary ? f.base64(key) : key.cast("string");
      });
    }
    case "struct":
      return rebuilt(column, type.fields, jsonReady);
    case "primitive":
      return column;
  }
}

// A struct that is NULL must not turn into a struct of NULLs.
function rebuilt(
  column: Column,
  fields: readonly IcebergField[],
  convert: (column: Column, type: IcebergType) => Column,
): Column {
  const parts = fields.map((field) => convert(column.getField(field.name), field.type).as(field.name));
  return f.when(column.isNotNull(), f.struct(...parts));
}
