/** A CQL identifier, always quoted: without quotes it would be lower-cased, and could be a keyword. */
export function quoteCql(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** `"keyspace"."table"`. */
export function quoteTable({ keyspace, table }: { readonly keyspace: string; readonly table: string }): string {
  return `${quoteCql(keyspace)}.${quoteCql(table)}`;
}
