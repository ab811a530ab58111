import { create } from "@bufbuild/protobuf";
import { SparkConnectError } from "./errors.js";
import {
  type Expression,
  type Expression_Alias,
  Expression_AliasSchema,
  Expression_Cast_EvalMode,
  type Expression_SortOrder,
  Expression_SortOrderSchema,
  Expression_SortOrder_NullOrdering as NullOrdering,
  Expression_SortOrder_SortDirection as SortDirection,
} from "./generated/spark/connect/expressions_pb.js";
import { type LiteralValue, literal } from "./plan/literal.js";
import { attribute, call, expression } from "./plan/nodes.js";
import type { DataType } from "./types/data-type.js";
import { typeToProto } from "./types/proto.js";
import type { WindowSpec } from "./window.js";

/** A column, or a value that becomes a literal. A string is a literal here: `col("a").eqTo("x")` compares with the text x. */
export type Operand = Column | LiteralValue;

/** A column, or the name of one. */
export type ColumnOrName = Column | string;

/**
 * An expression over the columns of a DataFrame. Immutable: each method makes a new one.
 *
 * Names are Scala's; operators have words: `===` is `eqTo`, `=!=` is `notEqual`, `<=>` is `eqNullSafe`, `+` is `plus`.
 *
 * @example
 * orders.filter(col("amount").gt(100).and(col("region").isin("EU", "UK")));
 */
export class Column {
  /** The protobuf message that this column is. */
  readonly expression: Expression;

  constructor(node: Expression) {
    this.expression = node;
  }

  // Comparison

  /** `===`: NULL when a side is NULL. */
  eqTo(other: Operand): Column {
    return this.#call("==", other);
  }

  /** The same as {@link eqTo}. */
  equalTo(other: Operand): Column {
    return this.eqTo(other);
  }

  /** `=!=`: NULL when a side is NULL. */
  notEqual(other: Operand): Column {
    return this.eqTo(other).not();
  }

  /** `<=>`: two NULLs are equal, and NULL differs from everything else. */
  eqNullSafe(other: Operand): Column {
    return this.#call("<=>", other);
  }

  lt(other: Operand): Column {
    return this.#call("<", other);
  }

  leq(other: Operand): Column {
    return this.#call("<=", other);
  }

  gt(other: Operand): Column {
    return this.#call(">", other);
  }

  geq(other: Operand): Column {
    return this.#call(">=", other);
  }

  /** Both bounds are included. */
  between(lower: Operand, upper: Operand): Column {
    return this.geq(lower).and(this.leq(upper));
  }

  isin(...values: readonly (Operand | readonly Operand[])[]): Column {
    return this.#call("in", ...(values.flat() as Operand[]));
  }

  isNull(): Column {
    return this.#call("isNull");
  }

  isNotNull(): Column {
    return this.#call("isNotNull");
  }

  isNaN(): Column {
    return this.#call("isNaN");
  }

  // Logic

  and(other: Operand): Column {
    return this.#call("and", other);
  }

  or(other: Operand): Column {
    return this.#call("or", other);
  }

  not(): Column {
    return this.#call("not");
  }

  /** Further branches after `when(condition, value)`. */
  when(condition: Column, value: Operand): Column {
    const branches = this.#caseBranches("when");
    return new Column(call("when", [...branches, condition.expression, toExpression(value)]));
  }

  /** The value when no branch matched; NULL without it. */
  otherwise(value: Operand): Column {
    const branches = this.#caseBranches("otherwise");
    return new Column(call("when", [...branches, toExpression(value)]));
  }

  // Arithmetic

  plus(other: Operand): Column {
    return this.#call("+", other);
  }

  minus(other: Operand): Column {
    return this.#call("-", other);
  }

  multiply(other: Operand): Column {
    return this.#call("*", other);
  }

  divide(other: Operand): Column {
    return this.#call("/", other);
  }

  mod(other: Operand): Column {
    return this.#call("%", other);
  }

  negate(): Column {
    return this.#call("negative");
  }

  bitwiseAND(other: Operand): Column {
    return this.#call("&", other);
  }

  bitwiseOR(other: Operand): Column {
    return this.#call("|", other);
  }

  bitwiseXOR(other: Operand): Column {
    return this.#call("^", other);
  }

