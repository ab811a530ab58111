import { UserError } from "../../lib/errors.js";
import { type ExportedSnapshot, writtenSince } from "../../lib/postgres/exported-snapshot.js";
import { quoteTable } from "../../lib/postgres/identifiers.js";
import type { SourceTable } from "../../lib/postgres/source-tables.js";
import type { SparkColumn } from "../../lib/postgres/spark-columns.js";
import type { SqlClock } from "./clock.js";
import { type Decision, versioned } from "./decision.js";

/** What PostgreSQL says of the rows that a batch takes, before any is read. */
export interface Window {
  /** The greatest time among them; `undefined`: there is none. */
  readonly to: bigint | undefined;
  /** Rows to be read. */
  readonly rows: bigint;
  /** Of them those that can't have been delivered yet. */
  readonly fresh: bigint;
  /** Row versions of the others, `null` where rows have none. */
  readonly versions: string | null;
  /** Rows whose time is after what is settled. */
  readonly later: bigint;
  readonly withoutTime: bigint;
  /** Rows with a value that Spark's type can't hold. */
  readonly special: bigint;
  /** Rows that are due by the transaction that wrote them, and not by their time. */
  readonly late: bigint;
  /** Rows of {@link unsettledSql} that are before the window's time. */
  readonly unsettled: bigint;
}

/** A number for each row version, as SQL; the sum of it stands for a set of them. */
export const VERSION =
  "('x' || substr(md5(t.tableoid::text || ' ' || t.ctid::text || ' ' || t.xmin::text), 1, 12))::bit(48)::bigint";

/**
 * Up to where a batch reads. What was delivered before and is replaced must come again, also where a transaction could still add
 * to it: then a later run finds what it adds.
 *
 * @param settled rows later than this aren't final yet.
 */
export function capOf(decision: Decision, settled: bigint): bigint {
  if (decision.kind === "backfill") return decision.to;
  if (decision.kind === "full" || decision.replaceFrom === undefined || decision.known === undefined) return settled;
  const delivered = BigInt(decision.known.to);
  return delivered > settled ? delivered : settled;
}

/**
 * SQL condition on the rows that a batch takes, up to `to`.
 *
 * @param late whether rows are asked for that aren't due by their time: PostgreSQL looks at every row of the table then. In one snapshot
 *   the rows are the same where {@link Window.late} is 0.
 */
export function windowSql(decision: Decision, clock: SqlClock, to: bigint | undefined, late = true): string {
  const upTo = to === undefined ? "false" : clock.atMost(to);
  switch (decision.kind) {
    case "full":
      return `(${upTo} OR ${clock.column} IS NULL)`;
    case "changes": {
      const from = clock.atLeast(decision.from);
      return `${upTo} AND ${late && decision.late !== undefined ? `(${from} OR ${decision.late})` : from}`;
    }
    case "backfill":
      return `${upTo} AND ${clock.atLeast(decision.from)}`;
  }
}

/** SQL condition: rows that the last batch may have delivered, and that aren't replaced; `undefined`: there are none. */
export function knownSql(decision: Decision, clock: SqlClock): string | undefined {
  if (decision.kind !== "changes" || decision.known === undefined) return undefined;
  const known = clock.atMost(BigInt(decision.known.to));
  return decision.replaceFrom === undefined ? known : `(${known} AND NOT (${clock.atLeast(decision.replaceFrom)}))`;
}

/**
 * SQL condition on rows of the snapshot that the next batch looks at again, whatever their time: those of transactions that are no older
 * than the oldest one that was under way. `undefined`: the next batch goes by the time alone.
 */
export function unsettledSql(
  decision: Decision,
  table: SourceTable,
  snapshot: Pick<ExportedSnapshot, "xmin" | "xmax" | "system">,
): string | undefined {
  if (decision.kind === "backfill" || (decision.kind === "changes" && decision.byClock)) return undefined;
  return versioned(table) ? writtenSince(snapshot, snapshot) : undefined;
}

