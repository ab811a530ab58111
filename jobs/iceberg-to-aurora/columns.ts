import { commentSql } from "../../lib/postgres/alteration.js";
import type { AppliedColumn, NewTable } from "../../lib/postgres/apply.js";
import { identifierProblem, quoteIdentifier, quoteTable, type TableName } from "../../lib/postgres/identifiers.js";
import type { StagingColumn } from "../../lib/postgres/staging.js";
import type { Table, TableColumn } from "../../lib/postgres/table.js";
import * as f from "../../lib/spark/functions/index.js";
import type { Column } from "../../lib/spark/index.js";
import { formatType, type IcebergField, type IcebergType } from "./iceberg-metadata.js";
import { jsonReady } from "./nested.js";

/**
 * The way of one column from Iceberg into PostgreSQL. Values travel through the staging table in a form that COPY and
 * JDBC write alike, and that the JVM's time zone and Spark's dialects can't bend: dates as days, timestamps as microseconds since 1970,
 * everything nested as JSON text; PostgreSQL turns them into the target's type.
 */
export interface ColumnMapping {
  readonly field: IcebergField;
  readonly key: boolean;
  /** Column of the target. */
  readonly target: string;
  /** The target's type, for CREATE TABLE. */
  readonly type: string;
  /** The target's type is the one that the job would make, or writes values in the same way: equal ones look alike as text. */
  readonly native: boolean;
  readonly staging: StagingColumn;
  /** Over Spark's value. */
  readonly encode: (column: Column) => Column;
  /** Over the staged value, as SQL. */
  readonly decode: (staged: string) => string;
  readonly comparedAs?: "text";
  /** How Spark holds source and target against each other; `undefined`: only PostgreSQL can tell whether values are equal. */
  readonly common: CommonForm | undefined;
}

/**
 * A form that a value has alike in Spark and in PostgreSQL: equal values may look unlike (1.5 and 1.50), unlike ones never look
 * equal.
 */
export interface CommonForm {
  /** Over Spark's value. */
  readonly ofSource: (column: Column) => Column;
  /** Over the target's column, as SQL. */
  readonly ofTarget: (column: string) => string;
  /** Spark's value out of the form. */
  readonly parse: (form: Column) => Column;
}

/** Either the mappings, or everything that stands against them. */
export interface MappingResult {
  readonly columns: readonly ColumnMapping[];
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
}

/** How a type is staged. */
interface Codec {
  readonly stagingType: string;
  readonly encode: (column: Column) => Column;
  /** SQL for a value of {@link nativeType}. */
  readonly decode: (staged: string) => string;
  /** Type of the target's column when the job creates it. */
  readonly nativeType: string;
  /** Types of existing columns that hold every value, besides the native one. */
  readonly alsoInto: readonly string[];
  readonly common?: CommonForm | undefined;
}

const MICROS_PER_DAY = "86400000000";
const same = (column: Column) => column;
const asIs = (staged: string) => staged;
const dateFromDays = (days: string) => `('epoch'::date + ${days})`;

// bigint * interval goes through a double: days and the microseconds of a day both fit one exactly, all microseconds don't.
const timestampFromMicros = (micros: string) =>
  `('epoch'::timestamp + (${micros} / ${MICROS_PER_DAY}) * interval '1 day' + (${micros} % ${MICROS_PER_DAY}) * interval '1 microsecond')`;
const timestamptzFromMicros = (micros: string) => `(${timestampFromMicros(micros)} AT TIME ZONE 'UTC')`;

/** Plain text on both sides. */
const asText = (type: string): CommonForm => ({
  ofSource: (column) => column.cast("string"),
  ofTarget: (column) => `${column}::text`,
  parse: (form) => form.cast(type),
});
const asDouble = (type: string): CommonForm => ({
  ofSource: (column) => column.cast("double"),
  ofTarget: (column) => `${column}::float8`,
  parse: (form) => form.cast(type),
});
/**
 * Java writes small decimals with an exponent (1E-7), PostgreSQL never does. With one added to what is behind the sign none is
 * small.
 */
function decimalForm(precision: number, scale: number): CommonForm | undefined {
  const type = `decimal(${precision},${scale})`;
  if (scale <= 6) return asText(type);
  // Adding one would cost the last digit.
  if (precision >= 38) return undefined;
  const one = f.lit(1).cast("decimal(1,0)");
  return {
    ofSource: (column) =>
      f.concat(f.when(column.lt(0), f.lit("-")).otherwise(f.lit("")), f.abs(column).plus(one).cast("string")),
    ofTarget: (column) => `CASE WHEN ${column} < 0 THEN '-' ELSE '' END || (abs(${column}) + 1)::text`,
    parse: (form) => {
      const shifted = f.abs(form.cast(`decimal(${precision + 1},${scale})`)).minus(one);
      return f.when(form.startsWith("-"), f.negate(shifted)).otherwise(shifted).cast(type);
    },
  };
}
const microsOf = (column: string) =>
  `CASE WHEN isfinite(${column}) THEN (extract(epoch FROM ${column}) * 1000000)::bigint::text ELSE ${column}::text END`;

