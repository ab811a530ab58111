/** A type of Spark without parameters. Names are those of DDL, `simpleString` and JSON alike, but for the aliases there. */
export type AtomicTypeName =
  | "void"
  | "boolean"
  | "tinyint"
  | "smallint"
  | "int"
  | "bigint"
  | "float"
  | "double"
  | "binary"
  | "date"
  | "timestamp"
  | "timestamp_ntz"
  | "interval"
  | "variant";

export interface AtomicType {
  readonly kind: AtomicTypeName;
}

/** `collation` is set when it isn't the default, UTF8_BINARY; Spark 4 and later. */
export interface StringType {
  readonly kind: "string";
  readonly collation?: string;
}

export interface CharType {
  readonly kind: "char" | "varchar";
  readonly length: number;
}

export interface DecimalType {
  readonly kind: "decimal";
  readonly precision: number;
  readonly scale: number;
}

/** Time of day; `precision` is the number of digits of the second's fraction. Spark 4.1 and later. */
export interface TimeType {
  readonly kind: "time";
  readonly precision: number;
}

/** Fields: 0 day, 1 hour, 2 minute, 3 second. */
export interface DayTimeIntervalType {
  readonly kind: "daytime_interval";
  readonly startField: number;
  readonly endField: number;
}

/** Fields: 0 year, 1 month. */
export interface YearMonthIntervalType {
  readonly kind: "yearmonth_interval";
  readonly startField: number;
  readonly endField: number;
}

export interface ArrayType {
  readonly kind: "array";
  readonly elementType: DataType;
  readonly containsNull: boolean;
}

export interface MapType {
  readonly kind: "map";
  readonly keyType: DataType;
  readonly valueType: DataType;
  readonly valueContainsNull: boolean;
}

export interface StructField {
  readonly name: string;
  readonly dataType: DataType;
  readonly nullable: boolean;
  /** Comments, char/varchar originals and the like, as Spark keeps them. */
  readonly metadata: Readonly<Record<string, unknown>>;
}

export interface StructType {
  readonly kind: "struct";
  readonly fields: readonly StructField[];
}

/** A type that this client can name but not read or write: user-defined types, geometry. */
export interface OpaqueType {
  readonly kind: "opaque";
  readonly name: string;
}

/** The type of a column. Plain data: compare with {@link sameType}, build with {@link types}. */
export type DataType =
  | AtomicType
  | StringType
  | CharType
  | DecimalType
  | TimeType
  | DayTimeIntervalType
  | YearMonthIntervalType
  | ArrayType
  | MapType
  | StructType
  | OpaqueType;

const atomic = (kind: AtomicTypeName): AtomicType => Object.freeze({ kind });

/**
 * Builders for every type.
 *
 * @example
 * const schema = types.struct([
 *   types.field("id", types.bigint, false),
 *   types.field("price", types.decimal(12, 2)),
 *   types.field("tags", types.array(types.string)),
 * ]);
 */
export const types = {
  void: atomic("void"),
  boolean: atomic("boolean"),
  tinyint: atomic("tinyint"),
  smallint: atomic("smallint"),
  int: atomic("int"),
  bigint: atomic("bigint"),
  float: atomic("float"),
  double: atomic("double"),
  string: Object.freeze({ kind: "string" }) as StringType,
  binary: atomic("binary"),
  date: atomic("date"),
  timestamp: atomic("timestamp"),
  timestampNtz: atomic("timestamp_ntz"),
  calendarInterval: atomic("interval"),
  variant: atomic("variant"),
  decimal: (precision = 10, scale = 0): DecimalType => ({ kind: "decimal", precision, scale }),
  char: (length: number): CharType => ({ kind: "char", length }),
  varchar: (length: number): CharType => ({ kind: "varchar", length }),
  time: (precision = 6): TimeType => ({ kind: "time", precision }),
  dayTimeInterval: (startField = 0, endField = 3): DayTimeIntervalType => ({
    kind: "daytime_interval",
    startField,
    endField,
  }),
  yearMonthInterval: (startField = 0, endField = 1): YearMonthIntervalType => ({
    kind: "yearmonth_interval",
    startField,
    endField,
  }),
  array: (elementType: DataType, containsNull = true): ArrayType => ({ kind: "array", elementType, containsNull }),
  map: (keyType: DataType, valueType: DataType, valueContainsNull = true): MapType => ({
    kind: "map",
    keyType,
    valueType,
    valueContainsNull,
  }),
  field: (name: string, dataType: DataType, nullable = true, metadata: StructField["metadata"] = {}): StructField => ({
    name,
    dataType,
    nullable,
    metadata,
  }),
  struct: (fields: readonly StructField[]): StructType => ({ kind: "struct", fields }),
} as const;

const DAY_TIME_FIELDS = ["day", "hour", "minute", "second"] as const;
const YEAR_MONTH_FIELDS = ["year", "month"] as const;

/**
 * The type as Spark writes it in messages and accepts it in `CAST`.
 *
 * @example
 * simpleString(types.array(types.decimal(12, 2))); // "array<decimal(12,2)>"
 */
