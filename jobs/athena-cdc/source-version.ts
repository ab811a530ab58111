import { createHash } from "node:crypto";
import type { ObjectStore } from "../../lib/storage/index.js";

const MOST_FILES = 500;
const FILES_AT_ONCE = 8;
const SMALL_BYTES = 2 * 1024 * 1024;
const SMALL_FILES = 16;

/** The files that a table consists of. */
export interface SourceFiles {
  /** A hash of their names, sizes, tags and times: the same as in a former run, when they are the very same files. */
  readonly version: string;
  /** So few rows that sending them around would cost more than one task that reads all of them. */
  readonly small: boolean;
}

/**
 * Looks at a table's files without a Spark operation. To be asked before any row is read, so that a file that comes later makes another
 * version.
 *
 * @param names as Spark gives them.
 * @returns `undefined` where they aren't known: tables that aren't plain files (Iceberg, Hive), more than 500 files, files that this process
 *   may not look at.
 */
export async function sourceFiles(names: readonly string[], storage: ObjectStore): Promise<SourceFiles | undefined> {
  const files = names.toSorted();
  if (files.length === 0 || files.length > MOST_FILES) return undefined;
  const known: string[] = [];
  let bytes = 0;
  let next = 0;
  const worker = async () => {
    while (next < files.length) {
      const index = next++;
      // Spark gives URIs that are percent-encoded; the store's are so only for files.
      const uri = files[index] ?? "";
      const found = await storage.head(/^s3[an]?:/.test(uri) ? decodeURIComponent(uri) : uri);
      if (found === undefined) throw new Error(`${uri} isn't a file`);
      bytes += found.size;
      known[index] = JSON.stringify([uri, found.size, found.etag, found.modified.getTime()]);
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(FILES_AT_ONCE, files.length) }, worker));
  } catch {
    // Spark may be allowed to read what this process isn't; then the rows tell.
    return undefined;
  }
  return {
    version: createHash("sha256").update(known.join("\n")).digest("hex"),
    small: bytes <= SMALL_BYTES && files.length <= SMALL_FILES,
  };
}
