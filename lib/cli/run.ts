import type { Command } from "commander";
import type { CliIo } from "./io.js";
import { addJobCommand, type Finish } from "./job-command.js";

/** `glue-connect run JOB`: runs a job in this process. */
export function registerRunCommand(program: Command, io: CliIo, finish: Finish): void {
  addJobCommand(
    program,
    "run",
    {
      description: "Run a job; without --remote on a Spark server of this machine, started when none is up",
      examples: [
        "glue-connect run iceberg-to-aurora --help",
        "glue-connect run iceberg-to-aurora --JOB_NAME nightly --metadata_table_name file:load.json \\",
        "    --source_system_id orders --metadata_type incremental",
        "glue-connect run ./my-job.ts --JOB_NAME trial --remote sc://spark.example:15002 --json",
      ],
    },
    io,
    finish,
  );
}
