import { UserError } from "../../lib/errors.js";
import type { JobContext, TableRun } from "../../lib/glue/index.js";
import type { ExportedSnapshot } from "../../lib/postgres/exported-snapshot.js";
import type { SourceTable } from "../../lib/postgres/source-tables.js";
import { type SparkColumn, sparkColumn } from "../../lib/postgres/spark-columns.js";
import type { SparkSession } from "../../lib/spark/index.js";
import { formatTrackerTime, type MaxTimestampsFile, type OpenedTable, type Publish } from "../../lib/storage/index.js";
import type { Arguments, Settings } from "./arguments.js";
import { type SqlClock, sqlClock } from "./clock.js";
import { checkNames } from "./columns.js";
import { type Decision, decide, versioned } from "./decision.js";
import type { TableOutput } from "./output.js";
import type { Snapshots } from "./snapshots.js";
import { findTable, type Source } from "./sources.js";
import {
  type Details,
  detailsOf,
  knownDetails,
  lastTakenBy,
  schemaDifferences,
  UNSHOWN,
  type Watermark,
} from "./state.js";
import { type LoadPlan, looksForDeleted, nothingNew, TableLoad, tableAltered, timestampOf } from "./table-load.js";
import { capOf, fixWindow, refuseSpecial, specialColumns, type Window, windowSql } from "./window.js";

type Context = JobContext<Arguments>;

/** Up to so many rows interpreting a plan takes less time than compiling it: of 50,000, two thirds of Spark's CPU time. */
const FEW_ROWS = 50_000n;

/** What all tables of a run have in common. */
export interface LoadParts {
  readonly context: Context;
  readonly settings: Settings;
  /** The tables' folder, in the one way of writing it. */
  readonly place: string;
  readonly snapshots: Snapshots;
  readonly trackers: MaxTimestampsFile;
  readonly outputOf: (run: TableRun) => TableOutput;
  readonly publishOf: (run: TableRun) => Publish;
  /** Opened when the first table has rows to be read. */
  readonly spark: () => Promise<SparkSession>;
  /** The session for tables that a batch brings few rows of. */
  readonly sparkForFewRows: () => Promise<SparkSession>;
}

/** Loads one table, or says what a run would do with it. */
export async function loadTable(parts: LoadParts, run: TableRun, source: Source): Promise<void> {
  const { context } = parts;
  const report = context.report.table(source.name);
  report.details.environment = context.args.environment;
  const listed = source.table;
  if (listed === undefined) throw tableNotFound(source);
  if (sqlClock(listed) === undefined) {
    report.status = "SKIPPED";
    report.reason = "it has no column updated_at";
    context.report.warn("NO_UPDATED_AT", `${source.name} has no column updated_at; skipped`);
    return;
  }
  checkNames(listed.columns);
  if (context.args.deletes === "soft" && listed.primaryKey.length === 0) {
    context.report.warn("DELETES_NEED_KEY", `${source.name} has no primary key: rows that are gone can't be told`);
  }
  const output = parts.outputOf(run);
  report.target = output.target;
  const batches = run.batches<Watermark>({
    // Not as the catalog calls it: another schema or database has other rows.
    source: `jdbc-cdc ${source.connection.database}.${listed.schema}.${listed.name}`,
    tracker: parts.trackers.tracker(source.name),
    publish: parts.publishOf(run),
  });
  const opened =
    context.mode === "plan"
      ? await batches.peek()
      : await batches.open({ discardUnfinished: replacesAll(context.args) });
  if (opened.recovered !== undefined) {
    context.report.warn("BATCH_RECOVERED", `${source.name}: finished the batch of run ${opened.recovered}`);
  }
  await interruptAbandoned(parts, opened);
  // A snapshot older than the state would bring back what is over.
  const notBefore = lastTakenBy(opened.state?.watermark ?? null);
  await parts.snapshots.use(source.connection, notBefore, async (snapshot) => {
    // As the snapshot has it: it may have been altered since it was listed.
    const table = await findTable(
      { query: async (text, values) => ({ rows: await snapshot.query("reading the catalog", text, values) }) },
      listed,
    );
    if (table === undefined) throw tableNotFound(source);
    const clock = sqlClock(table);
    if (clock === undefined) throw tableAltered(source.name);
    const columns = table.columns.map((column) => sparkColumn(column));
    checkNames(columns);
    const about = { source, table, clock, columns, snapshot, opened, output };
    const plan = await new TablePlanner(parts, run, about).plan();
    if (plan === undefined) return;
    if (nothingNew(plan) && !looksForDeleted(plan)) {
      report.reason = plan.window.rows === 0n && opened.state === undefined ? "it has no rows" : "nothing new";
      return;
    }
    const spark = await (readsFew(plan) ? parts.sparkForFewRows() : parts.spark());
    const load = new TableLoad(plan, spark);
    if (context.mode === "plan") await load.count();
    else await load.run(await batches.begin({ sparkSessionId: spark.sessionId }));
  });
}

