import { create, type Message, toJson } from "@bufbuild/protobuf";
import type { SqlCommand, WriteOperation } from "../generated/spark/connect/commands_pb.js";
import {
  type Read_DataSource,
  type Relation,
  RelationSchema,
  type SQL,
} from "../generated/spark/connect/relations_pb.js";
import { literal } from "./literal.js";
import { expression } from "./nodes.js";
import { mapPlan } from "./visitor.js";

/** What stands where a secret was. */
export const REDACTED = "*(redacted)";

const SECRET_KEY = /password|passwd|secret|token|credential|access.?key|private.?key|account.?key|sas/i;
/** `user:secret@host`, `password=secret` and the like inside a JDBC or other URL. */
const URL_SECRETS: readonly (readonly [RegExp, string])[] = [
  [/(:\/\/[^/@\s:]*):[^/@\s]*@/g, `$1:${REDACTED}@`],
  [/([?&;](?:[\w.-]*(?:password|passwd|secret|token|credential|key)[\w.-]*)=)[^&;]*/gi, `$1${REDACTED}`],
];

type Options = { readonly [key: string]: string };

/**
 * A copy of a plan without secrets: option values whose key speaks of passwords, secrets, tokens or keys, and the same
 * inside URLs. Whatever prints a plan prints this.
 *
 * @example
 * redact(spark.read.jdbc(url, "orders", { user: "etl", password: "hunter2" }).relation); // password: "*(redacted)"
 */
export function redact<T>(plan: T): T {
  return mapPlan(plan, (message) => {
    const withOptions = message as Message & { options?: unknown; tableProperties?: unknown };
    const changed: Record<string, unknown> = {};
    if (isOptions(withOptions.options)) changed.options = redactOptions(withOptions.options);
    if (isOptions(withOptions.tableProperties)) changed.tableProperties = redactOptions(withOptions.tableProperties);
    for (const field of ["args", "namedArguments"]) {
      const values = (message as unknown as Record<string, unknown>)[field];
      if (isOptions(values)) changed[field] = redactArguments(values);
    }
    switch (message.$typeName) {
      case "spark.connect.Read.DataSource":
        changed.paths = (message as Read_DataSource).paths.map(redactUrl);
        break;
      case "spark.connect.WriteOperation": {
        const { saveType } = message as WriteOperation;
        if (saveType.case === "path") changed.saveType = { case: "path", value: redactUrl(saveType.value) };
        break;
      }
      case "spark.connect.SQL":
        changed.query = redactSql((message as SQL).query);
        break;
      case "spark.connect.SqlCommand":
        changed.sql = redactSql((message as SqlCommand).sql);
        break;
    }
    return { ...message, ...changed };
  });
}

/**
 * A copy of a plan without what differs from run to run: plan ids are counted from 1, inputs before what is built on
 * them, so that a column's link to its DataFrame is still seen; the variables of lambdas likewise.
 */
export function canonical<T>(plan: T): T {
  const ids = new Map<bigint, bigint>();
  const names = new Map<string, string>();
  const idOf = (id: bigint): bigint => {
    const known = ids.get(id) ?? BigInt(ids.size + 1);
    ids.set(id, known);
    return known;
  };
  const nameOf = (name: string): string => {
    const known = names.get(name) ?? `v${names.size + 1}`;
    names.set(name, known);
    return known;
  };
  return mapPlan(plan, (message) => {
    const node = message as Message & { planId?: bigint; nameParts?: string[] };
    if (typeof node.planId === "bigint") return { ...node, planId: idOf(node.planId) };
    if (node.$typeName === "spark.connect.Expression.UnresolvedNamedLambdaVariable") {
      return { ...node, nameParts: (node.nameParts ?? []).map(nameOf) };
    }
    return message;
  });
}

/** A relation as protobuf JSON, canonical and without secrets. */
export function planToJson(plan: Relation): unknown {
  return toJson(RelationSchema, create(RelationSchema, redact(canonical(plan))));
}

function redactOptions(options: Options): Options {
  return Object.fromEntries(
    Object.entries(options).map(([key, value]) => [key, SECRET_KEY.test(key) ? REDACTED : redactUrl(value)]),
  );
}

/** Named arguments of SQL: the values are literals or expressions, so a secret one is left out as a whole. */
function redactArguments(values: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const kept = Object.entries(values).map(([name, value]) => {
    if (!SECRET_KEY.test(name)) return [name, value];
    const isLiteral = (value as Partial<Message>).$typeName === "spark.connect.Expression.Literal";
    const hidden = literal(REDACTED);
    return [name, isLiteral ? hidden : expression({ case: "literal", value: hidden })];
  });
  return Object.fromEntries(kept);
}

function redactUrl(text: string): string {
  return URL_SECRETS.reduce((result, [pattern, replacement]) => result.replace(pattern, replacement), text);
}

/** Options written into SQL: `OPTIONS (password 'hunter2')`, `'secret.key' = "..."`. */
function redactSql(sql: string): string {
  const quoted =
    /(['"`]?[\w.-]{0,80}(?:password|passwd|secret|token|credential|access.?key)[\w.-]{0,80}['"`]?\s{0,9}=?\s{0,9})(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")/gi;
  return redactUrl(sql.replace(quoted, `$1'${REDACTED}'`));
}

function isOptions(value: unknown): value is Options {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !("$typeName" in value);
}
