import { ExitCode, UserError } from "../errors.js";
import {
  acquireLease,
  attemptsFolder,
  canonicalUri,
  childUri,
  findLeftovers,
  type JsonValue,
  type Lease,
  type Leftovers,
  parentUri,
  type Step,
  TableBatches,
  type TableBatchesOptions,
  type Tracker,
} from "../storage/index.js";
import type { JobContext } from "./context.js";
import { processMark } from "./process-mark.js";
import { sideBySide } from "./side-by-side.js";

/** What a job that writes files for many tables tells of itself. */
export interface ManyTables {
  /** Name of the job, e.g. `athena-cdc`. */
  readonly job: string;
  /** The tables' folder, as the user wrote it; without a slash at the end. */
  readonly output: string;
  /** Folder of states, leases and delivered rows, see {@link stateFolderBeside}. */
  readonly stateFolder: string;
  /** How many tables are worked on at once. */
  readonly parallelism: number;
  /** Only the tables that failed in the last run. */
  readonly onlyFailed?: boolean;
  /** A lease that wasn't renewed for so long is free, in milliseconds. Default: 20,000. */
  readonly leaseExpiresAfterMs?: number;
}

/** One table of a run. */
export interface TableRun {
  readonly table: string;
  /** As `context.step`, for this table. */
  readonly step: Step;
  /** Stops when the run is interrupted, or when another run has taken its lease over. */
  readonly signal: AbortSignal;
  /** The batch protocol for the table; with a documented tracker, or none. */
  batches<Watermark extends JsonValue>(
    options: { readonly source: string; readonly tracker: Tracker } & Pick<TableBatchesOptions, "publish">,
  ): TableBatches<Watermark>;
}

/**
 * The folder of the states that go with a documented tracker: `_glue_connect/<job>` beside it. Not in the output, which users
 * move and expire; a run that is given the same tracker goes on where the last one ended.
 *
 * @param tracker a folder with a slash at its end (`s3://lake/cdc/`), or an object in it (`s3://lake/cdc/max_timestamps.csv`).
 */
export function stateFolderBeside(tracker: string, job: string): string {
  const folder = tracker.endsWith("/") ? tracker : parentUri(tracker);
  return childUri(canonicalUri(folder), "_glue_connect", job);
}

/**
 * Works on the tables of a run side by side. One that fails is reported and the others go on; `--continue` takes only those
 * that failed. A second run with the same states is refused (`ConcurrentRunsExceededException`, exit 75). In `plan` mode
 * nothing is leased or stored.
 *
 * @example
 * await runTables(context, { job, output, stateFolder, parallelism: 4 }, names, async (run) => {
 *   const batches = run.batches<Watermark>({ source: `${job} ${database}.${run.table}`, tracker });
 *   const { state } = await batches.open();
 *   // ...
 * });
 */
export async function runTables(
  context: JobContext<unknown>,
  options: ManyTables,
  tables: readonly string[],
  work: (run: TableRun) => Promise<void>,
): Promise<void> {
  if (context.mode === "plan") {
    const none: Leftovers = { async clear() {} };
    const wanted = await wantedTables(context, options, tables);
    await workOn(context, options, wanted, { leftovers: none, signal: context.signal }, work);
    return;
  }
  await using lease = await context.step("take the lease", () =>
    acquireLease({
      store: context.storage,
      folder: childUri(options.stateFolder, "_lease"),
      runId: context.runId,
      what: `${options.job} with the states in ${options.stateFolder}`,
      process: processMark(),
      signal: context.signal,
      ...(options.leaseExpiresAfterMs === undefined ? {} : { expiresAfterMs: options.leaseExpiresAfterMs }),
    }),
  );
  const before = await lastRun(context, options);
  const wanted = await wantedTables(context, options, tables);
  // A run of some tables leaves it at what is known of the others.
  const others = (before?.failed ?? []).filter((table) => !wanted.includes(table));
  const leftovers = await findLeftovers(context.storage, options, context.runId);
  const signal = AbortSignal.any([context.signal, lease.lost]);
  await putLastRun(context, options, { runId: context.runId, state: "RUNNING", failed: [...others, ...wanted] });
  await workOn(context, options, wanted, { leftovers, signal, lease }, work);
  context.signal.throwIfAborted();
  if (lease.lost.aborted) throw lease.lost.reason;
  const failed = wanted.filter((table) => context.report.table(table).status === "FAILED");
  await putLastRun(context, options, {
    runId: context.runId,
    state: failed.length > 0 ? "FAILED" : "SUCCEEDED",
    failed: [...others, ...failed],
  });
  // What is left of it now belongs to tables that failed, and is cleared by a later run.
  if (failed.length === 0) {
    await context.storage.deleteAll(`${childUri(attemptsFolder(options.output), context.runId)}/`);
  }
}

