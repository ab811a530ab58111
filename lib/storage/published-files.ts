import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { link, lstat, open, readdir, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import { hasCode, plainEtag } from "./plain-file.js";

/** The second name of a file that was or is to be renamed into place. */
export interface PublishedName {
  readonly name: string;
  readonly version: number;
  /** No newer version had been there when it was in place. */
  readonly done: boolean;
  readonly etag: string;
}

/** Second names of files, of one object. */
export async function publishedNames(folder: string): Promise<PublishedName[]> {
  for (;;) {
    try {
      const found: PublishedName[] = [];
      for (const name of existsSync(folder) ? await readdir(folder) : []) {
        const match = /^(\d+)-[0-9a-f]+\.(copy|done)$/.exec(name);
        if (match === null) continue;
        const etag = plainEtag(await stat(path.join(folder, name), { bigint: true }));
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
    const handle = await open(temporary, "wx");
    try {
      await handle.writeFile(body);
    } finally {
      await handle.close();
    }
    await link(temporary, copy);
    await rename(temporary, file);
    return copy;
  } catch (error) {
    await rm(copy, { force: true });
    throw error;
  } finally {
    await rm(temporary, { force: true });
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
  for (const one of overtaken) await rm(one, { force: true });
  for (const one of await publishedNames(folder)) {
    if (one.done && one.version < version) await rm(path.join(folder, one.name), { force: true });
  }
}

/** Gives the file that is the first version its second name; `undefined` when it can't have one (a symbolic link), or is another by now. */
export async function nameInPlace(folder: string, file: string, etag: string): Promise<string | undefined> {
  const name = path.join(folder, `1-${randomName()}.done`);
  try {
    await link(file, name);
    if (plainEtag(await lstat(name, { bigint: true })) === etag) return name;
    await rm(name, { force: true });
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
