/**
 * Runs a built-in job in a process of its own, and kills that process at a given place: what a power cut or the OOM killer
 * does; or stops it there, as a machine that is suspended. Standard output is the list of places it came by.
 */
import { writeSync } from "node:fs";
import { loadBuiltInJob } from "../../lib/cli/registry.js";
import { type AwsOptions, runJob } from "../../lib/glue/index.js";
import type { CassandraConnection } from "../../lib/keyspaces/index.js";

/** What the parent hands over, as JSON in the first argument. */
export interface JobChildInput {
  readonly job: string;
  readonly argv: readonly string[];
  readonly sparkRemote: string;
  readonly postgresUrl?: string;
  /** What `--CLUSTER embedded` is. */
  readonly cassandra?: CassandraConnection;
  /** For places on S3. */
  readonly aws?: AwsOptions;
  /** `<step> start` or `<step> end`, the first time it is come by; left out: the run goes to its end. */
  readonly killAt?: string;
  /** As `killAt`; the process goes on there when it gets SIGCONT. */
  readonly stopAt?: string;
}

const input = JSON.parse(process.argv[2] ?? "{}") as JobChildInput;
const { cassandra, aws, killAt } = input;
let { stopAt } = input;
const result = await runJob(await loadBuiltInJob(input.job), input.argv, {
  sparkRemote: input.sparkRemote,
  ...(input.postgresUrl === undefined ? {} : { postgresUrl: input.postgresUrl }),
  ...(cassandra === undefined ? {} : { embeddedCassandra: async () => cassandra }),
  ...(aws === undefined ? {} : { aws }),
  catalog: "spark",
  onStep: async ({ name, phase }) => {
    writeSync(1, `${name} ${phase}\n`);
    if (`${name} ${phase}` === stopAt) {
      stopAt = undefined;
      process.kill(process.pid, "SIGSTOP");
    }
    if (`${name} ${phase}` !== killAt) return;
    process.kill(process.pid, "SIGKILL");
    await new Promise(() => undefined);
  },
});
if (result.exitCode !== 0) console.error(JSON.stringify(result.report.toJSON()));
process.exitCode = result.exitCode;
