import { type Application, type EMRServerlessClient, GetApplicationCommand } from "@aws-sdk/client-emr-serverless";
import { awsErrorName } from "../../aws.js";
import { ExitCode, UserError } from "../../errors.js";
import { emrFailure } from "../aws/emr-client.js";
import type { EmrTarget } from "../aws/settings.js";

/** The first release with sessions. */
const RELEASE = [7, 13] as const;

/**
 * Looks whether an application can have sessions, because EMR Serverless names one reason at a time and some not at all.
 *
 * @returns the error with every reason; `undefined` when there is none, or when this identity may not look.
 */
export async function applicationProblems(
  client: EMRServerlessClient,
  target: EmrTarget,
): Promise<UserError | undefined> {
  const { applicationId } = target;
  let application: Application | undefined;
  try {
    application = (await client.send(new GetApplicationCommand({ applicationId }))).application;
  } catch (error) {
    // Starting a session asks for no right to read the application.
    if (/AccessDenied|NotAuthorized/.test(awsErrorName(error) ?? "")) return undefined;
    throw emrFailure(error, {
      doing: "asking for the application",
      permission: "emr-serverless:GetApplication",
      target,
    });
  }
  if (application === undefined) return undefined;
  const problems = problemsOf(application);
  if (problems.length === 0) return undefined;
  return new UserError("EMR_APPLICATION_UNFIT", `EMR Serverless application ${applicationId} can't have sessions`, {
    problems,
    hint: "Correct the application (`aws emr-serverless update-application`), or use another with --set emr.applicationId=...",
    exitCode: ExitCode.configuration,
  });
}

function problemsOf(application: Application): string[] {
  const { applicationId, releaseLabel = "", type, state, interactiveConfiguration } = application;
  const problems: string[] = [];
  if (type?.toLowerCase() !== "spark") problems.push(`its type is ${type}, and Spark is needed`);
  const [, major, minor] = /^emr-(\d+)\.(\d+)/.exec(releaseLabel) ?? [];
  const old = Number(major) < RELEASE[0] || (Number(major) === RELEASE[0] && Number(minor) < RELEASE[1]);
  if (old) problems.push(`its release is ${releaseLabel}; sessions come with emr-${RELEASE.join(".")}.0`);
  if (interactiveConfiguration?.sessionEnabled !== true) {
    problems.push("sessions are off: --interactive-configuration '{\"sessionEnabled\": true}'");
  }
  const monitoring = application.monitoringConfiguration;
  const managed = monitoring?.managedPersistenceMonitoringConfiguration?.enabled !== false;
  if (!managed && monitoring?.s3MonitoringConfiguration?.logUri === undefined) {
    problems.push("sessions need logs on S3 or managed persistence, and it has neither");
  }
  const startsItself = application.autoStartConfiguration?.enabled !== false;
  if (state === "TERMINATED") problems.push("it has been deleted");
  else if (state !== "STARTED" && !startsItself) {
    problems.push(
      `it is ${state} and does not start by itself: \`aws emr-serverless start-application --application-id ${applicationId}\``,
    );
  }
  return problems;
}
