import { fromBinary } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { type Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { canceled, errorClassFor, SparkConnectError, type SparkConnectErrorOptions } from "../errors.js";
import { ErrorInfoSchema, RetryInfoSchema } from "../generated/google/rpc/error_details_pb.js";
import { StatusSchema } from "../generated/google/rpc/status_pb.js";
import type { FetchErrorDetailsResponse } from "../generated/spark/connect/base_pb.js";

const STATUS_DETAILS = "grpc-status-details-bin";

/** A condition at the start of the message, or where a Java exception's own message starts inside it. */
const CONDITION = /(?:^|[:\n] ?)\[([A-Z][A-Z0-9_]+(?:\.[A-Z][A-Z0-9_]+)*)\]/;
const SQL_STATE = /SQLSTATE:\s*([0-9A-Z]{5})\b/;

/** What a failed call said, before details are fetched. */
export interface ParsedStatus {
  readonly message: string;
  readonly grpcStatus: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly retryDelayMs: number | undefined;
}

export function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && typeof (error as Partial<ServiceError>).code === "number" && "details" in error;
}

/** Reads the gRPC status, and ErrorInfo and RetryInfo out of the `grpc-status-details-bin` trailer. */
export function parseStatus(error: ServiceError): ParsedStatus {
  let message = error.details || error.message;
  let metadata: Readonly<Record<string, string>> = {};
  let retryDelayMs: number | undefined;
  for (const detail of statusDetails(error.metadata)) {
    if (detail.message !== "") message = detail.message;
    for (const any of detail.details) {
      const info = anyUnpack(any, ErrorInfoSchema);
      if (info !== undefined) metadata = info.metadata;
      const delay = anyUnpack(any, RetryInfoSchema)?.retryDelay;
      if (delay !== undefined) retryDelayMs = Number(delay.seconds) * 1000 + Math.ceil(delay.nanos / 1_000_000);
    }
  }
  return { message, grpcStatus: status[error.code] ?? "UNKNOWN", metadata, retryDelayMs };
}

function statusDetails(metadata: Metadata | undefined) {
  const found = metadata?.get(STATUS_DETAILS) ?? [];
  return found.flatMap((value) => {
    if (typeof value === "string") return [];
    try {
      return [fromBinary(StatusSchema, value)];
    } catch {
      // A proxy may cut the trailer; the plain message is still there.
      return [];
    }
  });
}

/**
 * The typed error for a failed call.
 *
 * @param details what FetchErrorDetails answered, Spark 4 and later
 */
export function toSparkError(error: unknown, details?: FetchErrorDetailsResponse): SparkConnectError {
  if (error instanceof SparkConnectError) return error;
  if (!isServiceError(error)) {
    const message = error instanceof Error ? error.message : String(error);
    return new SparkConnectError("INTERNAL", message, { cause: error });
  }
  const parsed = parseStatus(error);
  const fetched = details === undefined ? undefined : fromDetails(details, parsed);
  if (fetched !== undefined) return fetched;

  const condition = parsed.metadata.errorClass ?? CONDITION.exec(parsed.message)?.[1];
  const classes = parseJson<string[]>(parsed.metadata.classes) ?? [];
  const message = cleanMessage(parsed.message, classes);
  if (condition?.startsWith("OPERATION_CANCELED") === true) return canceled(message, error);
  return build(message, {
    condition,
    sqlState: parsed.metadata.sqlState ?? SQL_STATE.exec(parsed.message)?.[1],
    parameters: parseJson<Record<string, string>>(parsed.metadata.messageParameters),
    grpcStatus: parsed.grpcStatus,
    retryable: isRetryable(parsed),
    retryDelayMs: parsed.retryDelayMs,
    classes,
  });
}

/** Builds the chain of causes out of FetchErrorDetails; at most as long as the list, so a cycle can't trap us. */
function fromDetails(details: FetchErrorDetailsResponse, parsed: ParsedStatus): SparkConnectError | undefined {
  const build1 = (index: number | undefined, seen: ReadonlySet<number>): SparkConnectError | undefined => {
    const error = index === undefined || seen.has(index) ? undefined : details.errors[index];
    if (index === undefined || error === undefined) return undefined;
    const throwable = error.sparkThrowable;
    return build(cleanMessage(error.message, error.errorTypeHierarchy), {
      condition: throwable?.errorClass ?? CONDITION.exec(error.message)?.[1],
      sqlState: throwable?.sqlState ?? SQL_STATE.exec(error.message)?.[1],
      parameters: throwable?.messageParameters,
      grpcStatus: parsed.grpcStatus,
      retryable: isRetryable(parsed),
      retryDelayMs: parsed.retryDelayMs,
      classes: error.errorTypeHierarchy,
      cause: build1(error.causeIdx, new Set(seen).add(index)),
    });
  };
  return build1(details.rootErrorIdx, new Set());
}

function build(message: string, options: SparkConnectErrorOptions): SparkConnectError {
  const Class = errorClassFor(options.classes ?? []);
  // The client's own names for a session that is gone, whichever way the server put it.
  const code = options.condition?.startsWith("INVALID_HANDLE.SESSION_")
    ? options.condition.slice("INVALID_HANDLE.".length)
    : (options.condition ?? options.grpcStatus ?? "UNKNOWN");
  return new Class(code, message, options);
}

/** What is said of a stream that something between client and server has cut off, as proxies do when a token expires. */
const CUT_OFF: Readonly<Record<string, RegExp>> = {
  INTERNAL: /^Received RST_STREAM with code /,
  UNKNOWN: /^Stream removed/,
  CANCELLED: /^(Call cancelled|Received RST_STREAM)/,
};

/** UNAVAILABLE, a stream that was cut off, a cursor that another call took over, or whatever the server itself asked to retry. */
function isRetryable(parsed: ParsedStatus): boolean {
  if (parsed.retryDelayMs !== undefined) return true;
  if (parsed.grpcStatus === "UNAVAILABLE") return true;
  if (CUT_OFF[parsed.grpcStatus]?.test(parsed.message) === true) return true;
  return parsed.grpcStatus === "INTERNAL" && parsed.message.includes("INVALID_CURSOR.DISCONNECTED");
}

/**
 * Leaves out Java's stack frames, which Spark 3.5 puts into the text of failed stages, and the tree of the plan, which it
 * appends to what the analyzer says: it is long, and holds the literals of the query.
 */
function cleanMessage(message: string, classes: readonly string[]): string {
  const analyzer = classes.some((name) => name.endsWith(".ExtendedAnalysisException"));
  const text = analyzer ? message.replace(/;\n['!]?[A-Z][\s\S]*$/, "") : message;
  return text
    .split("\n")
    .filter((line) => !/^\s+at [\w.$<>/]+/.test(line) && !/^\s*\.\.\. \d+ more\s*$/.test(line))
    .filter((line) => !/^\s*(Driver stacktrace|JVM stacktrace):\s*$/.test(line))
    .join("\n")
    .trim();
}

function parseJson<T>(text: string | undefined): T | undefined {
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as T;
  } catch {
    return undefined;
  }
}
