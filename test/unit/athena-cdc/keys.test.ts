import { describe, expect, test } from "vitest";
import { keyOf, readKeys } from "../../../jobs/athena-cdc/keys.js";
import { types } from "../../../lib/spark/index.js";
import { createMemoryStore } from "../../../lib/storage/index.js";

const PREFIX = "s3://lake/keys/";
const SCHEMA = types.struct([types.field("Id", types.bigint), types.field("day", types.date)]);

async function read(text: string) {
  const store = createMemoryStore();
  await store.put(`${PREFIX}keys.csv`, text);
  return await readKeys(store, PREFIX);
}

describe("the file of primary keys", () => {
  test("a row for each column of a key, as the table spells it", async () => {
    const keys = await read(
      '\uFEFFprimary_key_column,table_name\r\n"id",Orders\r\nDAY,orders\r\nday,orders\r\n\r\nx,other\r\n',
    );
    expect(keyOf(keys, "ORDERS", SCHEMA)).toEqual(["Id", "day"]);
    expect(keyOf(keys, "unknown", SCHEMA)).toEqual([]);
  });

  test("columns that a table lacks are named, all of them", async () => {
    const keys = await read("table_name,primary_key_column\norders,id\norders,region\norders,shop\n");
    expect(() => keyOf(keys, "orders", SCHEMA)).toThrow(
      expect.objectContaining({
        code: "KEY_COLUMN_MISSING",
        message: expect.stringContaining("no column region, shop"),
      }),
    );
  });

  test.each([
    ["another header", "table,key\norders,id\n", "its columns are table,key"],
    ["no header", "\n", "its columns are missing"],
    ["a row without a column", "table_name,primary_key_column\norders,\n", '"orders," lacks a value'],
  ])("%s can't be read, and it is said why", async (_, text, why) => {
    await expect(read(text)).rejects.toMatchObject({
      code: "PRIMARY_KEYS_UNREADABLE",
      message: expect.stringContaining(why),
      exitCode: 66,
    });
  });
});
