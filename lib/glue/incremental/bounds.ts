import { UserError } from "../../errors.js";
import * as f from "../../spark/functions/index.js";
import type { DataFrame, Row } from "../../spark/index.js";
import { atOrAfterOrWithout, type Clock } from "./column.js";

/** The end of a batch, fixed before a row of it is read. Times are microseconds since 1970, UTC. */
export interface Bounds {
  /** The greatest value that isn't later than the source's own clock; `undefined`: there is none. */
  readonly to: bigint | undefined;
  /** Rows from `from` up to `to`. */
  readonly rows: bigint;
  /** Rows whose time hasn't come yet by the source's clock. */
  readonly later: bigint;
  /** Rows without a time. */
  readonly withoutTime: bigint;
  /** The source's clock. */
  readonly now: bigint;
}

/** A table whose bounds are asked for. */
export interface BoundsQuestion {
  readonly source: DataFrame;
  readonly clock: Clock;
  /** Rows before it don't count, except those without a time; `undefined`: all rows. */
  readonly from: bigint | undefined;
  /** For messages. */
  readonly table: string;
  /** One task reads all of it, so that nothing has to be sent around. */
  readonly small?: boolean;
}

/**
 * Asks the source for the bounds of the next batch: one Spark operation that reads the clock's column alone.
 *
 * @throws UserError `INCREMENTAL_VALUES_UNREADABLE` when the column holds text that is no time: such rows would be left out in
 *   silence.
 */
export async function fixBounds(question: BoundsQuestion): Promise<Bounds> {
  const [bounds] = await fixBoundsTogether([question]);
  if (bounds === undefined) throw new TypeError("one question has one answer");
  return bounds();
}

/**
 * The bounds of several tables, with one Spark operation for all of them.
 *
 * @returns for each question a function that gives the bounds, or throws what {@link fixBounds} throws.
 */
export async function fixBoundsTogether(questions: readonly BoundsQuestion[]): Promise<(() => Bounds)[]> {
  const [first, ...rest] = questions.map(boundsRow);
  if (first === undefined) return [];
  const rows = await rest.reduce((all, one) => all.union(one), first).collect();
  const byNumber = new Map(rows.map((row) => [row.getNumber("number"), row]));
  return questions.map((question, number) => () => readBounds(question, byNumber.get(number)));
}

/**
 * The bounds by the times of all rows, of a table that is so small that they were read here.
 *
 * @param from as in {@link BoundsQuestion}.
 * @param writtenAt when the rows' files were written, see {@link SourceFiles}.
 * @param now by this process's clock, microseconds.
 * @returns `undefined` where a row is later than its files, and due by this process's clock alone: that one may be ahead, and a watermark past
 *   rows to come would leave them out. Only the source's can tell.
 */
export function boundsOfTimes(
  times: readonly (bigint | null)[],
  from: bigint | undefined,
  writtenAt: bigint,
  now = BigInt(Date.now()) * 1_000n,
): Bounds | undefined {
  let to: bigint | undefined;
  let [rows, later, withoutTime] = [0n, 0n, 0n];
  for (const time of times) {
    if (time === null) withoutTime++;
    else if (time > writtenAt && time > now) later++;
    else if (time > writtenAt) return undefined;
    else if (from === undefined || time >= from) {
      rows++;
      if (to === undefined || time > to) to = time;
    }
  }
  return { to, rows, later, withoutTime, now };
}

/** A plan of one row. */
function boundsRow({ source, clock, from, small = false }: BoundsQuestion, number: number): DataFrame {
  // Only text may be no time: of other columns it needn't be looked for, which Spark would do for every row.
  const unread = clock.kind === "text" ? clock.column.isNotNull().and(clock.micros.isNull()) : undefined;
  const now = f.unix_micros(f.current_timestamp());
  const wanted = from === undefined ? source : source.where(atOrAfterOrWithout(clock, from));
  const due = clock.micros.leq(now);
  return (small ? wanted.coalesce(1) : wanted).agg(
    f.lit(number).as("number"),
    f.max(f.when(due, clock.micros)).as("to"),
    f.count_if(due).as("rows"),
    f.count_if(clock.micros.gt(now)).as("later"),
    f.count_if(clock.column.isNull()).as("without_time"),
    (unread === undefined ? f.lit(0n) : f.count_if(unread)).as("unread"),
    (unread === undefined ? f.lit(null).cast("string") : f.min(f.when(unread, clock.column.cast("string")))).as(
      "example",
    ),
    f.max(now).as("now"),
  );
}

function readBounds({ clock, table }: BoundsQuestion, row: Row | undefined): Bounds {
  const count = (name: string) => row?.getBigInt(name) ?? 0n;
  if (count("unread") > 0n) {
    throw new UserError(
      "INCREMENTAL_VALUES_UNREADABLE",
      `${table}: ${count("unread")} values of column ${clock.name} are no time, e.g. ${JSON.stringify(row?.getString("example"))}`,
      { hint: "Expected ISO 8601, e.g. 2026-03-01 10:00:00.123456; correct them in the source" },
    );
  }
  return {
    to: row?.getBigInt("to") ?? undefined,
    rows: count("rows"),
    later: count("later"),
    withoutTime: count("without_time"),
    now: row?.getBigInt("now") ?? 0n,
  };
}
