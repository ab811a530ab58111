import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { jdbcOptions } from "../../../lib/postgres/connection.js";
import { nodeTls, parseTls, tlsOf } from "../../../lib/postgres/tls.js";

const names = { mode: "sslmode", rootCertificate: "sslrootcert" };

describe("without a mode", () => {
  test.each(["localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "::1", "/var/run/postgresql"])(
    "%s is this machine: no TLS",
    (host) => expect(tlsOf({ host })).toEqual({ mode: "disable" }),
  );

  test.each(["db.example", "10.0.0.1", "127.example", "localhost.example", "::2"])("%s needs TLS", (host) => {
    expect(tlsOf({ host })).toEqual({ mode: "require" });
  });
});

describe("the settings", () => {
  test.each([
    [undefined, undefined, undefined],
    ["prefer", undefined, { mode: "prefer" }],
    ["verify-ca", "/ca.pem", { mode: "verify-ca", rootCertificate: "/ca.pem" }],
    [undefined, "/ca.pem", { mode: "verify-full", rootCertificate: "/ca.pem" }],
  ])("sslmode %s with sslrootcert %s", (mode, file, tls) => {
    expect(parseTls(mode, file, names)).toEqual({ tls, problems: [] });
  });

  test.each([
    ["allow", undefined, ["sslmode is none of disable, prefer, require, verify-ca, verify-full"]],
    ["verify-full", "ca.pem", ["sslrootcert is no absolute path, which the executors need as well as the driver"]],
    ["disable", "/ca.pem", ["sslrootcert is of no use with sslmode disable, which checks nothing"]],
  ])("sslmode %s with sslrootcert %s is refused", (mode, file, problems) => {
    expect(parseTls(mode, file, names)).toEqual({ tls: undefined, problems });
  });

  test("require with an authority checks it, as in libpq", () => {
    const tls = { mode: "require", rootCertificate: "/ca.pem" } as const;
    expect(tlsOf({ host: "db.example", tls })).toEqual({ mode: "verify-ca", rootCertificate: "/ca.pem" });
  });
});

describe("the driver", () => {
  test("has no TLS, TLS without a check, or TLS with one", () => {
    expect(nodeTls({ mode: "disable" })).toBe(false);
    expect(nodeTls({ mode: "require" })).toEqual({ rejectUnauthorized: false });
    expect(nodeTls({ mode: "verify-full" })).toEqual({ rejectUnauthorized: true });
  });

  test("refuses a root certificate that is none", () => {
    const folder = mkdtempSync(join(tmpdir(), "glue-connect-tls-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const rootCertificate = join(folder, "ca.pem");
    const read = () => nodeTls({ mode: "verify-full", rootCertificate });
    expect(read).toThrow(/ENOENT/);
    writeFileSync(rootCertificate, "none");
    expect(read).toThrow(expect.objectContaining({ code: "POSTGRES_ROOT_CERTIFICATE_UNUSABLE", exitCode: 66 }));
  });
});

describe("the executors", () => {
  const parameters = (tls?: Parameters<typeof nodeTls>[0]) => {
    const connection = { host: "db.example", port: 5432, database: "sales", user: "etl", password: "topsecret" };
    const { url = "" } = jdbcOptions({ ...connection, ...(tls === undefined ? {} : { tls }) }, "test");
    expect(url).not.toContain("topsecret");
    return Object.fromEntries(
      [...new URL(url.replace("jdbc:", "")).searchParams].filter(([name]) => /^ssl/.test(name)),
    );
  };

  test("get the same mode", () => {
    expect(parameters()).toEqual({ sslmode: "require" });
    expect(parameters({ mode: "disable" })).toEqual({ sslmode: "disable" });
    expect(parameters({ mode: "verify-full", rootCertificate: "/etc/rds & co.pem" })).toEqual({
      sslmode: "verify-full",
      sslrootcert: "/etc/rds & co.pem",
    });
  });

  test("check against the JVM's authorities when no file is given", () => {
    expect(parameters({ mode: "verify-ca" })).toEqual({
      sslmode: "verify-ca",
      sslfactory: "org.postgresql.ssl.DefaultJavaSSLFactory",
    });
  });
});
