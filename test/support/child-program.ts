import { type ChildProcessByStdio, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { build } from "esbuild";

/** A script of this folder as a program for processes of its own, which can be killed. Its argument is JSON. */
export class ChildProgram<Input> implements Disposable {
  readonly #folder: string;
  readonly #script: string;

  private constructor(folder: string, script: string) {
    this.#folder = folder;
    this.#script = script;
  }

  /**
   * Packages are bundled too, and what is imported on demand stays in files of its own: a process starts in a third of the time
   * that it takes to look all those modules up.
   *
   * @param name of the script, without its ending.
   */
  static async build<Input>(name: string): Promise<ChildProgram<Input>> {
    const cache = join(import.meta.dirname, "..", "..", "node_modules", ".cache", "glue-connect");
    mkdirSync(cache, { recursive: true });
    const folder = mkdtempSync(join(cache, `${name}-`));
    await build({
      entryPoints: [join(import.meta.dirname, `${name}.ts`)],
      outdir: folder,
      outExtension: { ".js": ".mjs" },
      bundle: true,
      splitting: true,
      platform: "node",
      target: "node20",
      format: "esm",
      // Packages that are CommonJS call it.
      banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' },
      // What drivers use only where it is installed.
      external: ["pg-native", "kerberos"],
    });
    return new ChildProgram(folder, join(folder, `${name}.mjs`));
  }

  start(input: Input): ChildProcessByStdio<null, Readable, Readable> {
    return spawn(process.execPath, ["--no-warnings", this.#script, JSON.stringify(input)], {
      stdio: ["ignore", "pipe", "pipe"],
    });
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
