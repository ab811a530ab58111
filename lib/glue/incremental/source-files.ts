import { createHash } from "node:crypto";
import type { ObjectStore } from "../../storage/index.js";
import { mapSideBySide } from "../side-by-side.js";
import type { StoredFile } from "./parquet-files.js";

const MOST_FILES = 500;
const FILES_AT_ONCE = 8;

/** They are kept in the state, of each file one. */
const MARK_LENGTH = 24;

/** The files that a table consists of. */
export interface SourceFiles {
  /** A hash of their names, sizes, tags and times: the same as in a former run, when they are the very same files. */
  readonly version: string;
  readonly files: readonly StoredFile[];
  /** For each file what tells whether it is the very same in another run. */
  readonly marks: readonly string[];
  /** When the last of them was written, by the store's clock, microseconds since 1970: no row can rightly be later. */
  readonly writtenAt: bigint;
}

/** How much earlier than it was a file's time may be told: whole seconds on S3, and the tick of a disk's clock. */
const CLOCK_SLACK_MS = { s3: 2_000, file: 20 };

/**
 * Looks at a table's files without a Spark operation. To be asked before any row is read, so that a file that comes later makes another
 * version.
 *
 * @param names as Spark gives them.
 * @param listedAt when Spark was asked for them, milliseconds since 1970. It may keep the sizes that it found then: of a file that changed since, this
 *   run may read less than there is, and what is known of it here would be too much.
 * @returns `undefined` where they aren't known: tables that aren't plain files (Iceberg, Hive), more than 500 files, files that this process
 *   may not look at, files that have just been written.
 */
export async function sourceFiles(
  names: readonly string[],
  storage: ObjectStore,
  listedAt: number,
): Promise<SourceFiles | undefined> {
  const files = names.toSorted();
  if (files.length === 0 || files.length > MOST_FILES) return undefined;
  try {
    const found = await mapSideBySide(files, FILES_AT_ONCE, async (uri) => {
      // Spark gives URIs that are percent-encoded; the store's are so only for files.
      const isOnS3 = /^s3[an]?:/.test(uri);
      const info = await storage.head(isOnS3 ? decodeURIComponent(uri) : uri);
      if (info === undefined) throw new Error(`${uri} isn't a file`);
      if (info.modified.getTime() >= listedAt - CLOCK_SLACK_MS[isOnS3 ? "s3" : "file"])
        throw new Error(`${uri} is new`);
      return { uri, info };
    });
    const known = found.map(({ uri, info }) => JSON.stringify([uri, info.size, info.etag, info.modified.getTime()]));
    return {
      version: hashOf(known.join("\n")),
      files: found.map(({ info }) => info),
      marks: known.map((text) => hashOf(text).slice(0, MARK_LENGTH)),
      writtenAt: BigInt(Math.max(...found.map(({ info }) => info.modified.getTime()))) * 1_000n,
    };
  } catch {
    // Spark may be allowed to read what this process isn't; then the rows tell.
    return undefined;
  }
}

function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
