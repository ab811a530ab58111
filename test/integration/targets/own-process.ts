import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { onTestFinished } from "vitest";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "..");
const local = join(root, "lib", "targets", "local");

/**
 * Makes a program of these lines, which see all that lib/targets exports, for processes of its own: to run side by side, to
 * be killed.
 *
 * @example
 * const ensure = await program(`console.log((await targets.ensureSpark()).pid)`);
 */
export async function program(lines: string): Promise<(...args: readonly string[]) => ChildProcess> {
  // Inside the package, where its package.json and node_modules are found from.
  const cache = join(root, "node_modules", ".cache", "glue-connect-test");
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(join(cache, "program-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "program.mjs");
  await build({
    stdin: { contents: `import * as targets from "./lib/targets/index.ts";\n${lines}`, resolveDir: root, loader: "ts" },
    bundle: true,
    packages: "external",
    platform: "node",
    format: "esm",
    target: "node20",
    outfile: file,
  });
  cpSync(join(local, "postgres-guard.mjs"), join(folder, "postgres-guard.mjs"));
  return (...args) => spawn(process.execPath, [file, ...args], { stdio: ["ignore", "pipe", "inherit"] });
}

/** What a process printed, when it has ended well. */
export async function output(child: ChildProcess): Promise<string> {
  const parts: string[] = [];
  child.stdout?.on("data", (part: Buffer) => parts.push(part.toString("utf8")));
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`The process ended with ${code}: ${parts.join("")}`);
  return parts.join("").trim();
}
