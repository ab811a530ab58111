import { create } from "@bufbuild/protobuf";
import { Column, type ColumnOrName, columnExpression, lit, type Operand } from "../column.js";
import {
  type Expression,
  Expression_UnresolvedNamedLambdaVariableSchema,
} from "../generated/spark/connect/expressions_pb.js";
import { call, expression } from "../plan/nodes.js";

type Unary = (x: Column) => Column;
type Binary = (x: Column, y: Column) => Column;
type Ternary = (x: Column, y: Column, z: Column) => Column;

let lambdas = 0;

/** Names are new for each lambda, so that a lambda inside a lambda can use the variables of both. */
function lambda(count: number, body: (...variables: Column[]) => Column): Expression {
  lambdas += 1;
  const names = ["x", "y", "z"].slice(0, count).map((letter) => `${letter}_${lambdas}`);
  const variables = names.map((name) => create(Expression_UnresolvedNamedLambdaVariableSchema, { nameParts: [name] }));
  const columns = variables.map(
    (variable) => new Column(expression({ case: "unresolvedNamedLambdaVariable", value: variable })),
  );
  return expression({ case: "lambdaFunction", value: { function: body(...columns).expression, arguments: variables } });
}

/** The number of parameters that a function was written with decides whether it gets the index too. */
const arity = (body: { readonly length: number }, least: number, most: number): number =>
  Math.min(Math.max(body.length, least), most);

function higher(
  name: string,
  columns: readonly ColumnOrName[],
  count: number,
  body: (...variables: Column[]) => Column,
) {
  return new Column(call(name, [...columns.map(columnExpression), lambda(count, body)]));
}

const unary =
  (name: string) =>
  (column: ColumnOrName, body: Unary): Column =>
    higher(name, [column], 1, body as (...variables: Column[]) => Column);

const binary =
  (name: string) =>
  (column: ColumnOrName, body: Binary): Column =>
    higher(name, [column], 2, body as (...variables: Column[]) => Column);

const withIndex =
  (name: string) =>
  (column: ColumnOrName, body: Binary): Column =>
    higher(name, [column], arity(body, 1, 2), body as (...variables: Column[]) => Column);

/** Each element of an array, changed; the second parameter is its index from 0. */
export const transform = withIndex("transform");
/** The elements for which the function is true; the second parameter is the index. */
export const filter = withIndex("filter");
export const exists = unary("exists");
export const forall = unary("forall");

/**
 * Folds an array.
 *
 * @example
 * aggregate("amounts", lit(0), (total, amount) => total.plus(amount));
 */
export function aggregate(column: ColumnOrName, initial: Operand, merge: Binary, finish?: Unary): Column {
  const args = [columnExpression(column), lit(initial).expression, lambda(2, merge as (...v: Column[]) => Column)];
  if (finish !== undefined) args.push(lambda(1, finish as (...v: Column[]) => Column));
  return new Column(call("aggregate", args));
}

/** The same as {@link aggregate}. */
export const reduce = aggregate;

/** Sorts by a comparison, which gives a negative number, 0 or a positive one; without it ascending, NULLs last. */
export function array_sort(column: ColumnOrName, compare?: Binary): Column {
  if (compare === undefined) return new Column(call("array_sort", [columnExpression(column)]));
  return higher("array_sort", [column], 2, compare as (...variables: Column[]) => Column);
}

/** Two arrays element by element; the shorter one is filled up with NULL. */
export function zip_with(left: ColumnOrName, right: ColumnOrName, merge: Binary): Column {
  return higher("zip_with", [left, right], 2, merge as (...variables: Column[]) => Column);
}

/** The function gets key and value. */
export const map_filter = binary("map_filter");
export const transform_keys = binary("transform_keys");
export const transform_values = binary("transform_values");

/** The function gets the key and both values, NULL where one map lacks the key. */
export function map_zip_with(left: ColumnOrName, right: ColumnOrName, merge: Ternary): Column {
  return higher("map_zip_with", [left, right], 3, merge as (...variables: Column[]) => Column);
}