/** Fixes the bounds of a batch: one question to PostgreSQL, in the snapshot. */
export async function fixWindow(
  snapshot: ExportedSnapshot,
  table: SourceTable,
  clock: SqlClock,
  columns: readonly SparkColumn[],
  decision: Decision,
  cap: bigint,
): Promise<Window> {
  const window = windowSql(decision, clock, cap);
  const due = `(${window})`;
  const known = knownSql(decision, clock) ?? "false";
  const specials = columns.flatMap(({ special }) => (special === undefined ? [] : [special]));
  const isSpecial = specials.length === 0 ? "false" : `(${specials.join(" OR ")})`;
  const atLeast = decision.kind === "full" ? undefined : clock.atLeast(decision.from);
  const late = decision.kind === "changes" ? decision.late : undefined;
  const unsettled = unsettledSql(decision, table, snapshot);
  const others = [late, unsettled].filter((condition) => condition !== undefined);
  const looked = atLeast === undefined ? "true" : `(${[atLeast, ...others].join(" OR ")})`;
  const before = atLeast === undefined ? "true" : `NOT COALESCE(${atLeast}, false)`;
  const countBefore = (condition = "false") => `(count(*) FILTER (WHERE ${condition} AND ${before}))::text`;
  const [row] = await snapshot.query<Record<string, string | null>>(
    `reading ${quoteTable(table)}`,
    `SELECT (${clock.greatest(due)})::text AS to,
            (count(*) FILTER (WHERE ${due}))::text AS rows,
            (count(*) FILTER (WHERE ${due} AND NOT COALESCE(${known}, false)))::text AS fresh,
            ${versioned(table) ? `COALESCE(sum(${VERSION}) FILTER (WHERE ${due} AND ${known}), 0)::text` : "NULL"} AS versions,
            (count(*) FILTER (WHERE NOT (${clock.atMost(cap)})))::text AS later,
            (count(*) FILTER (WHERE ${clock.column} IS NULL))::text AS without_time,
            (count(*) FILTER (WHERE ${due} AND ${isSpecial}))::text AS special,
            ${countBefore(late)} AS late,
            ${countBefore(unsettled)} AS unsettled
       FROM ${quoteTable(table)} AS t WHERE ${looked}`,
  );
  const count = (name: string) => BigInt(row?.[name] ?? 0);
  return {
    to: row?.to == null ? undefined : BigInt(row.to),
    rows: count("rows"),
    fresh: count("fresh"),
    versions: row?.versions ?? null,
    later: count("later"),
    withoutTime: count("without_time"),
    special: count("special"),
    late: count("late"),
    unsettled: count("unsettled"),
  };
}

/** The columns that hold values without a place in Spark's types, with their numbers, for messages. */
export async function specialColumns(
  snapshot: ExportedSnapshot,
  table: SourceTable,
  columns: readonly SparkColumn[],
  where: string,
): Promise<readonly string[]> {
  const candidates = columns.filter(({ special }) => special !== undefined);
  const [row] = await snapshot.query<Record<string, string>>(
    `reading ${quoteTable(table)}`,
    `SELECT ${candidates.map(({ special }, index) => `(count(*) FILTER (WHERE ${special}))::text AS c${index}`).join(", ")}
       FROM ${quoteTable(table)} AS t WHERE ${where}`,
  );
  return candidates.flatMap(({ name, sourceType, specialValues }, index) => {
    const count = row?.[`c${index}`] ?? "0";
    return count === "0" ? [] : [`column ${name} (${sourceType}): ${count} values are ${specialValues}`];
  });
}

/** @throws UserError `VALUES_NOT_REPRESENTABLE`. */
export function refuseSpecial(problems: readonly string[]): never {
  throw new UserError("VALUES_NOT_REPRESENTABLE", "Some values have no place in Spark's types", {
    problems,
    hint: "Mend them in the source, or let them become NULL with --special_values null",
  });
}
