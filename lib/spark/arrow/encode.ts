import * as arrow from "@uwdata/flechette";
import { SparkConnectError } from "../errors.js";
import { type DataType, type StructType, simpleString } from "../types/data-type.js";
import { Decimal, rescale } from "../values/decimal.js";
import { Row } from "../values/row.js";
import { DayTimeInterval, LocalTimestamp, parseDate, Timestamp, YearMonthInterval } from "../values/temporal.js";

type ArrowType = arrow.Column<unknown>["type"];

/** Raw buffers of one column, in the layout that the IPC writer takes. */
interface Buffers {
  readonly values?: unknown;
  readonly offsets?: Int32Array;
  readonly children?: arrow.Batch<unknown>[];
}

const EMPTY = new Uint8Array(0);

/**
 * Encodes rows as one Arrow IPC stream with a single batch: servers before 4.1 read only the first, and lose the others in
 * silence.
 *
 * @throws SparkConnectError `INVALID_ARGUMENT` for a value that doesn't fit, naming its row and column
 */
export function encodeRows(
  rows: readonly (Readonly<Record<string, unknown>> | readonly unknown[])[],
  schema: StructType,
): Uint8Array {
  const fields = schema.fields.map((field) => arrow.field(field.name, arrowType(field.dataType), field.nullable));
  const columns = schema.fields.map((field, index) => {
    const values = rows.map((row) => cell(row, field.name, index));
    const batch = encodeColumn(values, field.dataType, field.nullable, field.name);
    return new arrow.Column([batch]);
  });
  const table = new arrow.Table(
    { version: arrow.Version.V5, endianness: arrow.Endianness.Little, fields, metadata: null },
    columns,
  );
  const bytes = arrow.tableToIPC(table, { format: "stream" });
  if (bytes === null) throw new Error("The Arrow writer returned nothing");
  return bytes;
}

function cell(row: Readonly<Record<string, unknown>> | readonly unknown[], name: string, index: number): unknown {
  if (Array.isArray(row)) return row[index];
  if (row instanceof Row) return row.length > index ? row.get(index) : undefined;
  return (row as Readonly<Record<string, unknown>>)[name];
}

/** The Arrow form of a Spark type. */
export function arrowType(type: DataType): ArrowType {
  switch (type.kind) {
    case "void":
      return arrow.nullType();
    case "boolean":
      return arrow.bool();
    case "tinyint":
      return arrow.int8();
    case "smallint":
      return arrow.int16();
    case "int":
      return arrow.int32();
    case "bigint":
      return arrow.int64();
    case "float":
      return arrow.float32();
    case "double":
      return arrow.float64();
    case "decimal":
      return arrow.decimal128(type.precision, type.scale);
    case "string":
    case "char":
    case "varchar":
      return arrow.utf8();
    case "binary":
      return arrow.binary();
    case "date":
      return arrow.dateDay();
    case "timestamp":
      return arrow.timestamp(arrow.TimeUnit.MICROSECOND, "UTC");
    case "timestamp_ntz":
      return arrow.timestamp(arrow.TimeUnit.MICROSECOND, null);
    case "daytime_interval":
      return arrow.duration(arrow.TimeUnit.MICROSECOND);
    case "yearmonth_interval":
      return arrow.interval(arrow.IntervalUnit.YEAR_MONTH);
    case "array":
      return arrow.list(arrow.field("element", arrowType(type.elementType), type.containsNull));
    case "struct":
      return arrow.struct(
        type.fields.map((field) => arrow.field(field.name, arrowType(field.dataType), field.nullable)),
      );
    case "map":
      return arrow.map(
        arrow.field("key", arrowType(type.keyType), false),
        arrow.field("value", arrowType(type.valueType), type.valueContainsNull),
      );
    default:
      throw new SparkConnectError("UNSUPPORTED_TYPE", `Rows with a ${simpleString(type)} can't be sent`);
  }
}

function encodeColumn(
  values: readonly unknown[],
  type: DataType,
  nullable: boolean,
  path: string,
): arrow.Batch<unknown> {
  const length = values.length;
  let nullCount = 0;
  const validity = new Uint8Array(Math.ceil(length / 8));
  values.forEach((value, i) => {
    if (value === null || value === undefined) nullCount += 1;
    else validity[i >> 3] = (validity[i >> 3] ?? 0) | (1 << (i & 7));
  });
  if (nullCount > 0 && !nullable) {
    const row = values.findIndex((value) => value === null || value === undefined);
    throw new SparkConnectError("INVALID_ARGUMENT", `Row ${row}: ${path} is NOT NULL and has no value`);
  }
  const Batch = arrow.batchType(arrowType(type)) as unknown as new (options: object) => arrow.Batch<unknown>;
  return new Batch({
    length,
    nullCount,
    type: arrowType(type),
    validity: nullCount === 0 ? EMPTY : validity,
    ...buffers(values, type, path),
  });
}

