import { type Command, Option } from "commander";
import { ExitCode, UserError } from "../errors.js";
import { chainOfRun } from "../glue/schedule/model.js";
import type { RunInfo } from "../targets/runs/service.js";
import { loadConfig } from "./config-options.js";
import { interruptible } from "./interrupt.js";
import { type CliIo, write } from "./io.js";
import type { Finish } from "./job-command.js";
import { createProgress } from "./progress.js";
import { writeLog } from "./run-log.js";
import { follow, runService } from "./run-tracking.js";
import { addScheduleOptions, openSchedule, type ScheduleFlags } from "./schedule/open.js";
import {
  limitOf,
  listScheduledRuns,
  scheduledLog,
  scheduledStatus,
  stopScheduled,
  tellOfMore,
} from "./schedule/runs.js";
import { printable } from "./style.js";

interface Flags extends ScheduleFlags {
  readonly target?: "emr" | "glue";
  readonly json?: true;
  readonly ui?: true;
  readonly name?: string;
  readonly limit?: string;
  readonly scheduled?: true;
  readonly follow?: true;
  readonly wait?: true;
  readonly attempt?: string;
}

/** `status`, `logs`, `cancel` and `runs`: what became of what `submit`, or a scheduler, started. */
export function registerRunsCommands(program: Command, io: CliIo, finish: Finish): void {
  const open = async (flags: Flags) => {
    const said = flags.target === undefined ? [] : [{ path: ["target"], value: flags.target, flag: "--target" }];
    const { settings } = await loadConfig(flags, io, said);
    return { settings, service: await runService(settings, [], flags.name) };
  };

  common(program.command("status"))
    .description("Tell how a job run goes; the exit code is 1 when it failed")
    .argument("<RUN>", "id, as `submit` printed it or `runs` lists it")
    .option("--ui", "also the address of its Spark UI, which lets whoever has it in for some time")
    .option("--json", "print JSON")
    .action(async (id: string, flags: Flags) => {
      if (chainOfRun(id) !== undefined) {
        finish(await scheduledStatus(await openSchedule(flags, io), id, flags.json === true, io));
        return;
      }
      const { service } = await open(flags);
      const info = await service.get(id);
      const ui = flags.ui ? await service.dashboard(id) : undefined;
      const text = `${describe(info)}${ui === undefined ? "" : `spark ui  ${printable(ui)}\n`}`;
      await write(io.stdout, flags.json ? `${JSON.stringify({ ...info, ui }, null, 2)}\n` : text);
      finish(info.phase === "failed" ? ExitCode.failed : ExitCode.ok);
    });

  common(program.command("runs"))
    .description(
      "List job runs, the newest first: those of the service, or with the target local those that triggers started",
    )
    .option("--scheduled", "those that triggers started, wherever they ran")
    .option("--name <job>", "of this job")
    .option("--limit <n>", "at most so many", "20")
    .option("--json", "print JSON")
    .action(async (flags: Flags) => {
      const schedule = flags.target === undefined || flags.scheduled ? await openSchedule(flags, io) : undefined;
      if (schedule !== undefined && (flags.scheduled || schedule.settings.target === "local")) {
        await listScheduledRuns(
          schedule,
          { name: flags.name, limit: limitOf(flags.limit), json: flags.json === true },
          io,
        );
        return;
      }
      const { service } = await open(flags);
      const found: RunInfo[] = [];
      const limit = limitOf(flags.limit);
      for await (const info of service.list()) {
        found.push(info);
        if (found.length > limit) break;
      }
      if (found.length > limit) {
        found.length = limit;
        await tellOfMore(limit, io);
      }
      const text = found.map(
        ({ id, state, created, name }) => `${id}  ${state}  ${created?.toISOString() ?? ""}  ${name ?? ""}`,
      );
      await write(io.stdout, flags.json ? `${JSON.stringify(found, null, 2)}\n` : `${printable(text.join("\n"))}\n`);
    });

  common(program.command("cancel"))
    .description("Cancel a job run: the job stops Spark and rolls back")
    .argument("<RUN>", "id, as `submit` printed it")
    .option("--wait", "wait until it has ended")
    .action(async (id: string, flags: Flags) => {
      if (chainOfRun(id) !== undefined) {
        await stopScheduled(await openSchedule(flags, io), id, flags.wait === true, io);
        return;
      }
      const { service, settings } = await open(flags);
      await service.cancel(id);
      if (flags.wait !== true) {
        await write(io.stderr, `${service.title} was asked to cancel ${id}\n`);
        return;
      }
      const { log } = createProgress(io, { debug: false, color: false });
      const interrupt = interruptible(() => {});
      const code = await follow({ service, id, log, settings, io, signal: interrupt.signal, showLog: false });
      interrupt.stop();
      // That it is cancelled is what was asked for.
      finish(code === ExitCode.interrupted ? ExitCode.ok : code);
    });

  common(program.command("logs"))
    .description("Show what a job run has said")
    .argument("<RUN>", "id, as `submit` printed it")
    .option("--follow", "go on until the run is over")
    .option("--attempt <n>", "only this one of a run that was tried several times")
    .action(async (given: string, flags: Flags) => {
      const attempt = flags.attempt === undefined ? undefined : Number(flags.attempt);
      if (attempt !== undefined && !(Number.isInteger(attempt) && attempt > 0)) {
        throw new UserError("USAGE", `--attempt ${flags.attempt} is no number of an attempt`, {
          hint: "The first one is 1; `glue-connect status` tells the last",
          exitCode: ExitCode.usage,
        });
      }
      const id = chainOfRun(given) === undefined ? given : await scheduledLog(await openSchedule(flags, io), given, io);
      // All was said: it ran on this machine.
      if (id === undefined) return;
      const { service, settings } = await open(flags);
      const { log } = createProgress(io, { debug: false, color: false });
      const options = { service, id, log, settings, io };
      if (flags.follow) {
        const interrupt = interruptible(() => process.exit(ExitCode.interrupted));
        finish(await follow({ ...options, signal: interrupt.signal, showLog: true }));
        interrupt.stop();
        return;
      }
      await writeLog(options, attempt);
    });
}

function common(command: Command): Command {
  return addScheduleOptions(command).addOption(
    new Option("--target <service>", "default: the configuration's target").choices(["emr", "glue"]),
  );
}

function describe({ id, name, state, reason, created, ended, attempt, billed }: RunInfo): string {
  const lines = [
    `${id}  ${state}${reason === undefined ? "" : `: ${reason}`}`,
    ...(name === undefined ? [] : [`name      ${name}`]),
    ...(created === undefined ? [] : [`created   ${created.toISOString()}`]),
    ...(ended === undefined ? [] : [`ended     ${ended.toISOString()}`]),
    ...(attempt === undefined ? [] : [`attempt   ${attempt}`]),
    ...(billed === undefined ? [] : [`billed    ${billed}`]),
  ];
  return `${printable(lines.join("\n"))}\n`;
}
