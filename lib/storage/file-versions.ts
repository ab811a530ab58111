import { createHash } from "node:crypto";
import { closeSync, fstatSync, openSync, readFileSync } from "node:fs";
import { link, rename } from "node:fs/promises";
import path from "node:path";
import { makeFolder } from "./make-folder.js";
import { createFile, hasCode, namesIn, type PlainFile, readPlain, removeFile } from "./plain-file.js";
import { nameInPlace, publishedNames, putInPlace, settle, temporaryName } from "./published-files.js";

// Compare-and-set on files, without locks that a dead process would leave behind.
//
// The first `ifMatch` write to `orders.json` makes the folder `.orders.json.versions`. From then on each content of the
// object is a file `1`, `2`, ... in it, and writing over version n is the exclusive creation of n + 1: the file system
// picks the one winner. The newest version is the object; `orders.json` itself is a copy for everyone else, renamed into
// place after the fact ("published"). A name is never given free: old versions shrink to their first line, because a
// process that slept since version n must find n + 1 taken when it wakes up, however much happened since.
//
// A writer may die before it published, and one that wakes up late may publish an old version over a newer one. Readers aren't
// fooled: the file that is renamed into place keeps a second name in the folder, `2-<random>.copy`, which becomes `.done` when the
// newest version was in place under it. So a file that stands there by its writer's lateness is told from one that the user has
// put there, though it be with the same bytes: what the user wrote, brought back or deleted is the object.

/** First line of a version's file; the content follows. */
interface Header {
  /** SHA-256 of the content; `null` when this version is the object's deletion. */
  readonly sha: string | null;
  /** Nothing was there before, so that the file may be missing because its writer died. */
  readonly fresh: boolean;
  /** Who publishes it leaves the file a second name. Earlier releases didn't: there the same bytes count as published late. */
  readonly named?: boolean;
}

/** What an object is now. */
export interface VersionedFile {
  /** Number of the newest version; 0 when there are none and the plain file is the object. */
  readonly version: number;
  /** `undefined` when there is no object. */
  readonly content: PlainFile | undefined;
}

const SUFFIX = ".versions";

function folderOf(file: string): string {
  return path.join(path.dirname(file), `.${path.basename(file)}${SUFFIX}`);
}

/** Whether a name is that of a folder of versions. */
export function isVersionFolder(name: string): boolean {
  return name.startsWith(".") && name.endsWith(SUFFIX) && name.length > SUFFIX.length + 1;
}

/** Name of the object that a folder of versions belongs to. */
export function versionedName(folder: string): string {
  return folder.slice(1, -SUFFIX.length);
}

/** Whether an object has versions, and so is more than its plain file. */
export function hasVersions(file: string): boolean {
  return newestVersion(file) > 0;
}

/** The object at this path, whether it has versions or is a plain file. */
export function readVersioned(file: string, options: { readonly body: boolean } = { body: true }): VersionedFile {
  for (;;) {
    const version = newestVersion(file);
    if (version === 0) {
      const content = readPlain(file, options);
      // The first version may have come between the two looks, and its content been read as a plain file's.
      if (newestVersion(file) === 0) return { version, content };
      continue;
    }
    const newest = readVersion(file, version);
    const published = readPlain(file);
    // What was published may be newer than what was found to be the newest: look again.
    if (newestVersion(file) !== version) continue;
    if (newest === undefined) throw new Error(`${path.join(folderOf(file), String(version))} is damaged`);
    const { content, byUser } = judge(file, version, newest, published);
    // What was judged may have been a file that is overtaken by now, and its names with it.
    if (byUser && readPlain(file, { body: false })?.etag !== published?.etag) continue;
    return { version, content };
  }
}

interface Version {
  readonly header: Header;
  readonly body: Uint8Array;
  readonly modified: Date;
}

function judge(
  file: string,
  version: number,
  newest: Version,
  published: PlainFile | undefined,
): { readonly content: PlainFile | undefined; readonly byUser: boolean } {
  const { header, body, modified } = newest;
  const content = header.sha === null ? undefined : { body, size: body.length, etag: `v${version}`, modified };
  if (published === undefined) {
    const byUser = header.fresh ? wasDeleted(file, version) : header.sha !== null;
    return { content: byUser ? undefined : content, byUser };
  }
  const sha = hash(published.body);
  if (sha === header.sha || isLate(file, version, published, sha)) return { content, byUser: false };
  return { content: { ...published, etag: `v${version}+${published.etag}` }, byUser: true };
}

/** Whether a file that is missing, with a newest version that nothing was before, had been in place. */
function wasDeleted(file: string, version: number): boolean {
  // A deletion by this store may be published late, too.
  if (readHeader(file, version - 1)?.sha === null) return false;
  return publishedNames(folderOf(file)).some((name) => name.done && name.version === version);
}

