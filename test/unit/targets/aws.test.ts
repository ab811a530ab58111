import { describe, expect, test } from "vitest";
import { placeOf } from "../../../lib/cli/aws-targets.js";
import { neededJars, usefulJars } from "../../../lib/cli/cluster-jars.js";
import { type ResolveOptions, resolveConfig } from "../../../lib/glue/config/resolve.js";
import { silentLogger } from "../../../lib/logger.js";
import { sparkDefaults } from "../../../lib/targets/aws/emr-properties.js";
import { emrConf, glueConf, glueConfArgument } from "../../../lib/targets/aws/packages.js";
import { uploadArtifact } from "../../../lib/targets/runs/artifacts.js";
import { emrJobRunRequest } from "../../../lib/targets/runs/emr-request.js";
import { createEmrSessions } from "../../../lib/targets/sessions/emr-sessions.js";
import { createTokenSource } from "../../../lib/targets/sessions/token.js";

const EXTENSIONS = "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions";

describe("what a job needs of Spark, as settings", () => {
  test("the user's settings go over ours, but lists are joined", () => {
    const own = {
      "spark.sql.extensions": "com.example.Mine",
      "spark.jars": "s3://b/mine.jar",
      "spark.executor.cores": "8",
    };
    expect(emrConf(["iceberg"], ["s3://b/pg.jar"], own)).toMatchObject({
      "spark.sql.extensions": `${EXTENSIONS},com.example.Mine`,
      "spark.jars": "/usr/share/aws/iceberg/lib/iceberg-spark3-runtime.jar,s3://b/pg.jar,s3://b/mine.jar",
      "spark.executor.cores": "8",
    });
    expect(emrConf([], [], {})).not.toHaveProperty(["spark.sql.extensions"]);
    expect(glueConfArgument(glueConf(["iceberg"], { "spark.a": "1" }))).toBe(
      `spark.sql.extensions=${EXTENSIONS} --conf spark.a=1`,
    );
    expect(glueConf(["iceberg", "cassandra"], {})).toEqual({
      "spark.sql.extensions": `${EXTENSIONS},com.datastax.spark.connector.CassandraSparkExtensions`,
    });
    expect(glueConfArgument({})).toBeUndefined();
  });

  test("jars that the service brings, or that the user names, are not uploaded", () => {
    expect(neededJars(["iceberg", "postgresql"], "emr")).toEqual(["postgresql-"]);
    expect(neededJars(["iceberg", "postgresql"], "emr", ["s3://b/postgresql-42.jar"])).toEqual([]);
    expect(neededJars(["iceberg", "postgresql"], "glue")).toEqual([]);
    expect(usefulJars(["iceberg", "postgresql"])).toEqual(["glue-connect-spark-"]);
    expect(usefulJars(["postgresql"], ["s3://b/glue-connect-spark-1.jar"])).toEqual([]);
    expect(neededJars(["cassandra"], "glue")).toEqual(["spark-cassandra-connector_", "glue-connect-spark-"]);
    expect(neededJars(["cassandra"], "emr", ["s3://b/spark-cassandra-connector-assembly_2.12-3.5.1.jar"])).toEqual([
      "glue-connect-spark-",
    ]);
    const ours = ["s3://b/spark-cassandra-connector_2.12-3.5.1-assembly.jar", "s3://b/glue-connect-spark-1.jar"];
    expect(neededJars(["cassandra"], "glue", ours)).toEqual([]);
    // As Maven Central has it, without the driver.
    const thin = ["s3://b/spark-cassandra-connector_2.12-3.5.1.jar"];
    expect(neededJars(["cassandra"], "glue", thin)).toEqual(["spark-cassandra-connector_", "glue-connect-spark-"]);
  });
});

test("what EMR Serverless would refuse for its length is named, setting by setting", async () => {
  const target = { aws: {}, applicationId: "00f", role: "arn:aws:iam::123456789012:role/etl", packages: [] };
  const jars = Array.from({ length: 20 }, (_, n) => `s3://a-bucket-with-a-rather-long-name/folder/jar-number-${n}.jar`);
  const sparkConf = { "spark.note": "x".repeat(1_025), "spark.fits": "x".repeat(1_024) };
  const sessions = await createEmrSessions({ ...target, jars, sparkConf });
  await expect(sessions.start({ token: "t", name: "n", owner: "o" })).rejects.toMatchObject({
    code: "EMR_SETTINGS_TOO_LONG",
    problems: ["spark.note has 1,025 characters", "spark.jars has 1,249 characters"],
    hint: expect.stringMatching(/into one.*glue-connect submit.*Shorten what is too long in emr\.sparkConf$/),
    exitCode: 66,
  });
  const request = { token: "t", name: "n", launcher: "l", bundle: "b", node: undefined, jars, report: "r", argv: [] };
  // Job runs take the jars by another way, and have the same limit for all else.
  expect(() => emrJobRunRequest({ ...target, sparkConf }, request, "eu-central-1")).toThrow(
    expect.objectContaining({
      problems: ["spark.note has 1,025 characters"],
      // The application's configuration takes nothing longer either.
      hint: "Shorten what is too long in emr.sparkConf",
    }),
  );
  const many = Object.fromEntries(Array.from({ length: 99 }, (_, n) => [`spark.n${n}`, "1"]));
  expect(() => sparkDefaults({ ...many, "spark.a": "1" }, "sessions")).not.toThrow();
  expect(() => sparkDefaults({ ...many, "spark.a": "1", "spark.b": "1" }, "sessions")).toThrow(
    expect.objectContaining({
      problems: ["there are 101 of them"],
      hint: expect.stringMatching(/^Put some .* runtime configuration of the application$/),
    }),
  );
});

