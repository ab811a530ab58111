import { UserError } from "../../lib/errors.js";
import { Alteration } from "../../lib/postgres/alteration.js";
import type { Deletes } from "../../lib/postgres/apply.js";
import { identifierProblem, quoteIdentifier, quoteTable, type TableName } from "../../lib/postgres/identifiers.js";
import type { Table } from "../../lib/postgres/table.js";
import { findColumn } from "./columns.js";
import type { IcebergField } from "./iceberg-metadata.js";

/** Type of the mark's column where the job makes it. */
const MARK_TYPE = "timestamp with time zone";

/** How rows go in the target, and what it takes to have that. */
export interface DeletesPlan {
  readonly deletes: Deletes;
  /** Adds the column where it is missing. */
  readonly ddl: readonly string[];
  /** The target without the column, which is none of the source's; `undefined`: it is still to be created. */
  readonly table: Table | undefined;
}

/** Reads `--deletes hard|soft:<column>`, which {@link deletesProblem} has nothing to say of. */
export function softDeleteColumn(text: string): string | undefined {
  return text.startsWith("soft:") ? text.slice("soft:".length).trim() : undefined;
}

/** What is wrong with `--deletes`; `undefined`: nothing. */
export function deletesProblem(text: string): string | undefined {
  if (text === "hard") return undefined;
  const column = softDeleteColumn(text) ?? "";
  const problem = column === "" ? "it names no column" : identifierProblem(column);
  return problem === undefined
    ? undefined
    : `--deletes must be hard, or soft:<column>; it is ${JSON.stringify(text)}: ${problem}`;
}

/**
 * @param column of {@link softDeleteColumn}.
 * @param target `undefined`: it is created, the column with it.
 * @throws UserError `SOFT_DELETE_COLUMN_UNFIT`.
 */
export function planDeletes(
  column: string | undefined,
  name: TableName,
  target: Table | undefined,
  fields: readonly IcebergField[],
): DeletesPlan {
  if (column === undefined) return { deletes: { kind: "hard" }, ddl: [], table: target };
  const problems: string[] = [];
  if (fields.some((field) => field.name.toLowerCase() === column.toLowerCase())) {
    problems.push(`the source has a column ${JSON.stringify(column)} of its own`);
  }
  if (target === undefined) {
    refuse(problems, column, name);
    const add = `ALTER TABLE ${quoteTable(name)} ADD COLUMN ${quoteIdentifier(column)} ${MARK_TYPE}`;
    return { deletes: { kind: "soft", column, type: "timestamp" }, ddl: [add], table: undefined };
  }
  const there = findColumn(target.columns, column);
  if (there === undefined) {
    if (!target.owned) problems.push("the target has no such column, and only its owner can add it");
    refuse(problems, column, name);
    const alteration = new Alteration(target);
    alteration.add(column, MARK_TYPE);
    return { deletes: { kind: "soft", column, type: "timestamp" }, ddl: alteration.ddl, table: target };
  }
  const type =
    there.baseType === "boolean" ? "boolean" : there.baseType.startsWith("timestamp") ? "timestamp" : undefined;
  if (type === undefined)
    problems.push(`the target's column has type ${there.type}; it can be a timestamp or a boolean`);
  if (type === "timestamp" && there.notNull)
    problems.push("the target's column is NOT NULL, and NULL is what rows have that are not deleted");
  if (there.generated) problems.push("the target's column is generated and can't be written");
  refuse(problems, column, name);
  return {
    deletes: { kind: "soft", column: there.name, type: type ?? "timestamp" },
    ddl: [],
    table: { ...target, columns: target.columns.filter((other) => other.name !== there.name) },
  };
}

function refuse(problems: readonly string[], column: string, name: TableName): void {
  if (problems.length === 0) return;
  throw new UserError(
    "SOFT_DELETE_COLUMN_UNFIT",
    `Deleted rows of ${quoteTable(name)} can't be marked in column ${JSON.stringify(column)}`,
    { problems, hint: "Nothing was changed. Name another column in --deletes soft:<column>" },
  );
}
