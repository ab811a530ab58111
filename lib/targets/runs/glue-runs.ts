import { setTimeout as sleep } from "node:timers/promises";
import type { CreateJobRequest, Job, JobRun, JobRunState } from "@aws-sdk/client-glue";
import { awsErrorName } from "../../aws.js";
import { ExitCode, UserError } from "../../errors.js";
import { createSdkGlueClient, glueFailure } from "../aws/glue-client.js";
import { type RoleOptional, withRole } from "../aws/settings.js";
import { type GlueJobTarget, glueJobDefinition, glueRunArguments } from "./glue-request.js";
import type { RunInfo, RunService } from "./service.js";

/** The argument that no two runs have alike. */
const REPORT = "--glue_connect_report";
const PHASES: Readonly<Record<JobRunState, RunInfo["phase"]>> = {
  STARTING: "waiting",
  WAITING: "waiting",
  RUNNING: "running",
  STOPPING: "cancelling",
  STOPPED: "cancelled",
  SUCCEEDED: "succeeded",
  FAILED: "failed",
  ERROR: "failed",
  TIMEOUT: "failed",
  EXPIRED: "failed",
};

/** Within this time after a run has failed Glue starts its next attempt, if it does so at all. */
const RETRY_MS = 120_000;
/** How often is looked for the next attempt when it is to be stopped. */
const RETRY_POLL_MS = 2_000;

/** What a run is started with. */
interface GlueRun {
  readonly name: string;
  readonly report: string;
  readonly mayHaveStarted: boolean;
  readonly definition: Omit<CreateJobRequest, "Name">;
  readonly arguments: Record<string, string>;
}

/** What runs are started and asked for with. */
export interface GlueRunTarget extends GlueJobTarget {
  /** Name of the Glue job; `undefined` where runs are only asked for, by `<job>:<run>`. */
  readonly jobName: string | undefined;
}

/**
 * Runs of Glue jobs (glueetl, Glue 5.1) whose script is the launcher. The job is made or brought up to date first, so that it
 * can also be started from Glue's console, by a trigger or a workflow. Ids are `<job>:<run>`.
 */
