import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";

const root = path.resolve(import.meta.dirname, "../..");

/** Modules that everything but lib/spark may import, and what each of them may. */
const BASE: Readonly<Record<string, readonly string[]>> = {
  "lib/errors.ts": [],
  "lib/logger.ts": [],
  "lib/aws.ts": ["lib/errors.ts"],
};
const ROOMS = ["lib/storage", "lib/postgres", "lib/keyspaces", "lib/targets"];

/** What each part of the tree may import beside itself and the base. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  ...BASE,
  "lib/spark": [],
  ...Object.fromEntries(ROOMS.map((room) => [room, ["lib/spark"]])),
  "lib/glue": [...ROOMS, "lib/spark"],
  jobs: ["lib/glue", ...ROOMS, "lib/spark"],
  "lib/cli": ["jobs", "lib/glue", ...ROOMS, "lib/spark", "infra/cdk"],
  // What the commands know of jobs, bundles and jars goes into the stacks.
  "infra/cdk": ["lib/cli", "lib/glue", ...ROOMS, "lib/spark"],
  // A bench measures the jobs through the command, as users run them.
  bench: ["lib/targets", "lib/spark"],
};

/** The part of the tree that a file belongs to; a file outside of every part is a violation by itself. */
function partOf(file: string): string | undefined {
  if (Object.hasOwn(BASE, file)) return file;
  return Object.keys(ALLOWED).find((part) => file.startsWith(`${part}/`));
}

function mayImport(part: string, target: string): boolean {
  if (Object.hasOwn(BASE, target) && !Object.hasOwn(BASE, part)) return part !== "lib/spark";
  return ALLOWED[part]?.includes(target) ?? false;
}

/** Relative imports of a module: static, dynamic, and re-exports, types included. */
function importsOf(source: string): string[] {
  const code = source.replaceAll(/\/\*[\s\S]*?\*\//g, "").replaceAll(/^\s*\/\/.*$/gm, "");
  return [...code.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*["'](\.{1,2}\/[^"']+)["']/g)].map((match) => match[1] ?? "");
}

function violations(files: Readonly<Record<string, string>>): string[] {
  const found: string[] = [];
  for (const [file, source] of Object.entries(files)) {
    const part = partOf(file);
    if (part === undefined) found.push(`${file} belongs to no part of the tree`);
    for (const imported of importsOf(source)) {
      const target = path.posix.join(path.posix.dirname(file), imported).replace(/\.js$/, ".ts");
      const targetPart = partOf(target);
      if (part === undefined || targetPart === part) continue;
      const allowed = targetPart !== undefined && mayImport(part, targetPart);
      if (!allowed) found.push(`${file} imports ${target}`);
    }
  }
  return found;
}

function modulesBelow(folder: string): Record<string, string> {
  return Object.fromEntries(
    readdirSync(path.join(root, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
      .map((entry) => path.join(entry.parentPath, entry.name))
      .map((file) => [path.relative(root, file).replaceAll(path.sep, "/"), readFileSync(file, "utf8")]),
  );
}

const FOLDERS = ["lib", "jobs", "infra/cdk", "bench"];

test("imports go one way: jobs, lib/glue, the rooms, lib/spark", () => {
  const files = Object.assign({}, ...FOLDERS.map(modulesBelow)) as Record<string, string>;
  expect(Object.keys(files).length).toBeGreaterThan(50);
  // Without them the check would pass because it sees nothing.
  expect(importsOf(files["lib/glue/open-run.ts"] ?? "")).toContain("../storage/create-object-store.js");
  expect(violations(files)).toEqual([]);
});

test.each([
  ["lib/spark/a.ts", 'import { UserError } from "../errors.js";', "lib/errors.ts"],
  ["lib/storage/a.ts", 'import type { X } from "../postgres/x.js";', "lib/postgres/x.ts"],
  ["lib/targets/local/a.ts", 'export * from "../../glue/index.js";', "lib/glue/index.ts"],
  ["lib/glue/a.ts", 'const job = await import("../../jobs/x/job.js");', "jobs/x/job.ts"],
  ["lib/glue/a.ts", 'import "../cli/io.js";', "lib/cli/io.ts"],
  ["jobs/x/a.ts", 'import {\n  a,\n  b,\n} from "../../lib/cli/io.js";', "lib/cli/io.ts"],
  ["lib/errors.ts", 'import { silentLogger } from "./logger.js";', "lib/logger.ts"],
  ["lib/errors.ts", 'import { x } from "./storage/uri.js";', "lib/storage/uri.ts"],
  ["bench/x/a.ts", 'import job from "../../jobs/x/job.js";', "jobs/x/job.ts"],
  ["lib/targets/a.ts", 'import "../../bench/harness/measure.js";', "bench/harness/measure.ts"],
  ["lib/glue/a.ts", 'const cdk = await import("../../infra/cdk/index.js");', "infra/cdk/index.ts"],
  ["lib/glue/a.ts", 'import x from "../../test/support/aws.js";', "test/support/aws.ts"],
])("%s with %j is caught", (file, source, target) => {
  expect(violations({ [file]: source })).toEqual([`${file} imports ${target}`]);
});

test("the AWS CDK is loaded when it is asked for", () => {
  const files = Object.entries({ ...modulesBelow("lib"), ...modulesBelow("jobs") });
  const found = files.filter(([, source]) => /\bfrom\s*"(aws-cdk-lib|constructs|[^"]*infra\/cdk)[/"]/.test(source));
  expect(found.map(([file]) => file)).toEqual([]);
  expect(files.filter(([, source]) => source.includes("infra/cdk/index.js")).map(([file]) => file)).toEqual([
    "lib/cli/infra.ts",
  ]);
});

test("what is allowed isn't caught, and a comment is no import", () => {
  expect(
    violations({
      "lib/cli/a.ts": 'import job from "../../jobs/x/job.js"; import { l } from "../targets/index.js";',
      "lib/storage/a.ts": '// import "../glue/index.js"\nimport { UserError } from "../errors.js";',
      "lib/spark/a.ts": '/** @example import { x } from "../glue/index.js"; */\nimport { y } from "./y.js";',
      "jobs/x/a.ts": 'import { z } from "../../lib/postgres/index.js";',
      "bench/x/a.ts": 'import { ensureSpark } from "../../lib/targets/index.js"; import { y } from "../harness/y.js";',
    }),
  ).toEqual([]);
  expect(violations({ "lib/elsewhere/a.ts": "" })).toEqual(["lib/elsewhere/a.ts belongs to no part of the tree"]);
});
