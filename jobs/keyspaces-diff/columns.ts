import { ExitCode, UserError } from "../../lib/errors.js";
import { type DiffNames, diffNames } from "../../lib/glue/diff/index.js";
import type { JobContext } from "../../lib/glue/index.js";
import * as f from "../../lib/spark/functions/index.js";
import {
  and,
  type Column,
  type DataFrame,
  or,
  quoteName,
  type SparkSession,
  type StructField,
  type StructType,
  sameType,
  simpleString,
  types,
} from "../../lib/spark/index.js";
import type { FileFormat } from "./arguments.js";
import { type CellWrite, freeName, keptCells } from "./cells.js";
import { type Target, tableText } from "./cluster.js";
import { converted, holdsValue, isCollection, readAs } from "./conversion.js";
import { foreignSchema } from "./files.js";
import { type Folder, type Manifest, manifestSchema } from "./folders.js";

/** How the files' columns become the table's. */
export interface ColumnPlan {
  /** The schema to read the files with, and whether they are ours. */
  readonly schema: StructType;
  readonly isOurs: boolean;
  readonly format: FileFormat;
  readonly diffColumn: string | undefined;
  /** What is written, one after the other. */
  upserts(rows: DataFrame): readonly TableWrite[];
  /** Keys of the rows that go. */
  readonly deletes: ((rows: DataFrame) => DataFrame) | undefined;
  /** Partition keys of the static columns that go, out of the rows of all files. */
  readonly staticDeletes: ((rows: DataFrame) => DataFrame) | undefined;
  /** Name of a column of both with the timestamp that the delete carries, instead of the import's. */
  readonly goneAt: string | undefined;
  /** Whether a cell of a row is older than it was before; `undefined` where ages aren't known. */
  readonly wentBack: Column | undefined;
  /** Whether a row can't be written, as a column of it is missing in its key. */
  readonly hasNoKey: Column;
  /** Fails on a row whose values don't fit; `undefined` when the types say that all do. */
  readonly check: Column | undefined;
}

/** What is written of rows, or of partitions: static columns of those that have no rows, and lists that are static. */
export interface TableWrite extends CellWrite {
  readonly of: "rows" | "partitions";
}

/**
 * Matches the columns of files and table.
 *
 * @param timestamp of the import, in microseconds since 1970.
 * @throws UserError `IMPORT_COLUMNS_UNLIKE` with everything that doesn't fit.
 */
