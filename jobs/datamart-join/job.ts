import { UserError } from "../../lib/errors.js";
import {
  type Bounds,
  type BoundsQuestion,
  deliveredNear,
  fixBoundsTogether,
  fixSession,
  type IcebergCatalog,
  type IcebergTable,
  icebergCatalog,
  tableChanges,
  watermarkOfTable,
} from "../../lib/glue/incremental/index.js";
import { arg, defineJob, type JobContext, runTables, type TableRun } from "../../lib/glue/index.js";
import { LocalTimestamp, type SparkSession } from "../../lib/spark/index.js";
import { type Batch, childUri, lastLoadTracker, parseTrackerTime } from "../../lib/storage/index.js";
import { loadConfiguration, type MartConfiguration } from "./configuration.js";
import { backfillImpossible } from "./decision.js";
import { type MartCommit, publishMarts } from "./iceberg-output.js";
import { joinTree } from "./join-tree.js";
import { type Mart, sourceOf } from "./mart.js";
import { type Answers, MartLoad, type Written } from "./mart-load.js";
import { outputColumns } from "./output-columns.js";
import { type Arguments, argumentProblems, JOB, readSettings, type Settings } from "./settings.js";
import type { Questions } from "./source-look.js";
import { type OpenSources, openSources } from "./sources.js";
import {
  type Details,
  detailsOf,
  latestOf,
  type MartDetails,
  type Opened,
  type State,
  type Watermark,
} from "./state.js";

const args = {
  database_name: arg.string({ description: "Glue catalog database with the tables" }),
  timestamp_s3_path: arg.uri({ description: "CSV file with the last load timestamp; the state lies beside it" }),
  load_type: arg.choice(["full", "incremental"], { description: "Everything, or what changed since the last run" }),
  output_path: arg.uri({
    description: "Where to write: <output_path>/datamart/<database_name>/; default: output_path of the configuration",
    optional: true,
  }),
  config: arg.uri({
    description: "JSON file with the tables, keys and joins; default: the six documented tables",
    optional: true,
  }),
  lookback: arg.string({
    description: "How far before the last timestamp late rows are looked for: 15m, 2h, 1d",
    default: "0",
  }),
  from: arg.string({
    description: "Backfill: load what changed in this time range again, and leave the timestamp file alone",
    optional: true,
  }),
  to: arg.string({ description: "End of the backfill, included; default: none", optional: true }),
  full_refresh: arg.boolean({ description: "Load everything afresh and replace what is there", default: false }),
  yes: arg.boolean({ description: "Don't ask before --full-refresh", default: false }),
  continue: arg.boolean({ description: "Only if the last run failed", default: false }),
  parallelism: arg.integer({ description: "Tables that are opened at once", default: 4, min: 1 }),
  on_schema_change: arg.choice(["evolve", "fail"], {
    description: "When a table's columns changed",
    default: "evolve",
  }),
  output_format: arg.choice(["parquet", "iceberg"], { description: "What is written", default: "parquet" }),
  iceberg_database: arg.string({
    description: "For Iceberg tables on S3: their database in Glue; default: <database_name>_datamart",
    optional: true,
  }),
};

type Context = JobContext<
  Arguments & {
    readonly config: string | undefined;
    readonly yes: boolean;
    readonly continue: boolean;
    readonly iceberg_database: string | undefined;
  }
>;

/**
 * Joins the tables of a datamart to Parquet: all rows at first, then those that any changed row takes part in.
 *
 * The joined rows are grouped by settlement transaction. A batch has, for every transaction that a change touches, all its
 * joined rows as they are now; the newest batch of each transaction is what a full load would give.
 */
export default defineJob({
  name: JOB,
  summary:
    "Join the account, queue and settlement tables to Parquet or Iceberg: full, then every group that a change touches",
  args,
  needs: ["iceberg"],
  check: argumentProblems,
  run,
});

