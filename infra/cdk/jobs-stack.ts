import { Aws, CfnOutput, CfnParameter, Duration, Fn, Stack, type StackProps } from "aws-cdk-lib";
import { ManagedPolicy, type Role } from "aws-cdk-lib/aws-iam";
import { Queue, QueueEncryption } from "aws-cdk-lib/aws-sqs";
import type { Construct } from "constructs";
import type { CloudPlace } from "../../lib/cli/aws-targets.js";
import { Alarms } from "./alarms.js";
import { EmrApplication } from "./application.js";
import { DATA_EXPORTS } from "./data-stack.js";
import { type InfraJob, type Infrastructure, kindOf } from "./infrastructure.js";
import { jobRole, type Location } from "./job-role.js";
import { NativeGlue } from "./native-glue.js";
import { emrOperatorStatements, glueOperatorStatements } from "./operators.js";
import { StackArguments } from "./parameters.js";
import type { Places } from "./requests.js";
import { Starts } from "./starts.js";

/**
 * What runs the jobs: the application, a role a job, schedules, state machines, rules, alarms. It can be deleted and made anew
 * without a loss.
 */
export class JobsStack extends Stack {
  constructor(scope: Construct, id: string, infrastructure: Infrastructure, props: StackProps = {}) {
    super(scope, id, props);
    const { settings, infra, jobs, chains } = infrastructure;
    const parent = new CfnParameter(this, "ParentStackName", {
      type: "String",
      default: `${infra.name}-data`,
      description: "The stack with the buckets (PARENT_STACK_NAME of the setup scripts for Keyspaces)",
      allowedPattern: "^[A-Za-z][A-Za-z0-9-]{0,127}$",
    });
    const imported = (name: string) => Fn.importValue(Fn.sub(`\${${parent.logicalId}}-${name}`));
    const artifacts = place(settings.artifacts, () => imported(DATA_EXPORTS.artifacts));
    const logs = place(settings.logs, () => imported(DATA_EXPORTS.logs));
    if (settings.artifacts !== undefined && settings.logs !== undefined) this.node.tryRemoveChild(parent.node.id);

    const given = new StackArguments(this, jobs.values(), () => exportStack(this, infra.name));
    const application = new EmrApplication(this, "Emr", infrastructure, logs.uri);
    const roles = new Map<string, Role>();
    const argumentsOf = (job: InfraJob, call: Readonly<Record<string, string>>) => given.of(job, call);
    for (const [name, job] of jobs) {
      const options = {
        applicationArn: application.arn,
        logGroup: application.logGroup,
        artifacts,
        logs,
        connections: settings.glue?.connections,
        argumentsOf,
      };
      roles.set(name, jobRole(this, job, options));
    }
    const roleOf = ({ name }: InfraJob) => (roles.get(name) as Role).roleArn;
    const places: Places = {
      settings,
      region: Aws.REGION,
      applicationId: application.id,
      artifacts: artifacts.uri,
      logs: logs.uri,
      logGroup: application.logGroup,
      roleOf,
      argumentsOf,
    };

    const deadLetters = new Queue(this, "DeadLetters", {
      encryption: QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
      retentionPeriod: Duration.days(14),
    });
    const native = new NativeGlue(this, infrastructure, places);
    const starts = new Starts(this, { infrastructure, places, application, deadLetters });
    for (const chain of chains) {
      const kind = kindOf(chain, jobs);
      if (kind === "glue") native.add(chain);
      else if (kind === "schedule") starts.schedule(chain);
      else starts.stateMachine(chain, native);
    }
    starts.end();
    new Alarms(this, { infrastructure, application, deadLetters, machines: starts.machines });

    const on = (where: CloudPlace) => [...jobs.values()].filter((job) => job.place === where);
    const onGlue = on("glue");
    const policy = new ManagedPolicy(this, "Operators", {
      description: "Spark Connect sessions and job runs",
      statements: [
        ...emrOperatorStatements(application.arn, { roles: on("emr").map(roleOf), artifacts, logs }),
        ...(onGlue.length === 0
          ? []
          : glueOperatorStatements(
              onGlue.map(({ name }) => name),
              { roles: onGlue.map(roleOf), artifacts, logs },
            )),
      ],
    });
    this.#output("ApplicationId", application.id, "emr.applicationId", true);
    this.#output("OperatorsPolicy", policy.managedPolicyArn, "For those who run and submit jobs");
    for (const job of jobs.values()) {
      const output = new CfnOutput(this, `RoleOf${job.name.replaceAll(/[^A-Za-z0-9]/g, "")}`, { value: roleOf(job) });
      output.description = `Role of job ${job.name}`;
    }
  }

  #output(name: string, value: string, description: string, exported = false): void {
    new CfnOutput(this, name, {
      value,
      description,
      ...(exported ? { exportName: `${this.stackName}-${name}` } : {}),
    });
  }
}

/** A folder that the configuration names, or a bucket of the data stack. */
function place(folder: string | undefined, bucket: () => string): Location & { readonly uri: string } {
  const arn = (name: string) => `arn:${Aws.PARTITION}:s3:::${name}`;
  if (folder === undefined) {
    const name = bucket();
    return { uri: `s3://${name}/`, bucketArn: arn(name), prefix: "" };
  }
  const [, name = "", prefix = ""] = /^s3a?:\/\/([^/]+)\/(.*)$/.exec(folder) ?? [];
  return { uri: `s3://${name}/${prefix}`, bucketArn: arn(name), prefix };
}

/** EXPORT_STACK_NAME of the setup scripts: the stack with the job that exports, which is this one unless another is named. */
function exportStack(stack: Stack, name: string): string {
  const known = stack.node.tryFindChild("ExportStackName") as CfnParameter | undefined;
  const parameter =
    known ??
    new CfnParameter(stack, "ExportStackName", {
      type: "String",
      default: `${name}-jobs`,
      description: "The stack with the job that exports (EXPORT_STACK_NAME of the setup scripts for Keyspaces)",
      allowedPattern: "^[A-Za-z][A-Za-z0-9-]{0,127}$",
    });
  return parameter.valueAsString;
}
