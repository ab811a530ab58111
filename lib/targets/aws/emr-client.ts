import type { EMRServerlessClient } from "@aws-sdk/client-emr-serverless";
import { type AwsOptions, awsClientConfig, awsErrorName, awsFailure } from "../../aws.js";
import { ExitCode, UserError } from "../../errors.js";
import type { EmrTarget, RoleOptional } from "./settings.js";

/** A client that waits when it is throttled: EMR Serverless starts one job run a second and answers ten questions. */
export async function createEmrClient(aws: AwsOptions): Promise<EMRServerlessClient> {
  const { EMRServerlessClient } = await import("@aws-sdk/client-emr-serverless");
  return new EMRServerlessClient({ ...awsClientConfig(aws), maxAttempts: 8 });
}

/** What messages say of a target. */
export type EmrCallTarget = Pick<
  RoleOptional<EmrTarget>,
  "applicationId" | "role" | "driver" | "executor" | "maxExecutors"
>;

/** What an error of EMR Serverless means: `EMR_*` codes, else those of `awsFailure`. */
export function emrFailure(
  error: unknown,
  call: {
    readonly doing: string;
    readonly permission: string;
    readonly target: EmrCallTarget;
  },
): UserError {
  if (error instanceof UserError) return error;
  const { doing, target } = call;
  const text = error instanceof Error ? error.message : String(error);
  switch (awsErrorName(error)) {
    case "ResourceNotFoundException":
      return new UserError("EMR_NOT_FOUND", `EMR Serverless failed ${doing}: ${text}`, {
        hint: `Check that application ${target.applicationId} is in this account and region (\`aws emr-serverless list-applications\`)`,
        exitCode: ExitCode.configuration,
        cause: error,
      });
    case "ServiceQuotaExceededException":
      return new UserError("EMR_QUOTA", `A quota of this account is used up while ${doing}: ${text}`, {
        hint: `${workersText(target)}New accounts have 16 vCPU at a time in a region: ask for more under Service Quotas (EMR Serverless, max concurrent vCPUs per account), set emr.maxExecutors lower, or wait for other runs to end`,
        exitCode: ExitCode.retryable,
        cause: error,
      });
    case "ConflictException":
      return new UserError("EMR_CONFLICT", `EMR Serverless can't go on with ${doing} now: ${text}`, {
        hint: `Check the state of application ${target.applicationId}: \`aws emr-serverless get-application --application-id ${target.applicationId}\``,
        exitCode: ExitCode.retryable,
        cause: error,
      });
    case "ValidationException":
      return new UserError("EMR_REQUEST_REFUSED", `EMR Serverless refuses ${doing}: ${text}`, {
        hint: /role|trust|assume/i.test(text)
          ? `Check role ${target.role ?? "of the run"}: it must exist and trust emr-serverless.amazonaws.com`
          : /terminal state/i.test(text)
            ? "`glue-connect status` tells how it ended"
            : "Check the settings under `emr` in glue-connect.config.ts (`glue-connect config print --resolved`)",
        exitCode: ExitCode.configuration,
        cause: error,
      });
    default: {
      const passRole = /PassRole/i.test(text);
      return awsFailure(error, {
        service: "EMR Serverless",
        doing,
        deniedCode: passRole ? "EMR_PASS_ROLE_DENIED" : "EMR_ACCESS_DENIED",
        permission: passRole
          ? `iam:PassRole on ${target.role ?? "the role"} (with iam:PassedToService emr-serverless.amazonaws.com)`
          : call.permission,
      });
    }
  }
}

function workersText({ driver, executor }: Pick<EmrTarget, "driver" | "executor">): string {
  if (driver?.cores === undefined || executor?.cores === undefined) return "";
  return `This asks for ${driver.cores} vCPU for the driver and ${executor.cores} for each executor. `;
}
