import { LocalTimestamp } from "../../spark/index.js";

const DOCUMENTED = /^(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9}))?)?\s*(Z|UTC|[+-]00:?00)?$/;

/**
 * Microseconds since 1970 of a timestamp as trackers hold it: `2026-03-01 10:00:00.34268`, UTC; a `T`, a `Z` and a day alone
 * are understood too. `undefined` for anything else, digits below the microsecond included.
 */
export function parseTrackerTime(text: string): bigint | undefined {
  const match = DOCUMENTED.exec(text.trim());
  if (match === null) return undefined;
  const [, year, month, day, hour = "00", minute = "00", second = "00", fraction = ""] = match;
  if (/[1-9]/.test(fraction.slice(6))) return undefined;
  try {
    const digits = fraction.slice(0, 6).padEnd(6, "0");
    return LocalTimestamp.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}.${digits}`).epochMicros;
  } catch {
    return undefined;
  }
}

/** As documented, UTC: `2026-03-01 10:00:00`, with a fraction where there is one: `2026-03-01 10:00:00.34268`. */
export function formatTrackerTime(micros: bigint): string {
  const [whole = "", fraction = ""] = new LocalTimestamp(micros).toISOString().replace("T", " ").split(".");
  const digits = fraction.replace(/0+$/, "");
  return digits === "" ? whole : `${whole}.${digits}`;
}
