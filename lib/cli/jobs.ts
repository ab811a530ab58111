import type { Command } from "commander";
import type { Job } from "../glue/define-job.js";
import { type CliIo, widthOf, write } from "./io.js";
import { BUILT_IN_JOBS, loadBuiltInJob } from "./registry.js";
import { twoColumns } from "./style.js";

/** `glue-connect jobs`: the jobs that come with the package. */
export function registerJobsCommand(program: Command, io: CliIo): void {
  program
    .command("jobs")
    .description("List the built-in jobs")
    .option("--json", "print JSON, with every argument of each job")
    .action(async (flags: { readonly json?: true }) => {
      const jobs = await Promise.all(BUILT_IN_JOBS.map(loadBuiltInJob));
      const text = flags.json
        ? `${JSON.stringify(jobs.map(describe), null, 2)}\n`
        : `${twoColumns(
            jobs.map(({ name, summary }) => [name, summary]),
            widthOf(io.stdout),
            0,
          )}\n`;
      await write(io.stdout, text);
    });
}

function describe(job: Job): unknown {
  return {
    name: job.name,
    summary: job.summary,
    arguments: [
      { name: "JOB_NAME", description: "the name you know this job by", required: true },
      ...Object.entries(job.args).map(([name, { description, required, defaultText, choices }]) => ({
        name,
        description,
        required,
        ...(defaultText === undefined ? {} : { default: defaultText }),
        ...(choices === undefined ? {} : { choices }),
      })),
    ],
  };
}
