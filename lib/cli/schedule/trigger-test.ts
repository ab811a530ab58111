import type { Command } from "commander";
import { type Definitions, WATCHABLE_STATES, type WatchableState } from "../../glue/config/schedule-schema.js";
import { statisticsOf } from "../../glue/schedule/chain.js";
import type { JobRun } from "../../glue/schedule/model.js";
import { type MadeUpResult, type SimulatedEvent, simulate } from "../../glue/schedule/simulate.js";
import { nearest } from "../../glue/suggest.js";
import { type CliIo, write } from "../io.js";
import { printable } from "../style.js";
import { addScheduleOptions, openSchedule, type ScheduleFlags } from "./open.js";
import { needsTriggers } from "./scheduler.js";
import { time } from "./text.js";
import { timeOf, usage } from "./trigger.js";

interface Flags extends ScheduleFlags {
  readonly from?: string;
  readonly hours: string;
  readonly result?: readonly string[];
  readonly json?: true;
}

const USUAL_MINUTES = 5;

/** `glue-connect trigger test`: what would happen, without running anything. */
export function registerTriggerTest(trigger: Command, io: CliIo): void {
  addScheduleOptions(trigger.command("test"))
    .description("Play the triggers on a clock of their own, with made-up results; nothing is run")
    .argument("[TRIGGER]", "this one fires, once; default: the schedules do, as they come")
    .option("--from <time>", "begin there; default: now")
    .option("--hours <n>", "schedules fire for so long", "24")
    .option(
      "--result <job=STATE[,STATE...][:minutes]>",
      `how a job's runs end (${WATCHABLE_STATES.join(", ")}), each run in turn, and how long they take; default: SUCCEEDED:${USUAL_MINUTES}`,
      (value: string, before: readonly string[] | undefined) => [...(before ?? []), value],
    )
    .option("--json", "print JSON, one line for each thing that would happen")
    .addHelpText(
      "after",
      "\nEvery trigger counts as ACTIVATED; those that are made CREATED are marked. For example:\n  glue-connect trigger test --from 2026-12-01T00:00Z --result load=FAILED,SUCCEEDED:90",
    )
    .action(async (only: string | undefined, flags: Flags) => {
      const { definitions } = await openSchedule({ ...flags, state: "file:unused" }, io);
      needsTriggers(definitions);
      if (only !== undefined) checkStart(only, definitions);
      const from = timeOf(flags.from, "--from") ?? new Date();
      const hours = Number(flags.hours);
      if (!(hours > 0 && hours <= 24 * 366)) throw usage(`--hours ${JSON.stringify(flags.hours)} is not in 1 to 8784`);
      const results = resultsOf(flags.result ?? [], definitions);
      const unstarted = namesOfUnstarted(definitions, only);
      if (unstarted.size > 0) {
        const names = [...unstarted];
        await write(
          io.stderr,
          `${names.join(", ")} ${names.length === 1 ? "is" : "are"} made CREATED, and ${names.length === 1 ? "fires" : "fire"} only once started: by \`glue-connect trigger start\`, or with startOnCreation: true\n`,
        );
      }
      const to = new Date(from.getTime() + hours * 3_600_000);
      let events = 0;
      for await (const event of simulate({
        definitions,
        from,
        to,
        ...(only === undefined ? {} : { only }),
        resultOf: (run) => results(run),
      })) {
        events += 1;
        const text = flags.json ? JSON.stringify(plain(event, unstarted)) : printable(eventLine(event, unstarted));
        await write(io.stdout, `${text}\n`);
      }
      if (events === 0 && flags.json === undefined)
        await write(io.stdout, `nothing would fire until ${time(to.toISOString())}\n`);
    });
}

