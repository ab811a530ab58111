import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { canReach } from "../../../lib/targets/local/postgres-account.js";
import { temporaryFolder } from "./temporary-folder.js";

/** Nobody that owns anything. */
const stranger = { uid: 54_321, gid: 54_321 };

test("another account reaches what every folder on the way lets it through to", () => {
  const folder = temporaryFolder();
  const inner = join(folder, "inner");
  const file = join(inner, "file");
  mkdirSync(inner);
  writeFileSync(file, "");

  chmodSync(folder, 0o711);
  chmodSync(inner, 0o711);
  chmodSync(file, 0o644);
  expect([canReach(inner, stranger), canReach(file, stranger)]).toEqual([true, true]);

  chmodSync(file, 0o640);
  expect([canReach(inner, stranger), canReach(file, stranger)]).toEqual([true, false]);

  chmodSync(file, 0o644);
  chmodSync(folder, 0o710);
  expect([canReach(inner, stranger), canReach(file, stranger)]).toEqual([false, false]);
  expect(canReach(file, undefined)).toBe(true);
});
