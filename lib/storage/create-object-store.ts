import type { AwsOptions } from "../aws.js";
import { ExitCode, UserError } from "../errors.js";
import { createFileStore } from "./file-store.js";
import type { ObjectStore } from "./object-store.js";
import { isFileUri, isS3Uri } from "./uri.js";

/**
 * One store for `file:` and `s3://` (`s3a://`) locations, chosen by each URI. The AWS SDK is loaded when the first S3
 * location is used.
 *
 * @example
 * const storage = createObjectStore();
 * const state = await storage.get("s3://lake-state/orders/snapshot");
 */
export function createObjectStore(aws: AwsOptions = {}): ObjectStore {
  const files = createFileStore();
  let s3: Promise<ObjectStore> | undefined;
  const storeOf = (uri: string): ObjectStore | Promise<ObjectStore> => {
    if (isFileUri(uri)) return files;
    if (isS3Uri(uri)) {
      s3 ??= import("./s3-store.js").then(({ createS3Store }) => createS3Store(aws));
      return s3;
    }
    throw new UserError("URI_INVALID", `${JSON.stringify(uri)} is no location that can be read or written`, {
      hint: "Write s3://bucket/key, file:///absolute/path or file:relative/path",
      exitCode: ExitCode.configuration,
    });
  };
  return {
    async get(uri) {
      return (await storeOf(uri)).get(uri);
    },
    async put(uri, body, options) {
      return (await storeOf(uri)).put(uri, body, options);
    },
    async getRange(uri, from, to) {
      return (await storeOf(uri)).getRange(uri, from, to);
    },
    async head(uri) {
      return (await storeOf(uri)).head(uri);
    },
    async *list(prefix) {
      yield* (await storeOf(prefix)).list(prefix);
    },
    async copy(from, to) {
      const [source, target] = await Promise.all([storeOf(from), storeOf(to)]);
      if (source === target) return source.copy(from, to);
      const object = await source.get(from);
      if (object === undefined) throw new UserError("STORAGE_NOT_FOUND", `There is no ${from} to copy`);
      await target.put(to, object.body);
    },
    async move(from, to) {
      const [source, target] = await Promise.all([storeOf(from), storeOf(to)]);
      if (source === target) return source.move(from, to);
      throw new UserError("URI_INVALID", `${from} can't be moved to another kind of store, ${to}`);
    },
    async delete(uri) {
      return (await storeOf(uri)).delete(uri);
    },
    async deleteAll(folder) {
      if (!folder.endsWith("/")) throw new UserError("URI_INVALID", `${folder} is no folder: its URI must end with /`);
      return (await storeOf(folder)).deleteAll(folder);
    },
  };
}
