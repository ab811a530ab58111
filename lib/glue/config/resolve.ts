import type * as z from "zod";
import { ExitCode, UserError } from "../../errors.js";
import { nearest } from "../suggest.js";
import { type InfraSettings, infraSchema } from "./infra-schema.js";
import { definitionProblems, validDefinitions } from "./schedule-check.js";
import type { Definitions } from "./schedule-schema.js";
import { configFileSchema, DEFAULTS, type Settings, settingsSchema } from "./schema.js";

/** A configuration file as it was read; what it says has not been checked yet. */
export interface ConfigFile {
  readonly path: string;
  readonly content: unknown;
  /** Line of the key that a path leads to, as far as the source shows it. */
  line(path: readonly PropertyKey[]): number | undefined;
}

/** What a command knows before the configuration is put together. */
export interface ResolveOptions {
  readonly file?: ConfigFile | undefined;
  /** Name of an environment in the file. */
  readonly environment?: string | undefined;
  /** Variables of the process. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** What flags say: path of the setting, value, and the flag for messages. */
  readonly flags?: readonly FlagSetting[];
}

export interface FlagSetting {
  readonly path: readonly string[];
  readonly value: unknown;
  /** As it stands on the command line: `--region`. */
  readonly flag: string;
}

/** Where a setting comes from, in the order in which one goes over the other. */
export type Origin =
  | { readonly kind: "default" }
  | { readonly kind: "file"; readonly path: string; readonly line: number | undefined }
  | { readonly kind: "environment"; readonly name: string; readonly path: string; readonly line: number | undefined }
  | { readonly kind: "variable"; readonly name: string }
  | { readonly kind: "flag"; readonly flag: string };

const RANK: readonly Origin["kind"][] = ["default", "file", "environment", "variable", "flag"];

/** The settings that hold, and where each comes from. */
export interface ResolvedConfig {
  readonly settings: Settings;
  /** By path with dots, e.g. `emr.driver.cores`; of every value that is no object. */
  readonly origins: ReadonlyMap<string, Origin>;
  readonly environment: string | undefined;
  /** What `glue-connect infra` makes, with its defaults. */
  readonly infra: InfraSettings;
  /** Jobs, triggers and workflows of the file. */
  readonly definitions: Definitions;
  /** The file, if there is one. */
  readonly file: string | undefined;
}

/** Variables that say a setting. */
export const CONFIG_VARIABLES: Readonly<Record<string, readonly string[]>> = {
  GLUE_CONNECT_TARGET: ["target"],
  GLUE_CONNECT_REGION: ["region"],
  GLUE_CONNECT_ARTIFACTS: ["artifacts"],
  GLUE_CONNECT_LOGS: ["logs"],
  GLUE_CONNECT_CATALOG: ["catalog"],
  GLUE_CONNECT_POSTGRES_URL: ["postgresUrl"],
  GLUE_CONNECT_EMR_APPLICATION_ID: ["emr", "applicationId"],
  GLUE_CONNECT_EMR_ROLE: ["emr", "role"],
  GLUE_CONNECT_GLUE_ROLE: ["glue", "role"],
  SPARK_REMOTE: ["remote"],
};

interface Layer {
  readonly content: unknown;
  origin(path: readonly string[]): Origin;
}

/**
 * Puts the settings together: defaults, file, environment of the file, variables, flags; the later goes over the earlier,
 * key by key.
 *
 * @throws UserError `CONFIG_INVALID` (exit 66) with everything that is wrong in all of them, `CONFIG_ENVIRONMENT_UNKNOWN` (64).
 */
