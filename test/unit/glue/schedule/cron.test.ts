import { Cron } from "croner";
import { describe, expect, test } from "vitest";
import { UserError } from "../../../../lib/errors.js";
import { cronProblems, firings, latestFiring, nextFirings, parseCron } from "../../../../lib/glue/schedule/cron.js";

const DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

function next(expression: string, after: string, count = 3): string[] {
  return nextFirings(expression, new Date(after), count).map((time) => time.toISOString().slice(0, 16));
}

describe("the examples of Glue's documentation", () => {
  test.each([
    ["cron(0 10 * * ? *)", ["2024-02-28T10:00", "2024-02-29T10:00", "2024-03-01T10:00"]],
    ["cron(15 12 * * ? *)", ["2024-02-28T12:15", "2024-02-29T12:15", "2024-03-01T12:15"]],
    ["cron(0 18 ? * MON-FRI *)", ["2024-02-28T18:00", "2024-02-29T18:00", "2024-03-01T18:00"]],
    ["cron(0 8 1 * ? *)", ["2024-03-01T08:00", "2024-04-01T08:00", "2024-05-01T08:00"]],
    ["cron(0/15 * * * ? *)", ["2024-02-28T00:15", "2024-02-28T00:30", "2024-02-28T00:45"]],
    ["cron(0/10 * ? * MON-FRI *)", ["2024-02-28T00:10", "2024-02-28T00:20", "2024-02-28T00:30"]],
    ["cron(0/5 8-17 ? * MON-FRI *)", ["2024-02-28T08:00", "2024-02-28T08:05", "2024-02-28T08:10"]],
    ["cron(1/10 * * * ? *)", ["2024-02-28T00:01", "2024-02-28T00:11", "2024-02-28T00:21"]],
    ["cron(0 0 1 JAN,FEB,MAR ? *)", ["2024-03-01T00:00", "2025-01-01T00:00", "2025-02-01T00:00"]],
  ])("%s", (expression, expected) => {
    expect(next(expression, "2024-02-28T00:00Z")).toEqual(expected);
  });
});

describe("days", () => {
  test("1 is Sunday, 7 is Saturday", () => {
    // 2024-03-03 is a Sunday.
    expect(next("cron(0 0 ? * 1 *)", "2024-03-01T00:00Z", 2)).toEqual(["2024-03-03T00:00", "2024-03-10T00:00"]);
    expect(next("cron(0 0 ? * 7 *)", "2024-03-01T00:00Z", 2)).toEqual(["2024-03-02T00:00", "2024-03-09T00:00"]);
    for (const [index, name] of DAYS.entries()) {
      const after = "2024-03-01T00:00Z";
      expect(next(`cron(0 0 ? * ${name} *)`, after, 9)).toEqual(next(`cron(0 0 ? * ${index + 1} *)`, after, 9));
    }
  });

  test("L is the last day of the month, also of February", () => {
    expect(next("cron(0 0 L * ? *)", "2023-12-31T00:00Z", 4)).toEqual([
      "2024-01-31T00:00",
      "2024-02-29T00:00",
      "2024-03-31T00:00",
      "2024-04-30T00:00",
    ]);
    expect(next("cron(0 0 L 2 ? *)", "2096-03-01T00:00Z", 5).map((time) => time.slice(0, 10))).toEqual([
      "2097-02-28",
      "2098-02-28",
      "2099-02-28",
      // No leap year: a hundred that isn't divisible by 400.
      "2100-02-28",
      "2101-02-28",
    ]);
  });

  test("L is the last day of the week, 6L the last Friday of the month", () => {
    expect(next("cron(0 0 ? * L *)", "2024-03-01T00:00Z", 2)).toEqual(["2024-03-02T00:00", "2024-03-09T00:00"]);
    const fridays = ["2024-03-29T00:00", "2024-04-26T00:00", "2024-05-31T00:00"];
    expect(next("cron(0 0 ? * 6L *)", "2024-03-01T00:00Z")).toEqual(fridays);
    expect(next("cron(0 0 ? * FRIL *)", "2024-03-01T00:00Z")).toEqual(fridays);
  });

  test("W is the nearest weekday, and stays in the month", () => {
    const on = (expression: string, month: string) => next(expression, `${month}-01T00:00Z`, 1)[0]?.slice(0, 10);
    // Saturday the 3rd, Sunday the 3rd, and a Tuesday.
    expect(on("cron(0 1 3W * ? *)", "2024-02")).toBe("2024-02-02");
    expect(on("cron(0 1 3W * ? *)", "2024-03")).toBe("2024-03-04");
    expect(on("cron(0 1 3W * ? *)", "2024-09")).toBe("2024-09-03");
    // Saturday the 1st goes on to Monday, Sunday the 31st back to Friday.
    expect(on("cron(0 1 1W * ? *)", "2024-06")).toBe("2024-06-03");
    expect(on("cron(0 1 31W * ? *)", "2024-03")).toBe("2024-03-29");
    // June has no 31st, so July comes next.
    expect(on("cron(0 1 31W * ? *)", "2024-06")).toBe("2024-07-31");
  });

  test("the 29th of February comes in leap years, the 31st in seven months", () => {
    expect(next("cron(0 0 29 2 ? *)", "2096-01-01T00:00Z", 2)).toEqual(["2096-02-29T00:00", "2104-02-29T00:00"]);
    expect(nextFirings("cron(0 0 31 * ? 2025)", new Date("2025-01-01"), 20)).toHaveLength(7);
  });
});