export async function createGlueRuns(target: RoleOptional<GlueRunTarget>): Promise<RunService> {
  const sdk = await import("@aws-sdk/client-glue");
  const client = await createSdkGlueClient(target.aws);
  const { role, jobName } = target;
  const call = async <T>(doing: string, permission: string, work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      throw glueFailure(error, { doing, permission, role });
    }
  };
  const jobOf = async (name: string): Promise<Job | undefined> => {
    try {
      return (await client.send(new sdk.GetJobCommand({ JobName: name }))).Job;
    } catch (error) {
      if (awsErrorName(error) === "EntityNotFoundException") return undefined;
      throw error;
    }
  };

  /** A run has its report's place among its arguments, and the token is in it. */
  const startedBefore = async ({ name, report }: Pick<GlueRun, "name" | "report">): Promise<string | undefined> => {
    const job = await call(`asking for Glue job ${name}`, "glue:GetJob", () => jobOf(name));
    if (job === undefined) return undefined;
    let NextToken: string | undefined;
    do {
      const page = await call(`listing the runs of ${name}`, "glue:GetJobRuns", () =>
        client.send(new sdk.GetJobRunsCommand({ JobName: name, ...(NextToken === undefined ? {} : { NextToken }) })),
      );
      const found = page.JobRuns?.find((run) => run.Arguments?.[REPORT] === report);
      if (found?.Id !== undefined) return found.Id;
      NextToken = page.NextToken;
    } while (NextToken !== undefined);
    return undefined;
  };

  const seenFailed = new Map<string | undefined, number>();
  /**
   * What follows a run that has failed: Glue makes a run of its own of each attempt, with the arguments of the first, so that
   * they have their report's place in common.
   */
  const attemptAfter = async (run: JobRun): Promise<JobRun | "expected" | undefined> => {
    const { JobName = "", Attempt = 0, CompletedOn } = run;
    const job = await call(`asking for Glue job ${JobName}`, "glue:GetJob", () => jobOf(JobName));
    if ((job?.MaxRetries ?? 0) <= Attempt) return undefined;
    const { JobRuns = [] } = await call(`listing the runs of ${JobName}`, "glue:GetJobRuns", () =>
      client.send(new sdk.GetJobRunsCommand({ JobName, MaxResults: 200 })),
    );
    const report = run.Arguments?.[REPORT];
    const later = JobRuns.filter(
      (other) =>
        (other.PreviousRunId === run.Id || (report !== undefined && other.Arguments?.[REPORT] === report)) &&
        (other.Attempt ?? 0) > Attempt,
    );
    const [latest] = later.toSorted((a, b) => (b.Attempt ?? 0) - (a.Attempt ?? 0));
    if (latest !== undefined) return latest;
    // This machine's clock may be behind: nothing is waited for longer than that either.
    const seen = seenFailed.get(run.Id) ?? performance.now();
    seenFailed.set(run.Id, seen);
    const recent = Date.now() - (CompletedOn?.getTime() ?? 0) < RETRY_MS && performance.now() - seen < RETRY_MS;
    return recent ? "expected" : undefined;
  };

  /** The run itself, or the last of the attempts that came after it, under the id of the first. */
  const newestAttempt = async (id: string): Promise<NewestAttempt> => {
    const { job, run } = parse(id);
    const { JobRun: found } = await call(`asking for job run ${id}`, "glue:GetJobRun", () =>
      client.send(new sdk.GetJobRunCommand({ JobName: job, RunId: run })),
    );
    const info = found === undefined ? undefined : infoOf(found);
    if (found === undefined || info === undefined)
      throw new UserError("GLUE_PROTOCOL", `Glue told no state of ${id}`, { hint: "Ask again in a moment" });
    // Glue tries nothing again that has reached its time limit.
    const next = info.state === "FAILED" ? await attemptAfter({ ...found, JobName: job }) : undefined;
    if (next === undefined) return { run, info, isNextExpected: false };
    if (next === "expected") {
      return {
        run,
        info: { ...info, phase: "waiting", state: `${info.state}, to be tried again` },
        isNextExpected: true,
      };
    }
    const latest = await newestAttempt(`${job}:${next.Id}`);
    return {
      ...latest,
      info: { ...latest.info, id, reason: latest.info.reason ?? `its last attempt is ${latest.run}` },
    };
  };

  /** @returns why it can't be stopped. */
  const stop = (id: string, job: string, run: string): Promise<string | undefined> =>
    call(`stopping job run ${id}`, "glue:BatchStopJobRun", async () => {
      const answer = await client.send(new sdk.BatchStopJobRunCommand({ JobName: job, JobRunIds: [run] }));
      const [problem] = answer.Errors ?? [];
      return problem?.ErrorDetail === undefined ? undefined : (problem.ErrorDetail.ErrorMessage ?? "it says no reason");
    });

  return {
    title: "Glue",

    // Glue has nothing to look at beforehand: the job is made with the run.
    async check() {},

    async prepare(request) {
      const definition = await call("starting a job run", "glue:StartJobRun", async () =>
        glueJobDefinition(withRole(target), request, await client.config.region()),
      );
      const { name, report, mayHaveStarted = false } = request;
      const body: GlueRun = { name, report, mayHaveStarted, definition, arguments: glueRunArguments(request) };
      return { service: "glue", body };
    },

    async start({ body }) {
      const request = body as GlueRun;
      const { name } = request;
      const before = request.mayHaveStarted ? await startedBefore(request) : undefined;
      if (before !== undefined) return `${name}:${before}`;
      await call(`updating Glue job ${name}`, "glue:GetJob, glue:CreateJob and glue:UpdateJob", async () => {
        const job = await jobOf(name);
        if (job !== undefined) {
          // An update sets what it leaves out to its default: the job would be allowed one run at a time.
          const kept = job.ExecutionProperty === undefined ? {} : { ExecutionProperty: job.ExecutionProperty };
          const JobUpdate = { ...kept, ...request.definition };
          await client.send(new sdk.UpdateJobCommand({ JobName: name, JobUpdate }));
        } else {
          const Tags = { ...target.tags, "glue-connect": "job" };
          await client.send(new sdk.CreateJobCommand({ Name: name, ...request.definition, Tags }));
        }
      });
      const { JobRunId } = await call(`starting Glue job ${name}`, "glue:StartJobRun", () =>
        client.send(new sdk.StartJobRunCommand({ JobName: name, Arguments: request.arguments })),
      );
      if (JobRunId === undefined) {
        throw new UserError("GLUE_PROTOCOL", `Glue gave no id for the run of ${name}`, {
          hint: `\`glue-connect runs --target glue --name ${name}\` shows whether one was started`,
        });
      }
      return `${name}:${JobRunId}`;
    },

    async get(id) {
      return (await newestAttempt(id)).info;
    },

    async *list() {
      if (jobName === undefined) {
        throw new UserError("USAGE", "Glue lists the runs of one job at a time", {
          hint: "Add --name <name of the Glue job>, which is the --JOB_NAME that it was submitted with",
          exitCode: ExitCode.usage,
        });
      }
      let NextToken: string | undefined;
      do {
        const page = await call(`listing the runs of ${jobName}`, "glue:GetJobRuns", () =>
          client.send(
            new sdk.GetJobRunsCommand({ JobName: jobName, ...(NextToken === undefined ? {} : { NextToken }) }),
          ),
        );
        for (const run of page.JobRuns ?? []) {
          const info = infoOf(run);
          if (info !== undefined) yield info;
        }
        NextToken = page.NextToken;
      } while (NextToken !== undefined);
    },

    async cancel(id) {
      const { job } = parse(id);
      let newest = await newestAttempt(id);
      for (;;) {
        // What has failed can't be stopped, and Glue tries it again all the same: that attempt is stopped once it is there.
        while (newest.isNextExpected) {
          await sleep(RETRY_POLL_MS);
          newest = await newestAttempt(id);
        }
        const { run } = newest;
        const problem = await stop(id, job, run);
        if (problem === undefined) return;
        newest = await newestAttempt(id);
        if (newest.run !== run || newest.isNextExpected) continue;
        throw new UserError("GLUE_STOP_FAILED", `Glue can't stop ${id}: ${problem}`, {
          hint: `\`glue-connect status ${id}\` tells whether it goes on`,
        });
      }
    },

    async dashboard(id) {
      const { run } = await newestAttempt(id);
      return call(`fetching the Spark UI of job run ${id}`, "glue:GetDashboardUrl", async () => {
        return (await client.send(new sdk.GetDashboardUrlCommand({ ResourceId: run, ResourceType: "JOB" }))).Url;
      });
    },

    // Attempts are runs of their own, called after the first: its id is the beginning of all their streams' names.
    log(id, stream, attempt) {
      const { run: given } = parse(id);
      const run = attempt === 1 ? given : `${given.replace(/_attempt_\d+$/, "")}_attempt_${attempt - 1}`;
      const group = stream === "stdout" ? "/aws-glue/jobs/output" : "/aws-glue/jobs/error";
      return { command: `aws logs tail ${group} --log-stream-name-prefix ${run} --follow` };
    },
  };
}

