import { createHash } from "node:crypto";
import { gunzipSync } from "node:zlib";
import { ExitCode, UserError } from "../../lib/errors.js";
import { JOIN_SETTINGS } from "../../lib/glue/join-settings.js";
import { col, lit } from "../../lib/spark/functions/index.js";
import { type Column, type DataFrame, quoteName, SparkConnectError, type SparkSession } from "../../lib/spark/index.js";
import type { Configuration } from "./configuration.js";
import {
  formatType,
  type IcebergField,
  type IcebergMetadata,
  type IcebergType,
  parseMetadata,
  schemaOfSnapshot,
} from "./iceberg-metadata.js";
import { reshaped } from "./nested.js";

/** An Iceberg table as one version of its metadata shows it. */
export interface Source {
  readonly spark: SparkSession;
  /** Spark's name of the Iceberg catalog. */
  readonly catalog: string;
  /** Name inside the catalog, quoted for Spark: `` `sales`.`orders` ``. */
  readonly identifier: string;
  /** For people: `sales.orders`. */
  readonly label: string;
  readonly metadata: IcebergMetadata;
}

/**
 * Registers the configured warehouse as a catalog of this session, and reads the table's metadata.
 *
 * The session's settings that results depend on are fixed here, because a server may run with any: UTC (casts and JSON use
 * the session's zone), exact column names, casts that don't throw.
 *
 * @throws UserError `SOURCE_TABLE_NOT_FOUND`, `SOURCE_UNREADABLE`.
 */
export async function openSource(spark: SparkSession, configuration: Configuration): Promise<Source> {
  const catalog = `glue_connect_${createHash("sha256")
    .update(`${configuration.catalogType} ${configuration.warehouse}`)
    .digest("hex")
    .slice(0, 8)}`;
  const settings: Record<string, string> = {
    ...JOIN_SETTINGS,
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.caseSensitive": "true",
    "spark.sql.ansi.enabled": "false",
    [`spark.sql.catalog.${catalog}`]: "org.apache.iceberg.spark.SparkCatalog",
    [`spark.sql.catalog.${catalog}.warehouse`]: configuration.warehouse,
    // A cached table could be older than the metadata that we go by.
    [`spark.sql.catalog.${catalog}.cache-enabled`]: "false",
    ...(configuration.catalogType === "glue"
      ? {
          [`spark.sql.catalog.${catalog}.catalog-impl`]: "org.apache.iceberg.aws.glue.GlueCatalog",
          [`spark.sql.catalog.${catalog}.io-impl`]: "org.apache.iceberg.aws.s3.S3FileIO",
        }
      : { [`spark.sql.catalog.${catalog}.type`]: "hadoop" }),
  };
  await spark.conf.set(settings);
  const identifier = `${quoteName(configuration.database)}.${quoteName(configuration.table)}`;
  const label = `${configuration.database}.${configuration.table}`;
  try {
    // Entries come oldest first, the present file last.
    const log = await spark.sql(`SELECT file FROM ${quoteName(catalog)}.${identifier}.metadata_log_entries`);
    const file = (await log.collect()).at(-1)?.getString(0);
    if (file === undefined || file === null) throw new Error("the table's metadata log is empty");
    const content = await spark.read.format("binaryFile").load(literalPath(file)).select("content").collect();
    const bytes = content[0]?.get("content");
    if (!(bytes instanceof Uint8Array)) throw new Error(`its metadata file ${file} is gone`);
    const text = isGzip(bytes) ? gunzipSync(bytes) : bytes;
    return { spark, catalog, identifier, label, metadata: parseMetadata(Buffer.from(text).toString("utf8")) };
  } catch (error) {
    throw sourceError(error, label, configuration);
  }
}

/** A path as Hadoop reads it when no character of it is to be a pattern. */
function literalPath(path: string): string {
  return path.replaceAll(/[\\{}[\]*?]/g, "\\$&");
}

function isGzip(bytes: Uint8Array): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b;
}

function sourceError(error: unknown, label: string, configuration: Configuration): unknown {
  const where = `warehouse ${configuration.warehouse} (${configuration.catalogType} catalog)`;
  if (!(error instanceof SparkConnectError)) {
    if (error instanceof UserError || (error instanceof Error && error.name === "AbortError")) return error;
    return new UserError(
      "SOURCE_UNREADABLE",
      `Iceberg table ${label} in ${where} can't be read: ${(error as Error).message}`,
      {
        cause: error,
      },
    );
  }
  const missing = ["TABLE_OR_VIEW_NOT_FOUND", "SCHEMA_NOT_FOUND", "NO_SUCH_TABLE"];
  if (missing.some((condition) => error.condition?.startsWith(condition)) || /cannot be found/i.test(error.message)) {
    return new UserError("SOURCE_TABLE_NOT_FOUND", `There is no Iceberg table ${label} in ${where}`, {
      hint: "Check iceberg_catalog_warehouse, database_name and table_name in the configuration item",
      exitCode: ExitCode.configuration,
      cause: error,
    });
  }
  return error;
}

