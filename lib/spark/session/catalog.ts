import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ActionOptions } from "../client/client.js";
import type { CatalogSchema } from "../generated/spark/connect/catalog_pb.js";
import { relation } from "../plan/nodes.js";
import type { Row } from "../values/row.js";
import type { SparkSession } from "./session.js";

type CatalogInit = NonNullable<MessageInitShape<typeof CatalogSchema>["catType"]>;

export interface CatalogTable {
  readonly name: string;
  readonly catalog: string | null;
  readonly namespace: readonly string[];
  readonly description: string | null;
  readonly tableType: string;
  readonly isTemporary: boolean;
}

export interface CatalogColumn {
  readonly name: string;
  readonly description: string | null;
  readonly dataType: string;
  readonly nullable: boolean;
  readonly isPartition: boolean;
  readonly isBucket: boolean;
}

export interface CatalogDatabase {
  readonly name: string;
  readonly catalog: string | null;
  readonly description: string | null;
  readonly locationUri: string;
}

export interface CatalogFunction {
  readonly name: string;
  readonly className: string | null;
  readonly isTemporary: boolean;
}

/** Databases, tables, views and the cache; `spark.catalog`. Names may have a catalog and a database in front. */
export class Catalog {
  readonly #session: SparkSession;

  constructor(session: SparkSession) {
    this.#session = session;
  }

  async currentCatalog(options: ActionOptions = {}): Promise<string> {
    return this.#text({ case: "currentCatalog", value: {} }, options);
  }

  async setCurrentCatalog(catalogName: string, options: ActionOptions = {}): Promise<void> {
    await this.#rows({ case: "setCurrentCatalog", value: { catalogName } }, options);
  }

  async listCatalogs(pattern?: string, options: ActionOptions = {}): Promise<string[]> {
    const rows = await this.#rows({ case: "listCatalogs", value: optional({ pattern }) }, options);
    return rows.map((row) => row.getString(0) ?? "");
  }

  async currentDatabase(options: ActionOptions = {}): Promise<string> {
    return this.#text({ case: "currentDatabase", value: {} }, options);
  }

  async setCurrentDatabase(dbName: string, options: ActionOptions = {}): Promise<void> {
    await this.#rows({ case: "setCurrentDatabase", value: { dbName } }, options);
  }

  async listDatabases(pattern?: string, options: ActionOptions = {}): Promise<CatalogDatabase[]> {
    const rows = await this.#rows({ case: "listDatabases", value: optional({ pattern }) }, options);
    return rows.map((row) => row.toObject() as unknown as CatalogDatabase);
  }

  async databaseExists(dbName: string, options: ActionOptions = {}): Promise<boolean> {
    return this.#flag({ case: "databaseExists", value: { dbName } }, options);
  }

  /** Tables and views of a database (default: the current one), temporary views included. */
  async listTables(dbName?: string, pattern?: string, options: ActionOptions = {}): Promise<CatalogTable[]> {
    const rows = await this.#rows({ case: "listTables", value: optional({ dbName, pattern }) }, options);
    return rows.map(toTable);
  }

  /** @throws AnalysisException `TABLE_OR_VIEW_NOT_FOUND` */
  async getTable(tableName: string, options: ActionOptions = {}): Promise<CatalogTable> {
    const [row] = await this.#rows({ case: "getTable", value: { tableName } }, options);
    if (row === undefined) throw new Error(`The server described no table ${tableName}`);
    return toTable(row);
  }

  /** Also true for a temporary view. */
  async tableExists(tableName: string, dbName?: string, options: ActionOptions = {}): Promise<boolean> {
    return this.#flag({ case: "tableExists", value: { tableName, ...optional({ dbName }) } }, options);
  }

  async listColumns(tableName: string, dbName?: string, options: ActionOptions = {}): Promise<CatalogColumn[]> {
    const rows = await this.#rows({ case: "listColumns", value: { tableName, ...optional({ dbName }) } }, options);
    return rows.map((row) => row.toObject() as unknown as CatalogColumn);
  }

  async listFunctions(dbName?: string, pattern?: string, options: ActionOptions = {}): Promise<CatalogFunction[]> {
    const rows = await this.#rows({ case: "listFunctions", value: optional({ dbName, pattern }) }, options);
    return rows.map((row) => row.toObject() as unknown as CatalogFunction);
  }

  async functionExists(functionName: string, dbName?: string, options: ActionOptions = {}): Promise<boolean> {
    return this.#flag({ case: "functionExists", value: { functionName, ...optional({ dbName }) } }, options);
  }

  /** False when there was no such view. */
  async dropTempView(viewName: string, options: ActionOptions = {}): Promise<boolean> {
    return this.#flag({ case: "dropTempView", value: { viewName } }, options);
  }

  async dropGlobalTempView(viewName: string, options: ActionOptions = {}): Promise<boolean> {
    return this.#flag({ case: "dropGlobalTempView", value: { viewName } }, options);
  }

  async isCached(tableName: string, options: ActionOptions = {}): Promise<boolean> {
    return this.#flag({ case: "isCached", value: { tableName } }, options);
  }

  async cacheTable(tableName: string, options: ActionOptions = {}): Promise<void> {
    await this.#rows({ case: "cacheTable", value: { tableName } }, options);
  }

  async uncacheTable(tableName: string, options: ActionOptions = {}): Promise<void> {
    await this.#rows({ case: "uncacheTable", value: { tableName } }, options);
  }

  async clearCache(options: ActionOptions = {}): Promise<void> {
    await this.#rows({ case: "clearCache", value: {} }, options);
  }

  /** Forgets what Spark remembers of a table's files: needed after they changed behind its back. */
  async refreshTable(tableName: string, options: ActionOptions = {}): Promise<void> {
    await this.#rows({ case: "refreshTable", value: { tableName } }, options);
  }

  async refreshByPath(path: string, options: ActionOptions = {}): Promise<void> {
    await this.#rows({ case: "refreshByPath", value: { path } }, options);
  }

  async recoverPartitions(tableName: string, options: ActionOptions = {}): Promise<void> {
    await this.#rows({ case: "recoverPartitions", value: { tableName } }, options);
  }

  async #rows(catType: CatalogInit, options: ActionOptions): Promise<Row[]> {
    const rows: Row[] = [];
    const plan = relation({ case: "catalog", value: { catType } });
    for await (const batch of this.#session.executor.rowBatches(plan, options)) rows.push(...batch.rows);
    return rows;
  }

  async #flag(catType: CatalogInit, options: ActionOptions): Promise<boolean> {
    return (await this.#rows(catType, options))[0]?.getBoolean(0) ?? false;
  }

  async #text(catType: CatalogInit, options: ActionOptions): Promise<string> {
    return (await this.#rows(catType, options))[0]?.getString(0) ?? "";
  }
}

function toTable(row: Row): CatalogTable {
  const namespace = row.get("namespace");
  return {
    name: row.getString("name") ?? "",
    catalog: row.getString("catalog"),
    namespace: Array.isArray(namespace) ? namespace.map(String) : [],
    description: row.getString("description"),
    tableType: row.getString("tableType") ?? "",
    isTemporary: row.getBoolean("isTemporary") ?? false,
  };
}

/** Without the fields that are undefined. */
function optional<T extends Record<string, string | undefined>>(fields: T): { [K in keyof T]?: string } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: string;
  };
}
