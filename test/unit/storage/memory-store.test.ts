import { expect, test } from "vitest";
import { createMemoryStore } from "../../../lib/storage/index.js";
import { objectStoreContract } from "./object-store-contract.js";

objectStoreContract(async () => ({ store: createMemoryStore(), base: "s3://memory/base/" }));

test("its time is the given one", async () => {
  const now = new Date("2026-01-01T00:00Z");
  expect((await createMemoryStore(() => now).put("s3://b/x", "")).modified).toEqual(now);
});
