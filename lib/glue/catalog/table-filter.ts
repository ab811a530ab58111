import { argumentsInvalid } from "../args.js";
import type { RunReport } from "../report.js";
import { nearest } from "../suggest.js";

/**
 * Which tables of a database a run takes: patterns separated by commas, `*` and `?` as in file names, `!` in front excludes.
 * Case doesn't matter. Without a pattern that includes, all tables that aren't excluded are taken.
 *
 * @param argument which argument has the patterns, for the error.
 * @example
 * tableFilter("acc*,!tmp_*")("account"); // true
 * @throws UserError `ARGUMENTS_INVALID` for an empty pattern.
 */
export function tableFilter(patterns: string | undefined, argument = "tables"): (table: string) => boolean {
  if (patterns === undefined) return () => true;
  const problems = patternProblems(patterns, argument);
  if (problems.length > 0) throw argumentsInvalid(problems);
  const include: RegExp[] = [];
  const exclude: RegExp[] = [];
  for (const pattern of patterns.split(",").map((item) => item.trim())) {
    const excluded = pattern.startsWith("!");
    const name = excluded ? pattern.slice(1).trim() : pattern;
    (excluded ? exclude : include).push(toRegExp(name));
  }
  const any = (list: readonly RegExp[], table: string) => list.some((pattern) => pattern.test(table));
  return (table) => (include.length === 0 || any(include, table)) && !any(exclude, table);
}

/** What is wrong with patterns for {@link tableFilter}. */
export function patternProblems(patterns: string | undefined, argument = "tables"): readonly string[] {
  const names = (patterns ?? "all").split(",").map((pattern) => pattern.trim().replace(/^!/, "").trim());
  if (!names.includes("")) return [];
  return [
    `--${argument} must be patterns separated by commas, e.g. 'acc*,!tmp_*', none of them empty; it is ${JSON.stringify(patterns)}`,
  ];
}

/**
 * The names among the patterns that no table has: a name without `*` and `?` is meant to be one.
 *
 * @example
 * namesWithoutTable("orders,acount,tmp_*", ["orders", "account"]); // ["acount"]
 */
export function namesWithoutTable(patterns: string | undefined, tables: readonly string[]): readonly string[] {
  const known = new Set(tables.map((table) => table.toLowerCase()));
  return (patterns ?? "")
    .split(",")
    .map((name) => name.trim())
    .filter((name) => /^[^!*?]+$/.test(name) && !known.has(name.toLowerCase()));
}

/**
 * Warns of each name in `--tables` that no table has (`TABLE_NOT_FOUND`): a name that was mistyped must not pass for a table that is done.
 *
 * @param tables all of the database.
 */
export function warnOfUnknownTables(
  report: Pick<RunReport, "warn">,
  database: string,
  patterns: string | undefined,
  tables: readonly string[],
): void {
  for (const unknown of namesWithoutTable(patterns, tables)) {
    const meant = nearest(unknown, tables);
    const suggestion = meant === undefined ? "" : `; did you mean ${meant}?`;
    report.warn("TABLE_NOT_FOUND", `${database} has no table ${unknown}, which --tables names${suggestion}`);
  }
}

function toRegExp(pattern: string): RegExp {
  const source = pattern
    .replaceAll(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".");
  return new RegExp(`^${source}$`, "is");
}
