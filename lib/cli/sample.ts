import { join } from "node:path";
import { type Command, Option } from "commander";
import { ExitCode, UserError } from "../errors.js";
import type { SparkNeeds } from "../glue/context.js";
import type { CassandraConnection } from "../keyspaces/connection.js";
import type { PostgresConnection } from "../postgres/connection.js";
import type { SparkSession } from "../spark/index.js";
import { interruptible } from "./interrupt.js";
import { type CliIo, write } from "./io.js";
import { localServers } from "./local-servers.js";
import { createProgress } from "./progress.js";

/** Finds or starts the local PostgreSQL, and makes the database. */
type Postgres = (database: string) => Promise<PostgresConnection>;

/** Finds or starts the local Cassandra. */
type Cassandra = () => Promise<CassandraConnection>;

/** Sample data of a job. */
interface JobSample {
  /** What the Spark that makes it must have. */
  readonly needs?: SparkNeeds;
  /** @returns the command line of a run. */
  makeSample(spark: SparkSession, folder: string, postgres: Postgres, cassandra: Cassandra): Promise<string[]>;
  changeSample(spark: SparkSession, folder: string, postgres: Postgres, cassandra: Cassandra): Promise<void>;
}

/** The jobs that have one. */
export const SAMPLES: Readonly<Record<string, () => Promise<JobSample>>> = {
  "athena-cdc": () => import("../../jobs/athena-cdc/sample.js"),
  "jdbc-cdc": () => import("../../jobs/jdbc-cdc/sample.js"),
  "datamart-join": () => import("../../jobs/datamart-join/sample.js"),
  "keyspaces-diff": () => import("../../jobs/keyspaces-diff/sample.js"),
};

/** `glue-connect sample JOB`: data for a first run, in the local Spark's catalog, PostgreSQL or Cassandra and in `.glue-connect/sample`. */
export function registerSampleCommand(program: Command, io: CliIo): void {
  program
    .command("sample")
    .description("Make sample data for a job on the servers of this machine, and say how to run it")
    .argument("<JOB>", `one of ${Object.keys(SAMPLES).join(", ")}`)
    .option("--change", "add new and changed rows to the sample that is there, for an incremental run")
    .addOption(new Option("--no-color", "no colours"))
    .action(async (job: string, flags: { readonly change?: true; readonly color: boolean }) => {
      const load = Object.hasOwn(SAMPLES, job) ? SAMPLES[job] : undefined;
      if (load === undefined) {
        throw new UserError("SAMPLE_UNKNOWN", `There is no sample for ${JSON.stringify(job)}`, {
          hint: `There are samples for ${Object.keys(SAMPLES).join(", ")}`,
          exitCode: ExitCode.usage,
        });
      }
      const progress = createProgress(io, { debug: false, color: flags.color });
      const interrupt = interruptible(() => progress.log.warn("interrupted"));
      try {
        const { SparkSession } = await import("../spark/index.js");
        const { stateHome } = await import("../targets/local/directories.js");
        const servers = localServers(progress.log, interrupt.signal);
        const sample = await load();
        const { remote } = await servers.spark(sample.needs ?? {});
        await using spark = await SparkSession.builder().remote(remote).signal(interrupt.signal).getOrCreate();
        const folder = join(stateHome(), "sample", job);
        if (flags.change) {
          await sample.changeSample(spark, folder, servers.postgres, servers.cassandra);
          await write(io.stdout, "New and changed rows are there; run the job again.\n");
          return;
        }
        const argv = await sample.makeSample(spark, folder, servers.postgres, servers.cassandra);
        const lines = argv.flatMap((token, index) => (token.startsWith("--") ? [`${token} ${argv[index + 1]}`] : []));
        await write(
          io.stdout,
          `The sample is there, as long as these servers are up (they stop after 30 idle minutes). Run it:\n  npx glue-connect run ${job} ${lines.join(" \\\n    ")}\nThen \`npx glue-connect sample ${job} --change\`, and run it again.\n`,
        );
      } finally {
        progress.end();
        interrupt.stop();
      }
    });
}
