import * as f from "../../lib/spark/functions/index.js";
import type { Column, DataFrame } from "../../lib/spark/index.js";
import { ANY_NUMBER, type DataFile, dataFile, type Entries, type EntryTotals } from "./manifest-entries.js";
import type { BoundedColumn, Predicate } from "./partition-predicate.js";

/** Entries of tables with so many files that Spark looks for the touched ones; only those come to the driver. */
export class SparkEntries implements Entries, AsyncDisposable {
  readonly #grouped: DataFrame;
  readonly #columns: readonly BoundedColumn[];
  readonly #unpartitioned: readonly number[];

  private constructor(grouped: DataFrame, columns: readonly BoundedColumn[], unpartitioned: readonly number[]) {
    this.#grouped = grouped;
    this.#columns = columns;
    this.#unpartitioned = unpartitioned;
  }

  static async open(
    entries: DataFrame,
    columns: readonly BoundedColumn[],
    unpartitioned: readonly number[],
  ): Promise<SparkEntries> {
    const facts = ["spec", "partition", "records", "bytes"].concat(
      columns.flatMap(({ index }) => [`lower${index}`, `upper${index}`, `nulls${index}`, `values${index}`]),
    );
    const grouped = entries
      .groupBy("content", "path", "sequence", "place", "referenced")
      .agg(
        f.sum("in_before").as("in_before"),
        f.sum("in_after").as("in_after"),
        ...facts.map((name) => f.first(name).as(name)),
      );
    return new SparkEntries(await grouped.persist(), columns, unpartitioned);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#grouped.unpersist().catch(() => undefined);
  }

  async touched(most: number): Promise<readonly DataFile[] | undefined> {
    const deletes = this.#grouped.where(inOneOnly.and(f.not(isData)));
    const everywhere = f
      .col("content")
      .eqTo(2)
      .and(f.col("spec").isin(...this.#unpartitioned, -1));
    const [counted] = await deletes
      .agg(f.count(f.lit(1)).as("n"), f.coalesce(f.sum(everywhere.cast("int")), f.lit(0n)).as("everywhere"))
      .collect();
    if ((counted?.getBigInt("everywhere") ?? 0n) > 0n) return undefined;
    const touched = touchedData(this.#grouped, deletes, (counted?.getBigInt("n") ?? 0n) > 0n);
    return (await touched.limit(most + 1).collect()).map((row) => dataFile(row, this.#columns));
  }

  async totals(paths: readonly string[], before: Predicate, after: Predicate): Promise<EntryTotals> {
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
    const [row] = await this.#grouped
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
}

const isData = f.col("content").eqTo(0);
const inOneOnly = f.col("in_before").notEqual(f.col("in_after"));

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
