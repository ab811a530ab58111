import * as f from "../../lib/spark/functions/index.js";
import { type Column, Decimal, LocalTimestamp, quoteName, Timestamp, type Value } from "../../lib/spark/index.js";
import { parseDate } from "../../lib/spark/values/temporal.js";
import type { IcebergField, IcebergMetadata, IcebergType, PartitionField } from "./iceberg-metadata.js";
import type { Restriction } from "./source.js";

/** A column whose bounds in each file help to leave files out. */
export interface BoundedColumn {
  readonly field: IcebergField;
  /** Position among the bounds that are asked for, see {@link FileBounds}. */
  readonly index: number;
}

/** What the metadata say of one column of one file. */
export interface FileBounds {
  readonly lower: Value;
  readonly upper: Value;
  /** How many values are NULL; `null`: not known. */
  readonly nulls: bigint | null;
  readonly values: bigint | null;
}

/** A data file, as far as a condition on its rows is made from it. */
export interface FileFacts {
  readonly specId: number;
  /** Parts of the partition tuple, by the name that the metadata tables give them. */
  readonly partition: ReadonlyMap<string, Value>;
  /** Same text, same tuple. */
  readonly partitionText: string;
  readonly bounds: readonly FileBounds[];
}

/** Conditions that rows may be asked for and that files may be asked for. */
export interface Predicate {
  /** Every row of the files fulfils it. Rows of other files may do so, too: it only saves reading. */
  readonly rows: Restriction;
  /**
   * Whether a file can have such rows.
   *
   * @param file its columns by what they are: the metadata tables' own names are the caller's affair.
   */
  readonly files: (file: FileColumns) => Column;
  /** The same of a file whose facts are here. */
  readonly holds: (file: FileFacts) => boolean;
}

export interface FileColumns {
  readonly specId: Column;
  readonly partition: Column;
  readonly lower: (index: number) => Column;
  readonly upper: (index: number) => Column;
}

/** More groups of files than this are described together, by sets of values for each part. */
const MAX_GROUPS = 64;
/** Ranges in one condition on one column, over all groups. */
const MAX_RANGES = 64;
const MAX_VALUES = 512;

/**
 * A condition that every row of some files fulfils, made from what their manifests say: the partition tuples, by the same
 * functions that Iceberg partitions with, and the bounds of columns. Parts that can't be trusted to mean the same in a query
 * (another type since, floats, transforms that are not known here) put no condition.
 *
 * @param catalog whose `system` functions are the transforms.
 */
export function predicateOf(
  metadata: IcebergMetadata,
  catalog: string,
  columns: readonly BoundedColumn[],
  files: readonly FileFacts[],
): Predicate {
  if (files.length === 0) return { rows: () => f.lit(false), files: () => f.lit(false), holds: () => false };
  const groups = groupFiles(metadata, columns, files);
  return {
    rows: (written) => anyOf(groups.map((group) => groupRows(group, catalog, written))),
    files: (file) => anyOf(groups.map((group) => groupFilesColumn(group, file))),
    holds: (file) => groups.some((group) => groupHolds(group, file)),
  };
}

/** One part of a partition tuple that a query can compute. */
interface Term {
  readonly field: PartitionField;
  readonly source: IcebergField;
  /** Name of the part in the metadata tables. */
  readonly part: string;
}

interface Group {
  readonly specId: number;
  readonly terms: readonly { readonly term: Term; readonly values: readonly Value[] }[];
  readonly ranges: readonly { readonly column: BoundedColumn; readonly ranges: RangeSet }[];
}

interface RangeSet {
  readonly ranges: readonly Range[];
  /** NULL is among the values, or may be. */
  readonly nulls: boolean;
}

interface Range {
  readonly lower: Value;
  readonly upper: Value;
}

