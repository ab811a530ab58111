import { types } from "cassandra-driver";
import type { Row, Value } from "../spark/index.js";
import type { CassandraType } from "./session.js";

type Converter = (value: Value) => unknown;

interface UdtInfo {
  readonly fields: readonly { readonly name: string; readonly type: CassandraType }[];
}

const { dataTypes } = types;

/** From Spark's values of a type to the driver's; NULL stays what it is. Without a type: a number. */
export function converterOf(type: CassandraType | undefined): Converter {
  const convert = type === undefined ? plain : notNull(type);
  return (value) => (value === null ? null : convert(value));
}

/** What no conversion is needed for, but a number of 64 bits. */
const plain: Converter = (value) => (typeof value === "bigint" ? types.Long.fromString(String(value)) : value);

function notNull({ code, info }: CassandraType): Converter {
  switch (code) {
    case dataTypes.timestamp:
      return (value) => new Date(String(value));
    case dataTypes.date:
      return (value) => types.LocalDate.fromString(String(value));
    case dataTypes.time:
      // Nanoseconds.
      return (value) => new types.LocalTime(types.Long.fromString(String(value)));
    case dataTypes.decimal:
      return (value) => types.BigDecimal.fromString(String(value));
    case dataTypes.varint:
      return (value) => types.Integer.fromString(String(value).replace(/\..*$/, ""));
    case dataTypes.inet:
      return (value) => types.InetAddress.fromString(String(value));
    case dataTypes.uuid:
      return (value) => types.Uuid.fromString(String(value));
    case dataTypes.timeuuid:
      return (value) => types.TimeUuid.fromString(String(value));
    case dataTypes.bigint:
      return (value) => types.Long.fromString(String(value));
    case dataTypes.blob:
      return (value) => Buffer.from(value as Uint8Array);
    case dataTypes.list:
    case dataTypes.set: {
      const item = converterOf(info as CassandraType);
      return (value) => (value as Value[]).map(item);
    }
    case dataTypes.map: {
      const [key, item] = (info as readonly CassandraType[]).map(converterOf) as [Converter, Converter];
      return (value) => new Map([...(value as Map<Value, Value>)].map(([k, v]) => [key(k), item(v)]));
    }
    case dataTypes.udt: {
      const fields = (info as UdtInfo).fields.map(({ name, type }) => ({ name, convert: converterOf(type) }));
      return (value) => {
        const struct = value as Row;
        return Object.fromEntries(fields.map(({ name, convert }) => [name, convert(struct.get(name) as Value)]));
      };
    }
    case dataTypes.tuple: {
      const items = (info as readonly CassandraType[]).map(converterOf);
      return (value) => {
        const parts = (value as Row).toArray();
        return new types.Tuple(...items.map((convert, index) => convert(parts[index] as Value)));
      };
    }
    default:
      return plain;
  }
}
