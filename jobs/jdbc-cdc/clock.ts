import { UserError } from "../../lib/errors.js";
import { MICROS } from "../../lib/postgres/exported-snapshot.js";
import { quoteIdentifier } from "../../lib/postgres/identifiers.js";
import type { SourceTable } from "../../lib/postgres/source-tables.js";
import { LocalTimestamp } from "../../lib/spark/index.js";

/** The documented column. */
export const CLOCK = "updated_at";

/** The column that tells what is new, as SQL. Times are microseconds since 1970, UTC. */
export interface SqlClock {
  /** As the table spells it. */
  readonly name: string;
  /** The column itself. */
  readonly column: string;
  /** `bigint` expression, for finite values only. */
  readonly micros: string;
  /** SQL condition: neither infinite nor NULL. */
  readonly finite: string;
  /** SQL aggregate: the greatest finite time of the rows on a condition, as `micros`. */
  greatest(where: string): string;
  atLeast(micros: bigint): string;
  atMost(micros: bigint): string;
}

/**
 * The clock of a table, `undefined` when it has none. `timestamp` is taken as UTC, a `date` as its midnight, whole numbers as
 * seconds, milliseconds or microseconds since 1970 by their magnitude (below 10^11, 10^14, else).
 *
 * @throws UserError `INCREMENTAL_COLUMN_UNUSABLE` for a type that holds no points in time.
 */
export function sqlClock(table: SourceTable, row = "t"): SqlClock | undefined {
  const found =
    table.columns.find(({ name }) => name === CLOCK) ?? table.columns.find(({ name }) => name.toLowerCase() === CLOCK);
  if (found === undefined) return undefined;
  const { name, type } = found;
  const column = `${row}.${quoteIdentifier(name)}`;
  const finite = `isfinite(${column})`;
  // One value is turned into a number, not that of each row, which is what would take the time.
  const greatest = (where: string) => MICROS(`max(${column}) FILTER (WHERE ${where} AND ${finite})`);
  const base = { name, column, finite, greatest };
  if (/^timestamp(\(\d\))? with(out)? time zone$/.test(type)) {
    const cast = type.includes("with time zone") ? "+00'::timestamptz" : "'::timestamp";
    return {
      ...base,
      micros: MICROS(column),
      atLeast: (micros) => `${column} >= '${isoText(micros)}${cast}`,
      atMost: (micros) => `${column} <= '${isoText(micros)}${cast}`,
    };
  }
  if (type === "date") {
    return {
      ...base,
      micros: MICROS(column),
      // A day that began before the bound isn't at or after it.
      atLeast: (micros) => `${column} >= '${isoText(micros + 86_399_999_999n).slice(0, 10)}'::date`,
      atMost: (micros) => `${column} <= '${isoText(micros).slice(0, 10)}'::date`,
    };
  }
  if (type === "integer" || type === "bigint") {
    const number = `${column}::bigint`;
    const micros =
      `CASE WHEN abs(${number}) < 100000000000 THEN ${number} * 1000000 ` +
      `WHEN abs(${number}) < 100000000000000 THEN ${number} * 1000 ELSE ${number} END`;
    const finite = `${column} IS NOT NULL`;
    return {
      ...base,
      finite,
      micros,
      // A greater number may be an earlier time.
      greatest: (where) => `max(${micros}) FILTER (WHERE ${where} AND ${finite})`,
      atLeast: (bound) => `${micros} >= ${bound}`,
      atMost: (bound) => `${micros} <= ${bound}`,
    };
  }
  throw new UserError("INCREMENTAL_COLUMN_UNUSABLE", `Column ${name} is ${type}, which holds no time`, {
    hint: "It can be timestamptz, timestamp, date, or integer and bigint (since 1970). Give the table such a column, or leave it out with --tables",
  });
}

function isoText(micros: bigint): string {
  return new LocalTimestamp(micros).toISOString().replace("T", " ");
}
