import { randomBytes } from "node:crypto";
import {
  commitOnce,
  fitted,
  type IcebergBranch,
  type IcebergTable,
  readAttempt,
  type StoredSchema,
} from "../../lib/glue/incremental/index.js";
import * as f from "../../lib/spark/functions/index.js";
import { quoteName, type SparkSession } from "../../lib/spark/index.js";
import { type ObjectStore, type Publish, publishFiles, type Step } from "../../lib/storage/index.js";
import { GROUP_ID } from "./output-columns.js";

/** Deletes mark rows instead of writing files anew: a batch touches some rows of many files. */
const PROPERTIES = { "write.delete.mode": "merge-on-read" } as const;

/** What a batch does to the Iceberg table of an output; part of the redo log, so that any run can do it. */
export type MartCommit = {
  readonly mode: "replace" | "groups";
  /** Folder of the rows; `null`: there are none. */
  readonly rows: string | null;
  /** Folder of the groups that have no rows any more; `null`: there are none. */
  readonly emptied: string | null;
  readonly schema: StoredSchema;
  /** The marks of the output's tables, as JSON. */
  readonly watermark: string;
  /** The run whose batch it adds to; `null`: there is none. Batches that an earlier release has left don't say. */
  readonly after?: string | null;
};

/** By output. */
export type Commits = { readonly [mart: string]: MartCommit };

/**
 * Publishes a batch to the Iceberg tables of its outputs: the groups that it has take the place of those that are there. Each
 * table is committed to once; a run that takes over goes on with those that were not.
 *
 * @param tableOf the table of an output.
 */
export function publishMarts(store: ObjectStore, step: Step, tableOf: (mart: string) => IcebergTable): Publish {
  return async (batch, check) => {
    const commits = (batch.commit ?? {}) as Commits;
    for (const [mart, commit] of Object.entries(commits)) {
      const table = tableOf(mart);
      const { schema, watermark, after = null } = commit;
      const replace = commit.mode === "replace";
      const part = { runId: batch.runId, schema, watermark, after, replace, properties: PROPERTIES };
      await commitOnce(table, part, check, (branch) => commitMart(table.spark, branch, commit));
    }
    // What another format had left there; or all of a dead run's batch, which was Parquet.
    await publishFiles(store, step)(batch, check);
  };
}

async function commitMart(spark: SparkSession, branch: IcebergBranch, commit: MartCommit): Promise<void> {
  const types = commit.schema.map(([column, type]) => `${quoteName(column)} ${type}`).join(", ");
  const written = commit.rows === null ? undefined : readAttempt(spark, commit.rows, types);
  const rows =
    written === undefined ? fitted(spark.range(0), [], branch.schema) : fitted(written, commit.schema, branch.schema);
  if (commit.mode === "replace") {
    await branch.write(rows).overwrite(f.lit(true));
    return;
  }
  const groups = [
    ...(written === undefined ? [] : [written.select(GROUP_ID)]),
    ...(commit.emptied === null ? [] : [readAttempt(spark, commit.emptied, `${GROUP_ID} STRING`)]),
  ];
  const [first, ...rest] = groups;
  if (first !== undefined) {
    const view = `glue_connect_groups_${randomBytes(8).toString("hex")}`;
    await rest
      .reduce((all, one) => all.union(one), first)
      .distinct()
      .createOrReplaceTempView(view);
    try {
      await spark.sql(`DELETE FROM ${branch.name} WHERE ${GROUP_ID} IN (SELECT ${GROUP_ID} FROM ${view})`);
    } finally {
      await spark.catalog.dropTempView(view).catch(() => false);
    }
  }
  await branch.write(rows).append();
}
