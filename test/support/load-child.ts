/**
 * Runs iceberg-to-aurora in a process of its own, and kills that process at a given place: what a power cut or the OOM killer
 * does. Standard output is the list of places it came by.
 */
import job from "../../jobs/iceberg-to-aurora/job.js";
import { runJob } from "../../lib/glue/index.js";

/** What the parent hands over, as JSON in the first argument. */
export interface LoadChildInput {
  readonly argv: readonly string[];
  readonly sparkRemote: string;
  readonly postgresUrl: string;
  /** `<step> start` or `<step> end`; left out: the run goes to its end. */
  readonly killAt?: string;
}

const input = JSON.parse(process.argv[2] ?? "{}") as LoadChildInput;
const result = await runJob(job, input.argv, {
  sparkRemote: input.sparkRemote,
  postgresUrl: input.postgresUrl,
  onStep: async ({ name, phase }) => {
    console.log(`${name} ${phase}`);
    if (`${name} ${phase}` === input.killAt) {
      process.kill(process.pid, "SIGKILL");
      await new Promise(() => undefined);
    }
  },
});
if (result.exitCode !== 0) console.error(JSON.stringify(result.report.toJSON().error));
process.exitCode = result.exitCode;
