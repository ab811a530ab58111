import {
  CopyObjectCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  paginateListObjectsV2,
  S3Client,
} from "@aws-sdk/client-s3";
import { type AwsOptions, awsClientConfig, awsErrorName, awsErrorStatus, awsFailure } from "../aws.js";
import { ExitCode, UserError } from "../errors.js";
import type { ObjectInfo, ObjectStore, PutOptions, StoredObject } from "./object-store.js";
import { copyInParts, MAX_COPY_BYTES } from "./s3-copy.js";
import { parseS3Uri, type S3Location } from "./uri.js";

// How often a conditional write is sent when S3 answers that it could not decide.
const MAX_UNDECIDED = 4;

/** Objects in S3, or in anything that speaks its protocol. */
export function createS3Store(aws: AwsOptions): ObjectStore {
  const client = new S3Client({
    ...awsClientConfig(aws),
    // Emulators and gateways seldom have a host name for each bucket.
    forcePathStyle: (aws.endpoint ?? process.env.AWS_ENDPOINT_URL_S3 ?? process.env.AWS_ENDPOINT_URL) !== undefined,
  });

  const get = async (uri: string): Promise<StoredObject | undefined> => {
    const { bucket, key } = objectLocation(uri);
    try {
      const answer = await client.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
      const body = (await answer.Body?.transformToByteArray()) ?? new Uint8Array();
      return {
        uri,
        body,
        size: body.length,
        etag: answer.ETag ?? "",
        modified: answer.LastModified ?? new Date(0),
      };
    } catch (error) {
      if (awsErrorName(error) === "NoSuchKey") return undefined;
      throw failure(error, { bucket, key }, `reading ${uri}`, "s3:GetObject");
    }
  };

  const head = async (uri: string): Promise<ObjectInfo | undefined> => {
    const { bucket, key } = objectLocation(uri);
    try {
      const answer = await client.send(new HeadObjectCommand({ Bucket: bucket, Key: key }));
      return {
        uri,
        size: answer.ContentLength ?? 0,
        etag: answer.ETag ?? "",
        modified: answer.LastModified ?? new Date(0),
      };
    } catch (error) {
      // The answer to HEAD has no body that could say which of the two is missing, object or bucket.
      if (awsErrorStatus(error) === 404) return undefined;
      throw failure(error, { bucket, key }, `reading ${uri}`, "s3:GetObject");
    }
  };

  const copy = async (from: string, to: string): Promise<void> => {
    const source = objectLocation(from);
    const target = objectLocation(to);
    const path = `${source.bucket}/${source.key}`.split("/").map(encodeURIComponent).join("/");
    try {
      await client.send(new CopyObjectCommand({ Bucket: target.bucket, Key: target.key, CopySource: path }));
    } catch (error) {
      if (awsErrorName(error) === "NoSuchKey") throw nothingToCopy(from, error);
      // What one request can't copy is known from the refusal, so that the many small objects cost no second request.
      const large = awsErrorStatus(error) === 400 ? await head(from) : undefined;
      if (large === undefined || large.size <= MAX_COPY_BYTES) {
        throw failure(error, target, `copying ${from} to ${to}`, "s3:GetObject and s3:PutObject");
      }
      try {
        await copyInParts(client, { path, size: large.size, etag: large.etag }, target);
      } catch (partError) {
        if (awsErrorStatus(partError) === 404) throw nothingToCopy(from, partError);
        throw failure(partError, target, `copying ${from} to ${to}`, "s3:GetObject and s3:PutObject");
      }
    }
  };

  const remove = async (uri: string): Promise<void> => {
    const { bucket, key } = objectLocation(uri);
    try {
      await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }));
    } catch (error) {
      throw failure(error, { bucket, key }, `deleting ${uri}`, "s3:DeleteObject");
    }
  };

  return {
    get,
    head,

    async getRange(uri, from, to) {
      const { bucket, key } = objectLocation(uri);
      try {
        const range = { Bucket: bucket, Key: key, Range: `bytes=${from}-${to - 1}` };
        const answer = await client.send(new GetObjectCommand(range));
        return (await answer.Body?.transformToByteArray()) ?? new Uint8Array();
      } catch (error) {
        if (awsErrorName(error) === "NoSuchKey") throw nothingToCopy(uri, error);
        throw failure(error, { bucket, key }, `reading ${uri}`, "s3:GetObject");
      }
    },

    async put(uri, body, options = {}) {
      const location = objectLocation(uri);
      const bytes = typeof body === "string" ? Buffer.from(body, "utf8") : body;
      let sentBefore = false;
      for (let attempt = 1; ; attempt++) {
        try {
          const answer = await client.send(putCommand(location, bytes, options));
          return { uri, size: bytes.length, etag: answer.ETag ?? "", modified: new Date() };
        } catch (error) {
          const refusal = isConditional(options) ? conditionRefused(error) : undefined;
          if (refusal === undefined) throw failure(error, location, `writing ${uri}`, "s3:PutObject");
          // Two writers met and S3 decided for neither: asking again with the same condition can't do harm.
          sentBefore ||= wasRepeated(error) || attempt > 1;
          if (refusal === "undecided" && attempt < MAX_UNDECIDED) continue;
          // When an answer is lost the SDK sends the request again, and then our own first one is what stands in the way.
          const now = sentBefore ? await get(uri) : undefined;
          if (now !== undefined && Buffer.from(bytes).equals(now.body)) return now;
          throw preconditionFailed(uri, error);
        }
      }
    },

    async *list(prefix) {
      const { bucket, key } = parseS3Uri(prefix);
      const base = prefix.slice(0, prefix.length - key.length);
      const start = base.endsWith("/") ? base : `${base}/`;
      try {
        for await (const page of paginateListObjectsV2({ client }, { Bucket: bucket, Prefix: key })) {
          for (const object of page.Contents ?? []) {
            yield {
              uri: `${start}${object.Key ?? ""}`,
              size: object.Size ?? 0,
              etag: object.ETag ?? "",
              modified: object.LastModified ?? new Date(0),
            };
          }
        }
      } catch (error) {
        throw failure(error, { bucket, key }, `listing ${prefix}`, "s3:ListBucket");
      }
    },

    copy,

    async move(from, to) {
      await copy(from, to);
      await remove(from);
    },

    delete: remove,

    async deleteAll(folder) {
      const { bucket, key } = parseS3Uri(folder);
      try {
        for await (const page of paginateListObjectsV2({ client }, { Bucket: bucket, Prefix: key })) {
          const objects = (page.Contents ?? []).map(({ Key }) => ({ Key }));
          if (objects.length === 0) continue;
          // A page has as many keys as one request may delete.
          const { Errors = [] } = await client.send(
            new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects: objects, Quiet: true } }),
          );
          const [first] = Errors;
          if (first !== undefined) {
            throw Object.assign(new Error(`${first.Key}: ${first.Message}`), { name: first.Code ?? "Error" });
          }
        }
      } catch (error) {
        throw failure(error, { bucket, key }, `deleting ${folder}`, "s3:ListBucket and s3:DeleteObject");
      }
    },
  };
}

