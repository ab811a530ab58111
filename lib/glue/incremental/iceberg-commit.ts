import { randomBytes } from "node:crypto";
import { ExitCode, UserError } from "../../errors.js";
import { type DataFrame, quoteName, type SparkSession, type StructType } from "../../spark/index.js";
import {
  BATCH,
  batchesSql,
  fitted,
  type IcebergCatalog,
  type IcebergTable,
  tableChanges,
  WATERMARK,
} from "./iceberg.js";
import type { StoredSchema } from "./schema-changes.js";

const BRANCH = "glue_connect_";
const MAX_TRIES = 4;

/** A batch as its table sees it. */
export interface IcebergBatch {
  readonly runId: string;
  readonly schema: StoredSchema;
  readonly watermark: string | null;
  /**
   * The run whose batch it adds to: the last one that main had when it was decided what to load. `null`: there was none. Left out: it
   * doesn't matter what main has.
   */
  readonly after?: string | null;
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

/**
 * Publishes a batch as commits of an Iceberg table. They are made on a branch of this process's own that begins at main, and
 * main is moved to its end by `fast_forward`, which Iceberg refuses when main has moved since the branch began. That main
 * doesn't hold the batch yet, and still ends with the one that it adds to, is looked up after the branch began. So a batch is
 * published once, however many processes try, and never over the gap that a rollback left.
 *
 * @param batch its id and watermark go to the properties of the snapshot; the table is made, or gets the columns that it lacks.
 * @param check throws when the batch isn't this process's to publish any more.
 * @param commit writes the batch's rows to the branch.
 * @throws UserError `BATCH_OUTDATED` when the table was rolled back, dropped or made anew since the batch was begun.
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
    const over = [branch];
    await check();
    await spark.sql(`ALTER TABLE ${name} CREATE BRANCH ${branch}`);
    try {
      const { batches, branches } = await look(spark, name);
      if (batches.includes(batch.runId)) return;
      if (!(await isAfter(spark, name, batches[0], batch.after))) throw outdated(name, batch.runId);
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
      // A commit makes a branch again that another finisher of the batch has dropped, and begins it at main, which has the batch then.
      if ((await look(spark, name)).batches.includes(batch.runId)) return;
      const identifier = [catalog.namespace, quoteName(table)].filter((part) => part !== "").join(".");
      await step("move main", () =>
        spark.sql(
          `CALL ${catalog.name}.system.fast_forward('${identifier.replaceAll("'", "\\'")}', 'main', '${branch}')`,
        ),
      );
      // Those that were there before main had this batch are of it or of older ones, and can't be published any more. Others may be at work.
      over.push(...branches.filter((one) => one !== branch));
      return;
    } catch (error) {
      await check();
      // Someone else has committed to main meanwhile: once more, from where it is now.
      if (!/not an ancestor|cannot fast-forward/i.test((error as Error).message)) throw error;
      if (attempt === MAX_TRIES) throw busy(name, error);
    } finally {
      await dropBranches(spark, name, over);
    }
  }
}

/** The batches that main has, newest first, and the branches of all that publish or have died doing so. */
async function look(spark: SparkSession, name: string): Promise<{ batches: string[]; branches: string[] }> {
  const rows = await (
    await spark.sql(
      `SELECT id, NULL AS branch, made_current_at FROM (${batchesSql(name)})
        UNION ALL SELECT NULL, name, NULL FROM ${name}.refs WHERE type = 'BRANCH' AND startswith(name, '${BRANCH}')
        ORDER BY made_current_at DESC`,
    )
  ).collect();
  const column = (which: string) => rows.flatMap((row) => row.getString(which) ?? []);
  return { batches: column("id"), branches: column("branch") };
}

/** Whether a batch that adds to another one finds it at main's end. */
async function isAfter(
  spark: SparkSession,
  name: string,
  last: string | undefined,
  after: string | null | undefined,
): Promise<boolean> {
  if (after == null) return true;
  if (last !== undefined) return last === after;
  // Maintenance may have expired the snapshots of all batches; but not what the table began with, nor that batch alone.
  const there = `SELECT 1 FROM ${name}.snapshots WHERE summary['${BATCH}'] = '${after.replaceAll("'", "\\'")}'
    UNION ALL SELECT 1 FROM ${name}.history WHERE is_current_ancestor AND parent_id IS NULL`;
  return (await (await spark.sql(there)).collect()).length === 0;
}

async function dropBranches(spark: SparkSession, name: string, branches: readonly string[]): Promise<void> {
  try {
    for (const branch of branches) await spark.sql(`ALTER TABLE ${name} DROP BRANCH IF EXISTS ${branch}`);
  } catch {
    // A later run drops them.
  }
}

/** Makes the table, or adds and widens columns. */
async function fitTable(
  spark: SparkSession,
  catalog: IcebergCatalog,
  table: string,
  { runId, schema, after, replace = false, properties = {} }: IcebergBatch,
): Promise<void> {
  const name = catalog.table(table);
  if (catalog.namespace !== "") await spark.sql(`CREATE NAMESPACE IF NOT EXISTS ${catalog.name}.${catalog.namespace}`);
  if (!(await spark.catalog.tableExists(name))) {
    if (after != null) throw outdated(name, runId);
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

function outdated(name: string, runId: string): UserError {
  return new UserError("BATCH_OUTDATED", `${name} isn't any more what run ${runId} was to add rows to`, {
    hint: "It was rolled back, dropped or made anew meanwhile. Nothing was added; run again: the next batch begins where the table is now",
    exitCode: ExitCode.retryable,
  });
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
