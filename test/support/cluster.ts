import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import type { ObjectStore } from "../../lib/storage/index.js";
import { findJava } from "../../lib/targets/local/java.js";
import { ensureSparkJars } from "../../lib/targets/local/spark-jars.js";
import { toProperties } from "../../lib/targets/local/spark-settings.js";
import { awsVariables } from "./aws.js";
import { classArchive } from "./class-archive.js";
import { pythonEnvironment } from "./python.js";

type Fields = Readonly<Record<string, unknown>>;

/** A job run that runs. */
export interface ClusterProcess {
  /** `undefined` until all its processes have gone; -1 when a signal has ended it. */
  exitCode(): number | undefined;
  /** Ends the driver as a service does. */
  stop(): void;
  readonly ended: Promise<unknown>;
  readonly pid: number;
  /** What the driver has said so far. */
  readonly said: { readonly stdout: string; readonly stderr: string };
}

/** How spark-submit is to be called. */
export interface Submission {
  readonly script: string;
  readonly args: readonly string[];
  readonly conf: Readonly<Record<string, string>>;
  /** Folder on S3 for the driver's log. */
  readonly logs?: string | undefined;
}

/** What stands in for the workers of EMR Serverless and Glue. */
export interface Cluster {
  submit(submission: Submission): ClusterProcess;
  /** A StartJobRun request of EMR Serverless. */
  runEmr(application: string, id: string, request: Fields): ClusterProcess;
  /** A run of a Glue job, whose script gets its arguments, the run's over the job's, and those that Glue adds. */
  runGlue(name: string, id: string, job: Fields, args: Readonly<Record<string, string>>): ClusterProcess;
}

/** Where EMR's image has Iceberg. */
const EMR_ICEBERG = "/usr/share/aws/iceberg/lib/iceberg-spark3-runtime.jar";

/**
 * Runs job runs for real, under spark-submit of a stock Spark (PyPI's PySpark): the script and the jars come from S3 as the
 * request says. What the services' images have beside Spark is there: their way to S3, and Iceberg where they have it. Workers
 * are of this machine, and Spark's catalog isn't Glue's.
 *
 * @param env of the driver, over those of the emulator.
 */
export async function startCluster(
  folder: string,
  emulator: string,
  store: ObjectStore,
  env: Readonly<Record<string, string>> = {},
): Promise<Cluster> {
  const [python, { folder: jars }] = await Promise.all([
    pythonEnvironment("pyspark"),
    ensureSparkJars({ java: await findJava(process.env), profile: "aws-cassandra" }),
  ]);
  const jar = (beginning: string) => {
    const found = readdirSync(jars).find((name) => name.startsWith(beginning));
    if (found === undefined) throw new Error(`there is no jar ${beginning}* in ${jars}`);
    return join(jars, found);
  };
  const iceberg = jar("iceberg-spark-runtime");
  const driver = {
    "spark.master": "local[1]",
    "spark.ui.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.memory": "512m",
    "spark.driver.extraClassPath": [jar("hadoop-aws-"), jar("aws-java-sdk-bundle-")].join(":"),
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "spark.local.dir": folder,
    "spark.sql.shuffle.partitions": "1",
    // Compiling it costs small queries more than it gives.
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.catalogImplementation": "in-memory",
    "spark.hadoop.hadoop.tmp.dir": folder,
    "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
    "spark.hadoop.fs.s3a.endpoint": emulator,
    "spark.hadoop.fs.s3a.path.style.access": "true",
    "spark.hadoop.fs.s3a.aws.credentials.provider": "com.amazonaws.auth.EnvironmentVariableCredentialsProvider",
  };
  const classes = await classArchive(python, driver);
  const jvmOptions = driver["spark.driver.extraJavaOptions"];
  const options = classes === undefined ? jvmOptions : `${jvmOptions} -XX:SharedArchiveFile=${classes}`;
  const image = { ...driver, "spark.driver.extraJavaOptions": options };

  const submit = ({ script, args, conf, logs }: Submission): ClusterProcess => {
    const properties = join(mkdtempSync(join(folder, "run-")), "spark.properties");
    writeFileSync(properties, toProperties({ ...conf, ...image }));
    const child = spawn(join(dirname(python), "spark-submit"), ["--properties-file", properties, script, ...args], {
      env: {
        PATH: process.env.PATH,
        HOME: process.env.HOME,
        JAVA_HOME: process.env.JAVA_HOME,
        PYSPARK_PYTHON: python,
        SPARK_LOCAL_IP: "127.0.0.1",
        ...awsVariables(emulator),
        ...env,
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const said = listen(child);
    let code: number | undefined;
    const ended = once(child, "close").then(async ([exitCode]) => {
      if (logs !== undefined) {
        await Promise.all(
          (["stdout", "stderr"] as const).map((stream) => store.put(`${logs}${stream}.gz`, gzipSync(said[stream]))),
        );
      }
      code = (exitCode as number | null) ?? -1;
    });
    return { exitCode: () => code, stop: () => child.kill("SIGTERM"), ended, pid: child.pid ?? 0, said };
  };

  return {
    submit,

    runEmr(application, id, request) {
      const { sparkSubmit } = request.jobDriver as {
        sparkSubmit: { entryPoint: string; entryPointArguments: string[] };
      };
      const { applicationConfiguration, monitoringConfiguration } = request.configurationOverrides as {
        applicationConfiguration: { properties: Record<string, string> }[];
        monitoringConfiguration?: { s3MonitoringConfiguration: { logUri: string } };
      };
      const conf = applicationConfiguration[0]?.properties ?? {};
      // It would look for the classes of Glue's catalog, which only the image has.
      const { "spark.hadoop.hive.metastore.client.factory.class": _, ...known } = conf;
      const logUri = monitoringConfiguration?.s3MonitoringConfiguration.logUri;
      return submit({
        script: sparkSubmit.entryPoint,
        args: sparkSubmit.entryPointArguments,
        conf: { ...known, "spark.jars": (conf["spark.jars"] ?? "").replace(EMR_ICEBERG, iceberg) },
        logs: logUri === undefined ? undefined : `${logUri}applications/${application}/jobs/${id}/SPARK_DRIVER/`,
      });
    },

    runGlue(name, id, job, given) {
      const { Command, DefaultArguments } = job as {
        Command: { ScriptLocation: string };
        DefaultArguments: Record<string, string>;
      };
      const own = { "--JOB_NAME": name, "--JOB_ID": "j_1", "--JOB_RUN_ID": id };
      const args: Record<string, string> = { ...DefaultArguments, ...given, ...own };
      const { "--conf": conf = "", "--extra-jars": extra = "", "--datalake-formats": formats } = args;
      const settings = conf
        .split(" --conf ")
        .filter((setting) => setting !== "")
        .map((setting) => [setting.slice(0, setting.indexOf("=")), setting.slice(setting.indexOf("=") + 1)]);
      // Glue has PostgreSQL's driver on its own class path.
      const brought = [jar("postgresql-"), ...(formats === "iceberg" ? [iceberg] : [])];
      return submit({
        script: Command.ScriptLocation,
        args: Object.entries(args).flat(),
        conf: { ...Object.fromEntries(settings), "spark.jars": [extra, ...brought].join(",") },
      });
    },
  };
}

function listen(child: ChildProcess): { stdout: string; stderr: string } {
  const said = { stdout: "", stderr: "" };
  for (const stream of ["stdout", "stderr"] as const) {
    child[stream]?.on("data", (chunk) => {
      said[stream] += String(chunk);
    });
  }
  return said;
}
