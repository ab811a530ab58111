import { execFile } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { CreateApplicationCommand, EMRServerlessClient } from "@aws-sdk/client-emr-serverless";
import { GetJobCommand, GetJobRunCommand, GlueClient } from "@aws-sdk/client-glue";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, beforeEach, expect, inject, test, vi } from "vitest";
import { jarFiles } from "../../../lib/cli/cluster-jars.js";
import { silentLogger } from "../../../lib/logger.js";
import { createObjectStore } from "../../../lib/storage/index.js";
import { createEmrRuns } from "../../../lib/targets/runs/emr-runs.js";
import { createGlueRuns } from "../../../lib/targets/runs/glue-runs.js";
import { AWS_TEST_OPTIONS } from "../../support/aws.js";
import { startBuilt } from "../../support/built-command.js";
import { makeCertificates } from "../../support/certificates.js";
import { checkRequests } from "../../support/check-requests.js";
import { runHere, startHere } from "../../support/cli-here.js";
import { type FakeSessions, startFakeSessions } from "../../support/fake-sessions.js";
import { buildCli, type CliProgram } from "../../unit/cli/cli-process.js";

const aws = { ...AWS_TEST_OPTIONS, endpoint: inject("awsEndpoint") };
const folder = mkdtempSync(join(tmpdir(), "glue-connect-submit-"));
const bucket = `submit-${randomUUID().slice(0, 8)}`;
const store = createObjectStore(aws);
const ROLE = "arn:aws:iam::123456789012:role/etl";
const glue = resolve(import.meta.dirname, "../../../lib/glue/index.js");
vi.setConfig({ testTimeout: 240_000 });

const before = process.cwd();
let cli: CliProgram;
let fake: FakeSessions;

beforeAll(async () => {
  const s3 = new S3Client({ ...aws, forcePathStyle: true });
  [cli, fake] = await Promise.all([
    buildCli(),
    startFakeSessions(inject("sparkRemote"), inject("awsEndpoint"), makeCertificates(folder, "submit")),
    s3.send(new CreateBucketCommand({ Bucket: bucket })),
  ]);
  writeFileSync(join(folder, "node.tgz"), "an archive");
  writeFileSync(
    join(folder, "job.ts"),
    `import { arg, defineJob } from ${JSON.stringify(glue)};
export default defineJob({ name: "numbers", summary: "s", needs: ["iceberg", "postgresql"], args: { day: arg.string({ description: "Day" }) }, async run() {} });`,
  );
  writeFileSync(
    join(folder, "glue-connect.config.ts"),
    `export default {
  region: "us-east-1", artifacts: "s3://${bucket}/artifacts", logs: "s3://${bucket}/logs", target: "emr",
  emr: { applicationId: "00fakeapplication", role: "${ROLE}", attempts: 3, timeoutMinutes: 60, maxExecutors: 4 },
  glue: { role: "${ROLE}" },
};`,
  );
  const env = {
    AWS_ENDPOINT_URL: inject("awsEndpoint"),
    AWS_ENDPOINT_URL_EMR_SERVERLESS: fake.endpoint,
    AWS_ENDPOINT_URL_GLUE: fake.endpoint,
    AWS_ACCESS_KEY_ID: "test",
    AWS_SECRET_ACCESS_KEY: "test",
    GLUE_CONNECT_NODE_ARCHIVE: join(folder, "node.tgz"),
  };
  for (const [variable, value] of Object.entries(env)) vi.stubEnv(variable, value);
  process.chdir(folder);
});
afterAll(async () => {
  process.chdir(before);
  vi.unstubAllEnvs();
  await fake?.close();
  await cli?.remove();
  rmSync(folder, { recursive: true });
});
beforeEach(() => {
  const normal = { runMs: 300, runEnd: "SUCCESS", runDetails: "", attempt: 1, throttled: 0, error: undefined };
  Object.assign(fake.behaviour, normal, { application: {}, glueRuns: [], glueTakesTime: false });
});

const run = runHere;
const submit = (...more: string[]) => ["submit", "./job.ts", "--JOB_NAME", "nightly", "--day", "2026-01-31", ...more];
const uploaded = async () => {
  const found: string[] = [];
  for await (const { uri } of store.list(`s3://${bucket}/artifacts/`)) found.push(uri);
  return found;
};

