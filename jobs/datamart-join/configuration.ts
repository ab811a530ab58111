import * as z from "zod";
import { ExitCode, UserError } from "../../lib/errors.js";
import type { ObjectStore } from "../../lib/storage/index.js";

/** A source table. */
export interface TableConfiguration {
  readonly name: string;
  /** What stands before its columns' names where tables have columns of one name. */
  readonly shortName: string;
  /** The column that tells which rows are new. */
  readonly incrementalColumn: string;
  /** What tells its rows apart; empty: not known. */
  readonly key: readonly string[];
}

export type JoinType = "inner" | "left";

/** One join: the table, and the columns that are equal there and in an earlier table. */
export interface JoinConfiguration {
  readonly table: string;
  readonly on: readonly { readonly left: string; readonly right: string }[];
  readonly type: JoinType;
  /** The earlier table; `undefined`: the first one that has all of the columns. */
  readonly to: string | undefined;
}

/** One output: joined tables, or one that stands alone. */
export interface MartConfiguration {
  /** Name of its folder. */
  readonly name: string;
  readonly base: string;
  readonly joins: readonly JoinConfiguration[];
  /** The table whose rows the joined rows are grouped by: what changed is written again group by group. */
  readonly groupTable: string;
}

export interface Configuration {
  /** Where to write, unless the command line says it. */
  readonly outputPath: string | undefined;
  readonly tables: ReadonlyMap<string, TableConfiguration>;
  readonly marts: readonly MartConfiguration[];
}

const PREFIX = "account_metadata_datamart_public_";
const documented = (table: string) => `${PREFIX}${table}`;

/** The documented tables and their incremental columns. */
const DOCUMENTED_TABLES: Readonly<Record<string, string>> = {
  [documented("queue")]: "updated_at",
  [documented("account")]: "updated_at",
  [documented("account_metadata")]: "updated_at",
  [documented("settlement_transaction")]: "created_at",
  [documented("account_risk")]: "updated_at",
  [documented("adjustment")]: "updated_at",
};

const DOCUMENTED_JOINED: JoinedConfiguration = {
  base: documented("account"),
  joins: [
    { table: documented("account_metadata"), on: ["account_id"] },
    { table: documented("account_risk"), on: ["account_id"] },
    { table: documented("queue"), on: ["account_id"] },
    { table: documented("settlement_transaction"), on: ["queue_id"] },
  ],
  group_table: documented("settlement_transaction"),
};

/** Name of the joined output. */
export const JOINED = "joined";

const name = z.string().trim().min(1, "is empty");
const columns = z.union([name, z.array(name)]).transform((value) => (Array.isArray(value) ? value : [value]));
const tableSchema = z.strictObject({
  incremental_column: name.optional(),
  key: columns.optional(),
  short_name: name.regex(/^\w+$/, "may have letters, digits and underscores").optional(),
});
const joinSchema = z.strictObject({
  table: name,
  on: z.array(z.union([name, z.strictObject({ left: name, right: name })])).min(1, "names no column"),
  type: z.enum(["inner", "left"], { error: 'is neither "inner" nor "left"' }).optional(),
  to: name.optional(),
});
const joinedSchema = z.strictObject({ base: name, joins: z.array(joinSchema), group_table: name });
const fileSchema = z.strictObject({
  output_path: z
    .string()
    .regex(/^(s3a?:\/\/[^/]+|file:.)/, "must be a location like s3://bucket/key or file:///path")
    .optional(),
  tables: z.record(name, tableSchema).optional(),
  joined: joinedSchema.optional(),
});
type File = z.input<typeof fileSchema>;
type JoinedConfiguration = z.input<typeof joinedSchema>;

/**
 * Reads the job's configuration.
 *
 * @param uri of a JSON file; `undefined`: the six documented tables.
 * @throws UserError `CONFIGURATION_NOT_FOUND`, `CONFIGURATION_INVALID` with everything that is wrong in it.
 */
export async function loadConfiguration(storage: ObjectStore, uri: string | undefined): Promise<Configuration> {
  if (uri === undefined) return readConfiguration({}, "the defaults");
  const object = await storage.get(uri);
  if (object === undefined) {
    throw new UserError("CONFIGURATION_NOT_FOUND", `There is no configuration at ${uri}`, {
      hint: "Correct --config, or leave it out for the six documented tables",
      exitCode: ExitCode.configuration,
    });
  }
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(object.body).toString("utf8"));
  } catch (error) {
    throw invalid(uri, [`it is no JSON: ${(error as Error).message}`]);
  }
  return readConfiguration(json, uri);
}