async function workOn(
  context: JobContext<unknown>,
  options: ManyTables,
  tables: readonly string[],
  { leftovers, signal, lease }: { readonly leftovers: Leftovers; readonly signal: AbortSignal; readonly lease?: Lease },
  work: (run: TableRun) => Promise<void>,
): Promise<void> {
  // The report shows the tables in the order of the catalog, whichever ends first.
  for (const table of tables) context.report.table(table);
  await sideBySide(tables, options.parallelism, signal, async (table) => {
    try {
      await work(tableRun(context, options, table, leftovers, signal));
      context.report.table(table).status ??= context.mode === "plan" ? "PLANNED" : "SUCCEEDED";
    } catch (error) {
      await lease?.look();
      context.tableFailed(table, signal.aborted ? signal.reason : error);
    }
  });
}

function tableRun(
  context: JobContext<unknown>,
  options: ManyTables,
  table: string,
  leftovers: Leftovers,
  signal: AbortSignal,
): TableRun {
  const step: Step = (name, work) => {
    signal.throwIfAborted();
    return context.step(name, work, table);
  };
  return {
    table,
    step,
    signal,
    batches: (more) =>
      new TableBatches({
        store: context.storage,
        place: { stateFolder: options.stateFolder, output: options.output, table },
        runId: context.runId,
        step,
        leftovers,
        warn: (code, message) => context.report.warn(code, `${table}: ${message}`),
        ...more,
      }),
  };
}

interface LastRun {
  readonly runId: string;
  readonly state: "RUNNING" | "FAILED" | "SUCCEEDED";
  /** Tables that failed, or that a run which was killed may not have come to. */
  readonly failed: readonly string[];
}

const lastRunUri = ({ stateFolder }: ManyTables) => childUri(stateFolder, "_lease", "last-run.json");

async function putLastRun(context: JobContext<unknown>, options: ManyTables, lastRun: LastRun): Promise<void> {
  await context.storage.put(lastRunUri(options), `${JSON.stringify(lastRun)}\n`, { contentType: "application/json" });
}

/** @throws UserError `NOTHING_TO_CONTINUE`. */
async function wantedTables(
  context: JobContext<unknown>,
  options: ManyTables,
  tables: readonly string[],
): Promise<readonly string[]> {
  if (options.onlyFailed !== true) return tables;
  const last = await lastRun(context, options);
  if (last === undefined) {
    throw new UserError("NOTHING_TO_CONTINUE", `No run has been here before: ${lastRunUri(options)} is missing`, {
      hint: "Run without --continue",
      exitCode: ExitCode.usage,
    });
  }
  return tables.filter((table) => last.failed.includes(table));
}

async function lastRun(context: JobContext<unknown>, options: ManyTables): Promise<LastRun | undefined> {
  const object = await context.storage.get(lastRunUri(options));
  return object === undefined ? undefined : (JSON.parse(Buffer.from(object.body).toString("utf8")) as LastRun);
}
