import { SparkConnectError } from "../errors.js";
import { literal } from "../plan/literal.js";
import { relation } from "../plan/nodes.js";
import type { DataFrameBase } from "./base.js";
import type { DataFrame } from "./dataframe.js";

type FillValue = boolean | number | bigint | string;

/** What to do about NULLs; `df.na`. */
export class DataFrameNaFunctions {
  readonly #df: DataFrameBase;

  constructor(df: DataFrameBase) {
    this.#df = df;
  }

  /**
   * Leaves out rows with NULL or NaN.
   *
   * @param how `any` of the columns, `all` of them, or the least number of values that a row must have
   * @param columns default: all
   */
  drop(how: "any" | "all" | number = "any", columns: readonly string[] = []): DataFrame {
    const minNonNulls = how === "any" ? undefined : how === "all" ? 1 : how;
    const value = {
      input: this.#df.relation,
      cols: [...columns],
      ...(minNonNulls === undefined ? {} : { minNonNulls }),
    };
    return this.#df.session.dataFrame(relation({ case: "dropNa", value }));
  }

  /**
   * Puts a value where NULL or NaN is, in the columns whose type fits it.
   *
   * @example
   * df.na.fill(0); df.na.fill("", ["name"]); df.na.fill({ age: 0, name: "unknown" });
   */
  fill(value: FillValue | Readonly<Record<string, FillValue>>, columns: readonly string[] = []): DataFrame {
    const entries = typeof value === "object" ? Object.entries(value) : undefined;
    if (entries !== undefined && columns.length > 0) {
      throw new SparkConnectError("INVALID_ARGUMENT", "fill() takes columns or values by column, not both");
    }
    const cols = entries?.map(([name]) => name) ?? [...columns];
    const values = (entries?.map(([, item]) => item) ?? [value as FillValue]).map((item) => fillLiteral(item));
    return this.#df.session.dataFrame(relation({ case: "fillNa", value: { input: this.#df.relation, cols, values } }));
  }

  /** Replaces values, in all columns whose type fits or in the named ones. Numbers are compared as DOUBLE. */
  replace(
    columns: "*" | readonly string[],
    replacements: ReadonlyMap<string | number | boolean | null, string | number | boolean | null>,
  ): DataFrame {
    const value = {
      input: this.#df.relation,
      cols: columns === "*" ? [] : [...columns],
      replacements: [...replacements].map(([from, to]) => ({
        oldValue: replaceLiteral(from),
        newValue: replaceLiteral(to),
      })),
    };
    return this.#df.session.dataFrame(relation({ case: "replace", value }));
  }
}

/** The server takes BIGINT, DOUBLE, STRING and BOOLEAN here. */
function fillLiteral(value: FillValue) {
  return literal(typeof value === "number" && Number.isSafeInteger(value) ? BigInt(value) : value);
}

function replaceLiteral(value: string | number | boolean | null) {
  return typeof value === "number" ? literal(value, { kind: "double" }) : literal(value);
}
