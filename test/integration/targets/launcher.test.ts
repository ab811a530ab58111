import { execFileSync, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, inject, test, vi } from "vitest";
import { bundleJob } from "../../../lib/cli/bundle-job.js";
import { createObjectStore } from "../../../lib/storage/index.js";
import { findJava } from "../../../lib/targets/local/java.js";
import { identifyProcess, isAlive, type ProcessIdentity } from "../../../lib/targets/local/process-identity.js";
import { ensureSparkJars } from "../../../lib/targets/local/spark-jars.js";
import { AWS_TEST_OPTIONS } from "../../support/aws.js";
import { type Cluster, startCluster } from "../../support/cluster.js";

// The launcher as a service runs it: a stock Spark's spark-submit, the bundled job, Node out of an archive.
const root = resolve(import.meta.dirname, "../../..");
const folder = mkdtempSync(join(tmpdir(), "glue-connect-launcher-"));
const script = join(root, "infra/emr/launcher.py");
// A driver of its own for each test: two at a time use the machine better than one.
vi.setConfig({ testTimeout: 240_000, maxConcurrency: 2 });

const JOB = `
import { arg, defineJob, UserError } from ${JSON.stringify(join(root, "lib/glue/index.js"))};
import { SparkSession } from ${JSON.stringify(join(root, "lib/spark/index.js"))};

export default defineJob({
  name: "launched", summary: "Runs beside its driver", needs: ["iceberg"],
  args: { act: arg.choice(["fail", "wait"], { description: "What to do" }) },
  async run({ args, spark, report, log }) {
    log.info("node " + process.pid);
    const session = await spark();
    if (args.act === "wait") {
      log.info("the query runs");
      await (await session.sql("SELECT java_method('java.lang.Thread', 'sleep', 120000L)")).collect();
    }
    report.table("numbers").read = Number(await session.range(1000).count());
    const open = process.env.SPARK_REMOTE.replace(/;token=.*/, "");
    const refused = await SparkSession.builder().remote(open).getOrCreate().catch((error) => error.code);
    report.table("numbers").details.withoutToken = refused;
    report.table("numbers").details.confs = (await (await session.sql("SET")).collect()).map((row) => row.get("value")).join(" ")
      .includes(process.env.SPARK_REMOTE.replace(/.*token=/, ""));
    throw new UserError("TARGET_GONE", "The target is gone", { hint: "Look for it" });
  },
});
`;

let cluster: Cluster;
let jars: string;
let bundle: string;
let archive: string;

