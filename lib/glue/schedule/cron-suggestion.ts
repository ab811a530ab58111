/** The fields of Unix's cron, and those of Glue's that say the same. */
const SHORTHANDS: Readonly<Record<string, string>> = {
  "@hourly": "0 * * * *",
  "@daily": "0 0 * * *",
  "@midnight": "0 0 * * *",
  "@weekly": "0 0 * * 0",
  "@monthly": "0 0 1 * *",
  "@yearly": "0 0 1 1 *",
  "@annually": "0 0 1 1 *",
};
const DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"];

/** What an expression that isn't Glue's was meant to be, and whose it is. */
export interface CronSuggestion {
  readonly problem: string;
  /** Not checked; `undefined` where Glue can't say the same. */
  readonly instead: string | undefined;
}

/**
 * Recognizes Unix's cron (`0 2 * * *`, `@daily`) and the rates of EventBridge (`rate(1 hour)`).
 *
 * @param expression as it was written, or what stands within `cron(...)`.
 */
export function suggestCron(expression: string): CronSuggestion | undefined {
  const text = expression.trim();
  const rate = /^rate\((.*)\)$/s.exec(text)?.[1];
  if (rate !== undefined) return { problem: "rate(...) is EventBridge's, Glue doesn't know it", instead: ofRate(rate) };
  const fields = (SHORTHANDS[text] ?? text).split(/\s+/);
  const problem = "Glue's cron has six fields, within cron(...)";
  if (fields.length === 6 && !text.startsWith("cron(")) return { problem, instead: `cron(${fields.join(" ")})` };
  const [minutes, hours, dayOfMonth = "", month, dayOfWeek = ""] = fields;
  if (fields.length !== 5) return undefined;
  const weekdays = namedDays(dayOfWeek);
  // Unix fires when either of the two days has come; Glue can't say that.
  if (weekdays === undefined || (dayOfMonth !== "*" && weekdays !== "*")) return { problem, instead: undefined };
  const days = weekdays === "*" ? `${dayOfMonth} ${month} ?` : `? ${month} ${weekdays}`;
  return { problem, instead: `cron(${minutes} ${hours} ${days} *)` };
}

/** Unix counts days of the week from 0, Glue from 1: with names they mean the same. */
function namedDays(text: string): string | undefined {
  if (text === "*" || text === "?") return "*";
  const parts = text.split(",").map((part) => {
    const days = part
      .split("-")
      .map((day) => DAYS[Number(day)] ?? (DAYS.includes(day.toUpperCase()) ? day : undefined));
    return days.includes(undefined) || part === "" ? undefined : days.join("-");
  });
  return parts.includes(undefined) ? undefined : parts.join(",");
}

/** Only rates that begin anew with each hour or day, as Glue's steps do. */
function ofRate(text: string): string | undefined {
  const [, count, unit] = /^\s*(\d+)\s+(minute|hour|day)s?\s*$/.exec(text) ?? [];
  const every = Number(count);
  if (unit === "minute" && 60 % every === 0) return every === 60 ? "cron(0 * * * ? *)" : `cron(0/${every} * * * ? *)`;
  if (unit === "hour" && 24 % every === 0) {
    return every === 1 ? "cron(0 * * * ? *)" : every === 24 ? "cron(0 0 * * ? *)" : `cron(0 0/${every} * * ? *)`;
  }
  return unit === "day" && every === 1 ? "cron(0 0 * * ? *)" : undefined;
}
