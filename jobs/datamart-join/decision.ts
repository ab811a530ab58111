import { UserError } from "../../lib/errors.js";
import { describeChange, schemaChange, schemaChanged, storedSchema } from "../../lib/glue/incremental/index.js";
import { simpleString } from "../../lib/spark/index.js";
import { canonicalUri, formatTrackerTime, parseTrackerTime } from "../../lib/storage/index.js";
import { type Mart, sourceOf } from "./mart.js";
import type { Settings } from "./settings.js";
import { latestOf, type MartDetails, type Opened, type TableMark } from "./state.js";

type Marks = { readonly [table: string]: TableMark };

/** What a batch does with an output. */
export type Decision =
  | { readonly kind: "everything"; readonly reason: string }
  | {
      readonly kind: "changes";
      readonly reason: string;
      /** How far a table counts as delivered; `undefined`: not at all. */
      readonly since: (table: string) => bigint | undefined;
      /** Where the batch begins, included; `undefined`: all rows with a time. */
      readonly from: (table: string) => bigint | undefined;
      /** Whether the rows near the watermark that were delivered are known. */
      readonly known: boolean;
    }
  | { readonly kind: "range"; readonly reason: string; readonly from: bigint; readonly to: bigint | undefined };

/** What a decision goes by. */
export interface Circumstances {
  readonly mart: Mart;
  readonly settings: Pick<Settings, "full" | "fullBecause" | "backfill" | "lookback" | "evolve" | "format" | "output">;
  readonly opened: Pick<Opened, "state" | "tracker">;
  /** The configuration that the output is made by. */
  readonly definition: string;
  /** What the state knows of the output. */
  readonly before: MartDetails | undefined;
  /** The last batch of its Iceberg table; `undefined`: there is none, or the output is Parquet. */
  readonly inTable: { readonly runId: string; readonly watermark: string | undefined } | undefined;
  readonly warn: (code: string, message: string) => void;
}

/**
 * Decides what to load of an output. A backfill is a part of what was loaded: it is possible only where nothing else is due than
 * the rows since the last run.
 *
 * @param anew why what changed in the columns makes everything be loaded; `undefined`: it doesn't.
 * @throws UserError `BACKFILL_IMPOSSIBLE`.
 */
export function decide(circumstances: Circumstances, anew: string | undefined): Decision {
  const { backfill } = circumstances.settings;
  const due = whatIsDue(circumstances, anew);
  if (backfill === undefined) return due;
  if (due.kind !== "changes" || !due.known) throw backfillImpossible(due.reason);
  const { from, to } = backfill;
  const end = to === undefined ? "" : ` to ${formatTrackerTime(to)}`;
  return { kind: "range", reason: `from ${formatTrackerTime(from)}${end}`, from, to };
}

/** What `--from` ends with when something else has to be loaded first. */
export function backfillImpossible(reason: string): UserError {
  return new UserError("BACKFILL_IMPOSSIBLE", `A part can't be loaded again now: ${reason}`, {
    hint: "Run without --from first",
  });
}

function whatIsDue(circumstances: Circumstances, anew: string | undefined): Decision {
  const { settings, mart, before, definition, warn } = circumstances;
  if (settings.full) return everything(settings.fullBecause);
  const timeless = [...mart.sources].filter(([, { clock }]) => clock === undefined).map(([table]) => table);
  for (const table of timeless) {
    const { incrementalColumn } = sourceOf(mart, table).configuration;
    warn("INCREMENTAL_COLUMN_MISSING", `${table} has no column ${incrementalColumn}: everything is loaded each time`);
  }
  if (timeless.length > 0) return everything("a table has no incremental column");
  if (before !== undefined) {
    if (before.definition !== definition) {
      warn(
        "CONFIGURATION_CHANGED",
        "its tables, joins or keys are configured otherwise than for the last batch: a full load is due",
      );
      return everything("the configuration changed");
    }
    if (anew !== undefined) return everything(anew);
    if (before.format !== settings.format) return everything("the output format changed");
    if (before.output === undefined) return everything("it isn't known where the last batch went");
    if (before.output !== canonicalUri(settings.output)) return everything("the last batch is at another output path");
  }
  return sinceLastRun(circumstances);
}

