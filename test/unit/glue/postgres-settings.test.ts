import { describe, expect, test } from "vitest";
import type { PostgresSettings, Secrets } from "../../../lib/glue/index.js";
import { parsePostgresUrl, resolvePostgres } from "../../../lib/glue/postgres-settings.js";

const secrets: Secrets = { get: async () => ({ username: "etl", password: "from secret" }) };
const settings: PostgresSettings = { host: "db.example", port: undefined, database: "sales", secret: "aurora" };
const resolve = (given: Partial<PostgresSettings>, url?: string) =>
  resolvePostgres({ ...settings, ...given }, { url, embedded: undefined, secrets });

describe("the connection of a configuration", () => {
  test("is the configured host with the credentials of the secret", async () => {
    expect(await resolve({})).toEqual({
      host: "db.example",
      port: 5432,
      database: "sales",
      user: "etl",
      password: "from secret",
    });
  });

  test("is the URL's, which wins; what it leaves out comes from the configuration", async () => {
    expect(await resolve({}, "postgresql://ann:p%40ss%2Fw@[::1]:6000/my%20db")).toEqual({
      host: "::1",
      port: 6000,
      database: "my db",
      user: "ann",
      password: "p@ss/w",
    });
    expect(await resolve({}, "postgres://other")).toMatchObject({ host: "other", database: "sales", user: "etl" });
    await expect(resolve({ secret: undefined }, "postgres://other/x")).rejects.toMatchObject({
      problems: ["it names no user, and the configuration has no secret"],
    });
  });

  test("is the local server's for host embedded", async () => {
    const local = { host: "127.0.0.1", port: 1, database: "d", user: "u", password: "p" };
    const embedded = async (database: string | undefined) => ({ ...local, database: database ?? "own" });
    const sources = { url: undefined, embedded, secrets };
    expect(await resolvePostgres({ ...settings, host: "embedded" }, sources)).toEqual({ ...local, database: "sales" });
    await expect(resolve({ host: "embedded" })).rejects.toMatchObject({ code: "POSTGRES_EMBEDDED_UNAVAILABLE" });
  });

  test("has the configuration's TLS", async () => {
    expect(await resolve({ sslMode: "verify-full", sslRootCertificate: "/ca.pem" })).toMatchObject({
      tls: { mode: "verify-full", rootCertificate: "/ca.pem" },
    });
    await expect(resolve({ sslMode: "yes" })).rejects.toMatchObject({
      code: "POSTGRES_SETTINGS_INVALID",
      problems: ["the SSL mode is none of disable, prefer, require, verify-ca, verify-full"],
    });
  });

  test("has the URL's TLS, else the configuration's, but for a server of this machine", async () => {
    const given = { sslMode: "verify-full" };
    expect(await resolve(given, "postgresql://h/d?sslmode=require")).toMatchObject({ tls: { mode: "require" } });
    expect(await resolve({}, "postgresql://h/d?sslrootcert=%2Fetc%2Frds.pem")).toMatchObject({
      tls: { mode: "verify-full", rootCertificate: "/etc/rds.pem" },
    });
    expect(await resolve(given, "postgresql://h/d")).toMatchObject({ tls: { mode: "verify-full" } });
    expect(await resolve(given, "postgresql://localhost/d")).not.toHaveProperty("tls");
    await expect(resolve({ sslMode: "yes" }, "postgresql://h/d")).rejects.toMatchObject({
      code: "POSTGRES_SETTINGS_INVALID",
    });
  });

  test("says everything that is missing", async () => {
    await expect(resolve({ database: undefined, secret: undefined })).rejects.toMatchObject({
      code: "POSTGRES_SETTINGS_INVALID",
      problems: ["the name of the database is missing", "the name of the secret with username and password is missing"],
    });
  });
});

describe("a PostgreSQL URL", () => {
  test.each([
    ["not a url", ["it is no URL"]],
    ["mysql://h/d", ["it doesn't begin with postgresql://"]],
    ["postgresql:///d", ["it names no host"]],
    // A parameter that is passed over in silence may be the one that makes the connection safe.
    [
      "postgresql://h/d?sslcert=/c&sslmode=allow",
      [
        "the parameter sslcert is not supported",
        "the parameter sslmode is none of disable, prefer, require, verify-ca, verify-full",
      ],
    ],
    ["postgresql://h/d?sslmode=require&sslmode=disable", ["the parameter sslmode is there more than once"]],
    [
      "postgresql://h/d?sslrootcert=system",
      ["the parameter sslrootcert is no absolute path, which the executors need as well as the driver"],
    ],
    ["postgresql://u:topsecret%zz@h/d", ["the percent signs in its password are no encoding"]],
  ])("%s is refused without being quoted", (url, problems) => {
    let thrown: unknown;
    try {
      parsePostgresUrl(url);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toMatchObject({ code: "POSTGRES_URL_INVALID", exitCode: 64, problems });
    expect(JSON.stringify(thrown) + String(thrown)).not.toContain("topsecret");
  });
});