test("uploads under the hash of the content, once; starts the run; prints its id first; waits for its end", async () => {
  fake.behaviour.throttled = 1;
  const first = await run(...submit("--wait"));
  expect(first.exitCode, first.stderr).toBe(0);
  const id = first.stdout.split("\n")[0] ?? "";
  expect([...fake.runs.keys()]).toEqual([id]);
  expect(first.stderr).toMatch(/job run \S+ is SUCCESS/);
  expect(first.stderr).toContain("0.125 vCPU hours");

  const objects = await uploaded();
  const names = objects.map((uri) => uri.replace(/^.*\//, "")).sort();
  expect(names).toEqual([
    expect.stringMatching(/^glue-connect-spark-.*\.jar$/),
    "launcher.py",
    "node.tgz",
    "numbers.mjs",
    expect.stringMatching(/^postgresql-.*\.jar$/),
    expect.stringMatching(/^spark-connect_2\.12-.*\.jar$/),
  ]);
  for (const uri of objects) {
    const body = (await store.get(uri))?.body ?? new Uint8Array();
    expect(uri.split("/").at(-2)).toBe(createHash("sha256").update(body).digest("hex").slice(0, 32));
  }
  const jars = objects.filter((uri) => uri.endsWith(".jar"));
  const find = (name: string) => objects.find((uri) => uri.endsWith(name));
  expect(fake.runs.get(id)?.request).toMatchObject({
    executionRoleArn: ROLE,
    name: "nightly",
    mode: "BATCH",
    clientToken: expect.stringMatching(/^[0-9a-f]{32}$/),
    executionTimeoutMinutes: 60,
    retryPolicy: { maxAttempts: 3 },
    tags: { "glue-connect": "nightly" },
    jobDriver: {
      sparkSubmit: {
        entryPoint: find("launcher.py"),
        entryPointArguments: [
          ...["--glue_connect_bundle", find("numbers.mjs")],
          ...["--glue_connect_report", expect.stringMatching(/^s3:.*\/reports\/[0-9a-f]{32}\.json$/)],
          ...["--glue_connect_region", "us-east-1"],
          ...["--glue_connect_node", find("node.tgz"), "--JOB_NAME", "nightly", "--day", "2026-01-31"],
        ],
      },
    },
    configurationOverrides: {
      monitoringConfiguration: { s3MonitoringConfiguration: { logUri: `s3://${bucket}/logs/` } },
      applicationConfiguration: [
        {
          classification: "spark-defaults",
          properties: { "spark.dynamicAllocation.maxExecutors": "4", "spark.jars": expect.stringContaining("iceberg") },
        },
      ],
    },
  });
  const conf = JSON.stringify(fake.runs.get(id)?.request.configurationOverrides);
  for (const jar of jars) expect(conf).toContain(jar);

  const again = await run(...submit());
  expect({ exitCode: again.exitCode, lines: again.stdout.trim().split("\n").length }).toEqual({
    exitCode: 0,
    lines: 1,
  });
  expect(again.stderr).not.toContain("uploading");
  expect(await uploaded()).toEqual(objects);
});

test("a run that fails fails the command; the log of each attempt is shown as it grows; status, runs and logs tell of it", async () => {
  Object.assign(fake.behaviour, { runMs: 600_000, runEnd: "FAILED", runDetails: "Maximum vCPU exceeded" });
  const { said, ended } = startHere(...submit("--follow"));
  await vi.waitUntil(() => said.stdout.includes("\n"), { timeout: 60_000 });
  const id = said.stdout.split("\n")[0] ?? "";
  const folderOf = (attempt: string) =>
    `s3://${bucket}/logs/applications/00fakeapplication/jobs/${id}/${attempt}SPARK_DRIVER`;
  const logged = (attempt: string, text: string) => store.put(`${folderOf(attempt)}/stderr.gz`, gzipSync(text));
  const shown = (text: string) => vi.waitUntil(() => said.stderr.includes(text), { timeout: 30_000 });
  await logged("", "reading 12 tables\nhalf a li");
  await shown("reading 12 tables");
  expect(said.stderr).not.toContain("half a li");
  // The same log in the place that it has where there may be several.
  await logged("attempts/1/", "reading 12 tables\nhalf a line\nTARGET_GONE: gone\n");
  fake.behaviour.attempt = 2;
  await logged("attempts/2/", "reading 12 tables\n");
  await shown(`attempt 2 of ${id}:\nreading 12 tables\n`);
  await logged("attempts/2/", "reading 12 tables\nTARGET_GONE: still\n");
  fake.behaviour.runMs = 1;
  expect((await ended).exitCode).toBe(1);
  expect(said.stderr.match(/reading 12 tables/g)).toHaveLength(2);
  expect(said.stderr).toMatch(/half a line\nTARGET_GONE: gone\n[\s\S]*TARGET_GONE: still\n/);
  expect(said.stderr).toMatch(/is FAILED: Maximum vCPU exceeded. What to do: .*16 vCPU/);

  const [status, listed, logs, second, third, zeroth] = await Promise.all([
    run("status", id, "--ui"),
    run("runs", "--json"),
    run("logs", id),
    run("logs", id, "--attempt", "2"),
    run("logs", id, "--attempt", "3"),
    run("logs", id, "--attempt", "0"),
  ]);
  expect(status).toMatchObject({ exitCode: 1, stdout: expect.stringMatching(`${id}  FAILED: Maximum vCPU`) });
  expect(status.stdout).toMatch(/^spark ui {2}https:/m);
  expect(status.stdout).toMatch(/^attempt {3}2$/m);
  expect(JSON.parse(listed.stdout)[0]).toMatchObject({ id, phase: "failed", name: "nightly" });
  expect(logs.stdout).toMatch(/TARGET_GONE: gone[\s\S]*TARGET_GONE: still/);
  expect(second.stdout).toBe("reading 12 tables\nTARGET_GONE: still\n");
  expect(third).toMatchObject({ stdout: "", stderr: expect.stringContaining(`There is no log of ${id} yet`) });
  expect(zeroth).toMatchObject({ exitCode: 64, stderr: expect.stringContaining("The first one is 1") });
});

test("Ctrl-C under --wait cancels the run, and CANCELLING is not the end", async () => {
  fake.behaviour.runMs = 600_000;
  const child = cli.start(submit("--wait"), { cwd: folder });
  let stderr = "";
  child.stderr?.on("data", (chunk) => {
    stderr += String(chunk);
  });
  const closed = once(child, "close");
  await vi.waitUntil(() => stderr.includes("is SUBMITTED"), { timeout: 60_000 });
  child.kill("SIGINT");
  expect(await closed).toEqual([130, null]);
  expect(stderr).toMatch(/is CANCELLING[\s\S]*is CANCELLED/);

  const id = (await run(...submit())).stdout.trim();
  expect(await run("cancel", id, "--wait")).toMatchObject({
    exitCode: 0,
    stderr: expect.stringContaining("is CANCELLED"),
  });
});

test("what can be known before is said before: arguments, settings, mistakes in the code; and what the service refuses", async () => {
  const runs = fake.runs.size;
  writeFileSync(
    join(folder, "broken.ts"),
    `import job from "./job.js";\nimport { nothing } from "./none.js";\nexport default { ...job, nothing };\n`,
  );
  writeFileSync(
    join(folder, "late.ts"),
    `import { defineJob } from ${JSON.stringify(glue)};\nexport default defineJob({ name: "late", summary: "s", args: {}, async run() { await import("./nowhere.js"); } });\n`,
  );
  writeFileSync(join(folder, "bare.config.ts"), `export default { region: "us-east-1", target: "glue" };\n`);
  // Node finds it when it is wanted, and nothing can put it into a bundle.
  mkdirSync(join(folder, "node_modules", "native"), { recursive: true });
  writeFileSync(join(folder, "node_modules", "native", "addon.node"), "");
  writeFileSync(
    join(folder, "node_modules", "native", "index.js"),
    `\nexports.load = () => require("./addon.node");\n`,
  );
  writeFileSync(
    join(folder, "native.ts"),
    `import { load } from "native";\nimport { defineJob } from ${JSON.stringify(glue)};\nexport default defineJob({ name: "native", summary: "s", args: {}, async run() { load(); } });\n`,
  );
  const [badArguments, noArtifacts, none, noRole, broken, late, native] = await Promise.all([
    run("submit", "./job.ts", "--JOB_NAME", "x", "--dya", "1"),
    run(...submit("--set", "artifacts=bucket")),
    run(...submit("--config-file", "bare.config.ts", "--set", `glue.role=${ROLE}`)),
    run(...submit("--config-file", "bare.config.ts")),
    run("submit", "./broken.ts", "--JOB_NAME", "x"),
    run("submit", "./late.ts", "--JOB_NAME", "x"),
    run("submit", "./native.ts", "--JOB_NAME", "x"),
  ]);
  expect(badArguments).toMatchObject({ exitCode: 64, stderr: expect.stringMatching(/ARGUMENTS_INVALID[\s\S]*day/) });
  expect(noArtifacts).toMatchObject({ exitCode: 66, stderr: expect.stringMatching(/artifacts is no folder on S3/) });
  expect(none).toMatchObject({
    exitCode: 66,
    stderr: expect.stringMatching(/ARTIFACTS_NOT_CONFIGURED[\s\S]*a folder on S3[\s\S]*What to do: Set/),
  });
  expect(noRole).toMatchObject({ exitCode: 66, stderr: expect.stringMatching(/GLUE_NOT_CONFIGURED[\s\S]*glue\.role/) });
  expect(broken).toMatchObject({
    exitCode: 66,
    stderr: expect.stringMatching(/none\.js.*broken\.ts, line 2, column 25\)/),
  });
  expect(late).toMatchObject({
    exitCode: 66,
    stderr: expect.stringMatching(/JOB_LOAD_FAILED: [\s\S]*nowhere\.js.*late\.ts, line 2/),
  });
  expect(native).toMatchObject({
    exitCode: 66,
    stderr: expect.stringMatching(/BUNDLE_FAILED: .*addon\.node.*native\/index\.js, line 2, column 30\)/),
  });
  await expect(jarFiles(["nothing-of-that-name"], silentLogger, AbortSignal.timeout(60_000))).rejects.toMatchObject({
    code: "JAR_MISSING",
    hint: expect.stringContaining("Name one on S3"),
  });
  const quota = { operation: "StartJobRun", name: "ServiceQuotaExceededException", message: "vCPU", status: 402 };
  fake.behaviour.error = quota;
  expect(await run(...submit())).toMatchObject({
    exitCode: 75,
    stderr: expect.stringMatching(/EMR_QUOTA[\s\S]*16 vCPU/),
  });
  expect(fake.runs.size).toBe(runs);
});