export async function columnsOf(
  context: JobContext<{ readonly FORMAT: FileFormat; readonly DISTINCT_KEYS: readonly string[] | undefined }>,
  spark: SparkSession,
  target: Target,
  folder: Folder,
  kind: Manifest["kind"],
  timestamp: bigint | undefined,
): Promise<ColumnPlan> {
  const { args } = context;
  const { table } = target;
  const name = tableText(table);
  const known = manifestSchema(folder);
  const format = args.FORMAT;
  const uris = folder.files.map(({ uri }) => uri);
  const found = known ?? (await foreignSchema(spark, uris, format, "texts"));
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
  const schema = known ?? types.struct(found.fields.map((field) => readField(field, tableSchema, names)));
  const has = new Map(schema.fields.map((field) => [field.name.toLowerCase(), field]));
  if (names !== undefined && !has.has(names.diffColumn.toLowerCase())) {
    problems.push(`the column ${names.diffColumn}, which says what is to be done with a row, is missing in the files`);
  }
  const isNew = names === undefined ? [] : [f.col(quoteName(names.diffColumn)).eqTo(names.labels.insert)];
  const columns = tableSchema.fields.flatMap(({ name: column, dataType }) => {
    const about = table.columns.find((one) => one.name === column);
    const isKey = table.primaryKey.includes(column);
    const from = isKey || names === undefined ? column : names.right(column);
    const left = isKey || names === undefined ? undefined : has.get(names.left(column).toLowerCase());
    const field = has.get(from.toLowerCase());
    // JSON leaves a column out that is NULL in every row: when there is an old value, it is the new one that is NULL.
    const nothing = field === undefined && left !== undefined && known === undefined;
    if (field === undefined && !nothing) {
      if (isKey) problems.push(`the key column ${column} is missing in the files`);
      return [];
    }
    const given =
      field === undefined
        ? f.lit(null).cast(dataType)
        : converted(f.col(quoteName(field.name)), field.dataType, dataType);
    if (given === undefined) {
      problems.push(
        `${field?.name} is ${simpleString(field?.dataType ?? dataType)} in the files and ${simpleString(dataType)} in ${name}`,
      );
      return [];
    }
    const isStatic = about?.kind === "static";
    // The connector has NULL as an empty collection: only a frozen one would be written as such.
    const isFrozen = isCollection(dataType) && !isKey && about?.elements === false;
    return [
      {
        column,
        isKey,
        isStatic,
        isClustering: about?.kind === "clustering",
        isList: about !== undefined && about.code === LIST && about.elements,
        value: isFrozen ? f.when(f.size(given).gt(0), given) : given,
        holds: holdsValue(given, dataType),
        clears:
          left === undefined
            ? f.lit(true)
            : or(
                holdsValue(f.col(quoteName(left.name)), left.dataType),
                // A new row may be one of a partition that was there before.
                ...(isStatic ? isNew : []),
              ),
        isSure: field === undefined || sameType(field.dataType, dataType),
      },
    ];
  });
  const cells = keptCells(folder);
  const wanted = namesInFiles(schema, names, keys, values, known !== undefined).filter((c) => !cells.isOwn(c));
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
  const hasStatics = table.columns.some((column) => column.kind === "static");
  if (kind === "diff" && hasStatics && folder.manifest?.statics === undefined) {
    context.report.warn(
      "STATIC_COLUMNS",
      "Static columns belong to a partition, and the files don't say which partitions have gone: theirs stay",
    );
  }
  const kindOf = names === undefined ? undefined : f.col(quoteName(names.diffColumn));
  const others = columns.filter(({ isKey }) => !isKey);
  const [plain, statics] = [others.filter((one) => !one.isStatic), others.filter((one) => one.isStatic)];
  const named = (chosen: typeof columns) => chosen.map(({ column, value }) => value.as(column));
  const keyColumns = named(columns.filter(({ isKey }) => isKey));
  const partition = columns.filter(({ isKey, isClustering }) => isKey && !isClustering);
  const clustering = columns.filter(({ isClustering }) => isClustering);
  const missing = clustering.map(({ value }) => value.isNull());
  // A partition that has nothing but static columns comes as a row without clustering columns.
  // Another tool's may be a row whose text in the key is empty, which CSV has as NULL: with it would go what other rows share.
  const isDelete = names === undefined ? f.lit(false) : f.col(quoteName(names.diffColumn)).eqTo(names.labels.delete);
  const isBare = hasStatics
    ? and(...missing, ...plain.map(({ holds }) => holds.not()), ...(known === undefined ? [isDelete.not()] : []))
    : f.lit(false);
  // The static columns of a partition that has gone are columns of its rows here, and go with these.
  const isNothing =
    hasStatics || missing.length === 0 || folder.manifest?.statics === undefined
      ? f.lit(false)
      : isDelete.and(or(...missing));
  const written = (rows: DataFrame) =>
    kindOf === undefined || names === undefined
      ? rows
      : rows.where(kindOf.isin(names.labels.insert, names.labels.change));
  const gone = (rows: DataFrame) =>
    kindOf === undefined || names === undefined ? undefined : rows.where(kindOf.eqTo(names.labels.delete));
  const cellNames = {
    fileColumn: (column: string) => names?.right(column) ?? column,
    oldColumn: (column: string) => (names === undefined ? undefined : has.get(names.left(column).toLowerCase())?.name),
    taken: table.columns.map((column) => column.name),
    lasting: table.defaultTtl > 0,
  };
  const hasOwn = cells.timed || cells.expiring;
  const partitionValues = [...partition, ...statics];
  const [beside, besideStatics] =
    kind === "export" && cells.timed
      ? [await cellsOfTarget(target, columns, schema), await cellsOfTarget(target, partitionValues, schema)]
      : [];
  const upserts = (rows: DataFrame): readonly TableWrite[] => {
    const chosen = written(rows);
    const whole = hasStatics ? chosen.where(isBare.not()) : chosen;
    const clearing = (of: typeof columns, there: typeof beside) =>
      there === undefined ? of : of.map((one) => ({ ...one, clears: there.clears(one.column) }));
    // With each row they would give it a mark of its own, which lives as long as they do.
    const inRows = hasOwn ? [] : statics.filter(({ isList }) => !isList);
    const ofRows = cells
      .writes(beside?.join(whole) ?? whole, keyColumns, [...clearing(plain, beside), ...inRows], cellNames)
      .map((write): TableWrite => ({ ...write, of: "rows" }));
    if (!hasStatics) return ofRows;
    // Each row of a partition has its static columns: written with each, lists would have all elements that often.
    const ofPartitions = (from: DataFrame, values: typeof statics) =>
      cells
        .writes(besideStatics?.join(from) ?? from, named(partition), clearing(values, besideStatics), cellNames)
        .filter((write) => write.values.length > 0)
        .map(
          (write): TableWrite => ({
            ...write,
            rows: write.rows.dropDuplicates([...table.partitionKey]),
            of: "partitions",
          }),
        );
    if (hasOwn) return [...ofRows, ...ofPartitions(chosen, statics)];
    const lists = statics.filter(({ isList }) => isList);
    return [...ofRows, ...ofPartitions(chosen.where(isBare), inRows), ...ofPartitions(chosen, lists)];
  };
  // What goes, goes with a time that takes no more than what was there; lists have any time after that of their export.
  const { pastExportedAt, exportedAt } = folder.manifest ?? {};
  const isTimed = kind === "diff" && cells.timed && timestamp !== undefined;
  const goneName = freeName("glue_writetime", cellNames.taken);
  const goneAt = (which: typeof columns) => {
    if (!isTimed) return [];
    const isKnown = microsOf(exportedAt) === timestamp && !which.some(({ isList }) => isList);
    const least = f.lit((isKnown ? microsOf(pastExportedAt) : undefined) ?? timestamp);
    const ages = cells
      .writetimes((column) => which.some((one) => one.column === column))
      .flatMap((column) => cellNames.oldColumn(column) ?? []);
    return [(ages.length === 0 ? least : f.greatest(least, ...ages.map((age) => f.col(quoteName(age))))).as(goneName)];
  };
  const wentBack = cells.writetimes().flatMap((column) => {
    const old = cellNames.oldColumn(column);
    return old === undefined ? [] : [f.col(quoteName(cellNames.fileColumn(column))).lt(f.col(quoteName(old)))];
  });
  const isText = format !== "parquet";
  return {
    schema,
    isOurs: known !== undefined,
    format,
    diffColumn: names?.diffColumn,
    upserts,
    deletes:
      names === undefined
        ? undefined
        : (rows) =>
            (gone(rows) as DataFrame).where(or(isBare, isNothing).not()).select(...keyColumns, ...goneAt(plain)),
    staticDeletes:
      names === undefined || !hasStatics
        ? undefined
        : (rows) => {
            const left = (gone(rows) as DataFrame).where(isBare).select(...named(partition), ...goneAt(statics));
            // One that has rows now, has written its static columns with them.
            return left.join(written(rows).select(...named(partition)), [...table.partitionKey], "left_anti");
          },
    goneAt: isTimed ? goneName : undefined,
    wentBack: wentBack.length === 0 ? undefined : or(...wentBack),
    hasNoKey: or(
      ...partition.map(({ value }) => value.isNull()),
      ...(missing.length === 0 ? [] : [or(...missing).and(or(isBare, isNothing).not())]),
    ),
    check:
      !isText && columns.every(({ isSure }) => isSure)
        ? undefined
        : f.to_json(f.struct(...columns.map(({ value }, index) => value.as(`c${index}`)))),
  };
}

