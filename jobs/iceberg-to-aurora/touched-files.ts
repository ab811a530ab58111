import * as f from "../../lib/spark/functions/index.js";
import { type Column, type DataFrame, quoteName, Row, type Value } from "../../lib/spark/index.js";
import type { IcebergField } from "./iceberg-metadata.js";
import {
  type BoundedColumn,
  boundable,
  type FileFacts,
  type Predicate,
  predicateOf,
  steadyField,
} from "./partition-predicate.js";
import type { Source } from "./source.js";

/** Paths that a query is given; more would make the plan larger than the reading it saves. */
const MAX_FILES = 5_000;
/** The column `file_path` of position delete files. */
const PATH_FIELD_ID = 2_147_483_546;
/** Columns whose bounds are looked at. */
const MAX_COLUMNS = 8;

/** One of the two snapshots, as far as its manifests tell what was touched. */
export interface TouchedEnd {
  /** Fulfilled by every row of the end's touched files. */
  readonly predicate: Predicate;
  /** Rows in the touched files, less those that delete files may take away at the most; `records`: without taking any away. */
  readonly leastRows: bigint;
  readonly records: bigint;
}

/** Data files by number, size and partition. */
export interface FileTotals {
  readonly files: number;
  readonly bytes: number;
  readonly partitions: number;
}

/**
 * What the manifests of two snapshots say was touched: rows of any other file are the same in both.
 */
export interface Touched {
  /** Paths of the files, of both snapshots. */
  readonly paths: readonly string[];
  readonly before: TouchedEnd;
  readonly after: TouchedEnd;
  /** What is touched, what has to be read for it, and what both snapshots have; of both snapshots together. */
  readonly touched: FileTotals;
  readonly read: FileTotals;
  readonly total: FileTotals;
}

/**
 * Finds the data files that were touched between two snapshots: those that are in one of them only, and those that a delete file
 * of one of them only may take rows from.
 *
 * Spark compares the manifests' entries; what was touched comes to the driver.
 *
 * @param from an ancestor of `to` or not: both ends are looked at, not the way between.
 * @returns why it can't be said, or would be too many, as text.
 */
export async function touchedFiles(
  source: Source,
  from: string,
  to: string,
  fields: readonly IcebergField[],
  keys: readonly number[],
): Promise<Touched | string> {
  const columns = boundedColumns(source, fields, keys);
  const entries = await allEntries(source, from, to, columns);
  if (typeof entries === "string") return entries;
  const grouped = await entries.persist();
  try {
    return await find(source, grouped, columns);
  } finally {
    await grouped.unpersist().catch(() => undefined);
  }
}

/** Key columns, what the table is partitioned by and what it is sorted by. */
function boundedColumns(
  source: Source,
  fields: readonly IcebergField[],
  keys: readonly number[],
): readonly BoundedColumn[] {
  const { metadata } = source;
  const ids = [
    ...keys.map((key) => fields[key]?.id),
    ...[...metadata.partitionSpecs.values()].flatMap((spec) => spec.fields.flatMap((field) => field.sourceIds)),
    ...metadata.sortFieldIds,
  ];
  return [...new Set(ids)]
    .flatMap((id) => steadyField(metadata, id ?? -1) ?? [])
    .filter((field) => boundable(field.type) && !field.name.includes("."))
    .slice(0, MAX_COLUMNS)
    .map((field, index) => ({ field, index }));
}

