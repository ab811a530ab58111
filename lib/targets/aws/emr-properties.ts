import type { Configuration } from "@aws-sdk/client-emr-serverless";
import { ExitCode, UserError } from "../../errors.js";
import type { SparkConf } from "./packages.js";

/** Characters that the value of one setting may have, in sessions as in job runs. */
export const LONGEST_PROPERTY = 1_024;
const MOST_PROPERTIES = 100;

/**
 * Spark settings in the form that EMR Serverless takes them in.
 *
 * @param use for the message.
 * @throws UserError `EMR_SETTINGS_TOO_LONG` (exit 66) that names each setting, for what the service would refuse without a name.
 */
export function sparkDefaults(conf: SparkConf, use: "sessions" | "job runs"): Configuration[] {
  const number = (value: number) => value.toLocaleString("en-US");
  const settings = Object.entries(conf);
  const long = settings.filter(([, value]) => value.length > LONGEST_PROPERTY);
  const problems = long.map(([name, value]) => `${name} has ${number(value.length)} characters`);
  const hints: string[] = [];
  if (long.some(([name]) => name === "spark.jars")) {
    hints.push(
      "Put the jars of emr.jars into one, or into a folder with a shorter name; `glue-connect submit` takes as many as there are",
    );
  }
  // The application's own configuration has the same limit for each value.
  if (long.some(([name]) => name !== "spark.jars")) hints.push("Shorten what is too long in emr.sparkConf");
  if (settings.length > MOST_PROPERTIES) {
    problems.push(`there are ${settings.length} of them`);
    hints.push("Put some settings of emr.sparkConf into the runtime configuration of the application");
  }
  if (problems.length === 0) return [{ classification: "spark-defaults", properties: { ...conf } }];
  throw new UserError(
    "EMR_SETTINGS_TOO_LONG",
    `EMR Serverless takes at most ${MOST_PROPERTIES} Spark settings of at most ${number(LONGEST_PROPERTY)} characters in ${use}`,
    {
      problems,
      hint: hints.join(". "),
      exitCode: ExitCode.configuration,
    },
  );
}
