import { ExitCode, UserError } from "../../lib/errors.js";
import { arg, defineJob, type JobContext, processMark } from "../../lib/glue/index.js";
import { acquireLease, childUri } from "../../lib/storage/index.js";
import { cellArguments, clusterArguments, keyArguments, tableArguments, writeArguments } from "./arguments.js";
import { exportTable } from "./export.js";
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
    description: writeArguments.WRITE_TIMESTAMP.description,
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
  if (target.keyspace === args.KEYSPACE_NAME && target.table === args.TABLE_NAME && target.cluster === args.CLUSTER) {
    throw new UserError("TARGET_IS_SOURCE", "The target is the source itself", {
      hint: "Name another table, keyspace or cluster with TARGET_TABLE, TARGET_KEYSPACE or TARGET_CLUSTER",
      exitCode: ExitCode.usage,
    });
  }
  const where = `${target.cluster}/${target.keyspace}.${target.table}`;
  const exporting: Parameters<typeof exportTable>[0] = { ...context, args: { ...args, WHERE: undefined } };
  const source = `${args.KEYSPACE_NAME}.${args.TABLE_NAME}`;
  const stateUri = childUri(args.S3URI, "_keyspaces_diff", `${encodeURIComponent(where)}.json`);
  if (context.mode === "plan") {
    const { pending, known } = await StateFile.open(context, stateUri);
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
  const noted = await StateFile.open(context, stateUri);
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
        CREDENTIALS: args.TARGET_CREDENTIALS ?? (args.TARGET_CLUSTER === undefined ? args.CREDENTIALS : undefined),
        DRIVER_CONF: args.TARGET_DRIVER_CONF ?? (args.TARGET_CLUSTER === undefined ? args.DRIVER_CONF : undefined),
      },
    };
    await importFiles(importing, kind, label);
    leased.signal.throwIfAborted();
    await context.step("note the export", () => noted.put({ applied: current }));
  };
  if (pending !== undefined) await bringIn(pending, `0 import that was begun, into ${where}`);

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
  const applied = known === undefined ? {} : { applied: known };
  await context.step("note the import", () => noted.put({ ...applied, importing: next }));
  await bringIn(next, `${known === undefined ? 2 : 3} import into ${where}`);
}

/** The chain's state, changed by one run at a time. */
class StateFile {
  readonly #context: Context;
  readonly #uri: string;
  #etag: string | undefined;
  /** The import that is to be finished first. */
  readonly pending: PendingImport | undefined;
  /** The export that the target has once that is done. */
  readonly known: string | undefined;

  private constructor(context: Context, uri: string, etag: string | undefined, state: ChainState | undefined) {
    this.#context = context;
    this.#uri = uri;
    this.#etag = etag;
    const { PASTURI } = context.args;
    // Who says what the target has also says that nothing is under way.
    this.pending = PASTURI === undefined ? state?.importing : undefined;
    this.known = PASTURI ?? this.pending?.current ?? state?.applied;
  }

  static async open(context: Context, uri: string): Promise<StateFile> {
    const object = await context.storage.get(uri);
    const state = object === undefined ? undefined : readState(uri, Buffer.from(object.body).toString("utf8"));
    return new StateFile(context, uri, object?.etag, state);
  }

  /** @throws UserError `PRECONDITION_FAILED` when another run was here. */
  async put(change: Pick<ChainState, "applied" | "importing">): Promise<void> {
    const state: ChainState = { version: 1, ...change, runId: this.#context.runId };
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