describe("a session's token", () => {
  /** A service whose tokens live for 100 s, on a clock of the test's. */
  function source() {
    const state = { now: 0, given: 0, fails: false, problems: 0 };
    const access = () => ({ address: "h", token: `t${++state.given}`, expires: new Date(state.now + 100_000) });
    const renew = async () => {
      if (state.fails) throw new Error("throttled");
      return access();
    };
    const tokens = createTokenSource(
      access(),
      renew,
      () => (state.problems += 1),
      () => state.now,
    );
    const token = async (refused?: string) => {
      const headers = await tokens.headers({
        refused: refused === undefined ? undefined : { "x-aws-proxy-auth": refused },
      });
      return headers["x-aws-proxy-auth"];
    };
    return { state, token };
  }

  test("is kept while it holds, renewed in its last fifth without a wait, and at its end before the call", async () => {
    const { state, token } = source();
    expect([await token(), await token()]).toEqual(["t1", "t1"]);
    state.now = 85_000;
    expect(await token()).toBe("t1");
    expect(await token()).toBe("t2");
    state.now = 400_000;
    expect(await token()).toBe("t3");
  });

  test("is renewed once when several calls ask at once", async () => {
    const { state, token } = source();
    state.now = 200_000;
    expect(await Promise.all([token(), token(), token()])).toEqual(["t2", "t2", "t2"]);
  });

  test("is renewed when it was refused, but not when an older one was", async () => {
    const { token } = source();
    expect(await token("t1")).toBe("t2");
    expect(await token("t1")).toBe("t2");
  });

  test("is used to its end when a new one can't be had, and then the reason is thrown", async () => {
    const { state, token } = source();
    state.fails = true;
    state.now = 99_000;
    expect(await token()).toBe("t1");
    await expect.poll(() => state.problems).toBe(1);
    state.now = 100_000;
    await expect(token()).rejects.toThrow("throttled");
    state.fails = false;
    expect(await token()).toBe("t2");
  });
});

describe("where Spark is", () => {
  const place = (content: object, more: Partial<ResolveOptions> = {}) =>
    placeOf(resolveConfig({ env: {}, file: { path: "f", content, line: () => undefined }, ...more }));
  const target = (value: string) => [{ path: ["target"], value, flag: "--target" }];
  const env = { SPARK_REMOTE: "sc://h" };

  test.each([
    ["this machine by default", () => place({}), "local"],
    ["SPARK_REMOTE", () => place({}, { env }), "remote"],
    ["the file's target", () => place({ target: "glue" }), "glue"],
    ["SPARK_REMOTE goes over the file's target", () => place({ target: "emr" }, { env }), "remote"],
    ["--target goes over SPARK_REMOTE", () => place({}, { env, flags: target("emr") }), "emr"],
    ["--target local too", () => place({ target: "emr" }, { env, flags: target("local") }), "local"],
  ])("%s", (_what, found, wanted) => {
    expect(found()).toBe(wanted);
  });

  test("two places in one layer contradict each other", () => {
    expect(() => place({ target: "emr", remote: "sc://h" })).toThrow("it can't be both");
  });
});

test("an artifact is uploaded once under the hash of its content, and a changed one beside it", async () => {
  const objects = new Map<string, Uint8Array>();
  let puts = 0;
  const store = {
    head: async (uri: string) => (objects.has(uri) ? {} : undefined),
    put: async (uri: string, body: Uint8Array) => {
      puts += 1;
      objects.set(uri, body);
    },
  };
  const upload = (text: string) => uploadArtifact(store, "s3://b/a/", "job.mjs", Buffer.from(text), silentLogger);
  const first = await upload("one");
  expect(first).toMatch(/^s3:\/\/b\/a\/files\/[0-9a-f]{32}\/job\.mjs$/);
  expect(await upload("one")).toBe(first);
  expect(puts).toBe(1);
  expect(await upload("two")).not.toBe(first);
  expect(objects.size).toBe(2);
});
