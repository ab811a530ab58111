import type { RunMode } from "./context.js";

/** What JSON can hold. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };

/**
 * What a job may put into a report: JSON, and the values that databases give. A bigint becomes its decimal digits as text
 * (a snapshot id doesn't fit a double), a Date its ISO form, `undefined` fields are left out.
 */
export type Reportable =
  | null
  | undefined
  | boolean
  | number
  | string
  | bigint
  | Date
  | readonly Reportable[]
  | { readonly [name: string]: Reportable };

/** Glue's states of a job run. */
export type RunState = "STARTING" | "RUNNING" | "STOPPING" | "STOPPED" | "SUCCEEDED" | "FAILED" | "TIMEOUT";

/** How one table of a run ended. `PLANNED` is what `plan` gives to a table it looked at. */
export type TableStatus = "SUCCEEDED" | "FAILED" | "SKIPPED" | "PLANNED";

/** A named piece of a run and how long it took. */
export interface StepReport {
  readonly name: string;
  readonly seconds: number;
  /** How often, for a step of many tables; then `seconds` are the sum. */
  readonly times?: number;
  /** Set when the step ended with an error. */
  readonly failed?: true;
}

/** Something the user should know, though the run went on. */
export interface WarningReport {
  readonly code: string;
  readonly message: string;
}

/** Why a run or a table failed, in the form a script can read. */
export interface ErrorReport {
  readonly code: string;
  readonly message: string;
  readonly problems: readonly string[];
  readonly hint?: string;
}

/** {@link TableReport} as JSON. */
export interface TableReportJson {
  readonly target?: string;
  readonly status?: TableStatus;
  readonly way?: string;
  readonly reason?: string;
  readonly read: number;
  readonly inserted: number;
  readonly updated: number;
  readonly deleted: number;
  readonly skipped: number;
  readonly bytes?: number;
  readonly stateBefore?: Json;
  readonly stateAfter?: Json;
  readonly ddl: readonly string[];
  readonly changes: boolean;
  readonly details: { readonly [name: string]: Json };
  readonly error?: ErrorReport;
}

/** {@link RunReport} as JSON: what `--json` prints and `--report-file` holds. */
export interface RunReportJson {
  readonly job: string;
  readonly jobName: string;
  readonly runId: string;
  readonly mode: RunMode;
  readonly state: RunState;
  /** ISO 8601, UTC. */
  readonly startedAt: string;
  readonly finishedAt?: string;
  readonly seconds?: number;
  readonly steps: readonly StepReport[];
  readonly tables: { readonly [name: string]: TableReportJson };
  readonly warnings: readonly WarningReport[];
  readonly error?: ErrorReport;
}

/**
 * What happened to one table. A job fills the fields in as it learns them; counters are rows.
 *
 * @example
 * const table = context.report.table("sales.orders");
 * table.target = "aurora.public.orders";
 * table.way = "compared the two snapshots";
 * table.inserted += 3;
 */
export class TableReport {
  /** Where the rows went, as a person would name it. */
  target: string | undefined;
  /** Left open, the runtime sets it at the end of the run: SUCCEEDED, PLANNED or FAILED. */
  status: TableStatus | undefined;
  /** How the changes were found, in words. */
  way: string | undefined;
  /** Why this way was taken, or why the table was skipped. */
  reason: string | undefined;
  read = 0;
  inserted = 0;
  updated = 0;
  deleted = 0;
  skipped = 0;
  /** Bytes read from the source, when known. */
  bytes: number | undefined;
  stateBefore: Reportable;
  stateAfter: Reportable;
  /** Statements that change the target's structure: carried out by `run`, listed by `plan`. */
  readonly ddl: string[] = [];
  /** There is work although no row changes, e.g. only the state moves. */
  changes = false;
  /** Whatever else is worth knowing of this table. */
  readonly details: Record<string, Reportable> = {};
  error: ErrorReport | undefined;

  /** Whether anything changes in the target. */
  get hasChanges(): boolean {
    return this.changes || this.ddl.length > 0 || this.inserted + this.updated + this.deleted > 0;
  }

  toJSON(): TableReportJson {
    return {
      ...(this.target === undefined ? {} : { target: this.target }),
      ...(this.status === undefined ? {} : { status: this.status }),
      ...(this.way === undefined ? {} : { way: this.way }),
      ...(this.reason === undefined ? {} : { reason: this.reason }),
      read: this.read,
      inserted: this.inserted,
      updated: this.updated,
      deleted: this.deleted,
      skipped: this.skipped,
      ...(this.bytes === undefined ? {} : { bytes: this.bytes }),
      ...(this.stateBefore === undefined ? {} : { stateBefore: toJson(this.stateBefore) }),
      ...(this.stateAfter === undefined ? {} : { stateAfter: toJson(this.stateAfter) }),
      ddl: [...this.ddl],
      changes: this.hasChanges,
      details: toJson(this.details) as { readonly [name: string]: Json },
      ...(this.error === undefined ? {} : { error: this.error }),
    };
  }
}

/** What a run is called, fixed when it starts. */
export interface RunIdentity {
  /** Name of the job's module, e.g. `iceberg-to-aurora`. */
  readonly job: string;
  /** `--JOB_NAME`. */
  readonly jobName: string;
  readonly runId: string;
  readonly mode: RunMode;
}

