import { describe, expect, expectTypeOf, test } from "vitest";
import { UserError } from "../../../lib/errors.js";
import { hideSecrets } from "../../../lib/glue/config/hide.js";
import {
  type ConfigFile,
  originText,
  outranks,
  type ResolveOptions,
  resolveConfig,
} from "../../../lib/glue/config/resolve.js";
import { defineConfig, type Settings } from "../../../lib/glue/config/schema.js";

const ROLE = "arn:aws:iam::123456789012:role/etl";

function file(content: unknown): ConfigFile {
  return { path: "glue-connect.config.ts", content, line: (path) => path.length };
}

function resolve(content: unknown, more: Partial<ResolveOptions> = {}) {
  return resolveConfig({ file: file(content), env: {}, ...more });
}

function problemsOf(run: () => unknown): readonly string[] {
  try {
    run();
  } catch (error) {
    if (error instanceof UserError) return error.problems;
    throw error;
  }
  throw new Error("nothing was wrong");
}

describe("the order of the layers", () => {
  const content = {
    region: "eu-central-1",
    emr: { role: ROLE, executor: { cores: 8 }, tags: { team: "data" } },
    environments: { prod: { target: "emr", emr: { idleMinutes: 5, tags: { stage: "prod" } } } },
  };

  test("without a file the defaults hold", () => {
    const { settings, origins } = resolveConfig({ env: {} });
    expect(settings).toMatchObject({ target: "local", emr: { executor: { cores: 4, memory: "16g" } } });
    expect(originText(origins.get("emr.executor.cores"))).toBeUndefined();
  });

  test("the file goes over the defaults, an environment over the file, key by key", () => {
    const { settings, origins } = resolve(content, { environment: "prod" });
    expect(settings).toMatchObject({
      target: "emr",
      region: "eu-central-1",
      emr: { role: ROLE, executor: { cores: 8, memory: "16g" }, idleMinutes: 5, tags: { team: "data", stage: "prod" } },
    });
    expect(originText(origins.get("region"))).toBe("glue-connect.config.ts, line 1");
    expect(originText(origins.get("emr.idleMinutes"))).toBe("glue-connect.config.ts, line 4");
  });

  test("variables go over the file, flags over variables; an empty variable says nothing", () => {
    const env = { GLUE_CONNECT_REGION: "us-east-1", GLUE_CONNECT_TARGET: "", GLUE_CONNECT_EMR_APPLICATION_ID: "00f1" };
    const byVariable = resolve(content, { env });
    expect(byVariable.settings).toMatchObject({ region: "us-east-1", target: "local", emr: { applicationId: "00f1" } });
    expect(originText(byVariable.origins.get("region"))).toBe("variable GLUE_CONNECT_REGION");
    const byFlag = resolve(content, { env, flags: [{ path: ["region"], value: "us-west-2", flag: "--region" }] });
    expect(byFlag.settings.region).toBe("us-west-2");
    expect(originText(byFlag.origins.get("region"))).toBe("--region");
  });

  test("which of two settings was said by the stronger layer is known", () => {
    const remote = { SPARK_REMOTE: "sc://spark:15002" };
    expect(outranks(resolve({ target: "emr" }, { env: remote }), "remote", "target")).toBe(true);
    const flags = [{ path: ["target"], value: "glue", flag: "--target" }];
    expect(outranks(resolve({}, { env: remote, flags }), "remote", "target")).toBe(false);
    expect(outranks(resolve({ target: "emr" }), "remote", "target")).toBe(false);
  });

  test("folders end with a slash, Spark's settings are texts", () => {
    const { settings } = resolve({ artifacts: "s3://b/x", emr: { sparkConf: { "spark.a": 1, "spark.b": true } } });
    expect(settings).toMatchObject({
      artifacts: "s3://b/x/",
      emr: { sparkConf: { "spark.a": "1", "spark.b": "true" } },
    });
  });

  test("the types of the settings are known", () => {
    expectTypeOf<Settings["target"]>().toEqualTypeOf<"local" | "emr" | "glue" | undefined>();
    defineConfig({ environments: { prod: { emr: { idleMinutes: 3 } } } });
    defineConfig(async ({ environment }) => ({ region: environment ?? "eu-west-1" }));
    // @ts-expect-error there is no such target
    defineConfig({ target: "moon" });
    // @ts-expect-error there is no such setting
    defineConfig({ emr: { aplicationId: "x" } });
  });
});