export function resolveConfig(options: ResolveOptions): ResolvedConfig {
  const { file, environment } = options;
  const { definitions, problems } =
    file === undefined ? { definitions: NO_DEFINITIONS, problems: [] } : checkFile(file);
  const content = (isObject(file?.content) ? file.content : {}) as { readonly environments?: unknown };
  const { environments: named, ...base } = content;
  const environments = isObject(named) ? named : {};
  if (environment !== undefined && !Object.hasOwn(environments, environment)) {
    throw unknownEnvironment(environment, Object.keys(environments), file);
  }

  const layers: Layer[] = [{ content: DEFAULTS, origin: () => ({ kind: "default" }) }];
  if (file !== undefined) {
    const { path } = file;
    layers.push({ content: onlySettings(base), origin: (key) => ({ kind: "file", path, line: file.line(key) }) });
    if (environment !== undefined) {
      layers.push({
        content: environments[environment],
        origin: (key) => ({
          kind: "environment",
          name: environment,
          path,
          line: file.line(["environments", environment, ...key]),
        }),
      });
    }
  }
  for (const [name, path] of Object.entries(CONFIG_VARIABLES)) {
    const value = options.env[name];
    if (value === undefined || value === "") continue;
    layers.push({ content: nested(path, value), origin: () => ({ kind: "variable", name }) });
  }
  for (const { path, value, flag } of options.flags ?? []) {
    layers.push({ content: nested(path, value), origin: () => ({ kind: "flag", flag }) });
  }

  const origins = new Map<string, Origin>();
  const merged: Record<string, unknown> = {};
  for (const layer of layers) if (isObject(layer.content)) merge(merged, layer.content, [], layer, origins);
  const checked = settingsSchema.safeParse(merged);
  if (!checked.success || problems.length > 0) {
    // What is wrong in the file was found there already, with the rest of the file.
    const isNews = ({ path }: Issue) => {
      const kind = originOf(path.map(String), origins)?.kind;
      return problems.length === 0 || kind === "variable" || kind === "flag";
    };
    const more = (checked.error?.issues ?? [])
      .filter(isNews)
      .flatMap((issue) => describeIssue(issue, (path) => originText(originOf(path.map(String), origins))));
    throw new ConfigInvalid([...problems, ...more], file, definitions);
  }
  const infra = infraSchema.parse((content as { readonly infra?: unknown }).infra ?? {});
  return { settings: checked.data, origins, environment, definitions, infra, file: file?.path };
}

/** Whether one setting was said by something that goes over what said the other. */
export function outranks(config: ResolvedConfig, setting: string, other: string): boolean {
  const rank = (path: string) => {
    const origin = config.origins.get(path);
    return origin === undefined ? -1 : RANK.indexOf(origin.kind);
  };
  return rank(setting) > rank(other);
}

/** `glue-connect.config.ts, line 12`, `variable GLUE_CONNECT_REGION`, `--region`. */
export function originText(origin: Origin | undefined): string | undefined {
  switch (origin?.kind) {
    case "file":
    case "environment":
      return `${origin.path}${origin.line === undefined ? "" : `, line ${origin.line}`}`;
    case "variable":
      return `variable ${origin.name}`;
    case "flag":
      return origin.flag;
    default:
      return undefined;
  }
}

const NO_DEFINITIONS: Definitions = { jobs: {}, triggers: {}, workflows: {}, scheduler: {} };

/** The whole file is checked, also the environments that this command doesn't use. */
function checkFile(file: ConfigFile): { readonly definitions: Definitions; readonly problems: readonly string[] } {
  const checked = configFileSchema.safeParse(file.content);
  const where = (path: readonly PropertyKey[]) => {
    const line = file.line(path);
    return `${file.path}${line === undefined ? "" : `, line ${line}`}`;
  };
  const problems = [
    ...(checked.error?.issues ?? []).flatMap((issue) => describeIssue(issue, where)),
    ...definitionProblems((file.content ?? {}) as Readonly<Record<string, unknown>>).map(({ path, message }) =>
      sayProblem(path, message, where),
    ),
  ];
  const content = (isObject(file.content) ? file.content : {}) as Readonly<Record<string, unknown>>;
  const { jobs = {}, triggers = {}, workflows = {}, scheduler = {} } = checked.data ?? validDefinitions(content);
  return { definitions: { jobs, triggers, workflows, scheduler }, problems: [...new Set(problems)] };
}

/** What other subjects have in the file is not a setting. */
function onlySettings(content: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(content).filter(([key]) => Object.hasOwn(settingsSchema.shape, key)));
}

function nested(path: readonly string[], value: unknown): unknown {
  return path.reduceRight<unknown>((inner, key) => ({ [key]: inner }), value);
}

