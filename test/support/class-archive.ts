import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { cacheHome } from "../../lib/targets/local/directories.js";
import { withFileLock } from "../../lib/targets/local/file-lock.js";
import { findJava } from "../../lib/targets/local/java.js";
import { toProperties } from "../../lib/targets/local/spark-settings.js";

const run = promisify(execFile);

/** Touches what a job's driver touches: plans, files, S3. */
const WARM_UP = `
import sys
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
spark.range(10).write.parquet(sys.argv[1] + "/rows")
rows = spark.read.parquet(sys.argv[1] + "/rows")
rows.join(rows.groupBy("id").count(), "id").orderBy("id").collect()
jvm = spark.sparkContext._jvm
jvm.org.apache.hadoop.fs.Path("s3a://none/").getFileSystem(spark.sparkContext._jsc.hadoopConfiguration())
spark.stop()
`;

/**
 * The classes of PySpark's driver in the form that the JVM maps into memory, made once a machine: a driver takes half as long to
 * start with them.
 *
 * @param python of an environment whose path is another one for another PySpark.
 * @param settings of every driver that shall use it: its class path and its JVM's options have to be the same.
 * @returns path of the archive, for `-XX:SharedArchiveFile`; `undefined` where the JVM makes none: one without an archive of
 *   its own classes, or one that doesn't know the option.
 */
export async function classArchive(
  python: string,
  settings: Readonly<Record<string, string>>,
): Promise<string | undefined> {
  const java = await findJava(process.env);
  const { "spark.driver.extraClassPath": classPath, "spark.driver.extraJavaOptions": jvmOptions } = settings;
  const key = createHash("sha256")
    .update(JSON.stringify([java, python, classPath, jvmOptions]))
    .digest("hex")
    .slice(0, 16);
  const archive = join(cacheHome(), "pyspark-classes", `${key}.jsa`);
  mkdirSync(dirname(archive), { recursive: true });
  await withFileLock(`${archive}.lock`, async () => {
    if (existsSync(archive)) return;
    const work = mkdtempSync(join(dirname(archive), "making-"));
    try {
      const made = join(work, "classes.jsa");
      const script = join(work, "warm_up.py");
      const properties = join(work, "spark.properties");
      writeFileSync(script, WARM_UP);
      const options = `${jvmOptions} -XX:ArchiveClassesAtExit=${made}`;
      writeFileSync(properties, toProperties({ ...settings, "spark.driver.extraJavaOptions": options }));
      await run(join(dirname(python), "spark-submit"), ["--properties-file", properties, script, work], {
        env: {
          PATH: process.env.PATH,
          HOME: process.env.HOME,
          JAVA_HOME: process.env.JAVA_HOME,
          PYSPARK_PYTHON: python,
          SPARK_LOCAL_IP: "127.0.0.1",
          AWS_ACCESS_KEY_ID: "test",
          AWS_SECRET_ACCESS_KEY: "test",
        },
        maxBuffer: 64 * 1024 * 1024,
      }).catch(() => {
        // What else may be wrong with the driver is for the tests to show.
      });
      if (existsSync(made)) renameSync(made, archive);
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  });
  return existsSync(archive) ? archive : undefined;
}
