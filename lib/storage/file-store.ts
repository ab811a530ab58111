import { randomBytes } from "node:crypto";
import { closeSync, constants, openSync, readdirSync, readSync, statSync } from "node:fs";
import { copyFile, link, rename, rm } from "node:fs/promises";
import path from "node:path";
import { hasVersions, isVersionFolder, readVersioned, versionedName, writeVersion } from "./file-versions.js";
import { makeFolder } from "./make-folder.js";
import type { ObjectInfo, ObjectStore, PutOptions, StoredObject } from "./object-store.js";
import {
  createFile,
  fileError,
  hasCode,
  letOthersRun,
  nothingToCopy,
  plainEtag,
  preconditionFailed,
  readPlain,
  removeFile,
} from "./plain-file.js";
import { fileUriOfPath, isFileUri, pathOfFileUri } from "./uri.js";

/**
 * Objects as files of this machine. Any number of processes may use one folder.
 *
 * Every write goes to a temporary name first, so that a reader sees the old content or the new, never a part.
 * `ifNoneMatch` is the exclusive creation of the file's name; `ifMatch` is the exclusive creation of the next version in a
 * hidden folder beside the file (see `file-versions.ts`). The file system must know hard links.
 */
export function createFileStore(): ObjectStore {
  return { get, getRange, put, head, list, copy, move, delete: remove, deleteAll };
}

async function get(uri: string): Promise<StoredObject | undefined> {
  const file = pathOfFileUri(uri);
  return fileError(`reading ${uri}`, () => {
    const { content } = readVersioned(file);
    if (content === undefined) return undefined;
    const { body, etag, modified } = content;
    return { uri, body, size: body.length, etag, modified };
  });
}

async function getRange(uri: string, from: number, to: number): Promise<Uint8Array> {
  await letOthersRun();
  return await fileError(`reading ${uri}`, () => {
    try {
      const handle = openSync(pathOfFileUri(uri), "r");
      try {
        const bytes = new Uint8Array(to - from);
        return bytes.subarray(0, readSync(handle, bytes, 0, bytes.length, from));
      } finally {
        closeSync(handle);
      }
    } catch (error) {
      if (hasCode(error, "ENOENT")) throw nothingToCopy(uri);
      throw error;
    }
  });
}

async function head(uri: string): Promise<ObjectInfo | undefined> {
  const { content } = await fileError(`reading ${uri}`, () => readVersioned(pathOfFileUri(uri), { body: false }));
  return content === undefined
    ? undefined
    : { uri, size: content.size, etag: content.etag, modified: content.modified };
}

async function put(uri: string, body: string | Uint8Array, options: PutOptions = {}): Promise<ObjectInfo> {
  const file = pathOfFileUri(uri);
  const bytes = typeof body === "string" ? Buffer.from(body, "utf8") : body;
  const conditional = options.ifMatch !== undefined || options.ifNoneMatch !== undefined;
  return fileError(`writing ${uri}`, async () => {
    for (;;) {
      const current = readVersioned(file);
      if (options.ifNoneMatch && current.content !== undefined) throw preconditionFailed(uri);
      if (options.ifMatch !== undefined && current.content?.etag !== options.ifMatch) throw preconditionFailed(uri);
      if (current.version === 0 && options.ifMatch === undefined) {
        const written = await writePlain(file, bytes, options.ifNoneMatch === true);
        if (written === undefined) throw preconditionFailed(uri);
        return { uri, size: bytes.length, ...written };
      }
      const written = await writeVersion(file, current, bytes);
      if (written !== undefined) return { uri, size: bytes.length, ...written };
      if (conditional) throw preconditionFailed(uri);
      // Without a condition the last writer wins: once more, over whoever came first.
    }
  });
}

/** @returns `undefined` when the name had to be free and wasn't. */
async function writePlain(
  file: string,
  bytes: Uint8Array,
  exclusive: boolean,
): Promise<{ readonly etag: string; readonly modified: Date } | undefined> {
  const temporary = temporaryName(file);
  await makeFolder(path.dirname(file));
  try {
    const stat = await createFile(temporary, bytes, { flush: true });
    if (exclusive) await link(temporary, file);
    else await rename(temporary, file);
    return { etag: plainEtag(stat), modified: stat.mtime };
  } catch (error) {
    if (exclusive && hasCode(error, "EEXIST")) return undefined;
    throw error;
  } finally {
    await removeFile(temporary);
  }
}

async function* list(prefix: string): AsyncIterable<ObjectInfo> {
  const whole = pathOfFileUri(prefix);
  // A trailing slash is lost in the path; it says that only what is inside the folder is meant.
  const folder = prefix.endsWith("/") ? whole : path.dirname(whole);
  const start = prefix.endsWith("/") ? path.join(whole, "/") : whole;
  const relative = isFileUri(prefix) && !prefix.startsWith("file:/");
  for await (const { file, hasVersions } of walk(folder, start)) {
    await letOthersRun();
    const content = await fileError(`reading ${file}`, () =>
      hasVersions ? readVersioned(file, { body: false }).content : readPlain(file, { body: false }),
    );
    if (content === undefined) continue;
    const { size, etag, modified } = content;
    const uri = relative ? `file:${path.relative(process.cwd(), file)}` : fileUriOfPath(file);
    yield { uri, size, etag, modified };
  }
}

