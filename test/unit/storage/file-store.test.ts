import { spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createObjectStore, fileUriOfPath } from "../../../lib/storage/index.js";
import { objectStoreContract } from "./object-store-contract.js";

let root: string;
beforeAll(async () => {
  root = await mkdtemp(path.join(tmpdir(), "glue-connect-store-"));
});
afterAll(() => rm(root, { recursive: true, force: true }));

const store = createObjectStore();
let count = 0;
const place = () => path.join(root, String(count++));
const body = async (uri: string) => Buffer.from((await store.get(uri))?.body ?? []).toString("utf8");

describe("file store", () => {
  objectStoreContract(async () => ({ store, base: `${fileUriOfPath(place())}/` }));

  test("a written object is an ordinary file with the content, also after compare-and-set", async () => {
    const folder = place();
    const file = path.join(folder, "snapshot.txt");
    const uri = fileUriOfPath(file);
    await store.put(uri, "1");
    expect(await readdir(folder)).toEqual(["snapshot.txt"]);
    for (const next of ["2", "3", "4"]) await store.put(uri, next, { ifMatch: (await store.get(uri))?.etag ?? "" });
    expect(await readFile(file, "utf8")).toBe("4");
  });

  test("what a user writes into the file is the object", async () => {
    const file = path.join(place(), "state");
    const uri = fileUriOfPath(file);
    const { etag } = await store.put(uri, "1");
    await store.put(uri, "2", { ifMatch: etag });
    await writeFile(file, "edited");
    expect(await body(uri)).toBe("edited");
    await expect(store.put(uri, "lost", { ifMatch: "v2" })).rejects.toMatchObject({ code: "PRECONDITION_FAILED" });
    await store.put(uri, "3", { ifMatch: (await store.get(uri))?.etag ?? "" });
    expect(await readFile(file, "utf8")).toBe("3");
    await rm(file);
    expect(await store.get(uri)).toBeUndefined();
    await store.put(uri, "4", { ifNoneMatch: true });
    expect(await body(uri)).toBe("4");
  });

  test("a file that a late writer put back to an earlier version deceives no reader", async () => {
    const file = path.join(place(), "state");
    const uri = fileUriOfPath(file);
    await store.put(uri, "1");
    for (const next of ["2", "3", "4"]) await store.put(uri, next, { ifMatch: (await store.get(uri))?.etag ?? "" });
    for (const stale of ["1", "2", "3"]) {
      await writeFile(file, stale);
      expect(await body(uri)).toBe("4");
    }
    await store.put(uri, "5", { ifMatch: (await store.get(uri))?.etag ?? "" });
    expect(await readFile(file, "utf8")).toBe("5");
    await store.delete(uri);
    await writeFile(file, "4");
    expect(await store.get(uri)).toBeUndefined();
  });

  test("processes that are killed at any moment leave no half object, and lose no step of the counter", async () => {
    const file = path.join(place(), "counter");
    const uri = fileUriOfPath(file);
    await store.put(uri, JSON.stringify({ value: 0, by: {} }));
    // Each process adds one until it is killed, and says so after the put was acknowledged.
    const raiser = path.join(place(), "counter-process.mjs");
    await build({
      entryPoints: [fileURLToPath(new URL("counter-process.ts", import.meta.url))],
      outfile: raiser,
      bundle: true,
      platform: "node",
      target: "node20",
      format: "esm",
    });
    const acknowledged = await Promise.all(
      Array.from({ length: 4 }, (_, index) => raiseUntilKilled(raiser, uri, index)),
    );
    const final = JSON.parse(await body(uri)) as { value: number; by: Record<string, number> };
    expect(Object.values(final.by).reduce((sum, raised) => sum + raised, 0)).toBe(final.value);
    for (const [index, steps] of acknowledged.entries()) {
      expect(steps).toBeGreaterThan(0);
      // One step may have taken effect without its answer being heard.
      expect((final.by[index] ?? 0) - steps).toBeOneOf([0, 1]);
    }
  }, 60_000);

  test("relative locations are taken from the working directory", async () => {
    const uri = `file:${path.relative(process.cwd(), place())}/a/b.txt`;
    await store.put(uri, "x");
    expect(await body(uri)).toBe("x");
    const listed: string[] = [];
    for await (const object of store.list(uri.slice(0, -"b.txt".length))) listed.push(object.uri);
    expect(listed).toEqual([uri]);
  });

  test("a place that can't be a file is an error that names it", async () => {
    const folder = place();
    await store.put(fileUriOfPath(path.join(folder, "file")), "x");
    await expect(store.put(fileUriOfPath(path.join(folder, "file", "below")), "x")).rejects.toMatchObject({
      code: "STORAGE_FAILED",
      message: expect.stringContaining("file/below"),
    });
    expect(await store.get(fileUriOfPath(path.join(folder, "file", "below")))).toBeUndefined();
    expect(await store.get(fileUriOfPath(folder))).toBeUndefined();
    await expect(store.get("ftp://host/x")).rejects.toMatchObject({ code: "URI_INVALID" });
    await expect(store.get("file:///bad%zz")).rejects.toMatchObject({ code: "URI_INVALID" });
  });
});

/** @returns how many puts the process acknowledged before it was killed. */
async function raiseUntilKilled(script: string, uri: string, index: number): Promise<number> {
  const child = spawn(process.execPath, [script, uri, String(index)], { stdio: ["ignore", "pipe", "inherit"] });
  let steps = 0;
  const enough = 4 + 3 * index;
  for await (const chunk of child.stdout) {
    steps += String(chunk).split("\n").length - 1;
    if (steps >= enough) child.kill("SIGKILL");
  }
  return steps;
}
