import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { ExitCode, UserError } from "../../errors.js";
import { hideSecrets } from "../../glue/config/hide.js";
import { isOver, type JobRun } from "../../glue/schedule/model.js";
import { type CliIo, write } from "../io.js";
import { printable } from "../style.js";
import { outputOf } from "./local-runs.js";
import type { Schedule } from "./open.js";
import { runLine, table } from "./text.js";

const WAIT_MS = 500;

/** Lists what triggers have started, the newest first. */
export async function listScheduledRuns(
  { control }: Schedule,
  { name, limit, json }: { readonly name: string | undefined; readonly limit: number; readonly json: boolean },
  io: CliIo,
): Promise<void> {
  const found: JobRun[] = [];
  for await (const { runs } of control.chains()) {
    const own = Object.values(runs).filter(({ job, carried }) => carried !== true && (name ?? job) === job);
    found.push(...own.reverse());
    if (found.length > limit) break;
  }
  const shown = found.slice(0, limit);
  if (found.length > limit) await tellOfMore(limit, io);
  await write(io.stdout, json ? `${JSON.stringify(shown.map(withoutSecrets), null, 2)}\n` : table(shown.map(runLine)));
}

/** A list that was cut short says so, where it isn't part of it. */
export async function tellOfMore(limit: number, io: CliIo): Promise<void> {
  await write(io.stderr, `these are the newest ${limit}; --limit shows more\n`);
}

/** A number of the form that `--limit` takes. */
export function limitOf(text: string | undefined): number {
  const limit = Number(text ?? "20");
  if (Number.isInteger(limit) && limit >= 1) return limit;
  throw new UserError("USAGE", `--limit ${JSON.stringify(text)} is no whole number from 1 on`, {
    exitCode: ExitCode.usage,
  });
}

/** How a run goes that a trigger has started; 1 when it has failed. */
export async function scheduledStatus(schedule: Schedule, id: string, json: boolean, io: CliIo): Promise<ExitCode> {
  const run = await runOf(schedule, id);
  await write(io.stdout, json ? `${JSON.stringify(withoutSecrets(run), null, 2)}\n` : describe(run));
  return isOver(run) && run.state !== "SUCCEEDED" && run.state !== "STOPPED" ? ExitCode.failed : ExitCode.ok;
}

/** Asks the scheduler to stop a run. */
export async function stopScheduled(schedule: Schedule, id: string, wait: boolean, io: CliIo): Promise<void> {
  await schedule.control.stop(id);
  if (!wait) {
    await write(io.stderr, `the scheduler was asked to stop ${id}\n`);
    return;
  }
  let run = await runOf(schedule, id);
  while (!isOver(run)) {
    await sleep(WAIT_MS);
    run = await runOf(schedule, id);
  }
  await write(io.stderr, `${id} is ${run.state}\n`);
}

/**
 * Shows the output of a run of this machine.
 *
 * @returns the service's id of a run on AWS, whose log is there.
 */
export async function scheduledLog(schedule: Schedule, id: string, io: CliIo): Promise<string | undefined> {
  const run = await runOf(schedule, id);
  if ((run.target ?? schedule.settings.target ?? "local") !== "local") {
    if (run.handle === undefined) throw new UserError("RUN_NOT_STARTED", `${id} hasn't been started yet`);
    return run.handle;
  }
  const file = outputOf(schedule.runs, id);
  try {
    await write(io.stdout, printable(await readFile(file, "utf8")));
  } catch {
    const where = run.handle?.split(":")[0];
    throw new UserError("LOG_NOT_FOUND", `There is no output of ${id} on this machine`, {
      hint: where === undefined ? "It hasn't been started yet" : `It ran on ${where}`,
    });
  }
  return undefined;
}

async function runOf({ control }: Schedule, id: string): Promise<JobRun> {
  const run = (await control.chain(id)).runs[id];
  if (run !== undefined) return run;
  throw new UserError("RUN_NOT_FOUND", `There is no run ${id}`, {
    hint: "`glue-connect runs` lists them",
    exitCode: ExitCode.usage,
  });
}

/** A run as others may see it: its arguments as the text shows them, and not the request, which has them all again. */
function withoutSecrets({ request: _, given, ...run }: JobRun): JobRun {
  const hide = (all: Readonly<Record<string, string>>) =>
    Object.fromEntries(Object.entries(all).map(([name, value]) => [name, String(hideSecrets([name], value))]));
  return { ...run, arguments: hide(run.arguments), ...(given === undefined ? {} : { given: hide(given) }) };
}

function describe(run: JobRun): string {
  const { id, job, state, reason, trigger, attempt, created, started, ended, handle } = run;
  const facts = [
    ["job", job],
    ["trigger", trigger],
    ...(attempt === 0 ? [] : [["attempt", `${attempt + 1}, after ${run.previousRunId}`]]),
    ...run.predecessors.map((before) => ["after", `${before.job}: ${before.runId}`]),
    ["created", created],
    ...(started === undefined ? [] : [["started", started]]),
    ...(ended === undefined ? [] : [["ended", ended]]),
    ...(handle === undefined ? [] : [["where", handle]]),
    ...Object.entries(run.given ?? run.arguments).map(([name, value]) => [
      "argument",
      `--${name} ${hideSecrets([name], value)}`,
    ]),
  ];
  return `${printable(`${id}  ${state}${reason === undefined ? "" : `: ${reason}`}`)}\n${table(facts)}`;
}
