import { CfnRule } from "aws-cdk-lib/aws-events";
import { CfnJob, CfnTrigger, CfnWorkflow } from "aws-cdk-lib/aws-glue";
import { PolicyStatement, Role, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import { Construct } from "constructs";
import type { TriggerEntry } from "../../lib/glue/config/schedule-schema.js";
import { arnOf } from "./application.js";
import type { Chain, ChainRun } from "./chains.js";
import type { InfraJob, Infrastructure } from "./infrastructure.js";
import { pascal } from "./parameters.js";
import { glueActionArguments, glueJob, type Places } from "./requests.js";
import { objectCreated } from "./starts.js";

/** Jobs, triggers and workflows of Glue itself, for jobs whose target is Glue. */
export class NativeGlue extends Construct {
  readonly #infrastructure: Infrastructure;
  readonly #places: Places;
  readonly #jobs = new Map<string, CfnJob>();
  readonly #made = new Set<string>();

  constructor(scope: Construct, infrastructure: Infrastructure, places: Places) {
    super(scope, "Glue");
    this.#infrastructure = infrastructure;
    this.#places = places;
    for (const job of infrastructure.jobs.values()) if (job.place === "glue") this.#jobs.set(job.name, this.#job(job));
  }

  /** What must be there before a job of that name can be started. */
  job(name: string): CfnJob | undefined {
    return this.#jobs.get(name);
  }

  /** The triggers of a chain, and its workflow. */
  add(chain: Chain): void {
    const { workflow } = chain;
    const own = workflow === undefined ? undefined : this.#workflow(workflow);
    for (const [name, trigger] of [[chain.name, chain.start] as const, ...chain.followers]) {
      // A trigger with ANY may be in several chains.
      if (this.#made.has(name)) continue;
      this.#made.add(name);
      const made = this.#trigger(
        name,
        trigger,
        chain.runs.filter((run) => run.trigger === name),
      );
      if (own !== undefined) made.addResourceDependency(own);
    }
    if (chain.start.type === "EVENT" && workflow !== undefined) this.#notify(chain, workflow);
  }

  #job(job: InfraJob): CfnJob {
    const { entry } = job;
    const { Command, DefaultArguments, Connections, ...made } = glueJob(job, this.#places);
    return new CfnJob(this, `Job${pascal(job.name)}`, {
      name: job.name,
      ...(entry.description === undefined ? {} : { description: entry.description }),
      role: this.#places.roleOf(job),
      command: {
        name: Command?.Name ?? "glueetl",
        pythonVersion: Command?.PythonVersion ?? "3",
        scriptLocation: Command?.ScriptLocation ?? "",
      },
      glueVersion: made.GlueVersion ?? "5.1",
      defaultArguments: DefaultArguments,
      ...(Connections?.Connections === undefined ? {} : { connections: { connections: Connections.Connections } }),
      ...(made.WorkerType === undefined ? {} : { workerType: made.WorkerType }),
      ...(made.NumberOfWorkers === undefined ? {} : { numberOfWorkers: made.NumberOfWorkers }),
      timeout: entry.timeout,
      maxRetries: entry.maxRetries,
      executionProperty: { maxConcurrentRuns: entry.maxConcurrentRuns },
      jobRunQueuingEnabled: entry.jobRunQueuingEnabled,
      ...(entry.notifyDelayAfter === undefined
        ? {}
        : { notificationProperty: { notifyDelayAfter: entry.notifyDelayAfter } }),
      tags: { ...this.#infrastructure.settings.glue?.tags, "glue-connect": "job" },
    });
  }

  #trigger(name: string, trigger: TriggerEntry, runs: readonly ChainRun[]): CfnTrigger {
    const made = new CfnTrigger(this, `Trigger${pascal(name)}`, {
      name,
      type: trigger.type,
      ...(trigger.description === undefined ? {} : { description: trigger.description }),
      ...(trigger.workflow === undefined ? {} : { workflowName: trigger.workflow }),
      ...(trigger.type === "SCHEDULED" ? { schedule: trigger.schedule } : {}),
      ...(trigger.type === "SCHEDULED" || trigger.type === "CONDITIONAL"
        ? { startOnCreation: trigger.startOnCreation }
        : {}),
      ...(trigger.type === "CONDITIONAL"
        ? {
            predicate: {
              ...(trigger.predicate.conditions.length > 1 ? { logical: trigger.predicate.logical } : {}),
              conditions: trigger.predicate.conditions.map(({ job, state }) => ({
                logicalOperator: "EQUALS",
                jobName: job,
                state,
              })),
            },
          }
        : {}),
      ...(trigger.type === "EVENT"
        ? {
            eventBatchingCondition: {
              batchSize: trigger.eventBatching.batchSize,
              batchWindow: trigger.eventBatching.batchWindow,
            },
          }
        : {}),
      actions: runs.map((run) => {
        const { action } = run;
        const given = glueActionArguments(this.#jobOf(run), run, this.#places);
        return {
          jobName: action.job,
          ...(Object.keys(given).length === 0 ? {} : { arguments: given }),
          ...(action.timeout === undefined ? {} : { timeout: action.timeout }),
          ...(action.notifyDelayAfter === undefined
            ? {}
            : { notificationProperty: { notifyDelayAfter: action.notifyDelayAfter } }),
        };
      }),
    });
    for (const { action } of runs) {
      const job = this.#jobs.get(action.job);
      if (job !== undefined) made.addResourceDependency(job);
    }
    return made;
  }

  #jobOf({ action }: ChainRun): InfraJob {
    return this.#infrastructure.jobs.get(action.job) as InfraJob;
  }

  #workflow(name: string): CfnWorkflow {
    const entry = this.#infrastructure.definitions.workflows[name];
    return new CfnWorkflow(this, `Workflow${pascal(name)}`, {
      name,
      ...(entry?.description === undefined ? {} : { description: entry.description }),
      defaultRunProperties: entry?.defaultRunProperties ?? {},
      ...(entry?.maxConcurrentRuns === undefined ? {} : { maxConcurrentRuns: entry.maxConcurrentRuns }),
    });
  }

  /** Glue's EVENT triggers hear what EventBridge tells their workflow. */
  #notify({ name, start }: Chain, workflow: string): void {
    if (start.type !== "EVENT" || !start.event.prefix.startsWith("s3://")) return;
    const target = arnOf("glue", `workflow/${workflow}`);
    const role = new Role(this, `Events${pascal(name)}Role`, {
      assumedBy: new ServicePrincipal("events.amazonaws.com"),
    });
    role.addToPolicy(new PolicyStatement({ actions: ["glue:notifyEvent"], resources: [target] }));
    new CfnRule(this, `Events${pascal(name)}`, {
      description: `Trigger ${name}`,
      eventPattern: objectCreated(start.event),
      state: start.startOnCreation ? "ENABLED" : "DISABLED",
      targets: [{ id: "workflow", arn: target, roleArn: role.roleArn }],
    });
  }
}
