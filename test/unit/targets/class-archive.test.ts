import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import { classArchive } from "../../support/class-archive.js";
import { javaSaying, programs, temporaryFolder } from "./temporary-folder.js";

// A Java and a Spark of a few lines: what a real JVM makes is seen by the tests that use it.
const SETTINGS = { "spark.driver.extraClassPath": "/a.jar", "spark.driver.extraJavaOptions": "-XX:+UseSerialGC" };
const pythonOf = (submit: string) => join(programs({ "spark-submit": submit }), "python");
afterEach(() => vi.unstubAllEnvs());

/** @returns the user's cache. */
function machine(): string {
  const cache = temporaryFolder();
  vi.stubEnv("JAVA_HOME", dirname(programs({ java: javaSaying("17.0.15") })));
  vi.stubEnv("XDG_CACHE_HOME", cache);
  return cache;
}

test("drivers start without an archive where the JVM makes none, or refuses the option", async () => {
  const cache = machine();
  expect(await classArchive(pythonOf("exit 0"), SETTINGS)).toBeUndefined();
  expect(await classArchive(pythonOf("exit 1"), SETTINGS)).toBeUndefined();
  expect(readdirSync(join(cache, "glue-connect", "pyspark-classes"))).toEqual([]);
});

test("an archive is made once for the same class path and options", async () => {
  machine();
  const made = join(temporaryFolder(), "made");
  const python = pythonOf(`echo once >> ${made}; grep -q ArchiveClassesAtExit "$2" && touch "$4/classes.jsa"`);
  const archive = await classArchive(python, SETTINGS);
  expect(archive).toMatch(/\.jsa$/);
  expect(await classArchive(python, SETTINGS)).toBe(archive);
  expect(readFileSync(made, "utf8")).toBe("once\n");
  const other = { ...SETTINGS, "spark.driver.extraJavaOptions": "-XX:+UseG1GC" };
  const another = await classArchive(python, other);
  expect(another).toMatch(/\.jsa$/);
  expect(another).not.toBe(archive);
});
