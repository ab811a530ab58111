import { createHash } from "node:crypto";
import { UserError } from "../../errors.js";
import * as f from "../../spark/functions/index.js";
import { type DataFrame, quoteName, type SparkSession, type StructType, sqlType } from "../../spark/index.js";
import { childUri, hadoopPath, isS3Uri, type Step } from "../../storage/index.js";
import type { StoredSchema } from "./schema-changes.js";

/** Property of a batch's snapshot: its run. */
export const BATCH = "glue-connect.batch-id";
/** Property of a batch's snapshot. */
export const WATERMARK = "glue-connect.watermark";
/** Property of a table, see {@link markFullLoad}; with the run at its end, or as its value where an earlier release has set it. */
const FULL_LOAD = "glue-connect.full-load";

/** Where the Iceberg tables of a run are. */
export interface IcebergCatalog {
  /** Spark's name of the catalog. */
  readonly name: string;
  /** Namespace in it, quoted; empty at the root. */
  readonly namespace: string;
  /** A table's full name, quoted. */
  table(name: string): string;
  /** Folder of a table that is made. */
  location(name: string): string | undefined;
}

/** A table of a catalog, and what goes with work on it. */
export interface IcebergTable {
  readonly spark: SparkSession;
  readonly catalog: IcebergCatalog;
  /** Its name, not quoted. */
  readonly table: string;
  readonly step: Step;
}

/** Registers the catalog in the session: Glue's for an output on S3, else a hadoop catalog whose warehouse is the output. */
export async function icebergCatalog(spark: SparkSession, output: string, database: string): Promise<IcebergCatalog> {
  const name = `glue_connect_${createHash("sha256").update(output).digest("hex").slice(0, 8)}`;
  const onS3 = isS3Uri(output);
  const key = `spark.sql.catalog.${name}`;
  await spark.conf.set({
    [key]: "org.apache.iceberg.spark.SparkCatalog",
    [`${key}.warehouse`]: hadoopPath(output),
    [`${key}.cache-enabled`]: "false",
    ...(onS3
      ? {
          [`${key}.catalog-impl`]: "org.apache.iceberg.aws.glue.GlueCatalog",
          [`${key}.io-impl`]: "org.apache.iceberg.aws.s3.S3FileIO",
        }
      : { [`${key}.type`]: "hadoop" }),
  });
  const namespace = onS3 ? quoteName(database) : "";
  return {
    name,
    namespace,
    table: (table) => [name, ...(namespace === "" ? [] : [namespace]), quoteName(table)].join("."),
    location: (table) => (onS3 ? childUri(output, table) : undefined),
  };
}

/** The last batch in main's ancestry. */
export async function watermarkOfTable(
  spark: SparkSession,
  catalog: IcebergCatalog,
  table: string,
): Promise<{ readonly runId: string; readonly watermark: string | undefined } | undefined> {
  if (!(await spark.catalog.tableExists(catalog.table(table)))) return undefined;
  const [last] = await batchesOf(spark, catalog.table(table));
  return last;
}

async function batchesOf(spark: SparkSession, table: string) {
  const rows = await (await spark.sql(`${batchesSql(table)} ORDER BY made_current_at DESC`)).collect();
  return rows.map((row) => ({ runId: row.getString("id") ?? "", watermark: row.getString("watermark") ?? undefined }));
}

/** The batches in main's ancestry. */
export const batchesSql = (table: string) =>
  `SELECT s.summary['${BATCH}'] AS id, s.summary['${WATERMARK}'] AS watermark, h.made_current_at
     FROM ${table}.history h JOIN ${table}.snapshots s ON h.snapshot_id = s.snapshot_id
    WHERE h.is_current_ancestor AND s.summary['${BATCH}'] IS NOT NULL`;

/** What a table knows of the batches that were committed to it. */
export interface BatchHistory {
  /** The last one that main has. */
  readonly last: { readonly runId: string; readonly watermark: string | undefined } | undefined;
  /** Runs of all batches whose snapshots are there, also of those that a rollback took out of main. */
  readonly all: ReadonlySet<string>;
  /** The runs that may have made the table's rows anew last, see {@link markFullLoad}. */
  readonly fullLoads: ReadonlySet<string>;
}

/** `undefined`: there is no such table. */
export async function batchHistory(
  spark: SparkSession,
  catalog: IcebergCatalog,
  table: string,
): Promise<BatchHistory | undefined> {
  const name = catalog.table(table);
  if (!(await spark.catalog.tableExists(name))) return undefined;
  const snapshots = await spark.sql(`SELECT DISTINCT summary['${BATCH}'] FROM ${name}.snapshots`);
  const [batches, rows, fullLoads] = await Promise.all([
    batchesOf(spark, name),
    snapshots.collect(),
    fullLoadsOf(spark, catalog, table),
  ]);
  return { last: batches[0], all: new Set(rows.flatMap((row) => row.getString(0) ?? [])), fullLoads };
}