/** The account of one run: made by the runtime, filled in by the job, printed by the CLI. */
export class RunReport implements RunIdentity {
  readonly job: string;
  readonly jobName: string;
  readonly runId: string;
  readonly mode: RunMode;
  readonly startedAt: Date;
  state: RunState = "STARTING";
  error: ErrorReport | undefined;
  readonly #tables = new Map<string, TableReport>();
  readonly #warnings: WarningReport[] = [];
  /** Told of each warning when it is given: the runtime logs it. */
  onWarning: ((warning: WarningReport) => void) | undefined;
  readonly #steps: { name: string; seconds: number | undefined; failed: boolean; times?: number }[] = [];
  readonly #startedMs = performance.now();
  #finishedAt: Date | undefined;
  #seconds: number | undefined;

  constructor(identity: RunIdentity, startedAt = new Date()) {
    this.job = identity.job;
    this.jobName = identity.jobName;
    this.runId = identity.runId;
    this.mode = identity.mode;
    this.startedAt = startedAt;
  }

  /** The report of one table, made at the first call. Names keep the order in which they were first used. */
  table(name: string): TableReport {
    let table = this.#tables.get(name);
    if (table === undefined) {
      table = new TableReport();
      this.#tables.set(name, table);
    }
    return table;
  }

  get tables(): ReadonlyMap<string, TableReport> {
    return this.#tables;
  }

  get warnings(): readonly WarningReport[] {
    return this.#warnings;
  }

  /** Steps that have ended, in the order in which they began. */
  get steps(): readonly StepReport[] {
    return this.#steps.flatMap(({ name, seconds, failed, times }) =>
      seconds === undefined
        ? []
        : [{ name, seconds, ...(times === undefined ? {} : { times }), ...(failed ? { failed: true as const } : {}) }],
    );
  }

  /** Seconds from start to end; `undefined` while the run goes on. */
  get seconds(): number | undefined {
    return this.#seconds;
  }

  /** Whether any table changes: what `plan` ends with exit code 2 for. */
  get hasChanges(): boolean {
    return [...this.#tables.values()].some((table) => table.hasChanges);
  }

  /**
   * Adds a warning; the same one twice is kept once.
   *
   * @param code upper case with underscores, stable, for scripts.
   */
  warn(code: string, message: string): void {
    const known = this.#warnings.some((warning) => warning.code === code && warning.message === message);
    if (known) return;
    this.#warnings.push({ code, message });
    this.onWarning?.({ code, message });
  }

  /**
   * Records that a step began, and gives back what to call when it ends. Used by the runtime's `step`.
   *
   * @param summed one of many steps of this name, whose seconds are added up.
   */
  beginStep(name: string, summed = false): (failed: boolean) => number {
    const known = summed ? this.#steps.find((step) => step.name === name && step.times !== undefined) : undefined;
    const step = known ?? { name, seconds: undefined, failed: false, ...(summed ? { times: 0 } : {}) };
    if (known === undefined) this.#steps.push(step);
    const started = performance.now();
    return (failed) => {
      const seconds = roundSeconds(performance.now() - started);
      step.seconds = summed ? roundSeconds(((step.seconds ?? 0) + seconds) * 1000) : seconds;
      step.failed ||= failed;
      if (step.times !== undefined) step.times++;
      return seconds;
    };
  }

  /**
   * Sets the final state.
   *
   * @param openTables what becomes of tables whose status the job left open; default: FAILED unless the run succeeded.
   */
  finish(
    state: RunState,
    error?: ErrorReport,
    openTables: "DONE" | "FAILED" = state === "SUCCEEDED" ? "DONE" : "FAILED",
  ): void {
    this.state = state;
    this.error = error;
    this.#finishedAt = new Date();
    this.#seconds = roundSeconds(performance.now() - this.#startedMs);
    const status: TableStatus = openTables === "FAILED" ? "FAILED" : this.mode === "plan" ? "PLANNED" : "SUCCEEDED";
    for (const table of this.#tables.values()) table.status ??= status;
  }

  toJSON(): RunReportJson {
    return {
      job: this.job,
      jobName: this.jobName,
      runId: this.runId,
      mode: this.mode,
      state: this.state,
      startedAt: this.startedAt.toISOString(),
      ...(this.#finishedAt === undefined ? {} : { finishedAt: this.#finishedAt.toISOString() }),
      ...(this.#seconds === undefined ? {} : { seconds: this.#seconds }),
      steps: this.steps,
      tables: Object.fromEntries([...this.#tables].map(([name, table]) => [name, table.toJSON()])),
      warnings: this.warnings,
      ...(this.error === undefined ? {} : { error: this.error }),
    };
  }
}

/** A reportable value as JSON. A number that JSON can't hold (NaN, infinities) becomes its text. */
export function toJson(value: Reportable): Json {
  if (value === undefined || value === null) return null;
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "number") return Number.isFinite(value) ? value : String(value);
  if (typeof value === "boolean" || typeof value === "string") return value;
  if (value instanceof Date) return value.toISOString();
  if (isArray(value)) return value.map(toJson);
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, field]) => field !== undefined)
      .map(([name, field]) => [name, toJson(field)]),
  );
}

// Array.isArray doesn't narrow a readonly array.
function isArray(value: Reportable): value is readonly Reportable[] {
  return Array.isArray(value);
}

function roundSeconds(milliseconds: number): number {
  return Math.round(milliseconds) / 1000;
}
