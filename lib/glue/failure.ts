import { ExitCode, UserError } from "../errors.js";
import { SparkConnectError } from "../spark/errors.js";
import type { ErrorReport } from "./report.js";
import { type JobOrigin, placeText, thrownAt } from "./thrown-at.js";

/** Why a run failed, in the form that the report, the terminal and the exit code are made of. */
export interface Failure {
  readonly error: ErrorReport;
  readonly exitCode: ExitCode;
  /** Set when the error is none that we know how to explain: its stack, for `--debug`. */
  readonly stack?: string;
}

/**
 * What an error means to the person who runs the job. Known errors keep their code, problems and hint. Of anything else it is said
 * whether the job's own code threw it (`JOB_THREW`), and where; what is left is called the defect that it is (`INTERNAL`).
 *
 * @param origin of the job that was at work.
 */
export function describeFailure(error: unknown, origin?: JobOrigin): Failure {
  if (isUserError(error)) return ofUserError(error);
  if (error instanceof SparkConnectError) return ofUserError(explainSparkError(error));
  const message = error instanceof Error ? error.message || error.name : String(error);
  const thrown = thrownAt(error, origin);
  const where = thrown === undefined ? "" : placeText(thrown.place);
  const { code, text, hint } =
    thrown?.by === "job"
      ? {
          code: "JOB_THREW",
          text: `${message} (thrown by the job: ${where})`,
          hint: "Correct the job, or what it works on; --debug shows the stack trace",
        }
      : {
          code: "INTERNAL",
          text: `${message} (this is a defect in the job or in glue-connect${where === "" ? "" : `; the job was at ${where}`})`,
          hint: "Run again with --debug for the stack trace, and report it",
        };
  return {
    error: { code, message: text, problems: [], hint },
    exitCode: ExitCode.failed,
    ...(error instanceof Error && error.stack !== undefined ? { stack: withCauses(error) } : {}),
  };
}

/** A job from elsewhere may bring its own copy of this package, and with it another class of the same name. */
function isUserError(error: unknown): error is UserError {
  if (error instanceof UserError) return true;
  if (!(error instanceof Error) || error.name !== "UserError") return false;
  const { code, exitCode, problems } = error as Partial<UserError>;
  return typeof code === "string" && typeof exitCode === "number" && Array.isArray(problems);
}

function ofUserError(error: UserError): Failure {
  return {
    error: {
      code: error.code,
      message: error.message,
      problems: error.problems,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
    },
    exitCode: error.exitCode,
  };
}

interface Advice {
  readonly hint?: string;
  readonly exitCode?: ExitCode;
}

/** What to do about the codes of Spark and of its client that a user meets. */
const ADVICE: Readonly<Record<string, Advice>> = {
  ENDPOINT_UNREACHABLE: {
    hint: "Check --remote (or SPARK_REMOTE) and that the Spark Connect server is up; without either a local one is started",
    exitCode: ExitCode.unreachable,
  },
  UNAVAILABLE: { hint: "The server is down or restarting; run again", exitCode: ExitCode.unreachable },
  INVALID_CONNECTION_STRING: { hint: "Write sc://host:port/;use_ssl=true;token=...", exitCode: ExitCode.usage },
  UNAUTHENTICATED: { hint: "The token in --remote is missing, wrong or has expired", exitCode: ExitCode.configuration },
  PERMISSION_DENIED: { hint: "This identity may not use the Spark server", exitCode: ExitCode.configuration },
  SESSION_CHANGED: { hint: "The Spark server was restarted meanwhile; run again", exitCode: ExitCode.retryable },
  SESSION_CLOSED: { hint: "The Spark server has closed the session; run again", exitCode: ExitCode.retryable },
  TABLE_OR_VIEW_NOT_FOUND: {
    hint: "Check the catalog, database and table names in the configuration",
    exitCode: ExitCode.configuration,
  },
  SCHEMA_NOT_FOUND: {
    hint: "Check the catalog and database names in the configuration",
    exitCode: ExitCode.configuration,
  },
  RESOURCE_EXHAUSTED: { hint: "The Spark server is full; run again later", exitCode: ExitCode.retryable },
};

