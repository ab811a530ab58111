import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Column, type ColumnOrName, col, columnExpression, lit } from "./column.js";
import { SparkConnectError } from "./errors.js";
import {
  type Expression,
  type Expression_SortOrder,
  type Expression_Window,
  type Expression_Window_WindowFrame_FrameBoundarySchema,
  Expression_WindowSchema,
  Expression_Window_WindowFrame_FrameType as FrameType,
} from "./generated/spark/connect/expressions_pb.js";

type Boundary = MessageInitShape<typeof Expression_Window_WindowFrame_FrameBoundarySchema>;

interface Frame {
  readonly frameType: FrameType;
  readonly lower: Boundary;
  readonly upper: Boundary;
}

interface WindowParts {
  readonly partitionSpec: readonly Expression[];
  readonly orderSpec: readonly Expression_SortOrder[];
  readonly frame: Frame | undefined;
}

/** Which rows a window function sees. Immutable; starts at {@link Window}. */
export class WindowSpec {
  readonly #parts: WindowParts;

  constructor(parts: WindowParts) {
    this.#parts = parts;
  }

  partitionBy(...columns: readonly ColumnOrName[]): WindowSpec {
    return new WindowSpec({ ...this.#parts, partitionSpec: columns.map(columnExpression) });
  }

  orderBy(...columns: readonly ColumnOrName[]): WindowSpec {
    const orderSpec = columns.map((column) => (typeof column === "string" ? col(column) : column).toSortOrder());
    return new WindowSpec({ ...this.#parts, orderSpec });
  }

  /** Rows from `start` to `end` by their number, relative to the current one (0); negative is before it. */
  rowsBetween(start: number, end: number): WindowSpec {
    return this.#framed(FrameType.ROW, start, end);
  }

  /** Rows whose order value lies between; a Column gives an interval or another computed distance. */
  rangeBetween(start: number | Column, end: number | Column): WindowSpec {
    return this.#framed(FrameType.RANGE, start, end);
  }

  /** @internal */
  toWindow(windowFunction: Expression): Expression_Window {
    const { partitionSpec, orderSpec, frame } = this.#parts;
    return create(Expression_WindowSchema, {
      windowFunction,
      partitionSpec: [...partitionSpec],
      orderSpec: [...orderSpec],
      ...(frame === undefined ? {} : { frameSpec: frame }),
    });
  }

  #framed(frameType: FrameType, start: number | Column, end: number | Column): WindowSpec {
    const frame = { frameType, lower: boundary(start, frameType), upper: boundary(end, frameType) };
    return new WindowSpec({ ...this.#parts, frame });
  }
}

function boundary(value: number | Column, frameType: FrameType): Boundary {
  if (value instanceof Column) return { boundary: { case: "value", value: value.expression } };
  if (value === 0) return { boundary: { case: "currentRow", value: true } };
  if (value === Window.unboundedPreceding || value === Window.unboundedFollowing) {
    return { boundary: { case: "unbounded", value: true } };
  }
  if (frameType === FrameType.ROW && !Number.isInteger(value)) {
    throw new SparkConnectError("INVALID_ARGUMENT", `A number of rows must be whole: ${value}`);
  }
  return { boundary: { case: "value", value: lit(value).expression } };
}

const empty = new WindowSpec({ partitionSpec: [], orderSpec: [], frame: undefined });

/**
 * Where a window starts.
 *
 * @example
 * const newest = Window.partitionBy("id").orderBy(col("updated_at").desc());
 * df.withColumn("n", row_number().over(newest)).filter(col("n").eqTo(1));
 */
export const Window = {
  currentRow: 0,
  unboundedPreceding: Number.NEGATIVE_INFINITY,
  unboundedFollowing: Number.POSITIVE_INFINITY,
  partitionBy: (...columns: readonly ColumnOrName[]): WindowSpec => empty.partitionBy(...columns),
  orderBy: (...columns: readonly ColumnOrName[]): WindowSpec => empty.orderBy(...columns),
  rowsBetween: (start: number, end: number): WindowSpec => empty.rowsBetween(start, end),
  rangeBetween: (start: number | Column, end: number | Column): WindowSpec => empty.rangeBetween(start, end),
} as const;
