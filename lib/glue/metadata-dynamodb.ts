import {
  type AttributeValue,
  DescribeTableCommand,
  DynamoDBClient,
  GetItemCommand,
  paginateQuery,
  paginateScan,
} from "@aws-sdk/client-dynamodb";
import { type AwsOptions, awsClientConfig, awsErrorName, awsFailure } from "../aws.js";
import { ExitCode, UserError } from "../errors.js";
import { fromDynamoDbItem } from "./dynamodb-value.js";
import { describeKey, hasKey, type MetadataKey } from "./metadata.js";

type Item = Record<string, AttributeValue>;
type KeyName = keyof MetadataKey;

/** A key attribute of a table, or of anything else that is asked for by value. */
interface KeyColumn {
  readonly name: string;
  /** `S`, `N` or `B`. */
  readonly type: string;
}

/**
 * The item of a DynamoDB table with these two attributes. With both as the table's key that is one GetItem; a table keyed
 * otherwise is queried by the one that is its partition key, or scanned. A module of its own, so that a run that needs no
 * AWS doesn't load the SDK.
 *
 * @throws UserError `METADATA_ITEM_NOT_FOUND`, `METADATA_ITEM_AMBIGUOUS`, `METADATA_TABLE_NOT_FOUND`,
 *   `METADATA_ACCESS_DENIED`, and the codes of `awsFailure`.
 */
export async function itemOfDynamoDb(
  table: string,
  key: MetadataKey,
  aws: AwsOptions,
): Promise<Readonly<Record<string, unknown>>> {
  return await withTable(table, aws, async (client) => {
    const found = await findItems(client, table, key);
    const first = found[0];
    if (first === undefined) {
      throw new UserError("METADATA_ITEM_NOT_FOUND", `Table ${table} has no item with ${describeKey(key)}`, {
        hint: "Check --source_system_id and --metadata_type; both are case-sensitive",
        exitCode: ExitCode.configuration,
      });
    }
    if (found.length > 1) {
      throw new UserError(
        "METADATA_ITEM_AMBIGUOUS",
        `Table ${table} has ${found.length} items with ${describeKey(key)}`,
        {
          hint: "Keep one of them",
          exitCode: ExitCode.configuration,
        },
      );
    }
    return fromDynamoDbItem(first);
  });
}

/**
 * The keys of all items; nothing else of them is read.
 *
 * @throws UserError as {@link itemOfDynamoDb}.
 */
export async function itemsOfDynamoDb(table: string, aws: AwsOptions): Promise<Readonly<Record<string, unknown>>[]> {
  return await withTable(table, aws, async (client) => {
    const items: Readonly<Record<string, unknown>>[] = [];
    const keys = { TableName: table, ConsistentRead: true, ProjectionExpression: "source_system_id, metadata_type" };
    for await (const page of paginateScan({ client }, keys)) items.push(...(page.Items ?? []).map(fromDynamoDbItem));
    return items;
  });
}

async function withTable<T>(table: string, aws: AwsOptions, work: (client: DynamoDBClient) => Promise<T>): Promise<T> {
  const client = new DynamoDBClient(awsClientConfig(aws));
  try {
    return await work(client);
  } catch (error) {
    if (error instanceof UserError) throw error;
    if (awsErrorName(error) === "ResourceNotFoundException") {
      throw new UserError("METADATA_TABLE_NOT_FOUND", `DynamoDB has no table ${table}`, {
        hint: "Check --metadata_table_name, the region and the account; a local file is written file:<path>",
        exitCode: ExitCode.configuration,
        cause: error,
      });
    }
    throw awsFailure(error, {
      service: "DynamoDB",
      doing: `reading the configuration from table ${table}`,
      deniedCode: "METADATA_ACCESS_DENIED",
      permission:
        "dynamodb:DescribeTable, dynamodb:GetItem (dynamodb:Query or dynamodb:Scan for a table with other keys)",
    });
  } finally {
    client.destroy();
  }
}

async function findItems(client: DynamoDBClient, table: string, key: MetadataKey): Promise<Item[]> {
  const { partition, sort } = await describeKeys(client, table);
  const partitionValue = valueFor(partition, key);
  const sortValue = sort === undefined ? undefined : valueFor(sort, key);

  const wholeKey = sort !== undefined && partition.name !== sort.name && sortValue !== undefined;
  if (partitionValue === "impossible" || sortValue === "impossible") return [];
  if (partitionValue !== undefined && wholeKey) {
    const { Item } = await client.send(
      new GetItemCommand({
        TableName: table,
        Key: { [partition.name]: partitionValue, [sort.name]: sortValue },
        // The item may have been written a moment ago by whoever set the load up.
        ConsistentRead: true,
      }),
    );
    return Item === undefined ? [] : [Item];
  }

  const found: Item[] = [];
  const pages =
    partitionValue === undefined
      ? paginateScan({ client }, { TableName: table, ConsistentRead: true })
      : paginateQuery(
          { client },
          {
            TableName: table,
            ConsistentRead: true,
            KeyConditionExpression: "#partition = :value",
            ExpressionAttributeNames: { "#partition": partition.name },
            ExpressionAttributeValues: { ":value": partitionValue },
          },
        );
  // Compared here and not by a filter expression: that would miss ids that are numbers in one item and text in the next.
  for await (const page of pages) {
    found.push(...(page.Items ?? []).filter((item) => hasKey(fromDynamoDbItem(item), key)));
  }
  return found;
}

async function describeKeys(
  client: DynamoDBClient,
  table: string,
): Promise<{ readonly partition: KeyColumn; readonly sort: KeyColumn | undefined }> {
  const { Table } = await client.send(new DescribeTableCommand({ TableName: table }));
  const column = (kind: "HASH" | "RANGE"): KeyColumn | undefined => {
    const name = Table?.KeySchema?.find((entry) => entry.KeyType === kind)?.AttributeName;
    const type = Table?.AttributeDefinitions?.find((definition) => definition.AttributeName === name)?.AttributeType;
    return name === undefined ? undefined : { name, type: type ?? "S" };
  };
  const partition = column("HASH");
  if (partition === undefined) throw new Error(`DynamoDB names no partition key of table ${table}`);
  return { partition, sort: column("RANGE") };
}

/** What is asked for, in the type of the key; `impossible` when no key can be that; `undefined` for another attribute. */
function valueFor(column: KeyColumn, key: MetadataKey): AttributeValue | "impossible" | undefined {
  if (!isKeyName(column.name)) return undefined;
  const text = key[column.name];
  if (column.type === "S") return text === "" ? "impossible" : { S: text };
  if (column.type === "N") return /^[+-]?\d+(\.\d+)?$/.test(text) ? { N: text } : "impossible";
  return undefined;
}

function isKeyName(name: string): name is KeyName {
  return name === "source_system_id" || name === "metadata_type";
}
