import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { configurationValue, createMetadataTable, createSecrets, credentials } from "../../../lib/glue/index.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "glue-connect-files-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

let count = 0;
async function fileWith(content: unknown): Promise<string> {
  const file = path.join(folder, `${count++}.json`);
  await writeFile(file, typeof content === "string" ? content : JSON.stringify(content));
  return `file:${file}`;
}

const KEY = { source_system_id: "7", metadata_type: "full" };
const metadata = createMetadataTable();

describe("configuration items in a file", () => {
  const plain = { source_system_id: 7, metadata_type: "full", target: { db_load: { aurora_port: 5432 } } };
  const typed = {
    source_system_id: { N: "7" },
    metadata_type: { S: "full" },
    target: { M: { db_load: { M: { aurora_port: { N: "5432" } } } } },
  };

  test.each([
    ["an array", [{ ...plain, metadata_type: "incremental" }, plain]],
    ["an object with items", { items: [plain] }],
    ["one item", plain],
    ["typed values", [typed]],
    ["the output of `aws dynamodb scan`", { Items: [typed], Count: 1 }],
    ["the output of `aws dynamodb get-item`", { Item: typed }],
  ])("%s", async (_, content) => {
    expect(await metadata.item(await fileWith(content), KEY)).toEqual(plain);
  });

  test("a plain item whose maps look like types stays as it is", async () => {
    const odd = { ...plain, sizes: { S: "small", M: "medium" } };
    expect(await metadata.item(await fileWith(odd), KEY)).toEqual(odd);
  });

  test("an item that isn't there is an error that lists those that are", async () => {
    const table = await fileWith([plain, { source_system_id: "x" }]);
    await expect(metadata.item(table, { ...KEY, metadata_type: "FULL" })).rejects.toMatchObject({
      code: "METADATA_ITEM_NOT_FOUND",
      exitCode: 66,
      message: expect.stringContaining('source_system_id "7" and metadata_type "FULL"'),
      problems: [
        'it has source_system_id 7, metadata_type "full"',
        'it has source_system_id "x", metadata_type (none)',
      ],
    });
  });

  test("what can't be used says why", async () => {
    await expect(metadata.item(await fileWith([plain, plain]), KEY)).rejects.toMatchObject({
      code: "METADATA_ITEM_AMBIGUOUS",
    });
    await expect(metadata.item(await fileWith("{"), KEY)).rejects.toMatchObject({ code: "METADATA_INVALID" });
    await expect(metadata.item(await fileWith([1]), KEY)).rejects.toMatchObject({ code: "METADATA_INVALID" });
    await expect(metadata.item(`file:${folder}/none.json`, KEY)).rejects.toMatchObject({
      code: "METADATA_TABLE_NOT_FOUND",
      message: `There is no file ${folder}/none.json`,
    });
  });
});

describe("configurationValue", () => {
  const name = "target.db_load.aurora_host";
  test.each([
    ["nested maps", { target: { db_load: { aurora_host: "h" } } }],
    ["one dotted attribute", { "target.db_load.aurora_host": "h" }],
    ["a map under a dotted attribute", { "target.db_load": { aurora_host: "h" } }],
    ["a dotted attribute in a map", { target: { "db_load.aurora_host": "h" } }],
    ["both, the dotted one wins", { "target.db_load.aurora_host": "h", target: { db_load: { aurora_host: "x" } } }],
    [
      "a spelling that is only half there",
      { "target.db_load": { other: 1 }, target: { db_load: { aurora_host: "h" } } },
    ],
    ["a NULL beside the value", { "target.db_load.aurora_host": null, target: { db_load: { aurora_host: "h" } } }],
  ])("%s", (_, item) => {
    expect(configurationValue(item, name)).toBe("h");
  });

  test("is undefined where there is nothing, and never looks into a prototype", () => {
    expect(configurationValue({ target: "text" }, name)).toBeUndefined();
    expect(configurationValue({ target: ["db_load"] }, "target.length")).toBeUndefined();
    expect(configurationValue({}, "constructor.name")).toBeUndefined();
    expect(configurationValue({ a: { b: 0 } }, "a.b")).toBe(0);
  });
});

describe("secrets", () => {
  const before = { ...process.env };
  afterEach(() => {
    process.env = { ...before };
  });
  const secret = { username: "etl", password: "p w" };

  test("from a file and from the environment", async () => {
    process.env.GLUE_CONNECT_TEST_SECRET = JSON.stringify(secret);
    expect(await createSecrets().get(await fileWith(secret))).toEqual(secret);
    expect(await createSecrets().get("env:GLUE_CONNECT_TEST_SECRET")).toEqual(secret);
  });

  test("a failure says what is missing, never what was found, and isn't remembered", async () => {
    const secrets = createSecrets();
    await expect(secrets.get("env:GLUE_CONNECT_TEST_NONE")).rejects.toMatchObject({
      code: "SECRET_NOT_FOUND",
      message: "The environment has no variable GLUE_CONNECT_TEST_NONE",
      exitCode: 66,
    });
    process.env.GLUE_CONNECT_TEST_NONE = JSON.stringify(secret);
    expect(await secrets.get("env:GLUE_CONNECT_TEST_NONE")).toEqual(secret);
    await expect(secrets.get(`file:${folder}/none`)).rejects.toMatchObject({ code: "SECRET_NOT_FOUND" });
    for (const content of ['{"password": "topsecret"', '"topsecret"', '["topsecret"]', "null"]) {
      const error: unknown = await secrets.get(await fileWith(content)).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ code: "SECRET_INVALID" });
      expect(`${String(error)} ${JSON.stringify(error)}`).not.toContain("topsecret");
    }
  });

  test("credentials take username or user, and name every field that is missing", () => {
    expect(credentials(secret, "x")).toEqual(secret);
    expect(credentials({ user: "etl", password: "p" }, "x").username).toBe("etl");
    let thrown: unknown;
    try {
      credentials({ username: "", password: 12345678 }, "aurora/orders");
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toMatchObject({
      code: "SECRET_INVALID",
      message: expect.stringContaining("aurora/orders"),
      problems: ['no text under "username"', 'no text under "password"'],
    });
    expect(JSON.stringify(thrown)).not.toContain("12345678");
  });
});
