import { columnsOf, type DeliveredRow, rowHash, writtenFiles } from "../../lib/glue/incremental/index.js";
import * as f from "../../lib/spark/functions/index.js";
import {
  and,
  type Column,
  type DataFrame,
  type DataType,
  quoteName,
  type SparkSession,
  type StructType,
  types,
} from "../../lib/spark/index.js";
import { hadoopReadPath, type ObjectStore } from "../../lib/storage/index.js";
import { hopsToGroup } from "./join-tree.js";
import { groupId, type Mart, matchColumns, type Source, sourceOf } from "./mart.js";
import { GROUP_ID } from "./output-columns.js";

/**
 * What is kept of the rows of an output's tables, those of all tables in one dataset, each table with columns of its own:
 * the table's number, when and which row (SHA-256; NULL: that it was delivered doesn't count), what tells it apart (`k...`),
 * what leads from it to its groups (`l...`), and of the group table's rows the group itself.
 *
 * The changed rows of a batch have this form, and are kept as they are: with the datasets of the batches before they say which
 * rows were delivered near the watermark, and where rows belonged before they changed.
 */
const TABLE = "tbl";
const TIME = "time";
const HASH = "hash";
/**
 * Files are parted by table, so that their footers tell how many rows each has, and the rows that count as delivered lie apart: there are few of
 * them, which need no Spark operation to be read.
 */
const PART = "part";
const COUNTED = "-counted";
/** Delivered rows of all tables that are read here. */
const MOST_READ_HERE = 100_000;

interface KnownColumn {
  readonly name: string;
  readonly table: string;
  readonly column: string;
  readonly dataType: DataType;
}

/** The columns of a table that lead from its rows to their groups: what has to be known of a row before it changed. */
export function linkColumns({ tree }: Mart, table: string): readonly string[] {
  return (hopsToGroup(tree, table)[0]?.on ?? []).map(({ left }) => left);
}

/**
 * What tells a table's rows apart where their links are kept: the configured key, else a column named `id` or
 * `<short name>_id`. That a guess may be wrong costs groups that are written for nothing, and never one that is missing.
 */
export function linkKey({ configuration, schema }: Source): readonly string[] {
  if (configuration.key.length > 0) return configuration.key;
  const names = ["id", `${configuration.shortName}_id`];
  const found = schema.fields.find(({ name }) => names.includes(name.toLowerCase()));
  return found === undefined ? [] : [found.name];
}

/** Whether the links of a table's rows have to be kept: they can change, and its rows can be told apart. */
export function keepsLinks(mart: Mart, table: string): boolean {
  const key = linkKey(sourceOf(mart, table)).map((name) => name.toLowerCase());
  return key.length > 0 && linkColumns(mart, table).some((name) => !key.includes(name.toLowerCase()));
}

/** Rows of a table in the form of the datasets. */
export function knownRows(mart: Mart, table: string, rows: DataFrame, counts: boolean | Column): DataFrame {
  const source = sourceOf(mart, table);
  const hash = typeof counts === "boolean" ? rowHash(source.schema) : f.when(counts, rowHash(source.schema));
  const number = f.lit(mart.tree.tables.indexOf(table));
  return rows.select(
    number.as(TABLE),
    (source.clock?.micros ?? f.lit(null).cast("bigint")).as(TIME),
    (counts === false ? f.lit(null).cast("string") : hash).as(HASH),
    (table === mart.tree.groupTable ? groupId(source) : f.lit(null).cast("string")).as(GROUP_ID),
    ...knownColumns(mart).map((one) =>
      (one.table === table ? f.col(quoteName(one.column)) : f.lit(null).cast(one.dataType)).as(one.name),
    ),
    (typeof counts === "boolean"
      ? f.lit(partName(mart, table, counts))
      : f.when(counts, f.lit(partName(mart, table, true))).otherwise(f.lit(partName(mart, table, false)))
    ).as(PART),
  );
}

/** For {@link writeParquet}. */
export const KNOWN_PARTS = { partitionBy: [PART] } as const;

/**
 * Where rows of a table are in a dataset.
 *
 * @param counted those that count as delivered, else the others.
 */
export function partOf(mart: Mart, table: string, counted: boolean): string {
  return `${PART}=${partName(mart, table, counted)}`;
}

function partName({ tree }: Mart, table: string, counted: boolean): string {
  return `${tree.tables.indexOf(table)}${counted ? COUNTED : ""}`;
}

/**
 * The delivered rows of each table, read without a Spark operation.
 *
 * @param folders of the datasets.
 * @returns `undefined` when they are too many.
 */
export async function deliveredHere(
  store: ObjectStore,
  mart: Mart,
  folders: readonly string[],
): Promise<ReadonlyMap<string, readonly DeliveredRow[]> | undefined> {
  const files = (await Promise.all(folders.map((folder) => writtenFiles(store, folder)))).flat();
  const delivered = new Map<string, readonly DeliveredRow[]>();
  let left = MOST_READ_HERE;
  for (const table of mart.tree.tables) {
    const own = files.filter(({ uri }) => uri.includes(`/${partOf(mart, table, true)}/`));
    const rows = await columnsOf(store, own, [TIME, HASH], left);
    if (rows === undefined) return undefined;
    left -= rows.length;
    delivered.set(
      table,
      rows.map((row) => ({ time: row[TIME] as bigint, hash: row[HASH] as string })),
    );
  }
  return delivered;
}

