import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, inject, test, vi } from "vitest";
import { makeCertificates } from "../../support/certificates.js";
import { runHere } from "../../support/cli-here.js";
import { type FakeSessions, startFakeSessions } from "../../support/fake-sessions.js";
import { buildCli, type CliProgram, textOf } from "../../unit/cli/cli-process.js";

const folder = mkdtempSync(join(tmpdir(), "glue-connect-session-command-"));
const ROLE = "arn:aws:iam::123456789012:role/etl";
const glue = resolve(import.meta.dirname, "../../../lib/glue/index.js");

const JOB = `
import { existsSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { arg, defineJob } from ${JSON.stringify(glue)};
export default defineJob({
  name: "sleepy", summary: "Sleeps on Spark",
  args: { seconds: arg.integer({ description: "How long" }), until: arg.string({ description: "A file", default: "/" }) },
  async run({ spark, args, log, report }) {
    const session = await spark();
    log.info("the query runs");
    const rows = await (await session.sql(
      "SELECT id, java_method('java.lang.Thread', 'sleep', 500L) AS slept FROM range(0, " + args.seconds * 2 + ", 1, 2)")).collect();
    while (!existsSync(args.until)) await setTimeout(50);
    report.table("rows").read = rows.length;
  },
});
`;

let cli: CliProgram;
let fake: FakeSessions;
const before = process.cwd();

beforeAll(async () => {
  const certificates = makeCertificates(folder, "command");
  [cli, fake] = await Promise.all([
    buildCli(),
    startFakeSessions(inject("sparkRemote"), inject("awsEndpoint"), certificates),
  ]);
  writeFileSync(join(folder, "job.ts"), JOB);
  const env = {
    AWS_ENDPOINT_URL_EMR_SERVERLESS: fake.endpoint,
    AWS_ENDPOINT_URL_GLUE: fake.endpoint,
    AWS_ACCESS_KEY_ID: "test",
    AWS_SECRET_ACCESS_KEY: "test",
    AWS_REGION: "us-east-1",
    GRPC_DEFAULT_SSL_ROOTS_FILE_PATH: certificates.authority,
    GLUE_CONNECT_HOME: inject("stateHome"),
    GLUE_CONNECT_EMR_APPLICATION_ID: "00fakeapplication",
    GLUE_CONNECT_EMR_ROLE: ROLE,
    GLUE_CONNECT_GLUE_ROLE: ROLE,
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

const run = runHere;
const sleepy = (seconds: number, ...more: string[]) => [
  ...["run", "./job.ts", "--JOB_NAME", "x", "--seconds", String(seconds), "--target", "emr", ...more],
];
const newest = () => [...fake.sessions.values()].at(-1)?.id ?? "";
const live = () => [...fake.sessions.keys()].filter((id) => !/^(TERMINAT|STOP)/.test(fake.stateOf(id)));

/** Waits until a process has said something on stderr, which is read on to its end. */
function untilSaid(child: ChildProcess, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let said = "";
    child.stderr?.on("data", (chunk) => {
      said += String(chunk);
      if (said.includes(text)) resolve();
    });
    child.once("close", () => reject(new Error(`it ended, and had said: ${said}`)));
  });
}

test("SIGINT and SIGTERM stop the query and end the session; the exit code is 130", async () => {
  const ends = (["SIGINT", "SIGTERM"] as const).map(async (signal) => {
    const child = cli.start(sleepy(60), { cwd: folder });
    const closed = once(child, "close");
    await untilSaid(child, "the query runs");
    child.kill(signal);
    return closed;
  });
  expect(await Promise.all(ends)).toEqual([
    [130, null],
    [130, null],
  ]);
  expect(fake.sessions.size).toBe(2);
  expect(live()).toEqual([]);
});

test("what a killed run leaves behind is listed as an orphan and can be ended; sessions of others stay", async () => {
  const child = cli.start(sleepy(60), { cwd: folder });
  const closed = once(child, "close");
  await untilSaid(child, "the query runs");
  const orphan = newest();
  expect((await run("session", "list", "--target", "emr", "--orphans")).stdout).toBe("no sessions\n");
  child.kill("SIGKILL");
  await closed;
  const gate = join(folder, "gate");
  const running = cli.start(sleepy(1, "--until", gate), { cwd: folder });
  const ran = once(running, "close");
  const stdout = textOf(running.stdout);
  await vi.waitUntil(() => newest() !== orphan, { timeout: 60_000, interval: 20 });
  const other = newest();

  const listed = await run("session", "list", "--target", "emr", "--json");
  expect(JSON.parse(listed.stdout)).toMatchObject([
    { id: orphan, orphan: true },
    { id: other, orphan: null },
  ]);
  expect((await run("session", "list", "--target", "emr")).stdout).toMatch(
    new RegExp(`^${orphan} .*orphan: its process`),
  );
  expect(await run("session", "stop", "--target", "emr", "--orphans")).toMatchObject({ stdout: `ended ${orphan}\n` });
  expect(live()).toEqual([other]);
  writeFileSync(gate, "");
  const [ended, said] = await Promise.all([ran, stdout]);
  expect(ended).toEqual([0, null]);
  expect(said).toMatch(/\b2 read/);
  expect(live()).toEqual([]);
});

test("wrong usage of targets and sessions says what to do", async () => {
  const [noTarget, both, none, unknown] = await Promise.all([
    run("session", "list"),
    run(...sleepy(1, "--remote", "sc://localhost")),
    run("session", "stop", "--target", "emr"),
    run("session", "stop", "00none", "--target", "emr"),
  ]);
  vi.stubEnv("GLUE_CONNECT_EMR_ROLE", "");
  vi.stubEnv("GLUE_CONNECT_EMR_APPLICATION_ID", "");
  const missing = await run(...sleepy(1));
  expect(noTarget).toMatchObject({ exitCode: 64, stderr: expect.stringContaining("--target emr or --target glue") });
  expect(both).toMatchObject({ exitCode: 64, stderr: expect.stringContaining("Leave one of them out") });
  expect(none).toMatchObject({ exitCode: 64, stderr: expect.stringContaining("No session was named") });
  expect(unknown).toMatchObject({ exitCode: 64, stderr: expect.stringContaining("SESSION_NOT_FOUND") });
  expect(missing).toMatchObject({
    exitCode: 66,
    stderr: expect.stringMatching(/EMR_NOT_CONFIGURED[\s\S]*emr\.applicationId[\s\S]*emr\.role/),
  });
});