/** Microseconds since 1970. */
function microsOf(time: string | undefined): bigint | undefined {
  return time === undefined ? undefined : BigInt(Date.parse(time)) * 1000n;
}

/** A field of another tool's JSON, with the type by which it is read. */
function readField(field: StructField, table: StructType, names: DiffNames | undefined): StructField {
  const column = table.fields.find(({ name }) =>
    [name, names?.left(name), names?.right(name)].some((one) => one?.toLowerCase() === field.name.toLowerCase()),
  );
  return column === undefined ? field : { ...field, dataType: readAs(field.dataType, column.dataType) };
}

/** Names of the table's columns that the files' columns stand for, and of those that stand for none. */
function namesInFiles(
  schema: StructType,
  names: DiffNames | undefined,
  keys: readonly string[],
  values: readonly string[],
  isOurs: boolean,
): readonly string[] {
  if (names !== undefined && isOurs) return values;
  const all = schema.fields.map(({ name }) => name);
  if (names === undefined) return all;
  const known = [names.diffColumn, ...keys, ...values.flatMap((name) => [names.left(name), names.right(name)])];
  const taken = new Set(known.map((name) => name.toLowerCase()));
  return all.filter((name) => !taken.has(name.toLowerCase()));
}

/**
 * Which cells the target has, of rows or of partitions, joined to rows of a whole table: only those have something to clear. `undefined`: it has no rows at all, and
 * nothing needs to be looked at.
 */
