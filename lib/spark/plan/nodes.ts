import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type Expression, ExpressionSchema } from "../generated/spark/connect/expressions_pb.js";
import { type Relation, RelationSchema } from "../generated/spark/connect/relations_pb.js";

/** What a relation is, with its fields: `{ case: "limit", value: { input, limit: 3 } }`. */
export type RelationInit = NonNullable<MessageInitShape<typeof RelationSchema>["relType"]>;
export type ExpressionInit = NonNullable<MessageInitShape<typeof ExpressionSchema>["exprType"]>;

let lastPlanId = 0n;

/**
 * Makes a relation with a plan id of its own. The id is how a column of this very DataFrame (`df.col("x")`) is told from a
 * column of the same name elsewhere in the plan.
 */
export function relation(relType: RelationInit): Relation {
  lastPlanId += 1n;
  return create(RelationSchema, { common: { planId: lastPlanId }, relType });
}

/** Makes an expression. */
export function expression(exprType: ExpressionInit): Expression {
  return create(ExpressionSchema, { exprType });
}

/** The id of a relation; every relation that this client makes has one. */
export function planIdOf(node: Relation): bigint | undefined {
  return node.common?.planId;
}

/** A call of a function by its name, as Spark's own API makes it. */
export function call(functionName: string, args: readonly Expression[], isDistinct = false): Expression {
  return expression({ case: "unresolvedFunction", value: { functionName, arguments: [...args], isDistinct } });
}

/** A name: `*` and `t.*` become stars, everything else a (possibly dotted) column. */
export function attribute(name: string, planId?: bigint): Expression {
  const id = planId === undefined ? {} : { planId };
  if (name === "*") return expression({ case: "unresolvedStar", value: { ...id } });
  if (name.endsWith(".*")) return expression({ case: "unresolvedStar", value: { unparsedTarget: name, ...id } });
  return expression({ case: "unresolvedAttribute", value: { unparsedIdentifier: name, ...id } });
}
