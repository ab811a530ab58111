// npm start: installs what is missing, builds, and runs the main job on sample data with servers of this machine.
// Plain Node, because in a fresh clone there is nothing else yet.
import { spawnSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const [major = 0] = process.versions.node.split(".").map(Number);
if (major < 20) fail(`glue-connect needs Node 20 or later; this is ${process.version}.`, "Install a newer Node.");

// npm writes this file when an installation is complete.
const installed = join(root, "node_modules", ".package-lock.json");
const lock = join(root, "package-lock.json");
if (!existsSync(installed) || statSync(installed).mtimeMs < statSync(lock).mtimeMs) {
  console.error("Installing the packages (npm ci), once");
  // Under npm the path of its own script is known; a shell finds npm otherwise, on every platform.
  const npm = process.env.npm_execpath;
  const done = npm
    ? run([npm, "ci", "--include=dev"])
    : spawnSync("npm ci --include=dev", { cwd: root, stdio: ["ignore", 2, 2], shell: true }).status === 0;
  if (!done) fail("The packages could not be installed.", "The reason is above.");
} else if (!run([join(root, "infra", "scripts", "build.mjs")])) {
  process.exit(1);
}
const { status } = spawnSync(
  process.execPath,
  [join(root, "dist", "lib", "cli", "main.js"), "demo", ...process.argv.slice(2)],
  {
    cwd: root,
    stdio: "inherit",
  },
);
process.exit(status ?? 1);

/** Standard output stays the report's. */
function run(args) {
  return spawnSync(process.execPath, args, { cwd: root, stdio: ["ignore", 2, 2] }).status === 0;
}

function fail(message, hint) {
  console.error(`${message}\nWhat to do: ${hint}`);
  process.exit(1);
}
