import { setTimeout as sleep } from "node:timers/promises";
import type { Command } from "commander";
import { ExitCode, UserError } from "../../errors.js";
import type { Definitions } from "../../glue/config/schedule-schema.js";
import { processMark } from "../../glue/process-mark.js";
import { placesIn } from "../../glue/schedule/places.js";
import { createScheduler, readTrigger } from "../../glue/schedule/scheduler.js";
import type { Clock } from "../../glue/schedule/starter.js";
import type { Logger } from "../../logger.js";
import { isFileUri } from "../../storage/uri.js";
import { interruptible } from "../interrupt.js";
import type { CliIo } from "../io.js";
import { createProgress } from "../progress.js";
import { addScheduleOptions, openCheckedSchedule, runStarter, type Schedule, type ScheduleFlags } from "./open.js";

/** Requests to S3 cost money, looks at files don't. */
const FILE_POLL_MS = 1_000;
const S3_POLL_MS = 10_000;

/** The machine's time. */
export const systemClock: Clock = {
  now: () => new Date(),
  elapsed: () => performance.now(),
  wait: (ms, signal) => sleep(ms, undefined, { signal }).catch(() => undefined),
};

/** `glue-connect scheduler`: fires the triggers of the configuration. */
export function registerSchedulerCommand(program: Command, io: CliIo): void {
  addScheduleOptions(program.command("scheduler"))
    .description("Fire the configuration's triggers and see to their runs, until it is stopped; UTC")
    .option("--no-color", "no colours; NO_COLOR does the same")
    .addHelpText(
      "after",
      "\nSIGTERM or Ctrl-C stops it at once: runs go on, and the next scheduler takes them up. Any number of them may\nwork on one state; each firing happens once.",
    )
    .action(async (flags: ScheduleFlags & { readonly color: boolean }) => {
      // It runs for weeks.
      const progress = createProgress(io, { debug: false, color: flags.color, times: true });
      const schedule = await openCheckedSchedule(flags, io);
      needsTriggers(schedule.definitions);
      const { log } = progress;
      const interrupt = interruptible(() => log.info("stopping; runs go on, and the next scheduler takes them up"));
      try {
        await tellTriggers(schedule, log);
        await schedulerOf(schedule, io, log, interrupt.signal).run(interrupt.signal);
      } finally {
        interrupt.stop();
      }
    });
}

/** A scheduler on the schedule's state, with this process's clock. */
export function schedulerOf(schedule: Schedule, io: CliIo, log: Logger, signal: AbortSignal) {
  const { store, state, definitions } = schedule;
  return createScheduler({
    store,
    folder: state,
    definitions,
    starter: runStarter(schedule, io, log, signal),
    clock: systemClock,
    log,
    process: processMark(),
    pollMs: isFileUri(state) ? FILE_POLL_MS : S3_POLL_MS,
  });
}

/** @throws UserError `NO_TRIGGERS` (exit 66). */
export function needsTriggers({ triggers }: Definitions): void {
  if (Object.keys(triggers).length > 0) return;
  throw new UserError("NO_TRIGGERS", "The configuration has no triggers", {
    hint: "Add `jobs` and `triggers` to glue-connect.config.ts; the README shows how",
    exitCode: ExitCode.configuration,
  });
}

async function tellTriggers({ definitions, store, state }: Schedule, log: Logger): Promise<void> {
  const idle: string[] = [];
  for (const [name, { type }] of Object.entries(definitions.triggers)) {
    // Seen for the first time, it is activated by startOnCreation.
    const { value } = await readTrigger(store, placesIn(state), name, definitions.triggers[name], new Date());
    if (type !== "ON_DEMAND" && value.state !== "ACTIVATED") idle.push(`${name} is ${value.state}`);
  }
  log.info(`scheduler of ${Object.keys(definitions.triggers).length} triggers, with its state in ${state}`);
  if (idle.length === 0) return;
  log.warn(`these don't fire until \`glue-connect trigger start\`: ${idle.join(", ")}`);
}
