import type { ScheduledTrigger, SchedulerSettings, TriggerEntry } from "../config/schedule-schema.js";
import { firings, latestFiring } from "./cron.js";
import type { TriggerState } from "./model.js";

/** What is kept of a trigger. Firings that were decided on stand here until they have begun. */
export interface TriggerRecord {
  readonly state: TriggerState;
  /** When the state was set. */
  readonly since: string;
  /** The schedule that `through` is for. */
  readonly schedule?: string;
  /** Firings up to here have been decided on. */
  readonly through?: string;
  /** The schedule of another configuration on the same state, or of the one before; and when it was given up. */
  readonly other?: { readonly schedule: string; readonly through: string; readonly until: string };
  /** Due times that are to be fired. */
  readonly pending: readonly string[];
}

export type MissedFirings = NonNullable<SchedulerSettings["missedFirings"]>;

/** A firing that is no later than this isn't missed: the scheduler was slow, or was just started again. */
const GRACE_MS = 5 * 60_000;
/** At most so many are decided on at a time. */
const MOST_AT_ONCE = 1_000;

/** What is kept of a trigger when it is seen for the first time. */
export function newTrigger(trigger: TriggerEntry, now: Date): TriggerRecord {
  const record: TriggerRecord = { state: "CREATED", since: now.toISOString(), pending: [] };
  return trigger.startOnCreation ? activate(record, trigger, now) : record;
}

/** StartTrigger; an ACTIVATED one stays as it is. Firings count from now on. */
export function activate(record: TriggerRecord, trigger: TriggerEntry, now: Date): TriggerRecord {
  if (record.state === "ACTIVATED" || trigger.type === "ON_DEMAND") return record;
  const time = now.toISOString();
  return {
    ...record,
    state: "ACTIVATED",
    since: time,
    ...(trigger.type === "SCHEDULED" ? { schedule: trigger.schedule, through: time } : {}),
  };
}

/** StopTrigger. What was decided on before still fires. */
export function deactivate(record: TriggerRecord, now: Date): TriggerRecord {
  return record.state === "ACTIVATED" ? { ...record, state: "DEACTIVATED", since: now.toISOString() } : record;
}

/**
 * Decides on the firings that have become due.
 *
 * @param missed `latest`: of several only the last one fires; `skip`: only one that is less than five minutes late; `all`.
 * @returns the same record when nothing is due.
 */
export function decide(
  record: TriggerRecord,
  trigger: ScheduledTrigger,
  missed: MissedFirings,
  now: Date,
): TriggerRecord {
  if (record.state !== "ACTIVATED") return record;
  if (record.schedule !== trigger.schedule || record.through === undefined) {
    return decide(withSchedule(record, trigger.schedule, now), trigger, missed, now);
  }
  const after = new Date(record.through);
  const latest = latestFiring(trigger.schedule, now);
  if (latest === undefined || latest <= after) return record;
  const due = missed === "all" ? dueTimes(trigger.schedule, after, now) : [latest];
  const kept = missed === "skip" ? due.filter((time) => now.getTime() - time.getTime() < GRACE_MS) : due;
  return {
    ...record,
    through: (due.at(-1) ?? latest).toISOString(),
    pending: [...record.pending, ...kept.map((time) => time.toISOString())],
  };
}

/**
 * Another schedule counts from when it is seen: it has missed nothing. But while schedulers with two configurations work on one
 * state, as when they are brought up to date one by one, each goes on where it was.
 */
function withSchedule(record: TriggerRecord, schedule: string, now: Date): TriggerRecord {
  const { other } = record;
  const until = now.toISOString();
  const isBack = other?.schedule === schedule && now.getTime() - Date.parse(other.until) < GRACE_MS;
  return {
    ...record,
    schedule,
    through: isBack ? other.through : until,
    ...(record.schedule === undefined || record.through === undefined
      ? {}
      : { other: { schedule: record.schedule, through: record.through, until } }),
  };
}

/**
 * Decides on all that was due before a time and wasn't decided on: it isn't made up for any more.
 *
 * @returns the same record when there was nothing.
 */
export function noFiringsBefore(record: TriggerRecord, time: Date): TriggerRecord {
  const least = new Date(time.getTime() - 1).toISOString();
  const { through, other } = record;
  const late = through !== undefined && through < least;
  const otherLate = other !== undefined && other.through < least;
  if (!late && !otherLate) return record;
  return {
    ...record,
    ...(late ? { through: least } : {}),
    ...(otherLate ? { other: { ...other, through: least } } : {}),
  };
}

function dueTimes(schedule: string, after: Date, upTo: Date): Date[] {
  const due: Date[] = [];
  for (const time of firings(schedule, after)) {
    if (time > upTo || due.push(time) >= MOST_AT_ONCE) break;
  }
  return due;
}

/** A firing has begun. */
export function begun(record: TriggerRecord, time: string): TriggerRecord {
  return record.pending.includes(time)
    ? { ...record, pending: record.pending.filter((other) => other !== time) }
    : record;
}
