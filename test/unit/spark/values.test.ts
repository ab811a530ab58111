import { describe, expect, it } from "vitest";
import {
  DayTimeInterval,
  Decimal,
  LocalTimestamp,
  Row,
  SparkConnectError,
  Timestamp,
  types,
  YearMonthInterval,
} from "../../../lib/spark/index.js";
import { formatDecimal, rescale } from "../../../lib/spark/values/decimal.js";
import { formatDate, formatTime, parseDate } from "../../../lib/spark/values/temporal.js";

describe("timestamps", () => {
  it.each([
    ["1970-01-01T00:00:00.000000Z", 0n],
    ["2026-03-01T10:00:00.342680Z", 1772359200342680n],
    ["1969-12-31T23:59:59.999999Z", -1n],
    ["0001-01-01T00:00:00.000000Z", -62135596800000000n],
    ["9999-12-31T23:59:59.999999Z", 253402300799999999n],
    ["+10000-01-01T00:00:00.000000Z", 253402300800000000n],
  ])("keeps %s exactly", (text, micros) => {
    expect(Timestamp.parse(text).epochMicros).toBe(micros);
    expect(new Timestamp(micros).toISOString()).toBe(text);
  });

  it("reads offsets, short forms and a space", () => {
    expect(Timestamp.parse("2026-03-01 12:30+02:30").toISOString()).toBe("2026-03-01T10:00:00.000000Z");
    expect(Timestamp.parse("2026-03-01T05:00:00-0500").toISOString()).toBe("2026-03-01T10:00:00.000000Z");
    expect(Timestamp.parse("2026-03-01").toISOString()).toBe("2026-03-01T00:00:00.000000Z");
    expect(Timestamp.parse("2026-03-01T00:00:00.5Z").epochMicros % 1_000_000n).toBe(500_000n);
  });

  it("cuts to milliseconds for a Date, also before 1970", () => {
    expect(new Timestamp(-1n).toDate().toISOString()).toBe("1969-12-31T23:59:59.999Z");
    expect(Timestamp.fromDate(new Date(1)).epochMicros).toBe(1000n);
  });

  it("has no zone in its local form", () => {
    expect(LocalTimestamp.parse("2026-03-01 10:00:00").toISOString()).toBe("2026-03-01T10:00:00.000000");
    expect(() => LocalTimestamp.parse("2026-03-01T10:00:00Z")).toThrow(SparkConnectError);
  });

  it.each(["2026-02-30", "2026-13-01", "2026-01-01T24:00", "2026-01-01T00:60", "yesterday", "2026-1-1", ""])(
    "refuses %s",
    (text) => {
      expect(() => Timestamp.parse(text)).toThrow(SparkConnectError);
    },
  );

  it("refuses an invalid Date", () => {
    expect(() => Timestamp.fromDate(new Date(Number.NaN))).toThrow(SparkConnectError);
  });
});

describe("dates, times and intervals", () => {
  it("agrees with Date on every day of four centuries and round trips", () => {
    for (let day = -80_000; day <= 80_000; day += 1) {
      const text = formatDate(day);
      if (text !== new Date(day * 86_400_000).toISOString().slice(0, 10)) expect.fail(text);
      if (parseDate(text) !== day) expect.fail(text);
    }
  });

  it("prints as Spark does", () => {
    expect(String(new DayTimeInterval(93_784_500_000n))).toBe("1 02:03:04.500000");
    expect(String(new DayTimeInterval(-1n))).toBe("-0 00:00:00.000001");
    expect(String(new YearMonthInterval(14))).toBe("1-2");
    expect(String(new YearMonthInterval(-14))).toBe("-1-2");
    expect(formatTime(36_000_500_000_000n)).toBe("10:00:00.5");
    expect(formatTime(0n)).toBe("00:00:00");
  });
});

describe("decimals", () => {
  it.each([
    ["519.500", 519500n, 3],
    ["-0.05", -5n, 2],
    ["12345678901234567890123456789012345678", 12345678901234567890123456789012345678n, 0],
    ["0", 0n, 0],
  ])("keeps %s", (text, unscaled, scale) => {
    const decimal = new Decimal(text);
    expect(decimal.unscaled).toBe(unscaled);
    expect(decimal.scale).toBe(scale);
    expect(String(decimal)).toBe(text);
    expect(formatDecimal(unscaled, scale)).toBe(text);
  });

  it("never rounds", () => {
    expect(rescale(new Decimal("1.5"), 10, 3)).toBe(1500n);
    expect(rescale(new Decimal("1.500"), 10, 1)).toBe(15n);
    expect(() => rescale(new Decimal("1.55"), 10, 1)).toThrow("does not fit decimal(10,1)");
    expect(() => rescale(new Decimal("100"), 2, 0)).toThrow("does not fit decimal(2,0)");
    expect(() => rescale(new Decimal("-100"), 2, 0)).toThrow("does not fit decimal(2,0)");
  });

  it.each(["", ".", "1e3", "NaN", "1,5", "--1"])("refuses %j", (text) => {
    expect(() => new Decimal(text)).toThrow(SparkConnectError);
  });
});

describe("Row", () => {
  const schema = types.struct([
    types.field("id", types.bigint),
    types.field("name", types.string),
    types.field("id", types.int),
    types.field("inner", types.struct([types.field("x", types.double)])),
  ]);
  const inner = new Row(types.struct([types.field("x", types.double)]), [Number.NaN]);
  const row = new Row(schema, [1n, null, 2, inner]);

  it("keeps columns of one name apart", () => {
    expect(row.toArray()).toEqual([1n, null, 2, inner]);
    expect(row.get("id")).toBe(1n);
    expect(row.get(2)).toBe(2);
    expect([...row]).toHaveLength(4);
    expect(row.length).toBe(4);
  });

  it("prefers the exact name, and else ignores case as Spark does", () => {
    const cased = new Row(types.struct([types.field("A", types.int), types.field("a", types.int)]), [1, 2]);
    expect(cased.get("a")).toBe(2);
    expect(row.get("NAME")).toBeNull();
  });

  it("checks types and names", () => {
    expect(row.getBigInt("id")).toBe(1n);
    expect(row.getBigInt(2)).toBe(2n);
    expect(row.getString("name")).toBeNull();
    expect(row.isNullAt("name")).toBe(true);
    expect(row.getStruct("inner")?.getNumber("x")).toBeNaN();
    expect(() => row.getString("id")).toThrow('Column "id" is not a string');
    expect(() => row.getNumber("id")).toThrow(SparkConnectError);
    expect(() => row.get("missing")).toThrow('No column "missing" among: id, name, id, inner');
    expect(() => row.get(9)).toThrow(SparkConnectError);
  });

  it("turns into objects and JSON", () => {
    expect(row.toObject()).toEqual({ id: 2, name: null, inner: { x: Number.NaN } });
    const values = [1n, new Uint8Array([1, 2]), new Map([["k", 1n]]), new Timestamp(0n)];
    const fields = ["a", "b", "c", "d"].map((name) => types.field(name, types.void));
    expect(JSON.parse(JSON.stringify(new Row(types.struct(fields), values)))).toEqual({
      a: "1",
      b: "AQI=",
      c: [["k", "1"]],
      d: "1970-01-01T00:00:00.000000Z",
    });
  });
});
