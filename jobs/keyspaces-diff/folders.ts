import { ExitCode, UserError } from "../../lib/errors.js";
import type { JobContext } from "../../lib/glue/index.js";
import { type StructType, schemaFromJson, typeToJson } from "../../lib/spark/index.js";
import {
  canonicalUri,
  childUri,
  isFileUri,
  isRowsFile,
  type ObjectInfo,
  type ObjectStore,
} from "../../lib/storage/index.js";
import type { FileFormat } from "./arguments.js";
import type { Cells } from "./cells.js";

/** What we note beside the files of an export. */
export interface Manifest {
  readonly version: 1;
  readonly kind: "export" | "diff";
  /** `writing` until the files are all there. */
  readonly state: "writing" | "complete";
  readonly runId: string;
  /** ISO 8601, UTC: before the first row was read. */
  readonly startedAt: string;
  readonly finishedAt?: string;
  /** When the (newer) export of the table began: no row in here is younger. */
  readonly exportedAt?: string;
  /** Of changes: when that export ended, and when the older one began. */
  readonly exportedUntil?: string;
  readonly pastExportedAt?: string;
  readonly keyspace: string;
  readonly table: string;
  readonly format: FileFormat;
  /** Spark's JSON of the rows' schema, which JSON and CSV files don't tell. */
  readonly schema?: unknown;
  readonly keys?: readonly string[];
  /** The condition that the rows of an export meet, when it isn't of all. */
  readonly where?: string;
  /** Names and sizes of the files once they are all there. */
  readonly files?: readonly { readonly name: string; readonly size: number }[];
  /** Names of the other columns of a diff, without prefixes. */
  readonly columns?: readonly string[];
  readonly values?: "both" | "right";
  /** Columns that hold the TTLs and write times of cells. */
  readonly cells?: Cells;
  /**
   * The table's static columns. An export has them in each row of a partition, and a partition without rows as a row without clustering
   * columns; changes have such a row as deleted when the static columns went with the partition.
   */
  readonly statics?: { readonly partitionKey: readonly string[]; readonly columns: readonly string[] };
  readonly rows?: number;
  readonly counts?: { readonly inserted: number; readonly updated: number; readonly deleted: number };
  readonly past?: string;
  readonly current?: string;
}

const MANIFEST = "_glue_connect.json";

/** A folder of files, looked at. */
export interface Folder {
  /** Without a slash at the end. */
  readonly uri: string;
  readonly files: readonly ObjectInfo[];
  readonly manifest: Manifest | undefined;
  /** Whether something says that all files are there: our manifest, or Spark's `_SUCCESS`. */
  readonly isMarked: boolean;
}

/** A folder that this run writes. */
export interface ClaimedFolder {
  readonly uri: string;
  readonly etag: string;
  readonly manifest: Manifest;
}

/**
 * Makes a folder of this minute that is this run's alone, `<S3URI>/snapshot/year=2026/month=01/day=31/hour=09/minute=05`, in UTC. A
 * second run of the same minute gets `minute=05-2`.
 */
export async function claimFolder(
  store: ObjectStore,
  base: string,
  section: "snapshot" | "incremental",
  manifest: Omit<Manifest, "version" | "state" | "startedAt">,
  now = new Date(),
): Promise<ClaimedFolder> {
  const [year, month, day, hour, minute] = now.toISOString().split(/[-T:]/);
  const startedAt = now.toISOString();
  const writing: Manifest = {
    ...(manifest.kind === "export" ? { exportedAt: startedAt } : {}),
    ...manifest,
    version: 1,
    state: "writing",
    startedAt,
  };
  for (let attempt = 1; ; attempt++) {
    const folder = `year=${year}/month=${month}/day=${day}/hour=${hour}/minute=${minute}`;
    const uri = `${plainUri(base)}/${section}/${folder}${attempt === 1 ? "" : `-${attempt}`}`;
    // Another tool's export may be there without our manifest.
    if (await isEmpty(store, uri)) {
      try {
        const { etag } = await store.put(childUri(uri, MANIFEST), json(writing), { ifNoneMatch: true });
        return { uri, etag, manifest: writing };
      } catch (error) {
        if (!(error instanceof UserError) || error.code !== "PRECONDITION_FAILED") throw error;
      }
    }
  }
}

