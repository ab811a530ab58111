import type { DataFrame, SparkSession, StructType } from "../../spark/index.js";
import { hadoopPath, hadoopReadPath, isRowsFile, type ObjectStore } from "../../storage/index.js";
import { PLAIN_FILES_SETTING } from "../../targets/local/plain-files.js";
import { countRows, type StoredFile } from "./parquet-files.js";

/** An attempt is nobody's to read, and its rows are published by other means: no mark that the folder is complete. */
const ATTEMPT_OPTIONS = { "mapreduce.fileoutputcommitter.marksuccessfuljobs": "false" };

const RAW_FILES = "org.apache.hadoop.fs.RawLocalFileSystem";
/** Names of file systems, by session. */
const PLAIN_FILES = new WeakMap<SparkSession, string>();

/**
 * Options for a folder on a local disk: what is moved to where readers find it leaves its checksum files behind, so none are written. Each
 * would be one more file to make for every file of rows.
 */
async function plainFiles(spark: SparkSession, folder: string): Promise<Readonly<Record<string, string>>> {
  if (!folder.startsWith("file:")) return {};
  const impl = PLAIN_FILES.get(spark) ?? (await spark.conf.getOption(PLAIN_FILES_SETTING)) ?? RAW_FILES;
  PLAIN_FILES.set(spark, impl);
  // Hadoop would give the file system that it has for other files.
  return { "fs.file.impl": impl, "fs.file.impl.disable.cache": "true" };
}

/** What the executors wrote. */
export interface Written {
  readonly rows: bigint;
  /** The files of rows. */
  readonly files: readonly StoredFile[];
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
  const writer = rows.write.mode("error").options({ ...ATTEMPT_OPTIONS, ...(await plainFiles(rows.session, folder)) });
  await (partitionBy.length === 0 ? writer : writer.partitionBy(...partitionBy)).parquet(hadoopPath(folder));
  const files = await writtenFiles(store, folder);
  return { rows: await countRows(store, files), files };
}

/** Rows of all Parquet files below a folder, by their footers. */
export async function countParquetRows(store: ObjectStore, folder: string): Promise<bigint> {
  return await countRows(store, await writtenFiles(store, folder));
}

/** The files of rows below a folder. */
export async function writtenFiles(store: ObjectStore, folder: string): Promise<readonly StoredFile[]> {
  const files: StoredFile[] = [];
  for await (const { uri, size } of store.list(`${folder}/`)) {
    if (isRowsFile(uri.slice(folder.length + 1))) files.push({ uri, size });
  }
  return files;
}

/** An attempt's rows, or those of some files, with the schema that is known, so that nothing is asked twice. */
export function readAttempt(
  spark: SparkSession,
  folder: string | readonly string[],
  schema: string | StructType,
): DataFrame {
  return spark.read.schema(schema).parquet(...[folder].flat().map(hadoopReadPath));
}
