import { setTimeout as sleep } from "node:timers/promises";
import { ExitCode, UserError } from "../../lib/errors.js";
import { arg, defineJob, type JobContext, processMark } from "../../lib/glue/index.js";
import { CassandraSession } from "../../lib/keyspaces/index.js";
import { acquireLease, childUri } from "../../lib/storage/index.js";
import {
  argumentProblems,
  cellArguments,
  clusterArguments,
  keyArguments,
  tableArguments,
  writeArguments,
} from "./arguments.js";
import { checkKeyTypes } from "./cluster.js";
import { exportTable } from "./export.js";
import { exportTime } from "./folders.js";
import { importFiles } from "./import.js";
import { exportChanges } from "./incremental-export.js";
import { diffArguments } from "./incremental-export-job.js";

const args = {
  ...tableArguments,
  ...keyArguments,
  ...cellArguments,
  ...clusterArguments,
  TARGET_KEYSPACE: arg.string({ description: "Keyspace of the target; default: the source's", optional: true }),
  TARGET_TABLE: arg.string({ description: "Table that is to become equal to the source; it must be there" }),
  TARGET_CLUSTER: arg.string({
    description: "Cluster of the target, as CLUSTER; default: the source's",
    optional: true,
  }),
  TARGET_CREDENTIALS: arg.string({ description: "Secret for the target's cluster", optional: true }),
  TARGET_DRIVER_CONF: arg.string({ description: "As DRIVER_CONF, for the target's cluster", optional: true }),
  PASTURI: arg.uri({
    description: "The export that the target is equal to now; default: the one that the last run brought in",
    optional: true,
  }),
  ...writeArguments,
  // A run that died may have left Spark writing: what it still writes must not win over the next run's.
  WRITE_TIMESTAMP: arg.string({
    description:
      "Timestamp that the writes carry: export (when the export began), so that they never override newer ones, or none",
    default: "export",
  }),
  ...diffArguments,
};

type Context = JobContext<Parameters<Parameters<typeof defineJob<typeof args>>[0]["run"]>[0]["args"]>;

/**
 * The chain of the document in one run: export, incremental export against what the target has, incremental import. The first run
 * imports the whole export. Which export the target has, and which one it is about to get, is noted below S3URI.
 */
export default defineJob({
  name: "keyspaces-diff",
  summary: "Keep a table equal to another one: export it, find what changed since the last export, apply that",
  needs: ["cassandra"],
  args,
  check: problemsTogether,
  run,
});

interface ChainState {
  readonly version: 1;
  /** The export that the target has; none before the first import is through. */
  readonly applied?: string;
  /**
   * The import that was begun. The target is between two exports then: a row that has changed and gone back since would be none of the
   * differences to the older one. So it is finished before anything else.
   */
  readonly importing?: PendingImport;
  /** Of the table that the target was: another one of its name has nothing of all this. */
  readonly tableId?: string;
  /** When the newest export began that was written to the target. */
  readonly exportedAt?: string;
  readonly runId: string;
}

interface PendingImport {
  /** The export that the target will have. */
  readonly current: string;
  /** The folder that is imported: that export itself, or the changes that lead to it. */
  readonly folder: string;
  readonly kind: "export" | "diff";
}

