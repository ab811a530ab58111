import {
  type BigIntStats,
  closeSync,
  fstatSync,
  fsync,
  open,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { unlink } from "node:fs/promises";
import { setImmediate as othersTurn } from "node:timers/promises";
import { promisify } from "node:util";
import { ExitCode, UserError } from "../errors.js";

// What only looks (at names, at what is known of a file, at contents of some kilobytes) blocks: the system has it in memory mostly, and answers
// in a tenth of the time that a trip through Node's thread pool costs, which counts where a batch has thousands of small files. What
// changes a folder or waits for the disk doesn't block: the file system may have others' changes to bring to the disk first.

/** A file's content and what is known of it. */
export interface PlainFile {
  /** Empty when it wasn't asked for. */
  readonly body: Uint8Array;
  readonly size: number;
  readonly etag: string;
  readonly modified: Date;
}

/**
 * Which content a file has, without reading it: this store writes each content to a new file, and editors change the time.
 */
export function plainEtag(stat: BigIntStats): string {
  return `${stat.ino.toString(36)}-${stat.mtimeNs.toString(36)}-${stat.size.toString(36)}`;
}

/** A file as it is on disk, or `undefined` when there is none (a folder is none). */
export function readPlain(file: string, options: { readonly body: boolean } = { body: true }): PlainFile | undefined {
  try {
    const found = statSync(file, { bigint: true, throwIfNoEntry: false });
    if (found === undefined || found.isDirectory()) return undefined;
    if (!options.body) return plainFile(found, new Uint8Array());
    const handle = openSync(file, "r");
    try {
      // Of the very file that is read: it may have been replaced since.
      return plainFile(fstatSync(handle, { bigint: true }), readFileSync(handle));
    } finally {
      closeSync(handle);
    }
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR", "EISDIR")) return undefined;
    throw error;
  }
}

function plainFile(stat: BigIntStats, body: Uint8Array): PlainFile {
  return { body, size: Number(stat.size), etag: plainEtag(stat), modified: stat.mtime };
}

const LOOKS_AT_ONCE = 256;
let looks = 0;

/** To be awaited by who looks at many files: so that renewals of leases, and Ctrl-C, don't wait for all of them. */
export async function letOthersRun(): Promise<void> {
  looks++;
  if (looks % LOOKS_AT_ONCE === 0) await othersTurn();
}

const [opened, flushed] = [promisify(open), promisify(fsync)];

/**
 * Writes a file that must not be there yet.
 *
 * @param options `flush` waits until the disk has it.
 * @returns what is known of it.
 */
export async function createFile(
  file: string,
  bytes: Uint8Array,
  options: { readonly flush: boolean },
): Promise<BigIntStats> {
  const handle = await opened(file, "wx");
  try {
    writeFileSync(handle, bytes);
    if (options.flush) await flushed(handle);
    return fstatSync(handle, { bigint: true });
  } finally {
    closeSync(handle);
  }
}

/** Names in a folder; none where there is no such folder. */
export function namesIn(folder: string): readonly string[] {
  try {
    // Asking first is cheaper than an error, and most objects have no folder of versions.
    if (statSync(folder, { throwIfNoEntry: false }) === undefined) return [];
    return readdirSync(folder);
  } catch (error) {
    // With a name that is too long there can be none either.
    if (hasCode(error, "ENOENT", "ENOTDIR", "ENAMETOOLONG")) return [];
    throw error;
  }
}

/** Deletes a file; no error when there is none. */
export async function removeFile(file: string): Promise<void> {
  try {
    await unlink(file);
  } catch (error) {
    if (!hasCode(error, "ENOENT")) throw error;
  }
}

/** Whether a system error has one of these codes. */
export function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && codes.includes((error as NodeJS.ErrnoException).code ?? "");
}

export function preconditionFailed(uri: string): UserError {
  return new UserError("PRECONDITION_FAILED", `${uri} was changed by someone else meanwhile`, {
    hint: "Another run is at work on the same state; run again when it is done",
    exitCode: ExitCode.retryable,
  });
}

export function nothingToCopy(uri: string): UserError {
  return new UserError("STORAGE_NOT_FOUND", `There is no ${uri}`);
}

/** Does something with files and turns the system's errors into ones for the user. */
export async function fileError<T>(doing: string, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof UserError) throw error;
    const text = error instanceof Error ? error.message : String(error);
    if (hasCode(error, "EACCES", "EPERM", "EROFS")) {
      throw new UserError("STORAGE_ACCESS_DENIED", `${doing} is not allowed: ${text}`, {
        hint: "Check who owns the folder, and that its file system can be written and knows hard links",
        exitCode: ExitCode.configuration,
        cause: error,
      });
    }
    throw new UserError("STORAGE_FAILED", `${doing} failed: ${text}`, { cause: error });
  }
}
