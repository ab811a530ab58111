import { createHash } from "node:crypto";
import type { ObjectStore } from "../../storage/object-store.js";
import { isFileUri } from "../../storage/uri.js";
import type { EventTrigger } from "../config/schedule-schema.js";
import { changeDocument } from "./documents.js";
import type { Cause, WatchedObject } from "./model.js";
import type { TriggerRecord } from "./triggers.js";

/** An object of the list. */
export interface FoundObject extends WatchedObject {
  /** It is whole. */
  readonly settled: boolean;
}

/** What is kept of an EVENT trigger. */
export interface EventRecord {
  /** The activation that it belongs to: objects that were there before it are no events. */
  readonly since: string;
  /** Objects that were seen, by a short hash of name and version. */
  readonly seen: readonly string[];
  /** Events that wait for a full batch, or for the end of the window. */
  readonly waiting: readonly WatchedObject[];
  /** When the first of them was seen. */
  readonly opened?: string;
  /** No batch is said to be from before it. */
  readonly earliest?: string;
  /** Batches that are to be fired. */
  readonly pending: readonly Cause[];
}

/** What one process remembers between two looks. */
export interface EventWatch {
  /** The versions of the last look: files count when they look the same twice. */
  looks: ReadonlyMap<string, string>;
}

/** What {@link pollEvents} needs. */
export interface PollEvents {
  readonly store: ObjectStore;
  readonly uri: string;
  readonly trigger: EventTrigger;
  readonly record: TriggerRecord;
  readonly watch: EventWatch;
  readonly now: Date;
  /** Begins a chain, once for the same cause. */
  begin(cause: Cause): Promise<void>;
}

/**
 * Looks for new objects below the prefix of an EVENT trigger, and fires it when a batch is full or its window over. An object
 * that is written over is a new event.
 */
export async function pollEvents(options: PollEvents): Promise<void> {
  const { store, uri, trigger, record, now, begin } = options;
  if (record.state === "ACTIVATED") {
    // Also when it is listed again, because another was faster: two looks in one poll tell nothing.
    const before = options.watch.looks;
    await changeDocument<EventRecord>(store, uri, async (known) => {
      // After the record was read: what it knows and the list hasn't is gone for sure.
      const found = await objectsBelow(options, before);
      const from = known?.since === record.since ? known : baseline(known, found, record.since);
      const next = collect(from, found, trigger, now);
      return next === known ? undefined : next;
    });
  }
  const pending = (await changeDocument<EventRecord>(store, uri, () => undefined))?.value.pending ?? [];
  for (const cause of pending) {
    await begin(cause);
    await changeDocument<EventRecord>(store, uri, (before) =>
      before?.pending.some(({ key }) => key === cause.key)
        ? { ...before, pending: before.pending.filter(({ key }) => key !== cause.key) }
        : undefined,
    );
  }
}

/**
 * What is older than the activation happened before it; what came between it and the first look is an event. Events that waited
 * when the trigger was deactivated go on waiting.
 */
function baseline(before: EventRecord | undefined, found: readonly FoundObject[], since: string): EventRecord {
  const known = new Set(before?.seen);
  // S3 tells whole seconds.
  const from = Math.floor(Date.parse(since) / 1_000) * 1_000;
  const old = found.map((object) => ({ object, mark: mark(object) }));
  const seen = old.filter(({ object, mark }) => known.has(mark) || Date.parse(object.modified) < from);
  const opened = before?.opened === undefined ? {} : { opened: before.opened };
  const earliest = before?.earliest === undefined ? {} : { earliest: before.earliest };
  return {
    since,
    seen: seen.map(({ mark }) => mark),
    waiting: before?.waiting ?? [],
    ...opened,
    ...earliest,
    pending: before?.pending ?? [],
  };
}

/** New objects, and the batches that they fill; the same record when nothing has changed. */
export function collect(
  before: EventRecord,
  found: readonly FoundObject[],
  { eventBatching: { batchSize, batchWindow } }: EventTrigger,
  now: Date,
): EventRecord {
  const known = new Set(before.seen);
  const fresh = found.filter((object) => object.settled && !known.has(mark(object)));
  const opened = before.opened ?? (fresh.length > 0 ? now.toISOString() : undefined);
  const waiting = [...before.waiting, ...fresh.map(({ settled: _, ...object }) => object)];
  const batches: WatchedObject[][] = [];
  while (waiting.length >= batchSize) batches.push(waiting.splice(0, batchSize));
  // What is left over from full batches came now, unless it was all there before.
  const since = batches.length > 0 ? now.toISOString() : opened;
  if (waiting.length > 0 && since !== undefined && now.getTime() - Date.parse(since) >= batchWindow * 1_000) {
    batches.push(waiting.splice(0));
  }
  if (fresh.length === 0 && batches.length === 0) return before;
  const { opened: _, ...rest } = before;
  // By the clock of a process that was paused it may be long ago.
  const at = before.earliest !== undefined && now.toISOString() < before.earliest ? new Date(before.earliest) : now;
  return {
    ...rest,
    // Of objects that are gone nothing needs to be known.
    seen: found.filter((object) => object.settled || known.has(mark(object))).map(mark),
    waiting,
    ...(waiting.length === 0 || since === undefined ? {} : { opened: since }),
    pending: [...before.pending, ...batches.map((events) => causeOf(events, at))],
  };
}

/** From now on no batch is from before a time; the same record when none could be. */
export function notBefore(record: EventRecord, time: Date): EventRecord {
  const earliest = time.toISOString();
  return record.earliest !== undefined && record.earliest >= earliest ? record : { ...record, earliest };
}

function causeOf(events: readonly WatchedObject[], now: Date): Cause {
  return { time: now.toISOString(), key: shortHash(JSON.stringify(events)), events };
}

async function objectsBelow(
  { store, trigger, watch }: PollEvents,
  before: EventWatch["looks"],
): Promise<FoundObject[]> {
  const { prefix, suffix = "" } = trigger.event;
  const found: FoundObject[] = [];
  const looks = new Map<string, string>();
  // A file is there before it is whole; an object on S3 isn't.
  const isWhole = (uri: string, etag: string) => !isFileUri(prefix) || before.get(uri) === etag;
  for await (const { uri, etag, modified } of store.list(prefix)) {
    if (!uri.endsWith(suffix)) continue;
    looks.set(uri, etag);
    found.push({ uri, etag, modified: modified.toISOString(), settled: isWhole(uri, etag) });
  }
  watch.looks = looks;
  return found;
}

function mark({ uri, etag, modified }: WatchedObject): string {
  return shortHash(`${uri} ${etag} ${modified}`);
}

function shortHash(text: string): string {
  return createHash("sha256").update(text).digest("base64url").slice(0, 16);
}
