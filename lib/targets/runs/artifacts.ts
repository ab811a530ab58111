import { createHash } from "node:crypto";
import type { Logger } from "../../logger.js";

/** Below the folder of artifacts: what runs are started with. Roles may read it, and nothing else of the folder but their reports. */
export const FILES = "files/";

/** As much of an object store as uploads need. */
export interface ArtifactStore {
  head(uri: string): Promise<object | undefined>;
  put(uri: string, body: Uint8Array): Promise<unknown>;
}

/**
 * Uploads files under the hash of their content, unless they are there: what a name leads to never changes, so that runs that
 * are going on keep what they were started with.
 *
 * @param folder URI that ends with a slash.
 * @returns URI of the object: `<folder>files/<first 32 hex digits of SHA-256>/<name>`.
 */
export async function uploadArtifact(
  store: ArtifactStore,
  folder: string,
  name: string,
  content: Uint8Array,
  log: Logger,
): Promise<string> {
  const hash = createHash("sha256").update(content).digest("hex").slice(0, 32);
  const uri = `${folder}${FILES}${hash}/${name}`;
  if ((await store.head(uri)) !== undefined) return uri;
  log.info(`uploading ${name} (${(content.byteLength / 1_048_576).toFixed(1)} MB)`);
  await store.put(uri, content);
  return uri;
}
