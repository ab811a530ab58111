import { UserError } from "../../errors.js";
import { quoteName, type StructType, sqlType } from "../../spark/index.js";

/** A schema as the state keeps it: names and types (in SQL) in order. */
export type StoredSchema = readonly (readonly [name: string, type: string])[];

/** What became of a table's columns since the last batch. */
export interface SchemaChange {
  readonly added: readonly string[];
  readonly dropped: readonly string[];
  /** `name: old type to new type`. */
  readonly retyped: readonly string[];
}

export function storedSchema(schema: StructType): StoredSchema {
  return schema.fields.map(({ name, dataType }) => [name, sqlType(dataType)]);
}

/** A schema as readers take it. */
export function schemaText(schema: StoredSchema): string {
  return schema.map(([name, type]) => `${quoteName(name)} ${type}`).join(", ");
}

/** `undefined` when nothing changed; order and case of names are no change. */
export function schemaChange(before: StoredSchema, after: StoredSchema): SchemaChange | undefined {
  const old = new Map(before.map(([name, type]) => [name.toLowerCase(), type]));
  const now = new Map(after.map(([name, type]) => [name.toLowerCase(), type]));
  const change: SchemaChange = {
    added: after.filter(([name]) => !old.has(name.toLowerCase())).map(([name]) => name),
    dropped: before.filter(([name]) => !now.has(name.toLowerCase())).map(([name]) => name),
    retyped: after.flatMap(([name, type]) => {
      const was = old.get(name.toLowerCase());
      return was === undefined || was === type ? [] : [`${name}: ${was} to ${type}`];
    }),
  };
  return change.added.length + change.dropped.length + change.retyped.length === 0 ? undefined : change;
}

export function describeChange({ added, dropped, retyped }: SchemaChange): string {
  return [
    ...(added.length > 0 ? [`added ${added.join(", ")}`] : []),
    ...(dropped.length > 0 ? [`dropped ${dropped.join(", ")}`] : []),
    ...(retyped.length > 0 ? [`changed ${retyped.join(", ")}`] : []),
  ].join("; ");
}

/** What `--on_schema_change fail` ends with. */
export function schemaChanged(table: string, change: SchemaChange): UserError {
  return new UserError(
    "SCHEMA_CHANGED",
    `${table}: the columns changed since the last batch: ${describeChange(change)}`,
    {
      hint: "Nothing was written. Use --on_schema_change evolve to go on, or --full-refresh to load the table afresh",
    },
  );
}
