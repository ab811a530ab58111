import { Aws } from "aws-cdk-lib";
import { PolicyStatement, Role, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import type { Construct } from "constructs";
import { hasProperties } from "../../lib/glue/schedule/run-properties.js";
import { accessOfArguments, accessStatements, joinAccess } from "./access.js";
import { arnOf } from "./application.js";
import type { InfraJob } from "./infrastructure.js";
import { pascal } from "./parameters.js";

/** What a job's role is made with. */
export interface JobRoleOptions {
  /** ARN of the application, for jobs that run there. */
  readonly applicationArn: string;
  readonly logGroup: string;
  /** ARN of the bucket and key of the folder, with a slash at the end where there is one. */
  readonly artifacts: Location;
  readonly logs: Location;
  argumentsOf(job: InfraJob, call: Readonly<Record<string, string>>): Readonly<Record<string, string>>;
}

export interface Location {
  readonly bucketArn: string;
  readonly prefix: string;
}

/** The role that a job runs as. It may do what the job's arguments name, and what `infra.access` says beside that. */
export function jobRole(scope: Construct, job: InfraJob, options: JobRoleOptions): Role {
  const { artifacts, logs, logGroup, applicationArn } = options;
  const onEmr = job.place === "emr";
  const role = new Role(scope, `${pascal(job.name)}Role`, {
    description: `Runs job ${job.name}`.slice(0, 1000),
    // Nobody else's application may take it.
    assumedBy: new ServicePrincipal(onEmr ? "emr-serverless.amazonaws.com" : "glue.amazonaws.com", {
      conditions: {
        StringEquals: { "aws:SourceAccount": Aws.ACCOUNT_ID },
        ...(onEmr ? { ArnLike: { "aws:SourceArn": `${applicationArn}*` } } : {}),
      },
    }),
  });
  const allow = (actions: readonly string[], resources: readonly string[], conditions?: object) =>
    role.addToPolicy(
      new PolicyStatement({
        actions: [...actions],
        resources: [...resources],
        ...(conditions === undefined ? {} : { conditions: { ...conditions } }),
      }),
    );
  const { launcher, bundle, node, jars } = job.artifacts;
  const keys = [launcher, bundle, node, ...jars].map(({ key }) => `${artifacts.prefix}${key}`);
  allow(
    ["s3:GetObject"],
    keys.map((key) => `${artifacts.bucketArn}/${key}`),
  );
  const reports = `${artifacts.prefix}reports/`;
  allow(["s3:PutObject", "s3:GetObject"], [`${artifacts.bucketArn}/${reports}*`]);
  const temporary = onEmr ? [] : [`${artifacts.prefix}temp/`];
  if (temporary.length > 0) {
    allow(
      ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
      temporary.map((key) => `${artifacts.bucketArn}/${key}*`),
    );
  }
  // File systems look whether a folder is there.
  allow(["s3:ListBucket"], [artifacts.bucketArn], {
    StringLike: { "s3:prefix": [...keys, reports, ...temporary].map((key) => `${key}*`) },
  });
  if (onEmr) {
    allow(["s3:PutObject", "s3:GetObject"], [`${logs.bucketArn}/${logs.prefix}*`]);
    allow(["s3:ListBucket"], [logs.bucketArn]);
    const group = arnOf("logs", `log-group:${logGroup}`);
    allow(["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"], [`${group}:*`]);
    allow(["logs:DescribeLogGroups"], [arnOf("logs", "log-group:*")]);
  } else {
    const groups = ["output", "error", "logs-v2"].map((name) => arnOf("logs", `log-group:/aws-glue/jobs/${name}:*`));
    allow(["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"], groups);
    allow(["cloudwatch:PutMetricData"], ["*"], { StringEquals: { "cloudwatch:namespace": ["Glue", "AWS/Glue"] } });
  }
  // What a property of the run will be isn't known here: `infra.access` says it.
  const accesses = job.calls.map((call) => {
    const fixed = Object.fromEntries(Object.entries(call).filter(([, value]) => !hasProperties(value)));
    return accessOfArguments(job.job, options.argumentsOf(job, fixed));
  });
  for (const statement of accessStatements(joinAccess([...accesses, job.access]))) role.addToPolicy(statement);
  return role;
}
