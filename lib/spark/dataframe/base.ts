import { type ColumnOrName, columnExpression } from "../column.js";
import type { Expression } from "../generated/spark/connect/expressions_pb.js";
import type { Relation } from "../generated/spark/connect/relations_pb.js";
import { planToJson } from "../plan/canonical.js";
import { type RelationInit, relation } from "../plan/nodes.js";
import type { SparkSession } from "../session/session.js";
import type { DataFrame } from "./dataframe.js";

/** A session and a plan: all that a DataFrame is. */
export abstract class DataFrameBase {
  /** The session that runs the plan. */
  readonly session: SparkSession;
  /** The plan: a protobuf message that nothing changes after it was made. */
  readonly relation: Relation;

  constructor(session: SparkSession, plan: Relation) {
    this.session = session;
    this.relation = plan;
  }

  /** The plan as JSON, without secrets and without ids that differ from run to run. */
  toJSON(): unknown {
    return planToJson(this.relation);
  }

  /** What `console.log` shows: the plan, without secrets. */
  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return `DataFrame ${JSON.stringify(this.toJSON())}`;
  }

  /** A DataFrame with a new relation on top, or any other plan of this session. */
  protected derive(relType: RelationInit): DataFrame {
    return this.session.dataFrame(relation(relType));
  }
}

export function expressions(columns: readonly ColumnOrName[]): Expression[] {
  return columns.map(columnExpression);
}

/** Lists may be given as one array or as arguments. */
export function flat<T>(items: readonly (T | readonly T[])[]): T[] {
  return items.flat() as T[];
}

/** Splits into all names or all columns; a mix becomes columns. */
export function namesOnly(columns: readonly ColumnOrName[]): string[] | undefined {
  return columns.every((column) => typeof column === "string") ? (columns as string[]) : undefined;
}