/** Says that the files are all there. */
export async function completeFolder(
  store: ObjectStore,
  claimed: ClaimedFolder,
  more: Partial<Manifest> & { readonly rowSchema: StructType },
): Promise<void> {
  const { rowSchema, ...rest } = more;
  const files = [];
  for await (const { uri, size } of store.list(`${claimed.uri}/`)) {
    const name = uri.slice(claimed.uri.length + 1);
    if (isRowsFile(name)) files.push({ name, size });
  }
  const done: Manifest = {
    ...claimed.manifest,
    ...rest,
    files,
    state: "complete",
    finishedAt: new Date().toISOString(),
    schema: typeToJson(rowSchema),
  };
  await store.put(childUri(claimed.uri, MANIFEST), json(done), { ifMatch: claimed.etag });
}

/** Writes into a folder of this run's; when that fails, nothing of it stays. */
export async function inNewFolder(
  context: JobContext<unknown>,
  claimed: ClaimedFolder,
  write: () => Promise<Partial<Manifest> & { readonly rowSchema: StructType }>,
): Promise<void> {
  try {
    await completeFolder(context.storage, claimed, await write());
  } catch (error) {
    try {
      await context.storage.deleteAll(`${claimed.uri}/`);
    } catch (left) {
      context.report.warn(
        "FILES_LEFT",
        `${claimed.uri} is unfinished and could not be removed: ${(left as Error).message}`,
      );
    }
    throw error;
  }
}

/** The files of a folder that this run has written. */
export async function dataFiles(store: ObjectStore, folder: string): Promise<string[]> {
  const uris: string[] = [];
  for await (const { uri } of store.list(`${folder}/`)) {
    if (isRowsFile(uri.slice(folder.length + 1))) uris.push(uri);
  }
  return uris;
}

/** The schema of the rows in a folder, when the manifest says it. */
export function manifestSchema({ manifest }: Folder): StructType | undefined {
  return manifest?.schema === undefined ? undefined : schemaFromJson(manifest.schema as never);
}

/**
 * Looks at a folder of files before anything is read from it.
 *
 * @param what how errors call it: `PASTURI`.
 * @throws UserError `EXPORT_MISSING`, `EXPORT_INCOMPLETE`, `EXPORT_NESTED`, `FORMAT_UNLIKE`, `EXPORT_KIND_UNLIKE`.
 */
export async function openFolder(
  store: ObjectStore,
  location: string,
  { what, format, kind }: { readonly what: string; readonly format: FileFormat; readonly kind: Manifest["kind"] },
): Promise<Folder> {
  const uri = plainUri(location);
  const files: ObjectInfo[] = [];
  const nested = new Set<string>();
  let [hasTemporary, hasSuccess] = [false, false];
  for await (const object of store.list(`${uri}/`)) {
    const parts = object.uri.slice(uri.length + 1).split("/");
    hasTemporary ||= parts.includes("_temporary");
    hasSuccess ||= parts.length === 1 && parts[0] === "_SUCCESS";
    if (!isRowsFile(parts.join("/"))) continue;
    if (parts.length > 1) nested.add(parts.slice(0, -1).join("/"));
    else files.push(object);
  }
  const fail = (code: string, message: string, hint: string, problems: readonly string[] = []) =>
    new UserError(code, `${what}: ${message}`, { problems, hint, exitCode: ExitCode.configuration });
  const manifest = await readManifest(store, uri);
  if (manifest?.state === "writing" || (manifest === undefined && hasTemporary && !hasSuccess)) {
    const who =
      manifest === undefined ? "" : `: run ${manifest.runId}, begun at ${manifest.startedAt}, has not ended well`;
    throw fail(
      "EXPORT_INCOMPLETE",
      `the files in ${uri} are not complete${who}`,
      "Name a complete export, or run it again",
    );
  }
  if (nested.size > 0) {
    throw fail(
      "EXPORT_NESTED",
      `${uri} is no export but holds folders of files`,
      "Name one of them, down to minute=...",
      [...nested].slice(0, 5),
    );
  }
  const lost = lostFiles(manifest, uri, files);
  if (lost.length > 0) {
    throw fail(
      "EXPORT_INCOMPLETE",
      `the files in ${uri} are not those that were exported`,
      "Copy the whole folder again, or export anew",
      lost.slice(0, 5),
    );
  }
  if (files.length === 0 && manifest?.rows !== 0) {
    throw fail(
      "EXPORT_MISSING",
      `there are no files in ${uri}`,
      "Check the location: an empty export has a manifest of ours",
    );
  }
  if (manifest !== undefined && manifest.kind !== kind) {
    throw fail(
      "EXPORT_KIND_UNLIKE",
      `${uri} holds ${manifest.kind === "diff" ? "an incremental export" : "a whole table"}, not ${kind === "diff" ? "an incremental export" : "a whole table"}`,
      "Use keyspaces-import for whole tables, keyspaces-incremental-import for changes",
    );
  }
  const others = files.filter((file) => formatOf(file.uri) !== undefined && formatOf(file.uri) !== format);
  if (others.length > 0 || (manifest !== undefined && manifest.format !== format)) {
    throw fail(
      "FORMAT_UNLIKE",
      `the files in ${uri} are ${manifest?.format ?? formatOf(others[0]?.uri ?? "")}, not ${format}`,
      "Give --FORMAT as the files have it",
    );
  }
  return { uri, files, manifest, isMarked: manifest !== undefined || hasSuccess };
}

