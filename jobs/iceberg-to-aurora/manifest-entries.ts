import * as f from "../../lib/spark/functions/index.js";
import { type DataFrame, quoteName, Row, type Value } from "../../lib/spark/index.js";
import type { IcebergField } from "./iceberg-metadata.js";
import { type BoundedColumn, boundable, type FileFacts, type Predicate, steadyField } from "./partition-predicate.js";
import type { Source } from "./source.js";

/** The column `file_path` of position delete files. */
const PATH_FIELD_ID = 2_147_483_546;
/** Columns whose bounds are looked at. */
const MAX_COLUMNS = 8;
/** More rows than any table has, and small enough to be summed. */
export const ANY_NUMBER = 1_000_000_000_000_000n;

/** A data file, and how often each of the two snapshots has it: once or not at all. */
export interface DataFile extends FileFacts {
  readonly path: string;
  readonly before: number;
  readonly after: number;
  readonly records: bigint;
  readonly bytes: number;
}

/** Data files by number, size and partition. */
export interface FileTotals {
  readonly files: number;
  readonly bytes: number;
  readonly partitions: number;
}

export interface EntryTotals {
  readonly read: FileTotals;
  readonly total: FileTotals;
  /** Rows that position deletes may take from touched files; all records' worth when there are equality deletes. */
  readonly deletedBefore: bigint;
  readonly deletedAfter: bigint;
}

/** What is asked of the manifests of two snapshots. */
export interface Entries {
  /**
   * Data files in one snapshot only, and those in both that a delete file in one only applies to.
   *
   * @param most how many of them at the most are worth having; one more may come.
   * @returns `undefined`: a delete file applies to every file.
   */
  touched(most: number): Promise<readonly DataFile[] | undefined>;
  /** @param paths of the touched files. */
  totals(paths: readonly string[], before: Predicate, after: Predicate): Promise<EntryTotals>;
}

/** Specs without a partition: what a delete file of one applies to is every file. */
export function unpartitionedSpecs({ metadata }: Source): readonly number[] {
  return [...metadata.partitionSpecs.values()]
    .filter((spec) => spec.fields.every((field) => field.transform === "void"))
    .map((spec) => spec.id);
}

/** Key columns, what the table is partitioned by and what it is sorted by. */
export function boundedColumns(
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

/** Every live entry of both snapshots, as often as it is there: `in_before` and `in_after` say in which. */
export async function entriesOf(
  source: Source,
  from: string,
  to: string,
  columns: readonly BoundedColumn[],
): Promise<DataFrame> {
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
  const one = (frame: DataFrame, end: "before" | "after") => {
    // Before Iceberg 1.11 Spark takes a table's snapshots for one and the same, so that a plan without their ids could be answered
    // from the cache of another range.
    const ofSnapshot = f.lit(end === "before" ? from : to).isNotNull();
    return frame.where(f.col("status").notEqual(2).and(ofSnapshot)).select(
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
  };
  return one(before, "before").union(one(after, "after"));
}

/** @param row one of {@link entriesOf}, or several in one. */
export function dataFile(row: Row, columns: readonly BoundedColumn[]): DataFile {
  const partition = row.get("partition");
  const tuple = new Map<string, Value>();
  if (partition instanceof Row) {
    const { fields } = partition.schema;
    for (const [index, field] of fields.entries()) tuple.set(field.name, partition.get(index));
  }
  return {
    path: row.getString("path") ?? "",
    before: Number(row.get("in_before")),
    after: Number(row.get("in_after")),
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
