import { type Column, Column as ColumnClass, type ColumnOrName, col, expr, toExpression } from "../column.js";
import { SparkConnectError } from "../errors.js";
import { Join_JoinType as JoinType, SetOperation_SetOpType as SetOp } from "../generated/spark/connect/relations_pb.js";
import type { LiteralValue } from "../plan/literal.js";
import { attribute, expression, planIdOf } from "../plan/nodes.js";
import type { StructType } from "../types/data-type.js";
import { typeToProto } from "../types/proto.js";
import { DataFrameBase, expressions, flat, namesOnly } from "./base.js";
import type { DataFrame } from "./dataframe.js";

/** How to join, in Spark's words; underscores are ignored. */
export type JoinTypeName =
  | "inner"
  | "cross"
  | "outer"
  | "full"
  | "fullouter"
  | "full_outer"
  | "left"
  | "leftouter"
  | "left_outer"
  | "right"
  | "rightouter"
  | "right_outer"
  | "semi"
  | "leftsemi"
  | "left_semi"
  | "anti"
  | "leftanti"
  | "left_anti";

const JOIN_TYPES: Readonly<Record<string, JoinType>> = {
  inner: JoinType.INNER,
  cross: JoinType.CROSS,
  outer: JoinType.FULL_OUTER,
  full: JoinType.FULL_OUTER,
  fullouter: JoinType.FULL_OUTER,
  left: JoinType.LEFT_OUTER,
  leftouter: JoinType.LEFT_OUTER,
  right: JoinType.RIGHT_OUTER,
  rightouter: JoinType.RIGHT_OUTER,
  semi: JoinType.LEFT_SEMI,
  leftsemi: JoinType.LEFT_SEMI,
  anti: JoinType.LEFT_ANTI,
  leftanti: JoinType.LEFT_ANTI,
};

/** The methods that make a DataFrame out of a DataFrame. None of them sends anything. */
export abstract class DataFrameTransforms extends DataFrameBase {
  // Columns

  /**
   * A column of this very DataFrame, also where another one in the plan has a column of that name.
   *
   * @example
   * left.join(right, left.col("id").eqTo(right.col("id")), "left_anti");
   */
  col(name: string): Column {
    return new ColumnClass(attribute(name, planIdOf(this.relation)));
  }

  /** All columns whose name matches, given in backticks: "`a.*`". */
  colRegex(pattern: string): Column {
    const planId = planIdOf(this.relation);
    const value = { colName: pattern, ...(planId === undefined ? {} : { planId }) };
    return new ColumnClass(expression({ case: "unresolvedRegex", value }));
  }

  select(...columns: readonly (ColumnOrName | readonly ColumnOrName[])[]): DataFrame {
    return this.derive({ case: "project", value: { input: this.relation, expressions: expressions(flat(columns)) } });
  }

  /** SQL for each column: `selectExpr("id", "amount * 2 AS doubled")`. */
  selectExpr(...sql: readonly (string | readonly string[])[]): DataFrame {
    return this.select(flat(sql).map(expr));
  }

  /** Keeps the rows for which the condition (a column, or SQL) is true, neither false nor NULL. */
  filter(condition: Column | string): DataFrame {
    const column = typeof condition === "string" ? expr(condition) : condition;
    return this.derive({ case: "filter", value: { input: this.relation, condition: column.expression } });
  }

  /** The same as {@link filter}. */
  where(condition: Column | string): DataFrame {
    return this.filter(condition);
  }

  /** Adds a column, or replaces the one of that name. */
  withColumn(name: string, column: Column): DataFrame {
    return this.withColumns({ [name]: column });
  }

  /** Adds or replaces several columns at once, which keeps the plan flat. None sees another's new value. */
  withColumns(columns: Readonly<Record<string, Column>> | ReadonlyMap<string, Column>): DataFrame {
    const entries = columns instanceof Map ? [...columns] : Object.entries(columns as Record<string, Column>);
    const aliases = entries.map(([name, column]) => column.toAlias(name));
    return this.derive({ case: "withColumns", value: { input: this.relation, aliases } });
  }

  /** A name that isn't there changes nothing. */
  withColumnRenamed(existing: string, name: string): DataFrame {
    return this.withColumnsRenamed({ [existing]: name });
  }

  withColumnsRenamed(names: Readonly<Record<string, string>>): DataFrame {
    // 3.5 reads the map and ignores the list; 4.x prefers the list, which keeps the order.
    const renames = Object.entries(names).map(([colName, newColName]) => ({ colName, newColName }));
    const value = { input: this.relation, renameColumnsMap: { ...names }, renames };
    return this.derive({ case: "withColumnsRenamed", value });
  }

