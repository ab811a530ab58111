import type { ExportedSnapshot } from "../../lib/postgres/exported-snapshot.js";
import { writtenSince } from "../../lib/postgres/exported-snapshot.js";
import type { SourceTable } from "../../lib/postgres/source-tables.js";
import { formatTrackerTime, type OpenedTable, parseTrackerTime } from "../../lib/storage/index.js";
import type { Arguments, Settings } from "./arguments.js";
import type { SqlClock } from "./clock.js";
import {
  type Details,
  digestOf,
  type KnownDetails,
  knownDetails,
  newParts,
  schemaDifferences,
  type Watermark,
  wasRewritten,
} from "./state.js";

const DAY = 86_400_000_000n;

/** What a run does with a table, and why. Times are microseconds since 1970, UTC. */
export type Decision =
  | {
      readonly kind: "full";
      readonly reason: string;
      /** The user has asked for it. */
      readonly asked: boolean;
    }
  | {
      readonly kind: "changes";
      readonly reason: string;
      readonly from: bigint;
      /** SQL condition: rows written since the last batch, or in partitions that are new, which count whatever their time. */
      readonly late: string | undefined;
      /** Rows that were written since aren't looked for. */
      readonly byClock: boolean;
      /** What the state knows of rows that were delivered; `undefined`: nothing. */
      readonly known: Watermark | undefined;
      /** Files of this day and later ones go. */
      readonly replaceFrom?: bigint;
    }
  | {
      readonly kind: "backfill";
      readonly reason: string;
      readonly from: bigint;
      readonly to: bigint;
      /** SQL condition: rows written since the last batch, which the next one looks at again. */
      readonly late: string | undefined;
      readonly known: Watermark;
    };

/** What is known of a table, before PostgreSQL is asked for its rows. */
export interface Known {
  readonly opened: OpenedTable<Watermark>;
  readonly details: Details;
  readonly snapshot: Pick<ExportedSnapshot, "xmin" | "xmax" | "system">;
  readonly table: SourceTable;
  readonly clock: SqlClock;
  /** Of an output that says nothing of its last batch: it has no files; asked where the state doesn't say what it was. */
  readonly empty: boolean;
  /**
   * What the output says of its last batch; `undefined`: it can't say anything, `null`: there is none.
   */
  readonly last: { readonly runId: string; readonly watermark: Watermark | null } | null | undefined;
}

/** Decides by state, tracker, output and arguments alone. */
export function decide(
  known: Known,
  args: Pick<Arguments, "load_type" | "full_refresh" | "late_rows">,
  settings: Settings,
): Decision {
  const { opened, details, snapshot, table, last } = known;
  const { state, tracker } = opened;
  if (args.load_type === "full") return full("--load_type full", true);
  if (args.full_refresh) return full("--full_refresh", true);
  const before = knownDetails(state);
  const watermark = state?.watermark ?? null;
  const elsewhere = before === undefined ? undefined : whyElsewhere(before, known);
  if (elsewhere !== undefined) return full(elsewhere);
  const other = before === undefined || watermark === null ? undefined : whyAfresh(before, known);
  if (other !== undefined) return full(other);
  if (last === null && watermark !== null) return full(GONE);
  if (last !== undefined && (tracker.from === "state" || (state === undefined && saysNoOther(tracker.value, last)))) {
    const byOutput = decideByOutput(known, last);
    if (byOutput !== undefined) return byOutput;
  }
  if (tracker.from === "state" && watermark === null) return full("no row was delivered yet");

  const hasVersions = versioned(table);
  const written =
    hasVersions && watermark !== null
      ? writtenSince({ xmin: BigInt(watermark.xmin), system: watermark.system }, snapshot)
      : undefined;
  const comparable = written !== undefined || !hasVersions || watermark === null;
  const keyless = details.key.length === 0;
  // By the clock alone only where every transaction that was under way could be seen.
  const byClock = args.late_rows === "clock" && watermark?.settled === true;
  const lateUnknown = keyless && hasVersions && watermark?.byClock === true && !byClock;
  const attached = before === undefined ? [] : newParts(before, details);
  const conditions = [
    ...(byClock || written === undefined ? [] : [written]),
    ...(attached.length === 0 ? [] : [`t.tableoid IN (${attached.join(", ")})`]),
  ];
  const late = conditions.length === 0 ? undefined : `(${conditions.join(" OR ")})`;

  if (tracker.from !== "state") {
    const start = tracker.value === null ? undefined : parseTrackerTime(tracker.value);
    if (start === undefined) {
      return tracker.from === "reset"
        ? full(`the row of ${table.name} is gone from the tracker`)
        : full("nothing is known of the table yet");
    }
    if (!comparable) return full(INCOMPARABLE);
    const reason = `the tracker says ${tracker.value}, which ${tracker.from === "reset" ? "is not what the last run wrote" : "another program wrote"}`;
    const changes = {
      kind: "changes",
      reason,
      // What came too late for the last run isn't given up; what lies between its end and a later value is.
      late:
        late === undefined || watermark === null
          ? undefined
          : `(${late} AND ${known.clock.atMost(BigInt(watermark.to))})`,
      byClock,
    } as const;
    // Without a key nobody could tell the rows that come again from those that are there.
    if (keyless && tracker.from === "reset") {
      if (lateUnknown) return full(LATE_UNKNOWN);
      const from = floorDay(start);
      return { ...changes, from, known: watermark ?? undefined, replaceFrom: from };
    }
    return { ...changes, from: start - settings.lookback, known: undefined };
  }
  if (watermark === null) return full("no row was delivered yet");
  if (!comparable) return full(INCOMPARABLE);
  const to = BigInt(watermark.to);
  if (settings.backfill !== undefined) {
    const from = floorDay(settings.backfill.from ?? 0n);
    const last = settings.backfill.to === undefined ? to : floorDay(settings.backfill.to) + DAY - 1n;
    const end = last < to ? last : to;
    return { kind: "backfill", reason: "--from, --to", from, to: end, late: written, known: watermark };
  }
  if (lateUnknown) return full(LATE_UNKNOWN);
  const wanted = to - settings.lookback;
  const knownFrom = BigInt(watermark.knownFrom);
  return {
    kind: "changes",
    reason: "changes since the last run",
    // Before that it isn't known what was delivered.
    from: wanted > knownFrom ? wanted : knownFrom,
    late,
    byClock,
    known: watermark,
  };
}