test("an application that can't have job runs: every reason at once, before anything is uploaded", async () => {
  fake.behaviour.application = {
    releaseLabel: "emr-6.15.0",
    architecture: "ARM64",
    state: "STOPPED",
    autoStartConfiguration: { enabled: false },
  };
  const there = await uploaded();
  const { exitCode, stderr } = await run(...submit("--set", "emr.tags.team=data"));
  expect({ exitCode, uploaded: await uploaded() }).toEqual({ exitCode: 66, uploaded: there });
  expect(stderr).toMatch(/EMR_APPLICATION_UNFIT: .* can't have job runs/);
  expect(stderr).toContain("emr-6.15.0; job runs come with emr-7.1.0");
  expect(stderr).toContain("its workers are arm64, and emr.architecture is x86_64");
  expect(stderr).toContain("aws emr-serverless start-application");
});

const REQUEST = {
  token: randomUUID(),
  name: "nightly",
  launcher: "s3://a/launcher.py",
  bundle: "s3://a/job.mjs",
  node: "s3://a/node.tgz",
  jars: ["s3://a/connect.jar"],
  report: "s3://a/reports/1.json",
  argv: ["--JOB_NAME", "nightly"],
};

test.each([
  ["emr", "StartJobRun", "ServiceQuotaExceededException", "vCPU", "EMR_QUOTA", /16 vCPU/],
  [
    "emr",
    "StartJobRun",
    "ValidationException",
    "Invalid execution role",
    "EMR_REQUEST_REFUSED",
    /trust emr-serverless/,
  ],
  [
    "emr",
    "StartJobRun",
    "AccessDeniedException",
    "not allowed: iam:PassRole",
    "EMR_PASS_ROLE_DENIED",
    /iam:PassRole on arn/,
  ],
  ["emr", "StartJobRun", "AccessDeniedException", "no", "EMR_ACCESS_DENIED", /emr-serverless:StartJobRun/],
  ["emr", "StartJobRun", "ConflictException", "STOPPING", "EMR_CONFLICT", /get-application/],
  [
    "glue",
    "UpdateJob",
    "InvalidInputException",
    "Role can't be assumed",
    "GLUE_REQUEST_REFUSED",
    /trust glue\.amazonaws/,
  ],
  ["glue", "StartJobRun", "ConcurrentRunsExceededException", "1", "GLUE_CONCURRENT_RUNS", /Wait for that run/],
  ["glue", "StartJobRun", "ResourceNumberLimitExceededException", "DPU", "GLUE_QUOTA", /glue\.workers/],
  ["glue", "StartJobRun", "AccessDeniedException", "iam:PassRole", "GLUE_PASS_ROLE_DENIED", /iam:PassRole on arn/],
] as const)("%s: %s answers %s (%s): %s and what to do", async (place, operation, name, message, code, hint) => {
  const target = { aws: { ...aws, endpoint: fake.endpoint }, role: ROLE, packages: [] };
  const service =
    place === "emr"
      ? await createEmrRuns({ ...target, applicationId: "00fakeapplication" })
      : await createGlueRuns({ ...target, jobName: "nightly" });
  if (place === "glue") await service.start(await service.prepare({ ...REQUEST, name: `nightly-${bucket}-errors` }));
  fake.behaviour.error = { operation, name, message, status: name.startsWith("AccessDenied") ? 403 : 400 };
  const prepared = await service.prepare({ ...REQUEST, name: `nightly-${bucket}-errors` });
  const refused = await service.start(prepared).catch((error: unknown) => error);
  expect(refused).toMatchObject({ code, hint: expect.stringMatching(hint) });
});

test("the emulator takes the same requests: a run is started, asked for and listed", async () => {
  const client = new EMRServerlessClient(aws);
  const created = await client.send(
    new CreateApplicationCommand({
      type: "SPARK",
      releaseLabel: "emr-7.13.0",
      name: bucket,
      clientToken: randomUUID(),
    }),
  );
  const applicationId = created.applicationId ?? "";
  const service = await createEmrRuns({ aws, applicationId, role: ROLE, packages: ["iceberg"], attempts: 2 });
  await service.check();
  const id = await service.start(await service.prepare(REQUEST));
  expect(await service.get(id)).toMatchObject({ id, name: "nightly", phase: "succeeded" });
  const listed: string[] = [];
  for await (const run of service.list()) listed.push(run.id);
  expect(listed).toEqual([id]);
  await expect(service.get("00none")).rejects.toMatchObject({ code: "EMR_NOT_FOUND" });
});

test("a Glue job is made, brought up to date and started with the same launcher", async () => {
  const client = new GlueClient(aws);
  const name = `nightly-${bucket}`;
  const argv = ["submit", "./job.ts", "--target", "glue", "--JOB_NAME", name, "--day", "2026-01-31"];
  const first = await run(...argv);
  expect(first.exitCode, first.stderr).toBe(0);
  const [job = "", runId = ""] = first.stdout.trim().split(":");
  expect(job).toBe(name);
  const { Job } = await client.send(new GetJobCommand({ JobName: name }));
  expect(Job).toMatchObject({
    Role: ROLE,
    GlueVersion: "5.1",
    Command: { Name: "glueetl", ScriptLocation: expect.stringMatching(/launcher\.py$/), PythonVersion: "3" },
    DefaultArguments: {
      "--datalake-formats": "iceberg",
      "--extra-jars": expect.stringMatching(/spark-connect_.*glue-connect-spark/),
      "--glue_connect_bundle": expect.stringMatching(/numbers\.mjs$/),
      "--glue_connect_node": expect.stringMatching(/node\.tgz$/),
      "--glue_connect_report": `s3://${bucket}/artifacts/reports/`,
    },
  });
  const { JobRun } = await client.send(new GetJobRunCommand({ JobName: name, RunId: runId }));
  // The emulator shows a run's arguments together with the job's. Its name is for Glue alone to set.
  expect(JobRun?.Arguments).toEqual({
    ...Job?.DefaultArguments,
    "--day": "2026-01-31",
    "--glue_connect_report": expect.stringMatching(/\/reports\/[0-9a-f]{32}\.json$/),
  });
  const again = await run(...argv, "--set", "glue.workers=5");
  expect(again.stdout.trim()).toMatch(new RegExp(`^${name}:jr_`));
  const updates = fake.requests
    .filter(({ target }) => target === "AWSGlue.UpdateJob")
    .map(({ body }) => JSON.parse(body))
    .filter(({ JobName }) => JobName === name);
  expect(updates).toMatchObject([{ JobName: name, JobUpdate: { NumberOfWorkers: 5, GlueVersion: "5.1" } }]);
  expect(await run("status", `${name}:${runId}`, "--target", "glue")).toMatchObject({ exitCode: 0 });
  const logs = await run("logs", `${name}:${runId}`, "--target", "glue");
  expect(logs.stdout).toContain(`aws logs tail /aws-glue/jobs/error --log-stream-name-prefix ${runId} --follow`);
  const second = await run("logs", `${name}:${runId}`, "--target", "glue", "--attempt", "2");
  expect(second.stdout).toContain(`--log-stream-name-prefix ${runId}_attempt_1 --follow`);
});

test("--follow of a Glue run says where its log is while it runs", async () => {
  Object.assign(fake.behaviour, { glueTakesTime: true, runMs: 600_000 });
  const name = `followed-${bucket}`;
  const argv = ["submit", "./job.ts", "--target", "glue", "--JOB_NAME", name, "--day", "2026-01-31"];
  const { said, ended } = startHere(...argv, "--follow");
  await vi.waitUntil(() => said.stderr.includes("aws logs tail"), { timeout: 60_000 });
  const id = said.stdout.trim();
  expect(said.stderr).toContain(`--log-stream-name-prefix ${id.slice(name.length + 1)} --follow`);
  expect(said.stderr).not.toMatch(/SUCCEEDED/);
  expect((await run("status", id, "--target", "glue")).stdout).toMatch(/^attempt {3}1$/m);
  fake.behaviour.runMs = 1;
  expect((await ended).exitCode).toBe(0);
  expect(said.stderr.match(/aws logs tail/g)).toHaveLength(1);
});

test("a Glue run that is tried again counts by its last attempt, and that one is stopped", async () => {
  const name = `retried-${bucket}`;
  const target = { aws: { ...aws, endpoint: fake.endpoint }, role: ROLE, packages: [], attempts: 3, jobName: name };
  const service = await createGlueRuns(target);
  const id = await service.start(await service.prepare({ ...REQUEST, name }));
  const run = id.slice(name.length + 1);
  const Arguments = { "--glue_connect_report": REQUEST.report };
  const failed = { Id: run, Attempt: 0, JobName: name, JobRunState: "FAILED", Arguments, ErrorMessage: "driver lost" };
  fake.behaviour.glueRuns = [{ ...failed, CompletedOn: Date.now() / 1000 }];
  expect(await service.get(id)).toMatchObject({ id, phase: "waiting", state: "FAILED, to be tried again", attempt: 1 });
  // AWS's clock is an hour ahead of this machine's.
  fake.behaviour.glueRuns = [{ ...failed, CompletedOn: Date.now() / 1000 + 3_600 }];
  expect(await service.get(id)).toMatchObject({ phase: "waiting" });
  const later = performance.now() + 121_000;
  const clock = vi.spyOn(performance, "now").mockImplementation(() => later);
  expect(await service.get(id)).toMatchObject({ phase: "failed" });
  clock.mockRestore();
  fake.behaviour.glueRuns = [{ ...failed, CompletedOn: Date.now() / 1000 - 600 }];
  expect(await service.get(id)).toMatchObject({ id, phase: "failed", reason: "driver lost" });
  const second = { ...failed, Id: `${run}_attempt_1`, Attempt: 1, JobRunState: "RUNNING", ErrorMessage: "" };
  fake.behaviour.glueRuns = [failed, second];
  expect(await service.get(id)).toMatchObject({
    id,
    phase: "running",
    attempt: 2,
    reason: `its last attempt is ${run}_attempt_1`,
  });
  expect(await service.dashboard(id)).toMatch(/^https:/);
  expect(JSON.parse(fake.requests.at(-1)?.body ?? "")).toMatchObject({ ResourceId: `${run}_attempt_1` });
  // Between two attempts there is nothing to stop yet.
  const stops = () =>
    fake.requests
      .filter(({ target: operation }) => operation === "AWSGlue.BatchStopJobRun")
      .map(({ body }) => JSON.parse(body))
      .filter(({ JobName }) => JobName === name);
  fake.behaviour.glueRuns = [{ ...failed, CompletedOn: Date.now() / 1000 }];
  const asked = fake.requests.length;
  const cancelled = service.cancel(id);
  await vi.waitUntil(() => fake.requests.slice(asked).some(({ target: op }) => op === "AWSGlue.GetJobRuns"));
  expect(stops()).toEqual([]);
  fake.behaviour.glueRuns = [failed, second];
  await cancelled;
  expect(stops()).toEqual([{ JobName: name, JobRunIds: [`${run}_attempt_1`] }]);
  // That it is over by now is an answer, too.
  fake.behaviour.glueRuns = [failed, { ...second, JobRunState: "SUCCEEDED" }];
  await expect(service.cancel(id)).rejects.toMatchObject({
    code: "GLUE_STOP_FAILED",
    message: `Glue can't stop ${id}: is over`,
    hint: expect.stringContaining("glue-connect status"),
  });
  expect(stops()).toHaveLength(2);
  const other = { ...failed, Id: `${run}_attempt_2`, Attempt: 2, JobRunState: "TIMEOUT", ErrorMessage: "too long" };
  fake.behaviour.glueRuns = [failed, { ...second, JobRunState: "FAILED" }, other];
  expect(await service.get(id)).toMatchObject({ id, phase: "failed", state: "TIMEOUT", reason: "too long" });
  // Glue doesn't try that again, though it might be tried twice more.
  fake.behaviour.glueRuns = [{ ...failed, JobRunState: "TIMEOUT", CompletedOn: Date.now() / 1000 }];
  expect(await service.get(id)).toMatchObject({ id, phase: "failed", state: "TIMEOUT" });
});

test("what the built command uploads of a job runs by itself", async () => {
  writeFileSync(
    join(folder, "counts.ts"),
    `import { defineJob } from "glue-connect";
export default defineJob({ name: "counts", summary: "s", args: {}, async run({ spark }) {
  const session = await spark();
  if ((await session.range(7).count()) !== 7) throw new Error("not 7");
} });`,
  );
  const submitted = await startBuilt(folder, ["submit", "./counts.ts", "--JOB_NAME", "counts"]).ended;
  expect(submitted.code, submitted.stderr).toBe(0);
  const uri = (await uploaded()).find((one) => one.endsWith("/counts.mjs")) ?? "";
  const bundle = join(mkdtempSync(join(folder, "alone-")), "counts.mjs");
  writeFileSync(bundle, (await store.get(uri))?.body ?? "");
  const { stdout } = await promisify(execFile)(process.execPath, [bundle, "--JOB_NAME", "counts"], {
    env: { ...process.env, SPARK_REMOTE: inject("sparkRemote") },
  });
  expect(stdout).toContain("counts (counts)  SUCCEEDED");
});

test("every request is one that the services' own models allow", async () => {
  const { problems, operations } = await checkRequests(fake.requests);
  expect(problems).toEqual([]);
  const emr = ["CancelJobRun", "GetApplication", "GetDashboardForJobRun", "GetJobRun", "ListJobRuns", "StartJobRun"];
  const glueJobs = ["BatchStopJobRun", "CreateJob", "GetDashboardUrl", "GetJob", "GetJobRun", "GetJobRuns"];
  expect(operations).toEqual([
    ...emr.map((operation) => `emr-serverless.${operation}`),
    ...[...glueJobs, "StartJobRun", "UpdateJob"].map((operation) => `glue.${operation}`),
  ]);
});
