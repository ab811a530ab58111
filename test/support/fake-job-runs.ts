import { randomBytes } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import type { Cluster, ClusterProcess } from "./cluster.js";

type Fields = Readonly<Record<string, unknown>>;

/** How job runs behave; may be changed while they run. */
export interface RunBehaviour {
  /** How long a job run takes, half of it waiting; it then ends in `runEnd`. */
  runMs: number;
  runEnd: "SUCCESS" | "FAILED";
  runDetails: string;
  /** Which attempt runs are at. */
  attempt: number;
  /** Runs of Glue jobs as GetJobRun and GetJobRuns tell them, instead of those that were started. */
  glueRuns: readonly Fields[];
  /** Runs of Glue jobs take `runMs`, too; else the emulator has them, with which they are over at once. */
  glueTakesTime: boolean;
  /** Where job runs really run; their end is then that of the process. */
  cluster: Cluster | undefined;
}

export const DEFAULT_RUN_BEHAVIOUR: RunBehaviour = {
  runMs: 300,
  runEnd: "SUCCESS",
  runDetails: "",
  attempt: 1,
  glueRuns: [],
  glueTakesTime: false,
  cluster: undefined,
};

/** A job run as the fake keeps it. */
export interface FakeRun {
  readonly service: "emr" | "glue";
  readonly id: string;
  readonly request: Fields;
  readonly created: number;
  readonly process: ClusterProcess | undefined;
  cancelled: number | undefined;
}

/** An error as the service answers with it. */
export class FakeError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

