import { ExitCode, UserError } from "../errors.js";
import type { PostgresConnection } from "./connection.js";
import { tlsOf } from "./tls.js";

/** The fields of an error the server sent; the driver passes them on under these names. */
interface ServerError extends Error {
  readonly code?: string;
  readonly detail?: string;
  readonly hint?: string;
  readonly schema?: string;
  readonly table?: string;
  readonly column?: string;
  readonly constraint?: string;
}

/** SQLSTATE, or the system's error name (`ECONNREFUSED`), of an error from the driver. */
export function errorCode(error: unknown): string | undefined {
  return error instanceof Error ? (error as ServerError).code : undefined;
}

const UNREACHABLE = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH"]);

/** SQLSTATEs, beside class 08, with which the server ends a connection or leaves a statement's outcome open. */
const LOST_STATES = new Set(["57P01", "57P02", "57P03", "57P05", "25P03", "25P04", "40003"]);

/** The system's names for a connection that broke, or that nobody answers on any more (keep-alive). */
const LOST_ERRNOS = new Set([
  "ECONNRESET",
  "EPIPE",
  "ECONNREFUSED",
  "ECONNABORTED",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "EHOSTDOWN",
  "ENETUNREACH",
  "ENETDOWN",
  "ENETRESET",
  "ENOTCONN",
  "EPROTO",
]);

/** Is the connection gone, so that the statement may or may not have had its effect? */
export function isConnectionLost(error: unknown): boolean {
  const code = errorCode(error);
  if (code !== undefined) {
    if (LOST_STATES.has(code) || LOST_ERRNOS.has(code) || /^08...$/.test(code)) return true;
    // A record of TLS that can't be read, a socket that was destroyed under a statement.
    if (code.startsWith("ERR_SSL_") || code.startsWith("ERR_STREAM_")) return true;
  }
  return (
    error instanceof Error &&
    /Connection terminated|connection is closed|not queryable|Client was closed|timeout expired/i.test(error.message)
  );
}

/** Did the server refuse to speak TLS? The driver has no code for it. */
export function isTlsUnavailable(error: unknown): boolean {
  return error instanceof Error && error.message === "The server does not support SSL connections";
}

const CERTIFICATE_REFUSED = new Set([
  "CERT_CHAIN_TOO_LONG",
  "CERT_HAS_EXPIRED",
  "CERT_NOT_YET_VALID",
  "CERT_REJECTED",
  "CERT_REVOKED",
  "CERT_SIGNATURE_FAILURE",
  "CERT_UNTRUSTED",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "ERR_TLS_CERT_ALTNAME_INVALID",
  "HOSTNAME_MISMATCH",
  "INVALID_CA",
  "INVALID_PURPOSE",
  "PATH_LENGTH_EXCEEDED",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
]);

