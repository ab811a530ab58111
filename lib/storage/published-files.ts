import { randomBytes } from "node:crypto";
import { lstatSync, statSync } from "node:fs";
import { link, rename } from "node:fs/promises";
import path from "node:path";
import { createFile, hasCode, namesIn, plainEtag, removeFile } from "./plain-file.js";

/** The second name of a file that was or is to be renamed into place. */
export interface PublishedName {
  readonly name: string;
  readonly version: number;
  /** No newer version had been there when it was in place. */
  readonly done: boolean;
  readonly etag: string;
}

/** Second names of files, of one object. */
export function publishedNames(folder: string): PublishedName[] {
  for (;;) {
    try {
      const found: PublishedName[] = [];
      for (const name of namesIn(folder)) {
        const match = /^(\d+)-[0-9a-f]+\.(copy|done)$/.exec(name);
        if (match === null) continue;
        const etag = plainEtag(statSync(path.join(folder, name), { bigint: true }));
        found.push({ name, version: Number(match[1]), done: match[2] === "done", etag });
      }
      return found;
    } catch (error) {
      // It has another name by now, or is gone: look again.
      if (!hasCode(error, "ENOENT")) throw error;
    }
  }
}

/**
 * Renames a version into place.
 *
 * @returns the second name of the file that is in place now.
 */
export async function putInPlace(folder: string, file: string, version: number, body: Uint8Array): Promise<string> {
  const name = path.join(folder, `${version}-${randomName()}`);
  const [temporary, copy] = [`${name}.tmp`, `${name}.copy`];
  try {
    await createFile(temporary, body, { flush: false });
    await link(temporary, copy);
    await rename(temporary, file);
    return copy;
  } catch (error) {
    await removeFile(copy);
    await removeFile(temporary);
    throw error;
  }
}

/** Notes that the newest version was in place, and forgets the names of files that aren't any more. */
export async function settle(
  folder: string,
  version: number,
  name: string | undefined,
  overtaken: readonly string[],
): Promise<void> {
  if (name !== undefined) await rename(name, name.replace(/copy$/, "done"));
  for (const one of overtaken) await removeFile(one);
  for (const one of publishedNames(folder)) {
    if (one.done && one.version < version) await removeFile(path.join(folder, one.name));
  }
}

/** Gives the file that is the first version its second name; `undefined` when it can't have one (a symbolic link), or is another by now. */
export async function nameInPlace(folder: string, file: string, etag: string): Promise<string | undefined> {
  const name = path.join(folder, `1-${randomName()}.done`);
  try {
    await link(file, name);
    if (plainEtag(lstatSync(name, { bigint: true })) === etag) return name;
    await removeFile(name);
  } catch (error) {
    // Another user's file may not be linked to everywhere.
    if (!hasCode(error, "ENOENT", "EPERM", "EACCES", "EMLINK")) throw error;
  }
  return undefined;
}

/** For a file that is written here before it gets its name. */
export function temporaryName(): string {
  return `${randomName()}.tmp`;
}

function randomName(): string {
  return randomBytes(8).toString("hex");
}