function groupFiles(
  metadata: IcebergMetadata,
  columns: readonly BoundedColumn[],
  files: readonly FileFacts[],
): readonly Group[] {
  const byTuple = groupBy(files, (file) => `${file.specId} ${file.partitionText}`);
  const bySpec = groupBy(files, (file) => file.specId);
  const groups = [...(byTuple.size <= MAX_GROUPS ? byTuple : bySpec).values()];
  const rangesEach = Math.max(1, Math.floor(MAX_RANGES / groups.length));
  return groups.map((members) => {
    const specId = members[0]?.specId ?? 0;
    return {
      specId,
      terms: termsOf(metadata, specId, members[0]).flatMap((term) => {
        const values = distinct(members.map((file) => file.partition.get(term.part) ?? null));
        return values.length > MAX_VALUES ? [] : [{ term, values }];
      }),
      ranges: columns.flatMap((column) => {
        const ranges = rangesOf(column, members, rangesEach);
        return ranges === undefined ? [] : [{ column, ranges }];
      }),
    };
  });
}

/** The parts of a spec that a query can compute, and their names in the metadata tables. */
function termsOf(metadata: IcebergMetadata, specId: number, sample: FileFacts | undefined): readonly Term[] {
  const names = partNames(metadata);
  return (metadata.partitionSpecs.get(specId)?.fields ?? []).flatMap((field) => {
    const part = names.get(field.id);
    const source = sourceField(metadata, field);
    if (part === undefined || source === undefined || sample?.partition.has(part) !== true) return [];
    if (!computable(field.transform, source.type)) return [];
    return [{ field, source, part }];
  });
}

/** Iceberg names the parts after the newest spec that has them; a name that two parts share says nothing. */
function partNames(metadata: IcebergMetadata): ReadonlyMap<number, string> {
  const names = new Map<number, string>();
  for (const spec of [...metadata.partitionSpecs.values()].toSorted((a, b) => b.id - a.id)) {
    for (const field of spec.fields) if (!names.has(field.id)) names.set(field.id, field.name);
  }
  const shared = groupBy([...names], ([, name]) => name.toLowerCase());
  return new Map([...names].filter(([, name]) => shared.get(name.toLowerCase())?.length === 1));
}

/** The column that a part is made from, if it is a top-level one that has had one kind of values all along. */
function sourceField(metadata: IcebergMetadata, field: PartitionField): IcebergField | undefined {
  const id = field.sourceIds.length === 1 ? field.sourceIds[0] : undefined;
  return id === undefined ? undefined : steadyField(metadata, id);
}

/** A top-level column by id, unless its values were of another kind in one of the schemas. */
export function steadyField(metadata: IcebergMetadata, id: number): IcebergField | undefined {
  const found = [...metadata.schemas.values()].flatMap((schema) => schema.fields.filter((field) => field.id === id));
  const kinds = new Set(found.map((field) => kindOf(field.type)));
  const [kind] = kinds;
  if (kinds.size !== 1 || kind === undefined) return undefined;
  return metadata.schemas.get(metadata.currentSchemaId)?.fields.find((field) => field.id === id);
}

/** Types whose values count as the same to every transform and comparison share a kind; `undefined`: not to be relied on. */
function kindOf(type: IcebergType): string | undefined {
  if (type.kind !== "primitive") return undefined;
  switch (type.name) {
    case "int":
    case "long":
      return "integer";
    case "decimal":
      return `decimal ${type.scale}`;
    case "string":
    case "date":
    case "timestamp":
    case "timestamptz":
    case "boolean":
      return type.name;
    default:
      return undefined;
  }
}

