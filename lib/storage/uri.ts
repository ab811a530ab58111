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

/**
 * The URI of something below a folder. Names are given as they are; in a `file:///` URI they come out percent-encoded, as
 * {@link fileUriOfPath} and so listings spell them.
 *
 * @example
 * childUri("s3://lake/out", "orders", "a b.parquet"); // "s3://lake/out/orders/a b.parquet"
 */
export function childUri(folder: string, ...names: readonly string[]): string {
  const encode = folder.startsWith("file:/") ? encodedName : (name: string) => name;
  return [folder.replace(/\/+$/, ""), ...names.map(encode)].join("/");
}

/** A slash in a name is no separator. */
function encodedName(name: string): string {
  return fileUriOfPath(`/${name}`).slice("file:///".length).replaceAll("/", "%2F");
}

/**
 * One spelling for each place: absolute, `s3://` for `s3a://`, no slash at the end. To compare and to keep; Spark is given the
 * user's own spelling, because a cluster may know only one of the schemes.
 */
export function canonicalUri(uri: string): string {
  const whole = isFileUri(uri) ? fileUriOfPath(pathOfFileUri(uri)) : uri.replace(/^s3a:/, "s3:");
  return whole.replace(/\/+$/, "");
}

/** A place on S3 with the scheme that an example of the user's has: `s3a://` or `s3://`. */
export function spelledLike(uri: string, example: string): string {
  return example.startsWith("s3a:") ? uri.replace(/^s3:/, "s3a:") : uri;
}

/** The folder that a URI lies in, without a slash at its end. */
export function parentUri(uri: string): string {
  return uri.replace(/\/+$/, "").replace(/\/[^/]*$/, "");
}

/**
 * A location as Spark takes it: Hadoop's paths aren't percent-encoded, and a relative one would be taken from the server's
 * working directory instead of ours.
 */
export function hadoopPath(uri: string): string {
  return isFileUri(uri) ? `file://${pathOfFileUri(uri)}` : uri;
}

/** As {@link hadoopPath}, for reading, where Hadoop takes some characters for a pattern. */
export function hadoopReadPath(uri: string): string {
  return hadoopPath(uri).replaceAll(/[\\{}[\]*?]/g, "\\$&");
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