/** Names of a snapshot's columns in {@link readSnapshot}: ours, so that no odd name of a user's reaches an expression. */
export function columnName(index: number): string {
  return `f${index}`;
}

/** All columns of {@link readSnapshot}. */
export const fieldColumns = (fields: readonly IcebergField[]) => fields.map((_field, index) => col(columnName(index)));

/** A condition on the rows of a snapshot. @param written the fields that the snapshot is read with, by id. */
export type Restriction = (written: ReadonlyMap<number, IcebergField>) => Column;

/**
 * The rows of one snapshot as columns `f0`, `f1`, ... in the order of `fields`, mapped by field id: a column that was renamed
 * since is found under its old name, one that was added since is NULL (or its default), one that was widened is cast.
 *
 * @param snapshotId `undefined`: the table has no snapshot, and so no rows.
 * @param restrict which rows, over the columns as the snapshot has them, so that Iceberg leaves out files; with it, the path of
 *   a row's file is there as `_file`.
 * @throws UserError `SOURCE_SCHEMA_PENDING` when a column with a default of a nested or binary type was added after the snapshot was written.
 */
export async function readSnapshot(
  source: Source,
  snapshotId: string | undefined,
  fields: readonly IcebergField[],
  restrict?: Restriction,
): Promise<DataFrame> {
  const table = `${quoteName(source.catalog)}.${source.identifier}`;
  if (snapshotId === undefined) {
    const empty = await source.spark.sql(`SELECT * FROM ${table} WHERE false`);
    return empty.select(...fields.map((field, index) => col(quoteName(field.name)).as(columnName(index))));
  }
  const written = schemaOfSnapshot(source.metadata, snapshotId);
  const byId = new Map(written.fields.map((field) => [field.id, field]));
  const all = await source.spark.sql(
    `SELECT *${restrict === undefined ? "" : ", _file"} FROM ${table} VERSION AS OF ${snapshotId}`,
  );
  const rows = restrict === undefined ? all : all.where(restrict(byId));
  return rows.select(
    ...fields.map((field, index) => fieldColumn(field, byId.get(field.id), source.label).as(columnName(index))),
  );
}

function fieldColumn(wanted: IcebergField, written: IcebergField | undefined, label: string): Column {
  const missing = (field: IcebergField): Column => {
    const type = sparkType(field.type);
    const binary = field.type.kind === "primitive" && ["binary", "fixed"].includes(field.type.name);
    if (field.initialDefault === undefined) return lit(null).cast(type);
    if (field.type.kind === "primitive" && !binary) return lit(String(field.initialDefault)).cast(type);
    throw schemaPending(field, label);
  };
  if (written === undefined) return missing(wanted);
  return reshaped(col(quoteName(written.name)), written.type, wanted.type, {
    missing,
    primitive: (column, _from, to) => column.cast(sparkType(to)),
  });
}

function schemaPending(field: IcebergField, label: string): UserError {
  return new UserError(
    "SOURCE_SCHEMA_PENDING",
    `Column ${JSON.stringify(field.name)} of ${label} was changed after the last snapshot in a way that the snapshot can't be read with`,
    { hint: "Write to the table once, so that a snapshot with the new schema exists, then run again" },
  );
}

/** An Iceberg type as Spark's DDL. */
function sparkType(type: IcebergType): string {
  switch (type.kind) {
    case "list":
      return `array<${sparkType(type.element.type)}>`;
    case "map":
      return `map<${sparkType(type.key.type)},${sparkType(type.value.type)}>`;
    case "struct":
      return `struct<${type.fields.map((field) => `${quoteName(field.name)}:${sparkType(field.type)}`).join(",")}>`;
    case "primitive":
      switch (type.name) {
        case "long":
          return "bigint";
        case "timestamptz":
          return "timestamp_ltz";
        case "timestamp":
          return "timestamp_ntz";
        case "fixed":
          return "binary";
        case "uuid":
          return "string";
        default:
          return formatType(type);
      }
  }
}