async function run(context: Context): Promise<void> {
  const { args, storage } = context;
  const target = {
    keyspace: args.TARGET_KEYSPACE ?? args.KEYSPACE_NAME,
    table: args.TARGET_TABLE,
    cluster: args.TARGET_CLUSTER ?? args.CLUSTER,
  };
  const where = `${target.cluster}/${target.keyspace}.${target.table}`;
  const exporting: Parameters<typeof exportTable>[0] = { ...context, args: { ...args, WHERE: undefined } };
  const source = `${args.KEYSPACE_NAME}.${args.TABLE_NAME}`;
  const stateUri = childUri(args.S3URI, "_keyspaces_diff", `${encodeURIComponent(where)}.json`);
  const credentials = args.TARGET_CREDENTIALS ?? (args.TARGET_CLUSTER === undefined ? args.CREDENTIALS : undefined);
  const tableId = await context.step("look at the target", () => lookAtTarget(context, target, credentials));
  if (context.mode === "plan") {
    const { pending, known } = await StateFile.open(context, stateUri, tableId);
    await exportTable(exporting, `export ${source}`);
    const report = context.report.table(`import into ${where}`);
    report.changes = true;
    report.reason = known === undefined ? "the first run: every row" : `what changed since ${known}`;
    if (pending !== undefined) report.details.finishing = `the import of ${pending.folder}, which was begun`;
    return;
  }
  await using lease = await acquireLease({
    store: storage,
    folder: childUri(args.S3URI, "_keyspaces_diff", `${encodeURIComponent(where)}.lease`),
    runId: context.runId,
    what: `keyspaces-diff into ${where}`,
    process: processMark(),
    signal: context.signal,
  });
  const noted = await StateFile.open(context, stateUri, tableId);
  const { pending, known } = noted;
  const leased = { ...context, signal: AbortSignal.any([context.signal, lease.lost]) };
  const bringIn = async ({ folder, kind, current }: PendingImport, label: string) => {
    const importing = {
      ...leased,
      args: {
        ...args,
        S3URI: folder,
        KEYSPACE_NAME: target.keyspace,
        TABLE_NAME: target.table,
        CLUSTER: target.cluster,
        CREDENTIALS: credentials,
        DRIVER_CONF: args.TARGET_DRIVER_CONF ?? (args.TARGET_CLUSTER === undefined ? args.DRIVER_CONF : undefined),
        // What is noted of it here says that nothing else was imported since.
        RESUME: true,
      },
    };
    await importFiles(importing, kind, label);
    leased.signal.throwIfAborted();
    const exportedAt = await exportTime(storage, current);
    await context.step("note the export", () => noted.put({ applied: current }, exportedAt));
  };
  if (pending !== undefined) await bringIn(pending, `0 import that was begun, into ${where}`);

  await noted.waitForClock(leased.signal);
  const current = await exportTable({ ...exporting, signal: leased.signal }, `1 export of ${source}`);
  if (current === undefined) throw new TypeError("An export that was no plan has a folder");
  let next: PendingImport = { current, folder: current, kind: "export" };
  if (known !== undefined) {
    const comparing = { ...leased, args: { ...args, PASTURI: known, CURRENTURI: current } };
    const changes = await exportChanges(comparing, `2 changes since ${known}`);
    if (changes === undefined) throw new TypeError("An export that was no plan has a folder");
    next = { current, folder: changes, kind: "diff" };
  }
  leased.signal.throwIfAborted();
  const exportedAt = await exportTime(storage, current);
  noted.checkClock(exportedAt);
  const applied = known === undefined ? {} : { applied: known };
  await context.step("note the import", () => noted.put({ ...applied, importing: next }, exportedAt));
  await bringIn(next, `${known === undefined ? 2 : 3} import into ${where}`);
}

/** What is wrong with arguments, and what would let the target become another table than the source. */
function problemsTogether(given: Partial<Context["args"]>): readonly string[] {
  const { KEEP, values, WRITE_TIMESTAMP = "export", TABLE_NAME, KEYSPACE_NAME, CLUSTER } = given;
  const isSource =
    TABLE_NAME !== undefined &&
    given.TARGET_TABLE === TABLE_NAME &&
    (given.TARGET_KEYSPACE ?? KEYSPACE_NAME) === KEYSPACE_NAME &&
    (given.TARGET_CLUSTER ?? CLUSTER) === CLUSTER;
  return [
    ...argumentProblems({ ...given, WRITE_TIMESTAMP: "export" }),
    ...(isSource
      ? [
          "the target is the source itself: name another table, keyspace or cluster with --TARGET_TABLE, --TARGET_KEYSPACE or --TARGET_CLUSTER",
        ]
      : []),
    // Of one time all runs' writes would be: what was deleted could never come back, lists would have the elements of all runs.
    ...(["export", "none"].includes(WRITE_TIMESTAMP)
      ? []
      : [`--WRITE_TIMESTAMP is ${JSON.stringify(WRITE_TIMESTAMP)}: runs that follow one another take export or none`]),
    // That is a change only where write times are kept, too: the target would let go what the source keeps.
    ...(KEEP?.includes("ttl") && !KEEP.includes("writetime")
      ? ["--KEEP ttl alone doesn't see that a TTL was renewed: give --KEEP ttl,writetime"]
      : []),
    ...(KEEP?.includes("writetime") && values === "right"
      ? ["--KEEP writetime needs the old values, too: leave --values right out"]
      : []),
  ];
}

/**
 * Finds out whether the target can be written, before anything is exported.
 *
 * @returns the table's id.
 */
async function lookAtTarget(
  context: Context,
  { cluster, ...name }: { readonly cluster: string; readonly keyspace: string; readonly table: string },
  credentials: string | undefined,
): Promise<string | undefined> {
  await using session = await CassandraSession.connect(await context.cassandra(cluster, credentials));
  const table = await session.table(name);
  checkKeyTypes(table);
  return table.id;
}

