import { type Command, Option } from "commander";
import { ExitCode, UserError } from "../errors.js";
import type { Settings } from "../glue/config/schema.js";
import { processMark } from "../glue/process-mark.js";
import { SESSION_PREFIX, type SessionInfo, type SessionService } from "../targets/sessions/service.js";
import { type CloudPlace, sessionService } from "./aws-targets.js";
import { addConfigOptions, type ConfigFlags, loadConfig } from "./config-options.js";
import { type CliIo, write } from "./io.js";
import { printable } from "./style.js";

interface Flags extends ConfigFlags {
  readonly target?: CloudPlace;
  readonly json?: true;
  readonly orphans?: true;
  readonly all?: true;
}

/** `glue-connect session list | stop`: sessions on AWS, which cost money as long as they are up. */
export function registerSessionCommand(program: Command, io: CliIo): void {
  const session = program.command("session").description("List and end Spark Connect sessions on AWS");

  common(session.command("list"))
    .description("List the sessions of glue-connect that are up")
    .option("--orphans", "only those whose process on this machine has died")
    .option("--all", "also sessions that something else has made")
    .option("--json", "print JSON")
    .action(async (flags: Flags) => {
      const { service } = await open(flags, io);
      const found = await sessions(service, flags);
      if (flags.json) await write(io.stdout, `${JSON.stringify(found, null, 2)}\n`);
      else await write(io.stdout, found.length === 0 ? "no sessions\n" : table(found));
    });

  common(session.command("stop"))
    .description("End sessions")
    .argument("[ID...]", "ids of sessions")
    .option("--orphans", "all of those whose process on this machine has died")
    .action(async (ids: readonly string[], flags: Flags) => {
      if (ids.length === 0 && flags.orphans !== true) {
        throw new UserError("USAGE", "No session was named", {
          hint: "Give ids (`glue-connect session list` shows them), or --orphans",
          exitCode: ExitCode.usage,
        });
      }
      const { service } = await open(flags, io);
      const orphans = flags.orphans ? await sessions(service, { orphans: true }) : [];
      for (const id of new Set([...ids, ...orphans.map((orphan) => orphan.id)])) {
        if (ids.includes(id) && (await service.get(id)) === undefined) {
          throw new UserError("SESSION_NOT_FOUND", `There is no ${service.title} session ${id}`, {
            hint: "`glue-connect session list` shows those that there are",
            exitCode: ExitCode.usage,
          });
        }
        await service.stop(id);
        await write(io.stdout, `ended ${id}\n`);
      }
    });
}

function common(command: Command): Command {
  return addConfigOptions(command).addOption(
    new Option("--target <service>", "default: the configuration's target").choices(["emr", "glue"]),
  );
}

async function open(flags: Flags, io: CliIo): Promise<{ service: SessionService; settings: Settings }> {
  const { settings } = await loadConfig(
    flags,
    io,
    flags.target === undefined ? [] : [{ path: ["target"], value: flags.target, flag: "--target" }],
  );
  const place = settings.target;
  if (place !== "emr" && place !== "glue") {
    throw new UserError("USAGE", `Sessions are on AWS, and the target is ${place}`, {
      hint: "Add --target emr or --target glue",
      exitCode: ExitCode.usage,
    });
  }
  return { service: await sessionService(place, settings, [], "look"), settings };
}

interface Listed {
  readonly id: string;
  readonly state: string;
  readonly name: string | undefined;
  readonly created: Date | undefined;
  /** Null where nothing can be said: a process of another machine. */
  readonly orphan: boolean | null;
}

async function sessions(service: SessionService, wanted: Pick<Flags, "orphans" | "all">): Promise<Listed[]> {
  const mark = processMark();
  const listed: Listed[] = [];
  for await (const summary of service.list()) {
    const ours = summary.name?.startsWith(SESSION_PREFIX) === true;
    if (!ours && wanted.all !== true) continue;
    // Lists don't tell whose a session is.
    const info: SessionInfo | undefined = ours ? await service.get(summary.id) : summary;
    // It may have ended since the list was made.
    if (info?.phase !== "starting" && info?.phase !== "ready") continue;
    const orphan = info.owner === undefined ? null : mark.isGone(info.owner) ? true : null;
    if (wanted.orphans === true && orphan !== true) continue;
    listed.push({ id: info.id, state: info.state, name: info.name, created: info.created, orphan });
  }
  return listed;
}

function table(found: readonly Listed[]): string {
  const rows = found.map(({ id, state, name, created, orphan }) => [
    id,
    state,
    created?.toISOString() ?? "",
    name ?? "",
    orphan === true ? "orphan: its process has died" : "",
  ]);
  const widths = [0, 1, 2, 3].map((column) => Math.max(...rows.map((row) => (row[column] ?? "").length)));
  return rows
    .map((row) => printable(row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ")).trimEnd())
    .map((line) => `${line}\n`)
    .join("");
}