/** The runs that {@link markFullLoad} has noted; none where there is no such table. */
export async function fullLoadsOf(
  spark: SparkSession,
  catalog: IcebergCatalog,
  table: string,
): Promise<ReadonlySet<string>> {
  const name = catalog.table(table);
  if (!(await spark.catalog.tableExists(name))) return new Set();
  const properties = await (await spark.sql(`SHOW TBLPROPERTIES ${name}`)).collect();
  return new Set(
    properties.flatMap((row) => {
      const key = row.getString(0) ?? "";
      if (key === FULL_LOAD) return row.getString(1) ?? [];
      return key.startsWith(`${FULL_LOAD}.`) ? key.slice(FULL_LOAD.length + 1) : [];
    }),
  );
}

/**
 * Notes in a table's properties which run made its rows anew: maintenance expires snapshots, and another table of the name hasn't got it.
 *
 * Each run has a property of its own: one that has slept since it was sure to be the last leaves the later one's as it is.
 *
 * @param before those that {@link fullLoadsOf} gave before the run was sure to be the last: they go.
 */
export async function markFullLoad(
  spark: SparkSession,
  table: string,
  runId: string,
  before: ReadonlySet<string>,
): Promise<void> {
  await spark.sql(`ALTER TABLE ${table} SET TBLPROPERTIES ('${FULL_LOAD}.${runId}' = 'true')`);
  const others = [...before].filter((one) => one !== runId);
  if (others.length === 0) return;
  const keys = [FULL_LOAD, ...others.map((one) => `${FULL_LOAD}.${one}`)].map((key) => `'${key}'`);
  await spark.sql(`ALTER TABLE ${table} UNSET TBLPROPERTIES IF EXISTS (${keys.join(", ")})`);
}

/** Rows with exactly the table's columns, in its types; a column that the source has lost is NULL. */
export function fitted(rows: DataFrame, present: StoredSchema, table: StructType): DataFrame {
  const names = new Set(present.map(([name]) => name.toLowerCase()));
  return rows.select(
    ...table.fields.map(({ name, dataType }) =>
      (names.has(name.toLowerCase()) ? f.col(quoteName(name)) : f.lit(null)).cast(sqlType(dataType)).as(name),
    ),
  );
}

/**
 * The statements that make a table fit rows of a schema; none for one that isn't there. Ask before a batch is stored as one that is to be
 * published: what Iceberg refuses then would be refused for ever.
 *
 * @param replace all rows are replaced: a column whose type can't become the new one is dropped and added.
 * @throws UserError `ICEBERG_TYPE_CHANGE` with every column that can't change as the source did, `ICEBERG_TYPE_MISSING`.
 */
export async function tableChanges(
  spark: SparkSession,
  catalog: IcebergCatalog,
  table: string,
  schema: StoredSchema,
  replace = false,
): Promise<readonly string[]> {
  const name = catalog.table(table);
  const without = schema.filter(([, type]) => /(?<=^|[:<,])(?:void|interval|variant)\b/.test(type));
  if (without.length > 0) {
    throw new UserError("ICEBERG_TYPE_MISSING", `${name} can't take the source's rows: Iceberg has no such types`, {
      problems: without.map(([column, type]) => `${column} is ${type}`),
      hint: "Give these columns another type in the source, or leave the table out",
    });
  }
  if (!(await spark.catalog.tableExists(name))) return [];
  const { fields } = await spark.table(name).schema();
  const present = new Map(fields.map((field) => [field.name.toLowerCase(), sqlType(field.dataType)]));
  const problems: string[] = [];
  const statements = schema.flatMap(([column, type]) => {
    const now = present.get(column.toLowerCase());
    const add = `ALTER TABLE ${name} ADD COLUMN ${quoteName(column)} ${type}`;
    if (now === undefined) return [add];
    const wanted = icebergType(type);
    if (icebergType(now) === wanted) return [];
    if (widens(now, wanted)) return [`ALTER TABLE ${name} ALTER COLUMN ${quoteName(column)} TYPE ${wanted}`];
    if (replace) return [`ALTER TABLE ${name} DROP COLUMN ${quoteName(column)}`, add];
    problems.push(`${column} is ${now} in the table, and ${type} in the source`);
    return [];
  });
  if (problems.length === 0) return statements;
  throw new UserError("ICEBERG_TYPE_CHANGE", `${name} can't take the source's rows`, {
    problems,
    hint: "Nothing was changed. Load the table afresh (--full-refresh), which makes these columns anew",
  });
}

/** Iceberg has no small integers and no limited strings. */
function icebergType(type: string): string {
  return type
    .replaceAll(/(?<=^|[:<,])(?:tinyint|smallint)(?=[,>]|$)/g, "int")
    .replaceAll(/(?<=^|[:<,])(?:var)?char\(\d+\)(?=[,>]|$)/g, "string");
}

/** @see https://iceberg.apache.org/spec/#schema-evolution */
function widens(from: string, to: string): boolean {
  if ((from === "int" && to === "bigint") || (from === "float" && to === "double")) return true;
  const [was, is] = [from, to].map((type) => /^decimal\((\d+),(\d+)\)$/.exec(type));
  return was != null && is != null && was[2] === is[2] && Number(is[1]) >= Number(was[1]);
}
