import type { DataFrame, SparkSession, StructType } from "../../lib/spark/index.js";
import { hadoopPath, hadoopReadPath } from "../../lib/storage/index.js";
import type { FileFormat } from "./arguments.js";
import { CSV_NULL, encodingOf } from "./encoding.js";

const CSV = {
  header: true,
  escape: '"',
  nullValue: CSV_NULL,
  ignoreLeadingWhiteSpace: false,
  ignoreTrailingWhiteSpace: false,
};
const WRITE = {
  parquet: {},
  json: { timestampFormat: "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX" },
  csv: CSV,
} as const;
/** FAILFAST: a file that is damaged is an error, not a row of NULLs. */
const READ = {
  parquet: {},
  json: { mode: "FAILFAST" },
  csv: { ...CSV, mode: "FAILFAST", multiLine: true, emptyValue: "" },
} as const;

/** Has the executors write rows into a folder that is there already, with our manifest in it and nothing else. */
export async function writeFiles(
  rows: DataFrame,
  schema: StructType,
  folder: string,
  format: FileFormat,
): Promise<void> {
  const { encode } = encodingOf(schema, format);
  await encode(rows).write.format(format).options(WRITE[format]).mode("append").save(hadoopPath(folder));
}

/** Rows of files that {@link writeFiles} wrote, as they were. */
export function readFiles(
  spark: SparkSession,
  uris: readonly string[],
  schema: StructType,
  format: FileFormat,
): DataFrame {
  const { fileSchema, decode } = encodingOf(schema, format);
  return decode(spark.read.format(format).options(READ[format]).schema(fileSchema).load(uris.map(hadoopReadPath)));
}

/**
 * Files that others wrote, as Spark reads them by itself; of CSV every column is text, and an empty cell is NULL. The schema is found
 * once: Spark would look for it anew whenever it is asked for anything.
 */
export async function readForeign(
  spark: SparkSession,
  uris: readonly string[],
  format: FileFormat,
): Promise<{ readonly rows: DataFrame; readonly schema: StructType }> {
  const options = format === "csv" ? { header: true, escape: '"', multiLine: true, mode: "FAILFAST" } : READ[format];
  const reader = () => spark.read.format(format).options(options);
  const paths = uris.map(hadoopReadPath);
  const schema = await reader().load(paths).schema();
  return { rows: reader().schema(schema).load(paths), schema };
}
