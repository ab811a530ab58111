import { describe, expect, test } from "vitest";
import { emrJobRunRequest } from "../../../lib/targets/runs/emr-request.js";
import { glueJobDefinition, glueRunArguments } from "../../../lib/targets/runs/glue-request.js";
import type { RunRequest } from "../../../lib/targets/runs/service.js";

const role = "arn:aws:iam::123456789012:role/etl";
const request: RunRequest = {
  token: "<aws.scheduler.execution-id>",
  name: "nightly",
  launcher: "s3://a/launcher.py",
  bundle: "s3://a/job.mjs",
  node: undefined,
  jars: ["s3://a/connect.jar"],
  report: "s3://a/reports/",
  argv: ["--JOB_NAME", "nightly", "--day=2026-01-31", "--dry", "--empty", ""],
};

describe("a job run's request", () => {
  test("of Glue: how many runs may be at work is said where it is known, and else left as it is", () => {
    const most = (own: object) => glueJobDefinition({ role, packages: [] }, { ...request, ...own }, "eu-central-1");
    expect(most({ maxConcurrentRuns: 3 }).ExecutionProperty).toEqual({ MaxConcurrentRuns: 3 });
    expect(most({})).not.toHaveProperty("ExecutionProperty");
  });

  test("of EMR Serverless: what a scheduler can start, too, with its own token", () => {
    const target = { applicationId: "00f", role, packages: ["iceberg"], jars: ["s3://mine/x.jar"] } as const;
    expect(emrJobRunRequest(target, request, "eu-central-1")).toEqual({
      applicationId: "00f",
      executionRoleArn: role,
      clientToken: "<aws.scheduler.execution-id>",
      name: "nightly",
      mode: "BATCH",
      jobDriver: {
        sparkSubmit: {
          entryPoint: "s3://a/launcher.py",
          entryPointArguments: [
            ...["--glue_connect_bundle", "s3://a/job.mjs", "--glue_connect_report", "s3://a/reports/"],
            ...["--glue_connect_region", "eu-central-1", ...request.argv],
          ],
        },
      },
      configurationOverrides: {
        applicationConfiguration: [
          {
            classification: "spark-defaults",
            properties: {
              "spark.hadoop.hive.metastore.client.factory.class":
                "com.amazonaws.glue.catalog.metastore.AWSGlueDataCatalogHiveClientFactory",
              "spark.sql.catalogImplementation": "hive",
              "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
              "spark.jars": "/usr/share/aws/iceberg/lib/iceberg-spark3-runtime.jar,s3://a/connect.jar,s3://mine/x.jar",
            },
          },
        ],
      },
      tags: { "glue-connect": "nightly" },
    });
    const more = { logs: "s3://logs/", timeoutMinutes: 60, attempts: 3, maxExecutors: 9, tags: { team: "data" } };
    expect(emrJobRunRequest({ ...target, ...more }, request, "eu-central-1")).toMatchObject({
      executionTimeoutMinutes: 60,
      retryPolicy: { maxAttempts: 3 },
      tags: { team: "data", "glue-connect": "nightly" },
      configurationOverrides: {
        monitoringConfiguration: { s3MonitoringConfiguration: { logUri: "s3://logs/" } },
        applicationConfiguration: [{ properties: { "spark.dynamicAllocation.maxExecutors": "9" } }],
      },
    });
  });

  test("of Glue: each run has a report of its own, whoever starts it, and Glue alone names the job", () => {
    const own = { ...request, report: "s3://a/reports/1.json" };
    const definition = glueJobDefinition({ role, packages: [], attempts: 2 }, own, "eu-central-1");
    expect(definition).toEqual({
      Role: role,
      Command: { Name: "glueetl", ScriptLocation: "s3://a/launcher.py", PythonVersion: "3" },
      GlueVersion: "5.1",
      MaxRetries: 1,
      DefaultArguments: {
        "--enable-glue-datacatalog": "true",
        "--extra-jars": "s3://a/connect.jar",
        "--glue_connect_bundle": "s3://a/job.mjs",
        "--glue_connect_report": "s3://a/reports/",
        "--glue_connect_region": "eu-central-1",
      },
    });
    expect(glueRunArguments(own)).toEqual({
      "--day": "2026-01-31",
      "--dry": "true",
      "--empty": "",
      "--glue_connect_report": "s3://a/reports/1.json",
    });
  });
});
