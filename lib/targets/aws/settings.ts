import type { AwsOptions } from "../../aws.js";
import { ExitCode, UserError } from "../../errors.js";
import type { SparkPackage } from "./packages.js";

/** Size of one worker of EMR Serverless. */
export interface WorkerSize {
  readonly cores?: number | undefined;
  readonly memory?: string | undefined;
  readonly disk?: string | undefined;
}

/** What a job run or session on EMR Serverless is made with. */
export interface EmrTarget {
  readonly aws: AwsOptions;
  readonly applicationId: string;
  /** ARN of the role that it runs as. */
  readonly role: string;
  readonly packages: readonly SparkPackage[];
  readonly driver?: WorkerSize | undefined;
  readonly executor?: WorkerSize | undefined;
  readonly maxExecutors?: number | undefined;
  readonly sparkConf?: Readonly<Record<string, string>> | undefined;
  readonly jars?: readonly string[] | undefined;
  readonly idleMinutes?: number | undefined;
  readonly tags?: Readonly<Record<string, string>> | undefined;
}

/** What a job run or session on Glue is made with. */
export interface GlueTarget {
  readonly aws: AwsOptions;
  readonly role: string;
  readonly packages: readonly SparkPackage[];
  readonly workerType?: string | undefined;
  readonly workers?: number | undefined;
  readonly connections?: readonly string[] | undefined;
  readonly sparkConf?: Readonly<Record<string, string>> | undefined;
  readonly jars?: readonly string[] | undefined;
  readonly arguments?: Readonly<Record<string, string>> | undefined;
  readonly idleMinutes?: number | undefined;
  readonly timeoutMinutes?: number | undefined;
  readonly tags?: Readonly<Record<string, string>> | undefined;
}

/** A target for what starts nothing: what is there can be looked at and ended without the role that it runs as. */
export type RoleOptional<Target extends { readonly role: string }> = Omit<Target, "role"> & {
  readonly role?: string | undefined;
};

/** @throws UserError `ROLE_MISSING` (exit 66). */
export function withRole<Target extends { readonly role?: string | undefined }>(
  target: Target,
): Target & { readonly role: string } {
  const { role } = target;
  if (role !== undefined) return { ...target, role };
  throw new UserError("ROLE_MISSING", "What is started on AWS needs a role to run as", {
    hint: "Set emr.role, or glue.role, in glue-connect.config.ts",
    exitCode: ExitCode.configuration,
  });
}

/** Spark settings for the size of the workers. */
export function workerConf({
  driver,
  executor,
  maxExecutors,
}: Pick<EmrTarget, "driver" | "executor" | "maxExecutors">): Record<string, string> {
  const settings: Record<string, string | number | undefined> = {
    "spark.driver.cores": driver?.cores,
    "spark.driver.memory": driver?.memory,
    "spark.emr-serverless.driver.disk": driver?.disk,
    "spark.executor.cores": executor?.cores,
    "spark.executor.memory": executor?.memory,
    "spark.emr-serverless.executor.disk": executor?.disk,
    "spark.dynamicAllocation.maxExecutors": maxExecutors,
  };
  return Object.fromEntries(
    Object.entries(settings).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]])),
  );
}
