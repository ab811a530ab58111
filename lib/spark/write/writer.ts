import type { ActionOptions } from "../client/client.js";
import type { DataFrameBase } from "../dataframe/base.js";
import { SparkConnectError } from "../errors.js";
import {
  WriteOperation_SaveTable_TableSaveMethod as SaveMethod,
  WriteOperation_SaveMode as SaveMode,
} from "../generated/spark/connect/commands_pb.js";
import type { OptionValue } from "../read/reader.js";
import type { CommandInit } from "../session/executor.js";

export type SaveModeName = "append" | "overwrite" | "error" | "errorifexists" | "ignore" | "default";

const MODES: Readonly<Record<string, SaveMode>> = {
  append: SaveMode.APPEND,
  overwrite: SaveMode.OVERWRITE,
  error: SaveMode.ERROR_IF_EXISTS,
  errorifexists: SaveMode.ERROR_IF_EXISTS,
  default: SaveMode.ERROR_IF_EXISTS,
  ignore: SaveMode.IGNORE,
};

interface WriterParts {
  readonly format?: string;
  readonly mode: SaveMode;
  readonly options: Readonly<Record<string, string>>;
  readonly partitionBy: readonly string[];
  readonly bucketBy?: { readonly numBuckets: number; readonly bucketColumnNames: string[] };
  readonly sortBy: readonly string[];
}

type SaveType = Extract<CommandInit, { case: "writeOperation" }>["value"]["saveType"];

/**
 * Writes to files, tables and databases; `df.write`. Immutable; `save` and the methods named after a format run the plan.
 *
 * @example
 * await df.write.mode("overwrite").partitionBy("day").parquet("s3://bucket/out/");
 */
export class DataFrameWriter {
  readonly #df: DataFrameBase;
  readonly #parts: WriterParts;

  constructor(
    df: DataFrameBase,
    parts: WriterParts = { mode: SaveMode.ERROR_IF_EXISTS, options: {}, partitionBy: [], sortBy: [] },
  ) {
    this.#df = df;
    this.#parts = parts;
  }

  /** What to do when there is something already. Default: `error`. */
  mode(mode: SaveModeName | (string & {})): DataFrameWriter {
    const found = MODES[mode.toLowerCase()];
    if (found === undefined) throw new SparkConnectError("INVALID_ARGUMENT", `Not a mode of saving: "${mode}"`);
    return this.#with({ mode: found });
  }

  format(format: string): DataFrameWriter {
    return this.#with({ format });
  }

  option(key: string, value: OptionValue): DataFrameWriter {
    return this.options({ [key]: value });
  }

  options(options: Readonly<Record<string, OptionValue>>): DataFrameWriter {
    const added = Object.fromEntries(Object.entries(options).map(([key, value]) => [key, String(value)]));
    return this.#with({ options: { ...this.#parts.options, ...added } });
  }

  partitionBy(...names: readonly (string | readonly string[])[]): DataFrameWriter {
    return this.#with({ partitionBy: names.flat() });
  }

  /** Tables only. */
  bucketBy(numBuckets: number, ...names: readonly (string | readonly string[])[]): DataFrameWriter {
    return this.#with({ bucketBy: { numBuckets, bucketColumnNames: names.flat() } });
  }

  /** Order inside each bucket. */
  sortBy(...names: readonly (string | readonly string[])[]): DataFrameWriter {
    return this.#with({ sortBy: names.flat() });
  }

  /** Writes to a path, or to where the options say. */
  save(path?: string, options: ActionOptions = {}): Promise<void> {
    return this.#save(path === undefined ? { case: undefined } : { case: "path", value: path }, options);
  }

  saveAsTable(tableName: string, options: ActionOptions = {}): Promise<void> {
    return this.#save({ case: "table", value: { tableName, saveMethod: SaveMethod.SAVE_AS_TABLE } }, options);
  }

  /** Into a table that exists, by position. */
  insertInto(tableName: string, options: ActionOptions = {}): Promise<void> {
    return this.#save({ case: "table", value: { tableName, saveMethod: SaveMethod.INSERT_INTO } }, options);
  }

  parquet(path: string, options: ActionOptions = {}): Promise<void> {
    return this.format("parquet").save(path, options);
  }

  orc(path: string, options: ActionOptions = {}): Promise<void> {
    return this.format("orc").save(path, options);
  }

  json(path: string, options: ActionOptions = {}): Promise<void> {
    return this.format("json").save(path, options);
  }

  csv(path: string, options: ActionOptions = {}): Promise<void> {
    return this.format("csv").save(path, options);
  }

  /** The one string column, a line for each row. */
  text(path: string, options: ActionOptions = {}): Promise<void> {
    return this.format("text").save(path, options);
  }

  /**
   * To a table of a JDBC database. Spark pastes the table's name into its SQL and does not quote column names: give it
   * names that you made yourself.
   */
  jdbc(
    url: string,
    table: string,
    properties: Readonly<Record<string, OptionValue>> = {},
    options: ActionOptions = {},
  ): Promise<void> {
    return this.format("jdbc")
      .options({ ...properties, url, dbtable: table })
      .save(undefined, options);
  }

  #with(change: Partial<WriterParts>): DataFrameWriter {
    return new DataFrameWriter(this.#df, { ...this.#parts, ...change });
  }

  async #save(saveType: SaveType, options: ActionOptions): Promise<void> {
    const { format, mode, partitionBy, bucketBy, sortBy } = this.#parts;
    const value = {
      input: this.#df.relation,
      ...(format === undefined ? {} : { source: format }),
      ...(bucketBy === undefined ? {} : { bucketBy }),
      mode,
      options: { ...this.#parts.options },
      partitioningColumns: [...partitionBy],
      sortColumnNames: [...sortBy],
      ...(saveType === undefined ? {} : { saveType }),
    };
    await this.#df.session.executor.command({ case: "writeOperation", value }, options);
  }
}
