import { parquetMetadataAsync, parquetRead, parquetReadObjects, parquetSchema, type SchemaElement } from "hyparquet";
import type { ObjectStore } from "../../storage/index.js";
import { mapSideBySide } from "../side-by-side.js";
import { type Clock, findColumn } from "./column.js";

/** Parquet files that are smaller are fetched as a whole, with one request. */
const WHOLE_BYTES = 512 * 1024;
const FOOTER_BYTES = 64 * 1024;
const FILES_AT_ONCE = 8;
const SMALL_BYTES = 2 * 1024 * 1024;
const SMALL_FILES = 16;
/** Small files may have very many rows with the same few times. */
const MOST_TIMES_OF_FILE = 200_000n;
/** Before 1900 Spark's files may count days by another calendar, which it sets right when it reads them. */
const CALENDAR_IS_SURE = -2_208_988_800_000_000n;
const NANOS = 1_000n;

/** A file of a store. */
export interface StoredFile {
  readonly uri: string;
  /** Bytes. */
  readonly size: number;
}

/**
 * Whether files are so few and small that one task, or this process, had better read all of them.
 *
 * @param most bytes of all of them.
 */
export function areSmall(files: readonly Pick<StoredFile, "size">[], most = SMALL_BYTES): boolean {
  return files.length <= SMALL_FILES && files.reduce((sum, { size }) => sum + size, 0) <= most;
}

/** How many rows Parquet files have, by their footers. */
export async function countRows(store: ObjectStore, files: readonly StoredFile[]): Promise<bigint> {
  const counts = await mapSideBySide(
    files,
    FILES_AT_ONCE,
    async (file) => (await openParquet(store, file)).metadata.num_rows,
  );
  return counts.reduce((sum, rows) => sum + rows, 0n);
}

/**
 * The times of all rows of a few small Parquet files, read here instead of by a Spark operation, which costs more than they do.
 *
 * @returns microseconds since 1970 as {@link Clock.micros} has them, `null` for NULL; `undefined` where only Spark can tell: other formats and
 *   compressions, columns that aren't timestamps in the file as in the table, values before 1900, more than 200,000 rows in a file.
 */
export async function timesOf(
  store: ObjectStore,
  files: readonly StoredFile[],
  clock: Clock,
): Promise<readonly (bigint | null)[] | undefined> {
  if (clock.kind !== "timestamp" && clock.kind !== "timestamp_ntz") return undefined;
  try {
    return (await mapSideBySide(files, FILES_AT_ONCE, async (file) => await timesOfFile(store, file, clock))).flat();
  } catch {
    // Whatever it is, Spark can either read it or say what is wrong with it.
    return undefined;
  }
}

/**
 * Those of some Parquet files that may have rows of a time or later ones: the others' footers say that theirs are all earlier.
 *
 * @param time microseconds since 1970.
 */
export async function filesSince(
  store: ObjectStore,
  files: readonly StoredFile[],
  clock: Clock,
  time: bigint,
): Promise<readonly StoredFile[]> {
  if (clock.kind !== "timestamp" && clock.kind !== "timestamp_ntz") return files;
  const reach = await mapSideBySide(files, FILES_AT_ONCE, async (file) => {
    const { metadata } = await openParquet(store, file);
    return metadata.row_groups.some(({ columns, num_rows }) => {
      const column = columns.find(({ meta_data }) => meta_data?.path_in_schema.join(".") === clock.name)?.meta_data;
      const latest = column?.statistics?.max_value;
      if (typeof latest === "bigint") return latest >= time;
      return column?.statistics?.null_count !== num_rows;
    });
  });
  return files.filter((_file, index) => reach[index]);
}

/**
 * Whether every text in a column of some Parquet files is in the same column of others, too.
 *
 * @param most rows of either that are read here.
 * @returns `undefined` when there are more, or only Spark can read them.
 */
export async function textsAreAmong(
  store: ObjectStore,
  files: readonly StoredFile[],
  others: readonly StoredFile[],
  name: string,
  most: number,
): Promise<boolean | undefined> {
  try {
    const [own, theirs] = await Promise.all([openFew(store, files, most), openFew(store, others, most)]);
    if (own === undefined || theirs === undefined) return undefined;
    const left = new Set<unknown>();
    await Promise.all(own.map((parquet) => readColumn(parquet, name, (text) => left.add(text))));
    await Promise.all(theirs.map((parquet) => readColumn(parquet, name, (text) => left.delete(text))));
    return left.size === 0;
  } catch {
    return undefined;
  }
}

