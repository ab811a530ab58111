import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
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
async function ownCdk(exitCode = 0): Promise<() => Promise<string[]>> {
  const bin = path.join(folder, "node_modules", ".bin");
  const calls = path.join(folder, "calls");
  await mkdir(bin, { recursive: true });
  const script = `#!/bin/sh
echo "$AWS_REGION $*" >> '${calls}'
while [ $# -gt 0 ]; do [ "$1" = --outputs-file ] && echo '{"tiny-data": {}}' > "$2"; shift; done
exit ${exitCode}
`;
  await writeFile(path.join(bin, "cdk"), script);
  await chmod(path.join(bin, "cdk"), 0o755);
  return async () => (await readFile(calls, "utf8")).trim().split("\n");
}

test("synth prints a template without an account, and writes both to a folder", async () => {
  const printed = await run(["synth", "jobs"]);
  expect({ exitCode: printed.exitCode, stderr: printed.stderr }).toEqual({ exitCode: 0, stderr: "" });
  const types = (template: string) => {
    const { Resources } = JSON.parse(template) as { Resources: Record<string, { Type: string }> };
    return Object.values(Resources).map(({ Type }) => Type);
  };
  expect(types(printed.stdout)).toContain("AWS::EMRServerless::Application");

  const written = await run(["synth", "--out", "templates"]);
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

test("deploy brings up the data, uploads, then the jobs; diff shows both; a failure ends it", async () => {
  const calls = await ownCdk();
  const deployed = await run(["deploy", "--yes", "--parameter", "KeyspaceName=ks", "--", "--verbose"]);
  expect(deployed.exitCode, deployed.stderr).toBe(0);
  const shown = (await calls()).map((call) => call.replaceAll(/\S*glue-connect-infra-\S*?\//g, "F/"));
  expect(shown).toEqual([
    "eu-central-1 deploy tiny-data --exclusively --app F/assembly --require-approval never --outputs-file F/outputs.json --verbose",
    "eu-central-1 deploy tiny-jobs --exclusively --app F/assembly --require-approval never --parameters KeyspaceName=ks --verbose",
  ]);
  expect((await run(["diff"])).exitCode).toBe(0);
  expect((await calls()).at(-1)).toMatch(/^eu-central-1 diff --all --app \S+$/);

  await ownCdk(3);
  const failed = await run(["deploy"]);
  expect(failed.exitCode).toBe(1);
  expect(failed.stderr).toContain("cdk deploy ended with 3");
  expect(await calls()).toHaveLength(4);
});
