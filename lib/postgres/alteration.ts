import { quoteIdentifier, quoteLiteral, quoteTable } from "./identifiers.js";
import type { Table, TableColumn } from "./table.js";

/**
 * A table as a list of ALTER TABLE statements will make it: each call adds its statements and changes {@link Alteration.table}, so that what
 * comes after the DDL can be planned before any of it has run.
 *
 * @example
 * const alteration = new Alteration(table);
 * alteration.rename([{ from: "a", to: "b" }, { from: "b", to: "a" }]);
 * alteration.add("note", "text");
 * alteration.ddl; // ALTER TABLE ... RENAME COLUMN "a" TO "glue_connect_moving_1", ...
 */
export class Alteration {
  #table: Table;
  readonly #ddl: string[] = [];

  constructor(table: Table) {
    this.#table = table;
  }

  /** The table after all statements so far. */
  get table(): Table {
    return this.#table;
  }

  get ddl(): readonly string[] {
    return this.#ddl;
  }

  /** Indexes and constraints on the column go with it; views don't, and stand against it. */
  drop(name: string): void {
    this.#alter(`DROP COLUMN ${quoteIdentifier(name)}`);
    this.#table = {
      ...this.#table,
      columns: this.#table.columns.filter((column) => column.name !== name),
      // A primary key can't do without one of its columns: the whole constraint goes.
      primaryKey: this.#table.primaryKey.includes(name) ? [] : this.#table.primaryKey,
    };
  }

  /** All at once: names that change places, in twos or in a ring, go by way of names of ours. */
  rename(pairs: readonly { readonly from: string; readonly to: string }[]): void {
    const waiting = [...pairs];
    while (waiting.length > 0) {
      const taken = new Set(this.#table.columns.map((column) => column.name));
      const free = waiting.findIndex((pair) => !taken.has(pair.to));
      const [pair] = waiting.splice(Math.max(free, 0), 1);
      if (pair === undefined) break;
      if (free >= 0) {
        this.#rename(pair.from, pair.to);
        continue;
      }
      // Every new name is another's old one: one steps aside, which makes room for the others.
      const aside = this.#unusedName(taken);
      this.#rename(pair.from, aside);
      waiting.push({ from: aside, to: pair.to });
    }
  }

  /** NULL in every row that is there. */
  add(name: string, type: string): void {
    this.#alter(`ADD COLUMN ${quoteIdentifier(name)} ${type}`);
    const column: TableColumn = {
      name,
      type,
      baseType: type.replace(/\(.*?\)/, ""),
      kind: "b",
      notNull: false,
      hasDefault: false,
      generated: false,
      identityAlways: false,
      deterministicCollation: true,
    };
    this.#table = { ...this.#table, columns: [...this.#table.columns, column] };
  }

  /** Values are cast as an assignment would; the server rewrites the table unless the types are alike in storage. */
  setType(name: string, type: string): void {
    this.#alter(`ALTER COLUMN ${quoteIdentifier(name)} TYPE ${type}`);
    this.#change(name, { type, baseType: type.replace(/\(.*?\)/, ""), kind: "b" });
  }

  dropNotNull(name: string): void {
    this.#alter(`ALTER COLUMN ${quoteIdentifier(name)} DROP NOT NULL`);
    this.#change(name, { notNull: false });
  }

  /** @param text `undefined` takes the comment away. */
  comment(name: string, text: string | undefined): void {
    this.#ddl.push(commentSql(this.#table.table, name, text));
  }

  #rename(from: string, to: string): void {
    this.#alter(`RENAME COLUMN ${quoteIdentifier(from)} TO ${quoteIdentifier(to)}`);
    this.#change(from, { name: to });
    this.#table = {
      ...this.#table,
      primaryKey: this.#table.primaryKey.map((name) => (name === from ? to : name)),
    };
  }

  #unusedName(taken: ReadonlySet<string>): string {
    for (let number = 1; ; number++) {
      const name = `glue_connect_moving_${number}`;
      if (!taken.has(name)) return name;
    }
  }

  #alter(action: string): void {
    this.#ddl.push(`ALTER TABLE ${quoteTable(this.#table.table)} ${action}`);
  }

  #change(name: string, change: Partial<TableColumn>): void {
    const columns = this.#table.columns.map((column) => (column.name === name ? { ...column, ...change } : column));
    this.#table = { ...this.#table, columns };
  }
}

/** COMMENT ON COLUMN; `undefined` takes the comment away. */
export function commentSql(table: Table["table"], column: string, text: string | undefined): string {
  return `COMMENT ON COLUMN ${quoteTable(table)}.${quoteIdentifier(column)} IS ${text === undefined ? "NULL" : quoteLiteral(text)}`;
}
