import { ExitCode, UserError } from "../../errors.js";
import { nearest } from "../suggest.js";
import { suggestCron } from "./cron-suggestion.js";

/**
 * When a SCHEDULED trigger fires, as Glue reads it: `cron(minutes hours day-of-month month day-of-week year)`, in UTC.
 *
 * Days of the week are 1 to 7 for SUN to SAT. `L` is the last day of the month, or SAT; `6L` the last Friday of the month.
 * `3W` is the weekday (MON to FRI) nearest the 3rd, within the month; a month that has no such day is left out.
 */
export interface CronSchedule {
  /** As it was written. */
  readonly expression: string;
  /** Minutes of a day, ascending: 61 is 01:01. */
  readonly minutes: readonly number[];
  /** Ascending, 1 to 12. */
  readonly months: readonly number[];
  /** Ascending, 1970 to 2199. */
  readonly years: readonly number[];
  /** Days of a month on which it fires, ascending. */
  days(year: number, month: number): readonly number[];
}

const MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
const SATURDAY = 7;
const LEAST_MINUTES = 5;
const MINUTES_A_DAY = 24 * 60;

interface FieldRule {
  readonly title: string;
  readonly least: number;
  readonly most: number;
  /** Names of values, the first for `least`. */
  readonly names?: readonly string[];
}

const MINUTES: FieldRule = { title: "minutes", least: 0, most: 59 };
const HOURS: FieldRule = { title: "hours", least: 0, most: 23 };
const DAY_OF_MONTH: FieldRule = { title: "day of month", least: 1, most: 31 };
const MONTH: FieldRule = { title: "month", least: 1, most: 12, names: MONTHS };
const DAY_OF_WEEK: FieldRule = { title: "day of week", least: 1, most: 7, names: DAYS };
const YEAR: FieldRule = { title: "year", least: 1970, most: 2199 };
const FIELDS = [MINUTES, HOURS, DAY_OF_MONTH, MONTH, DAY_OF_WEEK, YEAR];

/** Which days of a month are meant. */
type Days =
  | { readonly kind: "days"; readonly days: ReadonlySet<number> }
  | { readonly kind: "last day" }
  | { readonly kind: "nearest weekday"; readonly day: number }
  | { readonly kind: "weekdays"; readonly weekdays: ReadonlySet<number> }
  | { readonly kind: "last weekday"; readonly weekday: number };

/**
 * Reads an expression by Glue's rules.
 *
 * @throws UserError `CRON_INVALID` (exit 66) with everything that is wrong with it.
 * @example
 * parseCron("cron(15 12 ? * MON-FRI *)"); // 12:15 UTC from Monday to Friday
 */
export function parseCron(expression: string): CronSchedule {
  const read = readCron(expression);
  if (!Array.isArray(read)) return read as CronSchedule;
  throw new UserError("CRON_INVALID", `${JSON.stringify(expression)} is no schedule of Glue's`, {
    problems: read,
    hint: "Write cron(minutes hours day-of-month month day-of-week year), e.g. cron(0 10 * * ? *) for each day at 10:00 UTC",
    exitCode: ExitCode.configuration,
  });
}

/** What is wrong with an expression; empty when nothing is. */
export function cronProblems(expression: string): readonly string[] {
  const read = readCron(expression);
  return Array.isArray(read) ? read : [];
}

/**
 * The next times at which a schedule fires, all later than `after`; fewer than `count` when the years end before.
 *
 * @throws UserError `CRON_INVALID`.
 * @example
 * nextFirings("cron(0 0 L FEB ? *)", new Date("2024-01-01T00:00Z"), 2); // 2024-02-29, 2025-02-28
 */
export function nextFirings(schedule: string | CronSchedule, after: Date, count: number): Date[] {
  const found: Date[] = [];
  if (count <= 0) return found;
  for (const time of firings(schedule, after)) if (found.push(time) >= count) break;
  return found;
}

