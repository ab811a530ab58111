import type { ObjectStore } from "../../storage/object-store.js";
import { changeDocument, readDocument } from "./documents.js";
import { type EventRecord, notBefore as noEventsBefore } from "./events.js";
import { type Chain, stampOfChain } from "./model.js";
import type { Places } from "./places.js";
import { noFiringsBefore, type TriggerRecord } from "./triggers.js";

// What is deleted takes the proof with it that a firing has begun: its chain's object. So first it is made sure that nothing older
// begins any more, and that is written down; then it is deleted. Whoever was paused meanwhile, and makes such a chain once more,
// or has one in hand, finds it written down before it starts a run.

/** What is written down of what was deleted. */
export interface History {
  /** Firings from before it are over, and their chains are deleted. None of them begins again. */
  readonly closed: string;
}

export interface PruneHistory {
  readonly store: ObjectStore;
  readonly places: Places;
  /** Chains of firings from before the day of this time may go. */
  readonly before: Date;
}

/**
 * Deletes the chains of days that are long over, day by day. A day on which something is still at work, or waits to begin, stays,
 * with all after it.
 *
 * @returns the time up to which the history is closed; `undefined` when nothing was ever deleted.
 */
export async function pruneHistory({ store, places, before }: PruneHistory): Promise<Date | undefined> {
  const known = await closedUntil(store, places);
  const wanted = startOfDay(before.getTime());
  const oldest = await oldestDay(store, places);
  if (oldest === undefined || oldest >= wanted) return known;
  let until = wanted;
  for await (const { uri } of store.list(places.triggers)) {
    until = Math.min(until, await keepTrigger(store, uri, wanted));
  }
  for await (const { uri } of store.list(places.watches)) {
    until = Math.min(until, await keepWatch(store, uri, wanted));
  }
  // After the triggers: what they had waiting has begun since, or is still there.
  until = startOfDay(Math.min(until, await oldestAtWork(store, places, until, known)));
  const written = await changeDocument<History>(store, places.history, (history) =>
    history !== undefined && Date.parse(history.closed) >= until
      ? undefined
      : { closed: new Date(until).toISOString() },
  );
  const closed = written === undefined ? undefined : new Date(written.value.closed);
  if (closed !== undefined) for (const folder of await daysBefore(store, places, closed)) await store.deleteAll(folder);
  return closed;
}

/** Whether a firing is one of those that are over and deleted: a chain of it is not to be. */
export async function isClosed(store: ObjectStore, places: Places, { cause }: Chain): Promise<boolean> {
  const closed = await closedUntil(store, places);
  return closed !== undefined && Date.parse(cause.time) < closed.getTime();
}

async function closedUntil(store: ObjectStore, places: Places): Promise<Date | undefined> {
  const history = await readDocument<History>(store, places.history);
  return history === undefined ? undefined : new Date(history.value.closed);
}

/** From now on no older firing is decided on. */
async function keepTrigger(store: ObjectStore, uri: string, time: number): Promise<number> {
  const document = await changeDocument<TriggerRecord>(store, uri, (record) => {
    const next = record === undefined ? undefined : noFiringsBefore(record, new Date(time));
    return next === record ? undefined : next;
  });
  return Math.min(time, ...(document?.value.pending ?? []).map((pending) => Date.parse(pending)));
}

async function keepWatch(store: ObjectStore, uri: string, time: number): Promise<number> {
  const document = await changeDocument<EventRecord>(store, uri, (record) => {
    const next = record === undefined ? undefined : noEventsBefore(record, new Date(time));
    return next === record ? undefined : next;
  });
  return Math.min(time, ...(document?.value.pending ?? []).map((cause) => Date.parse(cause.time)));
}

/** The earliest firing of a chain that isn't over, if it is before `until`. */
async function oldestAtWork(
  store: ObjectStore,
  places: Places,
  until: number,
  closed: Date | undefined,
): Promise<number> {
  let oldest = until;
  for await (const { uri } of store.list(places.active)) {
    const id = uri.slice(uri.lastIndexOf("/") + 1);
    const time = stampOfChain(id)?.getTime();
    // One from before what is closed already is no chain; whoever sees to it finds that out.
    if (time === undefined || time >= oldest || (closed !== undefined && time < closed.getTime())) continue;
    const chain = await readDocument<Chain>(store, places.chain(id));
    if (chain?.value.ended === undefined) oldest = time;
  }
  return oldest;
}

async function oldestDay(store: ObjectStore, places: Places): Promise<number | undefined> {
  for await (const { uri } of store.list(places.chains)) {
    const day = dayOfUri(uri);
    if (day !== undefined) return day;
  }
  return undefined;
}

async function daysBefore(store: ObjectStore, places: Places, closed: Date): Promise<Set<string>> {
  const folders = new Set<string>();
  for await (const { uri } of store.list(places.chains)) {
    const day = dayOfUri(uri);
    if (day === undefined) continue;
    if (day >= closed.getTime()) break;
    folders.add(uri.slice(0, uri.lastIndexOf("/") + 1));
  }
  return folders;
}

function dayOfUri(uri: string): number | undefined {
  const day = /\/(\d{4}-\d{2}-\d{2})\/[^/]+$/.exec(uri)?.[1];
  return day === undefined ? undefined : Date.parse(day);
}

function startOfDay(time: number): number {
  return Math.floor(time / DAY_MS) * DAY_MS;
}

const DAY_MS = 86_400_000;
