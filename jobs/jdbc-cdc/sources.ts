import { ExitCode, UserError } from "../../lib/errors.js";
import { type CatalogEntry, type JobContext, tableFilter, warnOfUnknownTables } from "../../lib/glue/index.js";
import { applicationName, type PostgresConnection } from "../../lib/postgres/connection.js";
import { PostgresSession } from "../../lib/postgres/session.js";
import { type CatalogReader, type SourceTable, sourceTables } from "../../lib/postgres/source-tables.js";
import type { Arguments } from "./arguments.js";
import { findConnection, postgresSettings } from "./connection.js";

/** A table of the run: its name in the output, and where its rows are. */
export interface Source {
  /** Name of its folder, and of its row in the tracker. */
  readonly name: string;
  readonly connection: PostgresConnection;
  /** `undefined`: the catalog names it, and the database has no such table. */
  readonly table: SourceTable | undefined;
  /** Where it should be, for messages. */
  readonly location: string;
}

/** A table whose connection can't be used: it fails, and those of other connections don't. */
export interface UnreachableSource {
  readonly name: string;
  readonly error: unknown;
}

/** A table in the catalog of the database, as a snapshot or a session sees it; `undefined`: there is none. */
export async function findTable(
  catalog: CatalogReader,
  { schema, name }: Pick<SourceTable, "schema" | "name">,
): Promise<SourceTable | undefined> {
  return (await sourceTables(catalog, { names: [[schema, name]] }))[0];
}

type Context = JobContext<Arguments>;

/**
 * The tables of the run. With Glue's catalog those of the database, each through its connection; with a connection that is
 * given, and on this machine, those that PostgreSQL lists.
 *
 * @throws UserError `DATABASE_NOT_FOUND`, `CONNECTION_INVALID`, `NO_TABLES`, and what connecting throws.
 */
export async function findSources(context: Context): Promise<readonly (Source | UnreachableSource)[]> {
  const { args } = context;
  const wanted = tableFilter(args.tables);
  const fromGlue = args.connection === undefined && context.catalog.kind === "glue";
  const sources = fromGlue ? await cataloged(context, wanted) : await listed(context, wanted);
  if (sources.length === 0) {
    throw new UserError("NO_TABLES", `There are no tables to load in ${args.database_name}`, {
      hint:
        args.tables === undefined
          ? "Check --database_name and --schemas, and what the role may see"
          : `Check --tables ${JSON.stringify(args.tables)}`,
      exitCode: ExitCode.configuration,
    });
  }
  return sources;
}

async function listed(context: Context, wanted: (table: string) => boolean): Promise<readonly Source[]> {
  const { args } = context;
  const settings =
    args.connection === undefined
      ? { host: "embedded", port: undefined, database: args.database_name, secret: undefined, mustExist: true }
      : postgresSettings(await findConnection(context, args.connection, args.database_name), args.database_name);
  const connection = await context.postgres(settings);
  await using session = await connect(context, connection);
  const tables = await sourceTables(session, { schemas: args.schemas });
  const all = tables.map((table) => ({
    name: args.schemas.length === 1 ? table.name : `${table.schema}.${table.name}`,
    connection,
    table,
    location: `${connection.database}.${table.schema}.${table.name}`,
  }));
  warnOfUnknown(context, all);
  return all.filter(({ name }) => wanted(name));
}

function warnOfUnknown({ args, report }: Context, tables: readonly { readonly name: string }[]): void {
  const names = tables.map(({ name }) => name);
  warnOfUnknownTables(report, args.database_name, args.tables, names);
}

async function cataloged(
  context: Context,
  wanted: (table: string) => boolean,
): Promise<readonly (Source | UnreachableSource)[]> {
  const all = await context.catalog.tables(context.args.database_name);
  warnOfUnknown(context, all);
  const entries = all.filter(({ name }) => wanted(name));
  const strange = entries.filter(({ connection, location }) => connection === undefined || location === undefined);
  for (const { name } of strange) {
    context.report.table(name).status = "SKIPPED";
    context.report.table(name).reason = "it is no JDBC table: the catalog names no connection";
    context.report.warn("NOT_A_JDBC_TABLE", `${name}: the catalog names no connection; skipped`);
  }
  const byConnection = new Map<string, CatalogEntry[]>();
  for (const entry of entries) {
    if (strange.includes(entry)) continue;
    byConnection.set(entry.connection ?? "", [...(byConnection.get(entry.connection ?? "") ?? []), entry]);
  }
  const found: (Source | UnreachableSource)[] = [];
  const errors: unknown[] = [];
  for (const [name, those] of byConnection) {
    try {
      found.push(...(await connected(context, name, those)));
    } catch (error) {
      context.signal.throwIfAborted();
      errors.push(error);
      found.push(...those.map((entry) => ({ name: entry.name, error })));
    }
  }
  if (errors.length > 0 && errors.length === byConnection.size) throw errors[0];
  return found.toSorted((left, right) => (left.name < right.name ? -1 : 1));
}

/** The tables of one connection. */
async function connected(context: Context, name: string, entries: readonly CatalogEntry[]): Promise<readonly Source[]> {
  // A crawler's location is database.schema.table.
  const places = entries.map((entry) => ({ entry, parts: (entry.location ?? "").split(".") }));
  const settings = postgresSettings(await context.catalog.connection(name), places[0]?.parts[0]);
  const connection = await context.postgres(settings);
  await using session = await connect(context, connection);
  const names = places.map(({ parts }) => [parts.at(-2) ?? "public", parts.at(-1) ?? ""] as const);
  const tables = await sourceTables(session, { names });
  return places.map(({ entry }, index) => {
    const [schema, table] = names[index] ?? ["", ""];
    const match = tables.find((candidate) => candidate.schema === schema && candidate.name === table);
    return { name: entry.name, connection, table: match, location: entry.location ?? "" };
  });
}

function connect(context: Context, connection: PostgresConnection): Promise<PostgresSession> {
  return PostgresSession.connect(connection, {
    applicationName: applicationName(context.runId),
    signal: context.signal,
  });
}