/** Every time at which a schedule fires after a time, in order, up to the end of its years. */
export function* firings(schedule: string | CronSchedule, after: Date): Generator<Date, void> {
  const { years, months, minutes, days } = asSchedule(schedule);
  const [startYear, startMonth, startDay] = dayOf(after);
  for (const year of years) {
    if (year < startYear) continue;
    for (const month of months) {
      if (year === startYear && month < startMonth) continue;
      for (const day of days(year, month)) {
        if (year === startYear && month === startMonth && day < startDay) continue;
        for (const minute of minutes) {
          const time = timeOf(year, month, day, minute);
          if (time > after.getTime()) yield new Date(time);
        }
      }
    }
  }
}

/** The latest time at which a schedule fires, not after `upTo`; `undefined` when that would be before its years begin. */
export function latestFiring(schedule: string | CronSchedule, upTo: Date): Date | undefined {
  const { years, months, minutes, days } = asSchedule(schedule);
  const [endYear, endMonth, endDay] = dayOf(upTo);
  for (const year of years.toReversed()) {
    if (year > endYear) continue;
    for (const month of months.toReversed()) {
      if (year === endYear && month > endMonth) continue;
      for (const day of days(year, month).toReversed()) {
        if (year === endYear && month === endMonth && day > endDay) continue;
        for (const minute of minutes.toReversed()) {
          const time = timeOf(year, month, day, minute);
          if (time <= upTo.getTime()) return new Date(time);
        }
      }
    }
  }
  return undefined;
}

function asSchedule(schedule: string | CronSchedule): CronSchedule {
  return typeof schedule === "string" ? parseCron(schedule) : schedule;
}

function dayOf(time: Date): [year: number, month: number, day: number] {
  return [time.getUTCFullYear(), time.getUTCMonth() + 1, time.getUTCDate()];
}

function timeOf(year: number, month: number, day: number, minute: number): number {
  return Date.UTC(year, month - 1, day, 0, minute);
}

/** @returns the schedule, or everything that is wrong. */
function readCron(expression: string): CronSchedule | string[] {
  const inside = /^\s*cron\((.*)\)\s*$/s.exec(expression)?.[1];
  if (inside === undefined) {
    const { problem = "is not of the form cron(...)", write } = meantInstead(expression) ?? {};
    return [`${problem}${write ?? ""}`];
  }
  const fields = inside.trim().split(/\s+/);
  if (fields.length !== FIELDS.length || fields[0] === "") {
    const count = fields[0] === "" ? 0 : fields.length;
    const needed = `has ${count} ${count === 1 ? "field" : "fields"} where six are needed: ${titles()}`;
    return [`${needed}${meantInstead(inside)?.write ?? ""}`];
  }
  const [minutes = "", hours = "", dayOfMonth = "", month = "", dayOfWeek = "", year = ""] = fields;
  const problems: string[] = [];
  const minuteSet = readSet(minutes, MINUTES, problems);
  const hourSet = readSet(hours, HOURS, problems);
  const monthSet = readSet(month, MONTH, problems);
  const yearSet = readSet(year, YEAR, problems);
  const wanted = readDays(dayOfMonth, dayOfWeek, problems);
  if (problems.length > 0 || wanted === undefined) return problems;

  const schedule: CronSchedule = {
    expression,
    minutes: ascending(hourSet).flatMap((hour) => ascending(minuteSet).map((minute) => hour * 60 + minute)),
    months: ascending(monthSet),
    years: ascending(yearSet),
    days: (inYear, inMonth) => daysOfMonth(wanted, inYear, inMonth),
  };
  if (firings(schedule, new Date(-1)).next().done === true) {
    return ["never fires: no month of its years has such a day"];
  }
  const gap = leastGap(schedule);
  return gap < LEAST_MINUTES
    ? [`fires ${gap === 1 ? "1 minute" : `${gap} minutes`} apart; Glue allows every ${LEAST_MINUTES} minutes at most`]
    : schedule;
}

/** For what another scheduler would understand: whose it is, and what to write, if Glue would take it. */
function meantInstead(text: string): { readonly problem: string; readonly write: string } | undefined {
  const suggestion = suggestCron(text);
  if (suggestion === undefined) return undefined;
  const { problem, instead } = suggestion;
  const isRight = instead !== undefined && !Array.isArray(readCron(instead));
  return { problem, write: isRight ? `; write ${instead}` : "" };
}

