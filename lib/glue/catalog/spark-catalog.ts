import { ExitCode, UserError } from "../../errors.js";
import { quoteName, type Row, SparkConnectError, type SparkSession } from "../../spark/index.js";
import type { CatalogEntry, DataCatalog } from "./catalog.js";

/**
 * The catalog of the Spark server: locally that is all there is, on AWS it may be Glue's as Spark sees it.
 *
 * @param open the run's session, opened at the first use.
 */
export function createSparkCatalog(open: () => Promise<SparkSession>): DataCatalog {
  return {
    kind: "spark",
    async tables(database) {
      const spark = await open();
      const namespace = database.split(".").map(quoteName).join(".");
      const [tables, views] = await Promise.all([
        list(spark, `SHOW TABLES IN ${namespace}`, database),
        // Only the session's own catalog knows views.
        database.includes(".") ? [] : list(spark, `SHOW VIEWS IN ${namespace}`, database),
      ]);
      const skipped = new Set(views);
      return tables
        .filter((name) => !skipped.has(name))
        .toSorted()
        .map((name): CatalogEntry => {
          const identifier = `${namespace}.${quoteName(name)}`;
          return { database, name, read: async (session) => session.table(identifier) };
        });
    },
    async connection(name) {
      throw new UserError(
        "CONNECTION_NOT_FOUND",
        `There is no connection ${JSON.stringify(name)}: Spark's catalog has none`,
        {
          hint: "Give the connection in the job's configuration, or use AWS Glue's catalog with --catalog glue",
          exitCode: ExitCode.configuration,
        },
      );
    },
  };
}

async function list(spark: SparkSession, statement: string, database: string): Promise<string[]> {
  try {
    const rows = await (await spark.sql(statement)).collect();
    return rows.filter((row: Row) => row.getBoolean("isTemporary") !== true).map((row) => row.getString(1) ?? "");
  } catch (error) {
    if (
      error instanceof SparkConnectError &&
      /SCHEMA_NOT_FOUND|NO_SUCH_(NAMESPACE|DATABASE)|CATALOG_NOT_FOUND/.test(error.code)
    ) {
      throw databaseNotFound(database, "Spark's catalog");
    }
    throw error;
  }
}

export function databaseNotFound(database: string, where: string): UserError {
  return new UserError("DATABASE_NOT_FOUND", `There is no database ${JSON.stringify(database)} in ${where}`, {
    hint: "Check its name; --catalog glue|spark says where it is looked for",
    exitCode: ExitCode.configuration,
  });
}
