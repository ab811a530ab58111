import { createHash, randomUUID } from "node:crypto";
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { CreateBucketCommand, GetObjectCommand, ListObjectsV2Command, S3Client } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, beforeEach, expect, inject, test, vi } from "vitest";
import { AWS_TEST_OPTIONS, awsVariables } from "../../support/aws.js";
import { startProxy } from "../../support/aws-proxy.js";
import { buildCli, type CliProgram } from "../../unit/cli/cli-process.js";

// Each test starts processes, and the CDK takes its time to load.
vi.setConfig({ testTimeout: 300_000 });

const CONFIG = `export default {
  region: "eu-central-1",
  artifacts: "s3://mine/artifacts/",
  logs: "s3://mine/logs/",
  infra: { name: "tiny", metadataTable: "tiny-items" },
};
`;

/** Its buckets are those of the data stack. */
const withJob = `export default {
  region: "eu-central-1",
  jobs: { numbers: { job: "./job.ts" } },
  triggers: { now: { type: "ON_DEMAND", actions: [{ job: "numbers" }] } },
  infra: { name: "tiny" },
};
`;

const glue = path.resolve(import.meta.dirname, "../../../lib/glue/index.js");
const jobSource = (summary: string) => `import { defineJob } from ${JSON.stringify(glue)};
export default defineJob({ name: "numbers", summary: ${JSON.stringify(summary)}, args: {}, async run() {} });
`;

let cli: CliProgram;
let folder: string;
beforeAll(async () => {
  cli = await buildCli();
}, 60_000);
afterAll(() => cli.remove());
beforeEach(async () => {
  folder = await mkdtemp(path.join(cli.folder, "project-"));
  await writeFile(path.join(folder, "glue-connect.config.mjs"), CONFIG);
  return () => rm(folder, { recursive: true });
});

const run = (argv: readonly string[], env: Record<string, string> = {}) =>
  // Nothing of an account is there to be asked.
  cli.run(["infra", ...argv], {
    cwd: folder,
    env: { AWS_PROFILE: "", AWS_ENDPOINT_URL: "http://127.0.0.1:1", ...env },
  });

/** A command of the CDK's that notes what it is called with. */
async function ownCdk(exitCode = 0, outputs: object = {}): Promise<() => Promise<string[]>> {
  const bin = path.join(folder, "node_modules", ".bin");
  const calls = path.join(folder, "calls");
  await mkdir(bin, { recursive: true });
  const script = `#!/bin/sh
echo "$AWS_REGION $*" >> '${calls}'
while [ $# -gt 0 ]; do [ "$1" = --outputs-file ] && echo '${JSON.stringify({ "tiny-data": outputs })}' > "$2"; shift; done
exit ${exitCode}
`;
  await writeFile(path.join(bin, "cdk"), script);
  await chmod(path.join(bin, "cdk"), 0o755);
  return async () => (await readFile(calls, "utf8")).trim().split("\n");
}

test("synth prints a template without an account, and writes both to a folder", async () => {
  const [printed, written] = await Promise.all([run(["synth", "jobs"]), run(["synth", "--out", "templates"])]);
  expect({ exitCode: printed.exitCode, stderr: printed.stderr }).toEqual({ exitCode: 0, stderr: "" });
  const types = (template: string) => {
    const { Resources } = JSON.parse(template) as { Resources: Record<string, { Type: string }> };
    return Object.values(Resources).map(({ Type }) => Type);
  };
  expect(types(printed.stdout)).toContain("AWS::EMRServerless::Application");

  expect(
    written.stdout
      .trim()
      .split("\n")
      .map((file) => path.relative(folder, file)),
  ).toEqual(["templates/tiny-data.template.json", "templates/tiny-jobs.template.json"]);
  expect(types(await readFile(path.join(folder, "templates/tiny-data.template.json"), "utf8"))).toEqual([
    "AWS::DynamoDB::Table",
  ]);
});

test("without the CDK's library it is said what to install", async () => {
  const hook = path.join(folder, "without-cdk.mjs");
  // As it is where nobody has installed it: looked for from a folder that has none.
  const resolve = `export const resolve = (name, context, next) =>
    next(name, name.startsWith("aws-cdk-lib") ? { ...context, parentURL: "file:///nowhere/a.mjs" } : context);`;
  await writeFile(
    hook,
    `import { register } from "node:module"; register("data:text/javascript," + ${JSON.stringify(encodeURIComponent(resolve))});`,
  );
  const { exitCode, stdout, stderr } = await run(["synth"], { NODE_OPTIONS: `--import ${hook}` });
  expect({ exitCode, stdout }).toEqual({ exitCode: 66, stdout: "" });
  expect(stderr).toContain("CDK_MISSING: The infrastructure is made with the AWS CDK, and aws-cdk-lib isn't installed");
  expect(stderr).toContain("npm install --save-dev aws-cdk-lib");
});

