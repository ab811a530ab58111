import type { JobRunState, JobRunSummary, StartJobRunRequest } from "@aws-sdk/client-emr-serverless";
import { UserError } from "../../errors.js";
import { applicationProblems } from "../aws/emr-application.js";
import { createEmrClient, emrFailure } from "../aws/emr-client.js";
import { type RoleOptional, withRole } from "../aws/settings.js";
import { type EmrRunTarget, emrJobRunRequest } from "./emr-request.js";
import type { RunInfo, RunService } from "./service.js";

const PHASES: Readonly<Record<JobRunState, RunInfo["phase"]>> = {
  SUBMITTED: "waiting",
  QUEUED: "waiting",
  PENDING: "waiting",
  SCHEDULED: "waiting",
  RUNNING: "running",
  CANCELLING: "cancelling",
  SUCCESS: "succeeded",
  FAILED: "failed",
  CANCELLED: "cancelled",
};

/** Job runs of an EMR Serverless application. */
export async function createEmrRuns(target: RoleOptional<EmrRunTarget>): Promise<RunService> {
  const sdk = await import("@aws-sdk/client-emr-serverless");
  const client = await createEmrClient(target.aws);
  const { applicationId, logs } = target;
  const call = async <T>(doing: string, permission: string, work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      throw emrFailure(error, { doing, permission, target });
    }
  };

  return {
    title: "EMR Serverless",

    async check() {
      const problems = await applicationProblems(client, target, "job runs", target.architecture ?? "x86_64");
      if (problems !== undefined) throw problems;
    },

    async prepare(request) {
      const body = await call("starting a job run", "emr-serverless:StartJobRun", async () =>
        emrJobRunRequest(withRole(target), request, await client.config.region()),
      );
      return { service: "emr", body };
    },

    async start({ body }) {
      const { jobRunId } = await call("starting a job run", "emr-serverless:StartJobRun", () =>
        client.send(new sdk.StartJobRunCommand(body as StartJobRunRequest)),
      );
      if (jobRunId === undefined) {
        throw new UserError("EMR_PROTOCOL", "EMR Serverless gave no id for the job run", {
          hint: "`glue-connect runs` shows whether one was started",
        });
      }
      return jobRunId;
    },

    async get(id) {
      const { jobRun } = await call(`asking for job run ${id}`, "emr-serverless:GetJobRun", () =>
        client.send(new sdk.GetJobRunCommand({ applicationId, jobRunId: id })),
      );
      if (jobRun?.state === undefined) {
        throw new UserError("EMR_PROTOCOL", `EMR Serverless told no state of ${id}`, { hint: "Ask again in a moment" });
      }
      const billed = jobRun.billedResourceUtilization;
      return {
        id,
        name: jobRun.name,
        phase: PHASES[jobRun.state],
        state: jobRun.state,
        reason: jobRun.stateDetails || undefined,
        created: jobRun.createdAt,
        ended: jobRun.endedAt,
        attempt: jobRun.attempt,
        billed:
          billed?.vCPUHour === undefined
            ? undefined
            : `${billed.vCPUHour.toFixed(3)} vCPU hours, ${(billed.memoryGBHour ?? 0).toFixed(3)} GB hours`,
      };
    },

    async *list() {
      let nextToken: string | undefined;
      do {
        const page = await call("listing the job runs", "emr-serverless:ListJobRuns", () =>
          client.send(
            new sdk.ListJobRunsCommand({
              applicationId,
              maxResults: 50,
              ...(nextToken === undefined ? {} : { nextToken }),
            }),
          ),
        );
        for (const run of page.jobRuns ?? []) {
          const info = summaryOf(run);
          if (info !== undefined) yield info;
        }
        nextToken = page.nextToken;
      } while (nextToken !== undefined);
    },

    async cancel(id) {
      await call(`cancelling job run ${id}`, "emr-serverless:CancelJobRun", () =>
        // The launcher lets the job stop Spark and roll back.
        client.send(new sdk.CancelJobRunCommand({ applicationId, jobRunId: id, shutdownGracePeriodInSeconds: 60 })),
      );
    },

    async dashboard(id) {
      return call(`fetching the Spark UI of job run ${id}`, "emr-serverless:GetDashboardForJobRun", async () => {
        return (await client.send(new sdk.GetDashboardForJobRunCommand({ applicationId, jobRunId: id }))).url;
      });
    },

    log(id, stream, attempt) {
      if (logs === undefined) {
        const command = `aws emr-serverless get-dashboard-for-job-run --application-id ${applicationId} --job-run-id ${id}`;
        return { command };
      }
      const job = `${logs}applications/${applicationId}/jobs/${id}`;
      const file = `SPARK_DRIVER/${stream}.gz`;
      // Attempts have folders of their own where a run may be tried more than once.
      return { uris: [`${job}/attempts/${attempt}/${file}`, ...(attempt === 1 ? [`${job}/${file}`] : [])] };
    },
  };
}

function summaryOf({ id, name, state, stateDetails, createdAt, attempt }: JobRunSummary): RunInfo | undefined {
  if (id === undefined || state === undefined) return undefined;
  const unknown = { ended: undefined, billed: undefined };
  const reason = stateDetails || undefined;
  return { id, name, phase: PHASES[state], state, reason, created: createdAt, attempt, ...unknown };
}
