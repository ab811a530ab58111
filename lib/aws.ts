import { STATUS_CODES } from "node:http";
import { ExitCode, UserError } from "./errors.js";

/** How to reach AWS. What is left out is found as every AWS tool finds it: environment, shared files, instance role. */
export interface AwsOptions {
  /** Another endpoint for every service, e.g. an emulator's; also read from `AWS_ENDPOINT_URL`. */
  readonly endpoint?: string;
  readonly region?: string;
  readonly credentials?: {
    readonly accessKeyId: string;
    readonly secretAccessKey: string;
    readonly sessionToken?: string;
  };
}

/** Settings for the constructor of any client of the AWS SDK. */
export function awsClientConfig(options: AwsOptions): {
  endpoint?: string;
  region?: string;
  credentials?: { accessKeyId: string; secretAccessKey: string; sessionToken?: string };
} {
  return {
    ...(options.endpoint === undefined ? {} : { endpoint: options.endpoint }),
    ...(options.region === undefined ? {} : { region: options.region }),
    ...(options.credentials === undefined ? {} : { credentials: { ...options.credentials } }),
  };
}

interface SdkError extends Error {
  readonly code?: string;
  readonly $metadata?: { readonly httpStatusCode?: number; readonly attempts?: number };
  readonly $response?: { readonly statusCode?: number };
}

const UNREACHABLE = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "ENOTFOUND",
  "EAI_AGAIN",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "EPIPE",
]);
const THROTTLED =
  /^(Throttling|ThrottlingException|ThrottledException|TooManyRequestsException|RequestLimitExceeded|SlowDown|ProvisionedThroughputExceededException|RequestThrottled|ServiceUnavailable|InternalError|InternalServerError|InternalServerException|InternalServiceError|InternalServiceException|OperationTimeoutException)$/;
const DENIED = /AccessDenied|UnauthorizedOperation|NotAuthorized|Forbidden/;
const BAD_CREDENTIALS =
  /^(UnrecognizedClientException|InvalidClientTokenId|InvalidAccessKeyId|SignatureDoesNotMatch|InvalidSignatureException|AuthFailure|ExpiredToken|ExpiredTokenException|TokenRefreshRequired|CredentialsProviderError|TokenProviderError|InvalidToken)$/;

/** Name of an AWS error, e.g. `NoSuchKey`, or `undefined` for something else. */
export function awsErrorName(error: unknown): string | undefined {
  return error instanceof Error ? error.name : undefined;
}

/**
 * Whether a request may have taken effect although it ended with this error: no answer came, or the service itself failed, at
 * one of the SDK's attempts.
 */
export function mayHaveTakenEffect(error: unknown): boolean {
  // Our own words are said before anything is sent.
  if (error instanceof UserError) {
    if (error.exitCode === ExitCode.unreachable || error.code.endsWith("_PROTOCOL")) return true;
    return error.cause instanceof Error && "$metadata" in error.cause
      ? mayHaveTakenEffect(error.cause)
      : error.code === "AWS_REQUEST_FAILED";
  }
  const status = awsErrorStatus(error);
  const attempts = error instanceof Error ? ((error as SdkError).$metadata?.attempts ?? 1) : 1;
  return status === undefined || status >= 500 || attempts > 1;
}

/** HTTP status of the answer that an SDK error came from. */
export function awsErrorStatus(error: unknown): number | undefined {
  if (!(error instanceof Error)) return undefined;
  const { $metadata, $response } = error as SdkError;
  return $metadata?.httpStatusCode ?? $response?.statusCode;
}

/** What {@link awsFailure} needs to know to say it well. */
export interface AwsCall {
  /** Name of the service, e.g. `DynamoDB`. */
  readonly service: string;
  /** What was being done, e.g. `reading secret "aurora/orders"`; no secret in it. */
  readonly doing: string;
  /** Code for refused access, e.g. `SECRET_ACCESS_DENIED`. */
  readonly deniedCode: string;
  /** The permission that is likely missing, e.g. `secretsmanager:GetSecretValue`. */
  readonly permission: string;
  /** Another way, for whoever didn't mean to call AWS. */
  readonly instead?: string;
}

/**
 * The AWS SDK warns that it won't be published for Node 20 any more in 2027. That is for whoever maintains this package; runs have
 * nothing else to say on stderr than what concerns them. A user's own word goes over it.
 *
 * @see https://github.com/aws/aws-sdk-js-v3/issues/7983
 */
