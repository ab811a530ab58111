import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { ExitCode, UserError } from "../errors.js";

/** `s3://bucket/key` in its parts; the key is not percent-encoded, as everywhere on S3. */
export interface S3Location {
  readonly bucket: string;
  readonly key: string;
}

/** Whether a text is a `file:` location. */
export function isFileUri(text: string): boolean {
  return text.startsWith("file:");
}

/** Whether a text is an `s3://` or `s3a://` location. */
export function isS3Uri(text: string): boolean {
  return /^s3a?:\/\//.test(text);
}

/**
 * The path of a `file:` location. `file:///abs/olute` is percent-encoded, as URIs are; `file:relative/path` and
 * `file:./path` are taken from the working directory, as they are written.
 *
 * @throws UserError `URI_INVALID`.
 */
export function pathOfFileUri(uri: string): string {
  const rest = uri.slice("file:".length);
  if (!isFileUri(uri) || rest === "") throw invalid(uri, "it is not a file: location");
  if (!rest.startsWith("/")) return path.resolve(rest);
  try {
    return fileURLToPath(uri);
  } catch (error) {
    throw invalid(uri, error instanceof Error ? error.message : String(error));
  }
}

/** `file:///...` for a path, percent-encoded. */
export function fileUriOfPath(file: string): string {
  return pathToFileURL(file).href;
}

/** @throws UserError `URI_INVALID`. */
export function parseS3Uri(uri: string): S3Location {
  const match = /^s3a?:\/\/([^/]+)(?:\/(.*))?$/s.exec(uri);
  const bucket = match?.[1];
  if (bucket === undefined) throw invalid(uri, "expected s3://bucket/key");
  return { bucket, key: match?.[2] ?? "" };
}

function invalid(uri: string, why: string): UserError {
  return new UserError("URI_INVALID", `${JSON.stringify(uri)} is no location: ${why}`, {
    hint: "Write s3://bucket/key, file:///absolute/path or file:relative/path",
    exitCode: ExitCode.configuration,
  });
}
