import { ExitCode, UserError } from "../../lib/errors.js";
import { commonType, diffNames } from "../../lib/glue/diff/index.js";
import type { JobContext } from "../../lib/glue/index.js";
import * as f from "../../lib/spark/functions/index.js";
import {
  type Column,
  type DataFrame,
  type DataType,
  quoteName,
  type SparkSession,
  type StructType,
  sameType,
  simpleString,
  types,
} from "../../lib/spark/index.js";
import type { FileFormat } from "./arguments.js";
import { type CellWrite, keptCells } from "./cells.js";
import { type Target, tableText } from "./cluster.js";
import { checkedCast } from "./encoding.js";
import { readForeign } from "./files.js";
import { type Folder, type Manifest, manifestSchema } from "./folders.js";

/** How the files' columns become the table's. */
export interface ColumnPlan {
  /** The schema to read our own files with; `undefined`: as Spark finds it. */
  readonly schema: StructType | undefined;
  readonly format: FileFormat;
  readonly diffColumn: string | undefined;
  /** What is written, one after the other. */
  upserts(rows: DataFrame): readonly CellWrite[];
  readonly deletes: ((rows: DataFrame) => DataFrame) | undefined;
  /** Fails on a row whose values don't fit; `undefined` when the types say that all do. */
  readonly check: Column | undefined;
}

/**
 * Matches the columns of files and table.
 *
 * @throws UserError `IMPORT_COLUMNS_UNLIKE` with everything that doesn't fit.
 */
