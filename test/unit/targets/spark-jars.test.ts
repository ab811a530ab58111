import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import type { Logger } from "../../../lib/logger.js";
import { silentLogger } from "../../../lib/logger.js";
import { mavenFailed } from "../../../lib/targets/local/maven-jars.js";
import { ensureSparkJars, sparkFeatures, sparkProfile } from "../../../lib/targets/local/spark-jars.js";
import { programs, temporaryFolder } from "./temporary-folder.js";

const java = { command: "/nowhere/bin/java", major: 17 };

function project(): string {
  const folder = temporaryFolder();
  writeFileSync(
    join(folder, "pom.xml"),
    "<spark.version>3.5.7</spark.version><id>spark-4.1</id><spark.version>4.1.2</spark.version>",
  );
  mkdirSync(join(folder, "src"));
  writeFileSync(join(folder, "src", "A.java"), "class A {}");
  return folder;
}

/** Notes its arguments and makes the folder that it was told to, as Maven would. */
const WORKING = `echo "$@" >> "$MAVEN_CALLS"
for argument in "$@"; do case "$argument" in -Doutput=*) /bin/mkdir -p "\${argument#-Doutput=}"; echo jar > "\${argument#-Doutput=}/a.jar";; esac; done`;

function environment(mvn?: string) {
  const folder = temporaryFolder();
  return {
    PATH: programs(mvn === undefined ? {} : { mvn }),
    XDG_CACHE_HOME: join(folder, "cache"),
    MAVEN_CALLS: join(folder, "calls"),
  };
}

