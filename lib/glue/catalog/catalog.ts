import type { DataFrame, SparkSession } from "../../spark/index.js";

/** Which catalog names the tables: AWS Glue's Data Catalog, or the one of the Spark server. */
export type CatalogKind = "glue" | "spark";

/** A table as a catalog knows it. */
export interface CatalogEntry {
  readonly database: string;
  readonly name: string;
  /** `iceberg`, `parquet`, `orc`, `csv`, `json`, or what the catalog says; `undefined` where only Spark knows. */
  readonly format?: string;
  /** Name of the Glue connection of a JDBC table. */
  readonly connection?: string;
  /** For a JDBC table: its name in the database, as `database.schema.table`. */
  readonly location?: string;
  /** The table's rows, as a plan: nothing is read yet. */
  read(spark: SparkSession): Promise<DataFrame>;
}

/** Properties of a JDBC connection, as Glue's `GetConnection` gives them. */
export interface CatalogConnection {
  readonly name: string;
  readonly type: string;
  /** E.g. `JDBC_CONNECTION_URL`, `SECRET_ID`, `USERNAME`, `PASSWORD`. Not for logs. */
  readonly properties: Readonly<Record<string, string>>;
}

/** Tables and connections, from AWS Glue or from Spark. */
export interface DataCatalog {
  readonly kind: CatalogKind;
  /**
   * The tables of a database by name, without views.
   *
   * @throws UserError `DATABASE_NOT_FOUND` (exit 66), `CATALOG_ACCESS_DENIED`.
   */
  tables(database: string): Promise<readonly CatalogEntry[]>;
  /** @throws UserError `CONNECTION_NOT_FOUND`, `CATALOG_ACCESS_DENIED`. */
  connection(name: string): Promise<CatalogConnection>;
}
