import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import type { Logger } from "../../logger.js";
import type { ObjectStore, ProcessMark } from "../../storage/index.js";
import type { Definitions, EventTrigger, ScheduledTrigger, TriggerEntry } from "../config/schedule-schema.js";
import { describeFailure } from "../failure.js";
import { sideBySide } from "../side-by-side.js";
import { beginChain } from "./chain.js";
import { firings } from "./cron.js";
import { changeDocument, type Document, readDocument, writeDocument } from "./documents.js";
import { type DriveContext, driveChain } from "./drive-chain.js";
import { type EventWatch, pollEvents } from "./events.js";
import { pruneHistory } from "./history.js";
import { type Cause, type Chain, isOver, isOverdue, type JobRun, type TriggerState } from "./model.js";
import { type Places, placesIn } from "./places.js";
import type { Clock, RunStarter } from "./starter.js";
import { begun, decide, newTrigger, type TriggerRecord } from "./triggers.js";

/** What a scheduler works with. */
export interface SchedulerOptions {
  readonly store: ObjectStore;
  /** Folder of its state, with a slash at its end. Schedulers on one folder share the work. */
  readonly folder: string;
  readonly definitions: Definitions;
  readonly starter: RunStarter;
  readonly clock: Clock;
  readonly log: Logger;
  /** How others on this machine find out that this process is gone. */
  readonly process: ProcessMark;
  /** A scheduler that is silent for so long is gone; default: 60,000 ms. */
  readonly expiresAfterMs?: number;
  /** How often it looks at runs, watched prefixes and what others ask for; default: 2,000 ms. */
  readonly pollMs?: number;
}

/** Fires triggers, and sees to what follows. */
export interface Scheduler {
  readonly id: string;
  /** Does all that is to be done now. What fails is logged, and tried again by the next one. */
  tick(signal?: AbortSignal): Promise<void>;
  /** Goes on until the signal is aborted, and then leaves. */
  run(signal: AbortSignal): Promise<void>;
  /** Gives its chains to others at once; runs go on. */
  leave(): Promise<void>;
  /** The next time at which a SCHEDULED trigger fires that was active at the last tick. */
  nextFiring(): Date | undefined;
}

interface Heartbeat {
  readonly process: string;
}

const AT_A_TIME = 8;
/** As Glue's guide says of its own history of job runs. */
const KEEP_DAYS = 90;
/** Days are what is deleted at a time: looking more often finds nothing. */
const PRUNE_EVERY_MS = 3_600_000;
/** A clock that was set is found out by it. */
const MOST_DRIFT_MS = 60_000;

