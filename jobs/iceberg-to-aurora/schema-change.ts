import { Alteration } from "../../lib/postgres/alteration.js";
import { identifierProblem, quoteTable } from "../../lib/postgres/identifiers.js";
import type { ColumnDependent, Table } from "../../lib/postgres/table.js";
import { fieldFits, findColumn, nativeType } from "./columns.js";
import { compareTypes } from "./field-types.js";
import { formatType, type IcebergField } from "./iceberg-metadata.js";

/** What a change of the source's schema means for the target; nothing is done yet. */
export interface SchemaChange {
  /** What changed in the source, in sentences; empty: nothing that the target has to follow. */
  readonly changes: readonly string[];
  /** Statements for the target, in an order in which they work. */
  readonly ddl: readonly string[];
  /** The target as it is once the statements have run. */
  readonly table: Table;
  /** Why the target can't follow. */
  readonly problems: readonly string[];
  /** Why all rows must be held against the source: a change of them that no comparison of snapshots shows. */
  readonly reconcile: string | undefined;
}

/**
 * Holds the source's fields against those of the last load, by field id: so a rename is told from a drop and an add, and names that
 * were swapped are seen.
 *
 * Dropped columns go first, since another may take their name; then names change, then columns are added, widened, and made
 * nullable. Comments follow what is documented in the source.
 *
 * @param before the fields of the last load.
 * @param now the fields as they are.
 * @param keys names of the key columns at the last load.
 * @param written the fields that the snapshot of the last load was written with: one of them may have been dropped after it, and come
 *   back with a snapshot that is read with its own schema. Its values are in both snapshots then, and not in the target.
 */
export function followSchema(
  before: readonly IcebergField[],
  now: readonly IcebergField[],
  keys: readonly string[],
  target: Table,
  written: readonly IcebergField[] = [],
): SchemaChange {
  const changes: string[] = [];
  const problems: string[] = [];
  let reconcile: string | undefined;
  const alteration = new Alteration(target);
  const isById = new Map(now.map((field) => [field.id, field]));
  const wasById = new Map(before.map((field) => [field.id, field]));
  const columnOf = new Map(before.map((field) => [field.id, findColumn(target.columns, field.name)?.name]));
  const dependentsOn = (column: string) => target.dependents.filter((dependent) => dependent.column === column);
  const refuse = (what: string, column: string, why: readonly ColumnDependent[]) => {
    for (const { description } of why) {
      problems.push(`${what}: ${description} depends on the target's column ${JSON.stringify(column)}`);
    }
  };

  for (const was of before) {
    if (isById.has(was.id)) continue;
    const what = `column ${quoted(was)} was dropped`;
    const again = now.find((field) => field.name === was.name && !wasById.has(field.id));
    changes.push(again === undefined ? what : `${what} and added again (field ${again.id}, ${formatType(again.type)})`);
    const column = columnOf.get(was.id);
    if (column === undefined) continue;
    if (keys.includes(was.name)) {
      problems.push(`${what}, and it is of the key`);
      continue;
    }
    refuse(what, column, dependentsOn(column));
    alteration.drop(column);
  }

  const renames: { from: string; to: string }[] = [];
  for (const field of now) {
    const was = wasById.get(field.id);
    const column = columnOf.get(field.id);
    if (was === undefined || was.name === field.name) continue;
    changes.push(`column ${quoted(was)} was renamed to ${quoted(field)}`);
    if (column === undefined || column === field.name) continue;
    const problem = identifierProblem(field.name);
    if (problem === undefined) renames.push({ from: column, to: field.name });
    else problems.push(`column ${quoted(field)}: PostgreSQL can't have this name, ${problem}`);
  }
  const moving = new Set(renames.map((pair) => pair.from));
  for (const { from, to } of renames) {
    const other = alteration.table.columns.some((column) => column.name === to && !moving.has(to));
    if (other) {
      problems.push(
        `column ${JSON.stringify(from)} was renamed to ${JSON.stringify(to)}: the target has another column of that name`,
      );
    }
  }
  if (problems.length === 0) alteration.rename(renames);

  for (const field of now) {
    const was = wasById.get(field.id);
    const column = findColumn(alteration.table.columns, field.name);
    if (was === undefined) {
      const again = before.some((old) => old.name === field.name && !isById.has(old.id));
      if (!again) changes.push(`column ${quoted(field)} was added (field ${field.id}, ${formatType(field.type)})`);
      if (column !== undefined) {
        reconcile = `column ${quoted(field)} was added to the source, and the target had one of that name`;
        continue;
      }
      const type = nativeType(field.type);
      // What can't be a column is told, with all else that stands against the load, when the columns are mapped.
      if (type === undefined || identifierProblem(field.name) !== undefined) continue;
      alteration.add(field.name, type);
      if (written.some((old) => old.id === field.id))
        reconcile = `column ${quoted(field)} is back, and the target has dropped its values`;
      if (field.initialDefault !== undefined)
        reconcile = `column ${quoted(field)} was added with a default for old rows`;
      if (field.doc !== undefined && target.owned) alteration.comment(field.name, field.doc);
      continue;
    }
    const typeChange = compareTypes(was.type, field.type);
    if (typeChange !== "same") {
      const what = `column ${quoted(field)} changed its type from ${formatType(was.type)} to ${formatType(field.type)}`;
      changes.push(what);
      if (typeChange === "unsafe") problems.push(`${what}: the target's values may not fit`);
      if (typeChange === "reshaped") reconcile = `column ${quoted(field)} changed within its nested type`;
      const type = nativeType(field.type);
      if (column !== undefined && type !== undefined && typeChange !== "unsafe" && !fieldFits(field, column)) {
        refuse(
          what,
          column.name,
          dependentsOn(column.name).filter((dependent) => dependent.standsAgainstTypes),
        );
        alteration.setType(column.name, type);
      }
    }
    if (column === undefined) continue;
    if (was.required && !field.required && column.notNull && !keys.includes(was.name)) {
      changes.push(`column ${quoted(field)} became optional`);
      alteration.dropNotNull(column.name);
    }
    if (was.doc !== field.doc && target.owned) alteration.comment(column.name, field.doc);
  }

  const { ddl, table } = alteration;
  if (ddl.length > 0 && !target.owned) {
    const moved = columnsTradeNames(before, now)
      ? "; run by hand they would be planned again, so the job has to run as the owner"
      : "";
    problems.push(
      `the role doesn't own ${quoteTable(table.table)}, and only its owner may run: ${ddl.join("; ")}${moved}`,
    );
  }
  return { changes, ddl, table, problems, reconcile };
}

/** A name went from one field to another: the target's names don't show whether it has followed. */
function columnsTradeNames(before: readonly IcebergField[], now: readonly IcebergField[]): boolean {
  return now.some((field) => before.some((was) => was.name === field.name && was.id !== field.id));
}

const quoted = (field: IcebergField) => JSON.stringify(field.name);
