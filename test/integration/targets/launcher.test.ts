import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
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
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { bundleJob } from "../../../lib/cli/bundle-job.js";
import { findJava } from "../../../lib/targets/local/java.js";
import { identifyProcess, isAlive, type ProcessIdentity } from "../../../lib/targets/local/process-identity.js";
import { ensureSparkJars } from "../../../lib/targets/local/spark-jars.js";
import { pythonEnvironment } from "../../support/python.js";

// The launcher as a service runs it: a stock Spark's spark-submit, the bundled job, Node out of an archive.
const root = resolve(import.meta.dirname, "../../..");
const folder = mkdtempSync(join(tmpdir(), "glue-connect-launcher-"));
vi.setConfig({ testTimeout: 240_000 });

const JOB = `
import { arg, defineJob, UserError } from ${JSON.stringify(join(root, "lib/glue/index.js"))};
import { SparkSession } from ${JSON.stringify(join(root, "lib/spark/index.js"))};

export default defineJob({
  name: "launched", summary: "Runs beside its driver", needs: ["iceberg"],
  args: { act: arg.choice(["count", "fail", "wait"], { description: "What to do" }) },
  async run({ args, spark, report, log }) {
    log.info("node " + process.pid);
    if (args.act === "fail") throw new UserError("TARGET_GONE", "The target is gone", { hint: "Look for it" });
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
  },
});
`;

let python: string;
let jars: string;
let bundle: string;
let archive: string;

beforeAll(async () => {
  writeFileSync(join(folder, "job.ts"), JOB);
  python = await pythonEnvironment("pyspark", join(root, "bench/peers/requirements.txt"));
  const { folder: all } = await ensureSparkJars({ java: await findJava(process.env) });
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

function submit(act: string, name: string) {
  const report = join(folder, `${name}.json`);
  const child = spawn(
    join(dirname(python), "spark-submit"),
    [
      ...["--master", "local[2]", "--conf", "spark.ui.enabled=false", "--conf", `spark.local.dir=${folder}`],
      ...["--conf", "spark.driver.host=127.0.0.1", "--driver-memory", "512m", "--jars", jars],
      ...[join(root, "infra/emr/launcher.py"), "--glue_connect_bundle", pathToFileURL(bundle).href],
      ...["--glue_connect_node", pathToFileURL(archive).href, "--glue_connect_report", pathToFileURL(report).href],
      // What Glue puts there by itself.
      ...["--JOB_ID", "j_1", "--JOB_RUN_ID", "jr_1", "--job-bookmark-option", "job-bookmark-disable"],
      ...["--JOB_NAME", name, "--act", act],
    ],
    {
      env: {
        PATH: process.env.PATH,
        HOME: process.env.HOME,
        JAVA_HOME: process.env.JAVA_HOME,
        PYSPARK_PYTHON: python,
        SPARK_LOCAL_IP: "127.0.0.1",
      },
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
  // spark-submit puts all that its Python and Node say on stdout, and its own log on stderr.
  const said = { stdout: "", stderr: "" };
  child.stdout.on("data", (chunk) => {
    said.stdout += String(chunk);
  });
  child.stderr.on("data", (chunk) => {
    said.stderr += String(chunk);
  });
  const closed = once(child, "close").then(([code, signal]) => ({
    code: code as number | null,
    signal: signal as string | null,
  }));
  return {
    child,
    said,
    closed,
    report: () => (existsSync(report) ? JSON.parse(readFileSync(report, "utf8")) : undefined),
    /** The launcher's Python and the job's Node, once the query runs. */
    async processes(): Promise<{ node: ProcessIdentity; launcher: ProcessIdentity }> {
      await vi.waitUntil(() => said.stdout.includes("the query runs") || child.exitCode !== null, { timeout: 180_000 });
      const node = identifyProcess(Number(/node (\d+)/.exec(said.stdout)?.[1]));
      if (node === undefined) throw new Error(`Node is not there:\n${said.stdout}`);
      const parent = /^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${node.pid}/status`, "utf8"))?.[1];
      const launcher = identifyProcess(Number(parent));
      if (launcher === undefined) throw new Error("the launcher is not there");
      return { node, launcher };
    },
  };
}

test("a job runs beside its driver: exit code, logs and report come out, and nobody without the token gets in", async () => {
  const { said, closed, report } = submit("count", "ok");
  expect(await closed, said.stdout).toEqual({ code: 0, signal: null });
  expect(report()).toMatchObject({
    job: "launched",
    jobName: "ok",
    state: "SUCCEEDED",
    tables: { numbers: { read: 1000, details: { withoutToken: "UNAUTHENTICATED", confs: false } } },
  });
  expect(said.stdout).toContain("launched (ok)  SUCCEEDED");
  expect(said.stdout + said.stderr).not.toMatch(/token=[\w-]{20}/);
});

test("a job that fails fails the run, with its message in the log", async () => {
  const { said, closed, report } = submit("fail", "failed");
  expect((await closed).code).toBe(1);
  expect(said.stdout).toContain("TARGET_GONE: The target is gone");
  expect(report()).toMatchObject({ state: "FAILED", error: { code: "TARGET_GONE" } });
});

test("SIGTERM reaches the job, which stops its query and says so; the run fails", async () => {
  const run = submit("wait", "stopped");
  const { node, launcher } = await run.processes();
  process.kill(launcher.pid, "SIGTERM");
  expect((await run.closed).code).toBe(130);
  expect(run.report()).toMatchObject({ state: "STOPPED", error: { code: "INTERRUPTED" } });
  expect(run.said.stdout).toContain("got SIGTERM");
  expect([isAlive(node), isAlive(launcher)]).toEqual([false, false]);
});

test.each(["driver", "launcher"])("the death of the %s ends the job, and the run fails", async (who) => {
  const run = submit("wait", `killed-${who}`);
  const { node, launcher } = await run.processes();
  // spark-submit has become the JVM, which has started the launcher.
  const driver = Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${launcher.pid}/status`, "utf8"))?.[1]);
  process.kill(who === "driver" ? driver : launcher.pid, "SIGKILL");
  await vi.waitUntil(() => !isAlive(node) && !isAlive(launcher), { timeout: 60_000 });
  expect((await run.closed).code).not.toBe(0);
});
