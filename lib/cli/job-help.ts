import type { Command } from "commander";
import type { Arg } from "../glue/args.js";
import type { Job } from "../glue/define-job.js";
import { twoColumns, wrap } from "./style.js";

/** Help for one job: every argument of its own, then the command's options. */
export function jobHelp(job: Job, called: string, command: Command, width: number): string {
  const args = Object.entries(job.args);
  const required = args.filter(([, definition]) => definition.required);
  const usage = [
    `Usage: glue-connect ${command.name()} ${called}`,
    "--JOB_NAME <name>",
    ...required.map(([name, { placeholder }]) => `--${name} ${placeholder}`),
    ...(required.length < args.length ? ["[arguments]"] : []),
    "[options]",
  ].join(" ");
  const help = command.createHelp();
  const options = help
    .visibleOptions(command)
    .map((option): [string, string] => [help.optionTerm(option), help.optionDescription(option)]);
  return [
    ...wrap(usage, width),
    "",
    ...wrap(job.summary, width),
    "",
    "Arguments of the job:",
    twoColumns(
      [
        ["--JOB_NAME <name>", "the name you know this job by (required)"],
        ...args.map(([name, definition]): [string, string] => [
          `--${name} ${definition.placeholder}`,
          describe(definition),
        ]),
      ],
      width,
    ),
    "",
    "Options:",
    twoColumns(options, width),
    "",
  ].join("\n");
}

function describe(definition: Arg<unknown>): string {
  if (definition.required) return `${definition.description} (required)`;
  if (definition.defaultText !== undefined) return `${definition.description} (default: ${definition.defaultText})`;
  return `${definition.description} (optional)`;
}
