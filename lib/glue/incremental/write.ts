import { parquetMetadataAsync } from "hyparquet";
import type { DataFrame, SparkSession, StructType } from "../../spark/index.js";
import { hadoopPath, hadoopReadPath, type ObjectStore } from "../../storage/index.js";

const FOOTERS_AT_ONCE = 8;

/** An attempt is nobody's to read, and its rows are published by other means: no mark that the folder is complete. */
const ATTEMPT_OPTIONS = { "mapreduce.fileoutputcommitter.marksuccessfuljobs": "false" };

/** What the executors wrote. */
export interface Written {
  readonly rows: bigint;
}

/**
 * Has the executors write rows as Parquet: one Spark operation. How many rows that were stands in the files' footers, which the
 * driver reads: Spark 3.5 sends no observed metrics with a write, and counting would be an operation more.
 *
 * @param folder a URI that nobody else writes to; it must not be there yet.
 * @param partitionBy columns whose values become folders.
 */
export async function writeParquet(
  rows: DataFrame,
  store: ObjectStore,
  folder: string,
  options: { readonly partitionBy?: readonly string[] } = {},
): Promise<Written> {
  const { partitionBy = [] } = options;
  const writer = rows.write.mode("error").options(ATTEMPT_OPTIONS);
  await (partitionBy.length === 0 ? writer : writer.partitionBy(...partitionBy)).parquet(hadoopPath(folder));
  return { rows: await countParquetRows(store, folder) };
}

/** Rows of all Parquet files below a folder, by their footers. */
export async function countParquetRows(store: ObjectStore, folder: string): Promise<bigint> {
  const files: { readonly uri: string; readonly size: number }[] = [];
  for await (const { uri, size } of store.list(`${folder}/`)) {
    const hidden = uri
      .slice(folder.length + 1)
      .split("/")
      .some((part) => /^[_.]/.test(part));
    if (!hidden) files.push({ uri, size });
  }
  let rows = 0n;
  const worker = async () => {
    for (let file = files.pop(); file !== undefined; file = files.pop()) {
      const { uri, size } = file;
      const slice = async (from: number, to = size) => {
        const bytes = await store.getRange(uri, from, to);
        return bytes.slice().buffer as ArrayBuffer;
      };
      const { num_rows } = await parquetMetadataAsync(
        { byteLength: size, slice },
        { initialFetchSize: 65_536, geoparquet: false },
      );
      rows += num_rows;
    }
  };
  await Promise.all(Array.from({ length: Math.min(FOOTERS_AT_ONCE, files.length) }, worker));
  return rows;
}

/** An attempt's rows, or those of some files, with the schema that is known, so that nothing is asked twice. */
export function readAttempt(
  spark: SparkSession,
  folder: string | readonly string[],
  schema: string | StructType,
): DataFrame {
  return spark.read.schema(schema).parquet(...[folder].flat().map(hadoopReadPath));
}
