import type { GlueClient } from "@aws-sdk/client-glue";
import { type AwsOptions, awsClientConfig, awsErrorName, awsFailure } from "../../aws.js";
import { ExitCode, UserError } from "../../errors.js";

/** A client that waits when it is throttled, as Glue does soon. */
export async function createSdkGlueClient(aws: AwsOptions): Promise<GlueClient> {
  const { GlueClient } = await import("@aws-sdk/client-glue");
  return new GlueClient({ ...awsClientConfig(aws), maxAttempts: 8 });
}

/** What an error of Glue's sessions and job runs means: `GLUE_*` codes, else those of `awsFailure`. */
export function glueFailure(
  error: unknown,
  call: { readonly doing: string; readonly permission: string; readonly role?: string | undefined },
): UserError {
  if (error instanceof UserError) return error;
  const { doing, role } = call;
  const text = error instanceof Error ? error.message : String(error);
  switch (awsErrorName(error)) {
    case "ResourceNumberLimitExceededException":
      return new UserError("GLUE_QUOTA", `A quota of this account is used up while ${doing}: ${text}`, {
        hint: "Ask for more under Service Quotas (AWS Glue), set glue.workers lower, or wait for other runs to end",
        exitCode: ExitCode.retryable,
        cause: error,
      });
    case "ConcurrentRunsExceededException":
      return new UserError("GLUE_CONCURRENT_RUNS", `The Glue job is running already: ${text}`, {
        hint: "Wait for that run to end, or raise the job's maximum concurrency",
        exitCode: ExitCode.retryable,
        cause: error,
      });
    case "EntityNotFoundException":
      return new UserError("GLUE_NOT_FOUND", `Glue failed ${doing}: ${text}`, {
        hint: "Check the name, and that it is in this account and region",
        exitCode: ExitCode.configuration,
        cause: error,
      });
    case "InvalidInputException":
    case "ValidationException":
    case "OperationNotSupportedException":
      return new UserError("GLUE_REQUEST_REFUSED", `Glue refuses ${doing}: ${text}`, {
        hint: /role|assume|trust/i.test(text)
          ? `Check role ${role ?? "of the run"}: it must exist and trust glue.amazonaws.com`
          : "Check the settings under `glue` in glue-connect.config.ts (`glue-connect config print --resolved`), and that the region has Glue 5.1",
        exitCode: ExitCode.configuration,
        cause: error,
      });
    default: {
      const passRole = /PassRole/i.test(text);
      return awsFailure(error, {
        service: "Glue",
        doing,
        deniedCode: passRole ? "GLUE_PASS_ROLE_DENIED" : "GLUE_ACCESS_DENIED",
        permission: passRole
          ? `iam:PassRole on ${role ?? "the role"} (with iam:PassedToService glue.amazonaws.com)`
          : call.permission,
      });
    }
  }
}
