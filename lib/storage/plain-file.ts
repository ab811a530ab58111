import type { BigIntStats } from "node:fs";
import { open } from "node:fs/promises";
import { ExitCode, UserError } from "../errors.js";

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
export async function readPlain(
  file: string,
  options: { readonly body: boolean } = { body: true },
): Promise<PlainFile | undefined> {
  try {
    const handle = await open(file, "r");
    try {
      const stat = await handle.stat({ bigint: true });
      if (stat.isDirectory()) return undefined;
      const body = options.body ? await handle.readFile() : new Uint8Array();
      return { body, size: Number(stat.size), etag: plainEtag(stat), modified: stat.mtime };
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR", "EISDIR")) return undefined;
    throw error;
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
export async function fileError<T>(doing: string, work: () => Promise<T>): Promise<T> {
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
