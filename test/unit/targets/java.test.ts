import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { findJava } from "../../../lib/targets/local/java.js";
import { javaSaying, programs, temporaryFolder } from "./temporary-folder.js";

describe("Java", () => {
  test("is the one on the PATH", async () => {
    const bin = programs({ java: javaSaying("17.0.15") });
    expect(await findJava({ PATH: `/nowhere:${bin}` })).toEqual({ command: join(bin, "java"), major: 17 });
  });

  test("is JAVA_HOME's before the PATH's", async () => {
    const home = dirname(programs({ java: javaSaying("17.0.1") }));
    const other = programs({ java: javaSaying("11.0.2") });
    expect(await findJava({ JAVA_HOME: home, PATH: other })).toEqual({ command: join(home, "bin", "java"), major: 17 });
  });

  test.each([
    ["1.8.0_402", 8],
    ["11.0.22", 11],
    ["21", 21],
    ["25.0.1", 25],
  ])("%s is refused, with what to do", async (version, major) => {
    const bin = programs({ java: javaSaying(version) });
    await expect(findJava({ PATH: bin })).rejects.toMatchObject({
      code: "JAVA_UNSUPPORTED",
      message: `${join(bin, "java")} is Java ${major}; the local Spark 3.5 runs on Java 17`,
      hint: "Install a JDK 17 beside it and set JAVA_HOME to that one",
      exitCode: 66,
    });
  });

  test("missing on the PATH", async () => {
    await expect(findJava({ PATH: temporaryFolder() })).rejects.toMatchObject({
      code: "JAVA_MISSING",
      message: "Java (java) is not on the PATH",
      hint: expect.stringContaining("Install a JDK 17"),
    });
    await expect(findJava({})).rejects.toMatchObject({ code: "JAVA_MISSING" });
  });

  test("missing in JAVA_HOME, even when the PATH has one", async () => {
    const bin = programs({ java: javaSaying("17.0.15") });
    const error = findJava({ JAVA_HOME: "/nowhere/jdk", PATH: bin });
    await expect(error).rejects.toMatchObject({
      code: "JAVA_MISSING",
      message: "JAVA_HOME is /nowhere/jdk, and there is no bin/java in it",
    });
  });

  test("that can't run says so", async () => {
    const bin = programs({ java: "echo 'no runtime present' >&2; exit 1" });
    await expect(findJava({ PATH: bin })).rejects.toMatchObject({
      code: "JAVA_MISSING",
      problems: ["no runtime present"],
    });
  });
});
