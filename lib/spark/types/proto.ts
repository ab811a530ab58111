import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { SparkConnectError } from "../errors.js";
import { DataTypeSchema, type DataType as ProtoType } from "../generated/spark/connect/types_pb.js";
import { type DataType, type StructField, type StructType, types } from "./data-type.js";

type Kind = NonNullable<MessageInitShape<typeof DataTypeSchema>["kind"]>;

/** A type as it goes into a plan. */
export function typeToProto(type: DataType): ProtoType {
  return create(DataTypeSchema, { kind: kindOf(type) });
}

function kindOf(type: DataType): Kind {
  switch (type.kind) {
    case "void":
      return { case: "null", value: {} };
    case "boolean":
      return { case: "boolean", value: {} };
    case "tinyint":
      return { case: "byte", value: {} };
    case "smallint":
      return { case: "short", value: {} };
    case "int":
      return { case: "integer", value: {} };
    case "bigint":
      return { case: "long", value: {} };
    case "float":
      return { case: "float", value: {} };
    case "double":
      return { case: "double", value: {} };
    case "binary":
      return { case: "binary", value: {} };
    case "date":
      return { case: "date", value: {} };
    case "timestamp":
      return { case: "timestamp", value: {} };
    case "timestamp_ntz":
      return { case: "timestampNtz", value: {} };
    case "interval":
      return { case: "calendarInterval", value: {} };
    case "variant":
      return { case: "variant", value: {} };
    case "string":
      return { case: "string", value: type.collation === undefined ? {} : { collation: type.collation } };
    case "char":
      return { case: "char", value: { length: type.length } };
    case "varchar":
      return { case: "varChar", value: { length: type.length } };
    case "decimal":
      return { case: "decimal", value: { precision: type.precision, scale: type.scale } };
    case "time":
      return { case: "time", value: { precision: type.precision } };
    case "daytime_interval":
      return { case: "dayTimeInterval", value: { startField: type.startField, endField: type.endField } };
    case "yearmonth_interval":
      return { case: "yearMonthInterval", value: { startField: type.startField, endField: type.endField } };
    case "array":
      return { case: "array", value: { elementType: typeToProto(type.elementType), containsNull: type.containsNull } };
    case "map":
      return {
        case: "map",
        value: {
          keyType: typeToProto(type.keyType),
          valueType: typeToProto(type.valueType),
          valueContainsNull: type.valueContainsNull,
        },
      };
    case "struct":
      return { case: "struct", value: { fields: type.fields.map(fieldToProto) } };
    case "opaque":
      return { case: "unparsed", value: { dataTypeString: type.name } };
  }
}

function fieldToProto(field: StructField) {
  const metadata = Object.keys(field.metadata).length === 0 ? {} : { metadata: JSON.stringify(field.metadata) };
  return { name: field.name, dataType: typeToProto(field.dataType), nullable: field.nullable, ...metadata };
}

/**
 * A type as a server describes it.
 *
 * @throws SparkConnectError `PROTOCOL_ERROR` for an empty message
 */
export function typeFromProto(proto: ProtoType | undefined): DataType {
  const kind = proto?.kind;
  switch (kind?.case) {
    case "null":
      return types.void;
    case "boolean":
      return types.boolean;
    case "byte":
      return types.tinyint;
    case "short":
      return types.smallint;
    case "integer":
      return types.int;
    case "long":
      return types.bigint;
    case "float":
      return types.float;
    case "double":
      return types.double;
    case "binary":
      return types.binary;
    case "date":
      return types.date;
    case "timestamp":
      return types.timestamp;
    case "timestampNtz":
      return types.timestampNtz;
    case "calendarInterval":
      return types.calendarInterval;
    case "variant":
      return types.variant;
    case "string": {
      const { collation } = kind.value;
      return collation === "" || collation === "UTF8_BINARY" ? types.string : { kind: "string", collation };
    }
    case "char":
      return types.char(kind.value.length);
    case "varChar":
      return types.varchar(kind.value.length);
    case "decimal":
      return types.decimal(kind.value.precision ?? 10, kind.value.scale ?? 0);
    case "time":
      return types.time(kind.value.precision ?? 6);
    case "dayTimeInterval":
      return types.dayTimeInterval(kind.value.startField ?? 0, kind.value.endField ?? 3);
    case "yearMonthInterval":
      return types.yearMonthInterval(kind.value.startField ?? 0, kind.value.endField ?? 1);
    case "array":
      return types.array(typeFromProto(kind.value.elementType), kind.value.containsNull);
    case "map": {
      const { keyType, valueType, valueContainsNull } = kind.value;
      return types.map(typeFromProto(keyType), typeFromProto(valueType), valueContainsNull);
    }
    case "struct":
      return types.struct(
        kind.value.fields.map((field) =>
          types.field(field.name, typeFromProto(field.dataType), field.nullable, parseMetadata(field.metadata)),
        ),
      );
    case "udt":
      return { kind: "opaque", name: kind.value.jvmClass ?? kind.value.pythonClass ?? "udt" };
    case "geometry":
    case "geography":
      return { kind: "opaque", name: `${kind.case}(${kind.value.srid})` };
    case "unparsed":
      return { kind: "opaque", name: kind.value.dataTypeString };
    default:
      throw new SparkConnectError("PROTOCOL_ERROR", "The server described a column without a type");
  }
}

/** As {@link typeFromProto}, for the schema of a result. */
export function schemaFromProto(proto: ProtoType | undefined): StructType {
  const type = typeFromProto(proto);
  if (type.kind !== "struct") throw new SparkConnectError("PROTOCOL_ERROR", "The server's schema isn't a struct");
  return type;
}

function parseMetadata(text: string | undefined): StructField["metadata"] {
  if (text === undefined || text === "") return {};
  try {
    return JSON.parse(text) as StructField["metadata"];
  } catch {
    return {};
  }
}