/**
 * Some columns of the rows of Parquet files, as Spark wrote them for us: texts and whole numbers.
 *
 * @param most rows that are read here.
 * @returns a BIGINT as `bigint`, NULL as `null` or `undefined`; `undefined` for all when there are more, or only Spark can read them.
 */
export async function columnsOf(
  store: ObjectStore,
  files: readonly StoredFile[],
  names: readonly string[],
  most: number,
): Promise<readonly Readonly<Record<string, unknown>>[] | undefined> {
  try {
    const opened = await openFew(store, files, most);
    if (opened === undefined) return undefined;
    const columns = [...names];
    const read = await mapSideBySide(
      opened,
      FILES_AT_ONCE,
      async (parquet) => await parquetReadObjects({ ...parquet, columns }),
    );
    return read.flat();
  } catch {
    return undefined;
  }
}

async function timesOfFile(store: ObjectStore, stored: StoredFile, clock: Clock): Promise<(bigint | null)[]> {
  const { file, metadata } = await openParquet(store, stored, stored.size <= WHOLE_BYTES);
  if (metadata.num_rows > MOST_TIMES_OF_FILE) throw new RangeError(`${stored.uri} has ${metadata.num_rows} rows`);
  const columns = parquetSchema(metadata).children;
  const name = findColumn({ fields: columns.map(({ element }) => element) }, clock.name);
  const found = columns.filter(({ element, children }) => element.name === name && children.length === 0);
  const [column] = found;
  if (column === undefined || found.length > 1) throw new TypeError(`${stored.uri} has no plain column ${clock.name}`);
  if (kindOf(column.element) !== clock.kind) throw new TypeError(`${stored.uri} holds no ${clock.kind}`);
  const times: (bigint | null)[] = [];
  await readColumn({ file, metadata }, column.element.name, (time) => times.push((time ?? null) as bigint | null));
  if (times.some((time) => time !== null && time < CALENDAR_IS_SURE)) {
    throw new RangeError(`${stored.uri} has values before 1900`);
  }
  return times;
}

/** Spark's type of a column of points in time; `undefined`: it holds none. */
function kindOf({ type, logical_type: logical, converted_type: converted }: SchemaElement): Clock["kind"] | undefined {
  if (type === "INT96") return "timestamp";
  if (logical?.type === "TIMESTAMP") return logical.isAdjustedToUTC ? "timestamp" : "timestamp_ntz";
  return converted === "TIMESTAMP_MILLIS" || converted === "TIMESTAMP_MICROS" ? "timestamp" : undefined;
}

const AS_MICROS = {
  timestampFromMilliseconds: (value: bigint) => value * 1_000n,
  timestampFromMicroseconds: (value: bigint) => value,
  timestampFromNanoseconds: floorToMicros,
};

function floorToMicros(nanos: bigint): bigint {
  const micros = nanos / NANOS;
  return nanos < 0n && micros * NANOS !== nanos ? micros - 1n : micros;
}

/** @returns `undefined` when they have more than `most` rows. */
async function openFew(store: ObjectStore, files: readonly StoredFile[], most: number) {
  const opened = await mapSideBySide(files, FILES_AT_ONCE, (file) => openParquet(store, file));
  const rows = opened.reduce((sum, { metadata }) => sum + metadata.num_rows, 0n);
  return rows > BigInt(most) ? undefined : opened;
}

/**
 * The values of a column, without an object for every row: of tens of thousands these take more memory and time than the reading.
 *
 * @param each must not throw: nobody would see it.
 */
async function readColumn(
  parquet: Awaited<ReturnType<typeof openParquet>>,
  name: string,
  each: (value: unknown) => void,
): Promise<void> {
  let rows = 0n;
  await parquetRead({
    ...parquet,
    columns: [name],
    parsers: AS_MICROS,
    onChunk: ({ columnData }) => {
      rows += BigInt(columnData.length);
      for (const value of columnData) each(value);
    },
  });
  if (rows !== parquet.metadata.num_rows)
    throw new RangeError(`${rows} of ${parquet.metadata.num_rows} values of ${name}`);
}

/** @param whole fetch all of it with the first request. */
async function openParquet(store: ObjectStore, { uri, size }: StoredFile, whole = false) {
  const bytes = async (from: number, to: number) => (await store.getRange(uri, from, to)).slice().buffer as ArrayBuffer;
  const all = whole ? await bytes(0, size) : undefined;
  const file = {
    byteLength: size,
    slice: async (from: number, to = size) => all?.slice(from, to) ?? (await bytes(from, to)),
  };
  const metadata = await parquetMetadataAsync(file, {
    initialFetchSize: FOOTER_BYTES,
    geoparquet: false,
    parsers: AS_MICROS,
  });
  return { file, metadata };
}
