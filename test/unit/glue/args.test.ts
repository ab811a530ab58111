import { describe, expect, expectTypeOf, test } from "vitest";
import { UserError } from "../../../lib/errors.js";
import { type ArgValues, arg, defineJob, isJob, parseArguments } from "../../../lib/glue/index.js";

const definitions = {
  metadata_table_name: arg.string({ description: "Table with the configuration" }),
  load_type: arg.choice(["full", "incremental"], { description: "What to load", default: "incremental" }),
  output_path: arg.uri({ description: "Where to write", optional: true }),
  limit: arg.integer({ description: "Rows", default: 10 }),
  reconcile: arg.boolean({ description: "Compare all rows", default: false }),
  tables: arg.list({ description: "Tables", optional: true }),
};

const parse = (...argv: string[]) => parseArguments(definitions, argv);
const REQUIRED = ["--JOB_NAME", "nightly", "--metadata_table_name", "conf"];

/** The problems of a command line that must be refused. */
function problems(...argv: string[]): readonly string[] {
  try {
    parse(...argv);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    expect(error).toMatchObject({ code: "ARGUMENTS_INVALID", exitCode: 64 });
    return error.problems;
  }
  throw new Error(`${argv.join(" ")} was accepted`);
}

describe("arguments", () => {
  test("come as --name value and --name=value, dashes for underscores, in any order", () => {
    const parsed = parse(
      ...["--limit=-5", "--JOB_NAME", "nightly", "--metadata-table-name", "a=b", "--output_path", "s3://b/k"],
      ...["--load_type", "full", "--tables", "a, b ,c", "--reconcile"],
    );
    expectTypeOf(parsed.args.tables).toEqualTypeOf<readonly string[] | undefined>();
    expectTypeOf(parsed.args.reconcile).toEqualTypeOf<boolean>();
    expectTypeOf(parsed.args.load_type).toEqualTypeOf<"full" | "incremental">();
    expect(parsed).toEqual({
      jobName: "nightly",
      args: {
        metadata_table_name: "a=b",
        load_type: "full",
        output_path: "s3://b/k",
        limit: -5,
        reconcile: true,
        tables: ["a", "b", "c"],
      },
    });
  });

  test("that are left out have their default, or are undefined", () => {
    expect(parse(...REQUIRED).args).toEqual({
      metadata_table_name: "conf",
      load_type: "incremental",
      output_path: undefined,
      limit: 10,
      reconcile: false,
      tables: undefined,
    });
  });

  test("the last of the same name counts, as in Glue", () => {
    expect(parse(...REQUIRED, "--limit", "1", "--limit", "2").args.limit).toBe(2);
  });

  test("of Glue's own are accepted and ignored, with and without a value", () => {
    const glue = [
      ...["--job-language", "python", "--TempDir", "s3://x", "--enable-metrics", "--job-bookmark-option"],
      ...["job-bookmark-disable", "--WORKFLOW_NAME", "w", "--enable-glue-datacatalog=true", "--JOB_RUN_ID", "jr_1"],
    ];
    expect(parse(...glue, ...REQUIRED).jobName).toBe("nightly");
  });

  test("a job may take one of Glue's names that Glue's own parser leaves free", () => {
    const { args } = parseArguments({ conf: arg.string({ description: "Ours" }) }, ["--JOB_NAME", "x", "--conf", "y"]);
    expect(args.conf).toBe("y");
  });

  test("every problem is said at once", () => {
    expect(
      problems("--metadata_table", "x", "--load_type", "ful", "--limit", "1.5", "--output_path", "/tmp", "stray"),
    ).toEqual([
      "--metadata_table is not an argument of this job; did you mean --metadata_table_name?",
      '"stray" stands alone: arguments are written --name value',
      "--JOB_NAME is missing: the name you know this job by",
      "--metadata_table_name is missing: Table with the configuration",
      '--load_type must be one of full, incremental; it is "ful" (did you mean full?)',
      '--output_path must be a location like s3://bucket/key or file:///path; it is "/tmp"',
      '--limit must be a whole number; it is "1.5"',
    ]);
  });

  test("what doesn't go together is said with what is wrong by itself; of what has no value nothing more is said", () => {
    const check = ({ limit, tables, load_type }: Partial<ArgValues<typeof definitions>>) => [
      ...(limit !== undefined && limit < 1 ? ["--limit must be at least 1 here"] : []),
      ...(tables === undefined ? ["--limit needs --tables"] : []),
      ...(load_type === undefined ? ["--load_type is needed"] : []),
    ];
    const refused = (...argv: string[]) => {
      try {
        return parseArguments(definitions, argv, { check });
      } catch (error) {
        return error;
      }
    };
    expect(refused("--JOB_NAME", "x", "--limit", "0", "--load_type", "ful")).toMatchObject({
      code: "ARGUMENTS_INVALID",
      exitCode: 64,
      message: "4 arguments are wrong",
      problems: [
        "--metadata_table_name is missing: Table with the configuration",
        '--load_type must be one of full, incremental; it is "ful" (did you mean full?)',
        "--limit must be at least 1 here",
        "--limit needs --tables",
      ],
    });
    expect(refused(...REQUIRED, "--tables=")).toMatchObject({ problems: [expect.stringMatching(/^--tables must be/)] });
    expect(refused(...REQUIRED, "--tables", "a")).toMatchObject({ jobName: "nightly" });
  });

  test.each([
    [["--limit"], "--limit has no value"],
    [["--limit", "--reconcile"], "--limit has no value (one that begins with -- is written --limit=--reconcile)"],
    [["--limit", "9007199254740993"], '--limit must be a whole number; it is "9007199254740993"'],
    [["--reconcile", "yes"], '--reconcile must be true or false; it is "yes"'],
    [["--tables", "a,,b"], '--tables must be values separated by commas, none of them empty; it is "a,,b"'],
    [["--Load_Type", "full"], "--Load_Type is not an argument of this job; did you mean --load_type?"],
    [["--quite-different", "x"], "--quite-different is not an argument of this job"],
    [["--toString", "x"], "--toString is not an argument of this job"],
  ])("%j is refused", (argv, problem) => {
    expect(problems(...REQUIRED, ...argv)).toEqual([problem]);
  });

  test("an empty text and an empty job name are refused", () => {
    expect(problems("--JOB_NAME=", "--metadata_table_name=")).toEqual([
      "--JOB_NAME is empty",
      "--metadata_table_name is empty",
    ]);
  });
});

