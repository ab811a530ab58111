import { ExitCode, UserError } from "../errors.js";
import { isGlueArgument } from "./reserved-arguments.js";
import { nearest } from "./suggest.js";

/** What every argument may say of itself. */
export interface ArgOptions {
  /** One sentence for `--help`. */
  readonly description: string;
}

/** Makes an argument that may be left out; the job then sees `undefined`. */
export interface OptionalArg extends ArgOptions {
  readonly optional: true;
}

/** Makes an argument that may be left out; the job then sees the default. */
export interface DefaultArg<T> extends ArgOptions {
  readonly default: T;
}

/** One argument of a job. Made by {@link arg}, never by hand. */
export interface Arg<T> {
  readonly description: string;
  /** How `--help` names the value, e.g. `<uri>`. */
  readonly placeholder: string;
  readonly required: boolean;
  /** The default as `--help` shows it. */
  readonly defaultText: string | undefined;
  readonly choices: readonly string[] | undefined;
  /** `--name` alone, without a value, is enough. */
  readonly isFlag: boolean;
  /** The value, or what is wrong with the text. */
  parse(text: string): { readonly value: T } | { readonly problem: string };
  /** The value when the argument isn't given; only called when it isn't required. */
  missing(): T;
}

/** The arguments of a job by name; names are written the way a job run gives them, e.g. `source_system_id`. */
// biome-ignore lint/suspicious/noExplicitAny: a table of arguments of any type; each keeps its own in ArgValues
export type ArgDefinitions = Readonly<Record<string, Arg<any>>>;

/** What the job sees of its arguments. */
export type ArgValues<Definitions extends ArgDefinitions> = {
  readonly [Name in keyof Definitions]: Definitions[Name] extends Arg<infer T> ? T : never;
};

type AnyOptions<T> = ArgOptions & { readonly default?: T; readonly optional?: boolean };
type Parsed<T> = { readonly value: T } | { readonly problem: string };

/**
 * How a job declares its arguments. Each takes `{description, default?, optional?}`; without `default` or `optional` the
 * argument is required.
 *
 * @example
 * const args = {
 *   metadata_table_name: arg.string({ description: "DynamoDB table with the configuration" }),
 *   load_type: arg.choice(["full", "incremental"], { description: "What to load", default: "incremental" }),
 *   tables: arg.list({ description: "Only these tables", optional: true }),
 * };
 */
export const arg = {
  /** Text, taken as it is; empty text is refused. */
  string: maker("<text>", parseString),

  /** A location: `s3://bucket/key`, `s3a://bucket/key` or `file:///path`. */
  uri: maker("<uri>", parseUri),

  /** A whole number, not below `min`. */
  integer,

  /** `true` or `false`; `--name` alone means true. */
  boolean: maker("<true|false>", parseBoolean, { isFlag: true }),

  /** Texts separated by commas; blanks around them are dropped. */
  list: maker<readonly string[]>("<a,b,...>", parseList, { show: (values) => values.join(",") }),

  /** One of a few words. */
  choice,
};

interface Maker<T> {
  (options: DefaultArg<T>): Arg<T>;
  (options: OptionalArg): Arg<T | undefined>;
  (options: ArgOptions): Arg<T>;
}

interface Least {
  readonly min?: number;
}

interface Shape<T> {
  readonly isFlag?: boolean;
  readonly show?: (value: T) => string;
  readonly choices?: readonly string[];
}

function maker<T>(placeholder: string, parse: (text: string) => Parsed<T>, shape: Shape<T> = {}): Maker<T> {
  const make = (options: AnyOptions<T>): Arg<T | undefined> => create(placeholder, parse, options, shape);
  return make as Maker<T>;
}

function choice<const T extends string>(choices: readonly T[], options: DefaultArg<NoInfer<T>>): Arg<T>;
function choice<const T extends string>(choices: readonly T[], options: OptionalArg): Arg<T | undefined>;
function choice<const T extends string>(choices: readonly T[], options: ArgOptions): Arg<T>;
function choice<const T extends string>(choices: readonly T[], options: AnyOptions<T>): Arg<T | undefined> {
  const parse = (text: string): Parsed<T> => {
    const value = choices.find((candidate) => candidate === text);
    if (value !== undefined) return { value };
    const meant = nearest(text, choices);
    const suggestion = meant === undefined ? "" : ` (did you mean ${meant}?)`;
    return { problem: `must be one of ${choices.join(", ")}; it is ${JSON.stringify(text)}${suggestion}` };
  };
  return create(`<${choices.join("|")}>`, parse, options, { choices });
}

