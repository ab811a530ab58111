import type { Logger } from "../../logger.js";
import type { ObjectStore } from "../../storage/object-store.js";
import { changeDocument, readDocument } from "./documents.js";
import { type EventRecord, notBefore as noEventsBefore } from "./events.js";
import { type Cause, type Chain, stampOfChain } from "./model.js";
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
  /** Triggers of the configuration. What any other has waiting from before then holds up nothing, and is given up. Default: there is no other. */
  readonly triggers?: readonly string[];
  /** Is told of what is given up. */
  readonly log?: Logger;
}

/**
 * Deletes the chains of days that are long over, day by day. A day on which something is still at work, or waits to begin, stays,
 * with all after it.
 *
 * @returns the time up to which the history is closed; `undefined` when nothing was ever deleted.
 */
export async function pruneHistory(options: PruneHistory): Promise<Date | undefined> {
  const { store, places, before } = options;
  const known = await closedUntil(store, places);
  const last = await lastDayBefore(store, places, startOfDay(before.getTime()));
  if (last === undefined) return known;
  // No further than what is deleted: a clock that is years ahead closes no years.
  const wanted = last + DAY_MS;
  let until = wanted;
  const isOwn = ownOf(options);
  for await (const { uri } of store.list(places.triggers)) {
    until = Math.min(until, await keepTrigger(options, uri, wanted, isOwn(uri)));
  }
  for await (const { uri } of store.list(places.watches)) {
    until = Math.min(until, await keepWatch(options, uri, wanted, isOwn(uri)));
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

/** Whether the record of a trigger, or of what it has seen, is one of the configuration's. */
function ownOf({ places, triggers }: PruneHistory): (uri: string) => boolean {
  if (triggers === undefined) return () => true;
  const nameOf = (uri: string) => uri.slice(uri.lastIndexOf("/") + 1);
  const own = new Set(triggers.map((name) => nameOf(places.trigger(name))));
  return (uri) => own.has(nameOf(uri));
}

/**
 * From now on no older firing is decided on. A scheduler may have been killed before what it decided on had begun, and the trigger may
 * be gone from the configuration since: nobody would ever begin it.
 */
async function keepTrigger({ store, log }: PruneHistory, uri: string, time: number, isOwn: boolean): Promise<number> {
  let given: readonly string[] = [];
  const isLate = (pending: string) => !isOwn && Date.parse(pending) < time;
  const document = await changeDocument<TriggerRecord>(store, uri, (record) => {
    if (record === undefined) return undefined;
    given = record.pending.filter(isLate);
    const next = noFiringsBefore(record, new Date(time));
    if (given.length > 0) return { ...next, pending: next.pending.filter((pending) => !isLate(pending)) };
    return next === record ? undefined : next;
  });
  sayGivenUp(log, uri, given);
  return Math.min(time, ...(document?.value.pending ?? []).map((pending) => Date.parse(pending)));
}

async function keepWatch({ store, log }: PruneHistory, uri: string, time: number, isOwn: boolean): Promise<number> {
  let given: readonly string[] = [];
  const isLate = (cause: Cause) => !isOwn && Date.parse(cause.time) < time;
  const document = await changeDocument<EventRecord>(store, uri, (record) => {
    if (record === undefined) return undefined;
    given = record.pending.filter(isLate).map((cause) => cause.time);
    const next = noEventsBefore(record, new Date(time));
    if (given.length > 0) return { ...next, pending: next.pending.filter((cause) => !isLate(cause)) };
    return next === record ? undefined : next;
  });
  sayGivenUp(log, uri, given);
  return Math.min(time, ...(document?.value.pending ?? []).map((cause) => Date.parse(cause.time)));
}

function sayGivenUp(log: Logger | undefined, uri: string, times: readonly string[]): void {
  if (times.length === 0) return;
  log?.warn(`${uri} is of no trigger in the configuration any more: its firings of ${times.join(", ")} are given up`);
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

/** The last day with chains that is before a time. */
async function lastDayBefore(store: ObjectStore, places: Places, time: number): Promise<number | undefined> {
  let last: number | undefined;
  for await (const { uri } of store.list(places.chains)) {
    const day = dayOfUri(uri);
    if (day === undefined) continue;
    if (day >= time) break;
    last = day;
  }
  return last;
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