describe("defineJob", () => {
  const job = (name: string, args: Parameters<typeof defineJob>[0]["args"]) =>
    defineJob({ name, summary: "", args, run: async () => {} });

  test("makes a job that is known as one", () => {
    expect(isJob(job("a-job", definitions))).toBe(true);
    expect(isJob({ name: "a-job", run() {} })).toBe(false);
    expect(isJob(null)).toBe(false);
  });

  test("refuses names that can't work", () => {
    const text = arg.string({ description: "" });
    expect(() => job("A Job", {})).toThrow(TypeError);
    expect(() => job("a", { "with-dash": text })).toThrow("with-dash");
    expect(() => job("a", { JOB_NAME: text })).toThrow("belongs to Glue");
    expect(() => job("a", { job_bookmark_option: text })).toThrow("belongs to Glue");
  });
});

test("by position: bare values fill the names in their order, beside those that are named", () => {
  const args = {
    STACK: arg.string({ description: "A stack", optional: true }),
    TABLE: arg.string({ description: "A table" }),
    FORMAT: arg.choice(["csv", "json"], { description: "A format", default: "csv" }),
  };
  const positional = ["STACK", "TABLE", "FORMAT"];
  const parsePositions = (...argv: string[]) => parseArguments(args, ["--JOB_NAME", "n", ...argv], { positional }).args;
  expect(parsePositions("s", "t", "json")).toEqual({ STACK: "s", TABLE: "t", FORMAT: "json" });
  expect(parsePositions("s", "t")).toEqual({ STACK: "s", TABLE: "t", FORMAT: "csv" });
  expect(parsePositions("--TABLE", "named")).toEqual({ STACK: undefined, TABLE: "named", FORMAT: "csv" });
  expect(() => parsePositions("s", "t", "xml", "more")).toThrow(
    expect.objectContaining({
      problems: [
        '"more" is one too many: the order is STACK TABLE FORMAT',
        expect.stringContaining("--FORMAT must be one of csv, json"),
      ],
    }),
  );
  expect(() => defineJob({ name: "x", summary: "", args, positional: ["NOWHERE"], run: async () => {} })).toThrow(
    "has no arguments NOWHERE",
  );
});