test("without the CDK's command deploy says so, before anything is made", async () => {
  const { exitCode, stderr } = await run(["deploy"], { PATH: path.join(folder, "empty") });
  expect(exitCode).toBe(66);
  expect(stderr).toContain("CDK_CLI_MISSING");
  expect(stderr).toContain("npm install --save-dev aws-cdk");
});

test("deploy brings up the data, uploads what the jobs run with, then the jobs; what is there isn't uploaded again", async () => {
  await using proxy = await startProxy(inject("awsEndpoint"), []);
  const s3 = new S3Client({ ...AWS_TEST_OPTIONS, endpoint: inject("awsEndpoint"), forcePathStyle: true });
  const bucket = `infra-${randomUUID().slice(0, 8)}`;
  await s3.send(new CreateBucketCommand({ Bucket: bucket }));
  const objects = async () => {
    const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket: bucket }));
    return Contents.map(({ Key = "" }) => Key);
  };
  await writeFile(path.join(folder, "glue-connect.config.mjs"), withJob);
  await writeFile(path.join(folder, "job.ts"), jobSource("first"));
  await writeFile(path.join(folder, "node.tgz"), "an archive of Node");
  // The bucket is the one that the data stack has made.
  const calls = await ownCdk(0, { ArtifactsBucket: bucket });
  const env = {
    ...awsVariables(proxy.endpoint),
    GLUE_CONNECT_NODE_ARCHIVE: path.join(folder, "node.tgz"),
  };

  const deployed = await run(["deploy", "--yes", "--parameter", "KeyspaceName=ks", "--", "--verbose"], env);
  expect(deployed.exitCode, deployed.stderr).toBe(0);
  const shown = (await calls()).map((call) => call.replaceAll(/\S*glue-connect-infra-\S*?\//g, "F/"));
  expect(shown).toEqual([
    "eu-central-1 deploy tiny-data --exclusively --app F/assembly --require-approval never --outputs-file F/outputs.json --verbose",
    "eu-central-1 deploy tiny-jobs --exclusively --app F/assembly --require-approval never --parameters KeyspaceName=ks --verbose",
  ]);
  const [first, puts] = [await objects(), proxy.puts];
  expect(first.map((key) => key.replace(/^files\/[^/]+/, "*")).sort()).toEqual([
    "*/glue-connect-spark.jar",
    "*/launcher.py",
    "*/node.tgz",
    "*/numbers.mjs",
    "*/spark-connect.jar",
  ]);
  expect(puts).toBe(5);
  expect(deployed.stderr.match(/uploading \S+/g)).toHaveLength(5);
  for (const key of first.filter((one) => !one.endsWith(".jar"))) {
    const { Body } = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
    const content = (await Body?.transformToByteArray()) ?? new Uint8Array();
    expect(key).toContain(`${createHash("sha256").update(content).digest("hex").slice(0, 32)}/`);
  }

  const again = await run(["upload", "--to", `s3://${bucket}`], env);
  expect(again.exitCode, again.stderr).toBe(0);
  expect(again.stderr).not.toContain("uploading");
  expect(again.stdout.trim().split("\n").sort()).toEqual(first.map((key) => `s3://${bucket}/${key}`).sort());
  expect(proxy.puts).toBe(puts);

  await writeFile(path.join(folder, "job.ts"), jobSource("second"));
  const changed = await run(["upload", "--to", `s3://${bucket}/`], env);
  expect(changed.stderr.match(/uploading \S+/g)).toEqual(["uploading numbers.mjs"]);
  const second = await objects();
  // Runs that are going on keep what they were started with.
  expect(second).toEqual(expect.arrayContaining(first));
  expect(second).toHaveLength(6);

  expect((await run(["diff"], env)).exitCode).toBe(0);
  expect((await calls()).at(-1)).toMatch(/^eu-central-1 diff --all --app \S+$/);
});

test("a failure of the CDK's command ends deploy", async () => {
  const calls = await ownCdk(3);
  const failed = await run(["deploy"]);
  expect(failed.exitCode).toBe(1);
  expect(failed.stderr).toContain("cdk deploy ended with 3");
  expect(await calls()).toHaveLength(1);
});