/** The error for a connection that can't be made: who, where, why, what to do; never the password. */
export function connectionError(error: unknown, connection: PostgresConnection): UserError {
  if (error instanceof UserError) return error;
  const where = `PostgreSQL at ${connection.host}:${connection.port}`;
  const code = errorCode(error);
  const text = error instanceof Error ? error.message : String(error);
  if (code === "28000" && /no encryption|SSL off/i.test(text)) {
    return new UserError("POSTGRES_TLS_REQUIRED", `${where} refuses a connection without encryption: ${text}`, {
      hint: 'Set sslmode to "require" or "verify-full"; if it is refused then too, pg_hba.conf has no entry for this machine',
      exitCode: ExitCode.configuration,
      cause: error,
    });
  }
  if (isTlsUnavailable(error)) {
    return new UserError(
      "POSTGRES_TLS_UNAVAILABLE",
      `${where} has no TLS, and sslmode is ${JSON.stringify(tlsOf(connection).mode)}`,
      {
        hint: 'Turn TLS on at the server (ssl = on); on a network that you trust, set sslmode to "disable" instead',
        exitCode: ExitCode.configuration,
        cause: error,
      },
    );
  }
  if (code !== undefined && CERTIFICATE_REFUSED.has(code)) {
    return new UserError("POSTGRES_CERTIFICATE_REFUSED", `The certificate of ${where} is not trusted: ${text}`, {
      hint:
        "Name its authority with sslrootcert, as a file here and on every executor (of Amazon RDS and Aurora: global-bundle.pem " +
        "from https://truststore.pki.rds.amazonaws.com), and connect by the host name that stands in the certificate",
      exitCode: ExitCode.configuration,
      cause: error,
    });
  }
  if (code === "28P01" || code === "28000") {
    return new UserError(
      "POSTGRES_AUTHENTICATION_FAILED",
      `${where} refuses user ${JSON.stringify(connection.user)}: ${text}`,
      {
        hint: "Check username and password (in the secret, or in --postgres-url), and pg_hba.conf or the security group on the server",
        exitCode: ExitCode.configuration,
        cause: error,
      },
    );
  }
  if (code === "3D000") {
    return new UserError(
      "POSTGRES_DATABASE_NOT_FOUND",
      `${where} has no database ${JSON.stringify(connection.database)}`,
      {
        hint: "Check the database's name, or create it",
        exitCode: ExitCode.configuration,
        cause: error,
      },
    );
  }
  if (code === "53300" || code === "57P03") {
    return new UserError("POSTGRES_BUSY", `${where} takes no connection now: ${text}`, {
      hint: "Try again later, or raise max_connections",
      exitCode: ExitCode.retryable,
      cause: error,
    });
  }
  if ((code !== undefined && UNREACHABLE.has(code)) || /timeout/i.test(text)) {
    return new UserError("POSTGRES_UNREACHABLE", `${where} can't be reached: ${text || code}`, {
      hint: "Check host and port, that the server is up, and that this machine and Spark's executors may connect to it",
      exitCode: ExitCode.unreachable,
      cause: error,
    });
  }
  return new UserError("POSTGRES_CONNECTION_FAILED", `${where}: ${text}`, {
    exitCode: ExitCode.unreachable,
    cause: error,
  });
}

/**
 * The error for a statement that the server refused: what was being done, to which table, and the server's own words.
 *
 * @param doing e.g. `inserting into "public"."orders"`.
 */
export function statementError(error: unknown, doing: string): UserError {
  if (error instanceof UserError) return error;
  const server = error as ServerError;
  const code = errorCode(error);
  const text = error instanceof Error ? error.message : String(error);
  const problems = [
    server.constraint === undefined ? undefined : `constraint ${server.constraint}`,
    server.column === undefined ? undefined : `column ${server.column}`,
    server.detail,
  ].filter((problem) => problem !== undefined);
  const about = { problems, cause: error };
  const message = `PostgreSQL refused ${doing}: ${text}`;
  if (isConnectionLost(error)) {
    return new UserError("POSTGRES_CONNECTION_LOST", `The connection was lost while ${doing}: ${text}`, {
      ...about,
      hint: "Nothing was committed; run again",
      exitCode: ExitCode.retryable,
    });
  }
  switch (code) {
    case "55P03":
      return new UserError("POSTGRES_LOCK_TIMEOUT", message, {
        ...about,
        hint: "Another transaction holds the table: see pg_locks and pg_stat_activity, then run again",
        exitCode: ExitCode.retryable,
      });
    case "40001":
    case "40P01":
      return new UserError("POSTGRES_TRANSACTION_CONFLICT", message, {
        ...about,
        hint: "Nothing was committed; run again",
        exitCode: ExitCode.retryable,
      });
    case "42501":
      return new UserError("POSTGRES_PERMISSION_DENIED", message, {
        ...about,
        hint: "Grant it to the role in the secret (the job's README lists what it needs)",
      });
    default:
      break;
  }
  if (code === "23503") {
    return new UserError("POSTGRES_CONSTRAINT_VIOLATED", message, {
      ...about,
      hint:
        "Nothing was changed. A foreign key to another table: load that table first. To rows of the same batch: make the constraint " +
        "DEFERRABLE, then it is checked when all rows are in",
    });
  }
  if (code?.startsWith("23")) {
    return new UserError("POSTGRES_CONSTRAINT_VIOLATED", message, {
      ...about,
      hint: "Nothing was changed. Mend the rows in the source or the constraint on the target, then run again",
    });
  }
  if (code?.startsWith("22")) {
    return new UserError("POSTGRES_VALUE_REFUSED", message, {
      ...about,
      hint: "Nothing was changed. A value doesn't fit the target column's type: widen the column, or mend the source",
    });
  }
  return new UserError("POSTGRES_STATEMENT_FAILED", message, {
    ...about,
    ...(server.hint === undefined ? {} : { hint: server.hint }),
  });
}
