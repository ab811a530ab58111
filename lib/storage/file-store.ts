import { createHash, randomBytes } from "node:crypto";
import { link, mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import { ExitCode, UserError } from "../errors.js";
import type { ObjectInfo, ObjectStore, PutOptions, StoredObject } from "./object-store.js";
import { pathOfFileUri } from "./uri.js";

/** Objects in folders of this machine. */
export function createFileStore(): ObjectStore {
  return { get, put, list, copy, delete: remove };
}

async function get(uri: string): Promise<StoredObject | undefined> {
  const file = pathOfFileUri(uri);
  try {
    const [body, info] = await Promise.all([readFile(file), stat(file)]);
    return { uri, body, size: body.length, etag: hash(body), modified: info.mtime };
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw failure(error, uri, "reading");
  }
}

async function put(uri: string, body: string | Uint8Array, options: PutOptions = {}): Promise<ObjectInfo> {
  const file = pathOfFileUri(uri);
  const bytes = typeof body === "string" ? Buffer.from(body, "utf8") : body;
  const temporary = path.join(path.dirname(file), `.${path.basename(file)}.${randomBytes(8).toString("hex")}.tmp`);
  try {
    await mkdir(path.dirname(file), { recursive: true });
    const handle = await open(temporary, "wx");
    try {
      await handle.writeFile(bytes);
      await handle.sync();
    } finally {
      await handle.close();
    }
    if (options.ifNoneMatch) await link(temporary, file);
    else if (options.ifMatch !== undefined && (await get(uri))?.etag !== options.ifMatch) throw preconditionFailed(uri);
    else await rename(temporary, file);
    return { uri, size: bytes.length, etag: hash(bytes), modified: (await stat(file)).mtime };
  } catch (error) {
    if (error instanceof UserError) throw error;
    if ((error as NodeJS.ErrnoException).code === "EEXIST") throw preconditionFailed(uri);
    throw failure(error, uri, "writing");
  } finally {
    await rm(temporary, { force: true });
  }
}

async function* list(prefix: string): AsyncIterable<ObjectInfo> {
  yield* [];
  for (const name of await readdir(pathOfFileUri(prefix))) void name;
}

async function copy(from: string, to: string): Promise<void> {
  const object = await get(from);
  if (object === undefined) throw new UserError("STORAGE_NOT_FOUND", `There is no ${from}`);
  await put(to, object.body);
}

async function remove(uri: string): Promise<void> {
  await rm(pathOfFileUri(uri), { force: true });
}

function hash(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "ENOENT";
}

function preconditionFailed(uri: string): UserError {
  return new UserError("PRECONDITION_FAILED", `${uri} was changed by someone else`, { exitCode: ExitCode.retryable });
}

function failure(error: unknown, uri: string, doing: string): UserError {
  return new UserError("STORAGE_FAILED", `${doing} ${uri}: ${(error as Error).message}`, { cause: error });
}
