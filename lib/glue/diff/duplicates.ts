import { UserError } from "../../errors.js";
import * as f from "../../spark/functions/index.js";
import { type Column, type DataFrame, quoteName, type Row } from "../../spark/index.js";
import { comparable } from "./values.js";

/** A key that several rows have. */
export interface DuplicateKey {
  /** Names and values of the key's columns, as text. */
  readonly key: Readonly<Record<string, string | null>>;
  readonly rows: number;
}

/** The keys that are not unique in a DataFrame. */
export interface DuplicateKeys {
  /** How many keys have more than one row. */
  readonly keys: number;
  /** How many rows there are too many. */
  readonly surplus: number;
  /** The first few, those with the most rows first. */
  readonly examples: readonly DuplicateKey[];
}

/**
 * Looks for keys that more than one row has. A pass over hashes comes first; only when two are equal the keys themselves are counted.
 * NULL counts as a value, as it does in `diff`.
 *
 * @param keys names of the key's columns.
 */
export async function duplicateKeys(
  rows: DataFrame,
  keys: readonly string[],
  { examples = 5 }: { readonly examples?: number } = {},
): Promise<DuplicateKeys> {
  const { fields } = await rows.schema();
  const columns = keys.map((name) => {
    const field = fields.find((candidate) => candidate.name.toLowerCase() === name.toLowerCase());
    const column = f.col(quoteName(name));
    return field === undefined ? column : comparable(column, field.dataType);
  });
  const suspicious = await rows
    .select(f.xxhash64(...columns).as("hash"))
    .groupBy("hash")
    .count()
    .where(f.col("count").gt(1))
    .isEmpty();
  if (suspicious) return { keys: 0, surplus: 0, examples: [] };
  const counted = rows
    .select(...columns.map((column, index) => column.as(`k${index}`)))
    .groupBy(...columns.map((_, index) => `k${index}`))
    .agg(f.count(f.lit(1)).as("copies"))
    .where(f.col("copies").gt(1));
  const [[total], found] = await Promise.all([
    counted.agg(f.count(f.lit(1)).as("keys"), f.sum(f.col("copies").minus(1)).as("surplus")).collect(),
    counted
      .orderBy(f.col("copies").desc(), ...columns.map((_, index) => f.col(`k${index}`).asc()))
      .limit(examples)
      .select(f.col("copies"), ...columns.map((_, index) => asText(f.col(`k${index}`)).as(`k${index}`)))
      .collect(),
  ]);
  return {
    keys: Number(total?.get("keys") ?? 0),
    surplus: Number(total?.get("surplus") ?? 0),
    examples: found.map((row) => describe(row, keys)),
  };
}

/** @throws UserError `DUPLICATE_KEYS` when a key isn't unique. */
export async function requireUniqueKeys(rows: DataFrame, keys: readonly string[], what: string): Promise<void> {
  const found = await duplicateKeys(rows, keys);
  if (found.keys > 0) throw duplicateKeysError(found, keys, what);
}

/** The error that says which keys have how many rows. */
export function duplicateKeysError(found: DuplicateKeys, keys: readonly string[], what: string): UserError {
  const count = found.keys === 1 ? "One key has" : `${found.keys} keys have`;
  return new UserError("DUPLICATE_KEYS", `${count} more than one row in ${what}`, {
    problems: found.examples.map((example) => `${keyText(example.key)}: ${example.rows} rows`),
    hint: `The key is (${keys.join(", ")}): name all columns of the primary key`,
  });
}

/** `a = 1, b = 'x'`. */
export function keyText(key: DuplicateKey["key"]): string {
  return Object.entries(key)
    .map(([name, value]) => `${name} = ${value === null ? "NULL" : value}`)
    .join(", ");
}

/** Text of any value; `to_json` of a struct of one field holds nested and binary values too. */
function asText(column: Column): Column {
  return f.get_json_object(f.to_json(f.struct(column.as("v"))), "$.v");
}

function describe(row: Row, keys: readonly string[]): DuplicateKey {
  return {
    key: Object.fromEntries(keys.map((name, index) => [name, row.get(`k${index}`) as string | null])),
    rows: Number(row.get("copies")),
  };
}
