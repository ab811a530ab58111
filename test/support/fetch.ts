/**
 * Brings what the integration tests fetch when they first need it, so that a machine that hasn't got it yet does so while it
 * builds and runs the unit tests. What fails here is tried again, and told, by who needs it.
 */
import { setPriority } from "node:os";
import { ensureCassandraJars } from "../../lib/targets/local/cassandra.js";
import { findJava } from "../../lib/targets/local/java.js";
import { ensureSparkJars } from "../../lib/targets/local/spark-jars.js";
import { PYTHON_ENVIRONMENTS, pythonEnvironment } from "./python.js";

// Only what nobody else needs of the processor: unit tests look at time-outs and order.
setPriority(19);
await Promise.allSettled([jars(), environments()]);

async function jars(): Promise<void> {
  const java = await findJava(process.env);
  await ensureSparkJars({ java, profile: "aws-cassandra" });
  await ensureCassandraJars({ java });
  await ensureSparkJars({ java });
  await ensureSparkJars({ java, version: "4.1" });
  await ensureSparkJars({ java, profile: "cassandra" });
}

async function environments(): Promise<void> {
  for (const name of PYTHON_ENVIRONMENTS) await pythonEnvironment(name);
}
