import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { App, DefaultStackSynthesizer, type IStackSynthesizer } from "aws-cdk-lib";
import { DataStack } from "./data-stack.js";
import type { Infrastructure } from "./infrastructure.js";
import { JobsStack } from "./jobs-stack.js";

/** The two stacks of an app. */
export interface Stacks {
  readonly data: DataStack;
  readonly jobs: JobsStack;
}

/** A template of CloudFormation as JSON. */
export type Template = Readonly<Record<string, unknown>>;

/** Adds the stacks to an app, under their own names. */
export function addStacks(app: App, infrastructure: Infrastructure): Stacks {
  const { name, ...infra } = infrastructure.infra;
  const description = `glue-connect ${name}`;
  // Nothing in them is an asset of CDK's, so that a plain `aws cloudformation deploy` does, too.
  const synthesizer = () => new DefaultStackSynthesizer({ generateBootstrapVersionRule: false }) as IStackSynthesizer;
  const tags = { "glue-connect": name };
  const data = new DataStack(app, `${name}-data`, infrastructure, {
    description: `${description}: buckets and tables`,
    synthesizer: synthesizer(),
    tags,
    terminationProtection: infra.buckets.length > 0,
  });
  const jobs = new JobsStack(app, `${name}-jobs`, infrastructure, {
    description: `${description}: application, roles, schedules and alarms`,
    synthesizer: synthesizer(),
    tags,
  });
  jobs.addStackDependency(data);
  return { data, jobs };
}

/**
 * The templates of the stacks, by the names of the stacks, made in this process: neither an account nor a network is asked.
 *
 * @param folder where the cloud assembly is kept, which the CDK's own command takes as an app; default: nowhere.
 */
export async function synthesize(
  infrastructure: Infrastructure,
  folder?: string,
): Promise<ReadonlyMap<string, Template>> {
  const outdir = folder ?? (await mkdtemp(path.join(tmpdir(), "glue-connect-infra-")));
  try {
    const app = new App({ outdir, analyticsReporting: false });
    addStacks(app, infrastructure);
    return new Map(app.synth().stacks.map(({ stackName, template }) => [stackName, template as Template]));
  } finally {
    if (folder === undefined) await rm(outdir, { recursive: true, force: true });
  }
}
