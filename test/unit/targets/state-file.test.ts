import { readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { hasFields, readStateFile, writeStateFile } from "../../../lib/targets/local/state-file.js";
import { temporaryFolder } from "./temporary-folder.js";

const anyState = (value: unknown) => (hasFields(value, { pid: "number", port: "number|null" }) ? value : undefined);

describe("a state file", () => {
  test("comes back as it was written, readable by its owner alone, with nothing left beside it", () => {
    const folder = temporaryFolder();
    const path = join(folder, "spark.json");
    writeStateFile(path, { pid: 1, port: null });
    writeStateFile(path, { pid: 2, port: 7 });
    expect(readStateFile(path, anyState)).toEqual({ pid: 2, port: 7 });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder)).toEqual(["spark.json"]);
  });

  test.each([
    ["is missing", undefined],
    ["was cut short", '{"pid": 12, "po'],
    ["is empty", ""],
    ["is of another form", '{"pid": "12"}'],
    ["is no object", "null"],
  ])("is as good as none when it %s", (_, text) => {
    const path = join(temporaryFolder(), "spark.json");
    if (text !== undefined) writeFileSync(path, text);
    expect(readStateFile(path, anyState)).toBeUndefined();
  });
});