function computable(transform: string, type: IcebergType): boolean {
  const kind = kindOf(type)?.replace(/ .*/, "");
  if (kind === undefined) return false;
  const name = transform.replace(/\[.*/, "");
  switch (name) {
    case "identity":
      return true;
    case "bucket":
      return kind !== "boolean";
    case "truncate":
      return ["integer", "decimal", "string"].includes(kind);
    case "year":
    case "month":
    case "day":
      return ["date", "timestamp", "timestamptz"].includes(kind);
    case "hour":
      return ["timestamp", "timestamptz"].includes(kind);
    default:
      return false;
  }
}

/** The transform's value of a row, by the function that Iceberg itself brings, so that Iceberg understands the condition. */
function transformed(term: Term, catalog: string, column: Column): Column {
  const [, name = "", argument] = /^(\w+)(?:\[(\d+)\])?$/.exec(term.field.transform) ?? [];
  if (name === "identity") return column;
  const called = ["year", "month", "day", "hour"].includes(name) ? `${name}s` : name;
  const width = argument === undefined ? [] : [f.lit(Number(argument))];
  return f.callFunction(`${quoteName(catalog)}.system.${called}`, ...width, column);
}

function groupRows(group: Group, catalog: string, written: ReadonlyMap<number, IcebergField>): Column {
  const conditions: Column[] = [];
  for (const { term, values } of group.terms) {
    const source = written.get(term.source.id);
    // A column that the snapshot doesn't know had no part in it.
    if (source === undefined) continue;
    const column = f.col(quoteName(source.name));
    const given = values.filter((value) => value !== null);
    const literals = given.map((value) => valueLiteral(value, partType(term)));
    conditions.push(
      anyOf([
        ...(literals.length > 0 ? [oneOf(transformed(term, catalog, column), literals)] : []),
        ...(given.length < values.length ? [column.isNull()] : []),
      ]),
    );
  }
  for (const { column, ranges } of group.ranges) {
    const source = written.get(column.field.id);
    if (source === undefined) continue;
    const value = f.col(quoteName(source.name));
    conditions.push(
      anyOf([
        ...ranges.ranges.map(({ lower, upper }) =>
          value.geq(valueLiteral(lower, column.field.type)).and(value.leq(valueLiteral(upper, column.field.type))),
        ),
        ...(ranges.nulls ? [value.isNull()] : []),
      ]),
    );
  }
  return allOf(conditions);
}

function groupFilesColumn(group: Group, file: FileColumns): Column {
  const sameSpec = allOf(
    group.terms.map(({ term, values }) => {
      const part = file.partition.getField(term.part);
      const given = values.filter((value) => value !== null);
      const literals = given.map((value) => valueLiteral(value, partType(term)));
      return anyOf([
        ...(literals.length > 0 ? [f.coalesce(oneOf(part, literals), f.lit(false))] : []),
        ...(given.length < values.length ? [part.isNull()] : []),
      ]);
    }),
  );
  const overlapping = group.ranges.map(({ column, ranges }) => {
    const [lower, upper] = [file.lower(column.index), file.upper(column.index)];
    return anyOf([
      ...ranges.ranges.map((range) =>
        f.coalesce(
          lower
            .leq(valueLiteral(range.upper, column.field.type))
            .and(upper.geq(valueLiteral(range.lower, column.field.type))),
          f.lit(true),
        ),
      ),
      ...(ranges.nulls ? [f.lit(true)] : []),
    ]);
  });
  return allOf([file.specId.notEqual(f.lit(group.specId)).or(sameSpec), ...overlapping]);
}

/** What {@link groupFilesColumn} says in Spark. */
function groupHolds(group: Group, file: FileFacts): boolean {
  const sameSpec = group.terms.every(({ term, values }) => {
    const part = textOf(file.partition.get(term.part) ?? null);
    return values.some((value) => textOf(value) === part);
  });
  const overlaps = group.ranges.every(({ column, ranges }) => {
    const { lower = null, upper = null } = file.bounds[column.index] ?? {};
    const compare = comparison(column.field.type);
    const reaches = (range: Range) =>
      (lower === null || compare(lower, range.upper) <= 0) && (upper === null || compare(upper, range.lower) >= 0);
    return ranges.nulls || ranges.ranges.some(reaches);
  });
  return (file.specId !== group.specId || sameSpec) && overlaps;
}

/** The type that a part's values have. */
function partType(term: Term): IcebergType {
  const name = term.field.transform.replace(/\[.*/, "");
  if (name === "identity" || name === "truncate") return term.source.type;
  return { kind: "primitive", name: name === "day" ? "date" : "int" };
}

/** @returns `undefined` when a file tells nothing of the column. */
function rangesOf(column: BoundedColumn, files: readonly FileFacts[], most: number): RangeSet | undefined {
  const ranges: Range[] = [];
  let nulls = false;
  for (const file of files) {
    const bounds = file.bounds[column.index];
    if (bounds === undefined) return undefined;
    if (bounds.nulls !== 0n && !column.field.required) nulls = true;
    if (bounds.lower !== null && bounds.upper !== null) ranges.push({ lower: bounds.lower, upper: bounds.upper });
    else if (bounds.nulls === null || bounds.nulls !== bounds.values) return undefined;
  }
  return { ranges: merged(ranges, most, column.field.type), nulls };
}

/** Joins ranges that overlap, and then neighbours until there are few enough. */
function merged(ranges: readonly Range[], most: number, type: IcebergType): readonly Range[] {
  const compare = comparison(type);
  let joined: Range[] = [];
  for (const range of ranges.toSorted((a, b) => compare(a.lower, b.lower))) {
    const last = joined.at(-1);
    if (last === undefined || compare(range.lower, last.upper) > 0) joined.push(range);
    else if (compare(range.upper, last.upper) > 0) joined[joined.length - 1] = { ...last, upper: range.upper };
  }
  while (joined.length > most) {
    joined = joined.flatMap((range, index) =>
      index % 2 === 1 ? [] : [{ lower: range.lower, upper: joined[index + 1]?.upper ?? range.upper }],
    );
  }
  return joined;
}

function comparison(type: IcebergType): (a: Value, b: Value) => number {
  return (a, b) => compareValues(sortable(a, type), sortable(b, type));
}

function compareValues(a: bigint | string, b: bigint | string): number {
  if (typeof a === "bigint" && typeof b === "bigint") return a < b ? -1 : a > b ? 1 : 0;
  // Spark orders text by its bytes.
  return Buffer.compare(Buffer.from(String(a)), Buffer.from(String(b)));
}

/** A value in a form that JavaScript orders as Spark does. */
function sortable(value: Value, type: IcebergType): bigint | string {
  if (typeof value === "bigint") return value;
  if (typeof value === "number") return BigInt(value);
  if (value instanceof Timestamp || value instanceof LocalTimestamp) return value.epochMicros;
  const name = type.kind === "primitive" ? type.name : "";
  if (name === "date") return BigInt(parseDate(String(value)));
  // Decimals of one column share a scale.
  return name === "decimal" ? new Decimal(String(value)).unscaled : String(value);
}

function groupBy<T, K>(items: readonly T[], keyOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return groups;
}

function distinct(values: readonly Value[]): Value[] {
  return [...new Map(values.map((value) => [textOf(value), value])).values()];
}

/** Equal values of one column have the same text, and no other. */
const textOf = (value: Value) => (value === null ? "null" : `=${String(value)}`);

function valueLiteral(value: Value, type: IcebergType): Column {
  if (type.kind !== "primitive") throw new TypeError("Only values of primitive types bound a file");
  if (type.name === "date") return f.lit(String(value)).cast("date");
  if (type.name === "decimal") {
    return f.lit(new Decimal(String(value))).cast(`decimal(${type.precision ?? 38},${type.scale ?? 0})`);
  }
  return f.lit(value as string | number | bigint | boolean | Timestamp | LocalTimestamp);
}

const oneOf = (column: Column, values: readonly Column[]) =>
  values.length === 1 && values[0] !== undefined ? column.eqTo(values[0]) : column.isin(...values);

/** Balanced: a chain would nest as deep as it is long, and protobuf refuses that. */
function balanced(columns: readonly Column[], join: (a: Column, b: Column) => Column): Column | undefined {
  if (columns.length <= 1) return columns[0];
  const middle = columns.length >> 1;
  const [left, right] = [balanced(columns.slice(0, middle), join), balanced(columns.slice(middle), join)];
  return left !== undefined && right !== undefined ? join(left, right) : (left ?? right);
}

const anyOf = (columns: readonly Column[]) => balanced(columns, (a, b) => a.or(b)) ?? f.lit(false);
const allOf = (columns: readonly Column[]) => balanced(columns, (a, b) => a.and(b)) ?? f.lit(true);

/** Whether values of the type have an order that bounds can be compared in. */
export function boundable(type: IcebergType): boolean {
  const kind = kindOf(type);
  return kind !== undefined && kind !== "boolean";
}
