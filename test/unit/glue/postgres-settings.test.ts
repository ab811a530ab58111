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
    // Silently without encryption would be the worst of answers.
    ["postgresql://h/d?sslmode=require", ["the parameter sslmode is not supported"]],
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
