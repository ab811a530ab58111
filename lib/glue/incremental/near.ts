import * as f from "../../spark/functions/index.js";
import type { DataFrame, StructType } from "../../spark/index.js";
import type { Clock } from "./column.js";
import { rowHash, rowsWithin } from "./rows.js";

/** More rows near a watermark than these are the executors' to compare. */
const FEW = 1_000;

/** A row that was delivered: microseconds since 1970, and the {@link rowHash}. */
export interface DeliveredRow {
  readonly time: bigint;
  readonly hash: string;
}

/** Asks whether all rows that a table has near its watermark are delivered. */
export interface NearQuestion {
  readonly source: DataFrame;
  readonly schema: StructType;
  readonly clock: Clock;
  /** Both ends count in; microseconds. */
  readonly from: bigint;
  readonly to: bigint;
  /** What was delivered from `from` to `to`; equal rows as often as they were. */
  readonly delivered: readonly DeliveredRow[];
}

/**
 * The question whether a table's rows near its watermark are all delivered. It reaches to the latest delivered row, which may be later than the
 * watermark: so every row after it is news.
 *
 * @param from where the next batch begins, microseconds.
 * @param watermark microseconds.
 * @param delivered rows from `from` on.
 * @returns `undefined` when they are too many to be compared here.
 */
export function nearQuestion(
  table: Pick<NearQuestion, "source" | "schema" | "clock">,
  from: bigint,
  watermark: bigint,
  delivered: readonly DeliveredRow[],
): NearQuestion | undefined {
  const known = delivered.filter(({ time }) => time >= from);
  if (known.length > FEW) return undefined;
  return { ...table, from, to: latestDelivered(watermark, known), delivered: known };
}

/** The time of the latest delivered row, microseconds, which may be later than the watermark. */
export function latestDelivered(watermark: bigint, delivered: readonly Pick<DeliveredRow, "time">[]): bigint {
  return delivered.reduce((latest, { time }) => (time > latest ? time : latest), watermark);
}

/**
 * Compares few rows here, with one small Spark operation for all tables: holding all rows since the watermark against the delivered ones would be
 * a join for each.
 *
 * @returns for each question how many rows the table has there, when all of them are delivered; `undefined` when some aren't, or they are too
 *   many.
 */
export async function deliveredNear(questions: readonly NearQuestion[]): Promise<readonly (number | undefined)[]> {
  const [first, ...rest] = questions.map(({ source, schema, clock, from, to }, number) =>
    rowsWithin(source, clock, { from, to, withoutTime: false })
      .select(f.lit(number).as("number"), rowHash(schema).as("hash"))
      .limit(FEW + 1),
  );
  if (first === undefined) return [];
  const found: string[][] = questions.map(() => []);
  for (const row of await rest.reduce((all, one) => all.union(one), first).collect()) {
    found[row.getNumber("number") ?? -1]?.push(row.getString("hash") ?? "");
  }
  return questions.map(({ delivered }, number) => {
    const hashes = found[number] ?? [];
    return hashes.length <= FEW && isWithin(hashes, delivered) ? hashes.length : undefined;
  });
}

/** Whether each row was delivered, equal ones as often as they are there. */
function isWithin(hashes: readonly string[], delivered: readonly DeliveredRow[]): boolean {
  const left = new Map<string, number>();
  for (const { hash } of delivered) left.set(hash, (left.get(hash) ?? 0) + 1);
  return hashes.every((hash) => {
    const copies = left.get(hash) ?? 0;
    left.set(hash, copies - 1);
    return copies > 0;
  });
}