/** A scheduler for a configuration's triggers. It holds nothing that isn't in the store, and may be killed at any time. */
export function createScheduler(options: SchedulerOptions): Scheduler {
  const { store, definitions, clock, log } = options;
  const places = placesIn(options.folder);
  const id = `${hostname().replaceAll(/[^A-Za-z0-9-]/g, "")}-${process.pid}-${randomBytes(4).toString("hex")}`;
  const expiresAfter = options.expiresAfterMs ?? 60_000;
  const pollMs = options.pollMs ?? 2_000;
  const watches = new Map<string, EventWatch>();
  const missed = definitions.scheduler.missedFirings ?? "latest";
  /** SCHEDULED triggers that were active at the last tick. */
  const active = new Set<string>();
  let namespace: string | undefined;
  const keepMs = (definitions.scheduler.history?.keepDays ?? KEEP_DAYS) * 86_400_000;
  let prunedAt = Number.NEGATIVE_INFINITY;
  const isSteady = steadiness(clock);
  /** A chain has begun that nobody has looked at yet. */
  let fired = false;

  /** @returns the store's time. */
  const beat = async (): Promise<number> => {
    const body = JSON.stringify({ value: { process: options.process.self } satisfies Heartbeat });
    await store.put(places.scheduler(id), `${body}\n`);
    // S3 tells the time of a put only when it is asked; its answer would be by this machine's clock.
    const written = await store.head(places.scheduler(id));
    if (written === undefined) throw new Error("the scheduler's sign of life is gone");
    return written.modified.getTime();
  };

  const context: DriveContext = {
    store,
    places,
    definitions,
    starter: options.starter,
    clock,
    log,
    stateOf: async (name) =>
      (await readTrigger(store, places, name, definitions.triggers[name], clock.now())).value.state,
  };

  const attempt = async (what: string, work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      const { error: failure } = describeFailure(error);
      log.warn(`${what}: ${failure.message}; it is tried again`);
    }
  };

  const begin = async (name: string, trigger: TriggerEntry, cause: Cause): Promise<void> => {
    namespace ??= await namespaceOf(store, places);
    const chain = beginChain({ namespace, name, trigger, cause, definitions, now: clock.now() });
    await startChain(store, places, { ...chain, owner: id });
    fired = true;
  };

  const fireScheduled = async (name: string, trigger: ScheduledTrigger): Promise<void> => {
    const uri = places.trigger(name);
    const decided = await changeDocument<TriggerRecord>(store, uri, (record) => {
      const next = decide(record ?? newTrigger(trigger, clock.now()), trigger, missed, clock.now());
      return next === record ? undefined : next;
    });
    if (decided?.value.state === "ACTIVATED") active.add(name);
    else active.delete(name);
    for (const time of decided?.value.pending ?? []) {
      await begin(name, trigger, { time });
      await changeDocument<TriggerRecord>(store, uri, (record) => {
        const next = record === undefined ? undefined : begun(record, time);
        return next === record ? undefined : next;
      });
    }
  };

  const fireByEvents = async (name: string, trigger: EventTrigger): Promise<void> => {
    const record = await readTrigger(store, places, name, trigger, clock.now());
    const watch = watches.get(name) ?? { looks: new Map() };
    watches.set(name, watch);
    await pollEvents({
      store,
      uri: places.events(name),
      trigger,
      record: record.value,
      watch,
      now: clock.now(),
      begin: (cause) => begin(name, trigger, cause),
    });
  };

  const takeCareOf = async (
    chain: string,
    isDead: (owner: string) => Promise<boolean>,
    signal: AbortSignal,
  ): Promise<void> => {
    let document = await readDocument<Chain>(store, places.chain(chain));
    if (document === undefined) {
      // Whoever put the marker died before it could put the chain, or is about to.
      await finishBeginning(chain);
      return;
    }
    const { owner, ended } = document.value;
    if (owner !== id && ended === undefined) {
      if (owner !== undefined && !(await isDead(owner))) return;
      const elsewhere = Object.values(document.value.runs).find((run) =>
        isElsewhere(run, options.starter, clock.now()),
      );
      if (elsewhere !== undefined) {
        log.warn(`${chain} waits for a scheduler on ${elsewhere.place}: ${elsewhere.id} is at work there`);
        return;
      }
      document = await writeDocument(store, document.uri, { ...document.value, owner: id }, document);
    }
    if (document !== undefined) await driveChain({ ...context, signal }, document);
  };

  const finishBeginning = async (chain: string): Promise<void> => {
    const marker = places.marker(chain);
    const object = await store.get(marker);
    if (object === undefined) return;
    await startChain(store, places, { ...(JSON.parse(Buffer.from(object.body).toString("utf8")) as Chain), owner: id });
  };

  const fireTriggers = async (): Promise<void> => {
    for (const [name, trigger] of Object.entries(definitions.triggers)) {
      if (trigger.type === "SCHEDULED") await attempt(`trigger ${name}`, () => fireScheduled(name, trigger));
      if (trigger.type === "EVENT") await attempt(`trigger ${name}`, () => fireByEvents(name, trigger));
    }
  };

  /** Chains that are not over, and how each is seen to. */
  const activeChains = async (
    signal: AbortSignal,
  ): Promise<{ chains: string[]; takeCare: (chain: string) => Promise<void> }> => {
    const now = await beat();
    const dead = new Map<string, Promise<boolean>>();
    const isDead = (owner: string) => {
      const known = dead.get(owner) ?? isGone(owner, now);
      dead.set(owner, known);
      return known;
    };
    const chains: string[] = [];
    for await (const { uri } of store.list(places.active)) chains.push(uri.slice(uri.lastIndexOf("/") + 1));
    return { chains, takeCare: (chain) => attempt(chain, () => takeCareOf(chain, isDead, signal)) };
  };

  const tick = async (signal = new AbortController().signal): Promise<void> => {
    await beat();
    await fireTriggers();
    await attempt("looking for what is to be done", async () => {
      const { chains, takeCare } = await activeChains(signal);
      await sideBySide(chains, AT_A_TIME, new AbortController().signal, takeCare);
    });
    if (clock.now().getTime() - prunedAt >= PRUNE_EVERY_MS) await prune(signal);
  };

  /** Deletes what nobody wants to know any more. */
  const prune = (signal: AbortSignal) =>
    attempt("deleting old history", async () => {
      // A machine may come up with a clock that is years ahead, and is set right soon after.
      if (!isSteady()) return;
      const now = await beat();
      // A clock that goes wrong, this machine's or the store's, deletes nothing.
      const before = new Date(Math.min(now, clock.now().getTime()) - keepMs);
      const closed = await pruneHistory({ store, places, before, triggers: Object.keys(definitions.triggers), log });
      if (closed !== undefined) await options.starter.forget?.(closed, signal);
      for await (const { uri, modified } of store.list(places.schedulers))
        if (modified < before) await store.delete(uri);
      prunedAt = clock.now().getTime();
    });

  /** One that takes long, such as an upload before a start, holds up neither the triggers nor the other chains. */
  const runUntil = async (signal: AbortSignal): Promise<void> => {
    const inHand = new Map<string, Promise<void>>();
    let nudge = new AbortController();
    const firing = async () => {
      while (!signal.aborted) {
        await fireTriggers();
        if (fired) nudge.abort();
        const next = nextFiring();
        const untilNext = next === undefined ? pollMs : Math.max(next.getTime() - clock.now().getTime(), 1);
        await clock.wait(Math.min(pollMs, untilNext), signal);
      }
    };
    const driving = async () => {
      while (!signal.aborted) {
        nudge = new AbortController();
        fired = false;
        await attempt("looking for what is to be done", async () => {
          const { chains, takeCare } = await activeChains(signal);
          for (const chain of chains) {
            if (inHand.size >= AT_A_TIME || inHand.has(chain) || signal.aborted) continue;
            inHand.set(
              chain,
              takeCare(chain).finally(() => inHand.delete(chain)),
            );
          }
        });
        await clock.wait(pollMs, AbortSignal.any([signal, nudge.signal]));
      }
      await Promise.all(inHand.values());
    };
    const beating = async () => {
      while (!signal.aborted) {
        await clock.wait(expiresAfter / 4, signal);
        if (!signal.aborted) await beat().catch(() => undefined);
      }
    };
    const pruning = async () => {
      // Not at once: what was missed is made up for before it counts as too long ago.
      await clock.wait(expiresAfter, signal);
      while (!signal.aborted) {
        await prune(signal);
        await clock.wait(PRUNE_EVERY_MS, signal);
      }
    };
    await beat();
    await Promise.all([firing(), driving(), beating(), pruning()]);
  };

  const isGone = async (owner: string, now: number): Promise<boolean> => {
    const uri = places.scheduler(owner);
    const heartbeat = await readDocument<Heartbeat>(store, uri);
    if (heartbeat === undefined) return true;
    const modified = (await store.head(uri))?.modified.getTime();
    const gone =
      modified === undefined || now - modified > expiresAfter || options.process.isGone(heartbeat.value.process);
    if (gone) await store.delete(uri);
    return gone;
  };

  const nextFiring = (): Date | undefined => {
    const times: Date[] = [];
    for (const [name, trigger] of Object.entries(definitions.triggers)) {
      if (trigger.type !== "SCHEDULED" || !active.has(name)) continue;
      const next = firings(trigger.schedule, clock.now()).next();
      if (next.done !== true) times.push(next.value);
    }
    return times.length === 0 ? undefined : new Date(Math.min(...times.map((time) => time.getTime())));
  };

  const leave = () => store.delete(places.scheduler(id));

  return {
    id,
    tick,
    leave,
    nextFiring,
    async run(signal) {
      await runUntil(signal);
      await leave().catch(() => undefined);
    },
  };
}