const STRINGS = ["character varying", "bpchar", "citext"];

function scalarCodec(type: IcebergType): Codec | undefined {
  if (type.kind !== "primitive") return undefined;
  const plain = (nativeType: string, common: CommonForm | undefined, alsoInto: readonly string[] = []): Codec => ({
    stagingType: nativeType,
    encode: same,
    decode: asIs,
    nativeType,
    alsoInto,
    common,
  });
  switch (type.name) {
    case "boolean":
      return plain("boolean", asText("boolean"));
    case "int":
      return plain("integer", asText("int"), ["bigint", "numeric"]);
    case "long":
      return plain("bigint", asText("bigint"), ["numeric"]);
    case "float":
      return plain("real", asDouble("float"), ["double precision"]);
    case "double":
      return plain("double precision", asDouble("double"));
    case "decimal":
      return {
        ...plain("numeric", decimalForm(type.precision ?? 38, type.scale ?? 0)),
        nativeType: `numeric(${type.precision},${type.scale})`,
        alsoInto: ["numeric"],
      };
    case "string":
      return plain("text", asText("string"), [...STRINGS, "uuid", "json", "jsonb"]);
    case "uuid":
      return {
        ...plain("text", asText("string")),
        decode: (staged) => `${staged}::uuid`,
        nativeType: "uuid",
        alsoInto: ["text", ...STRINGS],
      };
    case "binary":
    case "fixed":
      return plain("bytea", {
        ofSource: (column) => f.lower(f.hex(column)),
        ofTarget: (column) => `encode(${column}, 'hex')`,
        parse: (form) => f.unhex(form),
      });
    case "date":
      return {
        stagingType: "integer",
        encode: (column) => f.unix_date(column),
        decode: dateFromDays,
        nativeType: "date",
        alsoInto: [],
        common: {
          ofSource: (column) => f.unix_date(column).cast("string"),
          ofTarget: (column) =>
            `CASE WHEN isfinite(${column}) THEN (${column} - 'epoch'::date)::text ELSE ${column}::text END`,
          parse: (form) => f.date_from_unix_date(form.cast("int")),
        },
      };
    case "timestamptz":
      return {
        stagingType: "bigint",
        encode: (column) => f.unix_micros(column),
        decode: timestamptzFromMicros,
        nativeType: "timestamp with time zone",
        alsoInto: [],
        common: {
          ofSource: (column) => f.unix_micros(column).cast("string"),
          ofTarget: microsOf,
          parse: (form) => f.timestamp_micros(form.cast("bigint")),
        },
      };
    case "timestamp":
      return {
        stagingType: "bigint",
        // The session's time zone is UTC, so the cast keeps the wall clock.
        encode: (column) => f.unix_micros(column.cast("timestamp")),
        decode: timestampFromMicros,
        nativeType: "timestamp without time zone",
        alsoInto: [],
        common: {
          ofSource: (column) => f.unix_micros(column.cast("timestamp")).cast("string"),
          ofTarget: microsOf,
          parse: (form) => f.timestamp_micros(form.cast("bigint")).cast("timestamp_ntz"),
        },
      };
    default:
      return undefined;
  }
}

/** Timestamps inside JSON keep their microseconds, and NULL fields are kept as null. */
const JSON_OPTIONS = {
  ignoreNullFields: "false",
  timestampFormat: "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX",
  timestampNTZFormat: "yyyy-MM-dd'T'HH:mm:ss.SSSSSS",
};

