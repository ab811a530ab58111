import type { AwsOptions } from "../aws.js";
import { ExitCode, UserError } from "../errors.js";
import type { ResolvedConfig } from "../glue/config/resolve.js";
import { outranks } from "../glue/config/resolve.js";
import type { Settings } from "../glue/config/schema.js";
import type { SparkPackage } from "../targets/aws/packages.js";
import type { EmrTarget, GlueTarget, RoleOptional } from "../targets/aws/settings.js";
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

/** What a command is about to do: only what is started needs a role, and only what is uploaded a place. */
export type TargetUse = "session" | "job run" | "look";

const ROLE = "the ARN of the role that the job runs as";

/**
 * Looks whether the settings say all that a use of a service needs, before anything of AWS is asked.
 *
 * @throws UserError `EMR_NOT_CONFIGURED`, `GLUE_NOT_CONFIGURED`, `ARTIFACTS_NOT_CONFIGURED` (exit 66) with everything that is missing.
 */
export function checkTarget(place: CloudPlace, settings: Settings, use: TargetUse): void {
  const { emr, glue, artifacts } = settings;
  const own: string[] = [];
  if (place === "emr") {
    if (emr?.applicationId === undefined) own.push("emr.applicationId, the id of an EMR Serverless application");
    if (use !== "look" && emr?.role === undefined) own.push(`emr.role, ${ROLE}`);
  } else if (use !== "look" && glue?.role === undefined) own.push(`glue.role, ${ROLE}`);
  const more =
    use === "job run" && artifacts === undefined
      ? ["artifacts, a folder on S3 for bundles, launcher and Node (s3://bucket/folder/)"]
      : [];
  if (own.length + more.length === 0) return;
  const code = own.length === 0 ? "ARTIFACTS" : place.toUpperCase();
  const service = place === "emr" ? "EMR Serverless" : "Glue";
  throw new UserError(`${code}_NOT_CONFIGURED`, `${service} can't be used: settings are missing`, {
    problems: [...own, ...more],
    hint: `Set them in glue-connect.config.ts, by variables (GLUE_CONNECT_${place.toUpperCase()}_ROLE, ...) or by --set key=value; the README has a section on AWS`,
    exitCode: ExitCode.configuration,
  });
}

/** @throws UserError of {@link checkTarget}. */
export function emrTarget(
  settings: Settings,
  packages: readonly SparkPackage[],
  use: TargetUse,
): RoleOptional<EmrTarget> {
  checkTarget("emr", settings, use);
  const { applicationId = "", ...rest } = settings.emr ?? {};
  return { ...rest, aws: awsOptions(settings), applicationId, packages };
}

/** @throws UserError of {@link checkTarget}. */
export function glueTarget(
  settings: Settings,
  packages: readonly SparkPackage[],
  use: TargetUse,
): RoleOptional<GlueTarget> {
  checkTarget("glue", settings, use);
  return { ...settings.glue, aws: awsOptions(settings), packages };
}

/** The sessions of a service; the AWS SDK is loaded with them. */
export async function sessionService(
  place: CloudPlace,
  settings: Settings,
  packages: readonly SparkPackage[],
  use: TargetUse = "session",
): Promise<SessionService> {
  if (place === "emr") {
    const target = emrTarget(settings, packages, use);
    const { createEmrSessions } = await import("../targets/sessions/emr-sessions.js");
    return createEmrSessions(target);
  }
  const target = glueTarget(settings, packages, use);
  const { createGlueSessions } = await import("../targets/sessions/glue-sessions.js");
  return createGlueSessions(target);
}