async function run(context: Context): Promise<void> {
  const { args } = context;
  const configuration = await context.step("read the configuration", () =>
    loadConfiguration(context.storage, args.config),
  );
  const settings = readSettings(args, configuration);
  if (args.full_refresh && context.mode === "run" && !args.yes) {
    await context.confirm(`--full-refresh replaces what is in ${childUri(settings.output, settings.database)}.`);
  }
  const spark = await context.spark({ locations: [settings.output, settings.timestampFile] });
  await fixSession(spark);
  const iceberg =
    settings.format === "iceberg"
      ? await icebergCatalog(
          spark,
          childUri(settings.output, settings.database),
          args.iceberg_database ?? `${settings.database}_datamart`,
        )
      : undefined;
  let unopened: { readonly error: unknown } | undefined;
  await runTables(
    context,
    {
      job: JOB,
      output: settings.output,
      stateFolder: settings.stateFolder,
      parallelism: 1,
      onlyFailed: args.continue,
    },
    [settings.database],
    async (tableRun) => {
      const open = await openSources(context, spark, configuration, settings).catch((error) => {
        unopened = { error };
        throw error;
      });
      await new DatamartLoad(context, settings, { spark, iceberg }, open, tableRun).run();
    },
  );
  // What no output can be loaded without is the job's own error, after --continue knows of the run.
  if (unopened !== undefined) throw unopened.error;
}

/** One run: all outputs in one batch, so that the one timestamp file goes with all of them. */
class DatamartLoad {
  readonly #context: Context;
  readonly #settings: Settings;
  readonly #spark: SparkSession;
  readonly #iceberg: IcebergCatalog | undefined;
  readonly #open: OpenSources;
  readonly #run: TableRun;
  readonly #failed: string[] = [];

  constructor(
    context: Context,
    settings: Settings,
    { spark, iceberg }: { readonly spark: SparkSession; readonly iceberg: IcebergCatalog | undefined },
    open: OpenSources,
    tableRun: TableRun,
  ) {
    this.#context = context;
    this.#settings = settings;
    this.#spark = spark;
    this.#iceberg = iceberg;
    this.#open = open;
    this.#run = tableRun;
  }

