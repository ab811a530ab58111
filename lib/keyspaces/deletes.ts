import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { concurrent, types } from "cassandra-driver";
import { UserError } from "../errors.js";
import type { DataFrame, Value } from "../spark/index.js";
import { quoteCql, quoteTable } from "./identifiers.js";
import type { CassandraSession, CassandraTable } from "./session.js";

/** How deletes are sent. */
export interface DeleteSettings {
  readonly timestamp?: bigint;
  readonly rowsPerSecond?: number;
  readonly signal?: AbortSignal;
}

/**
 * Deletes rows by their key from this process, streamed: for Spark servers that have no sink of ours.
 *
 * @param keys with the key's columns among its columns.
 * @returns how many deletes were sent.
 */
export async function deleteFromHere(
  session: CassandraSession,
  table: CassandraTable,
  keys: DataFrame,
  settings: DeleteSettings = {},
): Promise<number> {
  const codes = table.primaryKey.map((name) => table.columns.find((column) => column.name === name)?.code);
  const converters = codes.map((code, index) => converterOf(code, table.primaryKey[index] ?? ""));
  const where = table.primaryKey.map((name) => `${quoteCql(name)} = ?`).join(" AND ");
  const { timestamp } = settings;
  const using = timestamp === undefined ? "" : ` USING TIMESTAMP ${timestamp}`;
  let sent = 0;
  const parameters = async function* () {
    const ordered = keys.select(table.primaryKey.map((name) => `\`${name.replaceAll("`", "``")}\``));
    let next = performance.now();
    for await (const row of ordered.rows(settings.signal === undefined ? {} : { signal: settings.signal })) {
      if (settings.rowsPerSecond !== undefined) {
        const now = performance.now();
        if (next > now + 1) await sleep(next - now);
        next = Math.max(now, next) + 1000 / settings.rowsPerSecond;
      }
      sent++;
      yield row.toArray().map((value, index) => converters[index]?.(value as Value));
    }
  };
  await concurrent.executeConcurrent(
    session.client,
    `DELETE FROM ${quoteTable(table)}${using} WHERE ${where}`,
    Readable.from(parameters(), { objectMode: true }),
    { concurrencyLevel: 128, collectResults: false, raiseOnFirstError: true },
  );
  return sent;
}

/** From Spark's value of a column to the driver's. */
function converterOf(code: number | undefined, column: string): (value: Value) => unknown {
  const { dataTypes } = types;
  switch (code) {
    case dataTypes.bigint:
      return (value) => types.Long.fromString(String(value));
    case dataTypes.timestamp:
      return (value) => new Date(String(value));
    case dataTypes.date:
      return (value) => types.LocalDate.fromString(String(value));
    case dataTypes.time:
      return timeOf;
    case dataTypes.decimal:
      return (value) => types.BigDecimal.fromString(String(value));
    case dataTypes.varint:
      return (value) => types.Integer.fromString(String(value).replace(/\..*$/, ""));
    case dataTypes.inet:
      return (value) => types.InetAddress.fromString(String(value));
    case dataTypes.uuid:
      return (value) => types.Uuid.fromString(String(value));
    case dataTypes.timeuuid:
      return (value) => types.TimeUuid.fromString(String(value));
    case dataTypes.blob:
      return (value) => Buffer.from(value as Uint8Array);
    case dataTypes.text:
    case dataTypes.varchar:
    case dataTypes.ascii:
    case dataTypes.int:
    case dataTypes.smallint:
    case dataTypes.tinyint:
    case dataTypes.boolean:
    case dataTypes.double:
    case dataTypes.float:
      return (value) => value;
    default:
      throw new UserError(
        "CASSANDRA_KEY_TYPE_UNSUPPORTED",
        `Rows with the key column ${column}, of a nested type, can't be deleted from this process`,
        {
          hint: "Put the jar of infra/spark (profile cassandra) on the Spark server, which then deletes them on its executors",
        },
      );
  }
}

/** Spark has a time of day as nanoseconds. */
function timeOf(value: Value): types.LocalTime {
  return new types.LocalTime(types.Long.fromString(String(value)));
}
