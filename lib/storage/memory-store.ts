import { UserError } from "../errors.js";
import type { ObjectInfo, ObjectStore, StoredObject } from "./object-store.js";
import { nothingToCopy, preconditionFailed } from "./plain-file.js";

/**
 * Objects in this process's memory, under any URI: for simulations and tests. What it gives and takes are copies.
 *
 * @param now the store's clock.
 */
export function createMemoryStore(now: () => Date = () => new Date()): ObjectStore {
  const objects = new Map<string, StoredObject>();
  let writes = 0;
  const known = ({ body: _, ...info }: StoredObject): ObjectInfo => info;
  const need = (uri: string): StoredObject => {
    const object = objects.get(uri);
    if (object === undefined) throw nothingToCopy(uri);
    return object;
  };
  const write = (uri: string, body: Uint8Array): ObjectInfo => {
    const object = { uri, body: Uint8Array.from(body), size: body.length, etag: String(++writes), modified: now() };
    objects.set(uri, object);
    return known(object);
  };
  return {
    async get(uri) {
      const object = objects.get(uri);
      return object === undefined ? undefined : { ...object, body: Uint8Array.from(object.body) };
    },
    async put(uri, body, { ifMatch, ifNoneMatch } = {}) {
      const current = objects.get(uri);
      if (ifNoneMatch && current !== undefined) throw preconditionFailed(uri);
      if (ifMatch !== undefined && current?.etag !== ifMatch) throw preconditionFailed(uri);
      return write(uri, typeof body === "string" ? Buffer.from(body, "utf8") : body);
    },
    async getRange(uri, from, to) {
      return Uint8Array.from(need(uri).body.subarray(from, to));
    },
    async head(uri) {
      const object = objects.get(uri);
      return object === undefined ? undefined : known(object);
    },
    async *list(prefix) {
      const found = [...objects.values()].filter(({ uri }) => uri.startsWith(prefix));
      found.sort((left, right) => Buffer.compare(Buffer.from(left.uri), Buffer.from(right.uri)));
      yield* found.map(known);
    },
    async copy(from, to) {
      write(to, need(from).body);
    },
    async move(from, to) {
      write(to, need(from).body);
      objects.delete(from);
    },
    async delete(uri) {
      objects.delete(uri);
    },
    async deleteAll(folder) {
      if (!folder.endsWith("/")) throw new UserError("URI_INVALID", `${folder} is no folder: its URI must end with /`);
      for (const uri of objects.keys()) if (uri.startsWith(folder)) objects.delete(uri);
    },
  };
}
