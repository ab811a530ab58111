import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { concurrent } from "cassandra-driver";
import { type DataFrame, quoteName, type Value } from "../spark/index.js";
import { quoteCql, quoteTable } from "./identifiers.js";
import { type CassandraSession, type CassandraTable, WITHOUT_RETRIES } from "./session.js";
import type { TableName } from "./spark-options.js";
import { converterOf } from "./values.js";

/** A statement for each of many rows. */
export interface RowStatement {
  readonly cql: string;
  /** Columns of the rows, one for each question mark, in order; after the timestamp where {@link growingFrom} asks for one. */
  readonly columns: readonly string[];
  /**
   * Microseconds: the first question mark is the write's timestamp, from here on, and a greater one whenever a task is tried again. For
   * what is not the same when it is written twice; such a statement is not repeated by the driver.
   */
  readonly growingFrom?: bigint;
  /** Whether it may be repeated as it is. */
  readonly idempotent: boolean;
}

/** How far apart the timestamps of attempts must be that follow one another, in microseconds: room for those of their tasks. */
export const ATTEMPT_ROOM = 1000n;

/** What each write says of itself: a number for all, or the name of a column that has it. */
export interface WriteTimes {
  readonly timestamp?: bigint | string;
  readonly ttl?: number | string;
}

/** What is written of a row: what its key is, and which columns. */
interface Written {
  readonly keys: readonly string[];
  readonly values: readonly string[];
}

/**
 * Sets columns of what `keys` name: rows, or partitions for static columns. It makes no row where there is none.
 *
 * @param times of lists that aren't frozen a timestamp is that of the first attempt: Cassandra clears what is older and adds the elements,
 *   so that a list that is written twice with one timestamp would have all of them twice.
 * @param what `lists` when that is what `values` are.
 */
export function updateStatement(
  table: TableName,
  { keys, values }: Written,
  times: WriteTimes,
  what: "lists" | "cells" = "cells",
): RowStatement {
  const growing = what === "lists" && typeof times.timestamp === "bigint" ? times.timestamp : undefined;
  const using: string[] = [];
  const columns: string[] = [];
  for (const [word, value] of [
    ["TIMESTAMP", times.timestamp],
    ["TTL", times.ttl],
  ] as const) {
    if (value === undefined) continue;
    const isBound = typeof value === "string";
    if (isBound) columns.push(value);
    using.push(`${word} ${isBound || value === growing ? "?" : value}`);
  }
  const usingText = using.length === 0 ? "" : ` USING ${using.join(" AND ")}`;
  return {
    cql: `UPDATE ${quoteTable(table)}${usingText} SET ${values.map(bound).join(", ")} WHERE ${keys.map(bound).join(" AND ")}`,
    columns: [...columns, ...values, ...keys],
    idempotent: what === "cells",
    ...(growing === undefined ? {} : { growingFrom: growing }),
  };
}

/**
 * Deletes what `keys` name, or only `values` of it.
 *
 * @param times of what is deleted; a timestamp can be the name of a column that has it.
 */
export function deleteStatement(
  table: TableName,
  { keys, values }: Written,
  { timestamp }: Pick<WriteTimes, "timestamp"> = {},
): RowStatement {
  const what = values.length === 0 ? "" : `${values.map(quoteCql).join(", ")} `;
  const isBound = typeof timestamp === "string";
  const using = timestamp === undefined ? "" : ` USING TIMESTAMP ${isBound ? "?" : timestamp}`;
  return {
    cql: `DELETE ${what}FROM ${quoteTable(table)}${using} WHERE ${keys.map(bound).join(" AND ")}`,
    columns: isBound ? [timestamp, ...keys] : keys,
    idempotent: true,
  };
}

function bound(name: string): string {
  return `${quoteCql(name)} = ?`;
}

/** How statements are sent. */
export interface StatementSettings {
  readonly rowsPerSecond?: number;
  readonly signal?: AbortSignal;
}

/**
 * Runs a statement for each row from this process, streamed: for Spark servers that have no sink of ours.
 *
 * @returns how many were sent.
 */
export async function executeFromHere(
  session: CassandraSession,
  table: CassandraTable,
  rows: DataFrame,
  statement: RowStatement,
  settings: StatementSettings = {},
): Promise<number> {
  const { columns, growingFrom } = statement;
  const converters = columns.map((name) => converterOf(table.columns.find((column) => column.name === name)?.type));
  const first = growingFrom === undefined ? [] : [converterOf(undefined)(growingFrom)];
  let sent = 0;
  const parameters = async function* () {
    const ordered = rows.select(columns.map(quoteName));
    let next = performance.now();
    for await (const row of ordered.rows(settings.signal === undefined ? {} : { signal: settings.signal })) {
      if (settings.rowsPerSecond !== undefined) {
        const now = performance.now();
        if (next > now + 1) await sleep(next - now);
        next = Math.max(now, next) + 1000 / settings.rowsPerSecond;
      }
      sent++;
      yield [...first, ...row.toArray().map((value, index) => converters[index]?.(value as Value))];
    }
  };
  await concurrent.executeConcurrent(session.client, statement.cql, Readable.from(parameters(), { objectMode: true }), {
    concurrencyLevel: 128,
    collectResults: false,
    raiseOnFirstError: true,
    ...(statement.idempotent ? {} : { executionProfile: WITHOUT_RETRIES }),
  });
  return sent;
}
