import { spawn } from "node:child_process";
import { link, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createObjectStore, fileUriOfPath } from "../../../lib/storage/index.js";
import { putInPlace } from "../../../lib/storage/published-files.js";
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

  test("a place that takes no folders is refused, where Node's own mkdir would never end", async () => {
    const file = path.join(place(), "file");
    await store.put(fileUriOfPath(file), "1");
    await expect(store.put(`${fileUriOfPath(file)}/below/it`, "2")).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    await expect(store.put("file:///proc/none/of/these", "1")).rejects.toMatchObject({
      code: "STORAGE_ACCESS_DENIED",
      exitCode: 66,
      message: expect.stringContaining("/proc"),
    });
    await expect(store.copy(fileUriOfPath(file), "file:///proc/none/copy")).rejects.toMatchObject({
      code: "STORAGE_ACCESS_DENIED",
    });
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

  /** An object that had these contents one after the other; the first was there without compare-and-set. */
  async function written(...contents: readonly string[]) {
    const file = path.join(place(), "state");
    const uri = fileUriOfPath(file);
    await store.put(uri, contents[0] ?? "");
    for (const next of contents.slice(1)) await store.put(uri, next, { ifMatch: (await store.get(uri))?.etag ?? "" });
    return { file, uri, versions: path.join(path.dirname(file), ".state.versions") };
  }

  test("a file that a late writer put back to an earlier version deceives no reader", async () => {
    const { file, uri, versions } = await written("1", "2", "3", "4");
    for (const [version, stale] of [
      [2, "2"],
      [3, "3"],
    ] as const) {
      await putInPlace(versions, file, version, Buffer.from(stale));
      expect([await readFile(file, "utf8"), await body(uri)]).toEqual([stale, "4"]);
    }
    await store.put(uri, "5", { ifMatch: (await store.get(uri))?.etag ?? "" });
    expect(await readFile(file, "utf8")).toBe("5");
    await store.delete(uri);
    await putInPlace(versions, file, 4, Buffer.from("4"));
    expect(await store.get(uri)).toBeUndefined();
  });

  test("what a user brings back or deletes counts, though it had been there before", async () => {
    const { file, uri } = await written("1", "2", "3", "4");
    for (const earlier of ["3", "1", "2"]) {
      await writeFile(file, earlier);
      expect(await body(uri)).toBe(earlier);
    }
    await store.put(uri, "5", { ifMatch: (await store.get(uri))?.etag ?? "" });
    await writeFile(`${file}.new`, "2");
    await rename(`${file}.new`, file);
    expect(await body(uri)).toBe("2");
    await store.put(uri, "6", { ifMatch: (await store.get(uri))?.etag ?? "" });
    await rename(file, `${file}.aside`);
    for (const next of ["7", "8", "9"]) {
      expect(await store.get(uri)).toBeUndefined();
      await store.put(uri, next, { ifNoneMatch: true });
      expect(await body(uri)).toBe(next);
      if (next !== "9") await rm(file);
    }
    await rename(`${file}.aside`, file);
    expect(await body(uri)).toBe("6");
  });

  test("an object whose writer died before it published is there, over nothing and over an earlier version", async () => {
    const { file, uri, versions } = await written("1", "2");
    const inPlace = async () => (await readdir(versions)).filter((name) => name.endsWith(".done"));
    await rename(file, `${file}.before`);
    const before = await inPlace();
    await store.put(uri, "3", { ifNoneMatch: true });
    // As it was in the moment before the new file was put in place.
    for (const name of await inPlace()) await rm(path.join(versions, name));
    await rm(file);
    expect(await body(uri)).toBe("3");
    for (const name of before) await link(`${file}.before`, path.join(versions, name));
    await rename(`${file}.before`, file);
    expect([await readFile(file, "utf8"), await body(uri)]).toEqual(["2", "3"]);
  });

  test("of versions that an earlier release made, a file with one's content counts as published late", async () => {
    const { file, uri, versions } = await written("1", "2", "3");
    for (const name of await readdir(versions)) {
      const version = path.join(versions, name);
      if (/\D/.test(name)) await rm(version);
      else await writeFile(version, (await readFile(version, "utf8")).replace(',"named":true', ""));
    }
    await writeFile(file, "2");
    expect(await body(uri)).toBe("3");
    for (const next of ["4", "5"]) await store.put(uri, next, { ifMatch: (await store.get(uri))?.etag ?? "" });
    const read = async (content: string) => {
      await rm(file);
      await writeFile(file, content);
      return await body(uri);
    };
    expect([await read("3"), await read("4"), await read("mine")]).toEqual(["5", "4", "mine"]);
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
