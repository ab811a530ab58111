import { ExitCode, UserError } from "../../lib/errors.js";
import { findColumn } from "../../lib/glue/incremental/index.js";
import type { StructType } from "../../lib/spark/index.js";
import type { ObjectInfo, ObjectStore } from "../../lib/storage/index.js";

/** The key columns of tables, by the table's name in lower case. */
export interface Keys {
  /** The file they were read from. */
  readonly uri: string | undefined;
  readonly columns: ReadonlyMap<string, readonly string[]>;
}

/**
 * Reads the latest CSV below a prefix, by its time of modification, since `pk_9.csv` and `pk_10.csv` sort the wrong way by name; of equal times the last by name.
 * It has the columns `table_name,primary_key_column`, one row for each column of a key.
 *
 * @throws UserError `PRIMARY_KEYS_UNREADABLE`.
 */
export async function readKeys(storage: ObjectStore, prefix: string | undefined): Promise<Keys> {
  const none: Keys = { uri: undefined, columns: new Map() };
  if (prefix === undefined) return none;
  let latest: ObjectInfo | undefined;
  for await (const object of storage.list(prefix)) {
    if (!/\.csv$/i.test(object.uri) || object.size === 0) continue;
    if (latest === undefined || object.modified.getTime() >= latest.modified.getTime()) latest = object;
  }
  if (latest === undefined) return none;
  const { uri } = latest;
  const object = await storage.get(uri);
  if (object === undefined) throw unreadable(uri, "it has just been deleted");
  const [header, ...rows] = Buffer.from(object.body)
    .toString("utf8")
    .replace(/^\uFEFF/, "")
    .split(/\r?\n/)
    .filter((line) => line.trim() !== "")
    .map((line) => line.split(",").map((cell) => cell.trim().replace(/^"(.*)"$/, "$1")));
  const table = header?.findIndex((name) => name.toLowerCase() === "table_name") ?? -1;
  const column = header?.findIndex((name) => name.toLowerCase() === "primary_key_column") ?? -1;
  if (table < 0 || column < 0) throw unreadable(uri, `its columns are ${header?.join() ?? "missing"}`);
  const columns = new Map<string, string[]>();
  for (const row of rows) {
    const name = row[table]?.toLowerCase() ?? "";
    const key = row[column] ?? "";
    if (name === "" || key === "") throw unreadable(uri, `${JSON.stringify(row.join())} lacks a value`);
    columns.set(name, [...(columns.get(name) ?? []), key]);
  }
  return { uri, columns };
}

/**
 * The key of a table as the table spells it.
 *
 * @throws UserError `KEY_COLUMN_MISSING`.
 */
export function keyOf(keys: Keys, table: string, schema: StructType): readonly string[] {
  const wanted = keys.columns.get(table.toLowerCase()) ?? [];
  const missing = wanted.filter((name) => findColumn(schema, name) === undefined);
  if (missing.length > 0) {
    throw new UserError(
      "KEY_COLUMN_MISSING",
      `${table} has no column ${missing.join(", ")}, which ${keys.uri} names as its key`,
      {
        hint: "Correct the file of primary keys",
        exitCode: ExitCode.configuration,
      },
    );
  }
  return [...new Set(wanted.map((name) => findColumn(schema, name) ?? name))];
}

function unreadable(uri: string, why: string): UserError {
  return new UserError("PRIMARY_KEYS_UNREADABLE", `The primary keys in ${uri} can't be read: ${why}`, {
    hint: "Expected a CSV with the header table_name,primary_key_column, and a row for each column of a key",
    exitCode: ExitCode.configuration,
  });
}
