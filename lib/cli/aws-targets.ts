import type { AwsOptions } from "../aws.js";
import { ExitCode, UserError } from "../errors.js";
import type { ResolvedConfig } from "../glue/config/resolve.js";
import { outranks } from "../glue/config/resolve.js";
import type { Settings } from "../glue/config/schema.js";
import type { SparkPackage } from "../targets/aws/packages.js";
import type { EmrTarget, GlueTarget } from "../targets/aws/settings.js";
import type { SessionService } from "../targets/sessions/service.js";

/** Where a job finds Spark: a server that runs already, this machine, or one of AWS's services. */
export type Place = "remote" | "local" | "emr" | "glue";

/** The services of AWS that a job can run on. */
export type CloudPlace = "emr" | "glue";

/**
 * Where the configuration says that Spark is. An address and a target are two ways to say it, and the stronger layer counts:
 * SPARK_REMOTE goes over the file's target, and `--target` over SPARK_REMOTE.
 */
export function placeOf(config: ResolvedConfig): Place {
  const { target = "local", remote } = config.settings;
  if (remote === undefined || outranks(config, "target", "remote")) return target;
  if (outranks(config, "remote", "target")) return "remote";
  throw new UserError("CONFIG_INVALID", `remote names a Spark server, and target is ${target}: it can't be both`, {
    hint: "Leave one of them out",
    exitCode: ExitCode.configuration,
  });
}

/** What every client of AWS is made with; the profile goes by the environment, where everything finds it. */
export function awsOptions({ region, profile }: Settings): AwsOptions {
  if (profile !== undefined) process.env.AWS_PROFILE = profile;
  return region === undefined ? {} : { region };
}

/** @throws UserError `EMR_NOT_CONFIGURED` (exit 66) with everything that is missing. */
export function emrTarget(settings: Settings, packages: readonly SparkPackage[]): EmrTarget {
  const { applicationId, role, ...rest } = settings.emr ?? {};
  const missing = [
    ...(applicationId === undefined ? ["emr.applicationId, the id of an EMR Serverless application"] : []),
    ...(role === undefined ? ["emr.role, the ARN of the role that the job runs as"] : []),
  ];
  if (applicationId === undefined || role === undefined) throw notConfigured("EMR", "EMR Serverless", missing);
  return { ...rest, aws: awsOptions(settings), applicationId, role, packages };
}

/** @throws UserError `GLUE_NOT_CONFIGURED` (exit 66). */
export function glueTarget(settings: Settings, packages: readonly SparkPackage[]): GlueTarget {
  const { role, ...rest } = settings.glue ?? {};
  if (role === undefined) {
    throw notConfigured("GLUE", "Glue", ["glue.role, the ARN of the role that the job runs as"]);
  }
  return { ...rest, aws: awsOptions(settings), role, packages };
}

/** The sessions of a service; the AWS SDK is loaded with them. */
export async function sessionService(
  place: CloudPlace,
  settings: Settings,
  packages: readonly SparkPackage[],
): Promise<SessionService> {
  if (place === "emr") {
    const target = emrTarget(settings, packages);
    const { createEmrSessions } = await import("../targets/sessions/emr-sessions.js");
    return createEmrSessions(target);
  }
  const target = glueTarget(settings, packages);
  const { createGlueSessions } = await import("../targets/sessions/glue-sessions.js");
  return createGlueSessions(target);
}

export function notConfigured(code: string, service: string, missing: readonly string[]): UserError {
  return new UserError(`${code}_NOT_CONFIGURED`, `${service} can't be used: settings are missing`, {
    problems: missing,
    hint: "Set them in glue-connect.config.ts, by variables (GLUE_CONNECT_EMR_ROLE, ...) or by --set key=value; the README has a section on AWS",
    exitCode: ExitCode.configuration,
  });
}
