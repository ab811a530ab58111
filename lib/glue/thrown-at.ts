import path from "node:path";
import { fileURLToPath } from "node:url";

/** A place in a source file, as stack traces have it. */
export interface SourcePlace {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** Where a job was declared: what lets its code be told from ours. */
export interface JobOrigin {
  /** The file that called `defineJob`. */
  readonly file: string;
  /** The file of `defineJob` itself. */
  readonly ours: string;
}

/** Whose code an error comes from. */
export interface ThrownAt {
  /** `job`: the job, or a package it uses, threw. `ours`: something in glue-connect did, perhaps because of how it was called. */
  readonly by: "job" | "ours";
  /** The innermost place in the job's own code. */
  readonly place: SourcePlace;
}

/** To be called by `defineJob`, and by nothing in between. */
export function originOfCaller(): JobOrigin | undefined {
  // Inside out: this function, defineJob, the job's module.
  const [, definer, caller] = placesOf(new Error().stack ?? "");
  return definer === undefined || caller === undefined ? undefined : { file: caller.file, ours: definer.file };
}

/**
 * Finds out whose code threw: of a stack trace's places, the innermost that is the job's or ours counts. Node's own and those of
 * packages are passed over: whoever called them is who gave them what they choked on.
 *
 * @returns `undefined` when the job came with this package, or the trace doesn't show it.
 */
export function thrownAt(error: unknown, origin: JobOrigin | undefined): ThrownAt | undefined {
  if (origin === undefined || !(error instanceof Error)) return undefined;
  const places = placesOf(error.stack ?? "");
  const root = rootOf(origin.ours);
  if (root !== undefined && isOfPackage(origin.file, root)) return undefined;
  const isOurs = ({ file }: SourcePlace) => file === origin.ours || (root !== undefined && isOfPackage(file, root));
  const folder = path.dirname(origin.file);
  const isJobs = ({ file }: SourcePlace) => {
    const within = file.startsWith(`${folder}${path.sep}`) ? file.slice(folder.length) : file;
    return !within.split(/[/\\]/).includes("node_modules");
  };
  const decisive = places.filter((place) => isOurs(place) || isJobs(place));
  const [first] = decisive;
  const place = decisive.find((one) => !isOurs(one));
  if (first === undefined || place === undefined) return undefined;
  return { by: isOurs(first) ? "ours" : "job", place };
}

/** `orders.ts, line 12, column 5`; the path is from the working folder where it is in there. */
export function placeText({ file, line, column }: SourcePlace): string {
  const relative = path.relative("", file);
  return `${relative.startsWith("..") ? file : relative}, line ${line}, column ${column}`;
}

/**
 * The folder of our package, or what a source map says it was. In its `dist` the code that several modules share lies in
 * `lib/chunks`.
 */
function rootOf(ours: string): string | undefined {
  const file = /^(.*[/\\])lib[/\\](?:glue[/\\](?:define-job|index)\.[jt]s|chunks[/\\][^/\\]+\.js)$/.exec(ours);
  return file?.[1]?.replace(/dist[/\\]$/, "");
}

/** Of the sources or of `dist`: a trace may have both, as source maps count for what is loaded after they were switched on. */
function isOfPackage(file: string, root: string): boolean {
  return file.startsWith(root) && /^(?:dist[/\\])?(?:lib|jobs|infra)[/\\]/.test(file.slice(root.length));
}

/** The places of a stack trace, innermost first, without those of Node itself. */
function placesOf(stack: string): SourcePlace[] {
  return stack.split("\n").flatMap((text) => {
    const [, written = "", line, column] =
      /^\s+at (?:.*\()?(?:async )?((?:file:\/\/|\/|[A-Za-z]:[/\\]).*?):(\d+):(\d+)\)?$/.exec(text) ?? [];
    if (written === "") return [];
    const file = written.startsWith("file://") ? fileURLToPath(written) : written;
    return [{ file, line: Number(line), column: Number(column) }];
  });
}
