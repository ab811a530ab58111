// npm test: build, lint, types, every test. Closes with `N passed, N failed`, from vitest's own counts; a stage that failed
// counts as a failure, and so do a skipped test and a run without tests.
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const modules = join(root, "node_modules");
const cache = join(modules, ".cache", "vitest");
// Of this run only: an editor's vitest may be writing the usual one.
const results = join(cache, `results-${process.pid}.json`);
const vitestArguments = process.argv.slice(2);

let child;
let interrupted = false;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.on(signal, () => {
    interrupted = true;
    child?.kill(signal);
  });
}

const problems = [];
await stage("build", [join(root, "infra", "scripts", "build.mjs")]);
await stage("lint", [join(modules, "@biomejs", "biome", "bin", "biome"), "check", "--error-on-warnings", "."]);
await stage("types", [join(modules, "typescript", "bin", "tsc"), "--noEmit", "-p", "tsconfig.json"]);
const vitest = await run([
  join(modules, "vitest", "vitest.mjs"),
  "run",
  `--outputFile.json=${results}`,
  ...vitestArguments,
]);

const { passed, failed } = count();
for (const problem of problems) console.log(`FAILED: ${problem}`);
const line = `${passed} passed, ${failed + problems.length} failed`;
mkdirSync(cache, { recursive: true });
writeFileSync(join(cache, "summary.txt"), `${line}\n`);
rmSync(results, { force: true });
console.log(line);
process.exitCode = failed + problems.length === 0 ? 0 : 1;

async function stage(name, args) {
  if (interrupted) return;
  console.log(`--- ${name}`);
  if ((await run(args)) !== 0) problems.push(name);
}

function run(args) {
  return new Promise((resolve, reject) => {
    if (interrupted) return resolve(1);
    child = spawn(process.execPath, args, { cwd: root, stdio: "inherit" });
    child.on("error", reject);
    child.on("close", (status) => resolve(status ?? 1));
  });
}

function count() {
  let files = [];
  try {
    files = JSON.parse(readFileSync(results, "utf8")).testResults;
  } catch {
    problems.push("vitest wrote no results");
    return { passed: 0, failed: 0 };
  }
  let passed = 0;
  let failed = 0;
  for (const { name, status, assertionResults, message } of files) {
    const bad = assertionResults.filter((test) => test.status !== "passed");
    passed += assertionResults.length - bad.length;
    failed += bad.length;
    for (const test of bad) {
      if (test.status !== "failed") problem(`${test.fullName} was not run (${test.status})`);
    }
    // A file that can't be loaded, or whose hooks fail, has no test to blame.
    if (status === "failed" && !bad.some((test) => test.status === "failed")) {
      problems.push(`${name}${message ? `: ${message.split("\n")[0]}` : ""}`);
    }
  }
  if (passed + failed === 0) problems.push("there was no test");
  // Such as an error that nobody caught, after the test that it came from had passed.
  if (vitest !== 0 && failed === 0 && problems.length === 0) problems.push(`vitest ended with status ${vitest}`);
  return { passed, failed };
}

/** Said, and counted already. */
function problem(text) {
  console.log(`FAILED: ${text}`);
}