/** Also of what was delivered before: a backfill reads files of any size again, and sets of keys are of all rows. */
function readsFew(plan: LoadPlan): boolean {
  const { decision, window, opened } = plan;
  const keys = looksForDeleted(plan) || opened.state?.delivered.keys !== undefined;
  return window.rows <= FEW_ROWS && decision.kind !== "backfill" && !keys;
}

const replacesAll = ({ load_type, full_refresh }: Arguments) => load_type === "full" || full_refresh;

async function interruptAbandoned({ spark, context }: LoadParts, { abandoned }: OpenedTable<Watermark>): Promise<void> {
  const id = (abandoned as { sparkSessionId?: string } | null | undefined)?.sparkSessionId;
  if (id === undefined || id === "" || context.mode === "plan") return;
  // Best effort: what a dead run's executors still write, nobody will publish.
  await (await spark()).interruptSession(id).catch(() => undefined);
}

interface About {
  readonly source: Source;
  readonly table: SourceTable;
  readonly clock: SqlClock;
  readonly columns: readonly SparkColumn[];
  readonly snapshot: ExportedSnapshot;
  readonly opened: OpenedTable<Watermark>;
  readonly output: TableOutput;
}

/** Decides what is done with a table and fixes its bounds: nothing is written, no Spark is asked. */
class TablePlanner {
  readonly #parts: LoadParts;
  readonly #run: TableRun;
  readonly #about: About;
  readonly #details: Details;
  readonly #report: ReturnType<Context["report"]["table"]>;

  constructor(parts: LoadParts, run: TableRun, about: About) {
    this.#parts = parts;
    this.#run = run;
    this.#about = about;
    const { output_format: format } = parts.context.args;
    this.#details = detailsOf(about.columns, about.table, { format, place: parts.place });
    this.#report = parts.context.report.table(about.source.name);
  }

