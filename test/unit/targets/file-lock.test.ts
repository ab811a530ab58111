import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { expect, test } from "vitest";
import { withFileLock } from "../../../lib/targets/local/file-lock.js";
import { temporaryFolder } from "./temporary-folder.js";

/** How many were at work at once at most, of twenty who want the lock. */
async function mostAtOnce(path: string): Promise<number> {
  let [now, most, done] = [0, 0, 0];
  await Promise.all(
    Array.from({ length: 20 }, () =>
      withFileLock(path, async () => {
        most = Math.max(most, ++now);
        await turn();
        now--;
        done++;
      }),
    ),
  );
  expect(done).toBe(20);
  return most;
}

const dead = (id: string) => JSON.stringify({ pid: 2 ** 22 + 1, began: "long ago", id });
const reused = (id: string) => JSON.stringify({ pid: process.pid, began: "at another time", id });

test("one works at a time, and nothing is left afterwards", async () => {
  const folder = temporaryFolder();
  expect(await mostAtOnce(join(folder, "a.lock"))).toBe(1);
  expect(readdirSync(folder)).toEqual([]);
});

test.each([
  ["a process that has gone", dead],
  ["a pid that another process has now", reused],
])("the lock of %s is taken over by one of many", async (_, content) => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, "a.lock"), content("1"));
  expect(await mostAtOnce(join(folder, "a.lock"))).toBe(1);
  expect(readdirSync(folder)).toEqual([]);
});

test("so is one whose taker was killed while taking it over", async () => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, "a.lock"), dead("1"));
  writeFileSync(join(folder, "a.lock.takeover"), dead("2"));
  expect(await mostAtOnce(join(folder, "a.lock"))).toBe(1);
  expect(readdirSync(folder)).toEqual([]);
});

test("an error of the work goes through and frees the lock", async () => {
  const path = join(temporaryFolder(), "a.lock");
  await expect(withFileLock(path, () => Promise.reject(new Error("no")))).rejects.toThrow("no");
  expect(await withFileLock(path, async () => "free")).toBe("free");
});

test("waiting ends with its signal, and leaves the lock to its owner", async () => {
  const path = join(temporaryFolder(), "a.lock");
  await withFileLock(path, async () => {
    const controller = new AbortController();
    const waiting = withFileLock(path, async () => "never", { signal: controller.signal });
    controller.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
    expect(readdirSync(join(path, ".."))).toEqual(["a.lock"]);
  });
});