  /** Leaves columns out. A name that isn't there changes nothing. */
  drop(...columns: readonly (ColumnOrName | readonly ColumnOrName[])[]): DataFrame {
    const all = flat(columns);
    const columnNames = namesOnly(all);
    return this.derive({
      case: "drop",
      value:
        columnNames === undefined
          ? { input: this.relation, columns: expressions(all) }
          : { input: this.relation, columnNames },
    });
  }

  /** New names for all columns, by position. */
  toDF(...names: readonly (string | readonly string[])[]): DataFrame {
    return this.derive({ case: "toDf", value: { input: this.relation, columnNames: flat(names) } });
  }

  /** Reorders, casts and checks the columns so that they are those of a schema. */
  to(schema: StructType): DataFrame {
    return this.derive({ case: "toSchema", value: { input: this.relation, schema: typeToProto(schema) } });
  }

  // Two DataFrames

  /**
   * Joins by columns of equal names (which appear once in the result), or by a condition.
   *
   * @param on names, a condition, or undefined for every pair
   * @param how default `inner`
   * @example
   * orders.join(customers, ["customer_id"], "left");
   */
  join(
    right: DataFrame,
    on?: string | readonly string[] | Column,
    how: JoinTypeName | (string & {}) = "inner",
  ): DataFrame {
    const joinType = JOIN_TYPES[how.toLowerCase().replaceAll("_", "")];
    if (joinType === undefined) {
      throw new SparkConnectError("INVALID_ARGUMENT", `Not a type of join: "${how}"`);
    }
    const condition =
      on instanceof ColumnClass
        ? { joinCondition: on.expression }
        : on === undefined
          ? {}
          : { usingColumns: typeof on === "string" ? [on] : [...on] };
    const value = { left: this.relation, right: right.relation, joinType, ...condition };
    return this.derive({ case: "join", value });
  }

  crossJoin(right: DataFrame): DataFrame {
    return this.join(right, undefined, "cross");
  }

  /** By position, duplicates kept. */
  union(other: DataFrame): DataFrame {
    return this.#setOperation(other, SetOp.UNION, true);
  }

  /** The same as {@link union}. */
  unionAll(other: DataFrame): DataFrame {
    return this.union(other);
  }

  /** By name, duplicates kept; with `allowMissingColumns` a column that one side lacks is NULL there. */
  unionByName(other: DataFrame, allowMissingColumns = false): DataFrame {
    return this.#setOperation(other, SetOp.UNION, true, { byName: true, allowMissingColumns });
  }

  intersect(other: DataFrame): DataFrame {
    return this.#setOperation(other, SetOp.INTERSECT, false);
  }

  intersectAll(other: DataFrame): DataFrame {
    return this.#setOperation(other, SetOp.INTERSECT, true);
  }

  /** Distinct rows that the other one doesn't have. */
  except(other: DataFrame): DataFrame {
    return this.#setOperation(other, SetOp.EXCEPT, false);
  }

  /** As `except`, counting duplicates. */
  exceptAll(other: DataFrame): DataFrame {
    return this.#setOperation(other, SetOp.EXCEPT, true);
  }

