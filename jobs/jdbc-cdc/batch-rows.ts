import {
  deliveredRows,
  hasFew,
  noIdentities,
  readAttempt,
  readDelivered,
  shapeThen,
  undeliveredCurrent,
} from "../../lib/glue/incremental/index.js";
import type { SparkColumn } from "../../lib/postgres/spark-columns.js";
import * as f from "../../lib/spark/functions/index.js";
import { type DataFrame, quoteName, type SparkSession, simpleString, Timestamp } from "../../lib/spark/index.js";
import type { SqlClock } from "./clock.js";
import { BATCH_AT, type ClockedShape, clockValue, columnOf, DELETED, publishedSchema } from "./columns.js";
import type { Details } from "./state.js";

/** BOOLEAN column that is read beside the table's: the row may have been delivered. */
export const KNOWN = "glue_connect_known";

/** Rows as they are written: the table's columns, and those that the job adds. */
export interface WrittenForm {
  readonly shape: ClockedShape;
  /** Time of the batch, microseconds. */
  readonly batchAt: bigint;
}

/** Adds the columns of the job. */
export function asWritten(rows: DataFrame, { shape, batchAt }: WrittenForm): DataFrame {
  return rows.select(
    ...shape.schema.fields.map(({ name }) => quoteName(name)),
    f.lit(new Timestamp(batchAt)).as(BATCH_AT),
    f.lit(false).as(DELETED),
  );
}

/** What a batch has delivered: the dataset's folder, the table's shape then, and the time from which on a copied file's rows count. */
export interface Delivered {
  readonly folder: string;
  readonly details: Details;
  readonly knownFrom: bigint;
}

/** The delivered rows, as the next batch looks them up. */
export function knownRows(
  spark: SparkSession,
  { folder, details, knownFrom }: Delivered,
  { shape }: WrittenForm,
): DataFrame {
  return readDelivered(spark, folder, (copies) => {
    const columns = details.columns.map(({ name, type }) => [name, type] as const);
    const then = shapeThen(columns, shape);
    if (then === undefined) return noIdentities(spark);
    // One task for these few: what is grouped by key there isn't sent around.
    const rows = readAttempt(spark, copies, publishedSchema(details))
      .where(f.not(f.col(DELETED)))
      .coalesce(1);
    // Older rows of a batch aren't read again: without a key they would stand for new ones that equal them.
    return deliveredRows(rows, then, knownFrom, undefined);
  });
}

/**
 * Those of a window's rows that were not delivered yet, or have changed since.
 *
 * @param delivered what was, and the time from which on it is replaced.
 * @param small the window's rows are few enough for one task.
 */
export function undeliveredRows(
  spark: SparkSession,
  rows: DataFrame,
  form: WrittenForm,
  delivered: Delivered & { readonly replacedFrom: bigint | undefined },
  small: boolean,
): DataFrame {
  const { folder, replacedFrom } = delivered;
  const all = knownRows(spark, delivered, form);
  const staying = replacedFrom === undefined ? all : all.where(f.col("time").lt(f.lit(replacedFrom)));
  const alone = small && hasFew(folder);
  return asWritten(undeliveredCurrent(alone ? rows.coalesce(1) : rows, form.shape, staying, KNOWN, alone), form);
}

/** The marks of keys that are gone, out of files that a backfill makes anew: who is gone stays gone. */
export function keptMarks(
  spark: SparkSession,
  files: readonly string[],
  before: Details,
  { shape }: WrittenForm,
): DataFrame {
  return readAttempt(spark, files, publishedSchema(before))
    .where(f.col(DELETED))
    .select(
      ...shape.schema.fields.map(({ name, dataType }) => columnOf(before, name, dataType)),
      f.col(BATCH_AT),
      f.col(DELETED),
    );
}

/** Who has which keys. */
export interface KeySets {
  /** Folder of those that were there, and the table's shape then. */
  readonly before: { readonly folder: string; readonly details: Details };
  readonly now: DataFrame;
}

/** A row for each key that was there and is gone: nothing but the key, and when it was missed. */
export function deletedRows(
  spark: SparkSession,
  { before, now }: KeySets,
  columns: readonly SparkColumn[],
  clock: SqlClock,
  { shape, batchAt }: WrittenForm,
): DataFrame {
  const gone = readAttempt(spark, before.folder, keySchema(before.details))
    .as("before")
    .join(
      now.as("now"),
      shape.key
        .map((name) => f.col(`before.${quoteName(name)}`).eqTo(f.col(`now.${quoteName(name)}`)))
        .reduce((all, one) => all.and(one)),
      "left_anti",
    );
  const missed = clockValue(columns, clock, batchAt);
  return gone.select(
    ...columns.map(({ name, type }) => {
      const value = shape.key.includes(name) ? f.col(quoteName(name)) : name === clock.name ? missed : f.lit(null);
      return value.cast(simpleString(type)).as(name);
    }),
    f.lit(new Timestamp(batchAt)).as(BATCH_AT),
    f.lit(true).as(DELETED),
  );
}

/** Schema of a dataset of keys. */
export function keySchema({ columns, key }: Details): string {
  return columns
    .filter(({ name }) => key.includes(name))
    .map(({ name, type }) => `${quoteName(name)} ${type}`)
    .join(", ");
}
