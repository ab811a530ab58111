import type { DataFrame } from "../dataframe/dataframe.js";
import { SparkConnectError } from "../errors.js";
import { relation } from "../plan/nodes.js";
import type { SparkSession } from "../session/session.js";
import { type StructType, toDDL } from "../types/data-type.js";

export type OptionValue = string | number | bigint | boolean;

interface ReaderParts {
  readonly format: string | undefined;
  readonly schema: string | undefined;
  readonly options: Readonly<Record<string, string>>;
}

/** How `jdbc` splits a table among the executors. */
export interface JdbcPartitioning {
  readonly column: string;
  readonly lowerBound: number | bigint | string;
  readonly upperBound: number | bigint | string;
  readonly numPartitions: number;
}

/**
 * Reads files, tables and databases; `spark.read`. Immutable; nothing is read before an action.
 *
 * @example
 * spark.read.schema("id BIGINT, name STRING").option("header", true).csv("s3://bucket/in/");
 */
export class DataFrameReader {
  readonly #session: SparkSession;
  readonly #parts: ReaderParts;

  constructor(session: SparkSession, parts: ReaderParts = { format: undefined, schema: undefined, options: {} }) {
    this.#session = session;
    this.#parts = parts;
  }

  format(format: string): DataFrameReader {
    return new DataFrameReader(this.#session, { ...this.#parts, format });
  }

  /** Columns as DDL or a schema. Without one, JSON and CSV are read an extra time, at each action, to find the types. */
  schema(schema: string | StructType): DataFrameReader {
    const ddl = typeof schema === "string" ? schema : toDDL(schema);
    return new DataFrameReader(this.#session, { ...this.#parts, schema: ddl });
  }

  option(key: string, value: OptionValue): DataFrameReader {
    return this.options({ [key]: value });
  }

  options(options: Readonly<Record<string, OptionValue>>): DataFrameReader {
    const added = Object.fromEntries(Object.entries(options).map(([key, value]) => [key, String(value)]));
    return new DataFrameReader(this.#session, { ...this.#parts, options: { ...this.#parts.options, ...added } });
  }

  /** Reads paths, or what the options name. */
  load(...paths: readonly (string | readonly string[])[]): DataFrame {
    return this.#load(paths.flat(), []);
  }

  /** A table or view by its name. */
  table(name: string): DataFrame {
    if (this.#parts.schema !== undefined) {
      throw new SparkConnectError("INVALID_ARGUMENT", "A table has its own schema: leave out schema()");
    }
    const value = { unparsedIdentifier: name, options: { ...this.#parts.options } };
    const plan = relation({ case: "read", value: { readType: { case: "namedTable", value } } });
    return this.#session.dataFrame(plan);
  }

  /**
   * A table of a JDBC database, or a query as `(SELECT ...) AS t`. Credentials go into `options` as `user` and `password`;
   * they are part of the plan, and left out wherever this client prints a plan.
   *
   * @param split ranges of a column, or one condition for each partition; default: one partition
   */
  jdbc(
    url: string,
    table: string,
    options: Readonly<Record<string, OptionValue>> = {},
    split?: JdbcPartitioning | readonly string[],
  ): DataFrame {
    const reader = this.format("jdbc").options({ ...options, url, dbtable: table });
    if (split === undefined) return reader.load();
    if (Array.isArray(split)) return reader.#load([], split as readonly string[]);
    const { column, lowerBound, upperBound, numPartitions } = split as JdbcPartitioning;
    return reader.options({ partitionColumn: column, lowerBound, upperBound, numPartitions }).load();
  }

  parquet(...paths: readonly (string | readonly string[])[]): DataFrame {
    return this.format("parquet").load(...paths);
  }

  orc(...paths: readonly (string | readonly string[])[]): DataFrame {
    return this.format("orc").load(...paths);
  }

  json(...paths: readonly (string | readonly string[])[]): DataFrame {
    return this.format("json").load(...paths);
  }

  csv(...paths: readonly (string | readonly string[])[]): DataFrame {
    return this.format("csv").load(...paths);
  }

  /** One row a line, in the column `value`. */
  text(...paths: readonly (string | readonly string[])[]): DataFrame {
    return this.format("text").load(...paths);
  }

  #load(paths: readonly string[], predicates: readonly string[]): DataFrame {
    const { format, schema, options } = this.#parts;
    const value = {
      ...(format === undefined ? {} : { format }),
      ...(schema === undefined ? {} : { schema }),
      options: { ...options },
      paths: [...paths],
      predicates: [...predicates],
    };
    const plan = relation({ case: "read", value: { readType: { case: "dataSource", value } } });
    return this.#session.dataFrame(plan);
  }
}