const GONE = "the output has no batch any more: the table is gone, or its snapshots have expired";
const INCOMPARABLE = "the transactions of the last run can't be compared: another cluster, or too long ago";
const LATE_UNKNOWN = "the last run went by the clock alone, and without a key its late rows can't be told";

/** Why the output isn't what the last batch was written to; `undefined`: it is. */
function whyElsewhere({ format, place }: KnownDetails, { details, empty }: Known): string | undefined {
  if (place !== undefined && place !== details.place) return `so far the output was at ${place}`;
  if (format === undefined && empty) return "the output has no files, and the state doesn't say what it was so far";
  return format === undefined || format === details.format ? undefined : `so far the output was ${format}`;
}

/** Why what is known of a table doesn't hold any more; `undefined`: it does. */
function whyAfresh(before: KnownDetails, { details, table }: Pick<Known, "details" | "table">): string | undefined {
  // A state of an earlier release doesn't say which table it was.
  if (before.oid !== details.oid) return "the table isn't the one of the last run, although it has its name";
  if (before.key.join("\n") !== details.key.join("\n")) return "the table's primary key has changed";
  const kinds = new Set(schemaDifferences(before, details).map(({ kind }) => kind));
  const rewritten = wasRewritten(before, details);
  // No row was written by it, and yet all of them have changed.
  if (kinds.has("renamed") || kinds.has("replaced"))
    return "a column has another name, or its name belongs to another one";
  if (kinds.has("filled") || (kinds.has("added") && (rewritten || !versioned(table)))) {
    return "a column was added, and rows that are there may have values in it";
  }
  // Rows that were delivered have values of the column that had the name, maybe of another type.
  if (kinds.has("added") && !areNew(before, details)) {
    return before.lost == null
      ? "a column was added, and it isn't known whether rows that are there have another one of its name"
      : "a column was added, and rows that are there have another one of its name";
  }
  const retyped = kinds.has("widened") || kinds.has("changed");
  if (details.format === "parquet" && retyped) {
    return "a column's type has changed, and Parquet files with both types can't be read together";
  }
  if (details.key.length > 0) return undefined;
  if (kinds.has("dropped") || retyped) {
    return "columns have changed, and without a key rows can't be told from those delivered";
  }
  if (rewritten) return "the table was rewritten, and without a key rows can't be told from those delivered";
  if (newParts(before, details).length > 0) {
    return "a partition was added, and without a key its rows can't be told from those delivered";
  }
  return undefined;
}

/** Whether the columns that were added have names that the output's rows can't have. */
function areNew(before: KnownDetails, { columns }: Details): boolean {
  if (before.lost == null) return false;
  const known = new Set(before.columns.map(({ name }) => name));
  const lost = new Set(before.lost.map((name) => name.toLowerCase()));
  return columns.every(({ name }) => known.has(name) || !lost.has(name.toLowerCase()));
}

/** Whether a tracker without a state has nothing that the output's last batch hasn't. */
function saysNoOther(value: string | null, last: Known["last"]): boolean {
  return value === null || (last?.watermark != null && value === formatTrackerTime(BigInt(last.watermark.to)));
}

/** Where the output is at another batch than the state, it counts: `undefined` when it is at the same, or has none. */
function decideByOutput({ opened, details, snapshot, table }: Known, last: Known["last"]): Decision | undefined {
  const { state } = opened;
  if (last == null) return undefined;
  if (last.runId === state?.runId) return undefined;
  const reason =
    state === undefined
      ? "the state is gone, and the output says how far it was loaded"
      : "the output is at another batch than the state";
  const { watermark } = last;
  // Rows of the latest state can be merged once more; copies can't be told.
  const late =
    watermark === null || !versioned(table)
      ? undefined
      : writtenSince({ ...watermark, xmin: BigInt(watermark.xmin) }, snapshot);
  // The state's details are of a later batch than the output.
  const sameShape = watermark?.shape === digestOf(details);
  if (watermark === null || late === undefined || details.key.length === 0 || !sameShape) return full(reason);
  return { kind: "changes", reason, from: BigInt(watermark.to), late, byClock: false, known: undefined };
}

const full = (reason: string, asked = false): Decision => ({ kind: "full", reason, asked });

/** Whether rows know which transaction wrote them. */
export const versioned = ({ kind }: SourceTable) => kind === "r" || kind === "p" || kind === "m";

/** The first microsecond of a day. */
export function floorDay(micros: bigint): bigint {
  return micros - (((micros % DAY) + DAY) % DAY);
}
