import type { PostgresSession } from "./session.js";

/** A column that is to be read. */
export interface SourceColumn {
  readonly name: string;
  /** Type as SQL text with its modifiers, e.g. `numeric(10,2)`; of a domain, what it is based on. */
  readonly type: string;
  /** `pg_type.typtype` of it: `b` base, `c` composite, `e` enum, `r` range, ... */
  readonly kind: string;
}

/** A table that is to be read. */
export interface SourceTable {
  readonly schema: string;
  readonly name: string;
  readonly oid: string;
  /** `r` table, `p` partitioned table, `v` view, `m` materialized view, `f` foreign table. */
  readonly kind: string;
  readonly columns: readonly SourceColumn[];
  /** Columns of the primary key in key order; empty when there is none. */
  readonly primaryKey: readonly string[];
}

/**
 * Tables with their columns and keys, in one question for all of them.
 *
 * @param which schemas: all base tables of these, without the partitions of others; names: these, whatever they are.
 */
export async function sourceTables(
  session: PostgresSession,
  which: { readonly schemas: readonly string[] } | { readonly names: readonly (readonly [string, string])[] },
): Promise<readonly SourceTable[]> {
  const named = "names" in which;
  const { rows } = await session.query<SourceTable>(
    `SELECT n.nspname AS schema, c.relname AS name, c.oid::text AS oid, c.relkind::text AS kind,
            COALESCE((SELECT json_agg(json_build_object(
                       'name', a.attname,
                       'type', pg_catalog.format_type(b.oid, CASE t.typtype WHEN 'd' THEN t.typtypmod ELSE a.atttypmod END),
                       'kind', b.typtype) ORDER BY a.attnum)
               FROM pg_catalog.pg_attribute a
               JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
               JOIN pg_catalog.pg_type b ON b.oid = COALESCE(NULLIF(t.typbasetype, 0), t.oid)
              WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]') AS columns,
            COALESCE((SELECT json_agg(a.attname ORDER BY k.position)
               FROM pg_catalog.pg_index i
               CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k(attnum, position)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
              WHERE i.indrelid = c.oid AND i.indisprimary AND k.position <= i.indnkeyatts), '[]') AS "primaryKey"
       FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE ${
        named
          ? "c.relkind IN ('r', 'p', 'v', 'm', 'f') AND (n.nspname, c.relname) IN (SELECT * FROM unnest($1::text[], $2::text[]))"
          : // What a partitioned table shows of its partitions must not come twice.
            `NOT c.relispartition AND n.nspname = ANY ($1::text[]) AND (n.nspname, c.relname) IN (
               SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE')`
      }
      ORDER BY n.nspname, c.relname`,
    named ? [which.names.map(([schema]) => schema), which.names.map(([, name]) => name)] : [which.schemas],
  );
  return rows;
}
