import { existsSync, readFileSync } from "node:fs";
import { dirname, join, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { UserError } from "../../errors.js";

/** The folder of our package.json: the same one when run from the source and when run from `dist`. */
export function packageRoot(from: string = dirname(fileURLToPath(import.meta.url))): string {
  for (let folder = from; ; folder = dirname(folder)) {
    const manifest = join(folder, "package.json");
    if (existsSync(manifest) && nameIn(manifest) === "glue-connect") return folder;
    if (dirname(folder) === folder) {
      throw new UserError("PACKAGE_ROOT_MISSING", `No package.json of glue-connect was found above ${from}`, {
        hint: "Install glue-connect as a package: its local servers need the files that lie beside package.json",
      });
    }
  }
}

/** The folder that our modules run from: the package's own with the sources, or its `dist`. */
export function modulesRoot(): string {
  const root = packageRoot();
  const dist = join(root, "dist");
  return fileURLToPath(import.meta.url).startsWith(dist + sep) ? dist : root;
}

function nameIn(manifest: string): unknown {
  return (JSON.parse(readFileSync(manifest, "utf8")) as { name?: unknown }).name;
}
