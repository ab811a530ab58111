import type { ObjectStore } from "../object-store.js";
import { canonicalUri, childUri } from "../uri.js";
import type { AddedFile } from "./state.js";

/**
 * The files that the executors left in an attempt's folder, each with its final name: `part-t<time>-<run>-<n>`, so that it was never
 * anybody else's, and that names sort as the batches came, after those of Spark's and of older runs. Folders of partitions
 * (`day=2026-01-31`) stay; markers and checksums don't count.
 *
 * @param folder of the attempt, and `target` of the table, without a slash at the end.
 * @param only names of folders in the attempt whose files count; `undefined`: all files do.
 */
export async function attemptFiles(
  store: ObjectStore,
  folder: string,
  target: string,
  runId: string,
  only?: readonly string[],
): Promise<AddedFile[]> {
  const files: AddedFile[] = [];
  const time = new Date().toISOString().replaceAll(/[-:.Z]/g, "");
  for await (const { uri, size } of store.list(`${folder}/`)) {
    const parts = uri.slice(folder.length + 1).split("/");
    if (!isRowsFile(parts.join("/"))) continue;
    if (only !== undefined && !only.some((name) => isIn(parts[0], name))) continue;
    const name = parts.at(-1) ?? "";
    const extension = /\..*$/.exec(name)?.[0] ?? "";
    const final = `part-t${time}-${runId}-${String(files.length).padStart(5, "0")}${extension}`;
    // What the store listed is a URI already: nothing of it is encoded once more.
    files.push({ from: uri, to: [target, ...parts.slice(0, -1), final].join("/"), size });
  }
  return files;
}

/**
 * Whether a file is one of rows, by its name below the folder that Spark has written. Markers and checksums aren't; nor are the empty
 * objects that Hadoop leaves on S3 in the place of an empty folder, `day=1/` or `day=1_$folder$`.
 */
export function isRowsFile(name: string): boolean {
  return !/(^|\/)([_.]|$)|_\$folder\$$/.test(name);
}

/** Which of an attempt's folders have no file among those that are to be published. */
export function emptyFolders(folder: string, names: readonly string[], files: readonly AddedFile[]): string[] {
  const present = files.map(({ from }) => from.slice(folder.length + 1).split("/")[0]);
  return names.filter((name) => !present.some((first) => isIn(first, name)));
}

/** Listed names are percent-encoded on files and plain on S3. */
function isIn(listed: string | undefined, name: string): boolean {
  return listed === name || listed === encodedName(name);
}

function encodedName(name: string): string {
  return childUri("file:///_", name).slice("file:///_/".length);
}

/** Folders that runs before this one have left, and may still write to. */
export interface Leftovers {
  /**
   * Deletes what belongs to a table. To be called after the run's own intent is stored: then none of it can be published.
   *
   * @param keep URIs of datasets that the state counts on.
   */
  clear(table: string, keep: ReadonlySet<string>): Promise<void>;
}

/**
 * Lists what other runs have left. Call it before any state is read: a folder that is listed here belongs to a run that began
 * earlier, and whose batch can't be published once this run has stored an intent of its own. One that began later is not in
 * the list, so that a run that slept doesn't delete the files of the one that took over.
 */
export async function findLeftovers(
  store: ObjectStore,
  place: { readonly output: string; readonly stateFolder: string },
  runId: string,
): Promise<Leftovers> {
  const folders = new Map<string, Set<string>>();
  const collect = async (root: string, tablePart: 0 | 1) => {
    for await (const { uri } of store.list(`${root}/`)) {
      const parts = uri.slice(root.length + 1).split("/");
      const [first, second] = parts;
      if (first === undefined || second === undefined || parts.length < 3) continue;
      if ((tablePart === 0 ? second : first) === runId) continue;
      const table = tablePart === 0 ? first : second;
      const found = folders.get(table) ?? new Set<string>();
      folders.set(table, found.add(`${root}/${first}/${second}`));
    }
  };
  await Promise.all([collect(attemptsFolder(place.output), 1), collect(childUri(place.stateFolder, "delivered"), 0)]);
  return {
    async clear(table, keep) {
      const name = encodedName(table);
      const kept = [...keep].map(canonicalUri);
      for (const folder of new Set([...(folders.get(table) ?? []), ...(folders.get(name) ?? [])])) {
        if (kept.some((uri) => uri.startsWith(`${canonicalUri(folder)}/`))) continue;
        await store.deleteAll(`${folder}/`);
      }
    },
  };
}

/** Where the executors of all runs write: hidden from readers, outside of every table. */
export function attemptsFolder(output: string): string {
  return childUri(output, "_attempts");
}
