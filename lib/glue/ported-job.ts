import { UserError } from "../errors.js";
import type { JobContext } from "./context.js";
import { describeFailure } from "./failure.js";
import { type OpenRun, openRun, type RunEnvironment } from "./open-run.js";
import type { RunReport } from "./report.js";

/**
 * Glue's `Job` for scripts that are ported line by line: `init` at the top, `commit` at the end. New jobs use `defineJob`,
 * which can't forget either.
 *
 * @example
 * const args = getResolvedOptions(process.argv, ["JOB_NAME", "output_path"]);
 * await using job = new GlueJob({ sparkRemote: "sc://localhost:15002" });
 * const { spark, log } = job.init(args.JOB_NAME, args);
 * ...
 * await job.commit();
 */
export class GlueJob implements AsyncDisposable {
  readonly #environment: RunEnvironment;
  #run: OpenRun<unknown> | undefined;

  constructor(environment: RunEnvironment = {}) {
    this.#environment = environment;
  }

  /** Whether `init` was called and `commit` wasn't yet. */
  get isInitialized(): boolean {
    return this.#run !== undefined;
  }

  /**
   * Begins the run and gives the script what a defined job gets.
   *
   * @throws UserError `JOB_INITIALIZED` when a run is under way.
   */
  init<Args>(jobName: string, args: Args): JobContext<Args> {
    if (this.#run !== undefined) throw new UserError("JOB_INITIALIZED", `Job ${jobName} was initialized before`);
    const run = openRun({ name: jobName }, { jobName, args }, this.#environment);
    run.report.state = "RUNNING";
    this.#run = run;
    return run.context;
  }

  /**
   * Ends the run as SUCCEEDED.
   *
   * @throws UserError `JOB_NOT_INITIALIZED`.
   */
  async commit(): Promise<RunReport> {
    const run = this.#run;
    if (run === undefined) throw new UserError("JOB_NOT_INITIALIZED", "commit() was called before init()");
    this.#run = undefined;
    run.report.finish("SUCCEEDED");
    await run.close();
    return run.report;
  }

  /** Ends the run as FAILED, with the reason in the report. */
  async fail(error: unknown): Promise<RunReport | undefined> {
    const run = this.#run;
    this.#run = undefined;
    if (run === undefined) return undefined;
    run.report.finish("FAILED", run.mask.error(describeFailure(error).error));
    await run.close();
    return run.report;
  }

  /** A script that ends without `commit` has failed. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.fail(new UserError("JOB_NOT_COMMITTED", "The script ended without commit()"));
  }
}
