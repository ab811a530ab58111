import { type IcebergField, type IcebergType, typeSignature } from "./iceberg-metadata.js";

/**
 * What became of a type. `widened`: a promotion that Iceberg's specification allows, every old value is one of the new type;
 * `reshaped`: something changed within a nested type; `unsafe`: old values may not fit.
 */
export type TypeChange = "same" | "widened" | "reshaped" | "unsafe";

/** @see https://iceberg.apache.org/spec/#schema-evolution */
export function compareTypes(before: IcebergType, now: IcebergType): TypeChange {
  if (typeSignature(before) === typeSignature(now)) return "same";
  if (before.kind === "primitive" && now.kind === "primitive") return promotes(before, now) ? "widened" : "unsafe";
  const parts = partsOf(before, now);
  if (parts === undefined) return "unsafe";
  return parts.some(([was, is]) => compareTypes(was.type, is.type) === "unsafe") ? "unsafe" : "reshaped";
}

function promotes(before: IcebergType & { kind: "primitive" }, now: IcebergType & { kind: "primitive" }): boolean {
  switch (`${before.name} ${now.name}`) {
    case "int long":
    case "float double":
    case "date timestamp":
      return true;
    case "decimal decimal":
      return before.scale === now.scale && (now.precision ?? 0) >= (before.precision ?? 0);
    default:
      // A column that was never anything but NULL.
      return before.name === "unknown";
  }
}

/** The fields that both types have; `undefined`: types of unlike kinds. */
function partsOf(
  before: IcebergType,
  now: IcebergType,
): readonly (readonly [IcebergField, IcebergField])[] | undefined {
  if (before.kind === "struct" && now.kind === "struct") {
    return before.fields.flatMap((was) => {
      const is = now.fields.find((field) => field.id === was.id);
      return is === undefined ? [] : [[was, is] as const];
    });
  }
  if (before.kind === "list" && now.kind === "list") return [[before.element, now.element]];
  if (before.kind === "map" && now.kind === "map") {
    return [
      [before.key, now.key],
      [before.value, now.value],
    ];
  }
  return undefined;
}