function titles(): string {
  return FIELDS.map(({ title }) => title).join(", ");
}

function ascending(values: ReadonlySet<number>): number[] {
  return [...values].sort((left, right) => left - right);
}

/** One of the two fields of days says which, the other is `?`. */
function readDays(dayOfMonth: string, dayOfWeek: string, problems: string[]): Days | undefined {
  if (dayOfMonth === "?" && dayOfWeek === "?") {
    problems.push("day of month and day of week are both ?: one of them says the days");
    return undefined;
  }
  if (dayOfMonth !== "?" && dayOfWeek !== "?") {
    problems.push("day of month and day of week are both given: one of them must be ?");
    if (dayOfMonth !== "*") readDayOfMonth(dayOfMonth, problems);
    if (dayOfWeek !== "*") readDayOfWeek(dayOfWeek, problems);
    return undefined;
  }
  return dayOfWeek === "?" ? readDayOfMonth(dayOfMonth, problems) : readDayOfWeek(dayOfWeek, problems);
}

function readDayOfMonth(text: string, problems: string[]): Days {
  if (text.toUpperCase() === "L") return { kind: "last day" };
  const weekdayNear = /^(\d+)W$/i.exec(text)?.[1];
  if (weekdayNear !== undefined) {
    return { kind: "nearest weekday", day: readValue(weekdayNear, DAY_OF_MONTH, problems) };
  }
  if (/[LW]/i.test(text)) {
    problems.push(
      `day of month ${JSON.stringify(text)}: L and a day with W (3W) stand alone, in no list, range or step`,
    );
    return { kind: "last day" };
  }
  return { kind: "days", days: readSet(text, DAY_OF_MONTH, problems) };
}

function readDayOfWeek(text: string, problems: string[]): Days {
  if (text.toUpperCase() === "L") return { kind: "weekdays", weekdays: new Set([SATURDAY]) };
  const last = /^(\w+)L$/i.exec(text)?.[1];
  if (last !== undefined) return { kind: "last weekday", weekday: readValue(last, DAY_OF_WEEK, problems) };
  if (text.includes("#")) {
    problems.push(`day of week ${JSON.stringify(text)}: # is EventBridge's, Glue doesn't know it`);
    return { kind: "weekdays", weekdays: new Set() };
  }
  if (/L/i.test(text)) {
    problems.push(
      `day of week ${JSON.stringify(text)}: L and a day with L (6L) stand alone, in no list, range or step`,
    );
    return { kind: "weekdays", weekdays: new Set() };
  }
  return { kind: "weekdays", weekdays: readSet(text, DAY_OF_WEEK, problems) };
}

/** Lists, ranges and steps: `1,5-9,0/15`, `*`. */
function readSet(text: string, rule: FieldRule, problems: string[]): Set<number> {
  const values = new Set<number>();
  for (const part of text.split(",")) {
    const [range = "", step, ...rest] = part.split("/");
    if (range === "" || rest.length > 0) {
      problems.push(
        `${rule.title} ${JSON.stringify(text)}: ${part === "" ? "a value is missing" : `${part} can't be read`}`,
      );
      continue;
    }
    if (range === "?") {
      problems.push(
        rule === DAY_OF_MONTH || rule === DAY_OF_WEEK
          ? `${rule.title} ${JSON.stringify(text)}: ? stands alone`
          : `${rule.title} can't be ?: only day of month and day of week can`,
      );
      continue;
    }
    const [from, to] = readRange(range, step !== undefined, rule, problems);
    const by = step === undefined ? 1 : readStep(step, rule, problems);
    for (let value = from; value <= to; value += by) values.add(value);
  }
  return values;
}