interface Found {
  readonly file: string;
  /** There was a folder of its versions when its own folder was read. */
  readonly hasVersions: boolean;
}

/** Files below a folder whose path begins with `start`, in the byte order of their paths, as S3 lists keys. */
async function* walk(folder: string, start: string): AsyncIterable<Found> {
  const entries = await fileError(`listing ${folder}`, () => {
    try {
      return readdirSync(folder, { withFileTypes: true });
    } catch (error) {
      if (hasCode(error, "ENOENT", "ENOTDIR")) return [];
      throw error;
    }
  });
  const names = new Map<string, Found & { readonly isFolder: boolean }>();
  for (const entry of entries) {
    const file = path.join(folder, entry.name);
    if (isTemporary(entry.name)) continue;
    if (entry.isDirectory() && isVersionFolder(entry.name)) {
      // An object may be there without its file, when a writer died before it could publish the first one.
      const name = versionedName(entry.name);
      names.set(name, { file: path.join(folder, name), hasVersions: true, isFolder: false });
    } else if (entry.isDirectory()) {
      names.set(`${entry.name}/`, { file, hasVersions: false, isFolder: true });
    } else if (!names.has(entry.name)) {
      names.set(entry.name, { file, hasVersions: false, isFolder: false });
    }
  }
  for (const name of [...names.keys()].sort(byUtf8)) {
    const entry = names.get(name);
    if (entry === undefined) continue;
    const within = path.join(folder, name);
    if (!within.startsWith(start) && !start.startsWith(within)) continue;
    if (entry.isFolder) yield* walk(entry.file, start);
    else if (within.startsWith(start)) yield entry;
  }
}

function byUtf8(left: string, right: string): number {
  return Buffer.compare(Buffer.from(left), Buffer.from(right));
}

async function copy(from: string, to: string): Promise<void> {
  const source = pathOfFileUri(from);
  const target = pathOfFileUri(to);
  const [stored, replaced] = await fileError(
    `copying ${from} to ${to}`,
    () => [readVersioned(source, { body: false }), readVersioned(target, { body: false })] as const,
  );
  if (stored.content === undefined) throw nothingToCopy(from);
  if (stored.version > 0 || replaced.version > 0) {
    const object = await get(from);
    if (object === undefined) throw nothingToCopy(from);
    await put(to, object.body);
    return;
  }
  // The usual case, and data files may be large: the kernel copies, nothing passes through this process.
  await fileError(`copying ${from} to ${to}`, async () => {
    const temporary = temporaryName(target);
    await makeFolder(path.dirname(target));
    try {
      await copyFile(source, temporary, constants.COPYFILE_FICLONE);
      await rename(temporary, target);
    } catch (error) {
      if (hasCode(error, "ENOENT") && readPlain(source, { body: false }) === undefined) throw nothingToCopy(from);
      throw error;
    } finally {
      await removeFile(temporary);
    }
  });
}

async function move(from: string, to: string): Promise<void> {
  const source = pathOfFileUri(from);
  const target = pathOfFileUri(to);
  await fileError(`moving ${from} to ${to}`, async () => {
    if (hasVersions(source) || hasVersions(target)) {
      await copy(from, to);
      await remove(from);
      return;
    }
    if (!isFile(source)) throw nothingToCopy(from);
    try {
      await makeFolder(path.dirname(target));
      await rename(source, target);
    } catch (error) {
      if (hasCode(error, "EXDEV")) {
        await copy(from, to);
        await removeFile(source);
        return;
      }
      if (hasCode(error, "ENOENT") && !isFile(source)) throw nothingToCopy(from);
      throw error;
    }
  });
}

function isFile(file: string): boolean {
  try {
    return statSync(file, { throwIfNoEntry: false })?.isDirectory() === false;
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR")) return false;
    throw error;
  }
}

async function deleteAll(folder: string): Promise<void> {
  await fileError(`deleting ${folder}`, () =>
    rm(pathOfFileUri(folder), { recursive: true, force: true, maxRetries: 3, retryDelay: 20 }),
  );
}

async function remove(uri: string): Promise<void> {
  const file = pathOfFileUri(uri);
  await fileError(`deleting ${uri}`, async () => {
    for (;;) {
      const current = readVersioned(file, { body: false });
      if (current.version === 0) {
        try {
          await rm(file, { force: true });
        } catch (error) {
          // No object of that name: it is a folder, or below a file.
          if (!hasCode(error, "ERR_FS_EISDIR", "EISDIR", "ENOTDIR")) throw error;
        }
        return;
      }
      if (current.content === undefined || (await writeVersion(file, current, undefined)) !== undefined) return;
    }
  });
}

const TEMPORARY = /^\..+\.[0-9a-f]{16}\.tmp$/;

function temporaryName(file: string): string {
  return path.join(path.dirname(file), `.${path.basename(file)}.${randomBytes(8).toString("hex")}.tmp`);
}

function isTemporary(name: string): boolean {
  return TEMPORARY.test(name);
}
