import type { ExportedSnapshot } from "../../lib/postgres/exported-snapshot.js";
import { quoteTable } from "../../lib/postgres/identifiers.js";
import { readSnapshot } from "../../lib/postgres/read-snapshot.js";
import type { SourceTable } from "../../lib/postgres/source-tables.js";
import type { SparkColumn } from "../../lib/postgres/spark-columns.js";
import { keyRanges, type TableRange, tableRanges } from "../../lib/postgres/table-ranges.js";
import type { DataFrame, SparkSession } from "../../lib/spark/index.js";
import { versioned } from "./decision.js";
import { VERSION } from "./window.js";

/** Up to so many rows one reader is quicker than several, and PostgreSQL may choose an index. */
const SMALL = 50_000n;
/** From this version on a range of blocks costs a look at these blocks only. */
const BLOCK_RANGES = 140_000;

/** See {@link SourceRows.versions}. */
export interface Versions {
  readonly versions: string | null;
  readonly others: bigint;
}

/** The rows of a table in a snapshot, for the executors. */
export class SourceRows {
  readonly #snapshot: ExportedSnapshot;
  readonly #table: SourceTable;
  readonly #columns: readonly SparkColumn[];
  readonly #options: { readonly readers: number; readonly applicationName: string };

  constructor(
    snapshot: ExportedSnapshot,
    table: SourceTable,
    columns: readonly SparkColumn[],
    options: { readonly readers: number; readonly applicationName: string },
  ) {
    this.#snapshot = snapshot;
    this.#table = table;
    this.#columns = columns;
    this.#options = options;
  }

  /**
   * Rows on a condition, by several readers when there are many.
   *
   * @param where SQL; the table is `t`.
   * @param rows how many there are, about.
   * @param extra columns beside the table's: name and SQL expression.
   */
  async read(
    spark: SparkSession,
    where: string,
    rows: bigint,
    extra: Readonly<Record<string, string>> = {},
  ): Promise<DataFrame> {
    return await this.#read(spark, this.#columns, where, rows, extra);
  }

  /** Whether so many rows come by one reader. */
  areFew(rows: bigint): boolean {
    return rows <= SMALL || this.#options.readers === 1;
  }

  /** The keys of all rows. */
  async keys(spark: SparkSession): Promise<DataFrame> {
    const key = this.#columns.filter(({ name }) => this.#table.primaryKey.includes(name));
    return await this.#read(spark, key, "true", SMALL + 1n, {});
  }

  /**
   * What a set of rows is, as row versions (`null` where rows have none), and how many of them aren't surely among those that a batch
   * writes.
   *
   * @param where SQL conditions: which rows, and which of them aren't.
   */
  async versions({ where, others }: { readonly where: string; readonly others: string }): Promise<Versions> {
    const from = quoteTable(this.#table);
    const [row] = await this.#snapshot.query<{ versions: string | null; others: string }>(
      `reading ${from}`,
      `SELECT ${versioned(this.#table) ? `COALESCE(sum(${VERSION}), 0)::text` : "NULL"} AS versions,
              (count(*) FILTER (WHERE COALESCE(${others}, true)))::text AS others
         FROM ${from} AS t WHERE ${where}`,
    );
    return { versions: row?.versions ?? null, others: BigInt(row?.others ?? 0) };
  }

  async #read(
    spark: SparkSession,
    columns: readonly SparkColumn[],
    where: string,
    rows: bigint,
    extra: Readonly<Record<string, string>>,
  ): Promise<DataFrame> {
    return readSnapshot(spark, this.#snapshot, {
      columns,
      ranges: await this.#ranges(rows),
      where,
      extra,
      applicationName: this.#options.applicationName,
    });
  }

  async #ranges(rows: bigint): Promise<readonly TableRange[]> {
    const { readers } = this.#options;
    const from = quoteTable(this.#table);
    if (this.areFew(rows)) return [{ from, where: "true" }];
    const asking = {
      query: async <Row>(text: string, values: readonly unknown[] = []) => {
        const found = await this.#snapshot.query<Row>(`reading ${from}`, text, values);
        return { rows: found, count: found.length };
      },
    };
    if (versioned(this.#table) && this.#snapshot.serverVersion >= BLOCK_RANGES) {
      return await tableRanges(asking, this.#table, readers);
    }
    const first = this.#table.columns.find(
      ({ name, type }) => name === this.#table.primaryKey[0] && /^(small|big)?int(eger)?$/.test(type),
    );
    return first === undefined ? [{ from, where: "true" }] : await keyRanges(asking, this.#table, first.name, readers);
  }
}
