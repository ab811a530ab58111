// npm test: build, lint, types, every test. Closes with `N passed, N failed`, from vitest's own counts; a stage that failed
// counts as a failure, and so do a skipped test and a run without tests.
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const modules = join(root, "node_modules");
const cache = join(modules, ".cache", "vitest");
const vitestArguments = process.argv.slice(2);

let child;
let fetching;
let fetched;
let interrupted = false;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.on(signal, () => {
    interrupted = true;
    child?.kill(signal);
    if (fetching?.pid !== undefined && fetching.exitCode === null && fetching.signalCode === null) {
      process.kill(-fetching.pid, signal);
    }
  });
}

const problems = [];
await stage("build", [join(root, "infra", "scripts", "build.mjs")]);
// Which tests are named may need nothing of it.
if (vitestArguments.length === 0) await fetchAhead();
await stage("lint", [join(modules, "@biomejs", "biome", "bin", "biome"), "check", "--error-on-warnings", "."]);
await stage("types", [join(modules, "typescript", "bin", "tsc"), "--noEmit", "-p", "tsconfig.json"]);
let [passed, failed] = [0, 0];
// One after the other: the unit tests of time-outs and order are right only on a machine that isn't busy with Spark.
await tests("unit");
await fetched;
await tests("integration");
if (passed + failed === 0) problems.push("there was no test");

for (const problem of problems) console.log(`FAILED: ${problem}`);
const line = `${passed} passed, ${failed + problems.length} failed`;
mkdirSync(cache, { recursive: true });
writeFileSync(join(cache, "summary.txt"), `${line}\n`);
console.log(line);
process.exitCode = failed + problems.length === 0 ? 0 : 1;

async function stage(name, args) {
  if (interrupted) return;
  console.log(`--- ${name}`);
  if ((await run(args)) !== 0) problems.push(name);
}

/** What integration tests fetch once a machine comes while the processor is busy with what needs none of it. */
async function fetchAhead() {
  if (interrupted || problems.length > 0) return;
  const { build } = await import("esbuild");
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(join(cache, "fetch-"));
  const outfile = join(folder, "fetch.mjs");
  await build({
    entryPoints: [join(root, "test", "support", "fetch.ts")],
    outfile,
    bundle: true,
    packages: "external",
    platform: "node",
    target: "node20",
    format: "esm",
  });
  // A group of its own: Maven and pip end with it.
  fetching = spawn(process.execPath, [outfile], { cwd: root, stdio: "inherit", detached: true });
  fetched = new Promise((resolve) => {
    const end = () => {
      rmSync(folder, { recursive: true, force: true });
      resolve();
    };
    fetching.on("error", end);
    fetching.on("close", end);
  });
}

function run(args) {
  return new Promise((resolve, reject) => {
    if (interrupted) return resolve(1);
    child = spawn(process.execPath, args, { cwd: root, stdio: "inherit" });
    child.on("error", reject);
    child.on("close", (status) => resolve(status ?? 1));
  });
}

async function tests(project) {
  if (interrupted) return;
  console.log(`--- ${project} tests`);
  // Of this run only: an editor's vitest may be writing the usual one.
  const results = join(cache, `results-${process.pid}-${project}.json`);
  const status = await run([
    join(modules, "vitest", "vitest.mjs"),
    "run",
    "--project",
    project,
    `--outputFile.json=${results}`,
    // A name given on the command line may be in one project only.
    ...(vitestArguments.length > 0 ? ["--passWithNoTests", ...vitestArguments] : []),
  ]);
  const before = failed + problems.length;
  count(project, results);
  rmSync(results, { force: true });
  // Such as an error that nobody caught, after the test that it came from had passed.
  if (status !== 0 && failed + problems.length === before) {
    problems.push(`vitest ended with status ${status} on the ${project} tests`);
  }
}

function count(project, results) {
  let files;
  try {
    files = JSON.parse(readFileSync(results, "utf8")).testResults;
  } catch {
    problems.push(`vitest wrote no results of the ${project} tests`);
    return;
  }
  for (const { name, status, assertionResults, message } of files) {
    const bad = assertionResults.filter((test) => test.status !== "passed");
    passed += assertionResults.length - bad.length;
    failed += bad.length;
    for (const test of bad) {
      if (test.status !== "failed") console.log(`FAILED: ${test.fullName} was not run (${test.status})`);
    }
    // A file that can't be loaded, or whose hooks fail, has no test to blame.
    if (status === "failed" && !bad.some((test) => test.status === "failed")) {
      problems.push(`${name}${message ? `: ${message.split("\n")[0]}` : ""}`);
    }
  }
}
