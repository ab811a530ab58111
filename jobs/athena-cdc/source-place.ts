import { ExitCode, UserError } from "../../lib/errors.js";
import type { CatalogEntry } from "../../lib/glue/index.js";
import { quoteName, type SparkSession } from "../../lib/spark/index.js";
import { canonicalUri, fileUriOfPath, isFileUri, isS3Uri, type ObjectStore } from "../../lib/storage/index.js";

/**
 * Makes sure that a table isn't written to where it is read from: its files would be deleted as those of an older load, and what was
 * written would be read as news.
 *
 * @param files of the source, as Spark names them: percent-encoded.
 * @param folder that the table is written to.
 * @throws UserError `OUTPUT_IS_SOURCE` (exit 66).
 */
export async function checkApart(
  entry: CatalogEntry,
  files: readonly string[],
  folder: string,
  spark: SparkSession,
  storage: ObjectStore,
): Promise<void> {
  const output = canonicalUri(folder);
  const places = [...files.map(ofSpark), ...(await locationOf(entry, files, output, spark, storage)).map(ofCatalog)];
  const within = places.find((place) => place === output || place?.startsWith(`${output}/`));
  if (within === undefined) return;
  throw new UserError(
    "OUTPUT_IS_SOURCE",
    `${folder} is where ${entry.database}.${entry.name} is read from: ${within}`,
    {
      hint: "Nothing was written. Give an --output_path that the tables of the database don't lie in",
      exitCode: ExitCode.configuration,
    },
  );
}

/** Spark names no files of an Iceberg table. One in the output's place can be seen there; then Spark's catalog is asked whether it is the source. */
async function locationOf(
  { database, name, location }: CatalogEntry,
  files: readonly string[],
  output: string,
  spark: SparkSession,
  storage: ObjectStore,
): Promise<readonly string[]> {
  if (location !== undefined) return [location];
  if (files.length > 0 || !(await isIcebergTable(storage, output))) return [];
  const table = [...database.split("."), name].map(quoteName).join(".");
  const rows = await (await spark.sql(`DESCRIBE TABLE EXTENDED ${table}`)).collect();
  return rows.filter((row) => row.getString(0) === "Location").map((row) => row.getString(1) ?? "");
}

/** Whether a folder is that of an Iceberg table. */
export async function isIcebergTable(storage: ObjectStore, folder: string): Promise<boolean> {
  for await (const { uri } of storage.list(`${folder}/metadata/`)) if (uri.endsWith(".metadata.json")) return true;
  return false;
}

function ofSpark(uri: string): string | undefined {
  return ofCatalog(isFileUri(uri) ? uri : decoded(uri));
}

/** A name with a percent sign that was encoded by nobody is taken as it is. */
function decoded(uri: string): string {
  try {
    return decodeURIComponent(uri);
  } catch {
    return uri;
  }
}

/** `undefined` for what is neither on S3 nor a file. */
function ofCatalog(location: string): string | undefined {
  if (location.startsWith("/")) return canonicalUri(fileUriOfPath(location));
  const uri = location.replace(/^s3n:/, "s3:");
  return isFileUri(uri) || isS3Uri(uri) ? canonicalUri(uri) : undefined;
}
