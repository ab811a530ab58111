import type { StoredSchema } from "../../lib/glue/incremental/index.js";
import { type BatchState, type OpenedTable, parseTrackerTime } from "../../lib/storage/index.js";
import type { StoredNames } from "./output-columns.js";

/** How far a source table was delivered; times are documented timestamps, UTC. */
export type TableMark = {
  /** The greatest time that counts as delivered; `null`: no row had one. */
  readonly time: string | null;
};

/** One watermark a table and output, although the documented file holds one for all. */
export type Watermark = { readonly [mart: string]: { readonly [table: string]: TableMark } };

/** What the state keeps of an output besides. */
export type MartDetails = {
  /** The configuration of its tables and joins: with another one the output is made anew. */
  readonly definition: string;
  readonly schemas: { readonly [table: string]: StoredSchema };
  readonly names: StoredNames;
  /** Types of the output's columns by lower-case name, those of dropped columns included. States of the first version have none. */
  readonly types?: { readonly [column: string]: string };
  /** Where the last batch went, see `canonicalUri`. States of the first version don't say. */
  readonly output?: string;
  readonly format: "parquet" | "iceberg";
  /**
   * The files of each table before its rows were read for the last batch that wasn't a backfill, see `Source.files`, with what else tells whether
   * they have news. A table isn't named whose files have to be read again in any case. States of older versions have none.
   */
  readonly sources?: { readonly [table: string]: string };
  /** Marks of the files in `sources`, of tables that had no row later than the source's clock. */
  readonly files?: { readonly [table: string]: readonly string[] };
  /** The run whose batch was the last with something of this output. */
  readonly runId: string;
};

export type Details = {
  /** Id of the last batch. */
  readonly batchId: string;
  readonly marts: { readonly [mart: string]: MartDetails };
};

export type State = BatchState<Watermark>;
export type Opened = OpenedTable<Watermark>;

/** The state's own part of the details; `undefined` before the first batch. */
export function detailsOf(state: State | undefined): Details | undefined {
  return (state?.details ?? undefined) as Details | undefined;
}

/** The name by which the state lists a dataset of an output's known rows. */
export function knownName(mart: string, number: number): string {
  return `${mart}.known.${number}`;
}

/** The datasets of known rows of an output, oldest first. */
export function knownFolders(state: State | undefined, mart: string): string[] {
  const folders: string[] = [];
  for (let number = 0; ; number++) {
    const folder = state?.delivered[knownName(mart, number)];
    if (folder === undefined) return folders;
    folders.push(folder);
  }
}

/** The greatest of all tables' times: what the documented file says. */
export function latestOf(watermark: Watermark): string | null {
  const times = Object.values(watermark).flatMap((tables) => Object.values(tables).flatMap(({ time }) => time ?? []));
  return times.reduce<string | null>((max, time) => {
    const later = max === null || (parseTrackerTime(time) ?? 0n) > (parseTrackerTime(max) ?? 0n);
    return later ? time : max;
  }, null);
}
