import * as z from "zod";
import { ExitCode, UserError } from "../../lib/errors.js";
import { configurationValue } from "../../lib/glue/metadata.js";
import { EMBEDDED_HOST } from "../../lib/glue/postgres-settings.js";
import { nearest } from "../../lib/glue/suggest.js";
import { identifierProblem, type TableName } from "../../lib/postgres/identifiers.js";

/** What the configuration item of one load says. */
export interface Configuration {
  readonly warehouse: string;
  /** Which Iceberg catalog knows the table. */
  readonly catalogType: "glue" | "hadoop";
  readonly database: string;
  readonly table: string;
  readonly host: string;
  readonly port: number | undefined;
  readonly secret: string | undefined;
  readonly databaseName: string | undefined;
  /** TLS to the database, in libpq's words; `undefined`: `require`, and `disable` on this machine. */
  readonly sslMode: string | undefined;
  /** File with the authorities to trust, at the same path on the driver and on every executor. */
  readonly sslRootCertificate: string | undefined;
  readonly target: TableName;
  readonly loadType: "incremental" | "full";
  /** URI of the documented copy of the last snapshot id; `undefined` means a full overwrite in every run. */
  readonly snapshotUri: string | undefined;
  readonly snapshotKmsKeyId: string | undefined;
  /** Empty when the configuration names none. */
  readonly primaryKey: readonly string[];
  /** Keys that look like misspelt ones of ours: an optional key that isn't found changes what a run does. */
  readonly warnings: readonly string[];
}

const text = z
  .union([z.string(), z.number(), z.bigint()])
  .transform((value) => String(value).trim())
  .refine((value) => value !== "", "is empty");
const optionalText = z
  .union([z.string(), z.number(), z.bigint(), z.null()])
  .optional()
  .transform((value) =>
    value === undefined || value === null || String(value).trim() === "" ? undefined : String(value).trim(),
  );
const identifier = text.superRefine((value, context) => {
  const problem = identifierProblem(value);
  if (problem !== undefined) context.addIssue({ code: "custom", message: `can't be a PostgreSQL name: ${problem}` });
});
const columnList = z
  .union([z.string(), z.array(z.string()), z.null()])
  .optional()
  .transform((value) => (Array.isArray(value) ? value : (value ?? "").split(",")))
  .transform((names) => names.map((name) => name.trim()).filter((name) => name !== ""));

/** Every documented key under its documented name; what follows the blank line are additions of ours, all optional. */
const KEYS = {
  "target.iceberg_properties.iceberg_configuration.iceberg_catalog_warehouse": text,
  "target.iceberg_properties.database_name": text,
  "target.iceberg_properties.table_name": text,
  "target.db_load.aurora_host": text,
  "target.db_load.aurora_port": optionalText.refine(
    (value) => value === undefined || (/^\d+$/.test(value) && Number(value) >= 1 && Number(value) <= 65_535),
    "is not a port (1 to 65535)",
  ),
  "target.db_load.aurora_secret": optionalText,
  "target.db_load.aurora_db_name": optionalText,
  "target.db_load.aurora_db_target_table_name": identifier,
  "target.db_load.aurora_db_target_schema": identifier,
  "target.db_load.aurora_data_load_type": text
    .transform((value) => value.toLowerCase())
    .pipe(z.enum(["incremental", "full"], { error: 'is neither "incremental" nor "full"' })),
  "target.db_load.snapshot_s3_bucket": optionalText,
  "target.db_load.snapshot_s3_key": optionalText,
  "target.db_load.snapshot_s3_kms_key_id": optionalText,
  "target.db_load.primary_key": columnList,

  "target.iceberg_properties.iceberg_configuration.iceberg_catalog_type": optionalText
    .transform((value) => value?.toLowerCase())
    .pipe(z.enum(["glue", "hadoop"], { error: 'is neither "glue" nor "hadoop"' }).optional()),
  "target.db_load.aurora_ssl_mode": optionalText,
  "target.db_load.aurora_ssl_root_certificate": optionalText,
} as const;

type Key = keyof typeof KEYS;

/**
 * Reads the configuration item.
 *
 * @param item as it comes from the metadata table: nested maps, dotted attribute names, or both.
 * @param options `databaseGiven`: `--postgres-url` names the database, so the item needn't.
 * @throws UserError `CONFIGURATION_INVALID` with one line for each key that is missing or wrong.
 */
