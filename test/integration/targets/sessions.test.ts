import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test, vi } from "vitest";
import type { CloudPlace } from "../../../lib/cli/aws-targets.js";
import { sessionService } from "../../../lib/cli/aws-targets.js";
import { cloudSpark } from "../../../lib/cli/cloud-spark.js";
import { resolveConfig } from "../../../lib/glue/config/resolve.js";
import { type Config, DEFAULTS, type Settings } from "../../../lib/glue/config/schema.js";
import { defineJob, type Job, type JobContext, runJob } from "../../../lib/glue/index.js";
import type { Logger } from "../../../lib/logger.js";
import { SparkSession } from "../../../lib/spark/index.js";
import { openSession } from "../../../lib/targets/sessions/open.js";
import { type Certificates, makeCertificates } from "../../support/certificates.js";
import { checkRequests } from "../../support/check-requests.js";
import { type FakeSessions, startFakeSessions } from "../../support/fake-sessions.js";

const folder = mkdtempSync(join(tmpdir(), "glue-connect-sessions-"));
const ROLE = "arn:aws:iam::123456789012:role/etl";
const NORMAL = {
  tokenMs: 3_600_000,
  startMs: 0,
  minuteMs: 60_000,
  throttled: 0,
  failure: undefined,
  error: undefined,
};

let certificates: Certificates;
let fake: FakeSessions;
let lines: string[];
const log: Logger = {
  debug: (message, fields) => void lines.push(`${message} ${JSON.stringify(fields ?? {})}`),
  info: (message) => void lines.push(message),
  warn: (message, fields) => void lines.push(`${message} ${JSON.stringify(fields ?? {})}`),
  error: (message) => void lines.push(message),
};

beforeAll(async () => {
  certificates = makeCertificates(folder, "sessions");
  fake = await startFakeSessions(inject("sparkRemote"), inject("awsEndpoint"), certificates);
  // A Spark that is cold says nothing for seconds, which is many lives of the tokens here.
  await using warm = await SparkSession.builder().remote(inject("sparkRemote")).getOrCreate();
  await (await warm.sql(sleepy(2, 1))).collect();
  vi.stubEnv("AWS_ENDPOINT_URL_EMR_SERVERLESS", fake.endpoint);
  vi.stubEnv("AWS_ENDPOINT_URL_GLUE", fake.endpoint);
  vi.stubEnv("AWS_ACCESS_KEY_ID", "test");
  vi.stubEnv("AWS_SECRET_ACCESS_KEY", "test");
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await fake?.close();
  rmSync(folder, { recursive: true });
});
beforeEach(() => {
  lines = [];
  Object.assign(fake.behaviour, NORMAL, { application: {} });
});

function settings(more: Config = {}): Settings {
  const content: Config = {
    region: "us-east-1",
    emr: { applicationId: "00fakeapplication", role: ROLE, tags: { team: "data" }, ...more.emr },
    glue: { role: ROLE, ...more.glue },
  };
  return resolveConfig({ env: {}, file: { path: "test", content, line: () => undefined } }).settings;
}

/** Opens sessions as the command does; only the certificates of the fake's endpoint are given. */
function spark(place: CloudPlace, more: Config = {}, sessionId?: string) {
  const open = cloudSpark({ place, settings: settings(more), log, sessionId });
  return async (...given: Parameters<typeof open>) => ({
    ...(await open(...given)),
    rootCertificates: readFileSync(certificates.authority),
  });
}

function job(run: (context: JobContext<object>) => Promise<void>, needs: Job["needs"] = ["iceberg"]): Job {
  return defineJob({ name: "trial", summary: "for this test", args: {}, needs, run });
}

const NAME = ["--JOB_NAME", "trial"];
const sleepy = (rows: number, ms: number) =>
  `SELECT id, java_method('java.lang.Thread', 'sleep', ${ms}L) AS slept FROM range(0, ${rows}, 1, ${rows})`;
const newest = () => [...fake.sessions.values()].at(-1);
const ended = (id: string) => /^(TERMINAT|STOP)/.test(fake.stateOf(id));