describe("what is wrong", () => {
  test("everything is said at once, with the line, also of environments that aren't used", () => {
    const problems = problemsOf(() =>
      resolve({
        regoin: "eu-central-1",
        target: "moon",
        artifacts: "bucket/x",
        emr: { role: "etl", idleMinutes: "5", driver: { cores: 0, memory: "8 GB" } },
        environments: { prod: { glue: { worker: 3 } } },
      }),
    );
    expect(problems).toEqual(
      expect.arrayContaining([
        "regoin is no setting; did you mean region? (glue-connect.config.ts, line 1)",
        'target is none of "local", "emr", "glue" (glue-connect.config.ts, line 1)',
        'artifacts is no folder on S3; write "s3://bucket/folder/" (glue-connect.config.ts, line 1)',
        'emr.role is not the ARN of a role ("arn:aws:iam::<account>:role/<name>") (glue-connect.config.ts, line 2)',
        "emr.idleMinutes is not a whole number (glue-connect.config.ts, line 2)",
        "emr.driver.cores is less than 1 (glue-connect.config.ts, line 3)",
        'emr.driver.memory is not a size in GB, such as "8g" (glue-connect.config.ts, line 3)',
        "environments.prod.glue.worker is no setting; did you mean workers? (glue-connect.config.ts, line 4)",
      ]),
    );
    expect(problems).toHaveLength(8);
  });

  test("of variables and flags it says which", () => {
    expect(problemsOf(() => resolveConfig({ env: { GLUE_CONNECT_TARGET: "emrr" } }))).toEqual([
      'target is none of "local", "emr", "glue" (variable GLUE_CONNECT_TARGET)',
    ]);
    const flags = [{ path: ["emr", "executor", "core"], value: 8, flag: "--set emr.executor.core" }];
    expect(problemsOf(() => resolveConfig({ env: {}, flags }))).toEqual([
      "emr.executor.core is no setting; did you mean cores? (--set emr.executor.core)",
    ]);
    const whole = [{ path: ["emr"], value: "x", flag: "--set emr" }];
    expect(problemsOf(() => resolveConfig({ env: {}, flags: whole }))).toEqual(["emr is not an object (--set emr)"]);
  });

  test("an unknown environment is named with those that there are", () => {
    expect(() => resolve({ environments: { prod: {}, test: {} } }, { environment: "pord" })).toThrow(
      expect.objectContaining({
        code: "CONFIG_ENVIRONMENT_UNKNOWN",
        problems: ["Environments in the file: prod, test"],
        hint: "Did you mean prod?",
        exitCode: 64,
      }),
    );
  });
});

test.each([
  [["postgresUrl"], "postgresql://u:p:w@x@host:5432/db", "postgresql://u:[hidden]@host:5432/db"],
  [["remote"], "sc://h:443/;use_ssl=true;x-aws-proxy-auth=abc", "sc://h:443/;use_ssl=true;x-aws-proxy-auth=[hidden]"],
  [["emr", "sparkConf", "spark.hadoop.fs.s3a.secret.key"], "abc", "[hidden]"],
  [["emr", "sparkConf", "spark.hadoop.fs.s3a.access.key"], "abc", "[hidden]"],
  [["glue", "arguments", "--db_password"], "abc", "[hidden]"],
  [
    ["glue", "arguments", "--url"],
    "jdbc:postgresql://h/db?user=u&password=abc",
    "jdbc:postgresql://h/db?user=u&password=[hidden]",
  ],
  [
    ["glue", "arguments", "--secret"],
    "arn:aws:secretsmanager:eu-central-1:1:secret:x",
    "arn:aws:secretsmanager:eu-central-1:1:secret:x",
  ],
  [
    ["emr", "sparkConf", "spark.hadoop.fs.s3a.aws.credentials.provider"],
    "com.example.Provider",
    "com.example.Provider",
  ],
  [["emr", "role"], ROLE, ROLE],
  [["emr", "idleMinutes"], 5, 5],
  [["emr", "jars"], ["s3://b/a.jar"], ["s3://b/a.jar"]],
])("%j is shown as it may be", (path, value, shown) => {
  expect(hideSecrets(path, value)).toEqual(shown);
});