export function silenceNodeVersionWarning(env: NodeJS.ProcessEnv = process.env): void {
  env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= "true";
}

/**
 * What an error of the AWS SDK means to the person who runs the job. Errors that are a service's own answer ("no such
 * table") are the caller's to recognise before.
 *
 * Codes: `AWS_CREDENTIALS_MISSING`, `AWS_CREDENTIALS_REFUSED`, `AWS_REGION_MISSING` (exit 66), `AWS_UNREACHABLE` (69),
 * `AWS_THROTTLED` (75), the call's own `deniedCode` (66), else `AWS_REQUEST_FAILED` (1).
 */
export function awsFailure(error: unknown, call: AwsCall): UserError {
  if (error instanceof UserError) return error;
  const text = textOf(error);
  const name = text.startsWith("HTTP ") ? "" : (awsErrorName(error) ?? "");
  const status = awsErrorStatus(error);
  if (/region is missing/i.test(text)) {
    return new UserError("AWS_REGION_MISSING", `No AWS region is set for ${call.doing}`, {
      hint: `Set \`region\` in glue-connect.config.ts, AWS_REGION, or a region in the AWS profile${call.instead === undefined ? "" : `. ${call.instead}`}`,
      exitCode: ExitCode.configuration,
      cause: error,
    });
  }
  if (
    name === "CredentialsProviderError" ||
    /could not load credentials|resolved credential object is not valid/i.test(text)
  ) {
    return new UserError("AWS_CREDENTIALS_MISSING", `No AWS credentials were found for ${call.doing}: ${text}`, {
      hint: "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in with `aws sso login`",
      exitCode: ExitCode.configuration,
      cause: error,
    });
  }
  if (BAD_CREDENTIALS.test(name)) {
    return new UserError(
      "AWS_CREDENTIALS_REFUSED",
      `AWS refused the credentials while ${call.doing}: ${name}: ${text}`,
      {
        hint: "The keys are wrong or have expired: log in again, or check AWS_PROFILE and the clock of this machine",
        exitCode: ExitCode.configuration,
        cause: error,
      },
    );
  }
  if (DENIED.test(name) || status === 403) {
    return new UserError(call.deniedCode, `${call.service} refused ${call.doing}: ${text || name}`, {
      hint: `Allow ${call.permission} (and, if a KMS key of yours is used, kms:Decrypt, for what is written kms:GenerateDataKey) to this identity`,
      exitCode: ExitCode.configuration,
      cause: error,
    });
  }
  if (THROTTLED.test(name) || status === 429 || (status ?? 0) >= 500) {
    return new UserError("AWS_THROTTLED", `${call.service} is too busy for ${call.doing}: ${name || text}`, {
      hint: "Run again in a moment",
      exitCode: ExitCode.retryable,
      cause: error,
    });
  }
  if (status === undefined && isConnectionProblem(error)) {
    return new UserError(
      "AWS_UNREACHABLE",
      `${call.service} can't be reached for ${call.doing}: ${connectionText(error)}`,
      {
        hint: "Check the network, the region, and AWS_ENDPOINT_URL if it is set",
        exitCode: ExitCode.unreachable,
        cause: error,
      },
    );
  }
  const what = name === "" || name === "Error" || text.includes(name) ? text : `${name}: ${text}`;
  return new UserError("AWS_REQUEST_FAILED", `${call.service} failed ${call.doing}: ${what}`, {
    hint: "The reason is AWS's own words; where they name nothing that can be put right, run again later",
    cause: error,
  });
}

/** An answer without a body, as HEAD has, is an "UnknownError" to the SDK: its status says more. */
function textOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const status = awsErrorStatus(error);
  if (status === undefined || !/^(Unknown(Error)?|\d{3})?$/.test(text)) return text;
  return `HTTP ${status}${STATUS_CODES[status] === undefined ? "" : ` ${STATUS_CODES[status]}`}`;
}

function isConnectionProblem(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code } = error as SdkError;
  if (code !== undefined && UNREACHABLE.has(code)) return true;
  if (/^(TimeoutError|NetworkingError)$/.test(error.name) || /timeout|timed out|socket hang up/i.test(error.message))
    return true;
  return error.cause !== undefined && isConnectionProblem(error.cause);
}

function connectionText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // An attempt on several addresses fails with an AggregateError, whose own message is empty.
  if (error.message === "" && error instanceof AggregateError) return error.errors.map(connectionText).join("; ");
  return error.message || ((error as SdkError).code ?? error.name);
}
