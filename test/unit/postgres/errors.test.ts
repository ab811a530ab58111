import { describe, expect, test } from "vitest";
import { connectionError, isConnectionLost, statementError } from "../../../lib/postgres/errors.js";

const withCode = (code: string, message = "what the server or the system said") =>
  Object.assign(new Error(message), { code });

describe("a lost connection", () => {
  test.each([
    ...["08000", "08003", "08006", "08P01", "57P01", "57P02", "57P03", "57P05", "25P03", "25P04", "40003"],
    ...["ECONNRESET", "EPIPE", "ECONNREFUSED", "ECONNABORTED", "ETIMEDOUT", "EHOSTUNREACH", "EHOSTDOWN"],
    ...["ENETUNREACH", "ENETDOWN", "ENETRESET", "ENOTCONN", "EPROTO"],
    ...["ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC", "ERR_STREAM_DESTROYED"],
  ])("is told by %s", (code) => {
    expect(isConnectionLost(withCode(code))).toBe(true);
    expect(statementError(withCode(code), "inserting")).toMatchObject({
      code: "POSTGRES_CONNECTION_LOST",
      exitCode: 75,
    });
  });

  test.each(["Connection terminated unexpectedly", "Client was closed and is not queryable", "timeout expired"])(
    "is told by the driver's %j",
    (message) => expect(isConnectionLost(new Error(message))).toBe(true),
  );

  test.each(["40001", "40P01", "55P03", "57014", "25P02", "23505", "42501", "ENOENT"])("isn't told by %s", (code) => {
    expect(isConnectionLost(withCode(code))).toBe(false);
  });
});

describe("a connection that can't be made", () => {
  const connection = { host: "db.example", port: 5432, database: "sales", user: "etl", password: "topsecret" };

  test.each([
    [
      "28000",
      'no pg_hba.conf entry for host "10.0.0.1", user "etl", database "sales", no encryption',
      "POSTGRES_TLS_REQUIRED",
    ],
    [
      "28000",
      'no pg_hba.conf entry for host "10.0.0.1", user "etl", database "sales", SSL off',
      "POSTGRES_TLS_REQUIRED",
    ],
    [
      "28000",
      'no pg_hba.conf entry for host "10.0.0.1", user "etl", database "sales", SSL encryption',
      "POSTGRES_AUTHENTICATION_FAILED",
    ],
    ["28P01", 'password authentication failed for user "etl"', "POSTGRES_AUTHENTICATION_FAILED"],
    ["SELF_SIGNED_CERT_IN_CHAIN", "self-signed certificate in certificate chain", "POSTGRES_CERTIFICATE_REFUSED"],
    ["ERR_TLS_CERT_ALTNAME_INVALID", "Hostname/IP does not match", "POSTGRES_CERTIFICATE_REFUSED"],
  ])("%s %s is %s", (code, message, expected) => {
    const error = connectionError(withCode(code, message), connection);
    expect(error).toMatchObject({ code: expected, exitCode: 66 });
    expect(error.describe()).not.toContain("topsecret");
  });

  test("for want of TLS names the mode that asked for it", () => {
    const refused = new Error("The server does not support SSL connections");
    expect(connectionError(refused, connection)).toMatchObject({
      code: "POSTGRES_TLS_UNAVAILABLE",
      message: 'PostgreSQL at db.example:5432 has no TLS, and sslmode is "require"',
      exitCode: 66,
    });
  });
});
