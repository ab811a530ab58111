import { createHash, randomBytes } from "node:crypto";
import { ExitCode, UserError } from "../../errors.js";
import * as f from "../../spark/functions/index.js";
import { type DataFrame, quoteName, type SparkSession, type StructType, sqlType } from "../../spark/index.js";
import { childUri, hadoopPath, isS3Uri, type Step } from "../../storage/index.js";
import type { StoredSchema } from "./schema-changes.js";

const BATCH = "glue-connect.batch-id";
const WATERMARK = "glue-connect.watermark";
const FULL_LOAD = "glue-connect.full-load";
const BRANCH = "glue_connect_";
const MAX_TRIES = 4;

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

/** A batch as its table sees it. */
export interface IcebergBatch {
  readonly runId: string;
  readonly schema: StoredSchema;
  readonly watermark: string | null;
  /** The batch replaces all rows, so a column may change to any type. */
  readonly replace?: boolean;
  /** For a table that is made. */
  readonly properties?: Readonly<Record<string, string>>;
}

/** The branch that a batch is committed to, before main is moved to its end. */
export interface IcebergBranch {
  /** The table's name; a query of it reads main, where the branch began. */
  readonly table: string;
  /** The name to write to. */
  readonly name: string;
  /** The table's columns. */
  readonly schema: StructType;
  /** A writer whose commit bears the batch's id. The last commit of a batch must be one of these. */
  write(rows: DataFrame): ReturnType<DataFrame["writeTo"]>;
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
  const rows = await (
    await spark.sql(
      `SELECT s.summary['${BATCH}'] AS id, s.summary['${WATERMARK}'] AS watermark FROM ${table}.history h
         JOIN ${table}.snapshots s ON h.snapshot_id = s.snapshot_id
        WHERE h.is_current_ancestor AND s.summary['${BATCH}'] IS NOT NULL ORDER BY h.made_current_at DESC`,
    )
  ).collect();
  return rows.map((row) => ({ runId: row.getString("id") ?? "", watermark: row.getString("watermark") ?? undefined }));
}

/** What a table knows of the batches that were committed to it. */
export interface BatchHistory {
  /** The last one that main has. */
  readonly last: { readonly runId: string; readonly watermark: string | undefined } | undefined;
  /** Runs of all batches whose snapshots are there, also of those that a rollback took out of main. */
  readonly all: ReadonlySet<string>;
  /** The run that made the table's rows anew last, see {@link markFullLoad}. */
  readonly fullLoad: string | undefined;
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
  const [batches, rows, fullLoad] = await Promise.all([
    batchesOf(spark, name),
    snapshots.collect(),
    fullLoadOf(spark, catalog, table),
  ]);
  return { last: batches[0], all: new Set(rows.flatMap((row) => row.getString(0) ?? [])), fullLoad };
}

/** The run that {@link markFullLoad} has noted; `undefined`: none, or there is no such table. */
export async function fullLoadOf(
  spark: SparkSession,
  catalog: IcebergCatalog,
  table: string,
): Promise<string | undefined> {
  const name = catalog.table(table);
  if (!(await spark.catalog.tableExists(name))) return undefined;
  const properties = await (await spark.sql(`SHOW TBLPROPERTIES ${name}`)).collect();
  return properties.find((row) => row.getString(0) === FULL_LOAD)?.getString(1) ?? undefined;
}

/** Notes in a table's properties which run made its rows anew: maintenance expires snapshots, and another table of the name hasn't got it. */
export async function markFullLoad(spark: SparkSession, table: string, runId: string): Promise<void> {
  await spark.sql(`ALTER TABLE ${table} SET TBLPROPERTIES ('${FULL_LOAD}' = '${runId}')`);
}

/**
 * Publishes a batch as commits of an Iceberg table. They are made on a branch of this process's own that begins at main, and
 * main is moved to its end by `fast_forward`, which Iceberg refuses when main has moved since the branch began. That main
 * doesn't hold the batch yet is looked up after the branch began. So a batch is published once, however many processes try.
 *
 * @param batch its id and watermark go to the properties of the snapshot; the table is made, or gets the columns that it lacks.
 * @param check throws when the batch isn't this process's to publish any more.
 * @param commit writes the batch's rows to the branch.
 */