export async function columnsOf(
  context: JobContext<{ readonly FORMAT: FileFormat; readonly DISTINCT_KEYS: readonly string[] | undefined }>,
  spark: SparkSession,
  target: Target,
  folder: Folder,
  kind: Manifest["kind"],
): Promise<ColumnPlan> {
  const { args } = context;
  const { table } = target;
  const name = tableText(table);
  const known = manifestSchema(folder);
  const format = args.FORMAT;
  const uris = folder.files.map(({ uri }) => uri);
  const schema = known ?? (await readForeign(spark, uris, format)).schema;
  const tableSchema = target.schema;
  const keys = args.DISTINCT_KEYS ?? folder.manifest?.keys ?? table.primaryKey;
  const problems: string[] = [];
  if (!sameNames(keys, table.primaryKey)) {
    problems.push(`the keys are (${keys.join(", ")}), the primary key of ${name} is (${table.primaryKey.join(", ")})`);
  }
  const values =
    folder.manifest?.columns ?? table.columns.map((column) => column.name).filter((c) => !keys.includes(c));
  const names =
    kind === "diff"
      ? diffNames(keys, values, folder.manifest?.values === "right" ? { values: "right" } : {})
      : undefined;
  const has = new Map(schema.fields.map((field) => [field.name.toLowerCase(), field]));
  if (names !== undefined && !has.has(names.diffColumn.toLowerCase())) {
    problems.push(`the column ${names.diffColumn}, which says what is to be done with a row, is missing in the files`);
  }
  const columns = tableSchema.fields.flatMap(({ name: column, dataType }) => {
    const isKey = table.primaryKey.includes(column);
    const from = isKey || names === undefined ? column : names.right(column);
    const field = has.get(from.toLowerCase());
    if (field !== undefined) {
      const value = converted(f.col(quoteName(field.name)), field.dataType, dataType);
      if (value === undefined) {
        problems.push(
          `${field.name} is ${simpleString(field.dataType)} in the files and ${simpleString(dataType)} in ${name}`,
        );
        return [];
      }
      // A collection that isn't there comes as an empty one.
      const isCollection = dataType.kind === "array" || dataType.kind === "map";
      const holds = isCollection ? f.coalesce(f.size(value).gt(0), f.lit(false)) : value.isNotNull();
      return [{ column, isKey, value, holds, isSure: sameType(field.dataType, dataType) }];
    }
    if (isKey) problems.push(`the key column ${column} is missing in the files`);
    return [];
  });
  const cells = keptCells(folder);
  const all = names === undefined ? schema.fields.map((field) => field.name) : values;
  const wanted = all.filter((column) => !cells.isOwn(column));
  const inTable = new Set(tableSchema.fields.map((field) => field.name.toLowerCase()));
  const unknown = wanted.filter((column) => !inTable.has(column.toLowerCase()));
  if (unknown.length > 0) problems.push(`${name} has no column ${unknown.join(", ")}`);
  if (table.columns.some((column) => column.code === COUNTER))
    problems.push(`${name} has counters, which can't be set`);
  if (problems.length > 0) {
    throw new UserError("IMPORT_COLUMNS_UNLIKE", `The files in ${folder.uri} don't fit the table ${name}`, {
      problems: [
        ...problems,
        `the files' columns are ${schema.fields.map((field) => `${field.name} ${simpleString(field.dataType)}`).join(", ") || "none"}`,
      ],
      hint: "Import into a table with the columns of the one that was exported; nothing was written",
      exitCode: ExitCode.configuration,
    });
  }
  const untouched = table.columns.filter(({ name: column }) => !columns.some((known) => known.column === column));
  if (untouched.length > 0) {
    context.report.warn(
      "COLUMNS_UNTOUCHED",
      `The files have no ${untouched.map((c) => c.name).join(", ")}: left as they are`,
    );
  }
  if (kind === "diff" && table.columns.some((column) => column.kind === "static")) {
    context.report.warn(
      "STATIC_COLUMNS",
      "Static columns belong to a partition: a deleted row leaves them, also when it was the partition's last",
    );
  }
  const kindOf = names === undefined ? undefined : f.col(quoteName(names.diffColumn));
  const keyColumns = columns.filter(({ isKey }) => isKey).map(({ column, value }) => value.as(column));
  const others = columns.filter(({ isKey }) => !isKey);
  const written = (rows: DataFrame) =>
    kindOf === undefined || names === undefined
      ? rows
      : rows.where(kindOf.isin(names.labels.insert, names.labels.change));
  const isText = format !== "parquet";
  return {
    schema: known,
    format,
    diffColumn: names?.diffColumn,
    upserts: (rows) =>
      cells.writes(written(rows), keyColumns, others, {
        fileColumn: (column) => names?.right(column) ?? column,
        taken: table.columns.map((column) => column.name),
      }),
    deletes:
      kindOf === undefined || names === undefined
        ? undefined
        : (rows) => rows.where(kindOf.eqTo(names.labels.delete)).select(...keyColumns),
    check:
      !isText && columns.every(({ isSure }) => isSure)
        ? undefined
        : f.to_json(f.struct(...columns.map(({ value }, index) => value.as(`c${index}`)))),
  };
}

const COUNTER = 5;

function converted(value: ReturnType<typeof f.col>, from: DataType, to: DataType) {
  if (sameType(from, to)) return value;
  // Text is what CSV and Spark's guesses at JSON have for everything; wider numbers are right.
  if (from.kind === "string") return checkedCast(value, to);
  const common = commonType(from, to);
  if (common !== undefined && sameType(common, to)) return value.cast(to);
  // What Spark guesses a JSON number to be.
  if (from.kind === "bigint" && ["tinyint", "smallint", "int", "double", "float", "decimal"].includes(to.kind)) {
    return checkedCast(value.cast(types.string), to);
  }
  if (from.kind === "double" && (to.kind === "float" || to.kind === "decimal"))
    return checkedCast(value.cast(types.string), to);
  // A decimal of Cassandra has any scale, and 18 digits of it here.
  return from.kind === "decimal" && to.kind === "decimal" ? value.cast(to) : undefined;
}

function sameNames(a: readonly string[], b: readonly string[]): boolean {
  const sorted = (names: readonly string[]) =>
    names
      .map((name) => name.toLowerCase())
      .toSorted()
      .join("\n");
  return sorted(a) === sorted(b);
}
