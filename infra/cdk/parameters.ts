import { CfnParameter } from "aws-cdk-lib";
import type { Construct } from "constructs";
import { hasProperties } from "../../lib/glue/schedule/run-properties.js";
import type { InfraJob } from "./infrastructure.js";

// What an expression of a state machine can't have inside of a text is not let in.
const LOCATION = "^s3://[a-z0-9][a-z0-9.-]+(/[^'{}\\\\]*)?$";
const NAME = "^\\w{1,48}$";

/** The arguments of the setup scripts for Amazon Keyspaces, as parameters of the stack. */
const SCRIPT_ARGUMENTS: Readonly<
  Record<string, { name: string; description: string; pattern?: string; values?: string[] }>
> = {
  KEYSPACE_NAME: { name: "KeyspaceName", description: "Keyspace of the table", pattern: NAME },
  TABLE_NAME: { name: "TableName", description: "The table", pattern: NAME },
  S3URI: { name: "S3Uri", description: "Where exports go, and imports come from", pattern: LOCATION },
  FORMAT: { name: "Format", description: "Format of the files", values: ["parquet", "json", "csv"] },
  DISTINCT_KEYS: { name: "DistinctKeys", description: "Columns of the primary key", pattern: "^\\w+(,\\w+)*$" },
  PASTURI: { name: "PastUri", description: "The older export", pattern: LOCATION },
  CURRENTURI: { name: "CurrentUri", description: "The newer export", pattern: LOCATION },
};

/**
 * The arguments of jobs as the stack has them: those that the setup scripts for Amazon Keyspaces take are parameters of the
 * stack, with what the configuration says as their defaults. Jobs that agree on one share its parameter.
 */
export class StackArguments {
  readonly #scope: Construct;
  readonly #jobs: readonly InfraJob[];
  readonly #parameters = new Map<string, CfnParameter>();
  readonly #exportStack: () => string;

  constructor(scope: Construct, jobs: Iterable<InfraJob>, exportStack: () => string) {
    this.#scope = scope;
    this.#jobs = [...jobs].filter(isKeyspacesJob);
    this.#exportStack = exportStack;
  }

  /** The arguments of one way to start a job; what an action gives over the job's own stays as it is. */
  of(job: InfraJob, call: Readonly<Record<string, string>>): Record<string, string> {
    if (!isKeyspacesJob(job)) return { ...call };
    const values: Record<string, string> = {};
    for (const [argument, value] of Object.entries(call)) {
      const isOwn = job.entry.arguments[argument] === value && !hasProperties(value);
      values[argument] = isOwn ? (this.#parameter(job, argument, value)?.valueAsString ?? value) : value;
    }
    if (Object.hasOwn(job.job.args, "EXPORT_STACK_NAME")) values.EXPORT_STACK_NAME ??= this.#exportStack();
    return values;
  }

  #parameter(job: InfraJob, argument: string, value: string): CfnParameter | undefined {
    const script = SCRIPT_ARGUMENTS[argument];
    if (script === undefined) return undefined;
    if (script.pattern !== undefined && !new RegExp(script.pattern).test(value)) return undefined;
    const said = this.#jobs.flatMap(({ entry }) => entry.arguments[argument] ?? []);
    const shared = new Set(said).size === 1;
    const id = shared ? script.name : `${pascal(job.name)}${script.name}`;
    const known = this.#parameters.get(id);
    if (known !== undefined) return known;
    const parameter = new CfnParameter(this.#scope, id, {
      type: "String",
      default: value,
      description: `${script.description}: ${argument} of ${shared ? "the Keyspaces jobs" : job.name}`,
      ...(script.pattern === undefined ? {} : { allowedPattern: script.pattern }),
      ...(script.values === undefined ? {} : { allowedValues: script.values }),
    });
    this.#parameters.set(id, parameter);
    return parameter;
  }
}

export function isKeyspacesJob({ job }: InfraJob): boolean {
  return job.name.startsWith("keyspaces-");
}

/** `nightly-load` as `NightlyLoad`: what names in CloudFormation are made of. */
export function pascal(name: string): string {
  return name
    .split(/[^A-Za-z0-9]+/)
    .map((word) => word.charAt(0).toUpperCase() + word.slice(1))
    .join("");
}