function buffers(values: readonly unknown[], type: DataType, path: string): Buffers {
  const each = <T>(target: { [index: number]: T }, read: (value: unknown) => T | undefined) => {
    values.forEach((value, i) => {
      if (value === null || value === undefined) return;
      const converted = tryRead(read, value, i, type, path);
      target[i] = converted;
    });
    return { values: target };
  };
  const length = values.length;
  switch (type.kind) {
    case "void":
      return {};
    case "boolean": {
      const bits = new Uint8Array(Math.ceil(length / 8));
      values.forEach((value, i) => {
        if (value === null || value === undefined) return;
        if (tryRead((v) => (typeof v === "boolean" ? v : undefined), value, i, type, path)) {
          bits[i >> 3] = (bits[i >> 3] ?? 0) | (1 << (i & 7));
        }
      });
      return { values: bits };
    }
    case "tinyint":
      return each(new Int8Array(length), whole(-128, 127));
    case "smallint":
      return each(new Int16Array(length), whole(-32_768, 32_767));
    case "int":
      return each(new Int32Array(length), whole(-(2 ** 31), 2 ** 31 - 1));
    case "bigint":
      return each(new BigInt64Array(length), (value) => {
        if (typeof value === "number" && !Number.isSafeInteger(value)) return undefined;
        if (typeof value !== "bigint" && typeof value !== "number") return undefined;
        const long = BigInt(value);
        return BigInt.asIntN(64, long) === long ? long : undefined;
      });
    case "float":
      return each(new Float32Array(length), number);
    case "double":
      return each(new Float64Array(length), number);
    case "decimal": {
      const words = new BigUint64Array(length * 2);
      values.forEach((value, i) => {
        if (value === null || value === undefined) return;
        const unscaled = tryRead((v) => decimal(v, type.precision, type.scale), value, i, type, path);
        words[i * 2] = BigInt.asUintN(64, unscaled);
        words[i * 2 + 1] = BigInt.asUintN(64, unscaled >> 64n);
      });
      // The batch counts 64-bit words, two for each value.
      return { values: words };
    }
    case "string":
    case "char":
    case "varchar":
      return variable(
        values,
        (value) => (typeof value === "string" ? Buffer.from(value, "utf8") : undefined),
        type,
        path,
      );
    case "binary":
      return variable(values, (value) => (value instanceof Uint8Array ? value : undefined), type, path);
    case "date":
      return each(new Int32Array(length), (value) => (typeof value === "string" ? parseDate(value) : undefined));
    case "timestamp":
      return each(new BigInt64Array(length), timestampMicros);
    case "timestamp_ntz":
      return each(new BigInt64Array(length), (value) => {
        if (value instanceof LocalTimestamp) return value.epochMicros;
        return typeof value === "string" ? LocalTimestamp.parse(value).epochMicros : undefined;
      });
    case "daytime_interval":
      return each(new BigInt64Array(length), (value) => (value instanceof DayTimeInterval ? value.micros : undefined));
    case "yearmonth_interval":
      return each(new Int32Array(length), (value) => (value instanceof YearMonthInterval ? value.months : undefined));
    case "array": {
      const { offsets, items } = lists(values, (value) => (Array.isArray(value) ? value : undefined), type, path);
      return { offsets, children: [encodeColumn(items, type.elementType, type.containsNull, `${path}.element`)] };
    }
    case "map": {
      const { offsets, items } = lists(values, entries, type, path);
      const pairs = items as readonly (readonly [unknown, unknown])[];
      const key = encodeColumn(
        pairs.map((pair) => pair[0]),
        type.keyType,
        false,
        `${path}.key`,
      );
      const value = encodeColumn(
        pairs.map((pair) => pair[1]),
        type.valueType,
        type.valueContainsNull,
        `${path}.value`,
      );
      const entryType = (arrowType(type) as { readonly children: readonly [{ readonly type: ArrowType }] }).children[0]
        .type;
      const Batch = arrow.batchType(entryType) as unknown as new (options: object) => arrow.Batch<unknown>;
      const children = [key, value];
      return {
        offsets,
        children: [new Batch({ length: items.length, nullCount: 0, type: entryType, validity: EMPTY, children })],
      };
    }
    case "struct": {
      values.forEach((value, i) => {
        if (value === null || value === undefined) return;
        if (typeof value !== "object" || value instanceof Uint8Array || value instanceof Date || value instanceof Map) {
          throw misfit(value, i, type, path);
        }
      });
      const children = type.fields.map((field, index) => {
        // Below a NULL struct a NOT NULL field has nothing to hold.
        const inner = values.map((value) =>
          value === null || value === undefined ? null : cell(value as readonly unknown[], field.name, index),
        );
        const missing = inner.findIndex((value, i) => (value ?? null) === null && (values[i] ?? null) !== null);
        if (!field.nullable && missing >= 0) {
          throw new SparkConnectError(
            "INVALID_ARGUMENT",
            `Row ${missing}: ${path}.${field.name} is NOT NULL and has no value`,
          );
        }
        return encodeColumn(inner, field.dataType, true, `${path}.${field.name}`);
      });
      return { children };
    }
    default:
      throw new SparkConnectError("UNSUPPORTED_TYPE", `Rows with a ${simpleString(type)} can't be sent`);
  }
}

