import {
  GetConnectionCommand,
  GetDatabaseCommand,
  GlueClient,
  type Partition,
  paginateGetPartitions,
  paginateGetTables,
  type Table,
} from "@aws-sdk/client-glue";
import { type AwsOptions, awsClientConfig, awsErrorName, awsFailure } from "../../aws.js";
import { ExitCode, UserError } from "../../errors.js";
import { quoteName, type SparkSession } from "../../spark/index.js";
import type { CatalogEntry, DataCatalog } from "./catalog.js";
import { formatOf, hasPartitions, readFiles } from "./glue-files.js";
import { databaseNotFound } from "./spark-catalog.js";

const ICEBERG_CATALOG = "glue_connect_catalog";

/** AWS Glue's Data Catalog. */
export function createGlueCatalog(aws: AwsOptions): DataCatalog {
  const client = new GlueClient(awsClientConfig(aws));
  const failure = (error: unknown, doing: string, permission: string) =>
    awsFailure(error, {
      ...{ service: "Glue", doing, deniedCode: "CATALOG_ACCESS_DENIED", permission },
      instead:
        "Or are the tables in Spark's own catalog? Where Spark is given (--remote, SPARK_REMOTE), Glue's is asked, unless there is --catalog spark",
    });
  return {
    kind: "glue",
    async tables(database) {
      const doing = `listing the tables of ${database}`;
      const partitions = async ({ Name = "" }: Table) => {
        try {
          const found: Partition[] = [];
          const question = { DatabaseName: database, TableName: Name, ExcludeColumnSchema: true };
          for await (const page of paginateGetPartitions({ client }, question)) found.push(...(page.Partitions ?? []));
          return found;
        } catch (error) {
          throw failure(error, `listing the partitions of ${database}.${Name}`, "glue:GetPartitions");
        }
      };
      try {
        const found: CatalogEntry[] = [];
        for await (const { TableList = [] } of paginateGetTables({ client }, { DatabaseName: database })) {
          for (const table of TableList) {
            if (table.TableType !== "VIRTUAL_VIEW") found.push(entryOf(database, table, () => partitions(table)));
          }
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

function entryOf(database: string, table: Table, partitions: () => Promise<readonly Partition[]>): CatalogEntry {
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
      return readFiles(spark, table, hasPartitions(table) ? await partitions() : []);
    },
  };
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
