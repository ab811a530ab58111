/** What {@link SparkConnectError} is made of. */
export interface SparkConnectErrorOptions {
  /** Error condition of Spark, as `TABLE_OR_VIEW_NOT_FOUND` or `CAST_INVALID_INPUT`; with its subclass after a dot. */
  readonly condition?: string | undefined;
  /** SQLSTATE, five characters. */
  readonly sqlState?: string | undefined;
  /** Parameters of the message; Spark 4 and later only. */
  readonly parameters?: Readonly<Record<string, string>> | undefined;
  /** Name of the gRPC status, as `INTERNAL` or `UNAVAILABLE`. */
  readonly grpcStatus?: string | undefined;
  /** Whether the same call may succeed later without a change. */
  readonly retryable?: boolean | undefined;
  /** Wait that the server asked for before a retry, in milliseconds. */
  readonly retryDelayMs?: number | undefined;
  /** Names of the server's exception class and its ancestors, the class itself first. */
  readonly classes?: readonly string[] | undefined;
  readonly cause?: unknown;
}

/**
 * Everything this client throws.
 *
 * `code` is the one field to switch on: an error of Spark has its condition there (`TABLE_OR_VIEW_NOT_FOUND`), or the name of
 * the gRPC status when the server named no condition; an error of the client has one of its own codes:
 *
 * - `ENDPOINT_UNREACHABLE`: no connection within the deadline
 * - `OPERATION_CANCELED`: an `AbortSignal` fired; `name` is `AbortError` then
 * - `INVALID_CONNECTION_STRING`, `INVALID_ARGUMENT`: a mistake of the caller, nothing was sent
 * - `UNSUPPORTED_ON_SERVER`: the server's version doesn't know it, nothing was sent
 * - `UNSUPPORTED_TYPE`: a value has no form in JavaScript
 * - `RESPONSE_ALREADY_RECEIVED`: the server lost an operation whose rows had partly arrived
 * - `SESSION_CHANGED`, `SESSION_CLOSED`: views and settings of the session are gone, make a new one
 * - `PROTOCOL_ERROR`: the server's answers contradict each other
 *
 * @example
 * try {
 *   await spark.table("lake.missing").count();
 * } catch (error) {
 *   if (error instanceof SparkConnectError && error.code === "TABLE_OR_VIEW_NOT_FOUND") return 0;
 *   throw error;
 * }
 */
export class SparkConnectError extends Error {
  override name = "SparkConnectError";
  readonly code: string;
  readonly condition: string | undefined;
  readonly sqlState: string | undefined;
  readonly parameters: Readonly<Record<string, string>>;
  readonly grpcStatus: string | undefined;
  readonly retryable: boolean;
  readonly retryDelayMs: number | undefined;
  readonly classes: readonly string[];

  constructor(code: string, message: string, options: SparkConnectErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.condition = options.condition;
    this.sqlState = options.sqlState;
    this.parameters = options.parameters ?? {};
    this.grpcStatus = options.grpcStatus;
    this.retryable = options.retryable ?? false;
    this.retryDelayMs = options.retryDelayMs;
    this.classes = options.classes ?? [];
  }
}

/** The plan can't be resolved: an unknown table, column or function, types that don't fit. */
export class AnalysisException extends SparkConnectError {
  override name = "AnalysisException";
}

/** SQL text that isn't SQL. */
export class ParseException extends AnalysisException {
  override name = "ParseException";
}

/** A value made the running query fail: a cast, an overflow, a division by zero, an index out of bounds. */
export class SparkRuntimeException extends SparkConnectError {
  override name = "SparkRuntimeException";
}

/** Spark has the syntax but can't do it here, such as UPDATE on a table whose source has no row-level changes. */
export class SparkUnsupportedOperationException extends SparkConnectError {
  override name = "SparkUnsupportedOperationException";
}

/** A setting or an option with a value that Spark doesn't accept. */
export class IllegalArgumentException extends SparkConnectError {
  override name = "IllegalArgumentException";
}

type ErrorClass = new (code: string, message: string, options?: SparkConnectErrorOptions) => SparkConnectError;

/** Java classes by their simple name, the most special first. */
const CLASSES: readonly (readonly [string, ErrorClass])[] = [
  ["ParseException", ParseException],
  ["AnalysisException", AnalysisException],
  ["SparkRuntimeException", SparkRuntimeException],
  ["ArithmeticException", SparkRuntimeException],
  ["DateTimeException", SparkRuntimeException],
  ["NumberFormatException", SparkRuntimeException],
  ["ArrayIndexOutOfBoundsException", SparkRuntimeException],
  ["UnsupportedOperationException", SparkUnsupportedOperationException],
  ["IllegalArgumentException", IllegalArgumentException],
];

/** The TypeScript class for a server exception with these Java classes. */
export function errorClassFor(classes: readonly string[]): ErrorClass {
  const simple = new Set(classes.map((name) => name.slice(name.lastIndexOf(".") + 1)));
  return CLASSES.find(([name]) => simple.has(name))?.[1] ?? SparkConnectError;
}

/** The error of an aborted operation. Its name is `AbortError`, as of everything else in Node that takes a signal. */
export function canceled(reason: unknown, cause?: unknown): SparkConnectError {
  const why = reason instanceof Error ? reason.message : typeof reason === "string" ? reason : undefined;
  const error = new SparkConnectError(
    "OPERATION_CANCELED",
    why === undefined ? "The operation was canceled" : `The operation was canceled: ${why}`,
    { cause: reason ?? cause },
  );
  error.name = "AbortError";
  return error;
}
