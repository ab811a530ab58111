import { UserError } from "../../lib/errors.js";
import { describeFailure } from "../../lib/glue/failure.js";
import { defineJob } from "../../lib/glue/index.js";
import { sideBySide } from "../../lib/glue/side-by-side.js";
import { args, argumentProblems, type Context } from "./arguments.js";
import { type Configuration, readConfiguration } from "./configuration.js";
import { softDeleteColumn } from "./deletes.js";
import { Load } from "./load.js";
import { openSource, type Source } from "./source.js";
import { loadSystems, wantedSystems } from "./systems.js";
import { JOB, Target } from "./target.js";

const CONFIGURATIONS_AT_ONCE = 8;

/**
 * Loads an Iceberg table into Aurora PostgreSQL: fully at first, then only what changed between two snapshots.
 *
 * Spark finds the changes and its executors write them to a staging table; one transaction in PostgreSQL applies them and
 * stores which snapshot the target now holds. Whatever dies and when, the target is at the old snapshot or at the new one.
 */
export default defineJob({
  name: JOB,
  summary: "Load an Iceberg table into Aurora PostgreSQL: full, then only new, changed and deleted rows",
  args,
  needs: ["iceberg", "postgresql"],
  check: argumentProblems,
  run,
});

async function run(context: Context): Promise<void> {
  const softDeletes = softDeleteColumn(context.args.deletes);
  const systems = await wantedSystems(context);
  if (systems === undefined) {
    const system = context.args.source_system_id;
    const configuration = await context.step("read the configuration", () => loadConfiguration(context, system));
    return await loadOne(context, configuration, softDeletes, undefined);
  }
  const configurations = await context.step("read the configuration", () => loadConfigurations(context, systems));
  await loadSystems(context, systems, async (own, system) => {
    const configuration = configurations.get(system);
    if (configuration instanceof Error) throw configuration;
    if (configuration !== undefined) await loadOne(own, configuration, softDeletes, system);
  });
}

/** @param name the table's name in the report, where there are several; `undefined`: the source's. */
async function loadOne(
  context: Context,
  configuration: Configuration,
  softDeletes: string | undefined,
  name: string | undefined,
): Promise<void> {
  const attempt = name === undefined ? {} : { attempt: `${context.runId} ${name}` };
  const { target, source } = await context.step("open source and target", () =>
    openBoth({ ...context, ...attempt }, configuration),
  );
  await using _ = target;
  const prefix = name === undefined ? "" : `${name}: `;
  for (const warning of configuration.warnings) context.report.warn("CONFIGURATION_KEY_UNKNOWN", prefix + warning);
  await new Load(context, configuration, source, target, softDeletes, name).run();
}

async function loadConfiguration(context: Context, source_system_id: string): Promise<Configuration> {
  const { metadata_table_name, metadata_type } = context.args;
  const item = await context.metadata.item(metadata_table_name, { source_system_id, metadata_type });
  return readConfiguration(item, {
    where: `${metadata_table_name} (source_system_id ${source_system_id}, metadata_type ${metadata_type})`,
    databaseGiven: context.postgresGiven,
  });
}

/**
 * The configurations of several systems, each or the reason why it can't be had; and Spark, opened for what all of them need: the jars
 * for tables on S3 can't be added to a server that has begun without.
 */
async function loadConfigurations(
  context: Context,
  systems: readonly string[],
): Promise<ReadonlyMap<string, Configuration | Error>> {
  const found = new Map<string, Configuration | Error>();
  await sideBySide(systems, CONFIGURATIONS_AT_ONCE, context.signal, async (system) => {
    found.set(system, await loadConfiguration(context, system).catch((error: unknown) => asError(error)));
  });
  const locations = [...found.values()].flatMap((one) => (one instanceof Error ? [] : [one.warehouse]));
  // Who needs it says why it can't be had.
  if (locations.length > 0) await context.spark({ locations }).catch(() => undefined);
  return found;
}

const asError = (error: unknown) => (error instanceof Error ? error : new Error(String(error)));

/** Both ends at once; when both fail, one message says both. */
async function openBoth(
  context: Context & { readonly attempt?: string },
  configuration: Configuration,
): Promise<{ target: Target; source: Source }> {
  const [target, source] = await Promise.allSettled([
    Target.open(context, configuration),
    context.spark({ locations: [configuration.warehouse] }).then((spark) => openSource(spark, configuration)),
  ]);
  if (target.status === "fulfilled" && source.status === "fulfilled") {
    return { target: target.value, source: source.value };
  }
  if (target.status === "fulfilled") await target.value[Symbol.asyncDispose]();
  const failures = [target, source].flatMap((end) => (end.status === "rejected" ? [end.reason as unknown] : []));
  if (failures.length === 1) throw failures[0];
  const described = failures.map((error) => describeFailure(error));
  // A defect of ours must not pass for a mistake of the user's.
  const defect = failures.find((_failure, index) => described[index]?.stack !== undefined);
  if (defect !== undefined) throw defect;
  throw new UserError("SOURCE_AND_TARGET_UNUSABLE", "Neither source nor target can be used", {
    problems: described.flatMap(({ error }) => [`${error.code}: ${error.message}`, ...error.problems]),
    hint: described
      .flatMap(({ error }) => (error.hint === undefined ? [] : [`${error.code}: ${error.hint}`]))
      .join(". "),
    ...(described[0] === undefined ? {} : { exitCode: described[0].exitCode }),
  });
}
