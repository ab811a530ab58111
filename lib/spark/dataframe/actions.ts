import type { ActionOptions } from "../client/client.js";
import type { Column } from "../column.js";
import { Column as ColumnClass, lit } from "../column.js";
import { SparkConnectError } from "../errors.js";
import {
  type AnalyzePlanResponse,
  AnalyzePlanRequest_Explain_ExplainMode as ExplainMode,
} from "../generated/spark/connect/base_pb.js";
import { call } from "../plan/nodes.js";
import { type StructType, simpleString, treeString } from "../types/data-type.js";
import { schemaFromProto } from "../types/proto.js";
import type { Row, RowShape, Value } from "../values/row.js";
import { expressions } from "./base.js";
import type { DataFrame } from "./dataframe.js";
import { Observation } from "./observation.js";
import { DataFrameTransforms } from "./transforms.js";

export type ExplainModeName = "simple" | "extended" | "codegen" | "cost" | "formatted";

const EXPLAIN_MODES: Readonly<Record<ExplainModeName, ExplainMode>> = {
  simple: ExplainMode.SIMPLE,
  extended: ExplainMode.EXTENDED,
  codegen: ExplainMode.CODEGEN,
  cost: ExplainMode.COST,
  formatted: ExplainMode.FORMATTED,
};

type AnalyzeResult<C> = Extract<AnalyzePlanResponse["result"], { case: C }>["value"];

/** The methods that send the plan. All take `{signal}`: aborting interrupts the operation on the server. */
export abstract class DataFrameActions extends DataFrameTransforms implements AsyncIterable<Row> {
  #schema: Promise<StructType> | undefined;

  // Rows

  /**
   * Streams the rows. Batches are read as they are asked for, so memory is bounded by a few batches; leaving the loop early
   * stops the query and frees it on the server.
   *
   * @example
   * for await (const row of df) if (row.get("id") === wanted) break;
   */
  [Symbol.asyncIterator](): AsyncIterator<Row> {
    return this.rows();
  }

  /** As `for await` over the DataFrame, with options. */
  async *rows<T extends RowShape = Record<string, Value>>(
    options: ActionOptions = {},
  ): AsyncGenerator<Row<T>, void, undefined> {
    for await (const batch of this.batches<T>(options)) yield* batch;
  }

  /** As {@link rows}, one array for each batch that the server sends; an empty result has none. */
  async *batches<T extends RowShape = Record<string, Value>>(
    options: ActionOptions = {},
  ): AsyncGenerator<Row<T>[], void, undefined> {
    for await (const { rows } of this.session.executor.rowBatches(this.relation, options)) {
      if (rows.length > 0) yield rows as unknown as Row<T>[];
    }
  }