/** The job runs of an application of EMR Serverless and of Glue's jobs: states over time, or a process of a cluster. */
export function fakeJobRuns(
  behaviour: RunBehaviour,
  application: { readonly applicationId: string; readonly arn: string; readonly releaseLabel: string },
) {
  const runs = new Map<string, FakeRun>();
  /** Glue's jobs as they were made or brought up to date. */
  const jobs = new Map<string, Fields>();
  const { applicationId, arn } = application;

  const add = (service: FakeRun["service"], id: string, request: Fields, process: ClusterProcess | undefined) => {
    const run: FakeRun = { service, id, request, created: Date.now(), process, cancelled: undefined };
    runs.set(id, run);
    return run;
  };

  const emr = (operation: string, id: string, body: Fields): unknown => {
    const of = [...runs.values()].filter(({ service }) => service === "emr");
    if (operation === "ListJobRuns") return { jobRuns: of.reverse().map(summary) };
    if (operation === "StartJobRun") {
      const before = of.find(({ request }) => request.clientToken === body.clientToken);
      if (before !== undefined && !isDeepStrictEqual(before.request, body)) {
        const why = `Client token ${body.clientToken} was used with other parameters`;
        throw new FakeError("ConflictException", why, 409);
      }
      const jobRunId = before?.id ?? `00r${randomBytes(6).toString("hex")}`;
      if (before === undefined) add("emr", jobRunId, body, behaviour.cluster?.runEmr(applicationId, jobRunId, body));
      return { applicationId, jobRunId, arn: `${arn}/jobruns/${jobRunId}` };
    }
    const run = runs.get(id);
    if (run === undefined) throw new FakeError("ResourceNotFoundException", `Job run ${id} does not exist`, 404);
    if (operation === "GetDashboardForJobRun") {
      return { url: `https://p-${id}.emrappui-prod.us-east-1.amazonaws.com/?authToken=x` };
    }
    if (operation === "CancelJobRun") {
      if (!isGoing(run)) throw new FakeError("ValidationException", `Job run ${id} is in a terminal state`, 400);
      cancel(run);
      return { applicationId, jobRunId: id };
    }
    return {
      jobRun: {
        ...summary(run),
        jobRunId: id,
        jobDriver: run.request.jobDriver,
        configurationOverrides: run.request.configurationOverrides,
        billedResourceUtilization: { vCPUHour: 0.125, memoryGBHour: 0.5, storageGBHour: 0 },
      },
    };
  };

  /** @returns `undefined` for what the emulator can do. */
  const glue = (operation: string, body: Fields): unknown => {
    if (operation === "CreateJob") jobs.set(String(body.Name), body);
    // The emulator has no such operation.
    if (operation === "UpdateJob") {
      jobs.set(String(body.JobName), body.JobUpdate as Fields);
      return { JobName: body.JobName };
    }
    const { cluster, glueTakesTime } = behaviour;
    if (operation === "StartJobRun" && (cluster !== undefined || glueTakesTime)) {
      const name = String(body.JobName);
      const job = jobs.get(name);
      if (job === undefined) throw new FakeError("EntityNotFoundException", `Job ${name} not found`, 400);
      const id = `jr_${randomBytes(32).toString("hex")}`;
      add("glue", id, body, cluster?.runGlue(name, id, job, body.Arguments as Record<string, string>));
      return { JobRunId: id };
    }
    const told = behaviour.glueRuns.filter(({ JobName }) => JobName === body.JobName);
    if (operation === "GetJobRuns" && told.length > 0) return { JobRuns: told };
    const one = told.find(({ Id }) => Id === body.RunId);
    if (operation === "GetJobRun" && one !== undefined) return { JobRun: one };
    const [stopped] = (body.JobRunIds as string[] | undefined) ?? [];
    const run = runs.get(String(body.RunId ?? stopped));
    if (
      operation === "BatchStopJobRun" &&
      told.some(({ Id, JobRunState }) => Id === stopped && JobRunState === "RUNNING")
    ) {
      return { SuccessfulSubmissions: [{ JobName: body.JobName, JobRunId: stopped }], Errors: [] };
    }
    if (run === undefined) {
      // The emulator has no such operation either.
      if (operation !== "BatchStopJobRun") return undefined;
      const ErrorDetail = { ErrorCode: "JobRunNotInTerminalStateException", ErrorMessage: "is over" };
      return { SuccessfulSubmissions: [], Errors: [{ JobName: body.JobName, JobRunId: stopped, ErrorDetail }] };
    }
    if (operation === "BatchStopJobRun") {
      cancel(run);
      return { SuccessfulSubmissions: [{ JobName: body.JobName, JobRunId: run.id }], Errors: [] };
    }
    const JobRunState = GLUE_STATES[stateOf(run).state];
    return {
      JobRun: {
        Id: run.id,
        Attempt: 0,
        JobName: body.JobName,
        JobRunState,
        StartedOn: run.created / 1000,
        DPUSeconds: 60,
      },
    };
  };

  const cancel = (run: FakeRun) => {
    if (run.cancelled === undefined) run.process?.stop();
    run.cancelled ??= Date.now();
  };
  const isGoing = (run: FakeRun) => !/^(SUCCESS|FAILED|CANCELLED)$/.test(stateOf(run).state);
  const stateOf = ({ created, cancelled, process }: FakeRun): { state: string; stateDetails: string } => {
    if (process !== undefined) {
      const code = process.exitCode();
      if (code === undefined) return { state: cancelled === undefined ? "RUNNING" : "CANCELLING", stateDetails: "" };
      if (cancelled !== undefined) return { state: "CANCELLED", stateDetails: "" };
      if (code === 0) return { state: "SUCCESS", stateDetails: "" };
      return { state: "FAILED", stateDetails: `Job failed with exit code ${code}` };
    }
    const age = Date.now() - created;
    const { runMs, runEnd, runDetails } = behaviour;
    if (cancelled !== undefined) {
      return { state: Date.now() - cancelled < 700 ? "CANCELLING" : "CANCELLED", stateDetails: "" };
    }
    if (age < runMs / 2) return { state: age < runMs / 4 ? "SUBMITTED" : "PENDING", stateDetails: "" };
    return age < runMs ? { state: "RUNNING", stateDetails: "" } : { state: runEnd, stateDetails: runDetails };
  };
  const summary = (run: FakeRun) => ({
    applicationId,
    id: run.id,
    name: run.request.name,
    arn: `${arn}/jobruns/${run.id}`,
    createdBy: "arn:aws:iam::123456789012:user/test",
    createdAt: run.created / 1000,
    updatedAt: run.created / 1000,
    executionRole: run.request.executionRoleArn,
    releaseLabel: application.releaseLabel,
    attempt: behaviour.attempt,
    ...stateOf(run),
  });

  return {
    runs: runs as ReadonlyMap<string, FakeRun>,
    emr,
    glue,
    async stop() {
      for (const { process } of runs.values()) process?.stop();
      await Promise.all([...runs.values()].map(({ process }) => process?.ended));
    },
  };
}

const GLUE_STATES: Readonly<Record<string, string>> = {
  SUBMITTED: "STARTING",
  PENDING: "STARTING",
  RUNNING: "RUNNING",
  CANCELLING: "STOPPING",
  CANCELLED: "STOPPED",
  SUCCESS: "SUCCEEDED",
  FAILED: "FAILED",
};
