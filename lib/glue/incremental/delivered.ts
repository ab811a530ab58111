import type { DataFrame, Row, SparkSession } from "../../spark/index.js";
import { childUri, hadoopReadPath, type ObjectStore } from "../../storage/index.js";
import { mapSideBySide } from "../side-by-side.js";
import type { Clock } from "./column.js";
import type { StoredFile } from "./parquet-files.js";
import { deliveredRows, type RowShape } from "./rows.js";
import { writeParquet } from "./write.js";

/** Columns of a dataset of delivered rows: who, when, SHA-256 of the row, how many equal ones. */
const DELIVERED_SCHEMA = "id STRING, time BIGINT, hash STRING, copies BIGINT";

/** Up to so many rows come to the driver, and go into one small file. */
const FEW = 500;
/** A folder of this name has JSON that the driver wrote; others have Parquet of the executors. */
const JSON_FOLDER = ".json";
const COPIES_AT_ONCE = 8;

/** A folder of this name has copies of the files that a batch wrote. */
const COPIES_FOLDER = ".copies";

/**
 * The delivered rows that a state counts on.
 *
 * @param ofCopies what copies of the batch's files come to, in the form of {@link identities}.
 */
export function readDelivered(spark: SparkSession, folder: string, ofCopies: (folder: string) => DataFrame): DataFrame {
  if (folder.endsWith(COPIES_FOLDER)) return ofCopies(folder);
  const reader = spark.read.schema(DELIVERED_SCHEMA);
  const path = hadoopReadPath(folder);
  return folder.endsWith(JSON_FOLDER) ? reader.option("mode", "FAILFAST").json(path) : reader.parquet(path);
}

/** Whether a dataset of delivered rows has only few. */
export function hasFew(folder: string): boolean {
  return folder.endsWith(JSON_FOLDER) || folder.endsWith(COPIES_FOLDER);
}

/**
 * Keeps a dataset of delivered rows without a Spark operation: copies of the few files that the batch wrote. The next batch takes the hashes of
 * those rows that count.
 *
 * @returns where they are.
 */
export async function copyDelivered(
  files: readonly StoredFile[],
  store: ObjectStore,
  folderOf: (name: string) => string,
): Promise<string> {
  const folder = folderOf(`rows${COPIES_FOLDER}`);
  await mapSideBySide([...files.entries()], COPIES_AT_ONCE, async ([index, { uri }]) => {
    await store.copy(uri, childUri(folder, `part-${String(index).padStart(5, "0")}.parquet`));
  });
  return folder;
}

/** What {@link deliveredRows} is given. */
export interface DeliveredRows {
  readonly written: DataFrame | undefined;
  readonly shape: RowShape & { readonly clock: Clock };
  readonly from: bigint | undefined;
  readonly before: DataFrame | undefined;
}

/**
 * Keeps a dataset of delivered rows. Mostly it has a row or two: those the driver writes, which saves Spark's writing of files. More than 500
 * are the executors' to write, with a second Spark operation.
 *
 * @param folderOf a folder of the batch by its name.
 * @returns where they are, and how many.
 */
export async function keepDelivered(
  { written, shape, from, before }: DeliveredRows,
  store: ObjectStore,
  folderOf: (name: string) => string,
): Promise<{ readonly folder: string; readonly rows: bigint }> {
  const lines: string[] = [];
  let seen = 0n;
  for await (const row of deliveredRows(written, shape, from, before, { most: FEW + 1 })) {
    seen += row.getBigInt("seen") ?? 0n;
    lines.push(jsonLine(row));
  }
  if (seen > BigInt(FEW)) {
    const folder = folderOf("rows");
    return { folder, ...(await writeParquet(deliveredRows(written, shape, from, before), store, folder)) };
  }
  const folder = folderOf(`rows${JSON_FOLDER}`);
  await store.put(childUri(folder, "part-00000.json"), lines.join(""), { contentType: "application/json" });
  return { folder, rows: BigInt(lines.length) };
}

/** 64-bit numbers as digits, which a number of JavaScript may not hold. */
function jsonLine(row: Row): string {
  const text = (name: string) => JSON.stringify(row.getString(name) ?? null);
  const number = (name: string) => row.getBigInt(name) ?? null;
  return `{"id":${text("id")},"time":${number("time")},"hash":${text("hash")},"copies":${number("copies")}}\n`;
}
