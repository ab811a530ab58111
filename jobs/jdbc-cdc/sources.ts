import { ExitCode, UserError } from "../../lib/errors.js";
import { type CatalogEntry, type JobContext, tableFilter } from "../../lib/glue/index.js";
import type { PostgresConnection } from "../../lib/postgres/connection.js";
import { PostgresSession } from "../../lib/postgres/session.js";
import { type SourceTable, sourceTables } from "../../lib/postgres/source-tables.js";
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

type Context = JobContext<Arguments>;

/**
 * The tables of the run. With Glue's catalog those of the database, each through its connection; with a connection that is
 * given, and on this machine, those that PostgreSQL lists.
 *
 * @throws UserError `DATABASE_NOT_FOUND`, `CONNECTION_INVALID`, `NO_TABLES`, and what connecting throws.
 */
export async function findSources(context: Context): Promise<readonly Source[]> {
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
      ? { host: "embedded", port: undefined, database: args.database_name, secret: undefined }
      : postgresSettings(await findConnection(context, args.connection, args.database_name), args.database_name);
  const connection = await context.postgres(settings);
  await using session = await connect(context, connection);
  const tables = await sourceTables(session, { schemas: args.schemas });
  return tables
    .map((table) => ({
      name: args.schemas.length === 1 ? table.name : `${table.schema}.${table.name}`,
      connection,
      table,
      location: `${connection.database}.${table.schema}.${table.name}`,
    }))
    .filter(({ name }) => wanted(name));
}

async function cataloged(context: Context, wanted: (table: string) => boolean): Promise<readonly Source[]> {
  const entries = (await context.catalog.tables(context.args.database_name)).filter(({ name }) => wanted(name));
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
  const found: Source[] = [];
  for (const [name, those] of byConnection) {
    // A crawler's location is database.schema.table.
    const places = those.map((entry) => ({ entry, parts: (entry.location ?? "").split(".") }));
    const connection = await context.postgres(
      postgresSettings(await context.catalog.connection(name), places[0]?.parts[0]),
    );
    await using session = await connect(context, connection);
    const names = places.map(({ parts }) => [parts.at(-2) ?? "public", parts.at(-1) ?? ""] as const);
    const tables = await sourceTables(session, { names });
    for (const [index, { entry }] of places.entries()) {
      const [schema, table] = names[index] ?? ["", ""];
      const match = tables.find((candidate) => candidate.schema === schema && candidate.name === table);
      found.push({ name: entry.name, connection, table: match, location: entry.location ?? "" });
    }
  }
  return found.toSorted((left, right) => (left.name < right.name ? -1 : 1));
}

function connect(context: Context, connection: PostgresConnection): Promise<PostgresSession> {
  return PostgresSession.connect(connection, { applicationName: applicationName(context), signal: context.signal });
}

/** How all connections of a run call themselves. */
export const applicationName = ({ runId }: Pick<Context, "runId">) => `glue-connect ${runId}`;