function sinceLastRun({ mart, opened, before, inTable, settings }: Circumstances): Decision {
  const { tracker, state } = opened;
  const { lookback, format } = settings;
  const marksInTable = inTable?.watermark === undefined ? undefined : (JSON.parse(inTable.watermark) as Marks);
  const since = (marks: Marks, known: boolean, reason: string, limit?: bigint): Decision => {
    const delivered = (table: string) => {
      const mark = microsOf(marks[table]?.time);
      return mark !== undefined && limit !== undefined && limit < mark ? limit : mark;
    };
    return {
      kind: "changes",
      reason,
      since: delivered,
      from: (table) => {
        const time = delivered(table);
        return time === undefined ? undefined : time - lookback;
      },
      known,
    };
  };
  if (state === undefined && marksInTable !== undefined) {
    const limit = tracker.from === "state" ? undefined : microsOf(tracker.value);
    return since(marksInTable, false, "the state is gone; the Iceberg table says how far it was loaded", limit);
  }
  // An output that a batch of others left out was never loaded, whatever the timestamp file says.
  const marks = state?.watermark?.[mart.name];
  const neverLoaded = state?.details != null && (marks === undefined || before === undefined);
  if (neverLoaded) return everything("the first load");
  if (format === "iceberg" && inTable === undefined) {
    return everything(before === undefined ? "the first load" : "the Iceberg table is gone");
  }
  const byHand = tracker.from === "reset";
  if (tracker.from !== "state" && tracker.value === null) {
    return everything(byHand ? "the timestamp file was deleted" : "the first load");
  }
  const value = tracker.from === "state" ? undefined : microsOf(tracker.value);
  if (before !== undefined && inTable !== undefined && inTable.runId !== before.runId && marksInTable !== undefined) {
    return since(marksInTable, false, "the Iceberg table is at another batch than the state", value);
  }
  if (tracker.from !== "state" && value !== undefined) {
    const why = byHand ? "the timestamp file was changed by hand" : "the timestamp file of an earlier job counts";
    const reason = `${why}: ${tracker.value}`;
    const latest = microsOf(latestOf(state?.watermark ?? {}));
    // A value before the last timestamp takes nothing from a table that lags behind it; a later one leaves rows out on purpose.
    if (marks !== undefined && latest !== undefined && value <= latest) return since(marks, false, reason, value);
    return { kind: "changes", reason, since: () => value, from: () => value, known: false };
  }
  if (marks === undefined) return everything("the first load");
  return since(marks, true, "rows since the last run");
}

/**
 * Compares the tables' columns with those of the last batch.
 *
 * @returns what changed, by table, in words; and why everything is to be loaded for it, if it is.
 * @throws UserError `SCHEMA_CHANGED` with `--on_schema_change fail`.
 */
export function schemaChanges({ mart, before, settings, warn }: Circumstances): {
  readonly told: Readonly<Record<string, string>>;
  readonly anew: string | undefined;
} {
  let retyped = false;
  let regrouped = false;
  const told: Record<string, string> = {};
  for (const [table, { schema, configuration }] of mart.sources) {
    const stored = before?.schemas[table];
    const change = stored === undefined ? undefined : schemaChange(stored, storedSchema(schema));
    if (change === undefined) continue;
    if (!settings.evolve && !settings.full) throw schemaChanged(table, change);
    told[table] = describeChange(change);
    retyped ||= change.retyped.length > 0;
    // Without a key a group is known by all columns of its row: with others it would be another one beside the old.
    regrouped ||= table === mart.tree.groupTable && configuration.key.length === 0;
    warn("SCHEMA_CHANGED", `the columns of ${table} changed since the last batch: ${told[table]}`);
  }
  // A column that was dropped once may come back with another type; its old files are still there.
  retyped ||= mart.columns.some(({ name, dataType }) => {
    const old = before?.types?.[name.toLowerCase()];
    return old !== undefined && old !== simpleString(dataType);
  });
  if (retyped) {
    const why = settings.format === "parquet" ? ", and Parquet files with both types can't be read together" : "";
    return { told, anew: `a column's type changed${why}` };
  }
  return { told, anew: regrouped ? "the columns changed by which groups without a key are known" : undefined };
}

/**
 * The type that each column of the output has had last, dropped ones included.
 *
 * @param everything whether the batch replaces all that is there.
 */
export function typesAfter(
  columns: Mart["columns"],
  before: MartDetails | undefined,
  format: Settings["format"],
  everything: boolean,
): NonNullable<MartDetails["types"]> {
  const now = Object.fromEntries(columns.map(({ name, dataType }) => [name.toLowerCase(), simpleString(dataType)]));
  // Files of a full load have the present columns only; an Iceberg table keeps those that it once got.
  return everything && format === "parquet" ? now : { ...before?.types, ...now };
}

export function microsOf(text: string | null | undefined): bigint | undefined {
  return text === null || text === undefined ? undefined : parseTrackerTime(text);
}

function everything(reason: string): Decision {
  return { kind: "everything", reason };
}