  bitwiseNOT(): Column {
    return this.#call("~");
  }

  // Strings

  like(pattern: Operand): Column {
    return this.#call("like", pattern);
  }

  ilike(pattern: Operand): Column {
    return this.#call("ilike", pattern);
  }

  rlike(pattern: Operand): Column {
    return this.#call("rlike", pattern);
  }

  contains(other: Operand): Column {
    return this.#call("contains", other);
  }

  startsWith(other: Operand): Column {
    return this.#call("startswith", other);
  }

  endsWith(other: Operand): Column {
    return this.#call("endswith", other);
  }

  /** Positions start at 1. */
  substr(start: Operand, length: Operand): Column {
    return this.#call("substr", start, length);
  }

  // Types and names

  /**
   * Converts to another type. A value that can't be converted is NULL, or with ANSI mode an error.
   *
   * @param to a type, or its DDL: `col("price").cast("decimal(12,2)")`
   */
  cast(to: DataType | string): Column {
    return this.#cast(to, Expression_Cast_EvalMode.UNSPECIFIED);
  }

  /**
   * As `cast`, but never an error. Spark 4.0 and later: an older server would take it for `cast`, so it is refused before it
   * is sent; write `expr("try_cast(x AS int)")` there.
   */
  tryCast(to: DataType | string): Column {
    return this.#cast(to, Expression_Cast_EvalMode.TRY);
  }

  /**
   * Names the column, or for a function with several results each of them.
   *
   * @example
   * col("a").as("b");
   * col("a").as("b", { metadata: { comment: "renamed" } });
   */
  as(
    name: string | readonly string[],
    options: { readonly metadata?: Readonly<Record<string, unknown>> } = {},
  ): Column {
    return new Column(expression({ case: "alias", value: this.toAlias(name, options) }));
  }

  /** The same as {@link as}. */
  alias(
    name: string | readonly string[],
    options: { readonly metadata?: Readonly<Record<string, unknown>> } = {},
  ): Column {
    return this.as(name, options);
  }

  /** The same as {@link as}. */
  name(name: string): Column {
    return this.as(name);
  }

  /** @internal the message of an alias, which some relations hold bare */
  toAlias(
    name: string | readonly string[],
    options: { readonly metadata?: Readonly<Record<string, unknown>> } = {},
  ): Expression_Alias {
    return create(Expression_AliasSchema, {
      expr: this.expression,
      name: typeof name === "string" ? [name] : [...name],
      ...(options.metadata === undefined ? {} : { metadata: JSON.stringify(options.metadata) }),
    });
  }

  // Nested values

  /** A field of a struct, an element of an array (from 0), or the value of a key of a map. */
  getItem(key: Operand): Column {
    return new Column(
      expression({
        case: "unresolvedExtractValue",
        value: { child: this.expression, extraction: toExpression(key) },
      }),
    );
  }

  getField(name: string): Column {
    return this.getItem(name);
  }

  /** Adds or replaces a field of a struct; a dotted name reaches into nested ones. */
  withField(fieldName: string, value: Operand): Column {
    const valueExpression = toExpression(value);
    return new Column(
      expression({ case: "updateFields", value: { structExpression: this.expression, fieldName, valueExpression } }),
    );
  }

  dropFields(...names: readonly string[]): Column {
    return names.reduce<Column>(
      (column, fieldName) =>
        new Column(expression({ case: "updateFields", value: { structExpression: column.expression, fieldName } })),
      this,
    );
  }

  // Order and windows

  /** NULLs first. */
  asc(): Column {
    return this.#sort(SortDirection.ASCENDING, NullOrdering.SORT_NULLS_FIRST);
  }

  ascNullsFirst(): Column {
    return this.asc();
  }

  ascNullsLast(): Column {
    return this.#sort(SortDirection.ASCENDING, NullOrdering.SORT_NULLS_LAST);
  }

  /** NULLs last. */
  desc(): Column {
    return this.#sort(SortDirection.DESCENDING, NullOrdering.SORT_NULLS_LAST);
  }

  descNullsFirst(): Column {
    return this.#sort(SortDirection.DESCENDING, NullOrdering.SORT_NULLS_FIRST);
  }

  descNullsLast(): Column {
    return this.desc();
  }