  /** `undefined`: there is nothing to be done. */
  async plan(): Promise<LoadPlan | undefined> {
    const { context, settings } = this.#parts;
    const { opened, source, snapshot, table, clock, output } = this.#about;
    if (settings.backfill !== undefined && (opened.state?.watermark ?? null) === null) {
      this.#report.status = "SKIPPED";
      this.#report.reason = "nothing was delivered yet";
      return undefined;
    }
    const last = output.lastBatch === undefined ? undefined : ((await output.lastBatch()) ?? null);
    const before = knownDetails(opened.state);
    const empty = before !== undefined && before.format === undefined && (await output.hasFiles?.()) === false;
    const known = { opened, details: this.#details, snapshot, table, clock, empty, last };
    const decision = decide(known, context.args, settings);
    if (settings.backfill !== undefined && decision.kind !== "backfill") throw noBackfill(source, decision);
    this.#report.way = decision.kind === "full" ? "everything" : decision.kind;
    this.#report.reason = decision.reason;
    this.#report.stateBefore = timestampOf(opened.state?.watermark ?? null);
    this.#report.stateAfter = this.#report.stateBefore;
    if (decision.kind === "backfill" && decision.from > decision.to) {
      this.#report.reason = "nothing was delivered in that time";
      return undefined;
    }
    this.#reportSchema(decision);
    await output.checkShape?.(this.#details);
    const window = await this.#run.step("fix the bounds", () => this.#fixWindow(decision));
    this.#report.read = Number(window.rows);
    const upTo = window.to === undefined ? "nothing" : formatTrackerTime(window.to);
    context.log.info(`${source.name}: ${this.#report.way} (${decision.reason}), ${window.rows} rows up to ${upTo}`);
    const removed = await output.filesToRemove(decision, opened.state === undefined);
    if (removed.length > 0 && context.mode === "plan") this.#report.details.filesToReplace = removed.length;
    const { columns } = this.#about;
    const about = { source, table, clock, columns, snapshot, opened, output };
    return { ...about, context, settings, run: this.#run, details: this.#details, decision, window, removed };
  }

  #reportSchema(decision: Decision): void {
    const { context } = this.#parts;
    const { state, tracker } = this.#about.opened;
    const before = knownDetails(state);
    if (before === undefined || tracker.from !== "state") return;
    const differences = schemaDifferences(before, this.#details).map(({ text }) => text);
    if (differences.length === 0) return;
    this.#report.details.schemaChanges = differences;
    const { name } = this.#about.source;
    if (context.args.on_schema_change === "fail" && !(decision.kind === "full" && decision.asked)) {
      throw new UserError("SCHEMA_CHANGED", `The columns of ${name} have changed since the last batch`, {
        problems: differences,
        hint: "Nothing was written. Go on with --on_schema_change evolve, or load it afresh with --full_refresh",
      });
    }
    context.report.warn("SCHEMA_CHANGED", `${name}: ${differences.join("; ")}`);
  }

  #cap(decision: Decision): bigint {
    const { settled } = this.#about.snapshot.writers;
    return capOf(decision, this.#parts.context.args.late_rows === "clock" ? settled - UNSHOWN : settled);
  }

  async #fixWindow(decision: Decision): Promise<Window> {
    const { context } = this.#parts;
    const { snapshot, source, table, clock, columns } = this.#about;
    const cap = this.#cap(decision);
    const window = await fixWindow(snapshot, table, clock, columns, decision, cap);
    if (window.special > 0n) {
      const problems = await specialColumns(snapshot, table, columns, windowSql(decision, clock, cap));
      if (context.args.special_values === "fail") refuseSpecial(problems);
      context.report.warn("VALUES_BECAME_NULL", `${source.name}: ${problems.join("; ")}`);
    }
    this.#report.details.later = window.later;
    if (decision.kind === "full") this.#report.details.withoutTime = window.withoutTime;
    if (window.later > 0n && decision.kind !== "backfill") this.#warnOfLater(window);
    const { unseen } = snapshot.writers;
    if (unseen.length > 0 && (context.args.late_rows === "clock" || !versioned(table))) {
      const then = versioned(table)
        ? "the next run looks for late rows by xmin"
        : "its late rows may be lost: it is no table";
      context.report.warn("TRANSACTIONS_UNSEEN", `${source.name}: ${unseen.join("; ")}; ${then}`);
    }
    return window;
  }

  #warnOfLater({ later }: Window): void {
    const { source, snapshot } = this.#about;
    const { oldest, settled } = snapshot.writers;
    const upTo = formatTrackerTime(settled);
    if (oldest === undefined) {
      this.#parts.context.report.warn(
        "FUTURE_TIMESTAMPS",
        `${source.name}: ${later} rows are later than ${upTo} by PostgreSQL's clock; they come when they are due`,
      );
    } else {
      this.#parts.context.report.warn(
        "ROWS_WAIT",
        `${source.name}: ${later} rows are later than ${upTo}, where the transaction of pid ${oldest.pid} holds the load back; they come when it is over`,
      );
    }
  }
}

function noBackfill({ name }: Source, { reason }: Decision): UserError {
  return new UserError("BACKFILL_NOT_POSSIBLE", `${name} can't be loaded for a part of the time: ${reason}`, {
    hint: "Run without --from and --to first",
  });
}

function tableNotFound({ name, location }: Source): UserError {
  return new UserError("TABLE_NOT_FOUND", `The catalog has ${name}, but the database has no ${location}`, {
    hint: "Run the crawler again, or leave the table out with --tables",
  });
}