export async function commitOnce(
  { spark, catalog, table, step }: IcebergTable,
  batch: IcebergBatch,
  check: () => Promise<void>,
  commit: (branch: IcebergBranch) => Promise<void>,
): Promise<void> {
  const name = catalog.table(table);
  await check();
  await step("make the Iceberg table fit", () => fitTable(spark, catalog, table, batch));
  for (let attempt = 1; ; attempt++) {
    const branch = `${BRANCH}${randomBytes(8).toString("hex")}`;
    await check();
    await spark.sql(`ALTER TABLE ${name} CREATE BRANCH ${branch}`);
    try {
      if ((await batchesOf(spark, name)).some(({ runId }) => runId === batch.runId)) return;
      await step("commit to a branch", async () => {
        const target = `${name}.branch_${branch}`;
        const schema = await spark.table(name).schema();
        const write = (rows: DataFrame) =>
          rows.writeTo(target).options({
            [`snapshot-property.${BATCH}`]: batch.runId,
            ...(batch.watermark === null ? {} : { [`snapshot-property.${WATERMARK}`]: batch.watermark }),
          });
        await commit({ table: name, name: target, schema, write });
      });
      await check();
      const identifier = [catalog.namespace, quoteName(table)].filter((part) => part !== "").join(".");
      await step("move main", () =>
        spark.sql(
          `CALL ${catalog.name}.system.fast_forward('${identifier.replaceAll("'", "\\'")}', 'main', '${branch}')`,
        ),
      );
      return;
    } catch (error) {
      await check();
      // Someone else has committed to main meanwhile: once more, from where it is now.
      if (!/not an ancestor|cannot fast-forward/i.test((error as Error).message)) throw error;
      if (attempt === MAX_TRIES) throw busy(name, error);
    } finally {
      await dropBranches(spark, name, branch);
    }
  }
}

/** Drops the branch, and those that dead processes have left: none of them can be published any more. */
async function dropBranches(spark: SparkSession, name: string, own: string): Promise<void> {
  try {
    const refs = await (await spark.sql(`SELECT name FROM ${name}.refs WHERE type = 'BRANCH'`)).collect();
    for (const row of refs) {
      const branch = row.getString(0) ?? "";
      if (branch === own || branch.startsWith(BRANCH))
        await spark.sql(`ALTER TABLE ${name} DROP BRANCH IF EXISTS ${branch}`);
    }
  } catch {
    // A later run drops them.
  }
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

/** Makes the table, or adds and widens columns. */
async function fitTable(
  spark: SparkSession,
  catalog: IcebergCatalog,
  table: string,
  { schema, replace = false, properties = {} }: Pick<IcebergBatch, "schema" | "replace" | "properties">,
): Promise<void> {
  const name = catalog.table(table);
  if (catalog.namespace !== "") await spark.sql(`CREATE NAMESPACE IF NOT EXISTS ${catalog.name}.${catalog.namespace}`);
  if (!(await spark.catalog.tableExists(name))) {
    const columns = schema.map(([column, type]) => `${quoteName(column)} ${type}`).join(", ");
    const location = catalog.location(table);
    await spark.sql(
      `CREATE TABLE IF NOT EXISTS ${name} (${columns}) USING iceberg${location === undefined ? "" : ` LOCATION '${location.replaceAll("'", "\\'")}'`}
        TBLPROPERTIES (${Object.entries({ "format-version": "2", ...properties })
          .map(([key, value]) => `'${key}' = '${value}'`)
          .join(", ")})`,
    );
  }
  for (const statement of await tableChanges(spark, catalog, table, schema, replace)) await spark.sql(statement);
  const [head] = await (await spark.sql(`SELECT count(*) FROM ${name}.refs WHERE name = 'main'`)).collect();
  // A branch begins at a snapshot, and a new table has none.
  if (head?.getBigInt(0) === 0n) {
    const table = await spark.table(name).schema();
    await fitted(spark.range(0), [], table).writeTo(name).append();
  }
}

function busy(name: string, cause: unknown): UserError {
  return new UserError(
    "ICEBERG_TABLE_BUSY",
    `${name} was changed by others again and again while the batch was to be published`,
    {
      hint: "Run again; the batch is stored and will be published",
      exitCode: ExitCode.retryable,
      cause,
    },
  );
}