  /** @internal this column as an order: its own, or ascending */
  toSortOrder(): Expression_SortOrder {
    const { exprType } = this.expression;
    if (exprType.case === "sortOrder") return exprType.value;
    return create(Expression_SortOrderSchema, {
      child: this.expression,
      direction: SortDirection.ASCENDING,
      nullOrdering: NullOrdering.SORT_NULLS_FIRST,
    });
  }

  /**
   * An aggregate or ranking function over the rows of a window.
   *
   * @example
   * row_number().over(Window.partitionBy("id").orderBy(col("updated_at").desc()));
   */
  over(window: WindowSpec): Column {
    return new Column(expression({ case: "window", value: window.toWindow(this.expression) }));
  }

  #call(name: string, ...others: readonly Operand[]): Column {
    return new Column(call(name, [this.expression, ...others.map(toExpression)]));
  }

  #cast(to: DataType | string, evalMode: Expression_Cast_EvalMode): Column {
    const castToType =
      typeof to === "string"
        ? ({ case: "typeStr", value: to } as const)
        : ({ case: "type", value: typeToProto(to) } as const);
    return new Column(expression({ case: "cast", value: { expr: this.expression, castToType, evalMode } }));
  }

  #sort(direction: SortDirection, nullOrdering: NullOrdering): Column {
    return new Column(expression({ case: "sortOrder", value: { child: this.expression, direction, nullOrdering } }));
  }

  /** The arguments of the CASE so far; pairs only, so that nothing comes after an `otherwise`. */
  #caseBranches(method: string): readonly Expression[] {
    const { exprType } = this.expression;
    if (exprType.case === "unresolvedFunction" && exprType.value.functionName === "when") {
      const branches = exprType.value.arguments;
      if (branches.length % 2 === 0) return branches;
      throw new SparkConnectError("INVALID_ARGUMENT", `${method}() can't come after otherwise()`);
    }
    throw new SparkConnectError("INVALID_ARGUMENT", `${method}() can only follow when()`);
  }
}

/** A column by its name; `*` is all columns. Dots reach into structs, backticks keep a dot that is part of a name. */
export function col(name: string): Column {
  return new Column(attribute(name));
}

/**
 * A constant. Whole numbers are INT, or BIGINT beyond 32 bits, other numbers DOUBLE; a bigint is BIGINT, a Date TIMESTAMP.
 *
 * @param type gives the constant another type: `lit("2026-03-01", types.date)`, `lit(1, types.bigint)`
 */
export function lit(value: Operand, type?: DataType): Column {
  if (value instanceof Column) return value;
  return new Column(expression({ case: "literal", value: literal(value, type) }));
}

/** A piece of SQL as a column: `expr("amount * 1.2")`. */
export function expr(sql: string): Column {
  return new Column(expression({ case: "expressionString", value: { expression: sql } }));
}

/** A function by its name, for what has no function of its own here. */
export function callFunction(name: string, ...columns: readonly ColumnOrName[]): Column {
  return new Column(
    expression({ case: "callFunction", value: { functionName: name, arguments: columns.map(columnExpression) } }),
  );
}

/**
 * All of them, as a balanced tree: a chain of 100 `.and()` would nest deeper than protobuf readers accept. True when empty.
 *
 * @example
 * and(...keys.map((key) => old.col(key).eqNullSafe(changed.col(key))));
 */
export function and(...conditions: readonly Column[]): Column {
  return balanced("and", conditions) ?? lit(true);
}

/** Any of them, as a balanced tree; see {@link and}. False when empty. */
export function or(...conditions: readonly Column[]): Column {
  return balanced("or", conditions) ?? lit(false);
}

function balanced(name: string, conditions: readonly Column[]): Column | undefined {
  if (conditions.length <= 1) return conditions[0];
  const middle = conditions.length >> 1;
  const left = balanced(name, conditions.slice(0, middle));
  const right = balanced(name, conditions.slice(middle));
  if (left === undefined || right === undefined) return left ?? right;
  return new Column(call(name, [left.expression, right.expression]));
}

/** The message of an operand: a string is text. */
export function toExpression(operand: Operand): Expression {
  return lit(operand).expression;
}

/** The message of a column: a string is a name. */
export function columnExpression(column: ColumnOrName): Expression {
  return (typeof column === "string" ? col(column) : column).expression;
}
