/** A job run as its service tells it. */
export interface RunInfo {
  readonly id: string;
  readonly name: string | undefined;
  /** `waiting`, `running`, `cancelling` (not over yet!), and at last `succeeded`, `failed` or `cancelled`. */
  readonly phase: "waiting" | "running" | "cancelling" | "succeeded" | "failed" | "cancelled";
  /** The service's own word: `PENDING`, `STARTING`. */
  readonly state: string;
  readonly reason: string | undefined;
  readonly created: Date | undefined;
  readonly ended: Date | undefined;
  /** Counted from 1. */
  readonly attempt: number | undefined;
  /** What was billed so far. */
  readonly billed: string | undefined;
}

/** What a run is started with; URIs of what was uploaded. */
export interface RunRequest {
  /** Same token, same run: a retry after a lost answer starts no second one. */
  readonly token: string;
  /** Somebody may have started it before. Glue knows no tokens: its runs are looked through first. */
  readonly mayHaveStarted?: true;
  /** How many runs of a job of Glue's may be at work; left out it stays as it is. */
  readonly maxConcurrentRuns?: number;
  readonly name: string;
  readonly launcher: string;
  readonly bundle: string;
  /** `undefined`: the service's image has Node. */
  readonly node: string | undefined;
  /** Jars of ours: Spark Connect, the guard before it, and what the job needs. */
  readonly jars: readonly string[];
  /** Where the launcher puts the job's report; in a folder, which ends with a slash, it is named by the run's id. */
  readonly report: string;
  /** The job's own arguments. */
  readonly argv: readonly string[];
}

/**
 * All that a service is asked with to start a run, as plain JSON. Kept, and sent again after a lost answer, it is the same
 * request, whatever settings and code have become meanwhile.
 */
export interface PreparedRun {
  readonly service: "emr" | "glue";
  readonly body: unknown;
}

/** Job runs of one cloud service. Every method throws `UserError`s that say what to do. */
export interface RunService {
  readonly title: string;
  /** Looks whether a run could be started, before anything is uploaded. */
  check(): Promise<void>;
  prepare(request: RunRequest): Promise<PreparedRun>;
  /** @returns the run's id. */
  start(run: PreparedRun): Promise<string>;
  get(id: string): Promise<RunInfo>;
  /** The newest first. */
  list(): AsyncIterable<RunInfo>;
  /** Returns once the service has taken it; where a failed run is about to be tried again, once that attempt is there. */
  cancel(id: string): Promise<void>;
  dashboard(id: string): Promise<string | undefined>;
  /**
   * Where an attempt's compressed log is on S3, the likeliest place first, or how else it can be read: the first attempt's
   * command shows the later ones, too.
   *
   * @param attempt counted from 1.
   */
  log(
    id: string,
    stream: "stdout" | "stderr",
    attempt: number,
  ): { readonly uris: readonly string[] } | { readonly command: string };
}

/** Whether nothing will change any more. */
export function isOver({ phase }: RunInfo): boolean {
  return phase === "succeeded" || phase === "failed" || phase === "cancelled";
}

/**
 * The launcher's own arguments, before the job's.
 *
 * @param region for the job's AWS clients: not every service sets it in the driver's environment.
 */
export function launcherArguments({ bundle, node, report, argv }: RunRequest, region: string): string[] {
  return [
    ...["--glue_connect_bundle", bundle, "--glue_connect_report", report, "--glue_connect_region", region],
    ...(node === undefined ? [] : ["--glue_connect_node", node]),
    ...argv,
  ];
}
