import { ExitCode, UserError } from "../../errors.js";

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
  const include: RegExp[] = [];
  const exclude: RegExp[] = [];
  for (const pattern of patterns.split(",").map((item) => item.trim())) {
    const excluded = pattern.startsWith("!");
    const name = excluded ? pattern.slice(1).trim() : pattern;
    if (name === "") {
      throw new UserError("ARGUMENTS_INVALID", `--${argument} ${JSON.stringify(patterns)} has an empty pattern`, {
        hint: "Write patterns separated by commas, e.g. 'acc*,!tmp_*'",
        exitCode: ExitCode.usage,
      });
    }
    (excluded ? exclude : include).push(toRegExp(name));
  }
  const any = (list: readonly RegExp[], table: string) => list.some((pattern) => pattern.test(table));
  return (table) => (include.length === 0 || any(include, table)) && !any(exclude, table);
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

function toRegExp(pattern: string): RegExp {
  const source = pattern
    .replaceAll(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".");
  return new RegExp(`^${source}$`, "is");
}
