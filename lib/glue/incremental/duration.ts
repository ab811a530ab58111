const UNITS: Readonly<Record<string, bigint>> = {
  s: 1_000_000n,
  m: 60_000_000n,
  h: 3_600_000_000n,
  d: 86_400_000_000n,
};

/** Microseconds of `90s`, `15m`, `2h`, `1d` or `0`; `undefined` for anything else. */
export function parseDuration(text: string): bigint | undefined {
  const match = /^(\d+)\s*([smhd]?)$/.exec(text.trim());
  if (match === null) return undefined;
  const [, digits = "", unit = ""] = match;
  if (unit === "") return BigInt(digits) === 0n ? 0n : undefined;
  return BigInt(digits) * (UNITS[unit] ?? 0n);
}