/** @param where the configuration came from, for messages. */
export function readConfiguration(json: unknown, where: string): Configuration {
  const parsed = fileSchema.safeParse(json);
  if (!parsed.success) {
    throw invalid(
      where,
      parsed.error.issues.map(({ path, message }) => `${path.length === 0 ? "it" : path.join(".")}: ${message}`),
    );
  }
  const problems: string[] = [];
  const file = folded(parsed.data, problems);
  const joined = file.joined ?? DOCUMENTED_JOINED;
  const tables = readTables(file, joined);

  const order = [joined.base, ...joined.joins.map(({ table }) => table)];
  for (const [index, table] of order.entries()) {
    if (order.indexOf(table) !== index) problems.push(`joined: ${table} is joined more than once`);
  }
  if (!order.includes(joined.group_table)) problems.push(`joined.group_table: ${joined.group_table} isn't joined`);
  for (const [index, { table, type = "inner", to }] of joined.joins.entries()) {
    if (to !== undefined && !order.slice(0, index + 1).includes(to)) {
      problems.push(`joined.joins.${index}.to: ${to} doesn't come before ${table}`);
    }
    if (type === "left" && table === joined.group_table) {
      problems.push(
        `joined.joins.${index}: the group table can't be joined left; make it the base, and join the others left`,
      );
    }
  }
  const shortNames = order.map((table) => tables.get(table)?.shortName.toLowerCase() ?? "");
  for (const [index, short] of shortNames.entries()) {
    if (shortNames.indexOf(short) !== index) problems.push(`tables.${order[index]}.short_name: ${short} is used twice`);
  }
  const alone = [...tables.values()].filter(({ name: table }) => !order.includes(table));
  const folders = [JOINED, ...alone.map(({ shortName }) => shortName)].flatMap((folder) => [
    folder,
    `${folder}_emptied`,
  ]);
  for (const { name: table, shortName } of alone.filter((one) => /^[_.]/.test(one.shortName))) {
    problems.push(`tables.${table}.short_name: readers don't see a folder like ${shortName}; begin it with a letter`);
  }
  for (const [index, folder] of folders.entries()) {
    if (folders.indexOf(folder) !== index)
      problems.push(`two outputs would be in one folder ${folder}: give a table another short_name`);
  }
  if (problems.length > 0) throw invalid(where, problems);

  const mart: MartConfiguration = {
    name: JOINED,
    base: joined.base,
    groupTable: joined.group_table,
    joins: joined.joins.map(({ table, on, type, to }) => ({
      table,
      on: on.map((pair) => (typeof pair === "string" ? { left: pair, right: pair } : pair)),
      type: type ?? "inner",
      to,
    })),
  };
  return {
    outputPath: file.output_path,
    tables,
    marts: [
      mart,
      ...alone.map(({ name: table, shortName }) => ({ name: shortName, base: table, joins: [], groupTable: table })),
    ],
  };
}

/** Names of tables in lower case: catalogs find them whatever their case, and each must be one table here. */
function folded(file: File, problems: string[]): File {
  const tables: Record<string, z.input<typeof tableSchema>> = {};
  for (const [table, described] of Object.entries(file.tables ?? {})) {
    const lower = table.toLowerCase();
    if (Object.hasOwn(tables, lower)) problems.push(`tables.${table}: ${lower} is described twice`);
    tables[lower] = described;
  }
  const { joined } = file;
  return {
    output_path: file.output_path,
    tables,
    joined: joined && {
      base: joined.base.toLowerCase(),
      joins: joined.joins.map((join) => ({ ...join, table: join.table.toLowerCase(), to: join.to?.toLowerCase() })),
      group_table: joined.group_table.toLowerCase(),
    },
  };
}

/** With joins of its own, a configuration has no documented tables but those that it names. */
function readTables(file: File, joined: JoinedConfiguration): Map<string, TableConfiguration> {
  const given = file.tables ?? {};
  const wanted = new Set([
    ...(file.joined === undefined ? Object.keys(DOCUMENTED_TABLES) : []),
    ...Object.keys(given),
    joined.base,
    ...joined.joins.map(({ table }) => table),
  ]);
  return new Map(
    [...wanted].map((table) => {
      const { incremental_column, key = [], short_name } = given[table] ?? {};
      return [
        table,
        {
          name: table,
          shortName: short_name ?? (table.startsWith(PREFIX) ? table.slice(PREFIX.length) : table),
          incrementalColumn: incremental_column ?? DOCUMENTED_TABLES[table] ?? "updated_at",
          key: typeof key === "string" ? [key] : key,
        },
      ];
    }),
  );
}

function invalid(where: string, problems: readonly string[]): UserError {
  return new UserError("CONFIGURATION_INVALID", `The configuration (${where}) can't be used`, {
    problems,
    hint: "The job's README has every key with an example",
    exitCode: ExitCode.configuration,
  });
}
