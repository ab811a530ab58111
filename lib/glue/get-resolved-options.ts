import { isRefusedArgument } from "./reserved-arguments.js";

/** What `getResolvedOptions` throws, as its Python namesake does. */
export class GlueArgumentError extends Error {
  override readonly name = "GlueArgumentError";
}

const BOOKMARK_OPTIONS = ["job-bookmark-enable", "job-bookmark-pause", "job-bookmark-disable"] as const;
const CONTINUATION_OPTIONS: readonly string[] = [
  "continuation-enabled",
  "continuation-readonly",
  "continuation-ignore",
];

/** Arguments that Glue reads beside those a script asks for; each may be given, none has to. */
const OPTIONAL = [
  "job-bookmark-option",
  "continuation-option",
  "job-bookmark-from",
  "job-bookmark-to",
  "JOB_ID",
  "JOB_RUN_ID",
  "SECURITY_CONFIGURATION",
  "encryption-type",
  "enable-data-lineage",
  "RedshiftTempDir",
  "TempDir",
] as const;

/** What `getResolvedOptions` gives: text for each name asked for, and what Glue adds. */
export type ResolvedOptions<Name extends string> = { readonly [Key in Name as Underscored<Key>]: string } & {
  readonly job_bookmark_option: string;
  readonly [name: string]: string | undefined;
};

type Underscored<Name extends string> = Name extends `${infer Head}-${infer Tail}`
  ? `${Head}_${Underscored<Tail>}`
  : Name;

/**
 * The arguments of a job run, by the rules of `awsglue.utils.getResolvedOptions`, for scripts that are ported as they are;
 * new jobs declare theirs with `defineJob`.
 *
 * Every name asked for must be given; what wasn't asked for is ignored; names are never abbreviated; a dash in a name is an
 * underscore in the result; `TempDir` and `RedshiftTempDir` may be missing and follow each other; `job_bookmark_option` is
 * `job-bookmark-disable` when nothing says otherwise. Of an argument given twice the last one counts.
 *
 * @param argv `process.argv`, or the arguments alone.
 * @example
 * const args = getResolvedOptions(process.argv, ["JOB_NAME", "output_path"]);
 * console.log(args.output_path);
 * @throws GlueArgumentError for a missing argument or value, a value that isn't one of Glue's, a name that Glue keeps for
 *   itself, and bookmark bounds that don't fit the bookmark option.
 */
export function getResolvedOptions<const Name extends string>(
  argv: readonly string[],
  names: readonly Name[],
): ResolvedOptions<Name> {
  const reserved = names.filter(isRefusedArgument);
  if (reserved.length > 0) throw new GlueArgumentError(`Using reserved arguments ${reserved.join(", ")}`);

  const given = readValues(argv, new Set<string>([...names, ...OPTIONAL]));
  const values: Record<string, string> = {};
  for (const [name, value] of given) values[name.replaceAll("-", "_")] = value;
  const missing = names.filter((name) => !given.has(name) && !isTempDir(name));
  if (missing.length > 0) {
    throw new GlueArgumentError(
      `the following arguments are required: ${missing.map((name) => `--${name}`).join(", ")}`,
    );
  }

  checkChoice(given, "job-bookmark-option", BOOKMARK_OPTIONS);
  checkChoice(given, "continuation-option", CONTINUATION_OPTIONS);
  checkChoice(given, "encryption-type", ["sse-s3"]);
  const tempDir = values.TempDir ?? values.RedshiftTempDir;
  if (tempDir !== undefined) Object.assign(values, { TempDir: tempDir, RedshiftTempDir: tempDir });

  const { continuation_option: continuation, ...result } = values;
  result.job_bookmark_option ??= BOOKMARK_OPTIONS[continuationIndex(continuation)] ?? "job-bookmark-disable";
  checkBookmarkBounds(result);
  return result as ResolvedOptions<Name>;
}

/** Only names that are known take a value: what follows an unknown one is its own business. */
function readValues(argv: readonly string[], known: ReadonlySet<string>): Map<string, string> {
  const given = new Map<string, string>();
  for (let index = 0; index < argv.length; index++) {
    const token = argv[index] ?? "";
    if (!token.startsWith("--")) continue;
    const equals = token.indexOf("=");
    const name = equals < 0 ? token.slice(2) : token.slice(2, equals);
    if (!known.has(name)) continue;
    if (equals >= 0) {
      given.set(name, token.slice(equals + 1));
      continue;
    }
    const value = argv[index + 1];
    if (value === undefined || looksLikeOption(value)) {
      throw new GlueArgumentError(`argument --${name}: expected one argument`);
    }
    given.set(name, value);
    index++;
  }
  return given;
}

/** Python's argparse: a dash begins an option, unless a negative number or a text with a blank follows, or nothing. */
function looksLikeOption(value: string): boolean {
  return value.startsWith("-") && value !== "-" && !/^-(\d+|\d*\.\d+)$/.test(value) && !value.includes(" ");
}

function isTempDir(name: string): boolean {
  return name === "TempDir" || name === "RedshiftTempDir";
}

function checkChoice(given: ReadonlyMap<string, string>, name: string, choices: readonly string[]): void {
  const value = given.get(name);
  if (value === undefined || choices.includes(value)) return;
  throw new GlueArgumentError(
    `argument --${name}: invalid choice: '${value}' (choose from ${choices.map((choice) => `'${choice}'`).join(", ")})`,
  );
}

/** The old option's words stand in the same order as the new one's. */
function continuationIndex(continuation: string | undefined): number {
  return CONTINUATION_OPTIONS.indexOf(continuation ?? "");
}

function checkBookmarkBounds(values: Readonly<Record<string, string>>): void {
  const absent = ["job_bookmark_from", "job_bookmark_to"].filter((name) => values[name] === undefined);
  const option = (name: string | undefined) => `--${(name ?? "").replaceAll("_", "-")}`;
  if (values.job_bookmark_option === "job-bookmark-pause") {
    if (absent.length === 1) throw new GlueArgumentError(`Missing option or value for ${option(absent[0])}`);
  } else if (absent.length === 0) {
    throw new GlueArgumentError(
      "Invalid option(s) --job-bookmark-from --job-bookmark-to: only job-bookmark-pause has bounds",
    );
  }
}
