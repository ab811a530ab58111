import { isMap } from "./configuration-value.js";

const TYPES = new Set(["S", "N", "B", "BOOL", "NULL", "M", "L", "SS", "NS", "BS"]);

/**
 * A typed DynamoDB value (`{"S": "x"}`, `{"N": "1"}`, ...) as a plain one. Numbers become JavaScript numbers when a double
 * holds them exactly, else they stay text; sets become arrays.
 */
export function fromDynamoDb(value: unknown): unknown {
  if (!isMap(value)) return value;
  const [type, content] = Object.entries(value)[0] ?? [];
  switch (type) {
    case "N":
      return exactNumber(String(content));
    case "NULL":
      return null;
    case "M":
      return fromDynamoDbItem(isMap(content) ? content : {});
    case "L":
      return Array.isArray(content) ? content.map(fromDynamoDb) : [];
    case "NS":
      return Array.isArray(content) ? content.map((number) => exactNumber(String(number))) : [];
    default:
      return content;
  }
}

/** Every attribute of an item, or of a map in it, as plain values. */
export function fromDynamoDbItem(item: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(item).map(([name, value]) => [name, fromDynamoDb(value)]));
}

/**
 * Whether every attribute is in typed form. A plain item can't look like that by accident: it would need every one of its
 * attributes to be a map with the one entry `S`, `N`, ...
 */
export function isDynamoDbItem(item: Readonly<Record<string, unknown>>): boolean {
  const values = Object.values(item);
  return values.length > 0 && values.every(isTyped);
}

function isTyped(value: unknown): boolean {
  if (!isMap(value)) return false;
  const entries = Object.entries(value);
  const [type, content] = entries[0] ?? [];
  if (entries.length !== 1 || type === undefined || !TYPES.has(type)) return false;
  switch (type) {
    case "S":
    case "N":
      return typeof content === "string";
    case "BOOL":
    case "NULL":
      return typeof content === "boolean";
    case "M":
      return isMap(content) && Object.values(content).every(isTyped);
    case "L":
      return Array.isArray(content) && content.every(isTyped);
    case "B":
      return typeof content === "string" || content instanceof Uint8Array;
    default:
      return Array.isArray(content);
  }
}

// A double gives its shortest text back; where that is the same number, nothing was lost.
function exactNumber(text: string): number | string {
  const number = Number(text);
  return Number.isFinite(number) && canonical(String(number)) === canonical(text) ? number : text;
}

/** Sign, digits without leading and trailing zeros, and power of ten: equal for equal numbers however they are written. */
function canonical(text: string): string {
  const match = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d+))?$/.exec(text.trim());
  if (match === null) return text;
  const [, sign = "", whole = "", fraction = "", power = "0"] = match;
  const digits = `${whole}${fraction}`.replace(/^0+/, "");
  const kept = digits.replace(/0+$/, "");
  if (kept === "") return "0";
  const exponent = Number(power) - fraction.length + (digits.length - kept.length);
  return `${sign === "-" ? "-" : ""}${kept}e${exponent}`;
}