function variable(
  values: readonly unknown[],
  read: (value: unknown) => Uint8Array | undefined,
  type: DataType,
  path: string,
): Buffers {
  const offsets = new Int32Array(values.length + 1);
  const parts: Uint8Array[] = [];
  let end = 0;
  values.forEach((value, i) => {
    if (value !== null && value !== undefined) {
      const bytes = tryRead(read, value, i, type, path);
      parts.push(bytes);
      end += bytes.byteLength;
    }
    if (end > 2 ** 31 - 1) throw new SparkConnectError("INVALID_ARGUMENT", `${path} holds more than 2 GiB`);
    offsets[i + 1] = end;
  });
  const joined = Buffer.concat(parts);
  return { offsets, values: new Uint8Array(joined.buffer, joined.byteOffset, joined.byteLength) };
}

function lists(
  values: readonly unknown[],
  read: (value: unknown) => readonly unknown[] | undefined,
  type: DataType,
  path: string,
): { readonly offsets: Int32Array; readonly items: unknown[] } {
  const offsets = new Int32Array(values.length + 1);
  const items: unknown[] = [];
  values.forEach((value, i) => {
    if (value !== null && value !== undefined) {
      for (const item of tryRead(read, value, i, type, path)) items.push(item);
    }
    offsets[i + 1] = items.length;
  });
  return { offsets, items };
}

function tryRead<T>(
  read: (value: unknown) => T | undefined,
  value: unknown,
  row: number,
  type: DataType,
  path: string,
): T {
  let result: T | undefined;
  try {
    result = read(value);
  } catch (cause) {
    if (cause instanceof SparkConnectError) throw misfit(value, row, type, path, cause);
    throw cause;
  }
  if (result === undefined) throw misfit(value, row, type, path);
  return result;
}

function misfit(
  value: unknown,
  row: number,
  type: DataType,
  path: string,
  cause?: SparkConnectError,
): SparkConnectError {
  // The kind of the value, never the value: rows may hold personal data, and errors are logged.
  const kind = typeof value === "object" && value !== null ? value.constructor.name : typeof value;
  return new SparkConnectError(
    "INVALID_ARGUMENT",
    `Row ${row}: a ${kind} does not fit ${path}, a ${simpleString(type)}`,
    {
      cause,
    },
  );
}

function whole(min: number, max: number): (value: unknown) => number | undefined {
  return (value) => {
    const candidate = typeof value === "bigint" ? Number(value) : value;
    if (typeof candidate !== "number" || !Number.isInteger(candidate)) return undefined;
    return candidate >= min && candidate <= max ? candidate : undefined;
  };
}

function number(value: unknown): number | undefined {
  return typeof value === "number" ? value : undefined;
}

function decimal(value: unknown, precision: number, scale: number): bigint | undefined {
  if (typeof value === "string" || typeof value === "bigint")
    return rescale(new Decimal(String(value)), precision, scale);
  if (value instanceof Decimal) return rescale(value, precision, scale);
  // A fraction in binary is not the decimal that was meant.
  if (typeof value === "number" && Number.isSafeInteger(value))
    return rescale(new Decimal(String(value)), precision, scale);
  return undefined;
}

function timestampMicros(value: unknown): bigint | undefined {
  if (value instanceof Timestamp) return value.epochMicros;
  if (value instanceof Date) return Timestamp.fromDate(value).epochMicros;
  return typeof value === "string" ? Timestamp.parse(value).epochMicros : undefined;
}

function entries(value: unknown): readonly (readonly [unknown, unknown])[] | undefined {
  if (value instanceof Map) return [...value];
  if (typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype) {
    return Object.entries(value);
  }
  return undefined;
}
