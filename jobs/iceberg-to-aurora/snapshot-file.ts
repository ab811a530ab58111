import { ExitCode, UserError } from "../../lib/errors.js";
import type { ObjectStore } from "../../lib/storage/object-store.js";
import type { Configuration } from "./configuration.js";

/**
 * The documented copy of the state: an object with the id of the last snapshot, as the Python job keeps it. The state
 * itself is in the target's database; the copy is for people, for other programs, and for a move from the Python job.
 *
 * @returns the id, or `undefined` when there is no such object.
 * @throws UserError `SNAPSHOT_FILE_INVALID` for an object that holds something else.
 */
export async function readDocumentedSnapshot(
  storage: ObjectStore,
  configuration: Configuration,
): Promise<string | undefined> {
  const uri = configuration.snapshotUri;
  if (uri === undefined) return undefined;
  const object = await storage.get(uri);
  if (object === undefined) return undefined;
  const text = Buffer.from(object.body).toString("utf8").trim();
  if (/^\d{1,19}$/.test(text)) return text;
  throw new UserError(
    "SNAPSHOT_FILE_INVALID",
    `${uri} should hold the id of an Iceberg snapshot, and holds something else`,
    {
      hint: "Mend snapshot_s3_bucket and snapshot_s3_key if they name another object, or delete this one: the next run writes it anew",
      exitCode: ExitCode.configuration,
    },
  );
}

/** Writes the copy, encrypted with the configured KMS key if there is one. */
export async function writeDocumentedSnapshot(
  storage: ObjectStore,
  configuration: Configuration,
  snapshotId: string,
): Promise<void> {
  const { snapshotUri, snapshotKmsKeyId } = configuration;
  if (snapshotUri === undefined) return;
  await storage.put(snapshotUri, snapshotId, {
    contentType: "text/plain",
    ...(snapshotKmsKeyId === undefined ? {} : { kmsKeyId: snapshotKmsKeyId }),
  });
}
