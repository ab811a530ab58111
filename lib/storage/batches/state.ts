import { ExitCode, UserError } from "../../errors.js";

/** What JSON can hold. */
export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue };

/** What a batch makes of a table's state. */
export interface Settled<Watermark extends JsonValue> {
  /** How far the source was delivered, in the job's own form; `null`: not at all, so the next load is a full one. */
  readonly watermark: Watermark | null;
  /** The datasets of rows delivered near the watermark, by name: URIs of folders. */
  readonly delivered: Readonly<Record<string, string>>;
  /** The documented tracker's value, canonical (see `tracker.ts`); `null`: the tracker has none. */
  readonly tracker: string | null;
  /** Whatever else the job keeps with the state. */
  readonly details: JsonValue;
}

/** A file of an attempt and its final name. */
export interface AddedFile {
  readonly from: string;
  readonly to: string;
  readonly size: number;
}

/** Executors may be writing; nothing of it counts. */
export interface StartedIntent {
  readonly kind: "started";
  readonly runId: string;
  /** Who runs it, for whoever takes over: e.g. the Spark session, to interrupt it. */
  readonly owner: JsonValue;
}

/** The redo log: all of it happens, whoever does it. */
export interface PublishingIntent<Watermark extends JsonValue> {
  readonly kind: "publishing";
  readonly runId: string;
  readonly add: readonly AddedFile[];
  readonly remove: readonly string[];
  /** For outputs that aren't plain files: what the job's own publisher needs to know. */
  readonly commit: JsonValue;
  readonly next: Settled<Watermark>;
}

/**
 * What is known of one table. One object holds it, and each change is one conditional put.
 *
 * `published` is the documented tracker's value that goes with the state, and the one that the tracker holds until that is written (for as
 * long as the state has none): a tracker that holds any other value was reset by the user.
 */
export interface BatchState<Watermark extends JsonValue> {
  readonly version: 1;
  /** Raised by one with each put, so that the same bytes are never put twice. */
  readonly generation: number;
  /** The run whose batch was published last; `null`: none was. */
  readonly runId: string | null;
  /** What the state belongs to; a state of something else is refused. */
  readonly source: string;
  readonly watermark: Watermark | null;
  readonly delivered: Readonly<Record<string, string>>;
  readonly published: { readonly value: string | null; readonly before: string | null };
  readonly details: JsonValue;
  /** The tracker's value that the next batch begins at instead of the watermark: the user's (`reset`), or another program's (`adopted`). */
  readonly restart: { readonly from: "adopted" | "reset"; readonly value: string | null } | null;
  readonly intent: StartedIntent | PublishingIntent<Watermark> | null;
}

/** @throws UserError `STATE_UNREADABLE`, `STATE_OF_OTHER_SOURCE`. */
export function parseState<Watermark extends JsonValue>(
  body: Uint8Array,
  uri: string,
  source: string,
): BatchState<Watermark> {
  let state: BatchState<Watermark>;
  try {
    state = JSON.parse(Buffer.from(body).toString("utf8")) as BatchState<Watermark>;
  } catch (error) {
    throw unreadable(uri, (error as Error).message);
  }
  if (state === null || typeof state !== "object" || typeof state.generation !== "number") {
    throw unreadable(uri, "it isn't a table's state");
  }
  if (state.version !== 1) throw unreadable(uri, `it has version ${String(state.version)}, and this release knows 1`);
  if (state.source !== source) {
    throw new UserError("STATE_OF_OTHER_SOURCE", `${uri} is the state of ${state.source}, not of ${source}`, {
      hint: "Give each source a tracker location of its own",
      exitCode: ExitCode.configuration,
    });
  }
  return state;
}

function unreadable(uri: string, why: string): UserError {
  return new UserError("STATE_UNREADABLE", `${uri} can't be read: ${why}`, {
    hint: "Restore the object. Without it the documented tracker counts: rows near its value may come again, and where one value stands for several tables, rows of those that lag behind it are missed. Then delete the object and load in full",
    exitCode: ExitCode.configuration,
  });
}
