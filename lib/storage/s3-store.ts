import {
  CopyObjectCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  PutObjectCommand,
  paginateListObjectsV2,
  S3Client,
} from "@aws-sdk/client-s3";
import { type AwsOptions, awsClientConfig, awsErrorName, awsErrorStatus, awsFailure } from "../aws.js";
import { ExitCode, UserError } from "../errors.js";
import type { ObjectStore } from "./object-store.js";
import { parseS3Uri, type S3Location } from "./uri.js";

/** Objects in S3, or in anything that speaks its protocol. */
export function createS3Store(aws: AwsOptions): ObjectStore {
  const client = new S3Client({
    ...awsClientConfig(aws),
    // Emulators and gateways seldom have a host name for each bucket.
    forcePathStyle: (aws.endpoint ?? process.env.AWS_ENDPOINT_URL_S3 ?? process.env.AWS_ENDPOINT_URL) !== undefined,
  });

  return {
    async get(uri) {
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
    },

    async put(uri, body, options = {}) {
      const { bucket, key } = objectLocation(uri);
      const bytes = typeof body === "string" ? Buffer.from(body, "utf8") : body;
      try {
        const answer = await client.send(
          new PutObjectCommand({
            Bucket: bucket,
            Key: key,
            Body: bytes,
            ...(options.ifMatch === undefined ? {} : { IfMatch: options.ifMatch }),
            ...(options.ifNoneMatch === undefined ? {} : { IfNoneMatch: "*" }),
            ...(options.kmsKeyId === undefined
              ? {}
              : { ServerSideEncryption: "aws:kms" as const, SSEKMSKeyId: options.kmsKeyId }),
            ...(options.contentType === undefined ? {} : { ContentType: options.contentType }),
          }),
        );
        return { uri, size: bytes.length, etag: answer.ETag ?? "", modified: new Date() };
      } catch (error) {
        throw failure(error, { bucket, key }, `writing ${uri}`, "s3:PutObject");
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

    async copy(from, to) {
      const source = objectLocation(from);
      const target = objectLocation(to);
      const path = `${source.bucket}/${source.key}`.split("/").map(encodeURIComponent).join("/");
      try {
        await client.send(new CopyObjectCommand({ Bucket: target.bucket, Key: target.key, CopySource: path }));
      } catch (error) {
        if (awsErrorName(error) === "NoSuchKey") throw nothingToCopy(from, error);
        throw failure(error, target, `copying ${from} to ${to}`, "s3:GetObject and s3:PutObject");
      }
    },

    async delete(uri) {
      const { bucket, key } = objectLocation(uri);
      try {
        await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }));
      } catch (error) {
        throw failure(error, { bucket, key }, `deleting ${uri}`, "s3:DeleteObject");
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

function nothingToCopy(uri: string, cause: unknown): UserError {
  return new UserError("STORAGE_NOT_FOUND", `There is no ${uri} to copy`, { cause });
}

function failure(error: unknown, { bucket, key }: S3Location, doing: string, permission: string): UserError {
  if (error instanceof UserError) return error;
  const name = awsErrorName(error);
  const status = awsErrorStatus(error);
  if (name === "NoSuchBucket") {
    return new UserError("STORAGE_NOT_FOUND", `There is no bucket ${bucket} (${doing})`, {
      hint: "Check the bucket's name, the region and the account",
      exitCode: ExitCode.configuration,
      cause: error,
    });
  }
  // 409 is S3's answer to the one of two simultaneous conditional writes that came second; 404 to If-Match on nothing.
  if (status === 412 || status === 409 || name === "PreconditionFailed" || name === "NoSuchKey") {
    return new UserError("PRECONDITION_FAILED", `s3://${bucket}/${key} was changed by someone else meanwhile`, {
      hint: "Another run is at work on the same state; run again when it is done",
      exitCode: ExitCode.retryable,
      cause: error,
    });
  }
  return awsFailure(error, { service: "S3", doing, deniedCode: "STORAGE_ACCESS_DENIED", permission });
}
