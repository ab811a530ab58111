import { randomUUID } from "node:crypto";
import {
  type AttributeValue,
  CreateTableCommand,
  DynamoDBClient,
  PutItemCommand,
  type ScalarAttributeType,
} from "@aws-sdk/client-dynamodb";
import { CreateSecretCommand, DeleteSecretCommand, SecretsManagerClient } from "@aws-sdk/client-secrets-manager";
import { afterEach, describe, expect, inject, test } from "vitest";
import { configurationValue, createMetadataTable, createSecrets } from "../../../lib/glue/index.js";
import { AWS_TEST_OPTIONS, deadEndpoint } from "../../support/aws.js";

const aws = { ...AWS_TEST_OPTIONS, endpoint: inject("awsEndpoint") };
const nowhere = { ...AWS_TEST_OPTIONS, endpoint: await deadEndpoint() };
const dynamo = new DynamoDBClient(aws);
const metadata = createMetadataTable(aws);
const KEY = { source_system_id: "orders", metadata_type: "incremental" };

/** A new table; attributes are written `name:type`, the partition key first. */
async function createTable(...keys: readonly string[]): Promise<string> {
  const name = `metadata-${randomUUID()}`;
  const columns = keys.map((key) => key.split(":") as [string, ScalarAttributeType]);
  await dynamo.send(
    new CreateTableCommand({
      TableName: name,
      BillingMode: "PAY_PER_REQUEST",
      AttributeDefinitions: columns.map(([AttributeName, AttributeType]) => ({ AttributeName, AttributeType })),
      KeySchema: columns.map(([AttributeName], index) => ({ AttributeName, KeyType: index === 0 ? "HASH" : "RANGE" })),
    }),
  );
  return name;
}

const putItem = (table: string, item: Record<string, AttributeValue>) =>
  dynamo.send(new PutItemCommand({ TableName: table, Item: item }));

describe("configuration items in DynamoDB", () => {
  test("nested maps and dotted names give the same values", async () => {
    const table = await createTable("source_system_id:S", "metadata_type:S");
    await putItem(table, {
      source_system_id: { S: "orders" },
      metadata_type: { S: "incremental" },
      target: { M: { db_load: { M: { aurora_host: { S: "nested.example" }, aurora_port: { N: "5432" } } } } },
    });
    await putItem(table, {
      source_system_id: { S: "dotted" },
      metadata_type: { S: "full" },
      "target.db_load.aurora_host": { S: "dotted.example" },
      "target.db_load": { M: { aurora_port: { N: "5433" }, "x.y": { L: [{ BOOL: true }, { NULL: true }] } } },
      "target.db_load.primary_key": { SS: ["id"] },
    });
    const nested = await metadata.item(table, KEY);
    expect(configurationValue(nested, "target.db_load.aurora_host")).toBe("nested.example");
    expect(configurationValue(nested, "target.db_load.aurora_port")).toBe(5432);
    const dotted = await metadata.item(table, { source_system_id: "dotted", metadata_type: "full" });
    expect(configurationValue(dotted, "target.db_load.aurora_host")).toBe("dotted.example");
    expect(configurationValue(dotted, "target.db_load.aurora_port")).toBe(5433);
    expect(configurationValue(dotted, "target.db_load.x.y")).toEqual([true, null]);
    expect(configurationValue(dotted, "target.db_load.missing")).toBeUndefined();
  });

  test("numbers: an id that is N, and a value that no double holds", async () => {
    const table = await createTable("source_system_id:N", "metadata_type:S");
    await putItem(table, {
      source_system_id: { N: "42" },
      metadata_type: { S: "incremental" },
      snapshot: { N: "9007199254740993" },
      price: { N: "1.50" },
    });
    const item = await metadata.item(table, { source_system_id: "42", metadata_type: "incremental" });
    expect(item).toEqual({
      source_system_id: 42,
      metadata_type: "incremental",
      snapshot: "9007199254740993",
      price: 1.5,
    });
    // "abc" is no number: there can't be such an item, and DynamoDB isn't asked a question that it refuses.
    await expect(metadata.item(table, { source_system_id: "abc", metadata_type: "incremental" })).rejects.toMatchObject(
      { code: "METADATA_ITEM_NOT_FOUND" },
    );
  });

  test("a table keyed otherwise: by one of the two, by them the other way round, by neither", async () => {
    const only = await createTable("source_system_id:S");
    const swapped = await createTable("metadata_type:S", "source_system_id:S");
    const other = await createTable("id:S");
    for (const [index, table] of [only, swapped, other].entries()) {
      for (let row = 0; row < 3; row++) {
        await putItem(table, {
          id: { S: `row ${row}` },
          source_system_id: { S: row === 1 ? "orders" : `other ${row}` },
          metadata_type: { S: "incremental" },
          found: { N: String(index) },
        });
      }
      expect(await metadata.item(table, KEY)).toMatchObject({ ...KEY, found: index });
      await expect(metadata.item(table, { ...KEY, metadata_type: "full" })).rejects.toMatchObject({
        code: "METADATA_ITEM_NOT_FOUND",
        exitCode: 66,
      });
    }
  });

  test("a scan goes over all pages, and two items that fit are refused", async () => {
    const table = await createTable("id:S");
    const large = { S: "x".repeat(300_000) };
    // Over 1 MB, which is DynamoDB's page; the item is on the last.
    for (let row = 0; row < 8; row++) await putItem(table, { id: { S: String(row) }, large });
    await putItem(table, { id: { S: "z" }, source_system_id: { N: "7" }, metadata_type: { S: "full" } });
    const key = { source_system_id: "7", metadata_type: "full" };
    expect(await metadata.item(table, key)).toMatchObject({ id: "z" });
    await putItem(table, { id: { S: "zz" }, source_system_id: { S: "7" }, metadata_type: { S: "full" } });
    await expect(metadata.item(table, key)).rejects.toMatchObject({ code: "METADATA_ITEM_AMBIGUOUS" });
  });

  test("what is missing is named", async () => {
    await expect(metadata.item("no-such-table", KEY)).rejects.toMatchObject({
      code: "METADATA_TABLE_NOT_FOUND",
      message: "DynamoDB has no table no-such-table",
      exitCode: 66,
    });
    await expect(createMetadataTable(nowhere).item("any-table", KEY)).rejects.toMatchObject({
      code: "AWS_UNREACHABLE",
      exitCode: 69,
    });
  });
});

