import {
  GetConnectionCommand,
  GetDatabaseCommand,
  GlueClient,
  type Column as GlueColumn,
  paginateGetTables,
  type Table,
} from "@aws-sdk/client-glue";
import { type AwsOptions, awsClientConfig, awsErrorName, awsFailure } from "../../aws.js";
import { ExitCode, UserError } from "../../errors.js";
import { quoteName, type SparkSession } from "../../spark/index.js";
import { hadoopReadPath } from "../../storage/uri.js";
import type { CatalogEntry, DataCatalog } from "./catalog.js";
import { databaseNotFound } from "./spark-catalog.js";

const ICEBERG_CATALOG = "glue_connect_catalog";

/** AWS Glue's Data Catalog. */
export function createGlueCatalog(aws: AwsOptions): DataCatalog {
  const client = new GlueClient(awsClientConfig(aws));
  const failure = (error: unknown, doing: string, permission: string) =>
    awsFailure(error, { service: "Glue", doing, deniedCode: "CATALOG_ACCESS_DENIED", permission });
  return {
    kind: "glue",
    async tables(database) {
      const doing = `listing the tables of ${database}`;
      try {
        const found: CatalogEntry[] = [];
        for await (const { TableList = [] } of paginateGetTables({ client }, { DatabaseName: database })) {
          for (const table of TableList) if (table.TableType !== "VIRTUAL_VIEW") found.push(entryOf(database, table));
        }
        // An emulator or an old endpoint may list nothing for a database that isn't there.
        if (found.length === 0) await client.send(new GetDatabaseCommand({ Name: database }));
        return found.toSorted((left, right) => (left.name < right.name ? -1 : 1));
      } catch (error) {
        if (awsErrorName(error) === "EntityNotFoundException")
          throw databaseNotFound(database, "the Glue Data Catalog");
        throw failure(error, doing, "glue:GetTables");
      }
    },
    async connection(name) {
      try {
        const { Connection } = await client.send(new GetConnectionCommand({ Name: name }));
        return {
          name,
          type: Connection?.ConnectionType ?? "JDBC",
          properties: { ...(Connection?.ConnectionProperties ?? {}) },
        };
      } catch (error) {
        if (awsErrorName(error) !== "EntityNotFoundException") {
          throw failure(error, `reading connection ${name}`, "glue:GetConnection");
        }
        throw new UserError("CONNECTION_NOT_FOUND", `There is no Glue connection ${JSON.stringify(name)}`, {
          exitCode: ExitCode.configuration,
          cause: error,
        });
      }
    },
  };
}

function entryOf(database: string, table: Table): CatalogEntry {
  const name = table.Name ?? "";
  const format = formatOf(table);
  const connection = table.Parameters?.connectionName ?? table.StorageDescriptor?.Parameters?.connectionName;
  const location = table.StorageDescriptor?.Location;
  return {
    database,
    name,
    ...(format === undefined ? {} : { format }),
    ...(connection === undefined ? {} : { connection }),
    ...(location === undefined ? {} : { location }),
    async read(spark) {
      if (format === "iceberg") return await readIceberg(spark, database, name);
      const identifier = `${quoteName(database)}.${quoteName(name)}`;
      // Spark on EMR and Glue knows Glue's tables itself, with partitions wherever they lie.
      if (await spark.catalog.tableExists(identifier)) return spark.table(identifier);
      return readFiles(spark, table, format);
    },
  };
}

function formatOf({ Parameters = {}, StorageDescriptor }: Table): string | undefined {
  if (/^iceberg$/i.test(Parameters.table_type ?? "")) return "iceberg";
  const classification = Parameters.classification ?? StorageDescriptor?.Parameters?.classification;
  if (classification !== undefined) return classification.toLowerCase();
  const serde = `${StorageDescriptor?.SerdeInfo?.SerializationLibrary ?? ""} ${StorageDescriptor?.InputFormat ?? ""}`;
  return (
    ["parquet", "orc", "json"].find((known) => serde.toLowerCase().includes(known)) ??
    (/csv|LazySimple|TextInputFormat/i.test(serde) ? "csv" : undefined)
  );
}

async function readIceberg(spark: SparkSession, database: string, name: string) {
  await spark.conf.set({
    [`spark.sql.catalog.${ICEBERG_CATALOG}`]: "org.apache.iceberg.spark.SparkCatalog",
    [`spark.sql.catalog.${ICEBERG_CATALOG}.catalog-impl`]: "org.apache.iceberg.aws.glue.GlueCatalog",
    [`spark.sql.catalog.${ICEBERG_CATALOG}.io-impl`]: "org.apache.iceberg.aws.s3.S3FileIO",
    // Of use only for tables that are made without a location.
    [`spark.sql.catalog.${ICEBERG_CATALOG}.warehouse`]: "s3://glue-connect/none",
    [`spark.sql.catalog.${ICEBERG_CATALOG}.cache-enabled`]: "false",
  });
  return spark.table(`${ICEBERG_CATALOG}.${quoteName(database)}.${quoteName(name)}`);
}

/** A table's files by its location, for a Spark that doesn't know Glue's catalog; partitions are folders `name=value`. */
function readFiles(
  spark: SparkSession,
  { Name, StorageDescriptor, PartitionKeys = [] }: Table,
  format: string | undefined,
) {
  const location = StorageDescriptor?.Location;
  if (location === undefined || format === undefined || !["parquet", "orc", "csv", "json"].includes(format)) {
    throw new UserError("TABLE_FORMAT_UNSUPPORTED", `${Name}: tables of format ${format ?? "unknown"} can't be read`, {
      hint: "Supported are Parquet, ORC, CSV, JSON and Iceberg; leave it out with --tables '!name'",
    });
  }
  const columns = [...(StorageDescriptor?.Columns ?? []), ...PartitionKeys];
  const schema = columns
    .map(({ Name: column = "", Type = "string" }: GlueColumn) => `${quoteName(column)} ${Type}`)
    .join(", ");
  const reader = spark.read
    .format(format)
    .schema(schema)
    .options(format === "csv" ? csvOptions(StorageDescriptor) : {});
  return reader.load(hadoopReadPath(location.replace(/\/$/, "")));
}

function csvOptions(descriptor: Table["StorageDescriptor"]): Record<string, string> {
  const parameters = { ...descriptor?.Parameters, ...descriptor?.SerdeInfo?.Parameters };
  const separator = parameters.separatorChar ?? parameters["field.delim"] ?? parameters.delimiter ?? ",";
  return {
    sep: separator,
    quote: parameters.quoteChar ?? '"',
    escape: parameters.escapeChar ?? "\\",
    header: String(Number(parameters["skip.header.line.count"] ?? 0) > 0),
  };
}
