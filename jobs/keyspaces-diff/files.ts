import type { StoredRows } from "../../lib/glue/diff/index.js";
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

/** CSV's columns are told by the header of each file, which has to be the same in all. */
const FOREIGN = {
  parquet: {},
  json: READ.json,
  csv: { header: true, escape: '"', multiLine: true, mode: "FAILFAST", enforceSchema: false },
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
  return encodingOf(schema, format).decode(storedFiles(spark, uris, schema, format).rows);
}

/** The same rows as the files have them. */
export function storedFiles(
  spark: SparkSession,
  uris: readonly string[],
  schema: StructType,
  format: FileFormat,
): StoredRows {
  const { fileSchema, decodeValue } = encodingOf(schema, format);
  const rows = spark.read.format(format).options(READ[format]).schema(fileSchema).load(uris.map(hadoopReadPath));
  return { rows, decode: decodeValue };
}

/**
 * The schema of files that others wrote, as Spark finds it; of CSV every column is text, and an empty cell is NULL. It is found once: Spark
 * would look for it anew whenever it is asked for anything, and each part of the files may have another.
 *
 * @param values `texts`: of JSON every value is text, too, so that no number loses a digit.
 */
export function foreignSchema(
  spark: SparkSession,
  uris: readonly string[],
  format: FileFormat,
  values: "texts" | "as Spark finds them",
): Promise<StructType> {
  const reader = spark.read.format(format).options(FOREIGN[format]);
  const options = format === "json" && values === "texts" ? { primitivesAsString: true } : {};
  return reader.options(options).load(uris.map(hadoopReadPath)).schema();
}

/** Files that others wrote, with the schema that {@link foreignSchema} has found. */
export function readForeign(
  spark: SparkSession,
  uris: readonly string[],
  format: FileFormat,
  schema: StructType,
): DataFrame {
  return spark.read.format(format).options(FOREIGN[format]).schema(schema).load(uris.map(hadoopReadPath));
}