/** Tells, at each look, whether a clock has gone on for an hour without being set. */
function steadiness({ now, elapsed }: Clock): () => boolean {
  if (elapsed === undefined) return () => true;
  const look = () => ({ wall: now().getTime(), elapsed: elapsed() });
  let last = look();
  let since = last.elapsed;
  return () => {
    const next = look();
    if (Math.abs(next.wall - last.wall - (next.elapsed - last.elapsed)) > MOST_DRIFT_MS) since = next.elapsed;
    last = next;
    return next.elapsed - since >= PRUNE_EVERY_MS;
  };
}

/** A run at work on another machine: only a scheduler there can see to it, until it is long overdue. */
function isElsewhere(run: JobRun, starter: RunStarter, now: Date): boolean {
  if (run.place === undefined || isOver(run) || isOverdue(run, now)) return false;
  return run.place !== starter.place?.(run);
}

/**
 * Makes a chain, once: the exclusive creation of its object is the claim. Whoever is too late changes nothing. The marker
 * before it holds the same, so that whoever finds it alone can make the chain.
 */
export async function startChain(store: ObjectStore, places: Places, chain: Chain): Promise<void> {
  const uri = places.chain(chain.id);
  if ((await store.head(uri)) !== undefined) return;
  await store.put(places.marker(chain.id), JSON.stringify(chain));
  await writeDocument<Chain>(store, uri, chain, undefined);
}

/** What is kept of a trigger, made when it is seen for the first time. */
export async function readTrigger(
  store: ObjectStore,
  places: Places,
  name: string,
  trigger: TriggerEntry | undefined,
  now: Date,
): Promise<Document<TriggerRecord>> {
  const uri = places.trigger(name);
  const document = await changeDocument<TriggerRecord>(store, uri, (record) =>
    record !== undefined || trigger === undefined ? undefined : newTrigger(trigger, now),
  );
  // A trigger that is in no configuration any more.
  return document ?? { uri, etag: "", value: { state: "DEACTIVATED" satisfies TriggerState, since: "", pending: [] } };
}

/** The store's own name, made by whoever is first. */
export async function namespaceOf(store: ObjectStore, places: Places): Promise<string> {
  const made = await changeDocument<string>(store, places.store, (name) =>
    name === undefined ? randomBytes(8).toString("hex") : undefined,
  );
  return made?.value ?? "";
}
