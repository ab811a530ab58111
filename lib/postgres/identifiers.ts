import { UserError } from "../errors.js";

/** A table by schema and name, both exactly as PostgreSQL stores them. */
export interface TableName {
  readonly schema: string;
  readonly name: string;
}

/** PostgreSQL cuts longer identifiers in silence (NAMEDATALEN - 1), so that two long names can become one. */
const MAX_IDENTIFIER_BYTES = 63;

/**
 * An identifier as SQL text: always quoted, so that case, spaces, quotes and key words survive.
 *
 * @example
 * quoteIdentifier('Order "A"'); // "Order ""A"""
 * @throws UserError `IDENTIFIER_INVALID` for an empty name, one with U+0000, or one over 63 bytes.
 */
export function quoteIdentifier(name: string): string {
  const problem = identifierProblem(name);
  if (problem !== undefined) {
    throw new UserError("IDENTIFIER_INVALID", `PostgreSQL can't name anything ${JSON.stringify(name)}: ${problem}`, {
      hint: "Use a name of 1 to 63 bytes",
    });
  }
  return `"${name.replaceAll('"', '""')}"`;
}

/** Why PostgreSQL would refuse or shorten this name, or `undefined` when it is fine. */
export function identifierProblem(name: string): string | undefined {
  if (name === "") return "the name is empty";
  if (name.includes("\u0000")) return "it contains the character U+0000";
  const bytes = Buffer.byteLength(name, "utf8");
  if (bytes > MAX_IDENTIFIER_BYTES)
    return `it has ${bytes} bytes, and the server cuts names at ${MAX_IDENTIFIER_BYTES}`;
  return undefined;
}

/** `"schema"."name"`. */
export function quoteTable(table: TableName): string {
  return `${quoteIdentifier(table.schema)}.${quoteIdentifier(table.name)}`;
}

/** A text value as an SQL literal, for the few statements that take no parameters (COMMENT, SET). */
export function quoteLiteral(value: string): string {
  const escaped = value.replaceAll("'", "''");
  return escaped.includes("\\") ? `E'${escaped.replaceAll("\\", "\\\\")}'` : `'${escaped}'`;
}