/** With a step, a single value begins a range that goes to the end: `5/10` is 5, 15, 25, ... */
function readRange(text: string, stepped: boolean, rule: FieldRule, problems: string[]): [from: number, to: number] {
  if (text === "*") return [rule.least, rule.most];
  const ends = text.split("-");
  if (ends.length > 2) {
    problems.push(`${rule.title} ${JSON.stringify(text)} is no range`);
    return [rule.least, rule.least];
  }
  const before = problems.length;
  const from = readValue(ends[0] ?? "", rule, problems);
  const to = ends[1] === undefined ? (stepped ? rule.most : from) : readValue(ends[1], rule, problems);
  if (to < from && problems.length === before) {
    problems.push(`${rule.title} ${text} ends before it begins; write two ranges, separated by a comma`);
  }
  return [from, to];
}

function readStep(text: string, rule: FieldRule, problems: string[]): number {
  const step = Number(text);
  const most = rule.most - rule.least;
  if (/^\d+$/.test(text) && step >= 1 && step <= most) return step;
  problems.push(`${rule.title}: step ${JSON.stringify(text)} is no whole number from 1 to ${most}`);
  return 1;
}

/** @returns the least value of the field when it is wrong, so that reading can go on. */
function readValue(text: string, rule: FieldRule, problems: string[]): number {
  const { title, least, most, names = [] } = rule;
  const named = names.indexOf(text.toUpperCase());
  if (named >= 0) return least + named;
  const value = Number(text);
  if (/^\d{1,4}$/.test(text) && value >= least && value <= most) return value;
  const range = `${least} to ${most}${names.length === 0 ? "" : ` or ${names[0]} to ${names.at(-1)}`}`;
  if (text === "") problems.push(`${title}: a value is missing`);
  else if (/^\d+$/.test(text)) problems.push(`${title} ${text} is not in ${range}`);
  else {
    const meant = /^[A-Za-z]{2,}$/.test(text) ? nearest(text, names) : undefined;
    const suggestion = meant === undefined ? "" : `; did you mean ${meant}?`;
    problems.push(`${title} ${JSON.stringify(text)} is none of ${range}${suggestion}`);
  }
  return least;
}

function daysOfMonth(wanted: Days, year: number, month: number): number[] {
  const length = new Date(Date.UTC(year, month, 0)).getUTCDate();
  const weekday = (day: number) => new Date(Date.UTC(year, month - 1, day)).getUTCDay() + 1;
  switch (wanted.kind) {
    case "last day":
      return [length];
    case "nearest weekday":
      return wanted.day > length ? [] : [nearestWeekday(wanted.day, weekday(wanted.day), length)];
    case "last weekday":
      return [length - ((weekday(length) - wanted.weekday + 7) % 7)];
    case "days":
      return ascending(wanted.days).filter((day) => day <= length);
    case "weekdays":
      return Array.from({ length }, (_, index) => index + 1).filter((day) => wanted.weekdays.has(weekday(day)));
  }
}

/** Saturdays go back to Friday, Sundays on to Monday, unless that is in another month. */
function nearestWeekday(day: number, weekday: number, length: number): number {
  if (weekday === SATURDAY) return day === 1 ? 3 : day - 1;
  if (weekday === 1) return day === length ? day - 2 : day + 1;
  return day;
}

/** Fewest minutes between two firings. */
function leastGap(schedule: CronSchedule): number {
  const { minutes } = schedule;
  let least = Number.POSITIVE_INFINITY;
  for (const [index, minute] of minutes.entries())
    least = Math.min(least, minute - (minutes[index - 1] ?? -MINUTES_A_DAY));
  const overMidnight = MINUTES_A_DAY - (minutes.at(-1) ?? 0) + (minutes[0] ?? 0);
  // Days that follow one another are looked for only where it matters.
  return overMidnight < Math.min(least, LEAST_MINUTES) && hasNeighbouringDays(schedule) ? overMidnight : least;
}

function hasNeighbouringDays(schedule: CronSchedule): boolean {
  let before = Number.NEGATIVE_INFINITY;
  for (const time of firings({ ...schedule, minutes: [0] }, new Date(-1))) {
    if (time.getTime() - before === MINUTES_A_DAY * 60_000) return true;
    before = time.getTime();
  }
  return false;
}
