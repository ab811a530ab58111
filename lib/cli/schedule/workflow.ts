import { setTimeout as sleep } from "node:timers/promises";
import type { Command } from "commander";
import { ExitCode } from "../../errors.js";
import { statisticsOf } from "../../glue/schedule/chain.js";
import type { Chain } from "../../glue/schedule/model.js";
import { interruptible } from "../interrupt.js";
import { type CliIo, write } from "../io.js";
import type { Finish } from "../job-command.js";
import { createProgress } from "../progress.js";
import { addScheduleOptions, openCheckedSchedule, openSchedule, type Schedule, type ScheduleFlags } from "./open.js";
import { limitOf, tellOfMore } from "./runs.js";
import { chainText, table, time } from "./text.js";
import { usage } from "./trigger.js";

interface Flags extends ScheduleFlags {
  readonly property?: readonly string[];
  readonly job?: readonly string[];
  readonly wait?: true;
  readonly json?: true;
  readonly limit?: string;
}

const WAIT_MS = 500;

/** `glue-connect workflow run | status | resume | stop`. */
export function registerWorkflowCommand(program: Command, io: CliIo, finish: Finish): void {
  const workflow = program.command("workflow").description("Run the configuration's workflows, and see how they go");
  const collect = (value: string, before: readonly string[] | undefined) => [...(before ?? []), value];
  const begun = async (schedule: Schedule, id: string, flags: Flags) => {
    // First of all, and alone on its line: scripts read it.
    await write(io.stdout, `${id}\n`);
    if (flags.wait) finish(await untilOver(schedule, id, flags, io));
    else
      await write(io.stderr, `a scheduler starts its jobs; \`glue-connect workflow status ${id}\` tells how they go\n`);
  };

  addScheduleOptions(workflow.command("run"))
    .description("Start a run of a workflow; prints its id. A scheduler runs its jobs")
    .argument("<WORKFLOW>", "name in the configuration")
    .option("--property <name=value>", "a run property, over the workflow's own", collect)
    .option("--wait", "wait until it is over; the exit code is 1 when not all of its actions succeeded")
    .option("--json", "with --wait: print the run as JSON at the end")
    .action(async (name: string, flags: Flags) => {
      const schedule = await openCheckedSchedule(flags, io);
      await begun(schedule, await schedule.control.runWorkflow(name, properties(flags.property)), flags);
    });

  addScheduleOptions(workflow.command("status"))
    .description("Tell how a workflow's run goes; the exit code is 1 when an action has failed")
    .argument("[RUN]", "id of the run; default: the newest runs of all workflows")
    .option("--limit <n>", "without a run: at most so many", "20")
    .option("--json", "print JSON")
    .action(async (id: string | undefined, flags: Flags) => {
      const { control } = await openSchedule(flags, io);
      if (id !== undefined) {
        const chain = await control.chain(id);
        await write(io.stdout, flags.json ? json(withStatistics(chain)) : chainText(chain));
        finish(codeOf(chain));
        return;
      }
      const chains: Chain[] = [];
      const limit = limitOf(flags.limit);
      for await (const chain of control.chains()) {
        if (chain.workflow !== undefined) chains.push(chain);
        if (chains.length > limit) break;
      }
      if (chains.length > limit) {
        chains.length = limit;
        await tellOfMore(limit, io);
      }
      const rows = chains.map((chain) => {
        const { TotalActions, SucceededActions } = statisticsOf(chain);
        const done = `${SucceededActions} of ${TotalActions} actions succeeded`;
        return [chain.id, chain.workflow ?? "", chain.state, time(chain.created), time(chain.ended), done];
      });
      await write(
        io.stdout,
        flags.json ? json(chains.map(withStatistics)) : rows.length === 0 ? "no runs\n" : table(rows),
      );
    });

  addScheduleOptions(workflow.command("resume"))
    .description(
      "Run the jobs of a workflow's run again that didn't succeed, and all that follows; prints the new run's id",
    )
    .argument("<RUN>", "id of a run that is over")
    .option("--job <name>", "run this one again, whatever became of it", collect)
    .option("--wait", "wait until it is over")
    .option("--json", "with --wait: print the run as JSON at the end")
    .action(async (run: string, flags: Flags) => {
      const schedule = await openCheckedSchedule(flags, io);
      await begun(schedule, await schedule.control.resumeWorkflow(run, flags.job ?? []), flags);
    });

  addScheduleOptions(workflow.command("stop"))
    .description("Stop a workflow's run, with all jobs that are at work in it")
    .argument("<RUN>", "id of the run")
    .action(async (run: string, flags: Flags) => {
      const { control } = await openSchedule(flags, io);
      await control.stop(run);
      await write(io.stdout, `${run} is ${(await control.chain(run)).state}\n`);
    });

  addScheduleOptions(workflow.command("set"))
    .description("Set properties of a workflow's run, for the jobs that follow")
    .argument("<RUN>", "id of the run")
    .requiredOption("--property <name=value>", "the property", collect)
    .action(async (run: string, flags: Flags) => {
      const { control } = await openSchedule(flags, io);
      await control.putProperties(run, properties(flags.property));
    });
}

/** Waits for a scheduler to do it. Ctrl-C ends the waiting, not the run. */
async function untilOver({ control }: Schedule, id: string, flags: Flags, io: CliIo): Promise<ExitCode> {
  const { log } = createProgress(io, { debug: false, color: false });
  const interrupt = interruptible(() => log.info(`${id} goes on; \`glue-connect workflow stop ${id}\` stops it`));
  const shown = new Map<string, string>();
  try {
    while (!interrupt.signal.aborted) {
      const chain = await control.chain(id);
      for (const { id: run, job, state, reason } of Object.values(chain.runs)) {
        if (shown.get(run) === state) continue;
        shown.set(run, state);
        log.info(`${job} is ${state}${reason === undefined ? "" : `: ${reason}`} (${run})`);
      }
      if (chain.ended !== undefined) {
        if (flags.json) await write(io.stdout, json(withStatistics(chain)));
        return codeOf(chain);
      }
      await sleep(WAIT_MS, undefined, { signal: interrupt.signal }).catch(() => undefined);
    }
    return ExitCode.interrupted;
  } finally {
    interrupt.stop();
  }
}

function codeOf(chain: Chain): ExitCode {
  const { FailedActions, TimeoutActions, ErroredActions, StoppedActions } = statisticsOf(chain);
  return FailedActions + TimeoutActions + ErroredActions + StoppedActions > 0 ? ExitCode.failed : ExitCode.ok;
}

function withStatistics(chain: Chain): unknown {
  return { ...chain, runs: Object.values(chain.runs), statistics: statisticsOf(chain) };
}

function properties(texts: readonly string[] = []): Record<string, string> {
  return Object.fromEntries(
    texts.map((text) => {
      const equals = text.indexOf("=");
      if (equals < 1) throw usage(`--property ${JSON.stringify(text)} is not of the form name=value`);
      return [text.slice(0, equals), text.slice(equals + 1)];
    }),
  );
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