describe("years", () => {
  test("from 1970 to 2199, and no further", () => {
    expect(next("cron(0 0 1 1 ? *)", "1969-06-01T00:00Z", 1)).toEqual(["1970-01-01T00:00"]);
    expect(next("cron(0 0 1 1 ? *)", "2198-06-01T00:00Z")).toEqual(["2199-01-01T00:00"]);
    expect([...firings("cron(0 0 1 1 ? *)", new Date(-1))]).toHaveLength(230);
    expect(next("cron(0 0 1 1 ? 2020-2022)", "2021-01-01T00:00Z")).toEqual(["2022-01-01T00:00"]);
    expect(next("cron(0 0 1 1 ? 2020/3)", "2021-01-01T00:00Z", 2)).toEqual(["2023-01-01T00:00", "2026-01-01T00:00"]);
  });

  test("a time at which it fires isn't after itself", () => {
    expect(next("cron(0 10 * * ? *)", "2024-01-01T10:00Z", 1)).toEqual(["2024-01-02T10:00"]);
    expect(next("cron(0 10 * * ? *)", "2024-01-01T09:59:59.999Z", 1)).toEqual(["2024-01-01T10:00"]);
    expect(nextFirings("cron(0 10 * * ? *)", new Date(), 0)).toEqual([]);
  });

  test("the latest firing up to a time", () => {
    const latest = (expression: string, upTo: string) => latestFiring(expression, new Date(upTo))?.toISOString();
    expect(latest("cron(0 10 * * ? *)", "2024-01-01T10:00Z")).toBe("2024-01-01T10:00:00.000Z");
    expect(latest("cron(0 10 * * ? *)", "2024-01-01T09:59:59Z")).toBe("2023-12-31T10:00:00.000Z");
    expect(latest("cron(0 0 29 2 ? *)", "2023-12-31T00:00Z")).toBe("2020-02-29T00:00:00.000Z");
    expect(latest("cron(0 10 * * ? 2030)", "2024-01-01T00:00Z")).toBeUndefined();
  });
});

