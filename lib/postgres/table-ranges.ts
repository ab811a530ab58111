import { quoteIdentifier, quoteTable, type TableName } from "./identifiers.js";
import type { PostgresSession } from "./session.js";

/** A part of a table that one reader reads: `SELECT ... FROM <from> WHERE <where>`. */
export interface TableRange {
  /** Quoted name of the table or of one of its partitions. */
  readonly from: string;
  /** `true`, or a condition on `part`. */
  readonly where: string;
  /** The column that the condition is on, as quoted in SQL; default: `ctid`. */
  readonly part?: string;
}

/** Below this many blocks another reader costs more than it saves. */
const MIN_BLOCKS = 2_000;

/**
 * Parts of a table that together are all of it, for readers side by side: ranges of blocks, which need no key and no statistics, of
 * the table or of each of its partitions. From PostgreSQL 14 on each reader touches its own blocks only.
 *
 * @param readers how many are wanted at the most for the whole table.
 */
export async function tableRanges(
  session: Pick<PostgresSession, "query">,
  table: TableName,
  readers: number,
): Promise<readonly TableRange[]> {
  const leaves = await session.query<{
    name: string;
    kind: string;
    blocks: string;
    partition: boolean;
    open: boolean;
  }>(
    `SELECT format('%I.%I', n.nspname, c.relname) AS name, c.relkind::text AS kind, c.oid <> $1::regclass AS partition,
            has_table_privilege(c.oid, 'SELECT')
              AND NOT (SELECT relrowsecurity FROM pg_catalog.pg_class WHERE oid = $1::regclass) AS open,
            pg_catalog.pg_relation_size(c.oid) / current_setting('block_size')::bigint AS blocks
       FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE c.oid = $1::regclass AND c.relkind <> 'p'
         OR c.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree($1::regclass) WHERE isleaf AND level > 0)
      ORDER BY n.nspname, c.relname`,
    [quoteTable(table)],
  );
  // A partitioned table without a partition, or with one that the role reads only by way of the table, and by its policies.
  if (leaves.rows.length === 0 || leaves.rows.some((leaf) => leaf.partition && !leaf.open))
    return [{ from: quoteTable(table), where: "true" }];
  const all = leaves.rows.reduce((sum, leaf) => sum + Number(leaf.blocks), 0);
  return leaves.rows.flatMap(({ name, kind, blocks }) => {
    const share = all === 0 ? 1 : Math.round((Number(blocks) / all) * readers);
    const parts = kind === "r" ? Math.max(1, Math.min(share, Math.floor(Number(blocks) / MIN_BLOCKS))) : 1;
    if (parts === 1) return [{ from: name, where: "true" }];
    // The last range has no end: the table may grow while it is read.
    return Array.from({ length: parts }, (_, index) => {
      const edge = (part: number) => `'(${Math.floor((Number(blocks) * part) / parts)},0)'::tid`;
      const end = index === parts - 1 ? "" : ` AND ctid < ${edge(index + 1)}`;
      return { from: name, where: `ctid >= ${edge(index)}${end}` };
    });
  });
}

/**
 * Parts of a table by ranges of a whole-number column, for what has no blocks of its own: views, foreign tables, and servers
 * before PostgreSQL 14, which read the whole table for each range of blocks. The edges are those of the database's own
 * statistics (`pg_stats`), so that the parts are of about equal size; without any there is one part.
 */
export async function keyRanges(
  session: Pick<PostgresSession, "query">,
  table: TableName,
  column: string,
  readers: number,
): Promise<readonly TableRange[]> {
  const { rows } = await session.query<{ bounds: string[] | null }>(
    `SELECT histogram_bounds::text::text[] AS bounds FROM pg_catalog.pg_stats
      WHERE schemaname = $1 AND tablename = $2 AND attname = $3 AND NOT inherited`,
    [table.schema, table.name, column],
  );
  const bounds = (rows[0]?.bounds ?? []).filter((bound) => /^-?\d+$/.test(bound));
  const parts = Math.max(1, Math.min(readers, bounds.length - 1));
  const from = quoteTable(table);
  if (parts === 1) return [{ from, where: "true" }];
  const part = quoteIdentifier(column);
  const edges = Array.from(
    { length: parts - 1 },
    (_, index) => bounds[Math.floor(((index + 1) * (bounds.length - 1)) / parts)] ?? "0",
  );
  return Array.from({ length: parts }, (_, index) => {
    const [low, high] = [edges[index - 1], edges[index]];
    const conditions = [
      ...(low === undefined ? [] : [`${part} >= ${low}`]),
      ...(high === undefined ? [] : [`${part} < ${high}`]),
    ];
    const where = conditions.join(" AND ");
    return { from, part, where: low === undefined ? `(${where} OR ${part} IS NULL)` : where };
  });
}
