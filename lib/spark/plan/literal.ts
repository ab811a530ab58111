import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { SparkConnectError } from "../errors.js";
import { type Expression_Literal, Expression_LiteralSchema } from "../generated/spark/connect/expressions_pb.js";
import { type DataType, simpleString, types } from "../types/data-type.js";
import { typeToProto } from "../types/proto.js";
import { Decimal, rescale } from "../values/decimal.js";
import { DayTimeInterval, LocalTimestamp, parseDate, Timestamp, YearMonthInterval } from "../values/temporal.js";

type LiteralInit = NonNullable<MessageInitShape<typeof Expression_LiteralSchema>["literalType"]>;

/** What `lit` takes. A `Date` is a timestamp; an array must hold values of one type. */
export type LiteralValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | Date
  | Decimal
  | Timestamp
  | LocalTimestamp
  | DayTimeInterval
  | YearMonthInterval
  | readonly LiteralValue[];

const INT_MAX = 2 ** 31 - 1;
const INT_MIN = -(2 ** 31);
const LONG_MAX = 2n ** 63n - 1n;
const LONG_MIN = -(2n ** 63n);

/**
 * The type that a value gets without a stated one. A whole number is INT, beyond 32 bits BIGINT, and DOUBLE when it is not
 * whole or no longer exact; -0 is DOUBLE since integers have none.
 */
export function inferType(value: LiteralValue): DataType {
  if (value === null) return types.void;
  if (typeof value === "boolean") return types.boolean;
  if (typeof value === "string") return types.string;
  if (typeof value === "bigint") return types.bigint;
  if (typeof value === "number") {
    if (!Number.isSafeInteger(value) || Object.is(value, -0)) return types.double;
    return value >= INT_MIN && value <= INT_MAX ? types.int : types.bigint;
  }
  if (value instanceof Uint8Array) return types.binary;
  if (value instanceof Date || value instanceof Timestamp) return types.timestamp;
  if (value instanceof LocalTimestamp) return types.timestampNtz;
  if (value instanceof Decimal) return types.decimal(value.precision, value.scale);
  if (value instanceof DayTimeInterval) return types.dayTimeInterval();
  if (value instanceof YearMonthInterval) return types.yearMonthInterval();
  if (Array.isArray(value)) return types.array(elementType(value as readonly LiteralValue[]));
  throw unsupported(value);
}

/** One type for all elements: the widest number, or the only type there is. */
function elementType(values: readonly LiteralValue[]): DataType {
  const found = values.filter((value) => value !== null).map(inferType);
  const order = ["int", "bigint", "double"];
  const names = new Set(found.map(simpleString));
  if (names.size <= 1) return found[0] ?? types.void;
  if ([...names].every((name) => order.includes(name))) {
    return names.has("double") ? types.double : types.bigint;
  }
  throw new SparkConnectError("INVALID_ARGUMENT", `An array literal mixes ${[...names].join(", ")}`);
}

/**
 * Makes a literal.
 *
 * @param type the type to give it; default {@link inferType}
 * @throws SparkConnectError `INVALID_ARGUMENT` for a value out of its type's range
 */
export function literal(value: LiteralValue, type: DataType = inferType(value)): Expression_Literal {
  return create(Expression_LiteralSchema, { literalType: literalInit(value, type) });
}

function literalInit(value: LiteralValue, type: DataType): LiteralInit {
  if (value === null) return { case: "null", value: typeToProto(type) };
  switch (type.kind) {
    case "boolean":
      if (typeof value === "boolean") return { case: "boolean", value };
      break;
    case "tinyint":
      return { case: "byte", value: integer(value, -128, 127, type) };
    case "smallint":
      return { case: "short", value: integer(value, -32_768, 32_767, type) };
    case "int":
      return { case: "integer", value: integer(value, INT_MIN, INT_MAX, type) };
    case "bigint":
      if (typeof value === "bigint" || (typeof value === "number" && Number.isSafeInteger(value))) {
        const long = BigInt(value);
        if (long < LONG_MIN || long > LONG_MAX) {
          throw new SparkConnectError("INVALID_ARGUMENT", `${long} does not fit a BIGINT; use Decimal`);
        }
        return { case: "long", value: long };
      }
      break;
    case "float":
      if (typeof value === "number") return { case: "float", value };
      break;
    case "double":
      if (typeof value === "number") return { case: "double", value };
      break;
    case "decimal": {
      const decimal = value instanceof Decimal ? value : new Decimal(String(value));
      rescale(decimal, type.precision, type.scale);
      return { case: "decimal", value: { value: String(decimal), precision: type.precision, scale: type.scale } };
    }
    case "string":
    case "char":
    case "varchar":
      if (typeof value === "string") return { case: "string", value };
      break;
    case "binary":
      if (value instanceof Uint8Array) return { case: "binary", value };
      break;
    case "date":
      if (typeof value === "string") return { case: "date", value: parseDate(value) };
      break;
    case "timestamp":
      if (value instanceof Date) return { case: "timestamp", value: Timestamp.fromDate(value).epochMicros };
      if (value instanceof Timestamp) return { case: "timestamp", value: value.epochMicros };
      if (typeof value === "string") return { case: "timestamp", value: Timestamp.parse(value).epochMicros };
      break;
    case "timestamp_ntz":
      if (value instanceof LocalTimestamp) return { case: "timestampNtz", value: value.epochMicros };
      if (typeof value === "string") return { case: "timestampNtz", value: LocalTimestamp.parse(value).epochMicros };
      break;
    case "daytime_interval":
      if (value instanceof DayTimeInterval) return { case: "dayTimeInterval", value: value.micros };
      break;
    case "yearmonth_interval":
      if (value instanceof YearMonthInterval) return { case: "yearMonthInterval", value: value.months };
      break;
    case "array":
      if (Array.isArray(value)) {
        const elements = (value as readonly LiteralValue[]).map((item) => literal(item, type.elementType));
        // `element_type`, deprecated by 4.1, is the only form that 3.5 reads.
        return { case: "array", value: { elementType: typeToProto(type.elementType), elements } };
      }
      break;
  }
  throw unsupported(value, type);
}

function integer(value: LiteralValue, min: number, max: number, type: DataType): number {
  const number = typeof value === "bigint" ? Number(value) : value;
  if (typeof number !== "number") throw unsupported(value, type);
  if (!Number.isInteger(number) || number < min || number > max) {
    throw new SparkConnectError("INVALID_ARGUMENT", `${number} is not a ${simpleString(type)}`);
  }
  return number;
}

function unsupported(value: unknown, type?: DataType): SparkConnectError {
  const what = value === null ? "null" : typeof value === "object" ? (value as object).constructor?.name : typeof value;
  const target = type === undefined ? "" : ` of type ${simpleString(type)}`;
  return new SparkConnectError("INVALID_ARGUMENT", `No literal${target} can be made of a ${what}`);
}
