/**
 * Settings of a session that joins two versions of the same rows. Where every partition of a side is found to be small, Spark then hashes it and
 * sorts neither, which comparing two exports gains by (bench/RESULTS.md). Greater ones are sorted, which spills instead of running out of memory. The limit can't be below the size that Spark gives partitions (`spark.sql.adaptive.advisoryPartitionSizeInBytes`, 64 MB).
 *
 * Source: https://spark.apache.org/docs/3.5.6/sql-performance-tuning.html#converting-sort-merge-join-to-shuffled-hash-join
 */
export const JOIN_SETTINGS: Readonly<Record<string, string>> = {
  "spark.sql.adaptive.maxShuffledHashJoinLocalMapThreshold": "64MB",
};