describe("secrets in Secrets Manager", () => {
  const client = new SecretsManagerClient(aws);
  const create = async (content: { SecretString?: string; SecretBinary?: Uint8Array }) => {
    const { ARN, Name } = await client.send(new CreateSecretCommand({ Name: `aurora/${randomUUID()}`, ...content }));
    return { arn: ARN ?? "", name: Name ?? "" };
  };

  test("are found by name and by ARN", async () => {
    const { arn, name } = await create({ SecretString: '{"username": "etl", "password": "p", "port": 5432}' });
    const fields = { username: "etl", password: "p", port: 5432 };
    expect(await createSecrets(aws).get(name)).toEqual(fields);
    expect(await createSecrets(aws).get(arn)).toEqual(fields);
  });

  test("that are missing, being deleted, not JSON, not an object or binary are refused without their value", async () => {
    const deleted = await create({ SecretString: "{}" });
    await client.send(new DeleteSecretCommand({ SecretId: deleted.name }));
    const cases = [
      ["no/such/secret", "SECRET_NOT_FOUND"],
      [deleted.name, "SECRET_NOT_FOUND"],
      [(await create({ SecretString: "topsecret{" })).name, "SECRET_INVALID"],
      [(await create({ SecretString: '["topsecret"]' })).name, "SECRET_INVALID"],
      [(await create({ SecretBinary: Buffer.from("topsecret") })).name, "SECRET_INVALID"],
    ] as const;
    for (const [name, code] of cases) {
      const error: unknown = await createSecrets(aws)
        .get(name)
        .catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ code, exitCode: 66, message: expect.stringContaining(name) });
      expect(`${String(error)} ${JSON.stringify(error)}`).not.toContain("topsecret");
    }
  });

  test("an endpoint that doesn't answer", async () => {
    await expect(createSecrets(nowhere).get("any")).rejects.toMatchObject({ code: "AWS_UNREACHABLE", exitCode: 69 });
  });
});

describe("AWS without settings", () => {
  const before = { ...process.env };
  afterEach(() => {
    process.env = { ...before };
  });
  const none = () => {
    for (const name of Object.keys(process.env)) if (name.startsWith("AWS_")) delete process.env[name];
    Object.assign(process.env, {
      AWS_EC2_METADATA_DISABLED: "true",
      AWS_CONFIG_FILE: "/nonexistent",
      AWS_SHARED_CREDENTIALS_FILE: "/nonexistent",
    });
  };

  test("no region", async () => {
    none();
    await expect(createSecrets().get("any")).rejects.toMatchObject({ code: "AWS_REGION_MISSING", exitCode: 66 });
    await expect(createMetadataTable().item("any", KEY)).rejects.toMatchObject({ code: "AWS_REGION_MISSING" });
  });

  test("no credentials", async () => {
    none();
    const regional = { region: "us-east-1", endpoint: aws.endpoint };
    await expect(createSecrets(regional).get("any")).rejects.toMatchObject({
      code: "AWS_CREDENTIALS_MISSING",
      exitCode: 66,
    });
  });
});