function codecOf(type: IcebergType): Codec | undefined {
  if (type.kind === "primitive") return scalarCodec(type);
  const json: Codec = {
    stagingType: "text",
    encode: (column) => f.to_json(jsonReady(column, type), JSON_OPTIONS),
    decode: (staged) => `${staged}::jsonb`,
    nativeType: "jsonb",
    alsoInto: ["json"],
  };
  if (type.kind !== "list") return unsupportedWithin(type) ? undefined : json;
  const element = scalarCodec(type.element.type);
  if (element === undefined) return unsupportedWithin(type) ? undefined : json;
  const isBinary = element.nativeType === "bytea";
  const convert = (value: string) =>
    isBinary ? `decode(${value}, 'base64')` : element.decode(`${value}::${element.stagingType}`);
  return {
    stagingType: "text",
    encode: (column) =>
      f.to_json(
        f.transform(column, (item: Column) => element.encode(item)),
        JSON_OPTIONS,
      ),
    decode: (staged) =>
      `CASE WHEN ${staged} IS NULL THEN NULL ELSE ARRAY(SELECT ${convert("e.value")} ` +
      `FROM json_array_elements_text(${staged}::json) WITH ORDINALITY AS e(value, n) ORDER BY e.n) END`,
    nativeType: `${element.nativeType.replace(/\(.*\)$/, "")}[]`,
    alsoInto: [],
  };
}

function unsupportedWithin(type: IcebergType): boolean {
  switch (type.kind) {
    case "primitive":
      return scalarCodec(type) === undefined;
    case "list":
      return unsupportedWithin(type.element.type);
    case "map":
      return unsupportedWithin(type.key.type) || unsupportedWithin(type.value.type);
    case "struct":
      return type.fields.some((field) => unsupportedWithin(field.type));
  }
}

/**
 * Maps every field of the source to a column of the target, by name: the same name, else the only one that differs in
 * case alone.
 *
 * @param target the existing table, or `undefined` when the job is to create it.
 * @param keys names of the source's key fields.
 */
export function mapColumns(
  fields: readonly IcebergField[],
  keys: readonly string[],
  target: Table | undefined,
): MappingResult {
  const problems: string[] = [];
  const warnings: string[] = [];
  const columns: ColumnMapping[] = [];
  for (const [index, field] of fields.entries()) {
    const key = keys.includes(field.name);
    const codec = codecOf(field.type);
    const label = `column ${JSON.stringify(field.name)} (${formatType(field.type)})`;
    if (codec === undefined) {
      problems.push(`${label}: this type can't be loaded; leave the column out with a view, or cast it in the source`);
      continue;
    }
    if (key && field.type.kind !== "primitive") problems.push(`${label}: a key column must not be nested`);
    const staging = { name: `c${index + 1}`, type: codec.stagingType };
    const base = { field, key, staging, encode: codec.encode, common: codec.common };
    if (target === undefined) {
      const problem = identifierProblem(field.name);
      if (problem !== undefined) problems.push(`${label}: PostgreSQL can't have this name, ${problem}`);
      columns.push({ ...base, target: field.name, type: codec.nativeType, native: true, decode: codec.decode });
      continue;
    }
    const column = findColumn(target.columns, field.name);
    if (column === undefined) {
      problems.push(`${label}: the target has no such column`);
    } else if (column.generated) {
      problems.push(`${label}: the target's column is generated and can't be written`);
    } else if (column.identityAlways && !key) {
      problems.push(`${label}: the target's column is GENERATED ALWAYS AS IDENTITY and can't be updated`);
    } else if (key && (!comparesExactly(column) || column.baseType === "jsonb")) {
      problems.push(
        `${label}: the target's column (${column.type}) holds unlike keys to be equal, or can't compare them`,
      );
    } else {
      const fit = fitInto(field, codec, column);
      if (fit === undefined) {
        problems.push(`${label}: the target's column has type ${column.type}, which doesn't hold every value`);
      } else {
        if (fit.warning !== undefined) warnings.push(fit.warning);
        columns.push({
          ...base,
          target: column.name,
          type: column.type,
          native:
            column.type === codec.nativeType ||
            (codec.nativeType === "text" && column.baseType === "character varying"),
          decode: fit.decode,
          ...(comparesExactly(column) ? {} : { comparedAs: "text" as const }),
        });
      }
    }
  }
  if (target !== undefined) checkOtherColumns(target, columns, problems, warnings);
  return { columns, problems, warnings };
}

/** The column of this name, else the only one whose name differs in case alone. */
export function findColumn(columns: readonly TableColumn[], name: string): TableColumn | undefined {
  const exact = columns.find((column) => column.name === name);
  if (exact !== undefined) return exact;
  const alike = columns.filter((column) => column.name.toLowerCase() === name.toLowerCase());
  return alike.length === 1 ? alike[0] : undefined;
}

/** The type that a column gets when the job makes it; `undefined`: there is none for this type. */
export function nativeType(type: IcebergType): string | undefined {
  return codecOf(type)?.nativeType;
}

/** Whether an existing column holds every value of the field. */
export function fieldFits(field: IcebergField, column: TableColumn): boolean {
  const codec = codecOf(field.type);
  return codec !== undefined && fitInto(field, codec, column) !== undefined;
}