function merge(
  target: Record<string, unknown>,
  content: unknown,
  path: readonly string[],
  layer: Layer,
  origins: Map<string, Origin>,
): void {
  for (const [key, value] of Object.entries(content as Readonly<Record<string, unknown>>)) {
    if (value === undefined) continue;
    const own = [...path, key];
    if (isObject(value)) {
      const inner = isObject(target[key]) ? { ...(target[key] as Record<string, unknown>) } : {};
      target[key] = inner;
      merge(inner, value, own, layer, origins);
    } else {
      target[key] = value;
      origins.set(own.join("."), layer.origin(own));
    }
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function originOf(path: readonly string[], origins: ReadonlyMap<string, Origin>): Origin | undefined {
  const key = path.join(".");
  const exact = origins.get(key);
  if (exact !== undefined) return exact;
  // A problem of a list's element, or of an object as a whole.
  for (const [known, origin] of origins) {
    if (known === key || key.startsWith(`${known}.`) || known.startsWith(`${key}.`)) return origin;
  }
  return undefined;
}

type Issue = z.core.$ZodIssue;

/** One line for each thing that is wrong: the setting, what is wrong with it, where it stands. */
function describeIssue(issue: Issue, where: Where): string[] {
  const say = (path: readonly PropertyKey[], what: string) => sayProblem(path, what, where);
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => {
      const meant = nearest(key, keysAt(issue.path));
      return say([...issue.path, key], `is no setting${meant === undefined ? "" : `; did you mean ${meant}?`}`);
    });
  }
  if (issue.code === "invalid_type") {
    const article = /^[aeiou]/.test(issue.expected) ? "an" : "a";
    return [say(issue.path, issue.message.startsWith("is ") ? issue.message : `is not ${article} ${issue.expected}`)];
  }
  if (issue.code === "invalid_union") {
    return [
      say(issue.path, issue.message.startsWith("is ") ? issue.message : "is not a text, a number, true or false"),
    ];
  }
  if (issue.code === "invalid_key") return [say(issue.path, issue.issues[0]?.message ?? issue.message)];
  return [say(issue.path, issue.message)];
}

type Where = (path: readonly PropertyKey[]) => string | undefined;

function sayProblem(path: readonly PropertyKey[], what: string, where: Where): string {
  const place = where(path);
  const name = path.map(String).join(".");
  return `${name === "" ? "the configuration" : name} ${what}${place === undefined ? "" : ` (${place})`}`;
}

/** The settings that there are at a path of the schema, for suggestions. */
function keysAt(path: readonly PropertyKey[]): string[] {
  let schema: unknown = configFileSchema;
  for (const key of path) {
    schema = unwrapped(schema);
    const { shape, valueType, element } = schema as Inside & { shape?: Record<PropertyKey, unknown> };
    schema = shape?.[key] ?? valueType ?? element;
  }
  return Object.keys((unwrapped(schema) as { shape?: object } | undefined)?.shape ?? {});
}

interface Inside {
  readonly valueType?: unknown;
  readonly element?: unknown;
  readonly unwrap?: () => unknown;
  /** Of a schema with a transformation behind it. */
  readonly in?: unknown;
  readonly options?: readonly unknown[];
}

/** Kinds of triggers have the same keys: those that aren't for a kind are known by it, too. */
function unwrapped(schema: unknown): unknown {
  const { element, unwrap, in: before, options } = (schema ?? {}) as Inside;
  const inner = element === undefined ? (unwrap?.call(schema) ?? before ?? options?.[0]) : undefined;
  return inner === undefined ? schema : unwrapped(inner);
}

/** `CONFIG_INVALID`, with what could be read all the same: whoever knows more about it can say that, too. */
export class ConfigInvalid extends UserError {
  readonly file: ConfigFile | undefined;
  /** Jobs and triggers that are right by themselves. */
  readonly readable: Definitions;

  constructor(problems: readonly string[], file: ConfigFile | undefined, readable: Definitions) {
    super("CONFIG_INVALID", "The configuration can't be used", {
      problems,
      hint: "Correct them; `glue-connect config print --resolved` shows what holds, and from where",
      exitCode: ExitCode.configuration,
    });
    this.file = file;
    this.readable = readable;
  }
}

function unknownEnvironment(name: string, known: readonly string[], file: ConfigFile | undefined): UserError {
  const where = file === undefined ? "there is no glue-connect.config.ts here" : file.path;
  const meant = nearest(name, known);
  return new UserError("CONFIG_ENVIRONMENT_UNKNOWN", `There is no environment ${JSON.stringify(name)}: ${where}`, {
    problems: known.length === 0 ? [] : [`Environments in the file: ${known.join(", ")}`],
    hint:
      meant === undefined ? "Add it under `environments` in the file, or leave --env out" : `Did you mean ${meant}?`,
    exitCode: ExitCode.usage,
  });
}