export function readKnown(spark: SparkSession, mart: Mart, folders: readonly string[]): DataFrame {
  const schema: StructType = types.struct([
    types.field(TABLE, types.int),
    types.field(TIME, types.bigint),
    types.field(HASH, types.string),
    types.field(GROUP_ID, types.string),
    ...knownColumns(mart).map(({ name, dataType }) => types.field(name, dataType)),
  ]);
  // The folders of the parts don't count as columns: the table's number stands in the rows.
  return spark.read
    .option("recursiveFileLookup", true)
    .schema(schema)
    .parquet(...folders.map(hadoopReadPath));
}

/**
 * The delivered rows of a table, in the form of `undelivered`.
 *
 * @param from time of the earliest row that they are held against, microseconds; earlier ones are none of these.
 */
export function deliveredOf(mart: Mart, table: string, known: DataFrame, from: bigint | undefined): DataFrame {
  const rows = ofTable(mart, table, known).where(f.col(HASH).isNotNull());
  return (from === undefined ? rows : rows.where(f.col(TIME).geq(from))).select(
    f.concat(f.lit("r"), f.col(HASH)).as("id"),
    f.col(TIME),
    f.col(HASH),
    f.lit(1n).as("copies"),
  );
}

/** The groups of changed rows of the group table, as `touchedGroups` gives them. */
export function groupsOf(mart: Mart, changes: DataFrame): DataFrame {
  return ofTable(mart, mart.tree.groupTable, changes).select(
    f.col(GROUP_ID),
    ...matchColumns(mart).map((_name, index) => f.col(`m${index}`)),
  );
}

/** Where changed rows of a table lead, and where they led before, as columns `f0...`; the same may come more than once. */
export function leadsOf(mart: Mart, table: string, changes: DataFrame, before: DataFrame | undefined): DataFrame {
  const number = mart.tree.tables.indexOf(table);
  const links = linkColumns(mart, table).map((_name, index) => f.col(`l${number}_${index}`).as(`f${index}`));
  const changed = ofTable(mart, table, changes);
  if (before === undefined || !keepsLinks(mart, table)) return changed.select(...links);
  const keys = linkKey(sourceOf(mart, table)).map((_name, index) => `k${number}_${index}`);
  const earlier = ofTable(mart, table, before).join(
    changed.select(...keys.map((name) => f.col(name).as(`changed_${name}`))),
    and(...keys.map((name) => f.col(name).eqTo(f.col(`changed_${name}`)))),
    "left_semi",
  );
  return changed.select(...links).union(earlier.select(...links));
}

/**
 * Several datasets as one: delivered rows from a time on, and each link once.
 *
 * @param keepFrom by table; `undefined`: delivered rows of that table don't count any more.
 */
export function consolidated(mart: Mart, known: DataFrame, keepFrom: (table: string) => bigint | undefined): DataFrame {
  const parts = mart.tree.tables.flatMap((table) => {
    const rows = ofTable(mart, table, known);
    const from = keepFrom(table);
    const counts =
      from === undefined ? f.lit(false) : f.coalesce(f.col(TIME).geq(from), f.lit(false)).and(f.col(HASH).isNotNull());
    const linksOnly = rows
      .withColumn(TIME, f.lit(null).cast("bigint"))
      .withColumn(HASH, f.lit(null).cast("string"))
      .withColumn(GROUP_ID, f.lit(null).cast("string"))
      .distinct();
    return [...(from === undefined ? [] : [rows.where(counts)]), ...(keepsLinks(mart, table) ? [linksOnly] : [])];
  });
  const [first, ...rest] = parts;
  const all = first === undefined ? known.where(f.lit(false)) : rest.reduce((sum, one) => sum.union(one), first);
  const counted = f.when(f.col(HASH).isNotNull(), f.lit(COUNTED)).otherwise(f.lit(""));
  return all.withColumn(PART, f.concat(f.col(TABLE).cast("string"), counted));
}

function ofTable(mart: Mart, table: string, known: DataFrame): DataFrame {
  return known.where(f.col(TABLE).eqTo(mart.tree.tables.indexOf(table)));
}

function knownColumns(mart: Mart): KnownColumn[] {
  return mart.tree.tables.flatMap((table, number) => {
    const source = sourceOf(mart, table);
    const column = (name: string, wanted: string): KnownColumn => {
      const dataType = source.schema.fields.find((one) => one.name === wanted)?.dataType ?? types.string;
      return { name, table, column: wanted, dataType };
    };
    return [
      ...(keepsLinks(mart, table) ? linkKey(source).map((name, index) => column(`k${number}_${index}`, name)) : []),
      ...linkColumns(mart, table).map((name, index) => column(`l${number}_${index}`, name)),
      ...(table === mart.tree.groupTable ? matchColumns(mart).map((name, index) => column(`m${index}`, name)) : []),
    ];
  });
}