test.each([
  ["daily", "is not of the form cron(...)"],
  // Other schedulers' forms, with what says the same in Glue's.
  ["0 10 * * ? *", "Glue's cron has six fields, within cron(...); write cron(0 10 * * ? *)"],
  ["0 2 * * *", "Glue's cron has six fields, within cron(...); write cron(0 2 * * ? *)"],
  ["*/15 8-18 * * 1-5", "Glue's cron has six fields, within cron(...); write cron(*/15 8-18 ? * MON-FRI *)"],
  ["30 4 1,15 * *", "Glue's cron has six fields, within cron(...); write cron(30 4 1,15 * ? *)"],
  ["0 4 * 1 0,sat", "Glue's cron has six fields, within cron(...); write cron(0 4 ? 1 SUN,sat *)"],
  ["@daily", "Glue's cron has six fields, within cron(...); write cron(0 0 * * ? *)"],
  // Unix fires on either day; and Glue not each minute.
  ["0 4 13 * 5", "Glue's cron has six fields, within cron(...)"],
  ["* * * * *", "Glue's cron has six fields, within cron(...)"],
  ["rate(5 minutes)", "rate(...) is EventBridge's, Glue doesn't know it; write cron(0/5 * * * ? *)"],
  ["rate(1 hour)", "rate(...) is EventBridge's, Glue doesn't know it; write cron(0 * * * ? *)"],
  ["rate(12 hours)", "rate(...) is EventBridge's, Glue doesn't know it; write cron(0 0/12 * * ? *)"],
  ["rate(1 day)", "rate(...) is EventBridge's, Glue doesn't know it; write cron(0 0 * * ? *)"],
  ["rate(7 minutes)", "rate(...) is EventBridge's, Glue doesn't know it"],
  ["cron()", "has 0 fields where six are needed: minutes, hours, day of month, month, day of week, year"],
  [
    "cron(0 10 * * ?)",
    "has 5 fields where six are needed: minutes, hours, day of month, month, day of week, year; write cron(0 10 * * ? *)",
  ],
  ["cron(0 0 10 * * ? *)", "has 7 fields where six are needed: minutes, hours, day of month, month, day of week, year"],
  ["cron(0 10 * * * *)", "day of month and day of week are both given: one of them must be ?"],
  ["cron(0 10 1 * 2 *)", "day of month and day of week are both given: one of them must be ?"],
  ["cron(0 10 ? * ? *)", "day of month and day of week are both ?: one of them says the days"],
  ["cron(60 10 * * ? *)", "minutes 60 is not in 0 to 59"],
  ["cron(0 24 * * ? *)", "hours 24 is not in 0 to 23"],
  ["cron(0 0 0 * ? *)", "day of month 0 is not in 1 to 31"],
  ["cron(0 0 32W * ? *)", "day of month 32 is not in 1 to 31"],
  ["cron(0 0 1 13 ? *)", "month 13 is not in 1 to 12 or JAN to DEC"],
  ["cron(0 0 1 JANUARY ? *)", 'month "JANUARY" is none of 1 to 12 or JAN to DEC'],
  ["cron(0 0 1 JNA ? *)", 'month "JNA" is none of 1 to 12 or JAN to DEC; did you mean JAN?'],
  ["cron(0 0 ? * 0 *)", "day of week 0 is not in 1 to 7 or SUN to SAT"],
  ["cron(0 0 ? * 8 *)", "day of week 8 is not in 1 to 7 or SUN to SAT"],
  ["cron(0 0 ? * 8L *)", "day of week 8 is not in 1 to 7 or SUN to SAT"],
  ["cron(0 0 1 1 ? 1969)", "year 1969 is not in 1970 to 2199"],
  ["cron(0 0 1 1 ? 2200)", "year 2200 is not in 1970 to 2199"],
  ["cron(0 0 ? * 2#1 *)", "day of week \"2#1\": # is EventBridge's, Glue doesn't know it"],
  ["cron(? 0 1 * ? *)", "minutes can't be ?: only day of month and day of week can"],
  ["cron(0 0 1,? * ? *)", 'day of month "1,?": ? stands alone'],
  ["cron(0 0 ? ? 1 *)", "month can't be ?: only day of month and day of week can"],
  ["cron(L 0 1 * ? *)", 'minutes "L" is none of 0 to 59'],
  ["cron(0 0 LW * ? *)", 'day of month "LW": L and a day with W (3W) stand alone, in no list, range or step'],
  ["cron(0 0 1,L * ? *)", 'day of month "1,L": L and a day with W (3W) stand alone, in no list, range or step'],
  ["cron(0 0 1W,15W * ? *)", 'day of month "1W,15W": L and a day with W (3W) stand alone, in no list, range or step'],
  ["cron(0 0 ? * 2,6L *)", 'day of week "2,6L": L and a day with L (6L) stand alone, in no list, range or step'],
  ["cron(0 0 ? * 3W *)", 'day of week "3W" is none of 1 to 7 or SUN to SAT'],
  ["cron(0 0 ? * FRI-MON *)", "day of week FRI-MON ends before it begins; write two ranges, separated by a comma"],
  ["cron(0 0 1-2-3 * ? *)", 'day of month "1-2-3" is no range'],
  ["cron(0 0 1- * ? *)", "day of month: a value is missing"],
  ["cron(0,,30 0 1 * ? *)", 'minutes "0,,30": a value is missing'],
  ["cron(0/0 0 1 * ? *)", 'minutes: step "0" is no whole number from 1 to 59'],
  ["cron(0/x 0 1 * ? *)", 'minutes: step "x" is no whole number from 1 to 59'],
  ["cron(0/5/5 0 1 * ? *)", 'minutes "0/5/5": 0/5/5 can\'t be read'],
  ["cron(-5 0 1 * ? *)", "minutes: a value is missing"],
  ["cron(1.5 0 1 * ? *)", 'minutes "1.5" is none of 0 to 59'],
  ["cron(0 0 30 FEB ? *)", "never fires: no month of its years has such a day"],
  ["cron(0 0 29 2 ? 2100)", "never fires: no month of its years has such a day"],
  ["cron(0 0 31 4,6,9,11 ? *)", "never fires: no month of its years has such a day"],
  ["cron(* * * * ? *)", "fires 1 minute apart; Glue allows every 5 minutes at most"],
  ["cron(0/4 * * * ? *)", "fires 4 minutes apart; Glue allows every 5 minutes at most"],
  ["cron(10,13 3 * * ? *)", "fires 3 minutes apart; Glue allows every 5 minutes at most"],
  // Over the hour, over midnight, over the month's and the year's end.
  ["cron(2,58 * * * ? *)", "fires 4 minutes apart; Glue allows every 5 minutes at most"],
  ["cron(2,58 0,23 * * ? *)", "fires 4 minutes apart; Glue allows every 5 minutes at most"],
  ["cron(0,57 0,23 1,31 1,12 ? *)", "fires 3 minutes apart; Glue allows every 5 minutes at most"],
])("%s is refused: %s", (expression, problem) => {
  expect(cronProblems(expression)).toEqual([problem]);
  expect(() => parseCron(expression)).toThrow(UserError);
});

