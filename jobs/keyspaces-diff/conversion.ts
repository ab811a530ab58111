import { commonType } from "../../lib/glue/diff/index.js";
import * as f from "../../lib/spark/functions/index.js";
import {
  type Column,
  type DataType,
  type StructField,
  type StructType,
  sameType,
  simpleString,
  types,
} from "../../lib/spark/index.js";
import { checkedCast } from "./encoding.js";

const WHOLE_NUMBERS: readonly DataType["kind"][] = ["tinyint", "smallint", "int", "bigint"];

/** A file's value as the table's type has it; `undefined` when the types don't go together. */
export function converted(value: Column, from: DataType, to: DataType): Column | undefined {
  if (sameType(from, to)) return value;
  // Text is what CSV and JSON have for everything; wider numbers are right.
  if (from.kind === "string") return WHOLE_NUMBERS.includes(to.kind) ? wholeNumber(value, to) : checkedCast(value, to);
  const common = commonType(from, to);
  if (common !== undefined && sameType(common, to)) return value.cast(to);
  if (from.kind === "bigint" && [...WHOLE_NUMBERS, "double", "float", "decimal"].includes(to.kind)) {
    return checkedCast(value.cast(types.string), to);
  }
  if (from.kind === "double" && (to.kind === "float" || to.kind === "decimal"))
    return checkedCast(value.cast(types.string), to);
  // A decimal of Cassandra has any scale, and 18 digits of it here.
  if (from.kind === "decimal" && to.kind === "decimal") return value.cast(to);
  if (from.kind === "array" && to.kind === "array") {
    if (converted(value, from.elementType, to.elementType) === undefined) return undefined;
    return f.transform(value, (item: Column) => converted(item, from.elementType, to.elementType) ?? item);
  }
  return from.kind === "struct" && to.kind === "struct" ? structOf(value, from, to) : undefined;
}

/**
 * The type by which JSON's values are read: as texts, but where the table has decimals, whose digits would pass through a double on the way to
 * a text.
 */
export function readAs(found: DataType, wanted: DataType): DataType {
  if (found.kind === "string" && wanted.kind === "decimal") return wanted;
  if (found.kind === "array" && wanted.kind === "array") {
    return types.array(readAs(found.elementType, wanted.elementType));
  }
  if (found.kind !== "struct" || wanted.kind !== "struct") return found;
  return types.struct(
    found.fields.map((field) => {
      const dataType = fieldOf(wanted, field.name)?.dataType;
      return dataType === undefined ? field : { ...field, dataType: readAs(field.dataType, dataType) };
    }),
  );
}

/** Fields by name; one that JSON left out was NULL. */
function structOf(value: Column, from: StructType, to: StructType): Column | undefined {
  const unknown = from.fields.some((field) => fieldOf(to, field.name) === undefined);
  const fields = to.fields.map(({ name, dataType }) => {
    const given = fieldOf(from, name);
    return given === undefined
      ? f.lit(null).cast(dataType).as(name)
      : converted(value.getField(given.name), given.dataType, dataType)?.as(name);
  });
  if (unknown || fields.includes(undefined)) return undefined;
  return f.when(value.isNotNull(), f.struct(...(fields as Column[])));
}

function fieldOf(type: StructType, name: string): StructField | undefined {
  return type.fields.find((field) => field.name.toLowerCase() === name.toLowerCase());
}

/** Spark would make 1 of the text 1.5. */
function wholeNumber(value: Column, to: DataType): Column {
  const wrong = f.raise_error(f.concat(f.lit(`This is no ${simpleString(to)}: `), value));
  const isWhole = value.rlike("^\\s*[+-]?\\d+(\\.0*)?\\s*$");
  return f.when(value.isNull().or(isWhole), checkedCast(value, to)).otherwise(wrong.cast(to));
}

/** Whether there is something in it: the connector has a collection that is NULL as an empty one. */
export function holdsValue(value: Column, type: DataType): Column {
  return isCollection(type) ? f.coalesce(f.size(value).gt(0), f.lit(false)) : value.isNotNull();
}

export function isCollection({ kind }: DataType): boolean {
  return kind === "array" || kind === "map";
}
