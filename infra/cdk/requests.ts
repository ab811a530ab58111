import type { Settings } from "../../lib/glue/config/schema.js";
import { emrJobRunRequest } from "../../lib/targets/runs/emr-request.js";
import { glueJobDefinition, glueRunArguments } from "../../lib/targets/runs/glue-request.js";
import type { RunRequest } from "../../lib/targets/runs/service.js";
import type { ChainRun } from "./chains.js";
import { commandLine, type InfraJob } from "./infrastructure.js";
import { array, type Item, runToken, withProperties } from "./intrinsics.js";
import type { RunTask } from "./state-machine.js";

/** Where runs take place; texts that CloudFormation puts in. */
export interface Places {
  readonly settings: Settings;
  readonly region: string;
  readonly applicationId: string;
  /** Folders, with a slash at the end. */
  readonly artifacts: string;
  readonly logs: string;
  readonly logGroup: string;
  roleOf(job: InfraJob): string;
  /** Arguments as the stack has them. */
  argumentsOf(job: InfraJob, call: Readonly<Record<string, string>>): Readonly<Record<string, string>>;
}

/** One way in which a job is started. */
export interface Call {
  readonly job: InfraJob;
  readonly arguments: Readonly<Record<string, string>>;
  /** Minutes. */
  readonly timeout: number;
  readonly notifyDelayAfter: number | undefined;
}

/** What EventBridge Scheduler puts into the place of this: the same for every try of one firing. */
const EXECUTION_ID = "<aws.scheduler.execution-id>";
/** A state machine stops a run that is out of its time, and knows it then; the service's own limit is for a machine that was stopped. */
const SPARE_MINUTES = 5;

export function callOf(job: InfraJob, { action }: ChainRun): Call {
  return {
    job,
    arguments: { ...job.entry.arguments, ...action.arguments },
    timeout: action.timeout ?? job.entry.timeout,
    notifyDelayAfter: action.notifyDelayAfter ?? job.entry.notifyDelayAfter,
  };
}

/** The input of a schedule whose target is StartJobRun of EMR Serverless. */
export function scheduleInput(call: Call, places: Places): object {
  const argv = commandLine(call.job.name, places.argumentsOf(call.job, call.arguments));
  return pascalCased(emrRequest(call, places, { token: EXECUTION_ID, argv, timeout: call.timeout }));
}

/** How a state machine runs a job on EMR Serverless. */
export function emrTask(run: ChainRun, call: Call, places: Places, workflow: string | undefined): RunTask {
  const request = emrRequest(call, places, { token: "", argv: [], timeout: call.timeout + SPARE_MINUTES });
  // BATCH is what runs are when nothing is said, and an old integration may not know the word.
  const { clientToken: _token, mode: _mode, ...rest } = request;
  const { JobDriver: driver, ...parameters } = pascalCased(rest) as {
    JobDriver: { SparkSubmit: { EntryPoint: string; EntryPointArguments: readonly string[] } };
  };
  const { EntryPoint, EntryPointArguments } = driver.SparkSubmit;
  const own = commandLine(call.job.name, places.argumentsOf(call.job, call.arguments)).map(withProperties);
  const items: Item[] = [...EntryPointArguments, ...own, ...workflowArguments(workflow)];
  const known = items.every((item) => typeof item === "string");
  return {
    resource: "arn:aws:states:::emr-serverless:startJobRun.sync",
    parameters: {
      ...parameters,
      "ClientToken.$": runToken(run.id),
      JobDriver: {
        SparkSubmit: {
          EntryPoint,
          ...(known ? { EntryPointArguments: items } : { "EntryPointArguments.$": array(items) }),
        },
      },
    },
    timeoutSeconds: call.timeout * 60,
    retryable: [
      "EMRServerless.ThrottlingException",
      "EMRServerless.InternalServerException",
      "EMRServerless.SdkClientException",
    ],
    causes: { STOPPED: '*"State":*"CANCELLED"*' },
  };
}