test.each([
  "cron(0/5 * * * ? *)",
  "cron(2,58 1,23 * * ? *)",
  // Monday's end is never followed by another Monday, nor the 31st by a day that counts.
  "cron(0,57 0,23 ? * MON *)",
  "cron(0,57 0,23 31 1 ? *)",
  "cron(59 23 1 1 ? *)",
  " cron(0 0  L  feb ? 1970-2199/2) ",
  "cron(0 0 ? * tue-Thu *)",
])("%s is accepted", (expression) => {
  expect(cronProblems(expression)).toEqual([]);
});

test("everything that is wrong with an expression is said at once", () => {
  expect(cronProblems("cron(61 25 1 13 2 1900)")).toEqual([
    "minutes 61 is not in 0 to 59",
    "hours 25 is not in 0 to 23",
    "month 13 is not in 1 to 12 or JAN to DEC",
    "year 1900 is not in 1970 to 2199",
    "day of month and day of week are both given: one of them must be ?",
  ]);
  expect(() => parseCron("cron(61 25 * * ? *)")).toThrow(
    expect.objectContaining({ code: "CRON_INVALID", exitCode: 66, problems: expect.objectContaining({ length: 2 }) }),
  );
});

/** Numbers as from a die, the same in every run of the tests. */
function dice(seed: number): (sides: number) => number {
  let state = seed;
  return (sides) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * sides);
  };
}

