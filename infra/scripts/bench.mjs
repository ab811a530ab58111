// npm run bench -- <name> [options]: builds, bundles bench/main.ts, and runs it. What is measured is dist, as users have it.
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const built = spawnSync(process.execPath, [join(root, "infra", "scripts", "build.mjs")], {
  cwd: root,
  stdio: "inherit",
});
if (built.status !== 0) process.exit(built.status ?? 1);

const { build } = await import("esbuild");
const bundle = join(root, "node_modules", ".cache", "bench", "main.mjs");
await build({
  entryPoints: [join(root, "bench", "main.ts")],
  outfile: bundle,
  bundle: true,
  platform: "node",
  format: "esm",
  target: "node20",
  packages: "external",
  sourcemap: "inline",
  logLevel: "warning",
  plugins: [
    {
      name: "what the package exports comes from dist",
      setup({ onResolve }) {
        onResolve({ filter: /^\.\.?\/.*\blib\// }, ({ path, resolveDir }) => {
          const module = join(resolveDir, path).slice(root.length + 1);
          // dist has files for what the package exports alone; errors come with what jobs import.
          const exported = module === join("lib", "errors.js") ? join("lib", "glue", "index.js") : module;
          return { path: pathToFileURL(join(root, "dist", exported)).href, external: true };
        });
      },
    },
  ],
});
const { main } = await import(pathToFileURL(bundle).href);
process.exitCode = await main(process.argv.slice(2), root);
