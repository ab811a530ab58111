import type { TableName } from "./identifiers.js";
import type { PostgresSession } from "./session.js";

/** A column of an existing table. */
export interface TableColumn {
  readonly name: string;
  /** Type as SQL text with its modifiers, e.g. `numeric(10,2)`; of a domain, what it is based on. */
  readonly type: string;
  /** Type as SQL text without modifiers, e.g. `numeric`: what a value is cast to, since a cast to `varchar(3)` cuts in silence. */
  readonly baseType: string;
  /** `pg_type.typtype`: `b` base, `d` domain, `e` enum, ... */
  readonly kind: string;
  readonly notNull: boolean;
  readonly hasDefault: boolean;
  /** GENERATED ALWAYS AS (expression) STORED: can't be written. */
  readonly generated: boolean;
  /** GENERATED ALWAYS AS IDENTITY: needs OVERRIDING SYSTEM VALUE. */
  readonly identityAlways: boolean;
  /** `false`: texts that differ in their bytes can be equal (a case-insensitive ICU collation). */
  readonly deterministicCollation: boolean;
}

/** An existing table. */
export interface Table {
  readonly table: TableName;
  /** Changes when the table is dropped and created again: then what we know of its rows no longer holds. */
  readonly oid: string;
  /** `r` table, `p` partitioned table, `v` view, `m` materialized view, `f` foreign table. */
  readonly kind: string;
  readonly columns: readonly TableColumn[];
  /** Columns of the primary key in key order; empty when there is none. */
  readonly primaryKey: readonly string[];
  /** Whether the role that asks is the table's owner, or a member of the role that is: only such a one may alter it. */
  readonly owned: boolean;
  /** What stands against dropping a column. */
  readonly dependents: readonly ColumnDependent[];
}

/** Something that would have to go with a column: a view, a foreign key of another table, a generated column. */
export interface ColumnDependent {
  /** The column of the table. */
  readonly column: string;
  /** What it is, as the server names it: `view sales.totals`. */
  readonly description: string;
  /** It stands against another type of the column, too. */
  readonly standsAgainstTypes: boolean;
}

/** What PostgreSQL's catalog says of a table, or `undefined` when there is none of that name. */
export async function describeTable(session: PostgresSession, table: TableName): Promise<Table | undefined> {
  const found = await session.query<{ oid: string; kind: string; owned: boolean }>(
    `SELECT c.oid::text AS oid, c.relkind::text AS kind, pg_catalog.pg_has_role(c.relowner, 'USAGE') AS owned
       FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')`,
    [table.schema, table.name],
  );
  const first = found.rows[0];
  if (first === undefined) return undefined;
  const columns = await session.query<TableColumn>(
    `SELECT a.attname AS name,
            pg_catalog.format_type(COALESCE(NULLIF(t.typbasetype, 0), a.atttypid),
                                   CASE t.typtype WHEN 'd' THEN t.typtypmod ELSE a.atttypmod END) AS type,
            pg_catalog.format_type(COALESCE(NULLIF(t.typbasetype, 0), a.atttypid), NULL) AS "baseType",
            t.typtype::text AS kind,
            a.attnotnull AS "notNull",
            a.atthasdef OR a.attidentity <> '' AS "hasDefault",
            a.attgenerated <> '' AS generated,
            a.attidentity = 'a' AS "identityAlways",
            COALESCE(l.collisdeterministic, true) AS "deterministicCollation"
       FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
       LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
      WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
      ORDER BY a.attnum`,
    [first.oid],
  );
  const key = await session.query<{ name: string }>(
    `SELECT a.attname AS name
       FROM pg_catalog.pg_index i
       CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k(attnum, position)
       JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
      WHERE i.indrelid = $1::oid AND i.indisprimary AND k.position <= i.indnkeyatts
      ORDER BY k.position`,
    [first.oid],
  );
  return {
    table,
    oid: first.oid,
    kind: first.kind,
    columns: columns.rows,
    primaryKey: key.rows.map((row) => row.name),
    owned: first.owned,
    dependents: await columnDependents(session, first.oid),
  };
}

async function columnDependents(session: PostgresSession, oid: string): Promise<readonly ColumnDependent[]> {
  // Indexes, defaults and constraints of the table itself go with the column ('a'). The expression of a generated column
  // hangs on the columns it reads, whatever the kind of dependency.
  const found = await session.query<ColumnDependent>(
    `SELECT DISTINCT a.attname AS column,
            CASE WHEN r.oid IS NOT NULL THEN pg_catalog.pg_describe_object('pg_catalog.pg_class'::regclass, r.ev_class, 0)
                 WHEN g.oid IS NOT NULL THEN 'generated column ' || pg_catalog.quote_ident(ga.attname)
                 ELSE pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) END AS description,
            d.classid <> 'pg_catalog.pg_constraint'::regclass AS "standsAgainstTypes"
       FROM pg_catalog.pg_depend d
       JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
       LEFT JOIN pg_catalog.pg_rewrite r ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND r.oid = d.objid
       LEFT JOIN pg_catalog.pg_attrdef g
         ON d.classid = 'pg_catalog.pg_attrdef'::regclass AND g.oid = d.objid AND g.adnum <> d.refobjsubid
       LEFT JOIN pg_catalog.pg_attribute ga ON ga.attrelid = g.adrelid AND ga.attnum = g.adnum
      WHERE d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = $1::oid AND d.refobjsubid > 0
        AND (d.deptype = 'n' OR g.oid IS NOT NULL)
     UNION ALL
     SELECT a.attname, 'the partition key of the table', true
       FROM pg_catalog.pg_partitioned_table p
       JOIN pg_catalog.pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = ANY (p.partattrs)
      WHERE p.partrelid = $1::oid`,
    [oid],
  );
  return found.rows;
}

/** Whether the schema is there. */
export async function schemaExists(session: PostgresSession, schema: string): Promise<boolean> {
  const found = await session.query("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1", [schema]);
  return found.count > 0;
}
