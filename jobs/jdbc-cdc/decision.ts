import type { ExportedSnapshot } from "../../lib/postgres/exported-snapshot.js";
import { writtenSince } from "../../lib/postgres/exported-snapshot.js";
import type { SourceTable } from "../../lib/postgres/source-tables.js";
import { type OpenedTable, parseTrackerTime } from "../../lib/storage/index.js";
import type { Arguments, Settings } from "./arguments.js";
import { type Details, schemaDifferences, type Watermark } from "./state.js";

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
      /** SQL condition: rows written since the last batch, which count whatever their time. */
      readonly late: string | undefined;
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
  readonly snapshot: ExportedSnapshot;
  readonly table: SourceTable;
  /**
   * What the output says of its last batch; `undefined`: it can't say anything, `null`: there is none.
   */
  readonly last: { readonly runId: string; readonly watermark: Watermark | null } | null | undefined;
}

/** Decides by state, tracker, output and arguments alone. */
export function decide(known: Known, args: Arguments, settings: Settings): Decision {
  const { opened, details, snapshot, table, last } = known;
  const { state, tracker } = opened;
  const hasVersions = versioned(table);
  if (args.load_type === "full") return full("--load_type full", true);
  if (args.full_refresh) return full("--full_refresh", true);
  const before = state?.details as Details | null | undefined;
  if (last !== undefined && (tracker.from === "state" || (state === undefined && tracker.value === null))) {
    const other = decideByOutput(known, last, before);
    if (other !== undefined) return other;
  }
  if (tracker.from !== "state") {
    const start = tracker.value === null ? undefined : parseTrackerTime(tracker.value);
    if (start === undefined) {
      return tracker.from === "reset"
        ? full(`the row of ${table.name} is gone from the tracker`)
        : full("nothing is known of the table yet");
    }
    const reason = `the tracker says ${tracker.value}, which ${tracker.from === "reset" ? "is not what the last run wrote" : "another program wrote"}`;
    // Without a key nobody could tell the rows that come again from those that are there.
    if (table.primaryKey.length === 0 && tracker.from === "reset") {
      return {
        kind: "changes",
        reason,
        from: floorDay(start),
        late: undefined,
        known: undefined,
        replaceFrom: floorDay(start),
      };
    }
    return { kind: "changes", reason, from: start - settings.lookback, late: undefined, known: undefined };
  }
  const watermark = state?.watermark ?? null;
  if (watermark === null) return full("no row was delivered yet");

  const late = hasVersions
    ? writtenSince({ xmin: BigInt(watermark.xmin), system: watermark.system }, snapshot)
    : undefined;
  if (hasVersions && late === undefined) {
    return full("the transactions of the last run can't be compared: another cluster, or too long ago");
  }
  if (before == null || before.key.join("\n") !== details.key.join("\n")) {
    return full("the table's primary key has changed");
  }
  const kinds = new Set(schemaDifferences(before, details).map(({ kind }) => kind));
  if (args.output_format === "parquet" && (kinds.has("widened") || kinds.has("changed"))) {
    return full("a column's type has changed, and Parquet files with both types can't be read together");
  }
  if (details.key.length === 0 && (kinds.has("dropped") || kinds.has("widened") || kinds.has("changed"))) {
    return full("columns have changed, and without a key rows can't be told from those delivered");
  }
  const to = BigInt(watermark.to);
  if (settings.backfill !== undefined) {
    const from = floorDay(settings.backfill.from ?? 0n);
    const last = settings.backfill.to === undefined ? to : floorDay(settings.backfill.to) + DAY - 1n;
    return { kind: "backfill", reason: "--from, --to", from, to: last < to ? last : to, late, known: watermark };
  }
  // By the clock alone only where every transaction that was under way could be seen.
  const byClock = args.late_rows === "clock" && watermark.settled;
  if (!byClock && watermark.byClock && details.key.length === 0) {
    return full("the last run went by the clock alone, and without a key its late rows can't be told");
  }
  const wanted = to - settings.lookback;
  const knownFrom = BigInt(watermark.knownFrom);
  return {
    kind: "changes",
    reason: "changes since the last run",
    // Before that it isn't known what was delivered.
    from: wanted > knownFrom ? wanted : knownFrom,
    late: byClock ? undefined : late,
    known: watermark,
  };
}

/** Where the output is at another batch than the state, it counts: `undefined` when it is at the same. */
function decideByOutput(
  { opened, details, snapshot, table }: Known,
  last: Known["last"],
  before: Details | null | undefined,
): Decision | undefined {
  const { state } = opened;
  if (last == null) return state?.watermark == null ? undefined : full("the table is gone from the output");
  if (last.runId === state?.runId) return undefined;
  const reason = "the output is at another batch than the state";
  const { watermark } = last;
  // Rows of the latest state can be merged once more; copies can't be told.
  const late =
    watermark === null || !versioned(table)
      ? undefined
      : writtenSince({ ...watermark, xmin: BigInt(watermark.xmin) }, snapshot);
  const sameKey = before == null || before.key.join("\n") === details.key.join("\n");
  if (watermark === null || late === undefined || details.key.length === 0 || !sameKey) return full(reason);
  return { kind: "changes", reason, from: BigInt(watermark.to), late, known: undefined };
}

const full = (reason: string, asked = false): Decision => ({ kind: "full", reason, asked });

/** Whether rows know which transaction wrote them. */
export const versioned = ({ kind }: SourceTable) => kind === "r" || kind === "p" || kind === "m";

/** The first microsecond of a day. */
export function floorDay(micros: bigint): bigint {
  return micros - (((micros % DAY) + DAY) % DAY);
}
