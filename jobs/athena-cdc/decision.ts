import { type BatchHistory, type StoredSchema, schemaChange } from "../../lib/glue/incremental/index.js";
import { canonicalUri, formatTrackerTime, parseTrackerTime } from "../../lib/storage/index.js";
import type { Settings } from "./settings.js";
import { detailsOf, type Opened, type Watermark } from "./state.js";

/** What a batch is to load. Times are microseconds since 1970, UTC. */
export type Decision =
  | { readonly kind: "everything"; readonly reason: string }
  | {
      readonly kind: "window";
      readonly reason: string;
      readonly from: bigint;
      /** The watermark that the batch goes on from; `undefined`: another one counts. */
      readonly known: Watermark | undefined;
      /** What tells which rows were delivered: a dataset, the Iceberg table's own rows, or nothing. */
      readonly delivered: { readonly folder: string } | "table" | undefined;
    };

/** Where an Iceberg table stands, as seen from the state. */
export type Standing =
  | { readonly kind: "same" }
  | { readonly kind: "missing" }
  /** It isn't the table that the state knows, or nothing says how far it was loaded. */
  | { readonly kind: "unknown" }
  /** Its last batch isn't the state's. */
  | { readonly kind: "other"; readonly watermark: string };

/** What a decision goes by. */
export interface Circumstances {
  readonly settings: Pick<Settings, "full" | "fullBecause" | "lookback" | "format" | "output">;
  /** Whether the table has a column updated_at. */
  readonly timed: boolean;
  /** Whether the table has a key; without one rows are told apart by all that is in them. */
  readonly keyed: boolean;
  /** The source's columns. */
  readonly schema: StoredSchema;
  readonly opened: Opened;
  /** `undefined` for Parquet. */
  readonly standing: Standing | undefined;
}

/** Decides what to load of a table. */
export function decide(circumstances: Circumstances): Decision {
  const { settings, timed, opened, standing } = circumstances;
  const { state, tracker } = opened;
  if (settings.full) return everything(settings.fullBecause);
  if (!timed) return everything("the table has no column updated_at");
  const before = detailsOf(state);
  const elsewhere = whyElsewhere(before, settings);
  if (elsewhere !== undefined) return everything(elsewhere);
  if (settings.format === "parquet" && retyped(circumstances).length > 0) {
    return everything("a column's type changed, and Parquet files with both types can't be read together");
  }
  const known = state?.watermark ?? undefined;
  if (known !== undefined && standing?.kind === "missing") return everything("the Iceberg table is gone");
  if (known !== undefined && standing?.kind === "unknown") {
    return everything("the Iceberg table holds no batch that says how far it was loaded");
  }
  if (tracker.from !== "state") {
    const isOfTable = standing?.kind === "other" && (tracker.value === null || tracker.value === standing.watermark);
    if (state === undefined && isOfTable) {
      return fromTable(standing, settings, "the state is gone; the Iceberg table says how far it was loaded");
    }
    // A state that was put back to an older one finds the tracker of the table's batch: nobody has set it by hand.
    if (state !== undefined && isOfTable && tracker.value !== null) {
      return decide({ ...circumstances, opened: { ...opened, tracker: { from: "state" } } });
    }
    if (tracker.value === null) {
      return everything(tracker.from === "reset" ? "the tracker was deleted" : "the first load of this table");
    }
    const reason = tracker.from === "reset" ? "the tracker was reset by hand" : "the tracker of an earlier job counts";
    return {
      kind: "window",
      reason,
      from: parseTrackerTime(tracker.value) ?? 0n,
      known: undefined,
      delivered: undefined,
    };
  }
  if (state === undefined || known === undefined) return everything("nothing was loaded that has a time");
  if (unrecognisable(circumstances)) {
    return everything("the columns changed, and without a key delivered rows can't be told from new ones by others");
  }
  if (standing?.kind === "other") {
    return fromTable(standing, settings, "the Iceberg table is at another batch than the state");
  }
  const wanted = micros(known.time) - settings.lookback;
  const knownFrom = micros(known.knownFrom);
  const folder = state.delivered.rows;
  return {
    kind: "window",
    reason: `rows from ${known.time} on`,
    // Before that it isn't known what was delivered.
    from: wanted > knownFrom ? wanted : knownFrom,
    known,
    delivered: folder === undefined ? undefined : { folder },
  };
}

