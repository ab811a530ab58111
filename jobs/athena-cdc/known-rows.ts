import {
  areSmall,
  atOrAfter,
  type Clock,
  copyDelivered,
  deliveredRows,
  filesSince,
  fitted,
  type IcebergCatalog,
  identities,
  keepDelivered,
  noIdentities,
  type RowShape,
  readAttempt,
  readDelivered,
  type StoredFile,
  schemaText,
  shapeThen,
  storedSchema,
  timesOf,
  writeParquet,
  writtenFiles,
} from "../../lib/glue/incremental/index.js";
import type { DataFrame, SparkSession } from "../../lib/spark/index.js";
import type { Batch, ObjectStore } from "../../lib/storage/index.js";
import { micros } from "./decision.js";
import { detailsOf, type State, type Watermark } from "./state.js";

/** Bytes of the files that are kept as copies. */
const MOST_COPIED = 16 * 1024 * 1024;

type TimedShape = RowShape & { readonly clock: Clock };

/** What is kept of a batch's rows. */
export interface Kept {
  readonly folder: string;
  readonly rows: bigint;
}

/** What was delivered before a batch. */
export interface DeliveredBefore {
  readonly rows: DataFrame;
  /** The latest time in it, microseconds; `undefined`: it isn't known. */
  readonly until: bigint | undefined;
}

/** Which rows near the watermark were delivered: as the state knows them, and as a batch leaves them. */
export class KnownRows {
  readonly #spark: SparkSession;
  readonly #storage: ObjectStore;
  readonly #state: State | undefined;
  readonly #shape: TimedShape;

  constructor(spark: SparkSession, storage: ObjectStore, state: State | undefined, shape: TimedShape) {
    this.#spark = spark;
    this.#storage = storage;
    this.#state = state;
    this.#shape = shape;
  }

  /** Those of a dataset of the state. */
  read(folder: string): DataFrame {
    const shape = this.#shape;
    return readDelivered(this.#spark, folder, (copies) => {
      const { schema } = detailsOf(this.#state) ?? { schema: [] };
      const then = shapeThen(schema, shape);
      if (then === undefined) return noIdentities(this.#spark);
      const from = micros(this.#state?.watermark?.knownFrom ?? "");
      const rows = readAttempt(this.#spark, copies, schemaText(schema));
      return identities(rows.where(atOrAfter(then.clock, from)), then);
    });
  }

  /** Those that an Iceberg table holds. */
  async readTable(catalog: IcebergCatalog, name: string, from: bigint): Promise<DataFrame> {
    const table = this.#spark.table(catalog.table(name));
    const rows = fitted(table, storedSchema(await table.schema()), this.#shape.schema);
    return deliveredRows(rows, this.#shape, from, undefined);
  }

  /**
   * Keeps those that a batch leaves: as copies of its files when these are few and hold all that count, else by Spark.
   *
   * @param from the time that the rows are known from.
   * @param before what was delivered before the batch.
   * @param few the source is small.
   */
  async keep(
    batch: Batch<Watermark>,
    {
      from,
      before,
      anyRows,
      few,
    }: {
      readonly from: bigint;
      readonly before: DeliveredBefore | undefined;
      readonly anyRows: boolean;
      readonly few: boolean;
    },
  ): Promise<Kept> {
    const alone = before === undefined || (before.until !== undefined && from > before.until);
    const files = anyRows
      ? await filesSince(this.#storage, await writtenFiles(this.#storage, batch.attempt), this.#shape.clock, from)
      : [];
    const copies = files.length > 0 && alone ? await this.#copy(batch, files, from) : undefined;
    if (copies !== undefined) return copies;
    const near = files.length > 0 ? files.map(({ uri }) => uri) : batch.attempt;
    const attempt = anyRows ? readAttempt(this.#spark, near, this.#shape.schema) : undefined;
    const written = few ? attempt?.coalesce(1) : attempt;
    const rows = { written, shape: this.#shape, from, before: before?.rows };
    return await keepDelivered(rows, this.#storage, batch.deliveredFolder);
  }

  /** Keeps those that a backfill leaves, which has made the rows of a range anew. */
  async keepAround(
    batch: Batch<Watermark>,
    range: { readonly from: bigint; readonly to: bigint },
    inRange: DataFrame | undefined,
  ): Promise<Kept> {
    const { delivered, watermark } = this.#state ?? {};
    const outside =
      delivered?.rows === undefined
        ? undefined
        : this.read(delivered.rows).where(`NOT (time BETWEEN ${range.from} AND ${range.to})`);
    // Beside a range's rows there may be newer ones of the same keys.
    const from = micros(watermark?.knownFrom ?? "");
    const kept = deliveredRows(inRange, this.#shape, from, outside, { newestBy: "time" });
    const folder = batch.deliveredFolder("rows");
    return { folder, ...(await writeParquet(kept, this.#storage, folder)) };
  }

  /** @returns `undefined` where that had better be done by Spark. */
  async #copy(batch: Batch<Watermark>, files: readonly StoredFile[], from: bigint): Promise<Kept | undefined> {
    const small = areSmall(files, MOST_COPIED);
    const times = small ? await timesOf(this.#storage, files, this.#shape.clock) : undefined;
    if (times === undefined) return undefined;
    const near = times.filter((time) => time !== null && time >= from);
    return { folder: await copyDelivered(files, this.#storage, batch.deliveredFolder), rows: BigInt(near.length) };
  }
}