/** The writes of an export carry its time, those of lists up to so many milliseconds more. */
const WRITES_TAKE_MS = 1000;
/** A clock that is further behind than that is wrong. */
const CLOCK_WAIT_MS = 5000;

/** The chain's state, changed by one run at a time. */
class StateFile {
  readonly #context: Context;
  readonly #uri: string;
  readonly #tableId: string | undefined;
  #etag: string | undefined;
  /** The import that is to be finished first. */
  readonly pending: PendingImport | undefined;
  /** The export that the target has once that is done. */
  readonly known: string | undefined;
  /** Milliseconds since 1970: the next export has to be younger. */
  #newest: number;

  private constructor(
    context: Context,
    uri: string,
    etag: string | undefined,
    state: ChainState | undefined,
    tableId: string | undefined,
    newest: Date | undefined,
  ) {
    this.#context = context;
    this.#uri = uri;
    this.#etag = etag;
    this.#tableId = tableId;
    const { PASTURI } = context.args;
    // Who says what the target has also says that nothing is under way.
    this.pending = PASTURI === undefined ? state?.importing : undefined;
    this.known = PASTURI ?? this.pending?.current ?? state?.applied;
    this.#newest = Math.max(Date.parse(state?.exportedAt ?? "") || 0, newest?.getTime() ?? 0);
  }

  /** @param tableId of the table that is there now. */
  static async open(context: Context, uri: string, tableId: string | undefined): Promise<StateFile> {
    const { storage, report, args } = context;
    const object = await storage.get(uri);
    let state = object === undefined ? undefined : readState(uri, Buffer.from(object.body).toString("utf8"));
    if (state?.tableId !== undefined && tableId !== undefined && state.tableId !== tableId) {
      const what = args.PASTURI === undefined ? "everything" : `as --PASTURI says, what changed since ${args.PASTURI}`;
      report.warn("TARGET_IS_NEW", `The target was made anew since the last run; imported is ${what}`);
      state = undefined;
    }
    const known = args.PASTURI ?? state?.importing?.current ?? state?.applied;
    const newest = known === undefined ? undefined : await exportTime(storage, known);
    return new StateFile(context, uri, object?.etag, state, tableId, newest);
  }

  /**
   * Waits until a new export is younger than what the target has.
   *
   * @throws UserError `CLOCK_BEHIND`.
   */
  async waitForClock(signal: AbortSignal): Promise<void> {
    for (;;) {
      const behind = this.#newest + WRITES_TAKE_MS - Date.now();
      if (behind < 0) return;
      if (behind > CLOCK_WAIT_MS) this.checkClock(new Date());
      await sleep(behind + 1, undefined, { signal });
    }
  }

  /** @throws UserError `CLOCK_BEHIND` when writes of that time would lose against those that were made before. */
  checkClock(exportedAt: Date | undefined): void {
    const behind = this.#newest + WRITES_TAKE_MS - (exportedAt?.getTime() ?? Number.NaN);
    if (!(behind >= 0)) return;
    throw new UserError("CLOCK_BEHIND", "The last run's export is younger than this one", {
      problems: [
        `the target has an export of ${new Date(this.#newest).toISOString()}`,
        `this machine's clock says ${new Date().toISOString()}`,
      ],
      hint: "Set the clocks of the machines that this job runs on, or wait. What is written carries the time of its export, and would lose",
      exitCode: ExitCode.retryable,
    });
  }

  /** @throws UserError `PRECONDITION_FAILED` when another run was here. */
  async put(change: Pick<ChainState, "applied" | "importing">, exportedAt: Date | undefined): Promise<void> {
    this.#newest = Math.max(this.#newest, exportedAt?.getTime() ?? 0);
    const state: ChainState = {
      version: 1,
      ...change,
      ...(this.#tableId === undefined ? {} : { tableId: this.#tableId }),
      ...(this.#newest === 0 ? {} : { exportedAt: new Date(this.#newest).toISOString() }),
      runId: this.#context.runId,
    };
    const condition = this.#etag === undefined ? ({ ifNoneMatch: true } as const) : { ifMatch: this.#etag };
    const { etag } = await this.#context.storage.put(this.#uri, `${JSON.stringify(state)}\n`, condition);
    this.#etag = etag;
  }
}

function readState(uri: string, text: string): ChainState {
  try {
    const state = JSON.parse(text) as ChainState;
    if (state.version === 1 && (state.applied !== undefined || state.importing !== undefined)) return state;
  } catch {
    // Told below.
  }
  throw new UserError("STATE_UNREADABLE", `${uri} doesn't say which export the target has`, {
    hint: "Name it with --PASTURI, and delete that file; without both the next run imports everything",
    exitCode: ExitCode.configuration,
  });
}