function fromTable({ watermark }: { readonly watermark: string }, settings: Circumstances["settings"], reason: string) {
  return {
    kind: "window" as const,
    reason: `${reason}: ${watermark}`,
    from: micros(watermark) - settings.lookback,
    known: undefined,
    delivered: "table" as const,
  };
}

/** Why the output isn't what the last batch was written to; `undefined`: it is, or there was none. */
function whyElsewhere(
  before: ReturnType<typeof detailsOf>,
  { format, output }: Circumstances["settings"],
): string | undefined {
  if (before === undefined) return undefined;
  if (before.format !== format) return `so far the output was ${before.format}`;
  const { place } = before;
  return place === undefined || place === canonicalUri(output) ? undefined : `so far the output was at ${place}`;
}

/** Columns whose type isn't the one that rows of the output have, in words. */
export function retyped({ opened, schema }: Circumstances): readonly string[] {
  const before = detailsOf(opened.state);
  return before === undefined ? [] : (schemaChange(before.written ?? before.schema, schema)?.retyped ?? []);
}

/** Whether rows that were delivered can't be found again: a row's hash is of its columns. */
function unrecognisable({ opened, schema, keyed }: Circumstances): boolean {
  const before = detailsOf(opened.state);
  return !keyed && before !== undefined && schemaChange(before.schema, schema) !== undefined;
}

/**
 * What stands against loading a range again; `undefined`: nothing.
 *
 * @returns what is so, and what to do about it.
 */
export function backfillProblem(
  circumstances: Circumstances,
): { readonly problem: string; readonly hint: string } | undefined {
  const { settings, timed, opened, standing } = circumstances;
  const before = detailsOf(opened.state);
  if (!timed) return { problem: "the table has no column updated_at", hint: "Run without --from" };
  const first = { hint: "Run without --from first" };
  if (opened.state?.watermark == null || before === undefined) {
    return { problem: "nothing was loaded that a part of could be loaded again", ...first };
  }
  if (opened.tracker.from !== "state") return { problem: "the tracker isn't what the last run wrote", ...first };
  const elsewhere = whyElsewhere(before, settings);
  if (elsewhere !== undefined) return { problem: elsewhere, ...first };
  const changed = retyped(circumstances);
  if (settings.format === "parquet" && changed.length > 0) {
    return { problem: `the files that stay have other types: ${changed.join(", ")}`, ...first };
  }
  if (unrecognisable(circumstances)) {
    return {
      problem: "the columns changed, and without a key the rows outside of the range can't be recognised",
      ...first,
    };
  }
  if (standing !== undefined && standing.kind !== "same") {
    return { problem: "the Iceberg table isn't at the batch that the last run wrote", ...first };
  }
  return undefined;
}

/**
 * Where a table stands, by the batches in its snapshots.
 *
 * @param runId the run of the state's last batch; `null`: there is none.
 * @param fullLoad the run of the state's last full load.
 */
export function standingOf(
  history: BatchHistory | undefined,
  runId: string | null,
  fullLoad: string | null | undefined,
): Standing {
  if (history === undefined) return { kind: "missing" };
  const { last } = history;
  if (runId !== null && last?.runId === runId) return { kind: "same" };
  if (last?.watermark !== undefined) return { kind: "other", watermark: last.watermark };
  if (last !== undefined || runId === null || history.all.has(runId)) return { kind: "unknown" };
  // Maintenance has expired the batch's snapshot, unless this is another table of the same name.
  const isSame = fullLoad === undefined || fullLoad === null || history.fullLoads.has(fullLoad);
  return { kind: isSame ? "same" : "unknown" };
}

/** Microseconds of a time in a state. */
export function micros(text: string): bigint {
  const value = parseTrackerTime(text);
  if (value === undefined) throw new TypeError(`${text} is no time of a state`);
  return value;
}

/** The range that a backfill loads: what is later than the watermark comes with the next run. */
export function backfillRange(
  wanted: { readonly from: bigint; readonly to: bigint | undefined },
  { time }: Watermark,
): { readonly from: bigint; readonly to: bigint } {
  const last = micros(time);
  return { from: wanted.from, to: wanted.to === undefined || wanted.to > last ? last : wanted.to };
}

/** For reports. */
export const describeRange = ({ from, to }: { readonly from: bigint; readonly to: bigint }) =>
  `${formatTrackerTime(from)} to ${formatTrackerTime(to)}`;

function everything(reason: string): Decision {
  return { kind: "everything", reason };
}
