import { Aws } from "aws-cdk-lib";
import { CfnApplication } from "aws-cdk-lib/aws-emrserverless";
import { Effect, PolicyStatement } from "aws-cdk-lib/aws-iam";
import { CfnLogGroup } from "aws-cdk-lib/aws-logs";
import { Construct } from "constructs";
import type { Infrastructure } from "./infrastructure.js";

/** Days that CloudWatch can keep logs. */
const RETENTIONS = [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288];

/** The EMR Serverless application, and the log group of its runs. */
export class EmrApplication extends Construct {
  readonly id: string;
  readonly arn: string;
  readonly logGroup: string;

  constructor(scope: Construct, id: string, { infra, settings, definitions }: Infrastructure, logs: string) {
    super(scope, id);
    const { capacity, network, logDays } = infra;
    this.logGroup = `/aws/emr-serverless/${infra.name}`;
    const group = new CfnLogGroup(this, "Logs", {
      logGroupName: this.logGroup,
      retentionInDays: RETENTIONS.find((days) => days >= logDays) ?? 3653,
    });
    const queues = Object.values(definitions.jobs).some((job) => job.jobRunQueuingEnabled);
    const application = new CfnApplication(this, "Application", {
      name: infra.name,
      type: "SPARK",
      releaseLabel: infra.release,
      architecture: settings.emr?.architecture === "arm64" ? "ARM64" : "X86_64",
      autoStartConfiguration: { enabled: true },
      autoStopConfiguration: { enabled: true, idleTimeoutMinutes: infra.autoStopMinutes },
      maximumCapacity: {
        cpu: `${capacity.cores} vCPU`,
        memory: gigabytes(capacity.memory),
        ...(capacity.disk === undefined ? {} : { disk: gigabytes(capacity.disk) }),
      },
      interactiveConfiguration: { sessionEnabled: infra.sessions, livyEndpointEnabled: false, studioEnabled: false },
      // Sessions need one of the two.
      monitoringConfiguration: {
        s3MonitoringConfiguration: { logUri: logs },
        cloudWatchLoggingConfiguration: { enabled: true, logGroupName: this.logGroup },
      },
      ...(queues ? { schedulerConfiguration: { maxConcurrentRuns: 15, queueTimeoutMinutes: 360 } } : {}),
      ...(network === undefined
        ? {}
        : { networkConfiguration: { subnetIds: network.subnets, securityGroupIds: network.securityGroups } }),
    });
    application.addResourceDependency(group);
    this.id = application.attrApplicationId;
    this.arn = application.attrArn;
  }
}

/** Roles may be given to one service only. */
export function passRoles(roles: readonly string[], service: string): PolicyStatement {
  return new PolicyStatement({
    effect: Effect.ALLOW,
    actions: ["iam:PassRole"],
    resources: [...roles],
    conditions: { StringEquals: { "iam:PassedToService": service } },
  });
}

/** `arn:aws:glue:<region>:<account>:job/name` */
export function arnOf(service: string, resource: string): string {
  return `arn:${Aws.PARTITION}:${service}:${Aws.REGION}:${Aws.ACCOUNT_ID}:${resource}`;
}

function gigabytes(size: string): string {
  return `${size.replace(/g$/i, "")} GB`;
}
