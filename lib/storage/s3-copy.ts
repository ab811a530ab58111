import {
  AbortMultipartUploadCommand,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  type S3Client,
  UploadPartCopyCommand,
} from "@aws-sdk/client-s3";
import type { S3Location } from "./uri.js";

/** The most that S3 copies in one request. */
export const MAX_COPY_BYTES = 5 * 1024 ** 3;

const PART_BYTES = 512 * 1024 ** 2;
const MAX_PARTS = 10_000;
const PARTS_AT_ONCE = 8;

/** What is copied. */
export interface CopySource {
  /** `bucket/key`, percent-encoded. */
  readonly path: string;
  readonly size: number;
  /** A source that is replaced or deleted meanwhile stops the copy. */
  readonly etag: string;
}

/**
 * Copies an object of more than 5 GB inside S3, part by part. The object is there as a whole or not at all: parts that were
 * copied before an error are given up.
 *
 * @param partBytes for tests.
 */
export async function copyInParts(
  client: S3Client,
  source: CopySource,
  target: S3Location,
  partBytes = PART_BYTES,
): Promise<void> {
  const object = { Bucket: target.bucket, Key: target.key };
  const { UploadId } = await client.send(new CreateMultipartUploadCommand(object));
  const size = Math.max(partBytes, Math.ceil(source.size / MAX_PARTS));
  const count = Math.ceil(source.size / size);
  const parts: CompletedPart[] = [];
  let next = 0;
  const copyParts = async () => {
    while (next < count) {
      const index = next++;
      const last = Math.min((index + 1) * size, source.size) - 1;
      const { CopyPartResult } = await client.send(
        new UploadPartCopyCommand({
          ...object,
          UploadId,
          PartNumber: index + 1,
          CopySource: source.path,
          CopySourceRange: `bytes=${index * size}-${last}`,
          CopySourceIfMatch: source.etag,
        }),
      );
      parts[index] = { PartNumber: index + 1, ETag: CopyPartResult?.ETag };
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(PARTS_AT_ONCE, count) }, copyParts));
    await client.send(new CompleteMultipartUploadCommand({ ...object, UploadId, MultipartUpload: { Parts: parts } }));
  } catch (error) {
    await client.send(new AbortMultipartUploadCommand({ ...object, UploadId })).catch(() => undefined);
    throw error;
  }
}
