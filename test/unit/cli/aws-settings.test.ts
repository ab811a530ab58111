import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { silenceNodeVersionWarning } from "../../../lib/aws.js";
import { runHere } from "../../support/cli-here.js";

const glue = resolve(import.meta.dirname, "../../../lib/glue/index.js");
const folder = mkdtempSync(join(tmpdir(), "glue-connect-aws-settings-"));
const before = process.cwd();

/** A job that asks AWS for something before it asks for Spark. */
const JOB = `
import { defineJob } from ${JSON.stringify(glue)};
export default defineJob({
  name: "asks", summary: "Asks AWS first", args: {},
  async run({ storage, spark }) {
    await storage.head("s3://bucket/key");
    await spark();
  },
});
`;

// AWS, as far as commands that only look ask it: each answer is empty.
const asked: string[] = [];
const aws = createServer((incoming, response) => {
  incoming.resume();
  incoming.on("end", () => {
    asked.push(`${incoming.method} ${incoming.url} ${incoming.headers["x-amz-target"] ?? ""}`.trim());
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ jobRun: { state: "RUNNING", jobRunId: "00r", name: "orders" } }));
  });
});

beforeAll(async () => {
  writeFileSync(join(folder, "asks.ts"), JOB);
  process.chdir(folder);
  await once(aws.listen(0, "127.0.0.1"), "listening");
});
afterAll(() => {
  process.chdir(before);
  rmSync(folder, { recursive: true });
  aws.closeAllConnections();
  aws.close();
});
beforeEach(() => {
  const endpoint = `http://127.0.0.1:${(aws.address() as AddressInfo).port}`;
  const variables = {
    AWS_ENDPOINT_URL: endpoint,
    AWS_REGION: "us-east-1",
    AWS_ACCESS_KEY_ID: "a",
    AWS_SECRET_ACCESS_KEY: "b",
  };
  for (const [name, value] of Object.entries(variables)) vi.stubEnv(name, value);
  vi.stubEnv("GLUE_CONNECT_HOME", join(folder, "home"));
});
afterEach(() => {
  vi.unstubAllEnvs();
  asked.length = 0;
});

describe("settings that are missing", () => {
  test.each([
    ["emr", /EMR_NOT_CONFIGURED: [\s\S]*- emr\.applicationId, [\s\S]*- emr\.role, /],
    ["glue", /GLUE_NOT_CONFIGURED: [\s\S]*- glue\.role, /],
  ])("%s: are told before AWS is asked for anything, all of them, once", async (target, message) => {
    const { exitCode, stdout, stderr } = await runHere("run", "./asks.ts", "--JOB_NAME", "x", "--target", target);
    expect({ exitCode, stdout, asked }).toEqual({ exitCode: 66, stdout: "", asked: [] });
    expect(stderr).toMatch(message);
    expect(stderr.match(/NOT_CONFIGURED/g)).toHaveLength(1);

    const submitted = await runHere("submit", "./asks.ts", "--JOB_NAME", "x", "--target", target);
    expect({ exitCode: submitted.exitCode, asked }).toEqual({ exitCode: 66, asked: [] });
    expect(submitted.stderr).toMatch(new RegExp(`${message.source}[\\s\\S]*- artifacts, a folder on S3`));
  });

  test("a session that is there already needs no role", async () => {
    const argv = ["run", "./asks.ts", "--JOB_NAME", "x", "--target", "emr", "--session", "00s"];
    const { stderr } = await runHere(...argv);
    expect(stderr).toContain("- emr.applicationId");
    expect(stderr).not.toContain("emr.role");
  });
});

describe("what only looks, or ends something, needs no role", () => {
  const APPLICATION = ["--set", "emr.applicationId=00f"];

  test.each([
    ["session list", ["session", "list", "--target", "emr", ...APPLICATION], "GET /applications/00f/sessions"],
    [
      "session stop",
      ["session", "stop", "00s", "--target", "emr", ...APPLICATION],
      "GET /applications/00f/sessions/00s",
    ],
    ["runs", ["runs", "--target", "emr", ...APPLICATION], "GET /applications/00f/jobruns"],
    ["status", ["status", "00r", "--target", "emr", ...APPLICATION], "GET /applications/00f/jobruns/00r"],
    ["logs", ["logs", "00r", "--target", "emr", ...APPLICATION], "none"],
    ["cancel", ["cancel", "00r", "--target", "emr", ...APPLICATION], "DELETE /applications/00f/jobruns/00r"],
    ["session list on Glue", ["session", "list", "--target", "glue"], "AWSGlue.ListSessions"],
    ["status on Glue", ["status", "orders:jr_1", "--target", "glue"], "AWSGlue.GetJobRun"],
    ["logs on Glue", ["logs", "orders:jr_1", "--target", "glue"], "none"],
  ])("%s", async (_, argv, request) => {
    const { stderr } = await runHere(...argv);
    expect(stderr).not.toMatch(/NOT_CONFIGURED|role/i);
    if (request === "none") expect(asked).toEqual([]);
    else expect(asked.join("\n")).toContain(request);
  });

  test("the application is needed, and named alone", async () => {
    const { exitCode, stderr } = await runHere("session", "list", "--target", "emr");
    expect(exitCode).toBe(66);
    expect(stderr).toContain("emr.applicationId");
    expect(stderr).not.toContain("emr.role");
  });
});

test.each([
  [["runs", "--targte", "emr"], "unknown option '--targte' (Did you mean --target?)"],
  [["local", "up", "--sprak", "4.1"], "(Did you mean --spark?)"],
  [["plan", "iceberg-to-aurora", "--targte", "emr"], "--targte is not an argument of this job; did you mean --target?"],
  [["submit", "iceberg-to-aurora", "--flolow"], "--flolow is not an argument of this job; did you mean --follow?"],
])("%j: an option that is none is taken for the nearest", async (argv, message) => {
  const { exitCode, stderr } = await runHere(...argv);
  expect(exitCode).toBe(64);
  expect(stderr).toContain(message);
});

test("the SDK's word on Node 20 is kept back, unless the user wants it", () => {
  const env: NodeJS.ProcessEnv = {};
  silenceNodeVersionWarning(env);
  expect(env).toEqual({ AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "true" });
  const own = { AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "false" };
  silenceNodeVersionWarning(own);
  expect(own).toEqual({ AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "false" });
});