  /** Streams the result as Arrow IPC streams, one for each batch: for flechette, apache-arrow or DuckDB. */
  async *toArrow(options: ActionOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const { data } of this.session.executor.arrowBatches(this.relation, options)) yield data;
  }

  /** All rows. Everything is held in memory: stream what may be large. */
  async collect<T extends RowShape = Record<string, Value>>(options: ActionOptions = {}): Promise<Row<T>[]> {
    const rows: Row<T>[] = [];
    for await (const batch of this.batches<T>(options)) for (const row of batch) rows.push(row);
    return rows;
  }

  /** The first rows, at most `count` of them. */
  async head<T extends RowShape = Record<string, Value>>(count = 1, options: ActionOptions = {}): Promise<Row<T>[]> {
    return this.limit(count).collect<T>(options);
  }

  /** The same as {@link head}. */
  async take<T extends RowShape = Record<string, Value>>(
    count: number,
    options: ActionOptions = {},
  ): Promise<Row<T>[]> {
    return this.head<T>(count, options);
  }

  /** The first row, or undefined. */
  async first<T extends RowShape = Record<string, Value>>(options: ActionOptions = {}): Promise<Row<T> | undefined> {
    return (await this.head<T>(1, options))[0];
  }

  /** The last rows. */
  async tail<T extends RowShape = Record<string, Value>>(
    count: number,
    options: ActionOptions = {},
  ): Promise<Row<T>[]> {
    return this.derive({ case: "tail", value: { input: this.relation, limit: count } }).collect<T>(options);
  }

  /** Number of rows. A number, exact up to 2^53. */
  async count(options: ActionOptions = {}): Promise<number> {
    const counted = this.derive({
      case: "aggregate",
      value: {
        input: this.relation,
        groupType: 1,
        aggregateExpressions: [new ColumnClass(call("count", [lit(1).expression])).as("count").expression],
      },
    });
    const [row] = await counted.collect(options);
    return Number(row?.getBigInt(0) ?? 0n);
  }

  async isEmpty(options: ActionOptions = {}): Promise<boolean> {
    return (await this.head(1, options)).length === 0;
  }

  /**
   * The first rows as a text table; prints it too.
   *
   * @param truncate the width that cells are cut to; false for never
   */
  async show(
    rows = 20,
    truncate: number | boolean = 20,
    options: ActionOptions & { readonly vertical?: boolean } = {},
  ): Promise<string> {
    const width = truncate === true ? 20 : truncate === false ? 0 : truncate;
    const value = { input: this.relation, numRows: rows, truncate: width, vertical: options.vertical ?? false };
    const [row] = await this.derive({ case: "showString", value }).collect(options);
    const text = row?.getString(0) ?? "";
    process.stdout.write(`${text}\n`);
    return text;
  }

  // What is known about the plan

  /** Column names and types; asked for once per DataFrame. */
  schema(options: ActionOptions = {}): Promise<StructType> {
    this.#schema ??= this.#analyze("schema", { plan: this.#plan() }, options).then(
      (result) => schemaFromProto(result.schema),
      (error: unknown) => {
        this.#schema = undefined;
        throw error;
      },
    );
    return this.#schema;
  }

  async columns(options: ActionOptions = {}): Promise<string[]> {
    return (await this.schema(options)).fields.map((field) => field.name);
  }

  /** Names and types, as `[["id", "bigint"], ...]`. */
  async dtypes(options: ActionOptions = {}): Promise<[string, string][]> {
    return (await this.schema(options)).fields.map((field) => [field.name, simpleString(field.dataType)]);
  }

  /** The schema as a tree; prints it too. */
  async printSchema(options: ActionOptions = {}): Promise<string> {
    const text = treeString(await this.schema(options));
    process.stdout.write(text);
    return text;
  }

  /** How Spark will run the plan. */
  async explain(mode: ExplainModeName = "simple", options: ActionOptions = {}): Promise<string> {
    const value = { plan: this.#plan(), explainMode: EXPLAIN_MODES[mode] };
    return (await this.#analyze("explain", value, options)).explainString;
  }

  async isLocal(options: ActionOptions = {}): Promise<boolean> {
    return (await this.#analyze("isLocal", { plan: this.#plan() }, options)).isLocal;
  }

  /** The files that the plan reads, as far as Spark can tell. */
  async inputFiles(options: ActionOptions = {}): Promise<string[]> {
    return (await this.#analyze("inputFiles", { plan: this.#plan() }, options)).files;
  }

  /** Equal for plans that are the same but for names. */
  async semanticHash(options: ActionOptions = {}): Promise<number> {
    return (await this.#analyze("semanticHash", { plan: this.#plan() }, options)).result;
  }

  async sameSemantics(other: DataFrame, options: ActionOptions = {}): Promise<boolean> {
    const value = { targetPlan: this.#plan(), otherPlan: { opType: { case: "root" as const, value: other.relation } } };
    return (await this.#analyze("sameSemantics", value, options)).result;
  }

  // Cache

  /** Keeps the result in the cluster after its first use. Resolves to this DataFrame. */
  async persist(options: ActionOptions = {}): Promise<this> {
    await this.#analyze("persist", { relation: this.relation }, options);
    return this;
  }

  /** The same as {@link persist}. */
  cache(options: ActionOptions = {}): Promise<this> {
    return this.persist(options);
  }

  async unpersist(blocking = false, options: ActionOptions = {}): Promise<this> {
    await this.#analyze("unpersist", { relation: this.relation, blocking }, options);
    return this;
  }

  // Views

  /** @throws AnalysisException `TEMP_TABLE_OR_VIEW_ALREADY_EXISTS` */
  createTempView(name: string, options: ActionOptions = {}): Promise<void> {
    return this.#createView(name, false, false, options);
  }

  createOrReplaceTempView(name: string, options: ActionOptions = {}): Promise<void> {
    return this.#createView(name, true, false, options);
  }

  /** A view that all sessions of the server see, as `global_temp.name`. */
  createGlobalTempView(name: string, options: ActionOptions = {}): Promise<void> {
    return this.#createView(name, false, true, options);
  }

  createOrReplaceGlobalTempView(name: string, options: ActionOptions = {}): Promise<void> {
    return this.#createView(name, true, true, options);
  }

  // Metrics beside the rows

  /**
   * Computes aggregates while the rows pass by; they are there once an action on this DataFrame ended.
   *
   * @example
   * const seen = new Observation("seen");
   * await df.observe(seen, count(lit(1)).as("rows")).write.parquet(path);
   * (await seen.get()).rows; // 1000n
   */
  observe(observation: Observation | string, first: Column, ...rest: readonly Column[]): DataFrame {
    const name = typeof observation === "string" ? observation : observation.name;
    const metrics = [first, ...rest];
    if (observation instanceof Observation) this.session.executor.observe(observation, metrics);
    const value = { input: this.relation, name, metrics: expressions(metrics) };
    return this.derive({ case: "collectMetrics", value });
  }

  #plan() {
    return { opType: { case: "root" as const, value: this.relation } };
  }

  async #analyze<
    C extends
      | "schema"
      | "explain"
      | "isLocal"
      | "inputFiles"
      | "semanticHash"
      | "sameSemantics"
      | "persist"
      | "unpersist",
  >(what: C, value: object, options: ActionOptions): Promise<AnalyzeResult<C>> {
    const request = { case: what, value } as Parameters<typeof this.session.client.analyze>[0];
    this.session.executor.check(this.relation);
    const { result } = await this.session.client.analyze(request, options);
    if (result.case !== what) {
      throw new SparkConnectError(
        "PROTOCOL_ERROR",
        `Asked for ${what}, the server answered ${result.case ?? "nothing"}`,
      );
    }
    return result.value as AnalyzeResult<C>;
  }

  async #createView(name: string, replace: boolean, isGlobal: boolean, options: ActionOptions): Promise<void> {
    const value = { input: this.relation, name, replace, isGlobal };
    await this.session.executor.command({ case: "createDataframeView", value }, options);
  }
}