/** Whether the files are those of a whole export by the table's primary key, and nothing else: then no row is there twice. */
export function holdsKeysOnce({ manifest }: Folder, keys: readonly string[]): boolean {
  if (manifest?.kind !== "export" || manifest.files === undefined || manifest.keys === undefined) return false;
  return manifest.keys.every((name) => keys.includes(name));
}

/** When the export began that a folder holds, or leads to; `undefined` when it doesn't say. */
export async function exportTime(store: ObjectStore, location: string): Promise<Date | undefined> {
  const at = (await readManifest(store, plainUri(location)))?.exportedAt;
  return at === undefined ? undefined : new Date(at);
}

/** What is not as the manifest says; an older one doesn't say it. */
function lostFiles(manifest: Manifest | undefined, folder: string, files: readonly ObjectInfo[]): readonly string[] {
  if (manifest?.files === undefined) return [];
  const sizes = new Map(files.map(({ uri, size }) => [uri.slice(folder.length + 1), size]));
  const lost = manifest.files.flatMap(({ name, size }) => {
    const found = sizes.get(name);
    if (found === size) return [];
    return [found === undefined ? `${name} is missing` : `${name} has ${found} bytes, not ${size}`];
  });
  const known = new Set(manifest.files.map(({ name }) => name));
  return [...lost, ...[...sizes.keys()].filter((name) => !known.has(name)).map((name) => `${name} came later`)];
}

async function readManifest(store: ObjectStore, folder: string): Promise<Manifest | undefined> {
  const object = await store.get(childUri(folder, MANIFEST));
  if (object === undefined) return undefined;
  try {
    const manifest = JSON.parse(Buffer.from(object.body).toString("utf8")) as Manifest;
    if (manifest.version === 1) return manifest;
  } catch {
    // Told below, with what can be done.
  }
  throw new UserError("MANIFEST_UNREADABLE", `${object.uri} is no manifest of this version`, {
    hint: "Delete it to have the files read without it, or export anew",
    exitCode: ExitCode.configuration,
  });
}

/** As the store lists what lies in it: files have one spelling, on S3 the user's own is kept, because Spark may know only that. */
function plainUri(uri: string): string {
  return isFileUri(uri) ? canonicalUri(uri) : uri.replace(/\/+$/, "");
}

function formatOf(uri: string): FileFormat | undefined {
  return /\.(parquet|json|csv)(\.\w+)?$/.exec(uri)?.[1] as FileFormat | undefined;
}

async function isEmpty(store: ObjectStore, folder: string): Promise<boolean> {
  for await (const _object of store.list(`${folder}/`)) return false;
  return true;
}

function json(manifest: Manifest): string {
  return `${JSON.stringify(manifest, null, 2)}\n`;
}