function objectLocation(uri: string): S3Location {
  const location = parseS3Uri(uri);
  if (location.key === "") {
    throw new UserError("URI_INVALID", `${uri} names a bucket, not an object in it`, {
      exitCode: ExitCode.configuration,
    });
  }
  return location;
}

function putCommand({ bucket, key }: S3Location, bytes: Uint8Array, options: PutOptions): PutObjectCommand {
  return new PutObjectCommand({
    Bucket: bucket,
    Key: key,
    Body: bytes,
    ...(options.ifMatch === undefined ? {} : { IfMatch: options.ifMatch }),
    ...(options.ifNoneMatch === undefined ? {} : { IfNoneMatch: "*" }),
    ...(options.kmsKeyId === undefined
      ? {}
      : { ServerSideEncryption: "aws:kms" as const, SSEKMSKeyId: options.kmsKeyId }),
    ...(options.contentType === undefined ? {} : { ContentType: options.contentType }),
  });
}

function isConditional(options: PutOptions): boolean {
  return options.ifMatch !== undefined || options.ifNoneMatch !== undefined;
}

/** What S3 says to a condition that doesn't hold: 412, 404 for If-Match on nothing, 409 when two writers met. */
function conditionRefused(error: unknown): "refused" | "undecided" | undefined {
  const status = awsErrorStatus(error);
  if (status === 409) return "undecided";
  return status === 412 || awsErrorName(error) === "NoSuchKey" ? "refused" : undefined;
}

function wasRepeated(error: unknown): boolean {
  return ((error as { $metadata?: { attempts?: number } }).$metadata?.attempts ?? 1) > 1;
}

function preconditionFailed(uri: string, cause: unknown): UserError {
  return new UserError("PRECONDITION_FAILED", `${uri} was changed by someone else meanwhile`, {
    hint: "Another run is at work on the same state; run again when it is done",
    exitCode: ExitCode.retryable,
    cause,
  });
}

function nothingToCopy(uri: string, cause: unknown): UserError {
  return new UserError("STORAGE_NOT_FOUND", `There is no ${uri}`, { cause });
}

function failure(error: unknown, { bucket }: S3Location, doing: string, permission: string): UserError {
  if (error instanceof UserError) return error;
  const name = awsErrorName(error);
  if (name === "NoSuchBucket") {
    return new UserError("STORAGE_NOT_FOUND", `There is no bucket ${bucket} (${doing})`, {
      hint: "Check the bucket's name, the region and the account",
      exitCode: ExitCode.configuration,
      cause: error,
    });
  }
  // Who may not list a bucket is told 403 instead of 404 of what isn't there.
  const listing = permission.includes("s3:ListBucket") ? "" : ` and, on bucket ${bucket}, s3:ListBucket`;
  return awsFailure(error, {
    service: "S3",
    doing,
    deniedCode: "STORAGE_ACCESS_DENIED",
    permission: `${permission}${listing}`,
  });
}
