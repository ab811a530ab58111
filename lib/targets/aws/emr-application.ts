import { type Application, type EMRServerlessClient, GetApplicationCommand } from "@aws-sdk/client-emr-serverless";
import { awsErrorName } from "../../aws.js";
import { ExitCode, UserError } from "../../errors.js";
import { type EmrCallTarget, emrFailure } from "./emr-client.js";

/** The first release that a use is possible with: that of sessions, and that of Spark 3.5 with retries. */
const RELEASES = { sessions: [7, 13], "job runs": [7, 1] } as const;

/** What an application is to be used for. */
export type ApplicationUse = keyof typeof RELEASES;

/**
 * Looks whether an application can have sessions or job runs, because EMR Serverless names one reason at a time and some not at
 * all.
 *
 * @param architecture of the Node that job runs bring along.
 * @returns the error with every reason; `undefined` when there is none, or when this identity may not look.
 */
export async function applicationProblems(
  client: EMRServerlessClient,
  target: EmrCallTarget,
  use: ApplicationUse,
  architecture?: "x86_64" | "arm64",
): Promise<UserError | undefined> {
  const { applicationId } = target;
  let application: Application | undefined;
  try {
    application = (await client.send(new GetApplicationCommand({ applicationId }))).application;
  } catch (error) {
    // Starting a session or a run asks for no right to read the application.
    if (/AccessDenied|NotAuthorized/.test(awsErrorName(error) ?? "")) return undefined;
    throw emrFailure(error, {
      doing: "looking at the application",
      permission: "emr-serverless:GetApplication",
      target,
    });
  }
  if (application === undefined) return undefined;
  const problems = problemsOf(application, use, architecture);
  if (problems.length === 0) return undefined;
  return new UserError("EMR_APPLICATION_UNFIT", `EMR Serverless application ${applicationId} can't have ${use}`, {
    problems,
    hint: "Correct the application (`aws emr-serverless update-application`), or use another with --set emr.applicationId=...",
    exitCode: ExitCode.configuration,
  });
}

function problemsOf(application: Application, use: ApplicationUse, architecture: string | undefined): string[] {
  const { applicationId, releaseLabel = "", type, state } = application;
  const problems: string[] = [];
  if (type?.toLowerCase() !== "spark") problems.push(`its type is ${type}, and Spark is needed`);
  const [, major, minor] = /^emr-(\d+)\.(\d+)/.exec(releaseLabel) ?? [];
  const least = RELEASES[use];
  const old = Number(major) < least[0] || (Number(major) === least[0] && Number(minor) < least[1]);
  if (old) problems.push(`its release is ${releaseLabel}; ${use} come with emr-${least.join(".")}.0`);
  if (use === "sessions") problems.push(...sessionProblems(application));
  const processor = application.architecture?.toLowerCase() ?? architecture;
  if (architecture !== undefined && processor !== architecture) {
    problems.push(`its workers are ${processor}, and emr.architecture is ${architecture}: Node would not start there`);
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

function sessionProblems(application: Application): string[] {
  const { interactiveConfiguration } = application;
  const problems: string[] = [];
  if (interactiveConfiguration?.sessionEnabled !== true) {
    problems.push("sessions are off: --interactive-configuration '{\"sessionEnabled\": true}'");
  }
  const monitoring = application.monitoringConfiguration;
  const managed = monitoring?.managedPersistenceMonitoringConfiguration?.enabled !== false;
  if (!managed && monitoring?.s3MonitoringConfiguration?.logUri === undefined) {
    problems.push("sessions need logs on S3 or managed persistence, and it has neither");
  }
  return problems;
}
