import { statSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { ExitCode, UserError } from "../errors.js";
import { hasCode } from "./plain-file.js";

/** How often a folder is begun again that others remove meanwhile, or the one above it. */
const ATTEMPTS = 5;

/**
 * Makes a folder and those above it that are missing. Node's own recursive `mkdir` never ends where the folder above is there and the
 * system says ENOENT all the same, as it does below `/proc`.
 *
 * @throws UserError `STORAGE_ACCESS_DENIED` in such a place; else the system's error.
 */
export async function makeFolder(folder: string): Promise<void> {
  if (isFolder(folder)) return;
  for (let attempt = 1; ; attempt++) {
    try {
      await mkdir(folder);
      return;
    } catch (error) {
      const parent = path.dirname(folder);
      if (hasCode(error, "EEXIST") && isFolder(folder)) return;
      if (attempt === ATTEMPTS) throw hasCode(error, "ENOENT") ? takesNone(parent, error) : error;
      if (hasCode(error, "ENOENT") && parent !== folder) await makeFolder(parent);
      else if (!hasCode(error, "EEXIST")) throw error;
    }
  }
}

function isFolder(folder: string): boolean {
  try {
    return statSync(folder, { throwIfNoEntry: false })?.isDirectory() ?? false;
  } catch (error) {
    // Something above it is a file, which making it says better.
    if (hasCode(error, "ENOTDIR")) return false;
    throw error;
  }
}

function takesNone(parent: string, cause: unknown): UserError {
  return new UserError("STORAGE_ACCESS_DENIED", `No folder can be made in ${parent}: ${(cause as Error).message}`, {
    hint: "Give another path; this one is in a place that takes no files",
    exitCode: ExitCode.configuration,
    cause,
  });
}