beforeAll(async () => {
  writeFileSync(join(folder, "job.ts"), JOB);
  const endpoint = inject("awsEndpoint");
  cluster = await startCluster(folder, endpoint, createObjectStore({ ...AWS_TEST_OPTIONS, endpoint }));
  const { folder: all } = await ensureSparkJars({ java: await findJava(process.env), profile: "aws-cassandra" });
  jars = readdirSync(all)
    .filter((name) => /^(spark-connect_|glue-connect-spark-)/.test(name))
    .map((name) => join(all, name))
    .join(",");
  bundle = join(folder, "job.mjs");
  writeFileSync(bundle, await bundleJob(join(folder, "job.ts")));
  // As npm packs it: package/bin/node.
  mkdirSync(join(folder, "package", "bin"), { recursive: true });
  symlinkSync(realpathSync(process.execPath), join(folder, "package", "bin", "node"));
  archive = join(folder, "node.tar");
  execFileSync("tar", ["-C", folder, "-chf", archive, "package"]);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function submit(act: string, name: string, code = bundle) {
  // In a folder for the reports of many runs it is called after the run, as Glue names it.
  const report = join(folder, "reports", `jr_${name}.json`);
  const run = cluster.submit({
    script,
    args: [
      ...["--glue_connect_bundle", pathToFileURL(code).href],
      ...[
        "--glue_connect_node",
        pathToFileURL(archive).href,
        "--glue_connect_report",
        `${pathToFileURL(join(folder, "reports")).href}/`,
      ],
      // What Glue puts there by itself.
      ...["--JOB_ID", "j_1", "--JOB_RUN_ID", `jr_${name}`, "--job-bookmark-option", "job-bookmark-disable"],
      ...["--JOB_NAME", name, "--act", act],
    ],
    conf: { "spark.jars": jars },
  });
  // spark-submit puts all that its Python and Node say on stdout, and its own log on stderr.
  const { said } = run;
  return {
    ...run,
    report: () => (existsSync(report) ? JSON.parse(readFileSync(report, "utf8")) : undefined),
    /** The launcher's Python and the job's Node, once the query runs. */
    async processes(): Promise<{ node: ProcessIdentity; launcher: ProcessIdentity }> {
      await vi.waitUntil(() => said.stdout.includes("the query runs") || run.exitCode() !== undefined, {
        timeout: 180_000,
      });
      const node = identifyProcess(Number(/node (\d+)/.exec(said.stdout)?.[1]));
      if (node === undefined) throw new Error(`Node is not there:\n${said.stdout}`);
      const parent = /^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${node.pid}/status`, "utf8"))?.[1];
      const launcher = identifyProcess(Number(parent));
      if (launcher === undefined) throw new Error("the launcher is not there");
      return { node, launcher };
    },
  };
}

test.concurrent("a job that fails fails the run; its log and its report come out, and nobody without the token gets in", async () => {
  const run = submit("fail", "failed");
  await run.ended;
  expect(run.exitCode(), run.said.stdout).toBe(1);
  expect(run.said.stdout).toContain("TARGET_GONE: The target is gone");
  expect(run.report()).toMatchObject({
    job: "launched",
    jobName: "failed",
    state: "FAILED",
    error: { code: "TARGET_GONE" },
    tables: { numbers: { read: 1000, details: { withoutToken: "UNAUTHENTICATED", confs: false } } },
  });
  expect(run.said.stdout + run.said.stderr).not.toMatch(/token=[\w-]{20}/);
});

test.concurrent("SIGTERM reaches the job, which stops its query and says so; the run fails", async () => {
  const run = submit("wait", "stopped");
  const { node, launcher } = await run.processes();
  process.kill(launcher.pid, "SIGTERM");
  await run.ended;
  expect(run.exitCode()).toBe(130);
  expect(run.report()).toMatchObject({ state: "STOPPED", error: { code: "INTERRUPTED" } });
  expect(run.said.stdout).toContain("got SIGTERM");
  expect([isAlive(node), isAlive(launcher)]).toEqual([false, false]);
});

test.concurrent.each(["driver", "launcher"])("the death of the %s ends the job, and the run fails", async (who) => {
  const run = submit("wait", `killed-${who}`);
  const { node, launcher } = await run.processes();
  // spark-submit has become the JVM, which has started the launcher.
  const driver = Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${launcher.pid}/status`, "utf8"))?.[1]);
  process.kill(who === "driver" ? driver : launcher.pid, "SIGKILL");
  await vi.waitUntil(() => !isAlive(node) && !isAlive(launcher), { timeout: 60_000 });
  await run.ended;
  expect(run.exitCode()).not.toBe(0);
});

test.concurrent("what can't be fetched is named, with what to do", async () => {
  const run = submit("fail", "unfetched", join(folder, "gone.mjs"));
  await run.ended;
  expect(run.exitCode()).toBe(66);
  expect(run.said.stdout + run.said.stderr).toMatch(
    /^glue-connect launcher: file:\S+gone\.mjs can't be fetched: .*\. What to do: check that the job's role may read it/m,
  );
});

test("what the launcher can't start with is said in one line", () => {
  writeFileSync(join(folder, "empty.txt"), "");
  execFileSync("tar", ["-C", folder, "-cf", join(folder, "empty.tar"), "empty.txt"]);
  const python = (...argv: string[]) => {
    const { status, stderr } = spawnSync("python3", argv, { cwd: join(root, "infra/emr"), encoding: "utf8" });
    return { status, stderr };
  };
  expect(python(script, "--JOB_NAME", "x")).toEqual({
    status: 66,
    stderr: "glue-connect launcher: --glue_connect_bundle is missing; `glue-connect submit` sets it\n",
  });
  const unpack = `import sys, launcher; launcher.node_from(sys.argv[1], sys.argv[2])`;
  expect(python("-B", "-c", unpack, join(folder, "empty.tar"), folder)).toEqual({
    status: 66,
    stderr: `glue-connect launcher: there is no bin/node in ${join(folder, "empty.tar")}\n`,
  });
});
