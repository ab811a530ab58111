import { fixSession } from "../../lib/glue/incremental/index.js";
import type { JobContext } from "../../lib/glue/index.js";
import { clusterText } from "../../lib/keyspaces/index.js";
import type { FileFormat } from "./arguments.js";
import { type ClusterArguments, openTarget, tableText } from "./cluster.js";
import { readFiles, writeFiles } from "./files.js";
import { claimFolder, dataFiles, inNewFolder } from "./folders.js";

export interface ExportArguments extends ClusterArguments {
  readonly KEYSPACE_NAME: string;
  readonly TABLE_NAME: string;
  readonly S3URI: string;
  readonly FORMAT: FileFormat;
  readonly WHERE: string | undefined;
}

/**
 * Writes a table as it is now to `<S3URI>/snapshot/year=.../`.
 *
 * @param label how the report calls it.
 * @returns the folder; `undefined` when it was only planned.
 */
export async function exportTable(
  context: JobContext<ExportArguments>,
  label = tableText({ keyspace: context.args.KEYSPACE_NAME, table: context.args.TABLE_NAME }),
): Promise<string | undefined> {
  const { args, storage, step, mode } = context;
  const name = { keyspace: args.KEYSPACE_NAME, table: args.TABLE_NAME };
  const report = context.report.table(label);
  const spark = await context.spark({ locations: [args.S3URI] });
  await fixSession(spark);
  await using source = await step("look at the table", () => openTarget(context, spark, args, name));
  const all = source.rows();
  const rows = args.WHERE === undefined ? all : all.where(args.WHERE);
  const { schema } = source;
  report.way = args.WHERE === undefined ? "every row" : `rows where ${args.WHERE}`;
  report.details.cluster = clusterText(source.connection);
  if (mode === "plan") {
    report.read = await step("count", () => rows.count());
    report.changes = true;
    return undefined;
  }
  const claimed = await step("claim a folder", () =>
    claimFolder(storage, args.S3URI, "snapshot", {
      ...name,
      kind: "export",
      runId: context.runId,
      format: args.FORMAT,
      keys: source.table.primaryKey,
    }),
  );
  report.target = claimed.uri;
  await inNewFolder(context, claimed, async () => {
    await step("write the rows", () => writeFiles(rows, schema, claimed.uri, args.FORMAT));
    const uris = await dataFiles(storage, claimed.uri);
    const count =
      uris.length === 0 ? 0 : await step("count", () => readFiles(spark, uris, schema, args.FORMAT).count());
    report.read = count;
    report.inserted = count;
    return { rowSchema: schema, rows: count };
  });
  return claimed.uri;
}
