import type { Capabilities } from "../client/capabilities.js";
import { SparkConnectError } from "../errors.js";
import { Expression_Cast_EvalMode as EvalMode } from "../generated/spark/connect/expressions_pb.js";
import { walk } from "./visitor.js";

/**
 * Refuses a plan that an older server would misread: it ignores fields that it doesn't know.
 *
 * @throws SparkConnectError `UNSUPPORTED_ON_SERVER`
 */
export function requireSupported(plan: object, capabilities: Capabilities | undefined): void {
  if (capabilities === undefined || capabilities.tryCast) return;
  walk(plan, {
    expression(node) {
      if (node.exprType.case === "cast" && node.exprType.value.evalMode === EvalMode.TRY) {
        throw new SparkConnectError(
          "UNSUPPORTED_ON_SERVER",
          `tryCast needs Spark 4.0, the server runs ${capabilities.version}; write expr("try_cast(... AS ...)")`,
        );
      }
    },
  });
}
