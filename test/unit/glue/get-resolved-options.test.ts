import { describe, expect, expectTypeOf, test } from "vitest";
import { GlueArgumentError, getResolvedOptions } from "../../../lib/glue/index.js";

const NODE = ["/usr/bin/node", "/jobs/script.js"];
const resolve = (names: readonly string[], ...argv: string[]) => getResolvedOptions([...NODE, ...argv], names);

describe("getResolvedOptions", () => {
  test("gives what was asked for, ignores the rest, and knows the bookmark's default", () => {
    const options = getResolvedOptions(
      [...NODE, "--JOB_NAME", "x", "--other", "y", "--day-of=2026-01-31", "--JOB_RUN_ID", "jr_1"],
      ["JOB_NAME", "day-of"],
    );
    expectTypeOf(options.day_of).toEqualTypeOf<string>();
    expect(options).toEqual({
      JOB_NAME: "x",
      day_of: "2026-01-31",
      JOB_RUN_ID: "jr_1",
      job_bookmark_option: "job-bookmark-disable",
    });
  });

  test("every name that was asked for is required, and all that are missing are named", () => {
    expect(() => resolve(["JOB_NAME", "a", "b"], "--a", "1")).toThrow(
      new GlueArgumentError("the following arguments are required: --JOB_NAME, --b"),
    );
  });

  test("names are not abbreviated, and are case-sensitive", () => {
    expect(() => resolve(["output_path"], "--output", "x")).toThrow("--output_path");
    expect(() => resolve(["output_path"], "--Output_Path", "x")).toThrow("--output_path");
  });

  test("a missing value is an error, a negative number is a value", () => {
    expect(() => resolve(["a", "b"], "--a", "--b", "1")).toThrow("argument --a: expected one argument");
    expect(() => resolve(["a"], "--a")).toThrow("argument --a: expected one argument");
    expect(resolve(["a", "b", "c"], "--a", "-5", "--b", "-", "--c=--x").c).toBe("--x");
    expect(resolve(["a"], "--a", "1", "--a", "2").a).toBe("2");
  });

  test.each([
    "job-bookmark-option",
    "continuation-option",
    "job-bookmark-from",
    "job-bookmark-to",
    "JOB_ID",
    "JOB_RUN_ID",
    "SECURITY_CONFIGURATION",
    "encryption-type",
    "enable-data-lineage",
  ])("%s is Glue's own", (name) => {
    expect(() => resolve([name], `--${name}`, "x")).toThrow(new GlueArgumentError(`Using reserved arguments ${name}`));
  });

  test("TempDir may be missing, and RedshiftTempDir follows it, both ways", () => {
    expect(resolve(["TempDir"]).TempDir).toBeUndefined();
    expect(resolve(["TempDir"], "--TempDir", "s3://t")).toMatchObject({ TempDir: "s3://t", RedshiftTempDir: "s3://t" });
    expect(resolve([], "--RedshiftTempDir", "s3://r")).toMatchObject({ TempDir: "s3://r", RedshiftTempDir: "s3://r" });
  });

  test("the old continuation option is translated, and the new one wins", () => {
    expect(resolve([], "--continuation-option", "continuation-enabled")).toEqual({
      job_bookmark_option: "job-bookmark-enable",
    });
    const both = ["--continuation-option", "continuation-enabled", "--job-bookmark-option", "job-bookmark-disable"];
    expect(resolve([], ...both)).toEqual({ job_bookmark_option: "job-bookmark-disable" });
    expect(() => resolve([], "--job-bookmark-option", "on")).toThrow("invalid choice: 'on'");
    expect(() => resolve([], "--encryption-type", "sse-kms")).toThrow("invalid choice: 'sse-kms'");
  });

  test("job-bookmark-pause takes both bounds or none; nothing else takes them", () => {
    const pause = ["--job-bookmark-option", "job-bookmark-pause"];
    const bounds = ["--job-bookmark-from", "a", "--job-bookmark-to", "b"];
    expect(resolve([], ...pause, ...bounds)).toMatchObject({ job_bookmark_from: "a", job_bookmark_to: "b" });
    expect(resolve([], ...pause)).toEqual({ job_bookmark_option: "job-bookmark-pause" });
    expect(() => resolve([], ...pause, "--job-bookmark-from", "a")).toThrow("--job-bookmark-to");
    expect(() => resolve([], ...bounds)).toThrow("Invalid option(s)");
  });
});
