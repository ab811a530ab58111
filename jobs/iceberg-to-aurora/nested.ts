import * as f from "../../lib/spark/functions/index.js";
import type { Column } from "../../lib/spark/index.js";
import { type IcebergField, type IcebergType, typeSignature } from "./iceberg-metadata.js";

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

/**
 * A nested value as its newer type reads it: parts are found by field id, those that were added since are NULL, those that were
 * widened are cast.
 *
 * @param missing what a part that was added since reads as.
 * @param primitive a part that is not nested, as `wanted`.
 */
export function reshaped(
  column: Column,
  written: IcebergType,
  wanted: IcebergType,
  parts: {
    readonly missing: (field: IcebergField) => Column;
    readonly primitive: (column: Column, written: IcebergType, wanted: IcebergType) => Column;
  },
): Column {
  if (typeSignature(written) === typeSignature(wanted)) return column;
  if (written.kind === "list" && wanted.kind === "list") {
    return f.transform(column, (item: Column) => reshaped(item, written.element.type, wanted.element.type, parts));
  }
  if (written.kind === "map" && wanted.kind === "map") {
    const values = f.transform_values(column, (_key, value) =>
      reshaped(value, written.value.type, wanted.value.type, parts),
    );
    return f.transform_keys(values, (key) => reshaped(key, written.key.type, wanted.key.type, parts));
  }
  if (written.kind === "struct" && wanted.kind === "struct") {
    const fields = wanted.fields.map((field) => {
      const old = written.fields.find((candidate) => candidate.id === field.id);
      const value =
        old === undefined ? parts.missing(field) : reshaped(column.getField(old.name), old.type, field.type, parts);
      return value.as(field.name);
    });
    return f.when(column.isNotNull(), f.struct(...fields));
  }
  return parts.primitive(column, written, wanted);
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