function integer(options: DefaultArg<number> & Least): Arg<number>;
function integer(options: OptionalArg & Least): Arg<number | undefined>;
function integer(options: ArgOptions & Least): Arg<number>;
function integer(options: AnyOptions<number> & Least): Arg<number | undefined> {
  const { min } = options;
  const parse = (text: string): Parsed<number> => {
    const parsed = parseInteger(text);
    return "value" in parsed && min !== undefined && parsed.value < min
      ? { problem: `must be at least ${min}; it is ${text}` }
      : parsed;
  };
  return create("<number>", parse, options, {});
}

function create<T>(
  placeholder: string,
  parse: (text: string) => Parsed<T>,
  options: AnyOptions<T>,
  shape: Shape<T>,
): Arg<T | undefined> {
  const fallback = options.default;
  return {
    description: options.description,
    placeholder,
    required: fallback === undefined && options.optional !== true,
    defaultText: fallback === undefined ? undefined : (shape.show?.(fallback) ?? String(fallback)),
    choices: shape.choices,
    isFlag: shape.isFlag ?? false,
    parse,
    missing: () => fallback,
  };
}

function parseString(text: string): Parsed<string> {
  return text === "" ? { problem: "is empty" } : { value: text };
}

function parseUri(text: string): Parsed<string> {
  if (/^(s3|s3a):\/\/[^/]+/.test(text) || /^file:./.test(text)) return { value: text };
  return { problem: `must be a location like s3://bucket/key or file:///path; it is ${JSON.stringify(text)}` };
}

function parseInteger(text: string): Parsed<number> {
  const value = Number(text);
  if (/^[+-]?\d+$/.test(text) && Number.isSafeInteger(value)) return { value };
  return { problem: `must be a whole number; it is ${JSON.stringify(text)}` };
}

function parseBoolean(text: string): Parsed<boolean> {
  const word = text.toLowerCase();
  if (word === "true") return { value: true };
  if (word === "false") return { value: false };
  return { problem: `must be true or false; it is ${JSON.stringify(text)}` };
}

function parseList(text: string): Parsed<readonly string[]> {
  const value = text.split(",").map((item) => item.trim());
  if (value.includes("")) {
    return { problem: `must be values separated by commas, none of them empty; it is ${JSON.stringify(text)}` };
  }
  return { value };
}

/** What a command line says, once it is known to be right. */
export interface ParsedArguments<Args> {
  /** `--JOB_NAME`. */
  readonly jobName: string;
  readonly args: Args;
}

/**
 * Finds what is wrong with arguments beyond what each of them says of itself: a value in a form of its own, or several that don't go
 * together.
 *
 * @param given without those that are missing, or wrong by themselves.
 * @returns a sentence for each problem, with the arguments it is about as `--name`.
 */
export type CheckArguments<Definitions extends ArgDefinitions> = (
  given: Partial<ArgValues<Definitions>>,
) => readonly string[];

/** What else there is to know of a command line. */
export interface ArgumentRules<Definitions extends ArgDefinitions> {
  /** Names, in their order, of arguments that may be given as bare values too. */
  readonly positional?: readonly string[] | undefined;
  /** What else the command line takes, without the dashes: a name that is none may be one of them mistyped. */
  readonly options?: readonly string[] | undefined;
  readonly check?: CheckArguments<Definitions> | undefined;
}

/**
 * Reads a Glue-style command line: `--name value` or `--name=value`, names case-sensitive, dashes in names the same as
 * underscores. `--JOB_NAME` is required of every job. Arguments of Glue's own are accepted and ignored. Of an argument
 * given twice the last one counts, as in Glue.
 *
 * @throws UserError `ARGUMENTS_INVALID` (exit 64) with every problem there is.
 */
