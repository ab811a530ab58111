import type { Command } from "commander";
import type { CliIo } from "./io.js";
import { addJobCommand, type Finish } from "./job-command.js";

/** `glue-connect plan JOB`: what `run` would do. Exit code 2 when there is work, 0 when there is none. */
export function registerPlanCommand(program: Command, io: CliIo, finish: Finish): void {
  addJobCommand(
    program,
    "plan",
    {
      description: "Say what `run` would do, and write nothing; exit code 2 when there is work, 0 when there is none",
      examples: [
        "glue-connect plan iceberg-to-aurora --JOB_NAME nightly --metadata_table_name file:load.json \\",
        "    --source_system_id orders --metadata_type incremental",
      ],
    },
    io,
    finish,
  );
}