/**
 * Whether the column's own `=` tells unlike values apart: json has none, citext and some collations ignore case, char ignores
 * blanks at the end.
 */
function comparesExactly(column: TableColumn): boolean {
  return !["json", "citext", "character"].includes(column.baseType) && column.deterministicCollation;
}

function fitInto(
  field: IcebergField,
  codec: Codec,
  column: TableColumn,
): { decode: (staged: string) => string; warning?: string } | undefined {
  // Without a length "character" means character(1).
  const base = column.baseType === "character" ? "bpchar" : column.baseType;
  const cast = (staged: string) => `(${codec.decode(staged)})::${base}`;
  if (!holdsEveryDigit(field.type.kind === "list" ? field.type.element.type : field.type, column.type))
    return undefined;
  if (base === "timestamp without time zone" && field.type.kind === "primitive" && field.type.name === "timestamptz") {
    return {
      decode: timestampFromMicros,
      warning: `column ${JSON.stringify(column.name)} is ${column.type}: instants are stored as their wall clock in UTC`,
    };
  }
  if (base === "json" && codec.nativeType === "jsonb") return { decode: (staged) => `${staged}::json` };
  if (column.kind === "e" && codec.nativeType === "text") return { decode: cast };
  return allowed();

  function allowed() {
    const native = codec.nativeType.replace(/\(.*\)$/, "");
    return base === native || codec.alsoInto.includes(base) ? { decode: cast } : undefined;
  }
}

/** Whether a type with modifiers, `numeric(10,2)` or `timestamp(3) with time zone`, keeps all digits; without any it does. */
function holdsEveryDigit(type: IcebergType, target: string): boolean {
  const numeric = /^numeric\((\d+),(-?\d+)\)/.exec(target);
  if (numeric !== null) return numericHolds(type, Number(numeric[1]), Number(numeric[2]));
  const timestamp = /^timestamp\((\d)\)/.exec(target);
  return timestamp === null || Number(timestamp[1]) >= 6;
}

function numericHolds(type: IcebergType, precision: number, scale: number): boolean {
  if (type.kind !== "primitive") return false;
  const [digits, decimals] =
    type.name === "int" ? [10, 0] : type.name === "long" ? [19, 0] : [type.precision ?? 0, type.scale ?? 0];
  return scale >= decimals && precision - scale >= digits - decimals;
}

function checkOtherColumns(
  target: Table,
  columns: readonly ColumnMapping[],
  problems: string[],
  warnings: string[],
): void {
  const written = new Map<string, string>();
  for (const column of columns) {
    const other = written.get(column.target);
    if (other !== undefined) {
      problems.push(
        `columns ${JSON.stringify(other)} and ${JSON.stringify(column.field.name)} both go into ${column.target}`,
      );
    }
    written.set(column.target, column.field.name);
  }
  for (const column of target.columns) {
    if (written.has(column.name) || column.generated) continue;
    if (column.notNull && !column.hasDefault && !column.identityAlways) {
      problems.push(
        `the target's column ${JSON.stringify(column.name)} is NOT NULL without a default, and the source has none`,
      );
    } else {
      warnings.push(`the target's column ${JSON.stringify(column.name)} is not in the source and is left as it is`);
    }
  }
}

/** What makes a target that is missing: required fields are NOT NULL, and the key is the primary key. */
export function createTableSql(table: TableName, columns: readonly ColumnMapping[]): NewTable {
  const definitions = columns.map(
    (column) =>
      `${quoteIdentifier(column.target)} ${column.type}${column.key || column.field.required ? " NOT NULL" : ""}`,
  );
  const keys = columns.filter((column) => column.key).map((column) => quoteIdentifier(column.target));
  return {
    table: `CREATE TABLE ${quoteTable(table)} (${definitions.join(", ")})`,
    key: `ALTER TABLE ${quoteTable(table)} ADD PRIMARY KEY (${keys.join(", ")})`,
  };
}

/** The source's documentation of its columns, as comments on those of a table that was just created. */
export function commentsSql(table: TableName, fields: readonly IcebergField[]): string[] {
  return fields.flatMap((field) =>
    field.doc === undefined || identifierProblem(field.name) !== undefined
      ? []
      : [commentSql(table, field.name, field.doc)],
  );
}

/** The mappings as the transaction needs them. */
export function appliedColumns(columns: readonly ColumnMapping[]): AppliedColumn[] {
  return columns.map((column) => ({
    target: column.target,
    staged: column.staging.name,
    decode: column.decode,
    key: column.key,
    ...(column.comparedAs === undefined ? {} : { comparedAs: column.comparedAs }),
  }));
}