/** An expression with every kind of field; many are refused, for example because they fire too often. */
function generate(roll: (sides: number) => number): string {
  const between = (least: number, most: number) => least + roll(most - least + 1);
  const pick = <T>(items: readonly T[]): T => items[roll(items.length)] as T;
  const single = (least: number, most: number, names?: readonly string[]) => {
    const value = between(least, most);
    return names !== undefined && roll(2) === 0 ? (names[value - least] ?? "") : String(value);
  };
  const part = (least: number, most: number, names?: readonly string[]): string => {
    const from = between(least, most);
    const range = `${from}-${between(from, most)}`;
    const step = between(1, most - least);
    return pick([single(least, most, names), range, `${from}/${step}`, `${range}/${step}`, `*/${step}`]);
  };
  const list = (least: number, most: number, names?: readonly string[]): string =>
    Array.from({ length: between(1, 3) }, () => part(least, most, names)).join(",");
  const months = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
  const minutes = pick([() => String(between(0, 59)), () => `${between(0, 9)}/${between(5, 30)}`, () => list(0, 59)])();
  const hours = pick(["*", list(0, 23), String(between(0, 23))]);
  const month = pick(["*", "*", list(1, 12, months), single(1, 12, months)]);
  const year = pick(["*", "*", "*", list(2000, 2199), `${between(1970, 2100)}/${between(1, 40)}`]);
  const [dayOfMonth, dayOfWeek] = pick([
    () => [pick(["*", list(1, 31), String(between(28, 31))]), "?"],
    () => ["L", "?"],
    () => [`${between(1, 31)}W`, "?"],
    () => ["?", pick(["*", list(1, 7, DAYS), single(1, 7, DAYS)])],
    () => ["?", `${single(1, 7, DAYS)}L`],
    () => ["?", "L"],
  ])();
  return `cron(${[minutes, hours, dayOfMonth, month, dayOfWeek, year].join(" ")})`;
}

/**
 * The same schedule as croner reads it: with seconds, `*` for `?`, Saturday for the week's L. Its years go from 1 to 9999, Glue's
 * from 1970 to 2199, which is where steps through the years begin and end.
 */
function independent(expression: string): Cron {
  const [minutes, hours, dayOfMonth, month, dayOfWeek = "", year] = expression.slice("cron(".length, -1).split(" ");
  const weekday = dayOfWeek === "L" ? "SAT" : dayOfWeek;
  const days = [dayOfMonth, weekday].map((field) => (field === "?" ? "*" : field));
  const years = year?.replaceAll(/(^|,)\*/g, "$11970-2199").replaceAll(/(^|,)(\d+)\//g, "$1$2-2199/");
  const pattern = ["0", minutes, hours, days[0], month, days[1], years].join(" ");
  // With these weekdays are 1 to 7 for SUN to SAT, and 5/10 needn't be written 5-59/10.
  return new Cron(pattern, { timezone: "UTC", alternativeWeekdays: true, sloppyRanges: true, mode: "7-part" });
}

describe("against an independent implementation", () => {
  // 2,000 expressions that are accepted, in pieces that a slow machine does in time; GLUE_CONNECT_CRON_EXPRESSIONS=10000 for more.
  const each = Number(process.env.GLUE_CONNECT_CRON_EXPRESSIONS ?? 2_000) / 10;
  test.each(Array.from({ length: 10 }, (_, seed) => seed))(
    "the next 50 firings agree (seed %i)",
    (seed) => {
      const roll = dice(seed * 7_919 + 1);
      let compared = 0;
      let firingsCompared = 0;
      while (compared < each) {
        const expression = generate(roll);
        if (cronProblems(expression).length > 0) continue;
        const after = new Date(Date.UTC(1970 + roll(220), roll(12), 1 + roll(28), roll(24), roll(60), roll(60)));
        const ours = nextFirings(expression, after, 50).map((time) => time.toISOString());
        const theirs = independent(expression)
          .nextRuns(50, after)
          .map((time) => time.toISOString());
        expect(ours, `${expression} after ${after.toISOString()}`).toEqual(theirs);
        compared += 1;
        firingsCompared += ours.length;
      }
      expect(firingsCompared).toBeGreaterThan(compared * 20);
    },
    60_000,
  );
});
