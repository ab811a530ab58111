/** A column that is to be read. */
export interface SourceColumn {
  readonly name: string;
  /** `attnum`: it stays with a column that gets another name, and is never used again for another. */
  readonly number: number;
  /** Whether rows that are older than the column have a value in it, although nobody has written them since. */
  readonly filled: boolean;
  /** Type as SQL text with its modifiers, e.g. `numeric(10,2)`; of a domain, what it is based on in the end. */
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
  /**
   * Columns of the primary key in key order; empty when there is none, also where tables inherit from this one: theirs are keys of
   * their own, which may hold the same values.
   */
  readonly primaryKey: readonly string[];
  /** The tables that hold its rows, by oid: itself, its partitions, its children; none of a view. */
  readonly parts: readonly TablePart[];
}

/** A table that holds rows of another one, or of itself. */
export interface TablePart {
  readonly oid: string;
  /** `relfilenode`: another one when the table was rewritten or emptied. `0` where the rows are elsewhere. */
  readonly file: string;
}

/** Who can be asked: a session, or a snapshot. */
export interface CatalogReader {
  query<Row>(text: string, values?: readonly unknown[]): Promise<{ readonly rows: readonly Row[] }>;
}

/**
 * Tables with their columns and keys, in one question for all of them.
 *
 * @param which schemas: all base tables of these, without the partitions of others; names: these, whatever they are.
 */
export async function sourceTables(
  session: CatalogReader,
  which: { readonly schemas: readonly string[] } | { readonly names: readonly (readonly [string, string])[] },
): Promise<readonly SourceTable[]> {
  const named = "names" in which;
  const { rows } = await session.query<SourceTable>(
    `WITH RECURSIVE wanted AS (
       SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE ${
          named
            ? "c.relkind IN ('r', 'p', 'v', 'm', 'f') AND (n.nspname, c.relname) IN (SELECT * FROM unnest($1::text[], $2::text[]))"
            : // What a partitioned table shows of its partitions must not come twice.
              `NOT c.relispartition AND n.nspname = ANY ($1::text[]) AND (n.nspname, c.relname) IN (
                 SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE')`
        }
     ), tree (root, oid) AS (
       SELECT oid, oid FROM wanted
       UNION
       SELECT tree.root, i.inhrelid FROM tree JOIN pg_catalog.pg_inherits i ON i.inhparent = tree.oid
     )
     SELECT n.nspname AS schema, c.relname AS name, c.oid::text AS oid, c.relkind::text AS kind,
            COALESCE((SELECT json_agg(json_build_object(
                       'name', a.attname,
                       'number', a.attnum,
                       'filled', a.attgenerated <> '' OR EXISTS (
                         SELECT FROM tree JOIN pg_catalog.pg_attribute m ON m.attrelid = tree.oid
                          WHERE tree.root = c.oid AND m.attname = a.attname AND m.atthasmissing),
                       'type', pg_catalog.format_type(b.oid, base.modifier),
                       'kind', b.typtype) ORDER BY a.attnum)
               FROM pg_catalog.pg_attribute a
              CROSS JOIN LATERAL (
                 WITH RECURSIVE under (oid, modifier, depth) AS (
                   SELECT a.atttypid, a.atttypmod, 0
                   UNION ALL
                   SELECT d.typbasetype, d.typtypmod, depth + 1 FROM under JOIN pg_catalog.pg_type d ON d.oid = under.oid
                    WHERE d.typtype = 'd')
                 SELECT oid, modifier FROM under ORDER BY depth DESC LIMIT 1) AS base
               JOIN pg_catalog.pg_type b ON b.oid = base.oid
              WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]') AS columns,
            COALESCE((SELECT json_agg(a.attname ORDER BY k.position)
               FROM pg_catalog.pg_index i
               CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k(attnum, position)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
              WHERE i.indrelid = c.oid AND i.indisprimary AND k.position <= i.indnkeyatts
                AND NOT (c.relkind = 'r' AND EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhparent = c.oid))), '[]') AS "primaryKey",
            COALESCE((SELECT json_agg(json_build_object('oid', l.oid::text, 'file', l.relfilenode::text) ORDER BY l.oid)
               FROM tree JOIN pg_catalog.pg_class l ON l.oid = tree.oid
              WHERE tree.root = c.oid AND l.relkind IN ('r', 'm', 'f')), '[]') AS parts
       FROM wanted JOIN pg_catalog.pg_class c ON c.oid = wanted.oid
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      ORDER BY n.nspname, c.relname`,
    named ? [which.names.map(([schema]) => schema), which.names.map(([, name]) => name)] : [which.schemas],
  );
  return rows;
}
