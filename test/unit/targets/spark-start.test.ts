import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { identifyProcess } from "../../../lib/targets/local/process-identity.js";
import { ensureSpark, findSparkProcess, stopSpark } from "../../../lib/targets/local/spark.js";
import { javaSaying, programs, temporaryFolder } from "./temporary-folder.js";

/** A machine whose Java does this instead of being Spark. */
function machine(java: string) {
  const folder = temporaryFolder();
  const mvn = `for a in "$@"; do case "$a" in -Doutput=*) /bin/mkdir -p "\${a#-Doutput=}";; esac; done`;
  const home = join(folder, "state");
  return {
    home,
    env: { PATH: programs({ java: javaSaying("17.0.15", java), mvn }), XDG_CACHE_HOME: join(folder, "cache") },
    stateFile: join(home, "spark.json"),
  };
}

async function busyPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new Error("no port");
  return address.port;
}

describe("a local Spark that can't start", () => {
  test("says what the JVM said, and where the rest is", async () => {
    const { home, env, stateFile } = machine(
      `echo 'Exception in thread "main" java.lang.IllegalStateException: the disk is full' >&2; printf '\\tat a.b.C\\n' >&2; exit 3`,
    );
    await expect(ensureSpark({ home, env })).rejects.toMatchObject({
      code: "SPARK_START_FAILED",
      problems: [
        'Exception in thread "main" java.lang.IllegalStateException: the disk is full',
        `Its log is ${join(home, "logs", "spark.log")}`,
      ],
      hint: expect.stringContaining("--remote sc://"),
    });
    expect(existsSync(stateFile)).toBe(false);
  });

  test("for want of memory says how much it needs", async () => {
    const { home, env } = machine(
      "echo 'Error occurred during initialization of VM: Could not reserve enough space for heap'; exit 1",
    );
    await expect(ensureSpark({ home, env })).rejects.toMatchObject({ hint: expect.stringContaining("3 GB") });
  });

  test("in time is ended", async () => {
    const { home, env, stateFile } = machine(`echo $$ > pid; exec /bin/sleep 60`);
    await expect(ensureSpark({ home, env, startTimeoutMs: 300 })).rejects.toMatchObject({
      code: "SPARK_START_TIMEOUT",
      exitCode: 75,
    });
    expect(identifyProcess(Number(readFileSync(join(home, "spark", "pid"), "utf8")))).toBeUndefined();
    expect(existsSync(stateFile)).toBe(false);
  });

  test("on a busy port says so before it tries", async () => {
    const { home, env } = machine("exit 1");
    const port = await busyPort();
    await expect(ensureSpark({ home, env, port })).rejects.toMatchObject({
      code: "SPARK_PORT_BUSY",
      message: `Port ${port} is in use by another program`,
      exitCode: 66,
    });
  });

  test("on a port that was taken at the last moment says so too", async () => {
    const { home, env } = machine("echo 'java.net.BindException: Address already in use'; exit 1");
    const port = await busyPort();
    const free = port === 65_535 ? port - 1 : port + 1;
    await expect(ensureSpark({ home, env, port: free })).rejects.toMatchObject({ code: "SPARK_PORT_BUSY" });
  });
});

test("token and settings are in files of their owner and in the environment, never on the command line", async () => {
  const { home, env } = machine(
    `echo "$@" > arguments; echo "$GLUE_CONNECT_SPARK_TOKEN" > token; /bin/cat spark.properties > settings; exit 1`,
  );
  const conf = { "spark.hadoop.fs.s3a.secret.key": "s3cr\\et = #1\n" };
  await expect(ensureSpark({ home, env, conf })).rejects.toThrow();
  const wrote = (name: string) => readFileSync(join(home, "spark", name), "utf8");
  expect(wrote("token").trim()).toMatch(/^[\w-]{32}$/);
  expect(wrote("arguments")).not.toContain(wrote("token").trim());
  expect(wrote("arguments")).not.toContain("s3cr");
  expect(wrote("settings")).toContain("spark.hadoop.fs.s3a.secret.key=s3cr\\\\et\\ \\=\\ \\#1\\n\n");
  expect(wrote("settings")).not.toContain(wrote("token").trim());
});

describe("a state file whose process has gone", () => {
  const stale = { began: "long ago", token: "t", port: 1, readyFile: "/nowhere", logFile: "/nowhere", settings: "" };

  test.each([
    ["is nobody's", 2 ** 22 + 1],
    ["is another program's", process.pid],
  ])("counts for nothing when the pid %s", async (_, pid) => {
    const { home, env, stateFile } = machine("echo started >> count; exit 1");
    mkdirSync(home);
    writeFileSync(stateFile, JSON.stringify({ pid, ...stale }));
    expect(findSparkProcess(home)).toBeUndefined();
    await expect(ensureSpark({ home, env })).rejects.toMatchObject({ code: "SPARK_START_FAILED" });
    expect(readFileSync(join(home, "spark", "count"), "utf8")).toBe("started\n");
  });

  test("is cleared away by stopping, and no other process is touched", async () => {
    const { home, stateFile } = machine("");
    mkdirSync(home);
    writeFileSync(stateFile, JSON.stringify({ pid: process.pid, ...stale }));
    expect(await stopSpark(home)).toBeUndefined();
    expect(existsSync(stateFile)).toBe(false);
  });
});
