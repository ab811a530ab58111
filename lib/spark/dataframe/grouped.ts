import { type Column, Column as ColumnClass, type ColumnOrName, col, lit } from "../column.js";
import { SparkConnectError } from "../errors.js";
import type { Expression } from "../generated/spark/connect/expressions_pb.js";
import { Aggregate_GroupType as GroupType } from "../generated/spark/connect/relations_pb.js";
import { type LiteralValue, literal } from "../plan/literal.js";
import { call, relation } from "../plan/nodes.js";
import type { DataFrameBase } from "./base.js";
import type { DataFrame } from "./dataframe.js";

interface Pivot {
  readonly col: Expression;
  readonly values: readonly LiteralValue[];
}

/** The result of `groupBy`, `rollup` or `cube`: turns into a DataFrame by an aggregate. */
export class GroupedData {
  readonly #df: DataFrameBase;
  readonly #type: GroupType;
  readonly #grouping: readonly Expression[];
  readonly #pivot: Pivot | undefined;

  constructor(df: DataFrameBase, type: GroupType, grouping: readonly Expression[], pivot?: Pivot) {
    this.#df = df;
    this.#type = type;
    this.#grouping = grouping;
    this.#pivot = pivot;
  }

  /**
   * Aggregates, as columns or as `{column: function}`.
   *
   * @example
   * orders.groupBy("region").agg(sum("amount").as("total"), count(lit(1)).as("n"));
   * orders.groupBy("region").agg({ amount: "max" });
   */
  agg(...aggregates: readonly (Column | Readonly<Record<string, string>>)[]): DataFrame {
    const columns = aggregates.flatMap((item) =>
      item instanceof ColumnClass
        ? [item.expression]
        : Object.entries(item).map(([name, func]) => call(func, [col(name).expression])),
    );
    const pivot = this.#pivot;
    const value = {
      input: this.#df.relation,
      groupType: this.#type,
      groupingExpressions: [...this.#grouping],
      aggregateExpressions: columns,
      ...(pivot === undefined ? {} : { pivot: { col: pivot.col, values: pivot.values.map((item) => literal(item)) } }),
    };
    return this.#df.session.dataFrame(relation({ case: "aggregate", value }));
  }

  /** Number of rows of each group, as `count`. */
  count(): DataFrame {
    return this.agg(new ColumnClass(call("count", [lit(1).expression])).as("count"));
  }

  sum(...names: readonly string[]): DataFrame {
    return this.#each("sum", names);
  }

  avg(...names: readonly string[]): DataFrame {
    return this.#each("avg", names);
  }

  /** The same as {@link avg}. */
  mean(...names: readonly string[]): DataFrame {
    return this.avg(...names);
  }

  min(...names: readonly string[]): DataFrame {
    return this.#each("min", names);
  }

  max(...names: readonly string[]): DataFrame {
    return this.#each("max", names);
  }

  /**
   * A column for each value of another one. Naming the values saves Spark a query to find them.
   *
   * @example
   * sales.groupBy("year").pivot("quarter", [1, 2, 3, 4]).sum("amount");
   */
  pivot(column: ColumnOrName, values: readonly LiteralValue[] = []): GroupedData {
    if (this.#type !== GroupType.GROUPBY) {
      throw new SparkConnectError("INVALID_ARGUMENT", "pivot() can only follow groupBy()");
    }
    const pivotColumn = typeof column === "string" ? col(column) : column;
    const pivot = { col: pivotColumn.expression, values };
    return new GroupedData(this.#df, GroupType.PIVOT, this.#grouping, pivot);
  }

  #each(func: string, names: readonly string[]): DataFrame {
    return this.agg(...names.map((name) => new ColumnClass(call(func, [col(name).expression]))));
  }
}