  #setOperation(
    other: DataFrame,
    setOpType: SetOp,
    isAll: boolean,
    names: { readonly byName?: boolean; readonly allowMissingColumns?: boolean } = {},
  ): DataFrame {
    const value = { leftInput: this.relation, rightInput: other.relation, setOpType, isAll, ...names };
    return this.derive({ case: "setOp", value });
  }

  // Rows

  /** Sorts all rows. A name sorts ascending with NULLs first. */
  orderBy(...columns: readonly (ColumnOrName | readonly ColumnOrName[])[]): DataFrame {
    return this.#sort(columns, true);
  }

  /** The same as {@link orderBy}. */
  sort(...columns: readonly (ColumnOrName | readonly ColumnOrName[])[]): DataFrame {
    return this.#sort(columns, true);
  }

  /** Sorts each partition by itself. */
  sortWithinPartitions(...columns: readonly (ColumnOrName | readonly ColumnOrName[])[]): DataFrame {
    return this.#sort(columns, false);
  }

  #sort(columns: readonly (ColumnOrName | readonly ColumnOrName[])[], isGlobal: boolean): DataFrame {
    const order = flat(columns).map((column) => (typeof column === "string" ? col(column) : column).toSortOrder());
    return this.derive({ case: "sort", value: { input: this.relation, order, isGlobal } });
  }

  limit(count: number): DataFrame {
    return this.derive({ case: "limit", value: { input: this.relation, limit: count } });
  }

  offset(count: number): DataFrame {
    return this.derive({ case: "offset", value: { input: this.relation, offset: count } });
  }

  distinct(): DataFrame {
    return this.derive({ case: "deduplicate", value: { input: this.relation, allColumnsAsKeys: true } });
  }

  /** One row for each combination of these columns; which one is not defined. All columns when none is given. */
  dropDuplicates(...names: readonly (string | readonly string[])[]): DataFrame {
    const columnNames = flat(names);
    if (columnNames.length === 0) return this.distinct();
    return this.derive({ case: "deduplicate", value: { input: this.relation, columnNames } });
  }

  /** A share of the rows, from 0 to 1; not exact. */
  sample(
    fraction: number,
    options: { readonly withReplacement?: boolean; readonly seed?: bigint | number } = {},
  ): DataFrame {
    const value = {
      input: this.relation,
      lowerBound: 0,
      upperBound: fraction,
      withReplacement: options.withReplacement ?? false,
      seed: BigInt(options.seed ?? Math.floor(Math.random() * Number.MAX_SAFE_INTEGER)),
    };
    return this.derive({ case: "sample", value });
  }

  // Partitions and the optimizer

  /**
   * Spreads the rows over partitions, by columns where some are given.
   *
   * @example
   * df.repartition(8, "region"); df.repartition(col("region"));
   */
  repartition(first: number | ColumnOrName, ...rest: readonly ColumnOrName[]): DataFrame {
    if (typeof first === "number" && rest.length === 0) {
      return this.derive({ case: "repartition", value: { input: this.relation, numPartitions: first, shuffle: true } });
    }
    const columns = typeof first === "number" ? rest : [first, ...rest];
    const numPartitions = typeof first === "number" ? { numPartitions: first } : {};
    return this.derive({
      case: "repartitionByExpression",
      value: { input: this.relation, partitionExprs: expressions(columns), ...numPartitions },
    });
  }

  /** As `repartition` by columns, but into ranges of their values. */
  repartitionByRange(first: number | ColumnOrName, ...rest: readonly ColumnOrName[]): DataFrame {
    const columns = typeof first === "number" ? rest : [first, ...rest];
    const numPartitions = typeof first === "number" ? { numPartitions: first } : {};
    const partitionExprs = columns.map((column) =>
      expression({ case: "sortOrder", value: (typeof column === "string" ? col(column) : column).toSortOrder() }),
    );
    return this.derive({
      case: "repartitionByExpression",
      value: { input: this.relation, partitionExprs, ...numPartitions },
    });
  }

  /** Fewer partitions without a shuffle. */
  coalesce(numPartitions: number): DataFrame {
    return this.derive({ case: "repartition", value: { input: this.relation, numPartitions, shuffle: false } });
  }

  /** Advice for the optimizer: `hint("broadcast")`. */
  hint(name: string, ...parameters: readonly (Column | LiteralValue)[]): DataFrame {
    const value = { input: this.relation, name, parameters: parameters.map(toExpression) };
    return this.derive({ case: "hint", value });
  }

  /** A name for this DataFrame, so that its columns can be told apart as `name.column`. */
  alias(name: string): DataFrame {
    return this.derive({ case: "subqueryAlias", value: { input: this.relation, alias: name } });
  }

  /** The same as {@link alias}. */
  as(name: string): DataFrame {
    return this.alias(name);
  }

  /** Columns to rows. Without `values` all columns but `ids` are turned. */
  unpivot(
    ids: readonly ColumnOrName[],
    values: readonly ColumnOrName[] | undefined,
    variableColumnName: string,
    valueColumnName: string,
  ): DataFrame {
    const turned = values === undefined ? {} : { values: { values: expressions(values) } };
    return this.derive({
      case: "unpivot",
      value: { input: this.relation, ids: expressions(ids), ...turned, variableColumnName, valueColumnName },
    });
  }

  /** Statistics of columns as rows of text: count, mean, stddev, min, max. */
  describe(...names: readonly (string | readonly string[])[]): DataFrame {
    return this.derive({ case: "describe", value: { input: this.relation, cols: flat(names) } });
  }

  /** Chosen statistics, also percentiles: `summary("min", "50%", "max")`. */
  summary(...statistics: readonly (string | readonly string[])[]): DataFrame {
    return this.derive({ case: "summary", value: { input: this.relation, statistics: flat(statistics) } });
  }
}