export function readConfiguration(
  item: Readonly<Record<string, unknown>>,
  options: { readonly where: string; readonly databaseGiven: boolean },
): Configuration {
  const problems: string[] = [];
  const read = <K extends Key>(key: K): z.output<(typeof KEYS)[K]> | undefined => {
    const value = configurationValue(item, key);
    const result = KEYS[key].safeParse(value);
    if (result.success) return result.data as z.output<(typeof KEYS)[K]>;
    problems.push(
      value === undefined || value === null
        ? `${key} is missing`
        : `${key} ${result.error.issues.map((issue) => issue.message).join(", ")}, got ${shown(key, value)}`,
    );
    return undefined;
  };

  const warehouse = read("target.iceberg_properties.iceberg_configuration.iceberg_catalog_warehouse") ?? "";
  const catalogType = read("target.iceberg_properties.iceberg_configuration.iceberg_catalog_type");
  const database = read("target.iceberg_properties.database_name") ?? "";
  const table = read("target.iceberg_properties.table_name") ?? "";
  const host = options.databaseGiven
    ? (optionalText.parse(configurationValue(item, "target.db_load.aurora_host") ?? undefined) ?? EMBEDDED_HOST)
    : (read("target.db_load.aurora_host") ?? "");
  const port = read("target.db_load.aurora_port");
  const secret = read("target.db_load.aurora_secret");
  const databaseName = read("target.db_load.aurora_db_name");
  const sslMode = read("target.db_load.aurora_ssl_mode");
  const sslRootCertificate = read("target.db_load.aurora_ssl_root_certificate");
  const schema = read("target.db_load.aurora_db_target_schema") ?? "";
  const name = read("target.db_load.aurora_db_target_table_name") ?? "";
  const loadType = read("target.db_load.aurora_data_load_type") ?? "incremental";
  const bucket = read("target.db_load.snapshot_s3_bucket");
  const key = read("target.db_load.snapshot_s3_key");
  const snapshotKmsKeyId = read("target.db_load.snapshot_s3_kms_key_id");
  const primaryKey = read("target.db_load.primary_key") ?? [];

  const elsewhere = host !== "" && host !== EMBEDDED_HOST && !options.databaseGiven;
  const mentioned = (key: string) => problems.some((problem) => problem.includes(key));
  if (elsewhere && secret === undefined && !mentioned("aurora_secret"))
    problems.push("target.db_load.aurora_secret is missing");
  if (elsewhere && port === undefined && !mentioned("aurora_port"))
    problems.push("target.db_load.aurora_port is missing");
  if (elsewhere && databaseName === undefined && !mentioned("aurora_db_name"))
    problems.push("target.db_load.aurora_db_name is missing");
  if (key !== undefined && bucket === undefined) {
    problems.push("target.db_load.snapshot_s3_bucket is missing, and snapshot_s3_key needs it");
  }
  const repeated = primaryKey.filter((column, index) => primaryKey.indexOf(column) !== index);
  if (repeated.length > 0) problems.push(`target.db_load.primary_key names ${repeated.join(", ")} more than once`);
  if (problems.length > 0) {
    throw new UserError("CONFIGURATION_INVALID", `The configuration item in ${options.where} can't be used`, {
      problems,
      hint: "Mend the item; the job's README lists every key with an example",
      exitCode: ExitCode.configuration,
    });
  }
  return {
    warehouse,
    catalogType: catalogType ?? (/^s3[an]?:/.test(warehouse) ? "glue" : "hadoop"),
    database,
    table,
    host,
    port: port === undefined ? undefined : Number(port),
    secret,
    databaseName,
    sslMode,
    sslRootCertificate,
    target: { schema, name },
    loadType,
    snapshotUri: key === undefined || bucket === undefined ? undefined : objectUri(bucket, key),
    snapshotKmsKeyId,
    primaryKey,
    warnings: misspeltKeys(item),
  };
}

/** Other programs keep keys of their own in the item; only those that nearly are one of ours are told of. */
function misspeltKeys(item: Readonly<Record<string, unknown>>): string[] {
  const known = Object.keys(KEYS);
  return leaves(item).flatMap((name) => {
    if (!name.startsWith("target.") || known.some((key) => key === name || name.startsWith(`${key}.`))) return [];
    const meant = known.find(
      (key) => parentOf(key) === parentOf(name) && nearest(lastOf(name), [lastOf(key)]) !== undefined,
    );
    return meant === undefined ? [] : [`${name} is not a key of this job; did you mean ${meant}?`];
  });
}

function leaves(value: unknown, prefix = ""): string[] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return [prefix];
  return Object.entries(value).flatMap(([name, inner]) => leaves(inner, prefix === "" ? name : `${prefix}.${name}`));
}

const parentOf = (name: string) => name.slice(0, name.lastIndexOf("."));
const lastOf = (name: string) => name.slice(name.lastIndexOf(".") + 1);

/** A bucket by its bare name, or locally a folder as `file:///...`. */
function objectUri(bucket: string, key: string): string {
  const base = bucket.includes("://") ? bucket : `s3://${bucket}`;
  return `${base.replace(/\/+$/, "")}/${key.replace(/^\/+/, "")}`;
}

/** A value in a message. A map or list isn't quoted: somebody may have put credentials where their reference belongs. */
function shown(key: Key, value: unknown): string {
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object" && value !== null) return "a map";
  if (key.endsWith("_secret")) return `a ${typeof value}`;
  const json = JSON.stringify(String(value));
  return json.length > 60 ? `${json.slice(0, 57)}...` : json;
}
