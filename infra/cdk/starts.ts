import { Aws, type CfnResource, Stack } from "aws-cdk-lib";
import { CfnRule } from "aws-cdk-lib/aws-events";
import { PolicyStatement, Role, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import { CfnPipe } from "aws-cdk-lib/aws-pipes";
import { CfnSchedule, CfnScheduleGroup } from "aws-cdk-lib/aws-scheduler";
import { Queue, QueueEncryption } from "aws-cdk-lib/aws-sqs";
import { CfnStateMachine } from "aws-cdk-lib/aws-stepfunctions";
import { Construct } from "constructs";
import type { EventTrigger, ScheduledTrigger } from "../../lib/glue/config/schedule-schema.js";
import { arnOf, type EmrApplication, passRoles } from "./application.js";
import type { Chain } from "./chains.js";
import type { InfraJob, Infrastructure } from "./infrastructure.js";
import type { NativeGlue } from "./native-glue.js";
import { pascal } from "./parameters.js";
import { callOf, emrTask, glueTask, type Places, scheduleInput } from "./requests.js";
import { stateMachineOf } from "./state-machine.js";

/** What {@link Starts} is made with. */
export interface StartsOptions {
  readonly infrastructure: Infrastructure;
  readonly places: Places;
  readonly application: EmrApplication;
  /** For what could not be started. */
  readonly deadLetters: Queue;
}

/** How long EventBridge goes on when it can't start something, and how often. */
const RETRIES = { maximumEventAgeInSeconds: 3_600, maximumRetryAttempts: 20 };
/** A pipe waits no longer for a full batch. */
const LONGEST_WINDOW = 300;
const EMR_EVENTS_RULE = "StepFunctionsGetEventsForEMRServerlessJobRule";

/** Schedules, state machines, and rules for events: all that starts jobs by itself. */
export class Starts extends Construct {
  /** By the name of the trigger that begins the chain. */
  readonly machines = new Map<string, CfnStateMachine>();
  readonly #options: StartsOptions;
  readonly #group: CfnScheduleGroup;
  readonly #scheduler: Role;
  readonly #scheduled: CfnSchedule[] = [];

  constructor(scope: Construct, options: StartsOptions) {
    super(scope, "Starts");
    this.#options = options;
    const { infra } = options.infrastructure;
    this.#group = new CfnScheduleGroup(this, "Schedules", { name: infra.name });
    this.#scheduler = new Role(this, "SchedulerRole", {
      description: "Starts what is scheduled",
      assumedBy: new ServicePrincipal("scheduler.amazonaws.com", {
        conditions: {
          StringEquals: {
            "aws:SourceAccount": Aws.ACCOUNT_ID,
            "aws:SourceArn": arnOf("scheduler", `schedule-group/${infra.name}`),
          },
        },
      }),
    });
  }

  /** A schedule for each action, straight to StartJobRun. */
  schedule(chain: Chain): void {
    const { infrastructure, places, application } = this.#options;
    const trigger = chain.start as ScheduledTrigger;
    const roles = new Set<string>();
    for (const [index, run] of chain.runs.entries()) {
      const job = infrastructure.jobs.get(run.action.job) as InfraJob;
      roles.add(places.roleOf(job));
      const name = chain.runs.length === 1 ? chain.name : `${chain.name}-${index + 1}-${job.name}`;
      this.#schedule(name, trigger, {
        arn: `arn:${Aws.PARTITION}:scheduler:::aws-sdk:emrserverless:startJobRun`,
        input: scheduleInput(callOf(job, run), places),
      });
    }
    this.#scheduler.addToPolicy(
      new PolicyStatement({ actions: ["emr-serverless:StartJobRun"], resources: [application.arn] }),
    );
    this.#scheduler.addToPolicy(
      new PolicyStatement({ actions: ["emr-serverless:TagResource"], resources: [`${application.arn}/jobruns/*`] }),
    );
    this.#scheduler.addToPolicy(passRoles([...roles], "emr-serverless.amazonaws.com"));
  }

  /** A state machine, and what starts it. */
  stateMachine(chain: Chain, glue: NativeGlue): void {
    const machine = this.#machine(chain, glue);
    this.machines.set(chain.name, machine);
    const { start } = chain;
    if (start.type === "SCHEDULED") {
      // Its name is that of the firing: asked for twice, it runs once.
      const input = { StateMachineArn: machine.attrArn, Name: "<aws.scheduler.execution-id>", Input: "{}" };
      this.#schedule(chain.name, start, {
        arn: `arn:${Aws.PARTITION}:scheduler:::aws-sdk:sfn:startExecution`,
        input,
      });
      this.#scheduler.addToPolicy(
        new PolicyStatement({ actions: ["states:StartExecution"], resources: [machine.attrArn] }),
      );
    } else if (start.type === "EVENT" && start.event.prefix.startsWith("s3://")) {
      if (start.eventBatching.batchSize === 1) this.#rule(chain.name, start, machine);
      else this.#pipe(chain.name, start, machine);
    }
  }

  /** What has nothing to do is left out. */
  end(): void {
    if (this.#scheduled.length > 0) {
      this.#options.deadLetters.grantSendMessages(this.#scheduler);
      // A schedule that may fire before its role can do something would end among the dead letters.
      for (const schedule of this.#scheduled) afterPolicy(schedule, this.#scheduler);
      return;
    }
    for (const child of [this.#group, this.#scheduler]) this.node.tryRemoveChild(child.node.id);
  }

  #schedule(name: string, trigger: ScheduledTrigger, target: { readonly arn: string; readonly input: object }): void {
    const stack = Stack.of(this);
    const schedule = new CfnSchedule(this, `Schedule${pascal(name)}`, {
      // 64 characters at the most.
      name: name.length <= 64 ? name : `${name.slice(0, 55)}-${stack.node.addr.slice(-8)}`,
      groupName: this.#group.ref,
      ...(trigger.description === undefined ? {} : { description: trigger.description.slice(0, 512) }),
      scheduleExpression: trigger.schedule.trim(),
      scheduleExpressionTimezone: "UTC",
      flexibleTimeWindow: { mode: "OFF" },
      state: trigger.startOnCreation ? "ENABLED" : "DISABLED",
      target: {
        arn: target.arn,
        roleArn: this.#scheduler.roleArn,
        input: stack.toJsonString(target.input),
        retryPolicy: RETRIES,
        deadLetterConfig: { arn: this.#options.deadLetters.queueArn },
      },
    });
    this.#scheduled.push(schedule);
  }

  #machine(chain: Chain, glue: NativeGlue): CfnStateMachine {
    const { infrastructure, places, application } = this.#options;
    const { jobs, infra } = infrastructure;
    const definition = stateMachineOf(chain, (run) => {
      const call = callOf(jobs.get(run.action.job) as InfraJob, run);
      return call.job.place === "emr"
        ? emrTask(run, call, places, chain.workflow)
        : glueTask(call, places, chain.workflow);
    });
    const role = new Role(this, `Machine${pascal(chain.name)}Role`, {
      description: `Runs what trigger ${chain.name} begins`.slice(0, 1000),
      assumedBy: new ServicePrincipal("states.amazonaws.com", {
        conditions: { StringEquals: { "aws:SourceAccount": Aws.ACCOUNT_ID } },
      }),
    });
    const allow = (actions: readonly string[], resources: readonly string[]) =>
      role.addToPolicy(new PolicyStatement({ actions: [...actions], resources: [...resources] }));
    const used = [...new Set(chain.runs.map(({ action }) => jobs.get(action.job) as InfraJob))];
    const onEmr = used.filter((job) => job.place === "emr");
    if (onEmr.length > 0) {
      allow(["emr-serverless:StartJobRun"], [application.arn]);
      allow(
        ["emr-serverless:GetJobRun", "emr-serverless:CancelJobRun", "emr-serverless:TagResource"],
        [`${application.arn}/jobruns/*`],
      );
      role.addToPolicy(passRoles(onEmr.map(places.roleOf), "emr-serverless.amazonaws.com"));
      // By that rule, which is Step Functions' own, it hears of a run's end.
      allow(
        ["events:PutTargets", "events:PutRule", "events:DescribeRule"],
        [arnOf("events", `rule/${EMR_EVENTS_RULE}`)],
      );
    }
    const onGlue = used.filter((job) => job.place === "glue");
    if (onGlue.length > 0) {
      allow(
        ["glue:StartJobRun", "glue:GetJobRun", "glue:GetJobRuns", "glue:BatchStopJobRun"],
        onGlue.map(({ name }) => arnOf("glue", `job/${name}`)),
      );
    }
    const machine = new CfnStateMachine(this, `Machine${pascal(chain.name)}`, {
      stateMachineName: `${infra.name}-${chain.name}`.slice(0, 80),
      stateMachineType: "STANDARD",
      roleArn: role.roleArn,
      definitionString: Stack.of(this).toJsonString(definition),
    });
    afterPolicy(machine, role);
    for (const { name } of onGlue) {
      const job = glue.job(name);
      if (job !== undefined) machine.addResourceDependency(job);
    }
    return machine;
  }

  /** One event, one execution. */
  #rule(name: string, trigger: EventTrigger, machine: CfnStateMachine): void {
    const role = this.#starter(name, "events.amazonaws.com", machine);
    const { deadLetters } = this.#options;
    const rule = new CfnRule(this, `Events${pascal(name)}`, {
      description: `Trigger ${name}`,
      eventPattern: objectCreated(trigger.event),
      state: trigger.startOnCreation ? "ENABLED" : "DISABLED",
      targets: [
        {
          id: "machine",
          arn: machine.attrArn,
          roleArn: role.roleArn,
          inputTransformer: {
            inputPathsMap: { bucket: "$.detail.bucket.name", key: "$.detail.object.key" },
            inputTemplate: '{"uri": "s3://<bucket>/<key>"}',
          },
          retryPolicy: RETRIES,
          deadLetterConfig: { arn: deadLetters.queueArn },
        },
      ],
    });
    this.#maySend(deadLetters, rule);
  }

  /** Events wait in a queue until there are enough of them, or the window is over. */
  #pipe(name: string, trigger: EventTrigger, machine: CfnStateMachine): void {
    const { deadLetters } = this.#options;
    const queue = new Queue(this, `Batch${pascal(name)}`, {
      encryption: QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
      deadLetterQueue: { queue: deadLetters, maxReceiveCount: 5 },
    });
    const state = trigger.startOnCreation ? "ENABLED" : "DISABLED";
    const rule = new CfnRule(this, `Events${pascal(name)}`, {
      description: `Trigger ${name}`,
      eventPattern: objectCreated(trigger.event),
      state,
      targets: [{ id: "queue", arn: queue.queueArn }],
    });
    this.#maySend(queue, rule);
    const role = this.#starter(name, "pipes.amazonaws.com", machine);
    queue.grantConsumeMessages(role);
    const { batchSize, batchWindow } = trigger.eventBatching;
    const pipe = new CfnPipe(this, `Pipe${pascal(name)}`, {
      description: `Trigger ${name}`,
      source: queue.queueArn,
      sourceParameters: {
        sqsQueueParameters: {
          batchSize,
          maximumBatchingWindowInSeconds: Math.min(batchWindow, LONGEST_WINDOW),
        },
      },
      target: machine.attrArn,
      targetParameters: {
        inputTemplate: '{"uri": "s3://<$.body.detail.bucket.name>/<$.body.detail.object.key>"}',
        stepFunctionStateMachineParameters: { invocationType: "FIRE_AND_FORGET" },
      },
      roleArn: role.roleArn,
      desiredState: trigger.startOnCreation ? "RUNNING" : "STOPPED",
    });
    afterPolicy(pipe, role);
  }

  #starter(name: string, service: string, machine: CfnStateMachine): Role {
    const role = new Role(this, `Events${pascal(name)}Role`, {
      assumedBy: new ServicePrincipal(service, {
        conditions: { StringEquals: { "aws:SourceAccount": Aws.ACCOUNT_ID } },
      }),
    });
    role.addToPolicy(new PolicyStatement({ actions: ["states:StartExecution"], resources: [machine.attrArn] }));
    return role;
  }

  #maySend(queue: Queue, rule: CfnRule): void {
    queue.addToResourcePolicy(
      new PolicyStatement({
        principals: [new ServicePrincipal("events.amazonaws.com")],
        actions: ["sqs:SendMessage"],
        resources: [queue.queueArn],
        conditions: { ArnEquals: { "aws:SourceArn": rule.attrArn } },
      }),
    );
  }
}

/** The role itself is waited for anyway. */
function afterPolicy(resource: CfnResource, role: Role): void {
  const policy = role.node.tryFindChild("DefaultPolicy");
  if (policy !== undefined) resource.node.addDependency(policy);
}

/** The events of objects that are made; the bucket must send its events to EventBridge. */
export function objectCreated({ prefix, suffix }: EventTrigger["event"]): object {
  const [, bucket = "", folder = ""] = /^s3:\/\/([^/]+)\/?(.*)$/.exec(prefix) ?? [];
  const plain = (text: string) => text.replaceAll(/[\\*]/g, (character) => `\\${character}`);
  const key =
    suffix === undefined
      ? folder === ""
        ? undefined
        : { prefix: folder }
      : folder === ""
        ? { suffix }
        : { wildcard: `${plain(folder)}*${plain(suffix)}` };
  return {
    source: ["aws.s3"],
    "detail-type": ["Object Created"],
    detail: { bucket: { name: [bucket] }, ...(key === undefined ? {} : { object: { key: [key] } }) },
  };
}