describe("the jars", () => {
  test("are built once for any number of callers, and found again", async () => {
    const env = environment(WORKING);
    const options = { java, env, project: project() };
    const all = await Promise.all(Array.from({ length: 5 }, () => ensureSparkJars(options)));
    const again = await ensureSparkJars(options);
    expect(new Set([...all, again].map(({ folder }) => folder)).size).toBe(1);
    expect(again.sparkVersion).toBe("3.5.7");
    expect(readdirSync(again.folder)).toEqual(["a.jar"]);
    expect(readFileSync(env.MAVEN_CALLS, "utf8").trim().split("\n")).toHaveLength(1);
    expect(readdirSync(join(env.XDG_CACHE_HOME, "glue-connect")).filter((name) => !name.startsWith("spark-"))).toEqual(
      [],
    );
  });

  test("are built anew when a source changes, and kept apart by profile", async () => {
    const env = environment(WORKING);
    const options = { java, env, project: project() };
    const first = await ensureSparkJars(options);
    const aws = await ensureSparkJars({ ...options, profile: "aws" });
    writeFileSync(join(options.project, "src", "A.java"), "class B {}");
    const changed = await ensureSparkJars(options);
    expect(new Set([first.folder, aws.folder, changed.folder]).size).toBe(3);
    expect(readFileSync(env.MAVEN_CALLS, "utf8").trim().split("\n")[1]).toMatch(/ -Paws$/);
    await ensureSparkJars({ ...options, profile: sparkProfile(["cassandra", "aws"]) });
    expect(readFileSync(env.MAVEN_CALLS, "utf8").trim().split("\n")[3]).toMatch(/ -Paws -Pcassandra$/);
    expect([sparkProfile([]), sparkFeatures("base"), sparkFeatures("aws-cassandra")]).toEqual([
      "base",
      [],
      ["aws", "cassandra"],
    ]);
  });

  test("that weren't used for 30 days go when new ones are made, unless a process runs on them", async () => {
    const said: string[] = [];
    const logger: Logger = { ...silentLogger, info: (message) => said.push(message) };
    const options = { java, env: environment(WORKING), project: project(), logger };
    const cache = join(options.env.XDG_CACHE_HOME, "glue-connect");
    const days = (count: number) => new Date(Date.now() - count * 24 * 60 * 60 * 1000);
    const age = (folder: string, count: number) => {
      for (const name of readdirSync(folder)) utimesSync(join(folder, name), days(count), days(count));
      utimesSync(folder, days(count), days(count));
    };
    const made = async (class_: string) => {
      writeFileSync(join(options.project, "src", "A.java"), class_);
      return (await ensureSparkJars(options)).folder;
    };
    const [unused, used, running, recent] = [await made("1"), await made("2"), await made("3"), await made("4")];
    for (const name of ["building-x", "node", "spark-of-mine"]) mkdirSync(join(cache, name));
    for (const folder of [unused, used, running]) age(folder, 31);
    for (const name of ["building-x", "node", "spark-of-mine"]) age(join(cache, name), 31);
    age(recent, 29);
    await made("2");
    // Nothing was made, so nothing is removed.
    expect(existsSync(unused)).toBe(true);
    const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)", join(running, "*")]);
    onTestFinished(() => void child.kill("SIGKILL"));
    await once(child, "spawn");
    const newest = await made("5");
    expect(readdirSync(cache).toSorted()).toEqual(
      [...[used, running, recent, newest].map((folder) => basename(folder)), "node", "spark-of-mine"].toSorted(),
    );
    expect(readdirSync(used)).toEqual(["a.jar"]);
    expect(said.at(-1)).toBe(`Removed from ${cache} what wasn't used for 30 days: ${basename(unused)}`);
  });

  test("of another Spark are its profile's, and kept apart by its version", async () => {
    const env = environment(WORKING);
    const options = { java, env, project: project() };
    const [own, other] = [await ensureSparkJars(options), await ensureSparkJars({ ...options, version: "4.1" })];
    expect([own.sparkVersion, other.sparkVersion]).toEqual(["3.5.7", "4.1.2"]);
    expect(other.folder).not.toBe(own.folder);
    expect(readFileSync(env.MAVEN_CALLS, "utf8").trim().split("\n")[1]).toMatch(/ -Pspark-4\.1$/);
    await expect(ensureSparkJars({ ...options, version: "4.1", profile: "aws" })).rejects.toMatchObject({
      code: "SPARK_PROFILE_UNSUPPORTED",
      exitCode: 66,
    });
  });

  test("say once what takes so long", async () => {
    const said: string[] = [];
    const logger: Logger = { ...silentLogger, info: (message) => said.push(message) };
    const options = { java, env: environment(WORKING), project: project(), logger };
    await ensureSparkJars(options);
    await ensureSparkJars(options);
    expect(said).toEqual(["Fetching the jars of Spark 3.5.7 with Maven, once"]);
  });

  test("need Maven", async () => {
    await expect(ensureSparkJars({ java, env: environment(), project: project() })).rejects.toMatchObject({
      code: "MAVEN_MISSING",
      hint: expect.stringContaining("Install Maven"),
      exitCode: 66,
    });
  });

  test("leave nothing half done when Maven fails, and tell what it said", async () => {
    // Maven colours what it says, even into a pipe.
    const env = environment(
      `printf '[\\033[1;31mERROR\\033[m] Could not resolve artifact\\n[ERROR] [Help 1]\\n'; exit 1`,
    );
    await expect(ensureSparkJars({ java, env, project: project() })).rejects.toMatchObject({
      code: "MAVEN_FAILED",
      problems: ["Could not resolve artifact"],
    });
    expect(readdirSync(join(env.XDG_CACHE_HOME, "glue-connect"))).toEqual([]);
  });

  test("are given up when the caller's signal says so", async () => {
    const env = environment("while :; do :; done");
    const signal = AbortSignal.timeout(100);
    await expect(ensureSparkJars({ java, env, project: project(), signal })).rejects.toThrow();
    expect(readdirSync(join(env.XDG_CACHE_HOME, "glue-connect"))).toEqual([]);
  });
});

describe("what Maven failed of", () => {
  test("offline", () => {
    const error = mavenFailed(
      "[ERROR] Failed to execute: Could not transfer artifact a:b: Unknown host repo\n[ERROR] -> [Help 1]",
      1,
    );
    expect(error.exitCode).toBe(69);
    expect(error.hint).toContain("network");
    expect(error.problems).toEqual(["Failed to execute: Could not transfer artifact a:b: Unknown host repo"]);
  });

  test("a runtime without a compiler", () => {
    const error = mavenFailed(
      "[ERROR] No compiler is provided in this environment. Perhaps you are running on a JRE rather than a JDK?",
      1,
    );
    expect(error.hint).toContain("not only a JRE");
  });

  test("anything else is shown as it is", () => {
    expect(mavenFailed("one\ntwo\n", "SIGKILL").problems).toEqual(["one", "two"]);
  });
});
