import { SparkConnectError } from "../errors.js";
import type { Expression_Literal } from "../generated/spark/connect/expressions_pb.js";
import { types } from "../types/data-type.js";
import { typeFromProto } from "../types/proto.js";
import { Row, type Value } from "../values/row.js";
import {
  DayTimeInterval,
  formatDate,
  formatTime,
  LocalTimestamp,
  Timestamp,
  YearMonthInterval,
} from "../values/temporal.js";

/** The value of a literal that the server sent, in the form that rows have. */
export function literalValue(literal: Expression_Literal): Value {
  const { literalType } = literal;
  switch (literalType.case) {
    case "null":
      return null;
    case "binary":
    case "boolean":
    case "byte":
    case "short":
    case "integer":
    case "long":
    case "float":
    case "double":
    case "string":
      return literalType.value;
    case "decimal":
      return literalType.value.value;
    case "date":
      return formatDate(literalType.value);
    case "timestamp":
      return new Timestamp(literalType.value);
    case "timestampNtz":
      return new LocalTimestamp(literalType.value);
    case "dayTimeInterval":
      return new DayTimeInterval(literalType.value);
    case "yearMonthInterval":
      return new YearMonthInterval(literalType.value);
    case "time":
      return formatTime(literalType.value.nano);
    case "array":
      return literalType.value.elements.map(literalValue);
    case "map": {
      const { keys, values } = literalType.value;
      const entries = keys.map((key, i): [Value, Value] => {
        const value = values[i];
        return [literalValue(key), value === undefined ? null : literalValue(value)];
      });
      return new Map(entries);
    }
    case "struct": {
      const { structType, elements } = literalType.value;
      const type = structType === undefined ? undefined : typeFromProto(structType);
      const schema =
        type?.kind === "struct" ? type : types.struct(elements.map((_, i) => types.field(`_${i + 1}`, types.void)));
      return new Row(schema, elements.map(literalValue));
    }
    default:
      throw new SparkConnectError("UNSUPPORTED_TYPE", `A literal of kind ${literalType.case ?? "none"} can't be read`);
  }
}
