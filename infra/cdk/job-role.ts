import { Aws } from "aws-cdk-lib";
import { PolicyStatement, Role, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import type { Construct } from "constructs";
import type { CloudPlace } from "../../lib/cli/aws-targets.js";
import { hasProperties } from "../../lib/glue/schedule/run-properties.js";
import { FILES } from "../../lib/targets/runs/artifacts.js";
import { accessOfArguments, accessStatements, joinAccess } from "./access.js";
import { arnOf } from "./application.js";
import type { InfraJob } from "./infrastructure.js";
import { pascal } from "./parameters.js";

/** What every job's role needs of its service. */
export interface RuntimeOptions {
  /** ARN of the application, for jobs that run there. */
  readonly applicationArn: string;
  /** Group of CloudWatch that the application logs to, beside `logs`. */
  readonly logGroup?: string | undefined;
  /** ARN of the bucket and key of the folder, with a slash at the end where there is one. */
  readonly artifacts: Location;
  readonly logs: Location;
  /** Names of Glue connections, for jobs of Glue: the way into a VPC. */
  readonly connections?: readonly string[] | undefined;
}

/** What a job's role is made with. */
export interface JobRoleOptions extends RuntimeOptions {
  argumentsOf(job: InfraJob, call: Readonly<Record<string, string>>): Readonly<Record<string, string>>;
}

export interface Location {
  readonly bucketArn: string;
  readonly prefix: string;
}

/** Groups that Glue's jobs and sessions log to. */
const GLUE_LOGS = ["jobs/output", "jobs/error", "jobs/logs-v2", "sessions/output", "sessions/error"];
/** Glue looks around before it puts a network interface into a subnet. */
const EC2_LOOKS = ["VpcEndpoints", "RouteTables", "NetworkInterfaces", "SecurityGroups", "Subnets", "VpcAttribute"];

/**
 * The role that a job runs as. It may do what the job's arguments name, and what `infra.access` says beside that. The README shows the
 * same for those who make their roles by hand, and a test holds it to this.
 */
export function jobRole(scope: Construct, job: InfraJob, options: JobRoleOptions): Role {
  const { applicationArn } = options;
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
  // What a property of the run will be isn't known here: `infra.access` says it.
  const accesses = job.calls.map((call) => {
    const fixed = Object.fromEntries(Object.entries(call).filter(([, value]) => !hasProperties(value)));
    return accessOfArguments(job.job, options.argumentsOf(job, fixed));
  });
  const statements = [
    ...runtimeStatements(job.place, options),
    ...accessStatements(joinAccess([...accesses, job.access])),
  ];
  for (const statement of statements) role.addToPolicy(statement);
  return role;
}

/** What a run or a session needs to come up, whatever its job does: what it is started with, its report, its logs, its network. */
export function runtimeStatements(place: CloudPlace, options: RuntimeOptions): PolicyStatement[] {
  const { artifacts, logs } = options;
  const folder = (name: string) => `${artifacts.prefix}${name}`;
  const objects = (name: string) => `${artifacts.bucketArn}/${folder(name)}*`;
  const onEmr = place === "emr";
  const temporary = onEmr ? [] : ["temp/"];
  return [
    allow(["s3:GetObject"], [objects(FILES)]),
    allow(["s3:GetObject", "s3:PutObject"], [objects("reports/")]),
    ...temporary.map((name) => allow(["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], [objects(name)])),
    // File systems look whether a folder is there; and who may not list is told 403 of an object that isn't.
    allow(["s3:ListBucket"], [artifacts.bucketArn], prefixes([FILES, "reports/", ...temporary].map(folder))),
    ...(onEmr ? emrLogStatements(logs, options.logGroup) : glueStatements(options.connections ?? [])),
  ];
}

function emrLogStatements(logs: Location, logGroup: string | undefined): PolicyStatement[] {
  const group = arnOf("logs", `log-group:${logGroup}`);
  return [
    allow(["s3:GetObject", "s3:PutObject"], [`${logs.bucketArn}/${logs.prefix}*`]),
    allow(["s3:ListBucket"], [logs.bucketArn], prefixes([logs.prefix])),
    ...(logGroup === undefined
      ? []
      : [
          allow(["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"], [`${group}:*`]),
          allow(["logs:DescribeLogGroups"], [arnOf("logs", "log-group:*")]),
        ]),
  ];
}

function glueStatements(connections: readonly string[]): PolicyStatement[] {
  const groups = GLUE_LOGS.map((name) => arnOf("logs", `log-group:/aws-glue/${name}:*`));
  const statements = [
    allow(["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"], groups),
    allow(["cloudwatch:PutMetricData"], ["*"], {
      StringEquals: { "cloudwatch:namespace": ["Glue", "AWS/Glue"] },
    }),
  ];
  if (connections.length === 0) return statements;
  // The workers' network interfaces are made in the role's name.
  const network = (...kinds: readonly string[]) => kinds.map((kind) => arnOf("ec2", `${kind}/*`));
  return [
    ...statements,
    allow(
      ["glue:GetConnection"],
      [arnOf("glue", "catalog"), ...connections.map((name) => arnOf("glue", `connection/${name}`))],
    ),
    allow(
      EC2_LOOKS.map((what) => `ec2:Describe${what}`),
      ["*"],
    ),
    allow(["ec2:CreateNetworkInterface"], network("network-interface", "subnet", "security-group")),
    allow(["ec2:DeleteNetworkInterface"], network("network-interface")),
    allow(["ec2:CreateTags", "ec2:DeleteTags"], network("network-interface"), {
      "ForAllValues:StringEquals": { "aws:TagKeys": ["aws-glue-service-resource"] },
    }),
  ];
}

/** Only these folders of a bucket. */
export function prefixes(folders: readonly string[]): object {
  return { StringLike: { "s3:prefix": folders.map((folder) => `${folder}*`) } };
}

/** One statement; without conditions where there are none. */
export function allow(actions: readonly string[], resources: readonly string[], conditions?: object): PolicyStatement {
  return new PolicyStatement({
    actions: [...actions],
    resources: [...resources],
    ...(conditions === undefined ? {} : { conditions: { ...conditions } }),
  });
}
