/**
 * The value under a dotted name, however the item spells it: maps in maps, one attribute whose name has the dots in it, or
 * any mixture. Of several spellings the one with the longest attribute name at the outermost level wins.
 *
 * @example
 * configurationValue({ target: { db_load: { aurora_host: "h" } } }, "target.db_load.aurora_host"); // "h"
 * configurationValue({ "target.db_load": { aurora_host: "h" } }, "target.db_load.aurora_host"); // "h"
 * configurationValue({ "target.db_load.aurora_host": "h" }, "target.db_load.aurora_host"); // "h"
 *
 * @returns `undefined` when there is none; a value of `null` (DynamoDB's NULL) counts as none.
 */
export function configurationValue(item: Readonly<Record<string, unknown>>, name: string): unknown {
  const parts = name.split(".");
  for (let length = parts.length; length > 0; length--) {
    const attribute = parts.slice(0, length).join(".");
    if (!Object.hasOwn(item, attribute)) continue;
    const value = item[attribute];
    const rest = parts.slice(length).join(".");
    const found = rest === "" ? value : isMap(value) ? configurationValue(value, rest) : undefined;
    if (found !== undefined && found !== null) return found;
  }
  return undefined;
}

/** Whether a value is a map of an item: a plain object, no list, no bytes. */
export function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);
}
