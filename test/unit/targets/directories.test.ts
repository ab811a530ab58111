import { readFileSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { cacheHome, makeLocalDirectories, stateHome } from "../../../lib/targets/local/directories.js";
import { packageRoot } from "../../../lib/targets/local/package-root.js";
import { temporaryFolder } from "./temporary-folder.js";

test("the state home is GLUE_CONNECT_HOME, else below the working folder", () => {
  expect(stateHome({}, "/work")).toBe("/work/.glue-connect");
  expect(stateHome({ GLUE_CONNECT_HOME: "" }, "/work")).toBe("/work/.glue-connect");
  expect(stateHome({ GLUE_CONNECT_HOME: "/srv/state" }, "/work")).toBe("/srv/state");
  expect(stateHome({ GLUE_CONNECT_HOME: "state" }, "/work")).toBe("/work/state");
});

test("the cache is XDG's, and a relative XDG_CACHE_HOME is ignored as XDG says", () => {
  expect(cacheHome({ XDG_CACHE_HOME: "/c" })).toBe("/c/glue-connect");
  expect(cacheHome({ XDG_CACHE_HOME: "c" })).toBe(join(homedir(), ".cache", "glue-connect"));
  expect(cacheHome({})).toBe(join(homedir(), ".cache", "glue-connect"));
});

test("the state home can't be listed by others, and git leaves it alone", () => {
  const { home } = makeLocalDirectories(join(temporaryFolder(), "state"));
  expect(statSync(home).mode & 0o066).toBe(0);
  expect(readFileSync(join(home, ".gitignore"), "utf8")).toBe("*\n");
});

test("the package's root is found from its source, and missed with a word", () => {
  expect(JSON.parse(readFileSync(join(packageRoot(), "package.json"), "utf8"))).toMatchObject({ name: "glue-connect" });
  expect(() => packageRoot("/")).toThrow(/No package.json of glue-connect/);
});