/** Every live entry of both snapshots: how often each is in the one and in the other. */
async function allEntries(
  source: Source,
  from: string,
  to: string,
  columns: readonly BoundedColumn[],
): Promise<DataFrame | string> {
  const table = `${quoteName(source.catalog)}.${source.identifier}.entries`;
  const [before, after] = await Promise.all(
    [from, to].map((id) => source.spark.sql(`SELECT * FROM ${table} VERSION AS OF ${id}`)),
  );
  if (before === undefined || after === undefined) throw new TypeError("Two snapshots are compared");
  const schema = await before.schema();
  const entry = schema.fields.find((field) => field.name === "data_file")?.dataType;
  const known = entry?.kind === "struct" ? entry.fields : [];
  const knows = (name: string) => known.some((field) => field.name === name);
  const file = (name: string) => f.col("data_file").getField(name);
  // The oldest manifests have data files only.
  const content = knows("content") ? f.coalesce(file("content"), f.lit(0)) : f.lit(0);
  const metrics = (column: BoundedColumn, name: string) =>
    f.col("readable_metrics").getField(column.field.name).getField(name);
  // Of format v2, a file with the deletes of one data file says so by the bounds of its paths, which are never cut short.
  const pathBound = (which: "lower" | "upper") => file(`${which}_bounds`).getItem(PATH_FIELD_ID);
  const one = (frame: DataFrame, end: "before" | "after") =>
    frame.where(f.col("status").notEqual(2)).select(
      f.lit(end === "before" ? 1 : 0).as("in_before"),
      f.lit(end === "after" ? 1 : 0).as("in_after"),
      content.as("content"),
      file("file_path").as("path"),
      f.coalesce(f.col("sequence_number"), f.lit(0n)).as("sequence"),
      // Several deletion vectors lie in one file.
      (knows("content_offset") ? file("content_offset") : f.lit(null).cast("bigint")).as("place"),
      f
        .coalesce(
          knows("referenced_data_file") ? file("referenced_data_file") : f.lit(null).cast("string"),
          f.when(content.eqTo(1).and(pathBound("lower").eqTo(pathBound("upper"))), pathBound("lower").cast("string")),
        )
        .as("referenced"),
      (knows("spec_id") ? file("spec_id") : f.lit(0)).as("spec"),
      (knows("partition") ? file("partition") : f.struct(f.lit(0).as("none"))).as("partition"),
      file("record_count").as("records"),
      file("file_size_in_bytes").as("bytes"),
      ...columns.flatMap((column) => [
        metrics(column, "lower_bound").as(`lower${column.index}`),
        metrics(column, "upper_bound").as(`upper${column.index}`),
        metrics(column, "null_value_count").as(`nulls${column.index}`),
        metrics(column, "value_count").as(`values${column.index}`),
      ]),
    );
  const facts = ["spec", "partition", "records", "bytes"].concat(
    columns.flatMap(({ index }) => [`lower${index}`, `upper${index}`, `nulls${index}`, `values${index}`]),
  );
  return one(before, "before")
    .union(one(after, "after"))
    .groupBy("content", "path", "sequence", "place", "referenced")
    .agg(
      f.sum("in_before").as("in_before"),
      f.sum("in_after").as("in_after"),
      ...facts.map((name) => f.first(name).as(name)),
    );
}

const isData = f.col("content").eqTo(0);
const inOneOnly = f.col("in_before").notEqual(f.col("in_after"));

async function find(source: Source, grouped: DataFrame, columns: readonly BoundedColumn[]): Promise<Touched | string> {
  const deletes = grouped.where(inOneOnly.and(f.not(isData)));
  const unpartitioned = [...source.metadata.partitionSpecs.values()]
    .filter((spec) => spec.fields.every((field) => field.transform === "void"))
    .map((spec) => spec.id);
  const everywhere = f
    .col("content")
    .eqTo(2)
    .and(f.col("spec").isin(...unpartitioned, -1));
  const [counted] = await deletes
    .agg(f.count(f.lit(1)).as("n"), f.coalesce(f.sum(everywhere.cast("int")), f.lit(0n)).as("everywhere"))
    .collect();
  if ((counted?.getBigInt("everywhere") ?? 0n) > 0n) {
    return "an equality delete without a partition may take rows from every file";
  }
  const files = (
    await touchedData(grouped, deletes, (counted?.getBigInt("n") ?? 0n) > 0n)
      .limit(MAX_FILES + 1)
      .collect()
  ).map((row) => touchedFile(row, columns));
  if (files.length > MAX_FILES) return `more than ${MAX_FILES} files were touched`;

  const paths = [...new Set(files.map((file) => file.path))];
  const [before, after] = (["before", "after"] as const).map((end) =>
    predicateOf(
      source.metadata,
      source.catalog,
      columns,
      files.filter((file) => file[end] > 0),
    ),
  );
  if (before === undefined || after === undefined) throw new TypeError("Two snapshots are compared");
  const numbers = await totals(grouped, paths, before, after);
  const sum = (end: "before" | "after") => files.reduce((all, file) => all + file.records * BigInt(file[end]), 0n);
  const least = (records: bigint, taken: bigint) => (records > taken ? records - taken : 0n);
  return {
    paths,
    before: { predicate: before, records: sum("before"), leastRows: least(sum("before"), numbers.deletedBefore) },
    after: { predicate: after, records: sum("after"), leastRows: least(sum("after"), numbers.deletedAfter) },
    touched: {
      files: files.reduce((all, file) => all + file.before + file.after, 0),
      bytes: files.reduce((all, file) => all + file.bytes * (file.before + file.after), 0),
      partitions: new Set(files.map((file) => `${file.specId} ${file.partitionText}`)).size,
    },
    read: numbers.read,
    total: numbers.total,
  };
}