function checkStart(name: string, { triggers }: Definitions): void {
  const trigger = Object.hasOwn(triggers, name) ? triggers[name] : undefined;
  if (trigger === undefined) {
    const meant = nearest(name, Object.keys(triggers));
    throw usage(`There is no trigger ${JSON.stringify(name)}${meant === undefined ? "" : `; did you mean ${meant}?`}`);
  }
  if (trigger.type === "CONDITIONAL") {
    throw usage(
      `Trigger ${name} is CONDITIONAL: name the SCHEDULED, ON_DEMAND or EVENT trigger that its chain begins at`,
    );
  }
}

/** `load=FAILED,SUCCEEDED:90`; the last state goes on for ever. */
export function resultsOf(texts: readonly string[], { jobs }: Definitions): (run: JobRun) => MadeUpResult {
  const results = new Map<string, { states: WatchableState[]; readonly minutes: number }>();
  for (const text of texts) {
    const [, job = "", list = "", minutes = String(USUAL_MINUTES)] = /^([^=]+)=([^:]*)(?::(\d+))?$/.exec(text) ?? [];
    const states = list === "" ? ["SUCCEEDED"] : list.split(",");
    const wrong = states.find((state) => !WATCHABLE_STATES.some((known) => known === state));
    if (job === "" || wrong !== undefined) {
      throw usage(
        `--result ${JSON.stringify(text)} is not of the form job=STATE:minutes, with ${WATCHABLE_STATES.join(", ")}`,
      );
    }
    if (!Object.hasOwn(jobs, job)) {
      const meant = nearest(job, Object.keys(jobs));
      throw usage(`--result ${text}: there is no job ${job}${meant === undefined ? "" : `; did you mean ${meant}?`}`);
    }
    results.set(job, { states: states as WatchableState[], minutes: Number(minutes) });
  }
  return ({ job }) => {
    const { states, minutes } = results.get(job) ?? { states: [], minutes: USUAL_MINUTES };
    const state = (states.length > 1 ? states.shift() : states[0]) ?? "SUCCEEDED";
    return { state, minutes };
  };
}

/** Triggers that wait for somebody to start them, unless `only` asks for one. */
function namesOfUnstarted({ triggers }: Definitions, only: string | undefined): ReadonlySet<string> {
  const names = Object.entries(triggers).flatMap(([name, { type, startOnCreation }]) =>
    type === "ON_DEMAND" || startOnCreation || name === only ? [] : [name],
  );
  // Of what else there is, only CONDITIONAL triggers can follow.
  return new Set(only === undefined ? names : names.filter((name) => triggers[name]?.type === "CONDITIONAL"));
}

function eventLine({ time: at, what }: SimulatedEvent, unstarted: ReadonlySet<string>): string {
  const when = time(at.toISOString());
  if (what.kind === "fired") {
    const once = unstarted.has(what.trigger) ? ", once it is started" : "";
    return `${when}  ${what.trigger} fires${once}${what.workflow === undefined ? "" : ` in workflow ${what.workflow}`}`;
  }
  if (what.kind === "workflow") {
    const { TotalActions, SucceededActions } = statisticsOf(what.chain);
    const { workflow, state, reason } = what.chain;
    const why = reason === undefined ? "" : `: ${reason}`;
    return `${when}  workflow ${workflow} is ${state}, ${SucceededActions} of ${TotalActions} actions succeeded${why}`;
  }
  const { job, state, attempt, reason } = what.run;
  const which = attempt === 0 ? "" : ` (attempt ${attempt + 1})`;
  return `${when}    ${job} is ${state}${which}${reason === undefined ? "" : `: ${reason}`}`;
}

function plain({ time, what }: SimulatedEvent, unstarted: ReadonlySet<string>): unknown {
  const at = time.toISOString();
  if (what.kind === "fired") {
    const needsStart = unstarted.has(what.trigger) ? { needsStart: true } : {};
    return { at, trigger: what.trigger, workflow: what.workflow, state: "FIRED", ...needsStart };
  }
  if (what.kind === "workflow") {
    return { at, workflow: what.chain.workflow, state: what.chain.state, statistics: statisticsOf(what.chain) };
  }
  const { job, state, trigger, attempt, reason } = what.run;
  return { at, job, state, trigger, attempt, reason };
}