export function parseArguments<Definitions extends ArgDefinitions>(
  definitions: Definitions,
  argv: readonly string[],
  { positional = [], options = [], check }: ArgumentRules<Definitions> = {},
): ParsedArguments<ArgValues<Definitions>> {
  const problems: string[] = [];
  const given = readPairs(definitions, argv, { positional, options }, problems);

  const jobName = given.get("JOB_NAME");
  if (!given.has("JOB_NAME")) problems.push("--JOB_NAME is missing: the name you know this job by");
  else if (jobName === "") problems.push("--JOB_NAME is empty");

  const values: Record<string, unknown> = {};
  for (const [name, definition] of Object.entries(definitions)) {
    const text = given.get(name);
    if (text === undefined) {
      // A name without its value was reported when it was read.
      if (given.has(name)) continue;
      if (definition.required) problems.push(`--${name} is missing: ${definition.description}`);
      else values[name] = definition.missing();
      continue;
    }
    const parsed = definition.parse(text);
    if ("problem" in parsed) problems.push(`--${name} ${parsed.problem}`);
    else values[name] = parsed.value;
  }

  // Of an argument that has no value that could be judged it was said why.
  const unknown = Object.keys(definitions).filter((name) => !Object.hasOwn(values, name));
  const together = check?.(values as Partial<ArgValues<Definitions>>) ?? [];
  problems.push(...together.filter((problem) => !unknown.some((name) => isAbout(problem, name))));
  if (problems.length > 0) throw argumentsInvalid(problems);
  return { jobName: jobName ?? "", args: values as ArgValues<Definitions> };
}

function isAbout(problem: string, name: string): boolean {
  return new RegExp(`--${name}(?!\\w)`).test(problem);
}

/** What a run is refused with: `ARGUMENTS_INVALID` (exit 64) and each problem on a line of its own. */
export function argumentsInvalid(problems: readonly string[]): UserError {
  const count = problems.length === 1 ? "One argument is" : `${problems.length} arguments are`;
  return new UserError("ARGUMENTS_INVALID", `${count} wrong`, {
    problems,
    hint: "--help lists every argument",
    exitCode: ExitCode.usage,
  });
}

/** Names and their texts; `undefined` for a name whose value is missing. Adds what it can't make sense of to `problems`. */
function readPairs(
  definitions: ArgDefinitions,
  argv: readonly string[],
  { positional, options }: { readonly positional: readonly string[]; readonly options: readonly string[] },
  problems: string[],
): Map<string, string | undefined> {
  const given = new Map<string, string | undefined>();
  const positions = positional.values();
  for (let index = 0; index < argv.length; index++) {
    const token = argv[index] ?? "";
    if (!token.startsWith("--") || token === "--") {
      const { value: position } = positions.next();
      if (position !== undefined) {
        given.set(position, token);
        continue;
      }
      if (positional.length > 0) {
        problems.push(`${JSON.stringify(token)} is one too many: the order is ${positional.join(" ")}`);
        continue;
      }
      problems.push(`${JSON.stringify(token)} stands alone: arguments are written --name value`);
      continue;
    }
    const equals = token.indexOf("=");
    const written = equals < 0 ? token.slice(2) : token.slice(2, equals);
    const name = written.replaceAll("-", "_");
    const next = argv[index + 1];
    let text = equals < 0 ? undefined : token.slice(equals + 1);
    // A value may begin with one dash (a negative number), never with two: that is the next argument.
    if (text === undefined && next !== undefined && !next.startsWith("--")) {
      text = next;
      index++;
    }

    const definition = Object.hasOwn(definitions, name) ? definitions[name] : undefined;
    if (definition === undefined && name !== "JOB_NAME") {
      if (isGlueArgument(name)) continue;
      const meant = nearest(name, ["JOB_NAME", ...Object.keys(definitions), ...options]);
      problems.push(
        `--${written} is not an argument of this job${meant === undefined ? "" : `; did you mean --${meant}?`}`,
      );
      continue;
    }
    if (text === undefined && definition?.isFlag === true) text = "true";
    if (text === undefined) {
      problems.push(
        next === undefined
          ? `--${name} has no value`
          : `--${name} has no value (one that begins with -- is written --${name}=${next})`,
      );
    }
    given.set(name, text);
  }
  return given;
}
