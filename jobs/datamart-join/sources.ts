import { ExitCode, UserError } from "../../lib/errors.js";
import { clockOf, findColumn, sourceFiles } from "../../lib/glue/incremental/index.js";
import type { CatalogEntry, JobContext } from "../../lib/glue/index.js";
import { sideBySide } from "../../lib/glue/side-by-side.js";
import type { SparkSession } from "../../lib/spark/index.js";
import type { Configuration, MartConfiguration, TableConfiguration } from "./configuration.js";
import type { Source } from "./mart.js";

/** The outputs whose tables are there, and the tables. */
export interface OpenSources {
  readonly marts: readonly MartConfiguration[];
  readonly sources: ReadonlyMap<string, Source>;
  /** Why a table can't be opened: the outputs that need it fail, and no others. */
  readonly failures: ReadonlyMap<string, unknown>;
}

/**
 * Opens the tables of all outputs. One that stands alone may be missing: it is left out with a warning.
 *
 * @throws UserError `TABLES_MISSING` that names every table which a join needs and the database hasn't got,
 *   `KEY_COLUMNS_MISSING`.
 */
export async function openSources(
  context: JobContext<unknown>,
  spark: SparkSession,
  configuration: Configuration,
  options: { readonly database: string; readonly parallelism: number },
): Promise<OpenSources> {
  const { database } = options;
  const entries = await context.step("list the tables", () => context.catalog.tables(database));
  const byName = new Map(entries.map((entry) => [entry.name.toLowerCase(), entry]));
  const tablesOf = ({ base, joins }: MartConfiguration) => [base, ...joins.map(({ table }) => table)];
  const isThere = (table: string) => byName.has(table.toLowerCase());

  const missing = configuration.marts
    .filter(({ joins }) => joins.length > 0)
    .flatMap(tablesOf)
    .filter((table) => !isThere(table));
  if (missing.length > 0) {
    throw new UserError(
      "TABLES_MISSING",
      `Database ${database} lacks tables that are to be joined: ${missing.join(", ")}`,
      {
        hint: "Check --database_name, or name other tables in the configuration",
        exitCode: ExitCode.configuration,
      },
    );
  }
  const marts = configuration.marts.filter((mart) => {
    const there = isThere(mart.base);
    if (!there)
      context.report.warn(
        "TABLE_MISSING",
        `${mart.name}: database ${database} has no table ${mart.base}; it is skipped`,
      );
    return there;
  });
  const wanted = [...new Set(marts.flatMap(tablesOf))];
  const sources = new Map<string, Source>();
  const failures = new Map<string, unknown>();
  await context.step("read the schemas", () =>
    sideBySide(wanted, options.parallelism, context.signal, async (table) => {
      const entry = byName.get(table.toLowerCase());
      const described = configuration.tables.get(table);
      if (entry === undefined || described === undefined) return;
      try {
        sources.set(table, await openSource(context, spark, entry, described));
      } catch (error) {
        failures.set(table, error);
      }
    }),
  );
  context.signal.throwIfAborted();
  checkKeys(sources);
  return { marts, sources, failures };
}

async function openSource(
  { storage }: JobContext<unknown>,
  spark: SparkSession,
  entry: CatalogEntry,
  described: TableConfiguration,
): Promise<Source> {
  const rows = await entry.read(spark);
  const listedAt = Date.now();
  // Where the files can't be told, as of a table with a million of them, the rows tell.
  const [schema, names] = await Promise.all([rows.schema(), rows.inputFiles().catch(() => [])]);
  const key = described.key.map((name) => findColumn(schema, name) ?? name);
  return {
    configuration: { ...described, key },
    schema,
    clock: clockOf(schema, described.incrementalColumn, described.name),
    files: await sourceFiles(names, storage, listedAt),
    rows,
  };
}

function checkKeys(sources: ReadonlyMap<string, Source>): void {
  const problems = [...sources].flatMap(([table, { configuration, schema }]) =>
    configuration.key
      .filter((name) => findColumn(schema, name) === undefined)
      .map((name) => `${table} has no column ${name}`),
  );
  if (problems.length === 0) return;
  throw new UserError("KEY_COLUMNS_MISSING", "Keys are configured whose columns aren't there", {
    problems,
    hint: "Correct the key in the configuration",
    exitCode: ExitCode.configuration,
  });
}
