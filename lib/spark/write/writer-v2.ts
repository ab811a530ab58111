import type { ActionOptions } from "../client/client.js";
import { type Column, type ColumnOrName, columnExpression } from "../column.js";
import type { DataFrameBase } from "../dataframe/base.js";
import { WriteOperationV2_Mode as Mode } from "../generated/spark/connect/commands_pb.js";
import type { Expression } from "../generated/spark/connect/expressions_pb.js";
import type { OptionValue } from "../read/reader.js";

interface WriterV2Parts {
  readonly provider?: string;
  readonly options: Readonly<Record<string, string>>;
  readonly properties: Readonly<Record<string, string>>;
  readonly partitionedBy: readonly Expression[];
}

/**
 * Writes to a table of a catalog; `df.writeTo("lake.sales.orders")`. Columns are matched by name.
 *
 * @example
 * await df.writeTo("lake.sales.orders").using("iceberg").partitionedBy(days("ts")).createOrReplace();
 */
export class DataFrameWriterV2 {
  readonly #df: DataFrameBase;
  readonly #table: string;
  readonly #parts: WriterV2Parts;

  constructor(
    df: DataFrameBase,
    table: string,
    parts: WriterV2Parts = { options: {}, properties: {}, partitionedBy: [] },
  ) {
    this.#df = df;
    this.#table = table;
    this.#parts = parts;
  }

  using(provider: string): DataFrameWriterV2 {
    return this.#with({ provider });
  }

  option(key: string, value: OptionValue): DataFrameWriterV2 {
    return this.options({ [key]: value });
  }

  options(options: Readonly<Record<string, OptionValue>>): DataFrameWriterV2 {
    const added = Object.fromEntries(Object.entries(options).map(([key, value]) => [key, String(value)]));
    return this.#with({ options: { ...this.#parts.options, ...added } });
  }

  tableProperty(key: string, value: string): DataFrameWriterV2 {
    return this.#with({ properties: { ...this.#parts.properties, [key]: value } });
  }

  /** Columns, or `years`, `months`, `days`, `hours` and `bucket` of one. */
  partitionedBy(...columns: readonly ColumnOrName[]): DataFrameWriterV2 {
    return this.#with({ partitionedBy: columns.map(columnExpression) });
  }

  /** @throws AnalysisException `TABLE_OR_VIEW_ALREADY_EXISTS` */
  create(options: ActionOptions = {}): Promise<void> {
    return this.#run(Mode.CREATE, options);
  }

  /** @throws AnalysisException `TABLE_OR_VIEW_NOT_FOUND` */
  replace(options: ActionOptions = {}): Promise<void> {
    return this.#run(Mode.REPLACE, options);
  }

  createOrReplace(options: ActionOptions = {}): Promise<void> {
    return this.#run(Mode.CREATE_OR_REPLACE, options);
  }

  append(options: ActionOptions = {}): Promise<void> {
    return this.#run(Mode.APPEND, options);
  }

  /** Deletes the rows that match the condition and appends, in one commit. */
  overwrite(condition: Column, options: ActionOptions = {}): Promise<void> {
    return this.#run(Mode.OVERWRITE, options, condition);
  }

  /** Replaces those partitions that have new rows. */
  overwritePartitions(options: ActionOptions = {}): Promise<void> {
    return this.#run(Mode.OVERWRITE_PARTITIONS, options);
  }

  #with(change: Partial<WriterV2Parts>): DataFrameWriterV2 {
    return new DataFrameWriterV2(this.#df, this.#table, { ...this.#parts, ...change });
  }

  async #run(mode: Mode, options: ActionOptions, condition?: Column): Promise<void> {
    const { provider, properties, partitionedBy } = this.#parts;
    const value = {
      input: this.#df.relation,
      tableName: this.#table,
      ...(provider === undefined ? {} : { provider }),
      options: { ...this.#parts.options },
      tableProperties: { ...properties },
      partitioningColumns: [...partitionedBy],
      mode,
      ...(condition === undefined ? {} : { overwriteCondition: condition.expression }),
    };
    await this.#df.session.executor.command({ case: "writeOperationV2", value }, options);
  }
}