  async run(): Promise<void> {
    const { database, timestampFile } = this.#settings;
    const report = this.#context.report.table(database);
    report.target = childUri(this.#settings.output, database);
    const batches = this.#run.batches<Watermark>({
      // The folder may be moved, and the file in it is the one that the state goes with.
      source: `${JOB} ${database} with ${timestampFile.slice(timestampFile.lastIndexOf("/") + 1)}`,
      tracker: lastLoadTracker(this.#context.storage, timestampFile),
      ...(this.#iceberg === undefined
        ? {}
        : {
            publish: publishMarts(this.#context.storage, this.#run.step, (mart) => this.#table(this.#iceberg, mart)),
          }),
    });
    const opened =
      this.#context.mode === "plan"
        ? await batches.peek()
        : // A full load takes the place of a batch that can't be published, too.
          await batches.open({ discardUnfinished: this.#settings.full });
    await this.#tellOpened(opened);
    report.stateBefore = opened.state?.published.value ?? null;
    report.stateAfter = report.stateBefore;

    if (this.#settings.backfill !== undefined && (opened.state === undefined || opened.tracker.from !== "state")) {
      const byHand = opened.tracker.from === "reset";
      throw backfillImpossible(
        byHand ? "the timestamp file was changed by hand" : "nothing was loaded with this timestamp file yet",
      );
    }
    const wanted = await this.#wanted(opened);
    // A timestamp file that was set by hand counts for all outputs, and is done with when a batch is published.
    const torn = opened.tracker.from === "reset" && this.#failed.length > 0;
    if (wanted.length > 0 && this.#context.mode === "run" && !torn) {
      const batch = await batches.begin({ sparkSessionId: this.#spark.sessionId });
      const published = await this.#write(batch, wanted, opened);
      report.stateAfter = published ?? report.stateBefore;
      report.changes = published !== undefined;
    }
    this.#tellFailed();
  }

  /** The outputs that there may be something to do for. */
  async #wanted(opened: Opened): Promise<MartLoad[]> {
    const loads: { readonly load: MartLoad; readonly questions: Questions }[] = [];
    for (const mart of this.#open.marts) {
      await this.#alone(mart.name, async () => {
        const load = await this.#load(mart, opened);
        loads.push({ load, questions: await load.decide() });
      });
    }
    const answers = await this.#ask(loads.map(({ questions }) => questions));
    const wanted: MartLoad[] = [];
    for (const [number, { load, questions }] of loads.entries()) {
      const any = await this.#alone(load.name, async () => {
        const answer = answers?.[number] ?? (await this.#ask([questions], true))?.[0];
        if (answer === undefined) throw new TypeError(`nothing was asked for ${load.name}`);
        return await load.look(answer());
      });
      // Where nothing changed too: a timestamp file that was set by hand counts for all of them.
      if (any === true || (any === false && opened.tracker.from !== "state")) wanted.push(load);
      else if (any === false) {
        this.#context.report.table(load.name).status = this.#context.mode === "plan" ? "PLANNED" : "SUCCEEDED";
      }
    }
    return wanted;
  }

  /**
   * Fixes the ends of all tables at once, before a row is read.
   *
   * @returns for each of the questions a function that gives the answers, or throws what one of them fails with; `undefined` when asking fails, and
   *   it has to be found out for which output.
   */
  async #ask(questions: readonly Questions[], fails = false): Promise<readonly (() => Answers)[] | undefined> {
    const bounds = questions.flatMap((one) => [...one.bounds.values()]);
    try {
      const ends = bounds.length === 0 ? [] : await this.#run.step("fix the bounds", () => fixBoundsTogether(bounds));
      const endOf = new Map<BoundsQuestion | undefined, () => Bounds>(
        bounds.map((question, index) => [question, ends[index] as () => Bounds]),
      );
      const boundsOf = ({ bounds, told }: Questions) =>
        new Map([
          ...told,
          ...[...bounds].map(([table, question]) => [table, (endOf.get(question) as () => Bounds)()] as const),
        ]);
      // Only then: the watermark goes as far as the bounds do, so every row up to there has to be in what is looked at later.
      const near = questions.flatMap((one) =>
        [...one.near].flatMap(([table, question]) => {
          const told = one.told.get(table);
          return hasRows(told === undefined ? endOf.get(one.bounds.get(table)) : () => told) ? [question] : [];
        }),
      );
      const counts =
        near.length === 0 ? [] : await this.#run.step("look near the watermarks", () => deliveredNear(near));
      const countOf = new Map(near.map((question, index) => [question, counts[index]]));
      return questions.map((asked) => () => ({
        bounds: boundsOf(asked),
        delivered: new Map(
          [...asked.near].flatMap(([table, question]): [string, number][] => {
            const count = countOf.get(question);
            return count === undefined ? [] : [[table, count]];
          }),
        ),
      }));
    } catch (error) {
      if (fails || this.#run.signal.aborted) throw error;
      return undefined;
    }
  }

  #table(catalog: IcebergCatalog | undefined, mart: string): IcebergTable {
    if (catalog === undefined) throw new TypeError("the output is no Iceberg table");
    return { spark: this.#spark, catalog, table: mart, step: this.#run.step };
  }

  async #load(configuration: MartConfiguration, opened: Opened): Promise<MartLoad> {
    const before = detailsOf(opened.state)?.marts[configuration.name];
    return new MartLoad({
      context: this.#context,
      settings: this.#settings,
      run: this.#run,
      spark: this.#spark,
      mart: this.#mart(configuration, before),
      definition: this.#definition(configuration),
      opened,
      before,
      inTable:
        this.#iceberg === undefined
          ? undefined
          : await watermarkOfTable(this.#spark, this.#iceberg, configuration.name),
    });
  }

  #mart(configuration: MartConfiguration, before: MartDetails | undefined): Mart {
    const all = this.#open.sources;
    for (const table of [configuration.base, ...configuration.joins.map((join) => join.table)]) {
      if (this.#open.failures.has(table)) throw this.#open.failures.get(table);
    }
    const schemas = new Map([...all].map(([table, { schema }]) => [table, schema]));
    const tables = new Map([...all].map(([table, source]) => [table, source.configuration]));
    const tree = joinTree(configuration, schemas);
    const names = before?.definition === this.#definition(configuration) ? before.names : {};
    return {
      name: configuration.name,
      tree,
      sources: new Map(tree.tables.map((table) => [table, sourceOf({ sources: all }, table)])),
      columns: outputColumns(tree, schemas, tables, names),
    };
  }

  #definition(mart: MartConfiguration): string {
    const tables = [mart.base, ...mart.joins.map(({ table }) => table)];
    return JSON.stringify([mart, tables.map((table) => this.#open.sources.get(table)?.configuration)]);
  }

  async #tellOpened({ recovered, abandoned }: Opened): Promise<void> {
    if (recovered !== undefined) {
      this.#context.report.warn("BATCH_FINISHED", `the batch that run ${recovered} had begun to publish was finished`);
    }
    const session = (abandoned as { readonly sparkSessionId?: string } | null | undefined)?.sparkSessionId;
    if (session === undefined || this.#context.mode === "plan") return;
    // What a dead run left working writes where nobody looks; it only costs the server's time.
    await this.#spark.interruptSession(session).catch(() => undefined);
  }

  /** @returns the timestamp that is in the documented file now; `undefined` when nothing was published. */
  async #write(
    batch: Batch<Watermark>,
    loads: readonly MartLoad[],
    opened: Opened,
  ): Promise<string | null | undefined> {
    const batchId = nextBatchId(detailsOf(opened.state)?.batchId);
    const written = new Map<string, Written>();
    for (const load of loads) {
      const part = await this.#alone(load.name, async () => {
        const written = await load.write(batch, batchId);
        await this.#checkTable(load.name, written?.commit);
        return written;
      });
      if (part !== undefined) {
        written.set(load.name, part);
        continue;
      }
      for (const folder of [load.name, `${load.name}_emptied`]) {
        await this.#context.storage.deleteAll(`${childUri(batch.attempt, folder)}/`);
      }
    }
    if (written.size === 0 || (opened.tracker.from === "reset" && this.#failed.length > 0)) {
      await batch.abandon();
      return undefined;
    }
    const { state } = opened;
    const before = detailsOf(state);
    const watermark = { ...state?.watermark, ...fromEntries(written, ({ marks }) => marks) };
    const details: Details = { batchId, marts: { ...before?.marts, ...fromEntries(written, (part) => part.details) } };
    const { published } = await batch.publish({
      add: [...written.values()].flatMap(({ folders }) => folders),
      commit: Object.fromEntries(
        [...written].flatMap(([name, { commit }]) => (commit === undefined ? [] : [[name, commit]])),
      ),
      remove: [...written.values()].flatMap(({ remove }) => remove),
      watermark,
      delivered: this.#delivered(state, written),
      tracker: this.#settings.backfill === undefined ? latestOf(watermark) : (state?.published.value ?? null),
      details,
    });
    for (const load of loads) {
      if (!written.has(load.name)) continue;
      load.tellPublished();
      this.#context.log.info(`${load.name}: published`);
    }
    return published.value;
  }

  /**
   * What Iceberg would refuse when the batch is published, now and by every run to come, is found out before.
   *
   * @throws UserError `ICEBERG_TYPE_CHANGE`.
   */
  async #checkTable(mart: string, commit: MartCommit | undefined): Promise<void> {
    if (this.#iceberg === undefined || commit === undefined) return;
    await tableChanges(this.#spark, this.#iceberg, mart, commit.schema, commit.mode === "replace");
  }

  /** Datasets of outputs that this batch has nothing of stay as they are. */
  #delivered(state: State | undefined, written: ReadonlyMap<string, Written>): Record<string, string> {
    const others = Object.entries(state?.delivered ?? {}).filter(
      ([name]) => ![...written.keys()].some((mart) => name.startsWith(`${mart}.`)),
    );
    return Object.assign(Object.fromEntries(others), ...[...written.values()].map(({ delivered }) => delivered));
  }

  /** An output that fails doesn't stop the others. */
  async #alone<T>(mart: string, work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      if (this.#run.signal.aborted) throw error;
      this.#context.tableFailed(mart, error);
      this.#failed.push(mart);
      return undefined;
    }
  }

  #tellFailed(): void {
    if (this.#failed.length === 0) return;
    throw new UserError("OUTPUTS_FAILED", `not loaded: ${this.#failed.join(", ")}`);
  }
}

/** A batch's id: its time, later than that of the batch before whatever the clocks say, so that ids sort as batches came. */
function nextBatchId(before: string | undefined): string {
  const last = before === undefined ? 0n : (parseTrackerTime(before) ?? 0n);
  const now = BigInt(Date.now()) * 1_000n;
  const micros = now > last ? now : last + 1n;
  const [whole = "", fraction = ""] = new LocalTimestamp(micros).toISOString().split(".");
  return `${whole}.${fraction.padEnd(6, "0")}Z`;
}

/** Bounds that fail are told of where they are asked for. */
function hasRows(bounds: (() => Bounds) | undefined): boolean {
  try {
    const { rows, later } = bounds?.() ?? { rows: 0n, later: 0n };
    return rows + later > 0n;
  } catch {
    return false;
  }
}

function fromEntries<T, V>(entries: ReadonlyMap<string, T>, value: (item: T) => V): Record<string, V> {
  return Object.fromEntries([...entries].map(([name, item]) => [name, value(item)]));
}
