import { expect, test } from "vitest";
import { type ObjectInfo, type ObjectStore, parseS3Uri } from "../../../lib/storage/index.js";

const text = (bytes: Uint8Array | undefined) => (bytes === undefined ? undefined : Buffer.from(bytes).toString("utf8"));

async function all(objects: AsyncIterable<ObjectInfo>): Promise<ObjectInfo[]> {
  const found: ObjectInfo[] = [];
  for await (const object of objects) found.push(object);
  return found;
}

/** Key order is the order of bytes; a file URI is percent-encoded, an S3 one isn't. */
const plainKey = (uri: string) =>
  uri.startsWith("s3") ? parseS3Uri(uri).key : decodeURIComponent(new URL(uri).pathname);

/**
 * What every object store must do; called once for each kind of store.
 *
 * @param open a store, and a fresh place in it that ends with a slash.
 */
export function objectStoreContract(open: () => Promise<{ store: ObjectStore; base: string }>): void {
  test("what was put is what is got, byte for byte", async () => {
    const { store, base } = await open();
    const uri = `${base}folder/state.bin`;
    expect(await store.get(uri)).toBeUndefined();
    const body = Uint8Array.from({ length: 256 }, (_, index) => index);
    const put = await store.put(uri, body);
    const got = await store.get(uri);
    expect(Buffer.from(got?.body ?? [])).toEqual(Buffer.from(body));
    expect(got).toMatchObject({ uri, size: 256, etag: put.etag });
    expect(Math.abs(Date.now() - (got?.modified.getTime() ?? 0))).toBeLessThan(60_000);
  });

  test("text is UTF-8, and an empty object is an object", async () => {
    const { store, base } = await open();
    await store.put(`${base}text`, "größe 🚲\n");
    await store.put(`${base}empty`, "");
    expect(text((await store.get(`${base}text`))?.body)).toBe("größe 🚲\n");
    expect(await store.get(`${base}empty`)).toMatchObject({ size: 0 });
  });

  test("an unconditional put replaces, and the etag changes with the content", async () => {
    const { store, base } = await open();
    const etags = new Set<string>();
    for (const body of ["1", "2", "3"]) etags.add((await store.put(`${base}x`, body)).etag);
    expect(etags.size).toBe(3);
    expect(text((await store.get(`${base}x`))?.body)).toBe("3");
  });

  test("ifNoneMatch writes only where nothing is", async () => {
    const { store, base } = await open();
    const uri = `${base}once`;
    await store.put(uri, "first", { ifNoneMatch: true });
    await expect(store.put(uri, "second", { ifNoneMatch: true })).rejects.toMatchObject({
      code: "PRECONDITION_FAILED",
    });
    expect(text((await store.get(uri))?.body)).toBe("first");
    await store.delete(uri);
    await store.put(uri, "third", { ifNoneMatch: true });
    expect(text((await store.get(uri))?.body)).toBe("third");
  });

  test("ifMatch writes only over exactly that version", async () => {
    const { store, base } = await open();
    const uri = `${base}state`;
    await expect(store.put(uri, "x", { ifMatch: "none" })).rejects.toMatchObject({ code: "PRECONDITION_FAILED" });
    expect(await store.get(uri)).toBeUndefined();

    const first = await store.put(uri, "one", { ifNoneMatch: true });
    const second = await store.put(uri, "two", { ifMatch: first.etag });
    await expect(store.put(uri, "lost", { ifMatch: first.etag })).rejects.toMatchObject({
      code: "PRECONDITION_FAILED",
    });
    const third = await store.put(uri, "three", { ifMatch: (await store.get(uri))?.etag ?? "" });
    await expect(store.put(uri, "lost", { ifMatch: second.etag })).rejects.toMatchObject({
      code: "PRECONDITION_FAILED",
    });
    expect(await store.get(uri)).toMatchObject({ etag: third.etag, size: 5 });

    await store.delete(uri);
    expect(await store.get(uri)).toBeUndefined();
    await expect(store.put(uri, "lost", { ifMatch: third.etag })).rejects.toMatchObject({
      code: "PRECONDITION_FAILED",
    });
    await store.put(uri, "four", { ifNoneMatch: true });
    await expect(store.put(uri, "lost", { ifMatch: third.etag })).rejects.toMatchObject({
      code: "PRECONDITION_FAILED",
    });
    expect(text((await store.get(uri))?.body)).toBe("four");
  });

  test("of 24 writers that create the same object one wins", async () => {
    const { store, base } = await open();
    const uri = `${base}race/create`;
    const winners = await race((index) => store.put(uri, `writer ${index}`, { ifNoneMatch: true }));
    expect(winners).toHaveLength(1);
    expect(text((await store.get(uri))?.body)).toBe(`writer ${winners[0]}`);
  });

  test("of 24 writers over the same version one wins, round after round", async () => {
    const { store, base } = await open();
    const uri = `${base}race/replace`;
    let { etag } = await store.put(uri, "start");
    for (let round = 0; round < 5; round++) {
      const seen = etag;
      const winners = await race((index) => store.put(uri, `${round}/${index}`, { ifMatch: seen }));
      expect(winners).toHaveLength(1);
      const now = await store.get(uri);
      expect(text(now?.body)).toBe(`${round}/${winners[0]}`);
      etag = now?.etag ?? "";
    }
  });

  test("a counter that 8 writers raise by compare-and-set loses no step", async () => {
    const { store, base } = await open();
    const uri = `${base}counter`;
    await store.put(uri, "0");
    const raise = async () => {
      for (let step = 0; step < 5; ) {
        const seen = await store.get(uri);
        const next = String(Number(text(seen?.body)) + 1);
        try {
          await store.put(uri, next, { ifMatch: seen?.etag ?? "" });
          step++;
        } catch (error) {
          expect(error).toMatchObject({ code: "PRECONDITION_FAILED" });
        }
      }
    };
    await Promise.all(Array.from({ length: 8 }, raise));
    expect(text((await store.get(uri))?.body)).toBe("40");
  });

  test("list gives what is below a prefix, in byte order, odd names included", async () => {
    const { store, base } = await open();
    const names = ["b/1", "b/2", "b-c", "b.txt", "bä", "b🚲", "day=2026-01-31/part 1%.parquet", "c/d/e/f", "B"];
    for (const name of names) await store.put(uriOf(base, name), name);
    const everything = await all(store.list(base));
    const keys = everything.map(({ uri }) => plainKey(uri).slice(plainKey(base).length));
    expect(keys).toEqual([...names].sort((left, right) => Buffer.compare(Buffer.from(left), Buffer.from(right))));
    for (const object of everything) expect((await store.get(object.uri))?.etag).toBe(object.etag);
    expect((await all(store.list(`${base}b/`))).map(({ size }) => size)).toEqual([3, 3]);
    expect((await all(store.list(`${base}b`))).length).toBe(names.filter((name) => name.startsWith("b")).length);
    expect(await all(store.list(`${base}nothing/here/`))).toEqual([]);
  });

  test("list shows objects that were written by compare-and-set, and only the objects", async () => {
    const { store, base } = await open();
    const { etag } = await store.put(`${base}s/state.json`, "1");
    await store.put(`${base}s/state.json`, "22", { ifMatch: etag });
    const gone = await store.put(`${base}s/gone.json`, "1");
    await store.put(`${base}s/gone.json`, "2", { ifMatch: gone.etag });
    await store.delete(`${base}s/gone.json`);
    const found = await all(store.list(`${base}s/`));
    expect(found.map(({ uri, size }) => [uri, size])).toEqual([[`${base}s/state.json`, 2]]);
  });

  test("copy replaces the target; copying nothing is an error", async () => {
    const { store, base } = await open();
    await store.put(uriOf(base, "from here/ä 100%"), "content");
    await store.put(`${base}to`, "old");
    await store.copy(uriOf(base, "from here/ä 100%"), `${base}to`);
    expect(text((await store.get(`${base}to`))?.body)).toBe("content");
    await expect(store.copy(`${base}missing`, `${base}to`)).rejects.toMatchObject({ code: "STORAGE_NOT_FOUND" });
    expect(text((await store.get(`${base}to`))?.body)).toBe("content");
  });

  test("copy takes and keeps objects that were written by compare-and-set", async () => {
    const { store, base } = await open();
    const { etag } = await store.put(`${base}from`, "1");
    await store.put(`${base}from`, "2", { ifMatch: etag });
    await store.copy(`${base}from`, `${base}to`);
    const copied = await store.get(`${base}to`);
    expect(text(copied?.body)).toBe("2");
    await store.copy(`${base}to`, `${base}from`);
    await store.put(`${base}to`, "3", { ifMatch: copied?.etag ?? "" });
    expect(text((await store.get(`${base}from`))?.body)).toBe("2");
  });

  test("getRange gives some of the bytes", async () => {
    const { store, base } = await open();
    await store.put(`${base}x`, "0123456789");
    expect(text(await store.getRange(`${base}x`, 2, 5))).toBe("234");
    expect(text(await store.getRange(`${base}x`, 8, 20))).toBe("89");
    await expect(store.getRange(`${base}none`, 0, 1)).rejects.toMatchObject({ code: "STORAGE_NOT_FOUND" });
  });

  test("head tells of an object what get does, without its content", async () => {
    const { store, base } = await open();
    expect(await store.head(`${base}x`)).toBeUndefined();
    const { etag } = await store.put(`${base}x`, "12345");
    expect(await store.head(`${base}x`)).toMatchObject({ uri: `${base}x`, size: 5, etag });
    await store.put(`${base}x`, "1", { ifMatch: etag });
    const { body: _, ...known } = (await store.get(`${base}x`)) ?? {};
    expect(await store.head(`${base}x`)).toEqual(known);
  });

  test("move renames and replaces; moving nothing is an error and changes nothing", async () => {
    const { store, base } = await open();
    await store.put(uriOf(base, "from here/ä 100%"), "content");
    await store.put(`${base}deep/down/to`, "old");
    await store.move(uriOf(base, "from here/ä 100%"), `${base}deep/down/to`);
    expect(text((await store.get(`${base}deep/down/to`))?.body)).toBe("content");
    expect(await store.get(uriOf(base, "from here/ä 100%"))).toBeUndefined();
    await expect(store.move(uriOf(base, "from here/ä 100%"), `${base}deep/down/to`)).rejects.toMatchObject({
      code: "STORAGE_NOT_FOUND",
    });
    expect(text((await store.get(`${base}deep/down/to`))?.body)).toBe("content");
    const { etag } = await store.put(`${base}versioned`, "1");
    await store.put(`${base}versioned`, "2", { ifMatch: etag });
    await store.move(`${base}versioned`, `${base}moved`);
    expect(text((await store.get(`${base}moved`))?.body)).toBe("2");
    expect(await store.get(`${base}versioned`)).toBeUndefined();
  });

  test("deleteAll takes what is in the folder, and not its neighbours", async () => {
    const { store, base } = await open();
    for (const name of ["a/1", "a/b/2", "a b/3", "ab/4", "a.txt"]) await store.put(uriOf(base, name), name);
    await store.deleteAll(`${base}a/`);
    await store.deleteAll(`${base}nothing/`);
    expect((await all(store.list(base))).map(({ size }) => size)).toEqual([5, 5, 4]);
    await expect(store.deleteAll(`${base}ab`)).rejects.toMatchObject({ code: "URI_INVALID" });
  });

  test("delete removes, and deleting nothing is no error", async () => {
    const { store, base } = await open();
    await store.put(`${base}x`, "1");
    await store.delete(`${base}x`);
    await store.delete(`${base}x`);
    await store.delete(`${base}never/was`);
    expect(await store.get(`${base}x`)).toBeUndefined();
  });
}

function uriOf(base: string, name: string): string {
  if (base.startsWith("s3")) return `${base}${name}`;
  return `${base}${name.split("/").map(encodeURIComponent).join("/")}`;
}

/** Numbers of the writers that won; the others must have been told that they lost. */
async function race(write: (index: number) => Promise<unknown>): Promise<number[]> {
  const outcomes = await Promise.allSettled(Array.from({ length: 24 }, (_, index) => write(index)));
  const winners: number[] = [];
  for (const [index, outcome] of outcomes.entries()) {
    if (outcome.status === "fulfilled") winners.push(index);
    else expect(outcome.reason).toMatchObject({ code: "PRECONDITION_FAILED" });
  }
  return winners;
}
