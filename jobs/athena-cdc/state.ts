import type { StoredSchema } from "../../lib/glue/incremental/index.js";
import type { BatchState, OpenedTable } from "../../lib/storage/index.js";
import type { Format } from "./settings.js";

/** How far a table was delivered. Times are documented timestamps, UTC. */
export type Watermark = {
  /** The greatest time that was delivered. */
  readonly time: string;
  /** The delivered rows are known from this time on. */
  readonly knownFrom: string;
  /** How many rows that are. */
  readonly knownRows: string;
};

/** What else is kept with the state. */
export type Details = {
  readonly schema: StoredSchema;
  /** All columns of the output since the last full load, also those that the source has lost, each with its last type. */
  readonly written: StoredSchema;
  /** The source as it was before the batch was read, and what was looked for in it; `null`: not known. */
  readonly source: string | null;
  /** What the source's files were known by then; `null`: not known, or they held rows that are due later. */
  readonly sourceFiles: readonly string[] | null;
  readonly format: Format;
  /** The tables' folder, in the one way of writing it. */
  readonly place: string;
  /** By which rows are told apart; another one makes those of the output and those to come incomparable. */
  readonly key: readonly string[];
  /** The run of the last full load, which an Iceberg table bears, too; `null`: there was none. */
  readonly fullLoad: string | null;
};

export type State = BatchState<Watermark>;
export type Opened = OpenedTable<Watermark>;

/** `undefined` before the first batch. Of a state from before they were kept, all but `schema`, `source` and `format` are missing. */
export function detailsOf(
  state: State | undefined,
): (Pick<Details, "schema" | "source" | "format"> & Partial<Details>) | undefined {
  return (state?.details ?? undefined) as Details | undefined;
}

/** The output's columns after a batch. */
export function columnsAfter(before: StoredSchema, batch: StoredSchema): StoredSchema {
  const now = new Set(batch.map(([name]) => name.toLowerCase()));
  return [...batch, ...before.filter(([name]) => !now.has(name.toLowerCase()))];
}
