import type { Message } from "@bufbuild/protobuf";
import type { Expression } from "../generated/spark/connect/expressions_pb.js";
import type { Relation } from "../generated/spark/connect/relations_pb.js";

/** What to call for each node of a plan; a node comes before the nodes inside it. */
export interface PlanVisitor {
  relation?(node: Relation): void;
  expression?(node: Expression): void;
  /** Every message, relations and expressions included. */
  message?(node: Message): void;
}

/**
 * Visits every relation and expression of a plan, wherever it is nested. It goes by the messages themselves, so a kind of
 * relation that is added to the protocol is visited without a change here.
 */
export function walk(plan: object, visitor: PlanVisitor): void {
  // A stack of our own: plans may be a thousand levels deep.
  const stack: unknown[] = [plan];
  while (stack.length > 0) {
    const node = stack.pop();
    if (typeof node !== "object" || node === null || node instanceof Uint8Array) continue;
    if (isMessageLike(node)) {
      visitor.message?.(node);
      if (node.$typeName === "spark.connect.Relation") visitor.relation?.(node as Relation);
      else if (node.$typeName === "spark.connect.Expression") visitor.expression?.(node as Expression);
    }
    const children = Object.values(node);
    for (let i = children.length - 1; i >= 0; i--) stack.push(children[i]);
  }
}

/**
 * A copy of a plan with each message changed on the way up: `change` gets a message whose insides are done.
 *
 * @example
 * mapPlan(relation, (message) => message) // an equal plan
 */
export function mapPlan<T>(plan: T, change: (message: Message) => Message): T {
  return mapNode(plan, change) as T;
}

function mapNode(node: unknown, change: (message: Message) => Message): unknown {
  if (Array.isArray(node)) return node.map((item) => mapNode(item, change));
  if (typeof node !== "object" || node === null || node instanceof Uint8Array) return node;
  const copy = Object.fromEntries(Object.entries(node).map(([key, value]) => [key, mapNode(value, change)]));
  return isMessageLike(node) ? change(copy as unknown as Message) : copy;
}

function isMessageLike(node: object): node is Message {
  return typeof (node as { readonly $typeName?: unknown }).$typeName === "string";
}
