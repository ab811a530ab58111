import type { SparkPackage } from "../targets/aws/packages.js";
import type { ArgDefinitions, ArgValues } from "./args.js";
import type { JobContext } from "./context.js";
import { isRefusedArgument } from "./reserved-arguments.js";
import { type JobOrigin, originOfCaller } from "./thrown-at.js";

/** What a job is made of. */
export interface JobDefinition<Definitions extends ArgDefinitions> {
  /** Lower case with dashes: how the CLI calls it. */
  readonly name: string;
  /** One line for lists and `--help`. */
  readonly summary: string;
  readonly args: Definitions;
  /** What the Spark that runs it must bring. A session or job run on AWS is started with it; a local server has it all. */
  readonly needs?: readonly SparkPackage[];
  /** Names of arguments that may be given without them, in this order: `run JOB a b c`. */
  readonly positional?: readonly string[] | undefined;
  /**
   * What is wrong with the arguments beyond what each of them says of itself; said in one message with the rest of what is wrong, before
   * anything is begun.
   *
   * @example
   * check: ({ from, to }) => (from !== undefined && to !== undefined && to < from ? ["--to is before --from"] : []),
   *
   * @param given without those that are missing, or wrong by themselves.
   * @returns a sentence for each problem, with the arguments it is about as `--name`.
   */
  check?(given: Partial<ArgValues<Definitions>>): readonly string[];
  /** The work. `context.mode` says whether to stop before the first write. */
  run(context: JobContext<ArgValues<Definitions>>): Promise<void>;
}

/** A job as {@link defineJob} gives it back. */
export interface Job<Definitions extends ArgDefinitions = ArgDefinitions> extends JobDefinition<Definitions> {
  readonly kind: "glue-connect job";
  /** Where it was declared, for messages. */
  readonly origin?: JobOrigin | undefined;
}

/**
 * Declares a job. The types of `context.args` follow from `args`.
 *
 * @example
 * export default defineJob({
 *   name: "orders-export",
 *   summary: "Writes the orders of one day as Parquet",
 *   args: {
 *     day: arg.string({ description: "The day, as 2026-01-31" }),
 *     output_path: arg.uri({ description: "Where to write" }),
 *   },
 *   async run({ args, spark, step }) {
 *     const session = await spark();
 *     await step("write", () => session.table("lake.sales.orders").where(`day = '${args.day}'`).write().parquet(args.output_path));
 *   },
 * });
 *
 * @throws TypeError when a name can't be used: that is a mistake in the job's module, not in how it is called.
 */
export function defineJob<const Definitions extends ArgDefinitions>(
  definition: JobDefinition<Definitions>,
): Job<Definitions> {
  if (!/^[a-z][a-z0-9-]*$/.test(definition.name)) {
    throw new TypeError(`Job name ${JSON.stringify(definition.name)}: use lower case letters, digits and dashes`);
  }
  for (const name of Object.keys(definition.args)) {
    if (!/^[A-Za-z][A-Za-z0-9_]*$/.test(name)) {
      throw new TypeError(
        `Argument ${JSON.stringify(name)} of job ${definition.name}: use letters, digits and underscores`,
      );
    }
    if (name === "JOB_NAME" || isRefusedArgument(name)) {
      throw new TypeError(`Argument ${name} of job ${definition.name}: the name belongs to Glue itself`);
    }
  }
  const unknown = (definition.positional ?? []).filter((name) => !Object.hasOwn(definition.args, name));
  if (unknown.length > 0)
    throw new TypeError(`Job ${definition.name} has no arguments ${unknown.join(", ")} to give by position`);
  return Object.freeze({ ...definition, kind: "glue-connect job" as const, origin: originOfCaller() });
}

/** Whether a module's export is a job, also when another copy of this package made it. */
export function isJob(value: unknown): value is Job {
  return (
    typeof value === "object" &&
    value !== null &&
    (value as { kind?: unknown }).kind === "glue-connect job" &&
    typeof (value as { run?: unknown }).run === "function"
  );
}