async function cellsOfTarget(
  target: Target,
  columns: readonly { readonly column: string; readonly isKey: boolean; readonly value: Column }[],
  { fields }: StructType,
) {
  if (await target.rows().isEmpty()) return { join: (rows: DataFrame) => rows, clears: () => f.lit(false) };
  const [keys, values] = [columns.filter(({ isKey }) => isKey), columns.filter(({ isKey }) => !isKey)];
  const taken = new Set(fields.map(({ name }) => name.toLowerCase()));
  const free = (name: string): string => (taken.has(name) ? free(`${name}_`) : name);
  const keyNames = keys.map((_key, index) => free(`glue_key_${index}`));
  const valueNames = new Map(values.map(({ column }, index) => [column, free(`glue_set_${index}`)]));
  const typeOf = (column: string) => target.schema.fields.find(({ name }) => name === column)?.dataType;
  const there = target.rows().select(
    ...keys.map(({ column }, index) => f.col(quoteName(column)).as(keyNames[index] ?? "")),
    ...[...valueNames].map(([column, name]) => {
      const type = typeOf(column);
      const value = f.col(quoteName(column));
      return (type === undefined ? value.isNotNull() : holdsValue(value, type)).as(name);
    }),
  );
  const isOfRows = keys.length === target.table.primaryKey.length;
  const same = and(...keys.map(({ value }, index) => value.eqNullSafe(f.col(keyNames[index] ?? ""))));
  return {
    join: (rows: DataFrame) => rows.join(isOfRows ? there : there.dropDuplicates(keyNames), same, "left_outer"),
    clears: (column: string) => f.coalesce(f.col(valueNames.get(column) ?? ""), f.lit(false)),
  };
}

/** The driver's codes. */
const COUNTER = 5;
export const LIST = 32;

function sameNames(a: readonly string[], b: readonly string[]): boolean {
  const sorted = (names: readonly string[]) =>
    names
      .map((name) => name.toLowerCase())
      .toSorted()
      .join("\n");
  return sorted(a) === sorted(b);
}
