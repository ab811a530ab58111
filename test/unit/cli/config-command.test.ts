import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { buildCli, type CliProgram } from "./cli-process.js";

const glue = path.resolve(import.meta.dirname, "../../../lib/glue/index.js");

// Each test starts processes, which takes its time on a machine that is busy.
vi.setConfig({ testTimeout: 60_000 });

let cli: CliProgram;
let folder: string;
beforeAll(async () => {
  cli = await buildCli();
}, 60_000);
afterAll(() => cli.remove());
beforeEach(async () => {
  folder = await mkdtemp(path.join(cli.folder, "project-"));
  return () => rm(folder, { recursive: true });
});

const write = (text: string, name = "glue-connect.config.ts") =>
  writeFile(path.join(folder, name), `import { defineConfig } from ${JSON.stringify(glue)};\n${text}`);
const run = (argv: readonly string[], env: Record<string, string> = {}, cwd = folder) => cli.run(argv, { cwd, env });

test("prints what holds and from where, in a subfolder too, and no secret", async () => {
  await write(`
export default defineConfig(({ environment }) => ({
  region: "eu-central-1",
  postgresUrl: "postgresql://etl:hunter2@db:5432/app",
  emr: { tags: { environment: String(environment) }, sparkConf: { "spark.hadoop.fs.s3a.secret.key": "hunter3" } },
  environments: { prod: { emr: { idleMinutes: 5 } } },
}));
`);
  const below = path.join(folder, "below");
  await mkdir(below);
  const argv = ["config", "print", "--resolved", "--env", "prod", "--set", "emr.executor.cores=8"];
  const { exitCode, stdout, stderr } = await run(argv, { GLUE_CONNECT_TARGET: "emr" }, below);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
  const lines = stdout.split("\n").map((line) => line.split(/ {2,}/));
  expect(lines).toContainEqual(["target", "emr", "variable GLUE_CONNECT_TARGET"]);
  expect(lines).toContainEqual(["region", "eu-central-1", "../glue-connect.config.ts, line 4"]);
  expect(lines).toContainEqual(["emr.idleMinutes", "5", "../glue-connect.config.ts, line 7"]);
  expect(lines).toContainEqual(["emr.tags.environment", "prod", "../glue-connect.config.ts, line 6"]);
  expect(lines).toContainEqual(["emr.executor.cores", "8", "--set emr.executor.cores"]);
  expect(lines).toContainEqual(["emr.executor.memory", "16g", "default"]);
  expect(lines.flat()).toContain("postgresql://etl:[hidden]@db:5432/app");
  expect(stdout).not.toContain("hunter");

  const json = await run(["config", "print", "--json"]);
  expect(JSON.parse(json.stdout)).toEqual({
    region: "eu-central-1",
    postgresUrl: "postgresql://etl:[hidden]@db:5432/app",
    emr: { tags: { environment: "undefined" }, sparkConf: { "spark.hadoop.fs.s3a.secret.key": "[hidden]" } },
  });
  // What it was imported from has gone.
  expect(await readdir(folder)).toEqual(["below", "glue-connect.config.ts"]);
});

test("a mistake in the file ends a run with 66, each problem with its line", async () => {
  await write(`export default defineConfig({\n  region: "Frankfurt",\n  emr: { aplicationId: "x" },\n} as never);\n`);
  const { exitCode, stdout, stderr } = await run(["run", "iceberg-to-aurora", "--JOB_NAME", "x"]);
  expect({ exitCode, stdout }).toEqual({ exitCode: 66, stdout: "" });
  expect(stderr).toContain('region is not a region, such as "eu-central-1" (glue-connect.config.ts, line 3)');
  expect(stderr).toContain(
    "emr.aplicationId is no setting; did you mean applicationId? (glue-connect.config.ts, line 4)",
  );
  expect(stderr).not.toMatch(/^\s+at /m);
});

test.each([
  [
    "export default defineConfig({ region: );",
    /can't be loaded: Unexpected "\)" \(glue-connect\.config\.ts, line 2, column 39\)/,
  ],
  [
    '\nthrow new Error("no such team");',
    /can't be loaded: no such team \(.*glue-connect\.config\.ts, line 3, column 7\)/,
  ],
  ['export default () => { throw new Error("no such stage"); };', /can't be loaded: no such stage/],
  ["export const config = {};", /has no configuration as its default export/],
])("a file that can't be loaded ends with 66 and the place: %j", async (text, message) => {
  await write(text);
  const { exitCode, stderr } = await run(["config", "print"]);
  expect({ exitCode, stderr }).toEqual({ exitCode: 66, stderr: expect.stringMatching(message) });
  expect(stderr).not.toMatch(/^\s+at /m);
});

test("a file that was named and isn't there, an unknown environment, a --set without a value", async () => {
  const missing = await run(["config", "print"], { GLUE_CONNECT_CONFIG: "other.ts" });
  expect(missing).toMatchObject({ exitCode: 66, stderr: expect.stringMatching(/CONFIG_NOT_FOUND.*other\.ts/) });
  const unknown = await run(["config", "print", "--env", "prod"]);
  expect(unknown).toMatchObject({
    exitCode: 64,
    stderr: expect.stringMatching(/CONFIG_ENVIRONMENT_UNKNOWN: .*"prod"/),
  });
  const wrong = await run(["config", "print", "--set", "region"]);
  expect(wrong).toMatchObject({ exitCode: 64, stderr: expect.stringMatching(/USAGE: --set "region"/) });
});

test("a run takes its settings from the file, and flags and variables go over them", async () => {
  await write(`export default defineConfig({ catalog: "glue" });\n`);
  await writeFile(
    path.join(folder, "job.ts"),
    `import { defineJob } from ${JSON.stringify(glue)};
export default defineJob({ name: "j", summary: "s", args: {}, async run({ catalog, log }) { log.info(catalog.kind); } });`,
  );
  const argv = ["run", "./job.ts", "--JOB_NAME", "x"];
  const outcomes = await Promise.all([
    run(argv),
    run(argv, { GLUE_CONNECT_CATALOG: "spark" }),
    run([...argv, "--catalog", "glue"], { GLUE_CONNECT_CATALOG: "spark" }),
  ]);
  expect(outcomes.map(({ stderr }) => stderr.replace(/^\S+ INFO /, ""))).toEqual(["glue\n", "spark\n", "glue\n"]);
});