/** The run that counts of those that Glue has made of one. */
interface NewestAttempt {
  readonly run: string;
  readonly info: RunInfo;
  /** It has failed, and Glue starts another. */
  readonly isNextExpected: boolean;
}

function parse(id: string): { job: string; run: string } {
  const colon = id.lastIndexOf(":");
  if (colon > 0 && colon < id.length - 1) return { job: id.slice(0, colon), run: id.slice(colon + 1) };
  throw new UserError("USAGE", `${JSON.stringify(id)} is no id of a Glue job run`, {
    hint: "Write <job>:<run>, as `submit` prints it",
    exitCode: ExitCode.usage,
  });
}

function infoOf(run: JobRun): RunInfo | undefined {
  const { Id, JobName, JobRunState, ErrorMessage, StartedOn, CompletedOn, Attempt, DPUSeconds } = run;
  if (Id === undefined || JobRunState === undefined) return undefined;
  return {
    id: `${JobName}:${Id}`,
    name: JobName,
    phase: PHASES[JobRunState],
    state: JobRunState,
    reason: ErrorMessage || undefined,
    created: StartedOn,
    ended: CompletedOn,
    // Glue counts from 0.
    attempt: Attempt === undefined ? undefined : Attempt + 1,
    billed: DPUSeconds === undefined ? undefined : `${(DPUSeconds / 3_600).toFixed(3)} DPU hours`,
  };
}