/** How a state machine runs a Glue job, which is made by the same stack. */
export function glueTask(call: Call, places: Places, workflow: string | undefined): RunTask {
  const argv = commandLine(call.job.name, places.argumentsOf(call.job, call.arguments));
  const given = Object.entries(glueRunArguments({ argv, report: `${places.artifacts}reports/` })).map(
    ([name, value]): [string, Item] => [name, withProperties(value)],
  );
  const own = workflowArguments(workflow);
  for (let index = 0; index < own.length; index += 2) given.push([String(own[index]), own[index + 1] ?? ""]);
  return {
    resource: "arn:aws:states:::glue:startJobRun.sync",
    parameters: {
      JobName: call.job.name,
      Arguments: Object.fromEntries(
        given.map(([name, value]) => (typeof value === "string" ? [name, value] : [`${name}.$`, value.expression])),
      ),
      Timeout: call.timeout + SPARE_MINUTES,
      ...(call.notifyDelayAfter === undefined
        ? {}
        : { NotificationProperty: { NotifyDelayAfter: call.notifyDelayAfter } }),
    },
    timeoutSeconds: call.timeout * 60,
    // Glue has no client token: a request that may have been heard isn't sent again.
    retryable: ["Glue.ThrottlingException", "Glue.ConcurrentRunsExceededException"],
    causes: { STOPPED: '*"JobRunState":*"STOPPED"*', TIMEOUT: '*"JobRunState":*"TIMEOUT"*' },
  };
}

/** The Glue job that a stack makes. */
export function glueJob(job: InfraJob, places: Places) {
  const { settings, artifacts } = places;
  const { role: _role, ...target } = settings.glue ?? {};
  const call: Call = { job, arguments: job.entry.arguments, timeout: job.entry.timeout, notifyDelayAfter: undefined };
  const definition = glueJobDefinition(
    {
      ...target,
      role: places.roleOf(job),
      packages: job.job.needs ?? [],
      artifacts,
      timeoutMinutes: job.entry.timeout,
      attempts: job.entry.maxRetries + 1,
    },
    runRequest(call, places, { token: "", argv: [] }),
    places.region,
  );
  const argv = commandLine(job.name, places.argumentsOf(job, job.entry.arguments));
  const { "--glue_connect_report": _report, ...own } = glueRunArguments({ argv, report: "" });
  return { ...definition, DefaultArguments: { ...definition.DefaultArguments, ...own } };
}

/** The arguments of an action of one of Glue's own triggers: those of the job are its defaults. */
export function glueActionArguments(job: InfraJob, { action }: ChainRun, places: Places): Record<string, string> {
  const argv = commandLine(job.name, places.argumentsOf(job, action.arguments));
  const { "--glue_connect_report": _report, ...own } = glueRunArguments({ argv, report: "" });
  return own;
}

function emrRequest(
  call: Call,
  places: Places,
  { timeout, ...more }: { readonly token: string; readonly argv: readonly string[]; readonly timeout: number },
) {
  const { job } = call;
  const { applicationId: _id, role: _role, ...target } = places.settings.emr ?? {};
  return emrJobRunRequest(
    {
      ...target,
      applicationId: places.applicationId,
      role: places.roleOf(job),
      packages: job.job.needs ?? [],
      logs: places.logs,
      logGroup: places.logGroup,
      timeoutMinutes: timeout,
      attempts: Math.min(job.entry.maxRetries + 1, 10),
    },
    runRequest(call, places, more),
    places.region,
  );
}

function runRequest(
  { job }: Call,
  { artifacts }: Places,
  more: { readonly token: string; readonly argv: readonly string[] },
): RunRequest {
  const { launcher, bundle, node, jars } = job.artifacts;
  const uri = ({ key }: { readonly key: string }) => `${artifacts}${key}`;
  return {
    ...more,
    name: job.name,
    launcher: uri(launcher),
    bundle: uri(bundle),
    node: uri(node),
    jars: jars.map(uri),
    // A folder: each report is named by its run.
    report: `${artifacts}reports/`,
  };
}

function workflowArguments(workflow: string | undefined): Item[] {
  if (workflow === undefined) return [];
  return ["--WORKFLOW_NAME", workflow, "--WORKFLOW_RUN_ID", { expression: "$$.Execution.Name" }];
}

/** What the keys of a request lead to that has keys of the user's. */
const MAPS = new Set(["properties", "tags"]);

/** A request in the spelling of Step Functions and EventBridge Scheduler: every key begins with a capital letter. */
function pascalCased(value: unknown): object {
  return Object.fromEntries(
    Object.entries(value as Record<string, unknown>)
      .filter(([, item]) => item !== undefined)
      .map(([key, item]) => [key.charAt(0).toUpperCase() + key.slice(1), MAPS.has(key) ? item : inside(item)]),
  );
}

function inside(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(inside);
  return typeof value === "object" && value !== null ? pascalCased(value) : value;
}
