import { SparkConnectError } from "../errors.js";

/**
 * A decimal number for literals and for rows that are sent. Rows that are read have decimals as strings with their full
 * scale (`"519.500"`), which is the exact value in the form that other systems take.
 *
 * @example
 * orders.filter(col("price").gt(lit(new Decimal("519.500"))));
 */
export class Decimal {
  readonly unscaled: bigint;
  readonly scale: number;

  /** @throws SparkConnectError `INVALID_ARGUMENT` for text that isn't a plain decimal number */
  constructor(text: string) {
    const match = /^([+-]?)(\d*)(?:\.(\d*))?$/.exec(text.trim());
    const digits = `${match?.[2] ?? ""}${match?.[3] ?? ""}`;
    if (match === null || digits === "") throw new SparkConnectError("INVALID_ARGUMENT", `Not a decimal: "${text}"`);
    this.unscaled = match[1] === "-" ? -BigInt(digits) : BigInt(digits);
    this.scale = (match[3] ?? "").length;
  }

  /** Number of significant digits, at least the scale. */
  get precision(): number {
    const digits = String(this.unscaled < 0n ? -this.unscaled : this.unscaled).length;
    return Math.max(digits, this.scale, 1);
  }

  toString(): string {
    return formatDecimal(this.unscaled, this.scale);
  }

  toJSON(): string {
    return this.toString();
  }
}

/** An unscaled integer as a decimal with exactly `scale` digits after the point. */
export function formatDecimal(unscaled: bigint, scale: number): string {
  if (scale <= 0) return String(unscaled * 10n ** BigInt(-scale));
  const sign = unscaled < 0n ? "-" : "";
  const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(scale + 1, "0");
  return `${sign}${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
}

/**
 * The unscaled integer of a decimal at another scale.
 *
 * @throws SparkConnectError `INVALID_ARGUMENT` when digits would be lost or the precision is exceeded
 */
export function rescale(value: Decimal, precision: number, scale: number): bigint {
  let unscaled = value.unscaled;
  if (scale >= value.scale) unscaled *= 10n ** BigInt(scale - value.scale);
  else {
    const factor = 10n ** BigInt(value.scale - scale);
    if (unscaled % factor !== 0n) throw misfit(value, precision, scale);
    unscaled /= factor;
  }
  const limit = 10n ** BigInt(precision);
  if (unscaled >= limit || unscaled <= -limit) throw misfit(value, precision, scale);
  return unscaled;
}

function misfit(value: Decimal, precision: number, scale: number): SparkConnectError {
  return new SparkConnectError("INVALID_ARGUMENT", `${value} does not fit decimal(${precision},${scale})`);
}