describe.each(["emr", "glue"] as const)("a session of %s", (place) => {
  test("is started with what the job needs, outlives its tokens in the middle of a query, and is ended", async () => {
    Object.assign(fake.behaviour, { startMs: 200, tokenMs: 1_000 });
    const before = { tokens: fake.tokens, cuts: fake.proxy.cuts.length };
    let ids: unknown;
    const { report, error } = await runJob(
      job(async ({ spark: open }) => {
        const session = await open();
        const rows = await (await session.sql(sleepy(12, 700))).collect();
        ids = rows.map((row) => row.get("id"));
      }),
      NAME,
      { sparkRemote: spark(place), log },
    );
    expect(error).toBeUndefined();
    expect(report.state).toBe("SUCCEEDED");
    expect(ids).toEqual(Array.from({ length: 12 }, (_, id) => BigInt(id)));
    expect(fake.tokens - before.tokens).toBeGreaterThanOrEqual(4);
    expect(fake.proxy.cuts.length - before.cuts).toBeGreaterThanOrEqual(3);
    const session = newest();
    expect(session && ended(session.id)).toBe(true);
    // Whoever has a token or the address with it is the job's role.
    expect(lines.join("\n")).not.toMatch(/token-[0-9a-f]/);
    expect(lines).toContainEqual(expect.stringMatching(/^Spark UI .*https:\/\//));
    expect(lines).toContainEqual(expect.stringMatching(/ session \S+ is (SUBMITTED|PROVISIONING) \(\d+ s\)$/));
    expect(session?.request).toMatchObject(
      place === "emr"
        ? {
            executionRoleArn: ROLE,
            idleTimeoutMinutes: 30,
            tags: { team: "data", "glue-connect-owner": expect.any(String) },
            configurationOverrides: {
              runtimeConfiguration: [
                {
                  classification: "spark-defaults",
                  properties: {
                    "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
                    "spark.jars": "/usr/share/aws/iceberg/lib/iceberg-spark3-runtime.jar",
                    "spark.executor.cores": "4",
                  },
                },
              ],
            },
          }
        : {
            SessionType: "SPARK_CONNECT",
            GlueVersion: "5.1",
            Role: ROLE,
            IdleTimeout: 30,
            WorkerType: "G.1X",
            DefaultArguments: {
              "--datalake-formats": "iceberg",
              "--conf": "spark.sql.extensions=org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
            },
          },
    );
  });

  test("is ended when the job fails, and when the signal comes while it starts", async () => {
    const failed = await runJob(
      job(async ({ spark: open }) => {
        await (await open()).sql("SELECT nothing_of_that_name").then((df) => df.collect());
      }),
      NAME,
      { sparkRemote: spark(place), log },
    );
    expect(failed.report.state).toBe("FAILED");
    expect(ended(newest()?.id ?? "")).toBe(true);

    lines = [];
    fake.behaviour.startMs = 60_000;
    const controller = new AbortController();
    const before = fake.sessions.size;
    const running = runJob(
      job(async ({ spark: open }) => void (await open())),
      NAME,
      {
        sparkRemote: spark(place),
        signal: controller.signal,
        log,
      },
    );
    await vi.waitUntil(() => lines.some((line) => /(SUBMITTED|PROVISIONING)/.test(line)), { timeout: 10_000 });
    controller.abort(new Error("interrupted"));
    expect((await running).report.state).toBe("STOPPED");
    expect(fake.sessions.size).toBe(before + 1);
    expect(ended(newest()?.id ?? "")).toBe(true);
  });

  test("is kept for the next run when the configuration says so, and used by runs that need the same", async () => {
    const keep: Config = { [place]: { keepSession: true } };
    const run = (more: Config, id?: string) =>
      runJob(
        job(async ({ spark: open }) => void (await (await open()).version())),
        NAME,
        {
          sparkRemote: spark(place, more, id),
          log,
        },
      );
    expect((await run(keep)).report.state).toBe("SUCCEEDED");
    const first = newest()?.id ?? "";
    await run(keep);
    expect(newest()?.id).toBe(first);
    await run({ [place]: { keepSession: true, sparkConf: { "spark.custom": "1" } } });
    const second = newest()?.id ?? "";
    expect(second).not.toBe(first);
    const named = await run({}, first);
    expect({ state: named.report.state, newest: newest()?.id }).toEqual({ state: "SUCCEEDED", newest: second });
    expect([ended(first), ended(second)]).toEqual([false, false]);
    fake.kill(first);
    fake.kill(second);
  });

  test("that fails says why and what to do", async () => {
    const attempt = async (reason: string) => {
      fake.behaviour.failure = reason;
      const { report } = await runJob(
        job(async ({ spark: open }) => void (await open())),
        NAME,
        {
          sparkRemote: spark(place),
          log,
        },
      );
      return report.error;
    };
    expect(await attempt("Maximum vCPU quota of 16 exceeded")).toMatchObject({
      code: "SESSION_FAILED",
      message: expect.stringContaining("is FAILED: Maximum vCPU quota of 16 exceeded"),
      hint: expect.stringContaining("16 vCPU"),
    });
    expect(await attempt("Could not assume the role")).toMatchObject({ hint: expect.stringContaining("trusts") });
    expect(await attempt("Spark driver exited with 1")).toMatchObject({ hint: expect.stringContaining("log") });
  });
});

describe("what goes wrong", () => {
  const opened = (place: CloudPlace, more: Config = {}) =>
    runJob(
      job(async ({ spark: open }) => void (await open())),
      NAME,
      { sparkRemote: spark(place, more), log },
    );

  test("an application that can't have sessions: every reason at once", async () => {
    fake.behaviour.application = {
      releaseLabel: "emr-7.9.0",
      state: "STOPPED",
      autoStartConfiguration: { enabled: false },
      interactiveConfiguration: { livyEndpointEnabled: true },
      monitoringConfiguration: { managedPersistenceMonitoringConfiguration: { enabled: false } },
    };
    const { report, exitCode } = await opened("emr");
    expect(exitCode).toBe(66);
    expect(report.error).toMatchObject({
      code: "EMR_APPLICATION_UNFIT",
      problems: [
        expect.stringContaining("emr-7.9.0; sessions come with emr-7.13.0"),
        expect.stringContaining("sessionEnabled"),
        expect.stringContaining("logs on S3 or managed persistence"),
        expect.stringContaining("STOPPED and does not start by itself: `aws emr-serverless start-application"),
      ],
    });
  });

  test.each([
    [
      "emr",
      "StartSession",
      "ServiceQuotaExceededException",
      "vCPU limit",
      "EMR_QUOTA",
      /2 vCPU for the driver.*16 vCPU/,
      75,
    ],
    [
      "emr",
      "StartSession",
      "ValidationException",
      "role can not be assumed",
      "EMR_REQUEST_REFUSED",
      /trust emr-serverless/,
      66,
    ],
    ["emr", "StartSession", "ConflictException", "application is STOPPING", "EMR_CONFLICT", /get-application/, 75],
    ["emr", "GetApplication", "ResourceNotFoundException", "no such app", "EMR_NOT_FOUND", /00fakeapplication/, 66],
    [
      "emr",
      "StartSession",
      "AccessDeniedException",
      "not authorized to perform: iam:PassRole",
      "EMR_PASS_ROLE_DENIED",
      /iam:PassRole on arn/,
      66,
    ],
    [
      "emr",
      "GetSessionEndpoint",
      "AccessDeniedException",
      "no",
      "EMR_ACCESS_DENIED",
      /emr-serverless:GetSessionEndpoint/,
      66,
    ],
    ["glue", "CreateSession", "ResourceNumberLimitExceededException", "DPU", "GLUE_QUOTA", /Service Quotas/, 75],
    [
      "glue",
      "CreateSession",
      "ValidationException",
      "role is invalid",
      "GLUE_REQUEST_REFUSED",
      /trust glue.amazonaws.com/,
      66,
    ],
    ["glue", "CreateSession", "AccessDeniedException", "iam:PassRole", "GLUE_PASS_ROLE_DENIED", /PassRole/, 66],
  ] as const)("%s %s answers %s (%s): %s", async (place, operation, name, message, code, hint, exit) => {
    fake.behaviour.error = { operation, name, message, status: name.startsWith("AccessDenied") ? 403 : 400 };
    const before = fake.sessions.size;
    const { report, exitCode } = await opened(place);
    expect(report.error).toMatchObject({ code, hint: expect.stringMatching(hint) });
    expect(exitCode).toBe(exit);
    // One that was started before it went wrong is not left behind.
    if (fake.sessions.size > before) expect(ended(newest()?.id ?? "")).toBe(true);
  });

  test("the application need not be readable", async () => {
    fake.behaviour.error = { operation: "GetApplication", name: "AccessDeniedException", message: "no", status: 403 };
    expect((await opened("emr")).report.state).toBe("SUCCEEDED");
  });

  test("throttling is waited out", async () => {
    fake.behaviour.throttled = 2;
    expect((await opened("glue")).report.state).toBe("SUCCEEDED");
  });

  test("settings that are missing are all named", async () => {
    await expect(sessionService("emr", { ...DEFAULTS } as Settings, [])).rejects.toMatchObject({
      code: "EMR_NOT_CONFIGURED",
      problems: [expect.stringContaining("emr.applicationId"), expect.stringContaining("emr.role")],
      exitCode: 66,
    });
    await expect(sessionService("glue", {}, [])).rejects.toMatchObject({ code: "GLUE_NOT_CONFIGURED" });
  });

  test("a session that isn't there, and one that takes too long, which is ended", async () => {
    const service = await sessionService("emr", settings(), []);
    const options = { service, log, owner: "me", keep: false, signal: new AbortController().signal };
    await expect(openSession({ ...options, id: "00none" })).rejects.toMatchObject({ code: "SESSION_NOT_FOUND" });
    fake.behaviour.startMs = 60_000;
    await expect(openSession({ ...options, startTimeoutMs: 300, pollMs: 50 })).rejects.toMatchObject({
      code: "SESSION_START_TIMEOUT",
      exitCode: 75,
    });
    expect(ended(newest()?.id ?? "")).toBe(true);
  });

  /** A session whose state is looked at often. */
  const watched =
    (watchMs: number, more: { readonly heartbeatMs?: number; readonly idleMinutes?: number } = {}) =>
    async (_needs: object, signal: AbortSignal) => {
      const { idleMinutes, ...endpoint } = more;
      const service = await sessionService("emr", settings(idleMinutes ? { emr: { idleMinutes } } : {}), []);
      const options = { service, log, owner: "me", keep: false, pollMs: 50, watchMs };
      const session = await openSession({ ...options, signal });
      return { ...session, ...endpoint, rootCertificates: readFileSync(certificates.authority) };
    };

  test("a session isn't taken for idle while the job is busy with other things", async () => {
    fake.behaviour.minuteMs = 800;
    const idle = (heartbeatMs: number) =>
      runJob(
        job(async ({ spark: open, signal }) => {
          const session = await open();
          await new Promise((resolve) => setTimeout(resolve, 2_000));
          signal.throwIfAborted();
          await (await session.sql("SELECT 1")).collect();
        }),
        NAME,
        { sparkRemote: watched(100, { heartbeatMs, idleMinutes: 1 }), log },
      );
    const [beating, silent] = await Promise.all([idle(200), idle(60_000)]);
    expect(beating.report.state).toBe("SUCCEEDED");
    // Without heartbeats the fake does end it, so the test can fail.
    expect(silent.report.error?.code).toBe("SESSION_LOST");
  });

  test("a token that is refused again and again ends the run soon", async () => {
    const service = await sessionService("emr", settings(), []);
    const broken = {
      ...service,
      access: async (id: string) => ({ ...(await service.access(id)), token: "token-wrong" }),
    };
    const started = performance.now();
    const { report, exitCode } = await runJob(
      job(async ({ spark: open }) => void (await open())),
      NAME,
      {
        sparkRemote: async (_needs, signal) => {
          const options = { service: broken, log, owner: "me", keep: false, pollMs: 50 };
          const session = await openSession({ ...options, signal });
          return { ...session, rootCertificates: readFileSync(certificates.authority) };
        },
        log,
      },
    );
    expect(report.error).toMatchObject({ code: "SPARK_UNAUTHENTICATED", hint: expect.any(String) });
    expect(exitCode).toBe(66);
    expect(performance.now() - started).toBeLessThan(15_000);
    expect(ended(newest()?.id ?? "")).toBe(true);
  });

  test.each([
    ["it is looked at", 100, 3_600_000],
    ["its token is renewed", 60_000, 1_000],
  ])("a session that the service has forgotten ends the run at once, when %s", async (_when, watchMs, tokenMs) => {
    fake.behaviour.tokenMs = tokenMs;
    const { report, exitCode } = await runJob(
      job(async ({ spark: open, signal }) => {
        const session = await open();
        fake.forget(newest()?.id ?? "");
        while (!signal.aborted) await (await session.sql("SELECT 1")).collect();
        signal.throwIfAborted();
      }),
      NAME,
      { sparkRemote: watched(watchMs), log },
    );
    expect(report.error).toMatchObject({
      code: "SESSION_LOST",
      message: expect.stringMatching(/^EMR Serverless knows session \S+ no more/),
      hint: expect.stringContaining("Run again"),
    });
    expect(exitCode).toBe(75);
  });

  test.each(["emr", "glue"] as const)(
    "a session of %s that has gone since it was listed: another is started",
    async (place) => {
      const keep: Config = { [place]: { keepSession: true } };
      expect((await opened(place, keep)).report.state).toBe("SUCCEEDED");
      const first = newest()?.id ?? "";
      const name = place === "emr" ? "ResourceNotFoundException" : "EntityNotFoundException";
      for (const operation of ["GetSession", "GetSessionEndpoint"]) {
        fake.behaviour.error = { operation, name, message: "no such session", status: place === "emr" ? 404 : 400 };
        expect((await opened(place, keep)).report.error).toBeUndefined();
        expect(newest()?.id).not.toBe(first);
        fake.kill(newest()?.id ?? "");
      }
      fake.kill(first);
      await expect(
        sessionService(place, settings(), []).then((service) => service.access("00none")),
      ).rejects.toMatchObject({
        code: "SESSION_NOT_FOUND",
        hint: expect.stringContaining("session list"),
      });
    },
  );

  // The last one: what it left to Spark, which nobody can interrupt any more, would hold up the next.
  test("a session that ends during a run ends the run at once, with the reason", async () => {
    const started = performance.now();
    const { report, exitCode } = await runJob(
      job(async ({ spark: open }) => {
        const session = await open();
        setTimeout(() => fake.kill(newest()?.id ?? ""), 300);
        await (await session.sql(sleepy(20, 1_000))).collect();
      }),
      NAME,
      { sparkRemote: watched(100), log },
    );
    expect(report.error).toMatchObject({
      code: "SESSION_LOST",
      message: expect.stringMatching(/became TERMINAT(ING|ED) during the run/),
      hint: expect.stringContaining("24 hours"),
    });
    expect({ state: report.state, exitCode }).toEqual({ state: "FAILED", exitCode: 75 });
    expect(performance.now() - started).toBeLessThan(8_000);
  });
});

test("every request is one that the services' own models allow", async () => {
  const service = await sessionService("glue", settings(), []);
  for await (const _ of service.list());
  for await (const _ of (await sessionService("emr", settings(), [])).list());
  const { problems, operations } = await checkRequests(fake.requests);
  expect(problems).toEqual([]);
  const emr = ["GetApplication", "GetResourceDashboard", "GetSession", "GetSessionEndpoint", "ListSessions"];
  const glue = ["CreateSession", "GetDashboardUrl", "GetSession", "GetSessionEndpoint", "ListSessions", "StopSession"];
  expect(operations).toEqual([
    ...[...emr, "StartSession", "TerminateSession"].map((operation) => `emr-serverless.${operation}`),
    ...glue.map((operation) => `glue.${operation}`),
  ]);
  // The check itself sees what is wrong.
  const wrong = { service: "glue", method: "POST", path: "/", target: "AWSGlue.CreateSession" } as const;
  const body = JSON.stringify({ Id: "x", Role: "etl", Command: { Name: "glueetl" }, SessionType: "SPARK", Colour: 1 });
  expect((await checkRequests([{ ...wrong, body }])).problems.join("\n")).toMatch(/Colour[\s\S]*SPARK_CONNECT/);
});
