import type { Command } from "commander";
import { ExitCode, UserError } from "../../errors.js";
import type { TriggerEntry } from "../../glue/config/schedule-schema.js";
import { firings } from "../../glue/schedule/cron.js";
import { type CliIo, write } from "../io.js";
import { addScheduleOptions, openCheckedSchedule, openSchedule, type ScheduleFlags } from "./open.js";
import { needsTriggers } from "./scheduler.js";
import { table, time } from "./text.js";
import { registerTriggerTest } from "./trigger-test.js";

interface Flags extends ScheduleFlags {
  readonly json?: true;
  readonly count?: string;
  readonly after?: string;
}

/** `glue-connect trigger list | next | start | stop | test`. */
export function registerTriggerCommand(program: Command, io: CliIo): void {
  const trigger = program.command("trigger").description("Show, start, stop and try the configuration's triggers");

  addScheduleOptions(trigger.command("list"))
    .description("List the triggers, their states and when they fire next")
    .option("--json", "print JSON")
    .action(async (flags: Flags) => {
      const { definitions, control } = await openSchedule(flags, io);
      const listed = [];
      for (const [name, entry] of Object.entries(definitions.triggers)) {
        const { state } = await control.trigger(name);
        const next = state === "ACTIVATED" ? nextOf(entry, new Date())?.toISOString() : undefined;
        const { type, workflow, actions } = entry;
        listed.push({ name, type, state, when: whenOf(entry), next, workflow, jobs: actions.map(({ job }) => job) });
      }
      const rows = listed.map(({ name, type, state, when, next, workflow, jobs }) => [
        name,
        type,
        state,
        next === undefined ? when : `${when}, next ${time(next)}`,
        `starts ${jobs.join(", ")}${workflow === undefined ? "" : ` in workflow ${workflow}`}`,
      ]);
      await write(io.stdout, flags.json ? json(listed) : rows.length === 0 ? "no triggers\n" : table(rows));
    });

  addScheduleOptions(trigger.command("next"))
    .description("Show when the SCHEDULED triggers fire next, whether they are active or not")
    .argument("[TRIGGER...]", "only these")
    .option("--count <n>", "so many firings", "10")
    .option("--after <time>", "later than this; default: now")
    .option("--json", "print JSON")
    .action(async (names: readonly string[], flags: Flags) => {
      const { definitions, control } = await openSchedule(flags, io);
      needsTriggers(definitions);
      for (const name of names) await control.trigger(name);
      const after = timeOf(flags.after, "--after") ?? new Date();
      const chosen = Object.entries(definitions.triggers).filter(
        ([name]) => names.length === 0 || names.includes(name),
      );
      const next = upcoming(chosen, after, countOf(flags.count));
      const rows = next.map(({ trigger, at }) => [time(at), trigger, jobsOf(definitions.triggers[trigger])]);
      await write(io.stdout, flags.json ? json(next) : rows.length === 0 ? "no firings\n" : table(rows));
    });

  addScheduleOptions(trigger.command("start"))
    .description("Start a trigger: an ON_DEMAND one fires, any other becomes ACTIVATED")
    .argument("<TRIGGER>", "name in the configuration")
    .option("--json", "print JSON")
    .action(async (name: string, flags: Flags) => {
      const schedule = await openCheckedSchedule(flags, io);
      await schedule.control.trigger(name);
      const { chain, record } = await schedule.control.startTrigger(name);
      const { state } = record;
      if (flags.json) await write(io.stdout, json({ name, state, ...(chain === undefined ? {} : { run: chain }) }));
      else if (chain === undefined) await write(io.stdout, `${name} is ${state}\n`);
      else {
        await write(io.stdout, `${chain}\n`);
        await write(
          io.stderr,
          `${name} has fired; a scheduler starts its jobs: \`glue-connect workflow status ${chain}\`\n`,
        );
      }
    });

  addScheduleOptions(trigger.command("stop"))
    .description("Stop a trigger: it becomes DEACTIVATED; runs go on")
    .argument("<TRIGGER>", "name in the configuration")
    .option("--json", "print JSON")
    .action(async (name: string, flags: Flags) => {
      const { control } = await openSchedule(flags, io);
      const { state } = await control.stopTrigger(name);
      await write(io.stdout, flags.json ? json({ name, state }) : `${name} is ${state}\n`);
    });

  registerTriggerTest(trigger, io);
}

interface Upcoming {
  readonly at: string;
  readonly trigger: string;
}

/** The next firings of several triggers, in order. */
export function upcoming(
  triggers: readonly (readonly [string, TriggerEntry])[],
  after: Date,
  count: number,
): readonly Upcoming[] {
  const found: Upcoming[] = [];
  for (const [trigger, entry] of triggers) {
    if (entry.type !== "SCHEDULED") continue;
    let left = count;
    for (const at of firings(entry.schedule, after)) {
      found.push({ at: at.toISOString(), trigger });
      left -= 1;
      if (left === 0) break;
    }
  }
  return found.sort((left, right) => left.at.localeCompare(right.at)).slice(0, count);
}

function nextOf(entry: TriggerEntry, after: Date): Date | undefined {
  if (entry.type !== "SCHEDULED") return undefined;
  const next = firings(entry.schedule, after).next();
  return next.done === true ? undefined : next.value;
}

function whenOf(entry: TriggerEntry): string {
  switch (entry.type) {
    case "SCHEDULED":
      return entry.schedule;
    case "CONDITIONAL": {
      const { logical, conditions } = entry.predicate;
      const word = logical === "AND" ? " and " : " or ";
      return `when ${conditions.map(({ job, state }) => `${job} is ${state}`).join(word)}`;
    }
    case "EVENT":
      return `when objects come to ${entry.event.prefix}`;
    case "ON_DEMAND":
      return "when it is started";
  }
}

function jobsOf(entry: TriggerEntry | undefined): string {
  return entry?.actions.map(({ job }) => job).join(", ") ?? "";
}

function countOf(text = "10"): number {
  const count = Number(text);
  if (/^\d+$/.test(text) && count >= 1 && count <= 10_000) return count;
  throw usage(`--count ${JSON.stringify(text)} is no whole number from 1 to 10000`);
}

/** @throws UserError `USAGE`. */
export function timeOf(text: string | undefined, option: string): Date | undefined {
  if (text === undefined) return undefined;
  // Without a zone it is UTC, as the schedules are.
  const zoned = /T.*(Z|[+-]\d\d:?\d\d)$/.test(text) || !text.includes("T") ? text : `${text}Z`;
  const parsed = new Date(zoned);
  if (!Number.isNaN(parsed.getTime())) return parsed;
  throw usage(`${option} ${JSON.stringify(text)} is no time such as 2026-11-21T03:00Z`);
}

export function usage(message: string): UserError {
  return new UserError("USAGE", message, { exitCode: ExitCode.usage });
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
