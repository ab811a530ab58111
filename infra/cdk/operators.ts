import type { PolicyStatement } from "aws-cdk-lib/aws-iam";
import { FILES } from "../../lib/targets/runs/artifacts.js";
import { SESSION_PREFIX } from "../../lib/targets/sessions/service.js";
import { arnOf, passRoles } from "./application.js";
import { allow, type Location, prefixes } from "./job-role.js";

/** What those who start runs and sessions work with. */
export interface OperatorOptions {
  /** ARNs of the roles that they may start something as. */
  readonly roles: readonly string[];
  readonly artifacts: Location;
  readonly logs: Location;
}

/**
 * What a person needs for sessions (`run --target emr`) and job runs (`submit --target emr`) on one application. Whoever has an
 * endpoint's token runs code as the session's role, so it is for sessions of this application only.
 */
export function emrOperatorStatements(applicationArn: string, options: OperatorOptions): PolicyStatement[] {
  const { roles, logs } = options;
  const on = (resource: string, ...actions: readonly string[]) =>
    allow(
      actions.map((action) => `emr-serverless:${action}`),
      [resource],
    );
  return [
    on(applicationArn, "GetApplication", "StartSession", "ListSessions", "StartJobRun", "ListJobRuns"),
    on(
      `${applicationArn}/sessions/*`,
      "GetSession",
      "GetSessionEndpoint",
      "TerminateSession",
      "GetResourceDashboard",
      "TagResource",
    ),
    on(`${applicationArn}/jobruns/*`, "GetJobRun", "CancelJobRun", "GetDashboardForJobRun", "TagResource"),
    ...(roles.length === 0 ? [] : [passRoles(roles, "emr-serverless.amazonaws.com")]),
    ...artifactStatements(options),
    allow(["s3:GetObject"], [`${logs.bucketArn}/${logs.prefix}*`]),
    allow(["s3:ListBucket"], [logs.bucketArn], prefixes([logs.prefix])),
  ];
}

/**
 * The same on Glue: sessions by the beginning of their ids, which are ours to choose, and jobs by their names.
 *
 * @param jobs names of the Glue jobs, which are the `--JOB_NAME`s of `submit`.
 */
export function glueOperatorStatements(jobs: readonly string[], options: OperatorOptions): PolicyStatement[] {
  const on = (resources: readonly string[], ...actions: readonly string[]) =>
    allow(
      actions.map((action) => `glue:${action}`),
      resources,
    );
  const sessions = [arnOf("glue", `session/${SESSION_PREFIX}-*`)];
  const named = jobs.map((name) => arnOf("glue", `job/${name}`));
  return [
    on(sessions, "CreateSession", "TagResource", "GetSession", "GetSessionEndpoint", "StopSession", "GetDashboardUrl"),
    // It has no resources, and tells names and states alone.
    on(["*"], "ListSessions"),
    on(
      named,
      ...["GetJob", "CreateJob", "UpdateJob", "TagResource"],
      ...["StartJobRun", "GetJobRun", "GetJobRuns", "BatchStopJobRun", "GetDashboardUrl"],
    ),
    passRoles(options.roles, "glue.amazonaws.com"),
    ...artifactStatements(options),
    allow(
      ["logs:FilterLogEvents", "logs:DescribeLogStreams"],
      ["output", "error"].map((name) => arnOf("logs", `log-group:/aws-glue/jobs/${name}:*`)),
    ),
  ];
}

/** To upload what runs are started with, and to read their reports. */
function artifactStatements({ artifacts: { bucketArn, prefix } }: OperatorOptions): PolicyStatement[] {
  return [
    allow(["s3:GetObject", "s3:PutObject"], [`${bucketArn}/${prefix}${FILES}*`]),
    allow(["s3:GetObject"], [`${bucketArn}/${prefix}reports/*`]),
    allow(["s3:ListBucket"], [bucketArn], prefixes([`${prefix}${FILES}`, `${prefix}reports/`])),
  ];
}