/** Data files in one snapshot only, and those in both that a delete file in one only applies to. */
function touchedData(grouped: DataFrame, deletes: DataFrame, anyDeletes: boolean): DataFrame {
  const data = grouped.where(isData);
  const changed = data.where(inOneOnly);
  if (!anyDeletes) return changed;
  const same = data.where(f.not(inOneOnly)).as("data");
  const pointed = deletes.where(f.col("referenced").isNotNull()).select("referenced").distinct().as("pointed");
  const scoped = deletes.where(f.col("referenced").isNull()).select("spec", "partition").distinct().as("scoped");
  const byPath = same.join(pointed, f.col("data.path").eqTo(f.col("pointed.referenced")), "left_semi");
  const byPartition = same.join(
    scoped,
    f
      .col("data.spec")
      .eqTo(f.col("scoped.spec"))
      .and(f.col("data.partition").eqNullSafe(f.col("scoped.partition"))),
    "left_semi",
  );
  // A file that both find is there once.
  return changed.union(byPath.union(byPartition).dropDuplicates(["path", "sequence"]));
}

interface TouchedFile extends FileFacts {
  readonly path: string;
  /** How often the file is in the snapshot: once or not at all. */
  readonly before: number;
  readonly after: number;
  readonly records: bigint;
  readonly bytes: number;
}

function touchedFile(row: Row, columns: readonly BoundedColumn[]): TouchedFile {
  const partition = row.get("partition");
  const tuple = new Map<string, Value>();
  if (partition instanceof Row) {
    const { fields } = partition.schema;
    for (const [index, field] of fields.entries()) tuple.set(field.name, partition.get(index));
  }
  return {
    path: row.getString("path") ?? "",
    before: Number(row.getBigInt("in_before")),
    after: Number(row.getBigInt("in_after")),
    records: row.getBigInt("records") ?? 0n,
    bytes: Number(row.getBigInt("bytes")),
    specId: Number(row.get("spec")),
    partition: tuple,
    partitionText: JSON.stringify([...tuple.values()].map((value) => (value === null ? null : String(value)))),
    bounds: columns.map(({ index }) => ({
      lower: row.get(`lower${index}`),
      upper: row.get(`upper${index}`),
      nulls: row.getBigInt(`nulls${index}`),
      values: row.getBigInt(`values${index}`),
    })),
  };
}

interface Numbers {
  readonly read: FileTotals;
  readonly total: FileTotals;
  /** Rows that position deletes may take from touched files; all records' worth when there are equality deletes. */
  readonly deletedBefore: bigint;
  readonly deletedAfter: bigint;
}

async function totals(
  grouped: DataFrame,
  paths: readonly string[],
  before: Predicate,
  after: Predicate,
): Promise<Numbers> {
  const file = {
    specId: f.col("spec"),
    partition: f.col("partition"),
    lower: (index: number) => f.col(`lower${index}`),
    upper: (index: number) => f.col(`upper${index}`),
  };
  const read = f
    .when(before.files(file), f.col("in_before"))
    .otherwise(f.lit(0n))
    .plus(f.when(after.files(file), f.col("in_after")).otherwise(f.lit(0n)));
  const all = f.col("in_before").plus(f.col("in_after"));
  const tuple = f.struct(f.col("spec"), f.col("partition"));
  const sum = (column: Column) => f.coalesce(f.sum(column), f.lit(0n));
  const ofData = (column: Column) => sum(f.when(isData, column));
  const applies = f
    .col("referenced")
    .isNull()
    .or(f.col("referenced").isin(...paths, ""));
  const taken = (end: string) =>
    sum(
      f
        .when(f.col("content").eqTo(1).and(applies), f.col("records").multiply(f.col(end)))
        // An equality delete may take any number of rows.
        .when(f.col("content").eqTo(2).and(f.col(end).gt(0)), f.lit(ANY_NUMBER)),
    );
  const [row] = await grouped
    .withColumn("read", read)
    .withColumn("copies", all)
    .agg(
      ofData(f.col("read")).as("readFiles"),
      ofData(f.col("read").multiply(f.col("bytes"))).as("readBytes"),
      f.countDistinct(f.when(isData.and(f.col("read").gt(0)), tuple)).as("readPartitions"),
      ofData(f.col("copies")).as("files"),
      ofData(f.col("copies").multiply(f.col("bytes"))).as("bytes"),
      f.countDistinct(f.when(isData, tuple)).as("partitions"),
      taken("in_before").as("deletedBefore"),
      taken("in_after").as("deletedAfter"),
    )
    .collect();
  const number = (name: string) => Number(row?.getBigInt(name) ?? 0n);
  return {
    read: { files: number("readFiles"), bytes: number("readBytes"), partitions: number("readPartitions") },
    total: { files: number("files"), bytes: number("bytes"), partitions: number("partitions") },
    deletedBefore: row?.getBigInt("deletedBefore") ?? 0n,
    deletedAfter: row?.getBigInt("deletedAfter") ?? 0n,
  };
}

/** More rows than any table has, and small enough to be summed. */
const ANY_NUMBER = 1_000_000_000_000_000n;
