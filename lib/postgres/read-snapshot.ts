import * as f from "../spark/functions/index.js";
import type { DataFrame, SparkSession } from "../spark/index.js";
import { jdbcOptions } from "./connection.js";
import type { ExportedSnapshot } from "./exported-snapshot.js";
import type { SparkColumn } from "./spark-columns.js";
import type { TableRange } from "./table-ranges.js";

/** Rows that come with each answer of the server; the driver's default is all of them at once. */
const FETCH_SIZE = 10_000;

// Names that stand beside the column of the ranges in what Spark reads.
const COLUMN = "glue_connect_c";
const EXTRA = "glue_connect_x";

/** What is read of a table. */
export interface SnapshotRead {
  readonly columns: readonly SparkColumn[];
  /** The table in parts, each read by one task. */
  readonly ranges: readonly TableRange[];
  /** SQL condition on the rows; the table is `t`. */
  readonly where: string;
  /** Columns beside those of the table: name and SQL expression of type bigint, boolean or text. */
  readonly extra?: Readonly<Record<string, string>>;
  /** Shown in `pg_stat_activity`. */
  readonly applicationName: string;
}

/**
 * The rows of a table in a snapshot, read by the executors: each range on a connection of its own that has joined the snapshot.
 * Nothing is read before an action; by then the snapshot must be open still.
 *
 * @see `JDBCRDD` of Spark: a `fetchsize` turns autocommit off, then comes the `sessionInitStatement`, then the query.
 */
export function readSnapshot(spark: SparkSession, snapshot: ExportedSnapshot, read: SnapshotRead): DataFrame {
  const extra = Object.entries(read.extra ?? {});
  const list = [
    ...read.columns.map(({ sql }, index) => `${sql} AS ${COLUMN}${index}`),
    ...extra.map(([, sql], index) => `${sql} AS ${EXTRA}${index}`),
  ];
  const parts = new Map<string, { from: string; part: string; conditions: string[] }>();
  for (const { from, part = "ctid", where } of read.ranges) {
    const known = parts.get(from) ?? { from, part, conditions: [] };
    known.conditions.push(where);
    parts.set(from, known);
  }
  const { url = "", ...options } = {
    ...jdbcOptions(snapshot.connection, read.applicationName),
    fetchsize: String(FETCH_SIZE),
    sessionInitStatement: snapshot.sessionInitStatement,
    // All conditions are in the SQL already; Spark's own would be evaluated by PostgreSQL's rules.
    pushDownPredicate: "false",
  };
  const frames = [...parts.values()].map(({ from, part, conditions }) => {
    const whole = conditions.length === 1 && conditions[0] === "true";
    const selected = whole ? list : [...list, `t.${part}`];
    const query = `(SELECT ${selected.join(", ")} FROM ${from} AS t WHERE ${read.where}) AS q`;
    return spark.read.jdbc(url, query, options, conditions);
  });
  const [first, ...others] = frames;
  if (first === undefined) throw new Error("a table has at least one range");
  const select = (frame: DataFrame) =>
    frame.select(
      ...read.columns.map(({ name, decode }, index) => decode(f.col(`${COLUMN}${index}`)).as(name)),
      ...extra.map(([name], index) => f.col(`${EXTRA}${index}`).as(name)),
    );
  return others.reduce((all, frame) => all.unionAll(select(frame)), select(first));
}