export function simpleString(type: DataType): string {
  switch (type.kind) {
    case "string":
      return type.collation === undefined ? "string" : `string collate ${type.collation}`;
    case "char":
    case "varchar":
      return `${type.kind}(${type.length})`;
    case "decimal":
      return `decimal(${type.precision},${type.scale})`;
    case "time":
      return `time(${type.precision})`;
    case "daytime_interval":
      return interval(DAY_TIME_FIELDS, type.startField, type.endField);
    case "yearmonth_interval":
      return interval(YEAR_MONTH_FIELDS, type.startField, type.endField);
    case "array":
      return `array<${simpleString(type.elementType)}>`;
    case "map":
      return `map<${simpleString(type.keyType)},${simpleString(type.valueType)}>`;
    case "struct":
      return `struct<${type.fields.map((field) => `${field.name}:${simpleString(field.dataType)}`).join(",")}>`;
    case "opaque":
      return type.name;
    default:
      return type.kind;
  }
}

/**
 * The type as SQL: as {@link simpleString}, but names of nested fields are quoted where SQL asks for it.
 *
 * @example
 * sqlType(types.struct([types.field("user-id", types.int)])); // "struct<`user-id`:int>"
 */
export function sqlType(type: DataType): string {
  switch (type.kind) {
    case "array":
      return `array<${sqlType(type.elementType)}>`;
    case "map":
      return `map<${sqlType(type.keyType)},${sqlType(type.valueType)}>`;
    case "struct":
      return `struct<${type.fields
        .map(({ name, dataType }) => `${/^[A-Za-z_]\w*$/.test(name) ? name : quoteName(name)}:${sqlType(dataType)}`)
        .join(",")}>`;
    default:
      return simpleString(type);
  }
}

/**
 * A schema as DDL that Spark reads back to the same one: names are quoted, nested fields keep NOT NULL and comments.
 *
 * @example
 * toDDL(types.struct([types.field("id", types.bigint, false)])); // "`id` BIGINT NOT NULL"
 */
export function toDDL(schema: StructType): string {
  return schema.fields.map((field) => fieldDDL(field, " ")).join(",");
}

function fieldDDL(field: StructField, separator: string): string {
  const comment = typeof field.metadata.comment === "string" ? ` COMMENT ${sqlString(field.metadata.comment)}` : "";
  return `${quoteName(field.name)}${separator}${typeDDL(field.dataType)}${field.nullable ? "" : " NOT NULL"}${comment}`;
}

function typeDDL(type: DataType): string {
  switch (type.kind) {
    case "struct":
      return `STRUCT<${type.fields.map((field) => fieldDDL(field, ": ")).join(", ")}>`;
    case "array":
      return `ARRAY<${typeDDL(type.elementType)}>`;
    case "map":
      return `MAP<${typeDDL(type.keyType)}, ${typeDDL(type.valueType)}>`;
    default:
      return simpleString(type).toUpperCase();
  }
}

/** One part of a name, in backticks. */
export function quoteName(name: string): string {
  return `\`${name.replaceAll("`", "``")}\``;
}

function sqlString(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}

function interval(names: readonly string[], start: number, end: number): string {
  const from = names[start] ?? "?";
  const to = names[end] ?? "?";
  return start === end ? `interval ${from}` : `interval ${from} to ${to}`;
}

/** Whether two types are the same, nullability and metadata aside unless `strict`. */
export function sameType(a: DataType, b: DataType, strict = false): boolean {
  if (a.kind === "array" && b.kind === "array") {
    return sameType(a.elementType, b.elementType, strict) && (!strict || a.containsNull === b.containsNull);
  }
  if (a.kind === "map" && b.kind === "map") {
    return (
      sameType(a.keyType, b.keyType, strict) &&
      sameType(a.valueType, b.valueType, strict) &&
      (!strict || a.valueContainsNull === b.valueContainsNull)
    );
  }
  if (a.kind === "struct" && b.kind === "struct") {
    return (
      a.fields.length === b.fields.length &&
      a.fields.every((field, i) => {
        const other = b.fields[i];
        if (other === undefined || field.name !== other.name) return false;
        if (strict && field.nullable !== other.nullable) return false;
        return sameType(field.dataType, other.dataType, strict);
      })
    );
  }
  return simpleString(a) === simpleString(b);
}

/** The schema as a tree, as `printSchema` shows it. */
export function treeString(schema: StructType): string {
  const lines = ["root"];
  const walk = (name: string, type: DataType, note: string, prefix: string): void => {
    lines.push(`${prefix}-- ${name}: ${type.kind === "struct" ? "struct" : treeName(type)} (${note})`);
    children(type, `${prefix}    |`);
  };
  const children = (type: DataType, prefix: string): void => {
    if (type.kind === "struct") {
      for (const field of type.fields) walk(field.name, field.dataType, `nullable = ${field.nullable}`, prefix);
    } else if (type.kind === "array") {
      walk("element", type.elementType, `containsNull = ${type.containsNull}`, prefix);
    } else if (type.kind === "map") {
      lines.push(`${prefix}-- key: ${treeName(type.keyType)}`);
      children(type.keyType, `${prefix}    |`);
      walk("value", type.valueType, `valueContainsNull = ${type.valueContainsNull}`, prefix);
    }
  };
  children(schema, " |");
  return `${lines.join("\n")}\n`;
}

/** JSON's and `printSchema`'s word for a type where it isn't `simpleString`. */
export const JSON_NAMES: Readonly<Partial<Record<DataType["kind"], string>>> = {
  tinyint: "byte",
  smallint: "short",
  int: "integer",
  bigint: "long",
};

function treeName(type: DataType): string {
  if (type.kind === "array" || type.kind === "map" || type.kind === "struct") return type.kind;
  return JSON_NAMES[type.kind] ?? simpleString(type);
}
