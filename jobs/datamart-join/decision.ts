import { describeChange, schemaChange, schemaChanged, storedSchema } from "../../lib/glue/incremental/index.js";
import { formatTrackerTime, parseTrackerTime } from "../../lib/storage/index.js";
import { type Mart, sourceOf } from "./mart.js";
import type { Settings } from "./settings.js";
import type { MartDetails, Opened, TableMark } from "./state.js";

type Marks = { readonly [table: string]: TableMark };

/** What a batch does with an output. */
export type Decision =
  | { readonly kind: "everything"; readonly reason: string }
  | {
      readonly kind: "changes";
      readonly reason: string;
      /** Inclusive; `undefined`: all rows with a time. */
      readonly from: (table: string) => bigint | undefined;
      /** Whether the rows near the watermark that were delivered are known. */
      readonly known: boolean;
    }
  | { readonly kind: "range"; readonly reason: string; readonly from: bigint; readonly to: bigint | undefined };

/** What a decision goes by. */
export interface Circumstances {
  readonly mart: Mart;
  readonly settings: Settings;
  readonly opened: Opened;
  /** The configuration that the output is made by. */
  readonly definition: string;
  /** What the state knows of the output. */
  readonly before: MartDetails | undefined;
  /** The last batch of its Iceberg table; `undefined`: there is none, or the output is Parquet. */
  readonly inTable: { readonly runId: string; readonly watermark: string | undefined } | undefined;
  readonly warn: (code: string, message: string) => void;
}

/**
 * Decides what to load of an output.
 *
 * @param retyped whether a column's type has changed since the last batch.
 */
export function decide(circumstances: Circumstances, retyped: boolean): Decision {
  const { settings, mart, before, definition, warn } = circumstances;
  if (settings.full) return everything(settings.fullBecause);
  const timeless = [...mart.sources].filter(([, { clock }]) => clock === undefined).map(([table]) => table);
  for (const table of timeless) {
    const { incrementalColumn } = sourceOf(mart, table).configuration;
    warn("INCREMENTAL_COLUMN_MISSING", `${table} has no column ${incrementalColumn}: everything is loaded each time`);
  }
  if (timeless.length > 0) return everything("a table has no incremental column");
  if (settings.backfill !== undefined) {
    const { from, to } = settings.backfill;
    const end = to === undefined ? "" : ` to ${formatTrackerTime(to)}`;
    return { kind: "range", reason: `from ${formatTrackerTime(from)}${end}`, from, to };
  }
  if (before !== undefined && before.definition !== definition) {
    warn(
      "CONFIGURATION_CHANGED",
      "its tables, joins or keys are configured otherwise than for the last batch: it is loaded in full",
    );
    return everything("the configuration changed");
  }
  if (retyped) return everything("a column's type changed, and Parquet files with both types can't be read together");
  if (before !== undefined && before.format !== settings.format) return everything("the output format changed");
  return sinceLastRun(circumstances);
}

function sinceLastRun({ mart, opened, before, inTable, settings: { lookback, format } }: Circumstances): Decision {
  const { tracker, state } = opened;
  const marksInTable = inTable?.watermark === undefined ? undefined : (JSON.parse(inTable.watermark) as Marks);
  const since = (marks: Marks, reason: string): Decision => ({
    kind: "changes",
    reason,
    from: (table) => microsOf(marks[table]?.time),
    known: false,
  });
  if (tracker.from !== "state") {
    const byHand = tracker.from === "reset";
    if (tracker.value === null && state === undefined && marksInTable !== undefined) {
      return since(marksInTable, "the state is gone; the Iceberg table says how far it was loaded");
    }
    if (tracker.value === null) return everything(byHand ? "the timestamp file was deleted" : "the first load");
    const value = parseTrackerTime(tracker.value) ?? 0n;
    const why = byHand ? "the timestamp file was changed by hand" : "the timestamp file of an earlier job counts";
    return { kind: "changes", reason: `${why}: ${tracker.value}`, from: () => value, known: false };
  }
  const marks = state?.watermark?.[mart.name];
  if (marks === undefined || before === undefined) return everything("the first load");
  if (format === "iceberg" && inTable === undefined) return everything("the Iceberg table is gone");
  if (inTable !== undefined && inTable.runId !== before.runId && marksInTable !== undefined) {
    return since(marksInTable, "the Iceberg table is at another batch than the state");
  }
  return {
    kind: "changes",
    reason: "rows since the last run",
    from: (table) => {
      const time = microsOf(marks[table]?.time);
      return time === undefined ? undefined : time - lookback;
    },
    known: true,
  };
}

/**
 * Compares the tables' columns with those of the last batch.
 *
 * @returns what changed, by table, in words.
 * @throws UserError `SCHEMA_CHANGED` with `--on_schema_change fail`.
 */
export function schemaChanges({ mart, before, settings, warn }: Circumstances): {
  readonly told: Readonly<Record<string, string>>;
  readonly retyped: boolean;
} {
  let retyped = false;
  const told: Record<string, string> = {};
  for (const [table, { schema }] of mart.sources) {
    const stored = before?.schemas[table];
    const change = stored === undefined ? undefined : schemaChange(stored, storedSchema(schema));
    if (change === undefined) continue;
    if (!settings.evolve && !settings.full) throw schemaChanged(table, change);
    told[table] = describeChange(change);
    retyped ||= change.retyped.length > 0;
    warn("SCHEMA_CHANGED", `the columns of ${table} changed since the last batch: ${told[table]}`);
  }
  return { told, retyped };
}

export function microsOf(text: string | null | undefined): bigint | undefined {
  return text === null || text === undefined ? undefined : parseTrackerTime(text);
}

function everything(reason: string): Decision {
  return { kind: "everything", reason };
}
