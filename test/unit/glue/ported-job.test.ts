import { expect, test } from "vitest";
import { GlueJob } from "../../../lib/glue/index.js";

test("init gives the script its context, commit ends the run as SUCCEEDED", async () => {
  await using job = new GlueJob();
  const { args, report, step } = job.init("nightly", { output_path: "file:///x" });
  expect(job.isInitialized).toBe(true);
  report.table("t").inserted = await step("write", async () => args.output_path.length);
  const ended = await job.commit();
  expect(job.isInitialized).toBe(false);
  expect(ended.toJSON()).toMatchObject({ state: "SUCCEEDED", jobName: "nightly", tables: { t: { inserted: 9 } } });
});

test("a script that ends without commit has failed, and init or commit out of order is an error", async () => {
  const job = new GlueJob();
  await expect(job.commit()).rejects.toMatchObject({ code: "JOB_NOT_INITIALIZED" });
  const { report } = job.init("nightly", {});
  expect(() => job.init("nightly", {})).toThrow("initialized before");
  await job[Symbol.asyncDispose]();
  expect(report.state).toBe("FAILED");
  expect(report.error?.code).toBe("JOB_NOT_COMMITTED");
});
