import { type Batch, type Table, tableFromIPC } from "@uwdata/flechette";
import { SparkConnectError } from "../errors.js";
import { type DataType, type StructType, simpleString } from "../types/data-type.js";
import { formatDecimal } from "../values/decimal.js";
import { Row, type Value } from "../values/row.js";
import {
  DayTimeInterval,
  formatDate,
  formatTime,
  LocalTimestamp,
  Timestamp,
  YearMonthInterval,
} from "../values/temporal.js";

/** Reads the value at a position of one column of one batch. */
type Reader = (index: number) => Value;

/** The parts of a batch that hold raw data; the library's own getters would round 64-bit values. */
interface RawBatch {
  readonly length: number;
  readonly nullCount: number;
  readonly values: unknown;
  readonly offsets: Int32Array | BigInt64Array;
  readonly children: readonly RawBatch[];
  isValid(index: number): boolean;
  value(index: number): unknown;
}

/**
 * Decodes one Arrow IPC stream, as each of Spark's `arrow_batch.data` is one: schema, batches, end.
 *
 * Values are read from the raw buffers, by position: names may repeat, and 64-bit numbers must stay exact.
 *
 * @throws SparkConnectError `UNSUPPORTED_TYPE`, `PROTOCOL_ERROR` for data that isn't Arrow or is compressed
 */
export function decodeRows(data: Uint8Array, schema: StructType): Row[] {
  const table = readTable(data);
  if (table.children.length !== schema.fields.length) {
    throw new SparkConnectError(
      "PROTOCOL_ERROR",
      `A batch has ${table.children.length} columns where the schema has ${schema.fields.length}`,
    );
  }
  const rows: Row[] = [];
  const batches = table.children[0]?.data.length ?? 0;
  for (let b = 0; b < batches; b++) {
    const columns = table.children.map((column) => raw(column.data[b]));
    const readers = columns.map((column, i) => reader(column, fieldType(schema, i)));
    const length = columns[0]?.length ?? 0;
    for (let i = 0; i < length; i++) {
      rows.push(
        new Row(
          schema,
          readers.map((read) => read(i)),
        ),
      );
    }
  }
  return rows;
}

/** The Arrow table of one IPC stream; 64-bit integers and timestamps as bigint, decimals as scaled bigint. */
export function readTable(data: Uint8Array): Table {
  // Typed arrays need aligned memory; a field of a protobuf message lies anywhere. A copy (Buffer's slice would be a view).
  const aligned = data.byteOffset % 8 === 0 ? data : new Uint8Array(data);
  try {
    return tableFromIPC(aligned, { useBigInt: true, useBigIntTimestamp: true, useDecimalInt: true, useMap: true });
  } catch (cause) {
    const text = cause instanceof Error ? cause.message : String(cause);
    const hint = /compress|codec/i.test(text)
      ? "; unset spark.sql.execution.arrow.compression.codec, or register a codec with flechette's setCompressionCodec"
      : "";
    throw new SparkConnectError("PROTOCOL_ERROR", `The server's Arrow data can't be read: ${text}${hint}`, { cause });
  }
}

function raw(batch: Batch<unknown> | undefined): RawBatch {
  if (batch === undefined) throw new SparkConnectError("PROTOCOL_ERROR", "The columns of a batch differ in length");
  return batch as unknown as RawBatch;
}

function child(batch: RawBatch, index: number): RawBatch {
  const found = batch.children[index];
  if (found === undefined) throw new SparkConnectError("PROTOCOL_ERROR", "A nested column has too few children");
  return found;
}

function fieldType(schema: StructType, index: number): DataType {
  const field = schema.fields[index];
  if (field === undefined) throw new SparkConnectError("PROTOCOL_ERROR", "A batch has more columns than its schema");
  return field.dataType;
}

function reader(batch: RawBatch, type: DataType): Reader {
  const read = valueReader(batch, type);
  // A column of type void has no validity bits at all.
  return batch.nullCount === 0 || type.kind === "void" ? read : (index) => (batch.isValid(index) ? read(index) : null);
}

function valueReader(batch: RawBatch, type: DataType): Reader {
  switch (type.kind) {
    case "void":
      return () => null;
    case "boolean":
    case "string":
    case "char":
    case "varchar":
      return (index) => batch.value(index) as Value;
    case "binary":
      // A copy: a view would keep the whole batch in memory for as long as one value lives.
      return (index) => (batch.value(index) as Uint8Array).slice();
    case "tinyint":
    case "smallint":
    case "int":
    case "float":
    case "double": {
      const values = batch.values as ArrayLike<number>;
      return (index) => values[index] ?? null;
    }
    case "bigint": {
      const values = batch.values as BigInt64Array;
      return (index) => values[index] ?? null;
    }
    case "decimal":
      return decimalReader(batch, type.scale);
    case "date": {
      const values = batch.values as Int32Array;
      return (index) => formatDate(values[index] ?? 0);
    }
    case "timestamp": {
      const values = batch.values as BigInt64Array;
      return (index) => new Timestamp(values[index] ?? 0n);
    }
    case "timestamp_ntz": {
      const values = batch.values as BigInt64Array;
      return (index) => new LocalTimestamp(values[index] ?? 0n);
    }
    case "time": {
      const values = batch.values as BigInt64Array;
      return (index) => formatTime(values[index] ?? 0n);
    }
    case "daytime_interval": {
      const values = batch.values as BigInt64Array;
      return (index) => new DayTimeInterval(values[index] ?? 0n);
    }
    case "yearmonth_interval": {
      const values = batch.values as Int32Array;
      return (index) => new YearMonthInterval(values[index] ?? 0);
    }
    case "array": {
      const element = reader(child(batch, 0), type.elementType);
      const { offsets } = batch;
      return (index) => {
        const items: Value[] = [];
        const end = Number(offsets[index + 1]);
        for (let i = Number(offsets[index]); i < end; i++) items.push(element(i));
        return items;
      };
    }
    case "map": {
      const entries = child(batch, 0);
      const key = reader(child(entries, 0), type.keyType);
      const value = reader(child(entries, 1), type.valueType);
      const { offsets } = batch;
      return (index) => {
        const map = new Map<Value, Value>();
        const end = Number(offsets[index + 1]);
        for (let i = Number(offsets[index]); i < end; i++) map.set(key(i), value(i));
        return map;
      };
    }
    case "struct": {
      const fields = type.fields.map((field, i) => reader(child(batch, i), field.dataType));
      return (index) =>
        new Row(
          type,
          fields.map((read) => read(index)),
        );
    }
    case "variant": {
      const [value, metadata] = [child(batch, 0), child(batch, 1)];
      return (index) => ({
        value: (value.value(index) as Uint8Array).slice(),
        metadata: (metadata.value(index) as Uint8Array).slice(),
      });
    }
    case "interval":
    case "opaque":
      throw new SparkConnectError(
        "UNSUPPORTED_TYPE",
        `A column of type ${simpleString(type)} can't be read; cast it to a string in the query`,
      );
  }
}

function decimalReader(batch: RawBatch, scale: number): Reader {
  const values = batch.values;
  // Two little-endian words: the low one without a sign, the high one with it.
  if (values instanceof BigUint64Array) {
    return (index) => {
      const low = values[index * 2] ?? 0n;
      const high = BigInt.asIntN(64, values[index * 2 + 1] ?? 0n);
      return formatDecimal((high << 64n) | low, scale);
    };
  }
  return (index) => formatDecimal(BigInt(batch.value(index) as bigint | number), scale);
}
