import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import type { AwsOptions } from "../aws.js";
import { ExitCode, UserError } from "../errors.js";
import { isFileUri, pathOfFileUri } from "../storage/uri.js";
import { isMap } from "./configuration-value.js";
import type { MetadataTable } from "./context.js";
import { fromDynamoDbItem, isDynamoDbItem } from "./dynamodb-value.js";

export { configurationValue } from "./configuration-value.js";

/** The two attributes an item is looked up by. */
export interface MetadataKey {
  readonly source_system_id: string;
  readonly metadata_type: string;
}

/** Items of a DynamoDB table, or of a JSON file when the table's name is `file:<path>`. */
export function createMetadataTable(aws: AwsOptions = {}): MetadataTable {
  return {
    async item(table, key) {
      if (isFileUri(table)) return itemOfFile(table, key);
      refuseFileName(table);
      const { itemOfDynamoDb } = await import("./metadata-dynamodb.js");
      return itemOfDynamoDb(table, key, aws);
    },
    async systems(table, metadataType) {
      if (isFileUri(table)) return systemsOf(await itemsOfFile(table), metadataType);
      refuseFileName(table);
      const { itemsOfDynamoDb } = await import("./metadata-dynamodb.js");
      return systemsOf(await itemsOfDynamoDb(table, aws), metadataType);
    },
  };
}

function refuseFileName(table: string): void {
  if (!existsSync(table)) return;
  throw new UserError(
    "METADATA_TABLE_NOT_FOUND",
    `${table} would be a DynamoDB table, but there is a file of that name`,
    {
      hint: `Did you mean --metadata_table_name file:${table}?`,
      exitCode: ExitCode.configuration,
    },
  );
}

function systemsOf(items: readonly Readonly<Record<string, unknown>>[], metadataType: string): readonly string[] {
  const ofType = items.filter((item) => String(item.metadata_type) === metadataType);
  return [...new Set(ofType.map((item) => String(item.source_system_id)))].toSorted();
}

/** Ids are numbers in one table and text in the next; the command line has only text. */
export function hasKey(item: Readonly<Record<string, unknown>>, key: MetadataKey): boolean {
  return String(item.source_system_id) === key.source_system_id && String(item.metadata_type) === key.metadata_type;
}

/**
 * The file holds an array of items, `{"items": [...]}`, or one item; each with plain values or DynamoDB's typed ones, so
 * that the output of `aws dynamodb get-item` or `scan` can be used as it is.
 */
async function itemsOfFile(table: string): Promise<Readonly<Record<string, unknown>>[]> {
  const file = pathOfFileUri(table);
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    throw new UserError(
      missing ? "METADATA_TABLE_NOT_FOUND" : "METADATA_ACCESS_DENIED",
      missing ? `There is no file ${file}` : `${file} can't be read: ${(error as Error).message}`,
      { hint: "Check --metadata_table_name", exitCode: ExitCode.configuration, cause: error },
    );
  }
  return parseItems(text, file);
}

async function itemOfFile(table: string, key: MetadataKey): Promise<Readonly<Record<string, unknown>>> {
  const file = pathOfFileUri(table);
  const items = await itemsOfFile(table);
  const found = items.filter((item) => hasKey(item, key));
  const first = found[0];
  if (first !== undefined && found.length === 1) return first;
  if (found.length > 1) {
    throw new UserError("METADATA_ITEM_AMBIGUOUS", `${file} has ${found.length} items with ${describeKey(key)}`, {
      hint: "Keep one of them",
      exitCode: ExitCode.configuration,
    });
  }
  throw new UserError("METADATA_ITEM_NOT_FOUND", `${file} has no item with ${describeKey(key)}`, {
    problems: items.map(
      (item) => `it has source_system_id ${show(item.source_system_id)}, metadata_type ${show(item.metadata_type)}`,
    ),
    hint: "Check --source_system_id and --metadata_type; both are case-sensitive",
    exitCode: ExitCode.configuration,
  });
}

function parseItems(text: string, file: string): Readonly<Record<string, unknown>>[] {
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (error) {
    throw unusable(file, (error as Error).message, error);
  }
  const list = isMap(content) ? (content.items ?? content.Items ?? content.Item ?? content) : content;
  const items = Array.isArray(list) ? list : [list];
  return items.map((item) => {
    if (!isMap(item)) throw unusable(file, 'expected an item, an array of items, or {"items": [...]}');
    return isDynamoDbItem(item) ? fromDynamoDbItem(item) : item;
  });
}

function unusable(file: string, why: string, cause?: unknown): UserError {
  return new UserError("METADATA_INVALID", `${file} holds no configuration items: ${why}`, {
    exitCode: ExitCode.configuration,
    cause,
  });
}

/** The key as messages show it. */
export function describeKey(key: MetadataKey): string {
  return `source_system_id ${show(key.source_system_id)} and metadata_type ${show(key.metadata_type)}`;
}

function show(value: unknown): string {
  return JSON.stringify(value) ?? "(none)";
}
