import { ExitCode, UserError } from "../../lib/errors.js";
import { tableFilter } from "../../lib/glue/catalog/index.js";
import { sideBySide } from "../../lib/glue/side-by-side.js";
import { errorCode } from "../../lib/postgres/errors.js";
import type { Context } from "./arguments.js";

/**
 * The configuration items of a run: one by its id, several separated by commas, or those that fit patterns.
 *
 * @returns `undefined` for a single id, which is taken as it is.
 * @throws UserError `METADATA_ITEM_NOT_FOUND` when no id fits the patterns.
 */
export async function wantedSystems(context: Context): Promise<readonly string[] | undefined> {
  const { source_system_id: text, metadata_table_name: table, metadata_type: type } = context.args;
  if (!hasPatterns(text)) return undefined;
  const entries = text.split(",").map((entry) => entry.trim());
  // A list of ids needs no look at all the others, and says of each whether it is there.
  if (entries.every((entry) => /^[^*?!]+$/.test(entry))) return [...new Set(entries)];
  const fits = tableFilter(text, "source_system_id");
  const all = await context.metadata.systems(table, type);
  const wanted = all.filter(fits);
  if (wanted.length > 0) return wanted;
  throw new UserError(
    "METADATA_ITEM_NOT_FOUND",
    `${table} has no item of metadata_type ${JSON.stringify(type)} that fits --source_system_id ${JSON.stringify(text)}`,
    {
      problems: all.length === 0 ? [] : [`it has ${all.slice(0, 20).join(", ")}${all.length > 20 ? ", ..." : ""}`],
      exitCode: ExitCode.configuration,
    },
  );
}

/** Whether `--source_system_id` is more than one id, which is taken as it is. */
export function hasPatterns(text: string): boolean {
  return /[,*?!]/.test(text);
}

/**
 * Loads several systems side by side; one that fails is reported, and the others go on. One whose rows refer to rows of another's
 * table is tried again once others are done, for as long as that helps: so tables come after those they refer to.
 *
 * @param load one system; steps are told apart by its id.
 */
export async function loadSystems(
  context: Context,
  systems: readonly string[],
  load: (context: Context, system: string) => Promise<void>,
): Promise<void> {
  for (const system of systems) context.report.table(system);
  let waiting = systems;
  for (;;) {
    const again: { readonly system: string; readonly error: unknown }[] = [];
    await sideBySide(waiting, context.args.parallelism, context.signal, async (system) => {
      const own: Context = { ...context, step: (name, work) => context.step(name, work, system) };
      try {
        await load(own, system);
        context.report.table(system).status ??= context.mode === "plan" ? "PLANNED" : "SUCCEEDED";
      } catch (error) {
        if (isForeignKey(error) && !context.signal.aborted) again.push({ system, error });
        else context.tableFailed(system, context.signal.aborted ? context.signal.reason : error);
      }
    });
    context.signal.throwIfAborted();
    if (again.length === 0) return;
    if (again.length === waiting.length) {
      for (const { system, error } of again) context.tableFailed(system, error);
      return;
    }
    waiting = systems.filter((system) => again.some((one) => one.system === system));
  }
}

const isForeignKey = (error: unknown) => error instanceof UserError && errorCode(error.cause) === "23503";
