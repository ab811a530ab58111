// npm run build, and what `npm ci` runs: Spark Connect's protocol code if it is missing, then dist: types by TypeScript, which
// does nothing when nothing changed, and JavaScript in bundles.
import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { delimiter, dirname, extname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const dist = join(root, "dist");
const tsc = join(root, "node_modules", "typescript", "bin", "tsc");
const SOURCES = ["lib", "jobs"];

// A JDK that only JAVA_HOME names has its tools found too.
const path = [
  ...(process.env.JAVA_HOME ? [join(process.env.JAVA_HOME, "bin")] : []),
  ...(process.env.PATH ?? "").split(delimiter),
].filter((folder) => folder !== "");

if (!existsSync(tsc)) {
  fail("TypeScript is not installed, and the build needs it.", "Run npm ci with the development dependencies in.");
}
if (!existsSync(join(root, "lib", "spark", "generated", ".source"))) {
  const missing = ["mvn", "java", "jar"].filter((tool) => !path.some((folder) => existsSync(join(folder, tool))));
  if (missing.length > 0) {
    fail(
      `Not on the PATH: ${missing.join(", ")}. Spark Connect's protocol code is made from its Maven artifact.`,
      "Install Maven 3.8 or later and a JDK 17 (not only a JRE), and run the command again.",
    );
  }
}
run("The protocol code could not be made", [join(root, "infra", "scripts", "generate.mjs")]);
// Its notes lie in dist, so that whoever deletes dist gets a whole one again.
run("The TypeScript does not compile", [
  tsc,
  "-p",
  join(root, "tsconfig.build.json"),
  "--incremental",
  "--tsBuildInfoFile",
  join(dist, ".tsbuildinfo"),
]);
const { bundle } = await import("./bundle.mjs");
const bundled = await bundle(root).catch((error) => {
  // What esbuild found wrong it has printed.
  if (error.errors === undefined) console.error(error);
  fail("The bundles could not be made.", "The reason is above.");
});
removeLeftovers(dist);
for (const folder of SOURCES) copyScripts(join(root, folder));
const bin = join(dist, "lib", "cli", "main.js");
if (existsSync(bin)) chmodSync(bin, 0o755);

function run(what, args) {
  const { status, signal, error } = spawnSync(process.execPath, args, {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, PATH: path.join(delimiter) },
  });
  if (error) throw error;
  if (status !== 0) fail(`${what} (${signal ?? `exit status ${status}`}).`, "The reason is above.");
}

/** Plain JavaScript that runs by itself, which tsc leaves where it is. */
function copyScripts(folder) {
  if (!existsSync(folder)) return;
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile() || extname(entry.name) !== ".mjs") continue;
    const source = join(entry.parentPath ?? entry.path, entry.name);
    const target = join(dist, relative(root, source));
    mkdirSync(dirname(target), { recursive: true });
    cpSync(source, target);
  }
}

/** What was made of a source file that has gone, or of another version of it: an import of it must fail here too. */
function removeLeftovers(folder) {
  if (!existsSync(folder)) return;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const made = join(folder, entry.name);
    if (entry.isDirectory()) removeLeftovers(made);
    else if (entry.name !== ".tsbuildinfo" && !bundled.has(made) && !hasSource(relative(dist, made))) rmSync(made);
  }
}

function hasSource(made) {
  const source = join(root, made);
  return made.endsWith(".mjs")
    ? existsSync(source)
    : made.endsWith(".d.ts") && existsSync(source.replace(/\.d\.ts$/, ".ts"));
}

function fail(message, hint) {
  console.error(`${message}\nWhat to do: ${hint}`);
  process.exit(1);
}
