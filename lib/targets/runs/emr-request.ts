import type { StartJobRunRequest } from "@aws-sdk/client-emr-serverless";
import { LONGEST_PROPERTY, sparkDefaults } from "../aws/emr-properties.js";
import { emrConf } from "../aws/packages.js";
import { type EmrTarget, workerConf } from "../aws/settings.js";
import { launcherArguments, type RunRequest } from "./service.js";

/** What a job run has that a session has not. */
export interface EmrRunTarget extends EmrTarget {
  /** Folder on S3 for the logs; default: EMR's own storage, which only its console shows. */
  readonly logs?: string | undefined;
  /** Log group of CloudWatch for the logs of driver and executors, beside `logs`. */
  readonly logGroup?: string | undefined;
  /** Minutes after which the run is stopped; 0 is never. */
  readonly timeoutMinutes?: number | undefined;
  /** How often the run may be tried. */
  readonly attempts?: number | undefined;
  /** Of the Node that is brought along; the application's must be the same. */
  readonly architecture?: "x86_64" | "arm64" | undefined;
}

const MANY_JARS = 5;

/**
 * The StartJobRun request of a job run; a pure function, so that what starts runs without us (EventBridge Scheduler, Step
 * Functions) can be given the same one.
 *
 * @param request its token becomes the client token: a scheduler puts in its own, such as `<aws.scheduler.execution-id>`. For
 *   a request that starts many runs the report is a folder.
 * @param region of the job's AWS clients.
 * @throws UserError `EMR_SETTINGS_TOO_LONG`.
 * @example
 * const { clientToken, ...rest } = emrJobRunRequest({ ...settings.emr, applicationId, role, packages }, request, "eu-central-1");
 */
export function emrJobRunRequest(
  target: Omit<EmrRunTarget, "aws">,
  request: RunRequest,
  region: string,
): StartJobRunRequest {
  const { applicationId, role, attempts, timeoutMinutes } = target;
  const jars = [...request.jars, ...(target.jars ?? [])];
  const { "spark.jars": allJars = "", ...conf } = emrConf(target.packages, jars, {
    ...workerConf(target),
    ...target.sparkConf,
  });
  // CloudFormation may put longer names of buckets in than can be seen here.
  const many = allJars.length > LONGEST_PROPERTY || allJars.split(",").length > MANY_JARS;
  const monitoring = monitoringOf(target, request.name);
  return {
    applicationId,
    executionRoleArn: role,
    clientToken: request.token,
    name: request.name,
    mode: "BATCH",
    jobDriver: {
      sparkSubmit: {
        entryPoint: request.launcher,
        entryPointArguments: launcherArguments(request, region),
        ...(many ? { sparkSubmitParameters: `--jars ${allJars}` } : {}),
      },
    },
    configurationOverrides: {
      applicationConfiguration: sparkDefaults(
        { ...conf, ...(many || allJars === "" ? {} : { "spark.jars": allJars }) },
        "job runs",
      ),
      ...(monitoring === undefined ? {} : { monitoringConfiguration: monitoring }),
    },
    tags: { ...target.tags, "glue-connect": request.name.slice(0, 256) },
    ...(timeoutMinutes === undefined ? {} : { executionTimeoutMinutes: timeoutMinutes }),
    ...(attempts === undefined || attempts === 1 ? {} : { retryPolicy: { maxAttempts: attempts } }),
  };
}

type Monitoring = NonNullable<StartJobRunRequest["configurationOverrides"]>["monitoringConfiguration"];

function monitoringOf(
  { logs, logGroup }: Pick<EmrRunTarget, "logs" | "logGroup">,
  name: string,
): Monitoring | undefined {
  if (logs === undefined && logGroup === undefined) return undefined;
  return {
    ...(logs === undefined ? {} : { s3MonitoringConfiguration: { logUri: logs } }),
    ...(logGroup === undefined
      ? {}
      : { cloudWatchLoggingConfiguration: { enabled: true, logGroupName: logGroup, logStreamNamePrefix: name } }),
  };
}