/** Whether a file is an earlier version that stands there because a writer was late, or has died. */
function isLate(file: string, version: number, published: PlainFile, sha: string): boolean {
  const names = publishedNames(folderOf(file));
  const own = names.find((name) => name.etag === published.etag);
  if (own !== undefined) {
    const isAsWritten = readHeader(file, own.version)?.sha === sha;
    return isAsWritten && !(own.done && names.some((name) => name.done && name.version > own.version));
  }
  for (let earlier = version - 1; earlier > 0; earlier--) {
    const header = readHeader(file, earlier);
    if (header?.sha === sha && header.named !== true) return true;
  }
  return false;
}

/**
 * Makes the next version of an object and publishes it.
 *
 * @param over what was read; whoever writes over the same first is the one winner.
 * @param body `undefined` deletes the object.
 * @returns `undefined` when someone else was first.
 */
export async function writeVersion(
  file: string,
  over: VersionedFile,
  body: Uint8Array | undefined,
): Promise<{ readonly etag: string; readonly modified: Date } | undefined> {
  const folder = folderOf(file);
  await makeFolder(folder);
  if (over.version === 0 && over.content !== undefined) {
    // The plain content becomes a version too: a late publisher can't bring it back as the user's edit.
    const before = readPlain(file);
    if (before?.etag !== over.content.etag) return undefined;
    const name = await nameInPlace(folder, file, before.etag);
    const header = { sha: hash(before.body), fresh: false, named: name !== undefined };
    if ((await createVersion(folder, 1, before.body, header)) === undefined) {
      if (name !== undefined) await removeFile(name);
      return undefined;
    }
    return writeVersion(file, { version: 1, content: before }, body);
  }
  const version = over.version + 1;
  const sha = body === undefined ? null : hash(body);
  const modified = await createVersion(folder, version, body ?? new Uint8Array(), {
    sha,
    fresh: over.content === undefined,
    named: true,
  });
  if (modified === undefined) return undefined;
  await publish(file, version, body);
  await shrink(folder, version - 1);
  return { etag: `v${version}`, modified };
}

/** @returns when it was made, or `undefined` when the number is taken. */
async function createVersion(
  folder: string,
  version: number,
  body: Uint8Array,
  header: Header,
): Promise<Date | undefined> {
  const temporary = path.join(folder, temporaryName());
  try {
    const { mtime } = await createFile(temporary, Buffer.concat([headerLine(header), body]), { flush: true });
    await link(temporary, path.join(folder, String(version)));
    return mtime;
  } catch (error) {
    if (hasCode(error, "EEXIST")) return undefined;
    throw error;
  } finally {
    await removeFile(temporary);
  }
}

/** Puts the content where everyone looks for it; when a newer version came meanwhile, that one's. */
async function publish(file: string, version: number, body: Uint8Array | undefined): Promise<void> {
  const folder = folderOf(file);
  const overtaken: string[] = [];
  let current = { version, body };
  for (;;) {
    let name: string | undefined;
    if (current.body === undefined) await removeFile(file);
    else name = await putInPlace(folder, file, current.version, current.body);
    const newest = newestVersion(file);
    if (newest <= current.version) {
      await settle(folder, current.version, name, overtaken);
      return;
    }
    if (name !== undefined) overtaken.push(name);
    const newer = readVersion(file, newest);
    // Gone means overtaken once more, and then it is the next one's to publish.
    if (newer !== undefined) current = { version: newest, body: newer.header.sha === null ? undefined : newer.body };
  }
}

/** Drops the content of a version that another one has followed; its name and its hash stay. */
async function shrink(folder: string, version: number): Promise<void> {
  if (version < 1) return;
  const name = path.join(folder, String(version));
  const header = parse(readFileSync(name)).header;
  const temporary = path.join(folder, temporaryName());
  try {
    await createFile(temporary, headerLine(header), { flush: false });
    await rename(temporary, name);
  } catch (error) {
    await removeFile(temporary);
    throw error;
  }
}

function newestVersion(file: string): number {
  let newest = 0;
  for (const name of namesIn(folderOf(file))) {
    if (/^\d+$/.test(name)) newest = Math.max(newest, Number(name));
  }
  return newest;
}

/** `undefined` when a newer version has followed and the content is gone. */
function readVersion(file: string, version: number): Version | undefined {
  const handle = openSync(path.join(folderOf(file), String(version)), "r");
  try {
    const { header, body } = parse(readFileSync(handle));
    if (header.sha !== null && hash(body) !== header.sha) return undefined;
    return { header, body, modified: fstatSync(handle).mtime };
  } finally {
    closeSync(handle);
  }
}

function readHeader(file: string, version: number): Header | undefined {
  try {
    return parse(readFileSync(path.join(folderOf(file), String(version)))).header;
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

function parse(bytes: Uint8Array): { readonly header: Header; readonly body: Uint8Array } {
  const end = bytes.indexOf(0x0a);
  const line = Buffer.from(bytes.subarray(0, Math.max(end, 0))).toString("utf8");
  return { header: JSON.parse(line) as Header, body: bytes.subarray(end + 1) };
}

function headerLine(header: Header): Uint8Array {
  return Buffer.from(`${JSON.stringify(header)}\n`);
}

function hash(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
