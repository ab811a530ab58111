import { expect, test } from "vitest";
import { postgresSettings } from "../../../jobs/jdbc-cdc/connection.js";

const settings = (url: string, more: Readonly<Record<string, string>> = {}) =>
  postgresSettings(
    { name: "shop", type: "JDBC", properties: { JDBC_CONNECTION_URL: url, SECRET_ID: "s", ...more } },
    "fallback%20",
  );

test("encryption that is enforced is not given up by the URL", () => {
  for (const mode of ["disable", "allow", "prefer"]) {
    for (const [url, more] of [
      [`jdbc:postgresql://h/d?sslmode=${mode}`, { JDBC_ENFORCE_SSL: "true" }],
      [`jdbc:postgresql://h/d?ssl=true&sslmode=${mode}`, {}],
    ] as const) {
      expect(() => settings(url, more)).toThrow(
        expect.objectContaining({
          code: "CONNECTION_INVALID",
          problems: [expect.stringContaining(`sslmode=${mode} lets the connection go unencrypted`)],
        }),
      );
    }
  }
  expect(settings("jdbc:postgresql://h/d?sslmode=verify-full", { JDBC_ENFORCE_SSL: "true" }).sslMode).toBe(
    "verify-full",
  );
  expect(settings("jdbc:postgresql://h/d", { JDBC_ENFORCE_SSL: "true" }).sslMode).toBe("require");
  expect(settings("jdbc:postgresql://h/d?sslmode=disable").sslMode).toBe("disable");
});

test("a name with escapes is decoded, one that can't be is said to be wrong", () => {
  expect(settings("jdbc:postgresql://h/a%25b").database).toBe("a%b");
  expect(settings("jdbc:postgresql://h/").database).toBe("fallback%20");
  expect(() => settings("jdbc:postgresql://h/%zz")).toThrow(
    expect.objectContaining({ code: "CONNECTION_INVALID", problems: [expect.stringContaining("%25")] }),
  );
});
