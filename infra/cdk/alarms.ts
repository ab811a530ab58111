import { Aws } from "aws-cdk-lib";
import { CfnAlarm, type CfnAlarmProps } from "aws-cdk-lib/aws-cloudwatch";
import { CfnRule } from "aws-cdk-lib/aws-events";
import { PolicyStatement, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import { CfnSubscription, Topic } from "aws-cdk-lib/aws-sns";
import type { Queue } from "aws-cdk-lib/aws-sqs";
import type { CfnStateMachine } from "aws-cdk-lib/aws-stepfunctions";
import { Construct } from "constructs";
import type { EmrApplication } from "./application.js";
import type { Infrastructure } from "./infrastructure.js";
import { pascal } from "./parameters.js";

/** What {@link Alarms} watches. */
export interface AlarmsOptions {
  readonly infrastructure: Infrastructure;
  readonly application: EmrApplication;
  readonly deadLetters: Queue;
  readonly machines: ReadonlyMap<string, CfnStateMachine>;
}

/** Tells of job runs that fail, of what couldn't be started, and of Glue's runs that take too long. */
export class Alarms extends Construct {
  readonly #topicArn: string;
  readonly #name: string;

  constructor(scope: Construct, { infrastructure, application, deadLetters, machines }: AlarmsOptions) {
    super(scope, "Alarms");
    const { infra, jobs } = infrastructure;
    this.#name = infra.name;
    this.#topicArn = this.#topic(infra.notify);

    const onGlue = [...jobs.values()].filter(({ place }) => place === "glue").map(({ name }) => name);
    this.#failures("JobRuns", {
      what: "Job runs on EMR Serverless that failed",
      pattern: {
        source: ["aws.emr-serverless"],
        "detail-type": ["EMR Serverless Job Run State Change"],
        detail: { applicationId: [application.id], state: ["FAILED"] },
      },
      paths: { run: "$.detail.jobRunId", state: "$.detail.state", time: "$.time" },
      message: `"Job run <run> is <state>, <time>. glue-connect logs <run> shows what it said."`,
    });
    if (onGlue.length > 0) {
      this.#failures("GlueJobRuns", {
        what: "Runs of Glue jobs that failed, or ran out of their time",
        pattern: {
          source: ["aws.glue"],
          "detail-type": ["Glue Job State Change"],
          detail: { jobName: onGlue, state: ["FAILED", "TIMEOUT"] },
        },
        paths: { job: "$.detail.jobName", run: "$.detail.jobRunId", state: "$.detail.state", time: "$.time" },
        message: `"Run <run> of Glue job <job> is <state>, <time>. glue-connect logs <job>:<run> shows what it said."`,
      });
      // Runs that take longer than notifyDelayAfter.
      this.#rule("GlueDelays", {
        what: "Runs of Glue jobs that take longer than they should",
        pattern: { source: ["aws.glue"], "detail-type": ["Glue Job Run Status"], detail: { jobName: onGlue } },
        paths: { job: "$.detail.jobName", run: "$.detail.jobRunId", state: "$.detail.state" },
        message: `"Run <run> of Glue job <job> takes long: it is still <state>."`,
      });
    }
    this.#alarm("DeadLetters", {
      description: "Something could not be started: the queue says what, and why",
      namespace: "AWS/SQS",
      metricName: "ApproximateNumberOfMessagesVisible",
      statistic: "Maximum",
      dimensions: [{ name: "QueueName", value: deadLetters.queueName }],
      alarmActions: [this.#topicArn],
    });
    for (const [name, machine] of machines) {
      this.#alarm(`Machine${pascal(name)}`, {
        description: `Of what trigger ${name} begins, something failed`,
        namespace: "AWS/States",
        metricName: "ExecutionsFailed",
        statistic: "Sum",
        dimensions: [{ name: "StateMachineArn", value: machine.attrArn }],
        alarmActions: [this.#topicArn],
      });
    }
  }

  #topic(notify: string | undefined): string {
    if (notify?.startsWith("arn:")) return notify;
    const topic = new Topic(this, "Topic", { enforceSSL: true });
    for (const service of ["events", "cloudwatch"]) {
      topic.addToResourcePolicy(
        new PolicyStatement({
          principals: [new ServicePrincipal(`${service}.amazonaws.com`)],
          actions: ["sns:Publish"],
          resources: [topic.topicArn],
          conditions: { StringEquals: { "aws:SourceAccount": Aws.ACCOUNT_ID } },
        }),
      );
    }
    if (notify !== undefined) {
      new CfnSubscription(this, "Mail", { protocol: "email", endpoint: notify, topicArn: topic.topicArn });
    }
    return topic.topicArn;
  }

  /** A message for each of them, and an alarm for the dashboards; one message is enough. */
  #failures(id: string, rule: Told): void {
    const made = this.#rule(id, rule);
    this.#alarm(`${id}Failed`, {
      description: rule.what,
      namespace: "AWS/Events",
      metricName: "MatchedEvents",
      statistic: "Sum",
      dimensions: [{ name: "RuleName", value: made.ref }],
    });
  }

  #rule(id: string, { what, pattern, paths, message }: Told): CfnRule {
    return new CfnRule(this, id, {
      description: what,
      eventPattern: pattern,
      targets: [
        {
          id: "topic",
          arn: this.#topicArn,
          inputTransformer: { inputPathsMap: { ...paths }, inputTemplate: message },
        },
      ],
    });
  }

  #alarm(id: string, { description, ...more }: Watched): void {
    new CfnAlarm(this, `${id}Alarm`, {
      alarmName: `${this.#name}-${id}`,
      alarmDescription: description,
      comparisonOperator: "GreaterThanOrEqualToThreshold",
      threshold: 1,
      period: 300,
      evaluationPeriods: 1,
      treatMissingData: "notBreaching",
      ...more,
    });
  }
}

interface Watched extends Omit<CfnAlarmProps, "comparisonOperator" | "evaluationPeriods"> {
  readonly description: string;
}

interface Told {
  readonly what: string;
  readonly pattern: object;
  readonly paths: Readonly<Record<string, string>>;
  readonly message: string;
}