/** An error of the Spark client as one for the user: its condition as the code, the server's first words as the message. */
export function explainSparkError(error: SparkConnectError): UserError {
  const denied = deniedPlace(error);
  if (denied !== undefined) return denied;
  const advice = ADVICE[error.code] ?? ADVICE[error.code.split(".")[0] ?? ""] ?? {};
  const sqlState = error.sqlState === undefined ? "" : ` (SQLSTATE ${error.sqlState})`;
  const mentioned = sqlState !== "" && error.message.includes(error.sqlState ?? "");
  return new UserError(`SPARK_${error.code}`, `${firstLines(error.message)}${mentioned ? "" : sqlState}`, {
    ...(advice.hint === undefined ? {} : { hint: advice.hint }),
    exitCode: advice.exitCode ?? (error.retryable ? ExitCode.retryable : ExitCode.failed),
    cause: error,
  });
}

/** What file systems say of a place that can't be written, or read; the place, where they name it. */
const DENIED: readonly RegExp[] = [
  /Mkdirs failed to create (?<place>\S+)/,
  /\b\w+Exception: (?<place>\/[^\n]*?) \((?:Permission denied|Read-only file system|Operation not permitted)\)/,
  /\bAccessDeniedException: (?<place>(?:[a-z0-9]+:\/)?\/[^\s:]+)/,
  /\bAccessControlException: Permission denied\b[^\n]*inode="(?<place>[^"]+)"/,
  /\b(?:AmazonS3Exception|S3Exception): [^\n]*(?:AccessDenied|Access Denied|Status Code: 403)/,
];

/** The part of a place that the user knows; what is below is Spark's, or ours until it is published. */
const OWN_FOLDERS = /\/(?:_attempts|_temporary|\.spark-staging[^/]*)(?:\/.*)?$/;

/** @returns `undefined` when the error is about something else. */
function deniedPlace(error: SparkConnectError): UserError | undefined {
  const { message } = error;
  const match = DENIED.map((pattern) => pattern.exec(message)).find((found) => found !== null);
  if (match === undefined || match === null) return undefined;
  const written = /(?:Task failed while writing rows to|Failed to create file:) (\S+?)\.?(?:\s|$)/.exec(message)?.[1];
  const place = (match.groups?.place ?? written ?? "").replace(OWN_FOLDERS, "");
  const own = (text: string) => text.replace(/^[a-z0-9]+:\/*(?=\/)/, "").replace(OWN_FOLDERS, "");
  const writing = match[0].startsWith("Mkdirs") || (written !== undefined && own(place).startsWith(own(written)));
  const said = firstLines(message.slice(match.index)).split("\n")[0] ?? "";
  const where = place === "" ? "a place that the run needs" : place;
  return new UserError("STORAGE_ACCESS_DENIED", `Spark can't ${writing ? "write" : "read or write"} ${where}`, {
    problems: [said.length > 500 ? `${said.slice(0, 500)}…` : said],
    hint: "Correct the path, or let the user or role that Spark runs as get at it; on S3 it needs s3:GetObject below it and s3:ListBucket on the bucket, and to write s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload",
    exitCode: ExitCode.configuration,
    cause: error,
  });
}

/** Spark's messages can carry a whole plan or a Java stack; people need what comes before. */
function firstLines(message: string): string {
  const lines = message.split("\n");
  const end = lines.findIndex((line) =>
    /^\s*(at [\w.$/]+\(|Driver stacktrace:|JVM stacktrace:|== (Parsed|SQL|Analyzed|Optimized|Physical)|'?\w+ \[)/.test(
      line,
    ),
  );
  const kept = (end < 1 ? lines : lines.slice(0, end)).join("\n").trim();
  return kept.length > 2_000 ? `${kept.slice(0, 2_000)}…` : kept;
}

function withCauses(error: Error): string {
  const parts = [error.stack ?? String(error)];
  for (
    let cause = error.cause;
    cause !== undefined && parts.length < 5;
    cause = cause instanceof Error ? cause.cause : undefined
  ) {
    parts.push(`caused by: ${cause instanceof Error ? (cause.stack ?? String(cause)) : String(cause)}`);
  }
  return parts.join("\n");
}
