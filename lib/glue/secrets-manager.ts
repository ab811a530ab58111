import { GetSecretValueCommand, SecretsManagerClient } from "@aws-sdk/client-secrets-manager";
import { type AwsOptions, awsClientConfig, awsErrorName, awsFailure } from "../aws.js";
import { ExitCode, UserError } from "../errors.js";

/**
 * The text of a secret. A module of its own, so that a run that needs no AWS doesn't load the SDK.
 *
 * @param reference name or ARN.
 * @throws UserError `SECRET_NOT_FOUND`, `SECRET_INVALID` (binary), `SECRET_ACCESS_DENIED`, and the codes of `awsFailure`.
 */
export async function readSecretsManager(reference: string, aws: AwsOptions): Promise<string> {
  const client = new SecretsManagerClient(awsClientConfig(aws));
  try {
    const { SecretString } = await client.send(new GetSecretValueCommand({ SecretId: reference }));
    if (SecretString !== undefined) return SecretString;
  } catch (error) {
    const name = awsErrorName(error);
    if (name === "ResourceNotFoundException" || name === "InvalidRequestException") {
      // The second is the answer for a secret that is marked for deletion.
      const deleted = name === "InvalidRequestException";
      throw new UserError(
        "SECRET_NOT_FOUND",
        `Secrets Manager has no secret ${JSON.stringify(reference)}${deleted ? " that can be read: it is being deleted" : ""}`,
        {
          hint: "Check aurora_secret in the configuration, the region and the account",
          exitCode: ExitCode.configuration,
          cause: error,
        },
      );
    }
    throw awsFailure(error, {
      service: "Secrets Manager",
      doing: `reading the secret ${JSON.stringify(reference)}`,
      deniedCode: "SECRET_ACCESS_DENIED",
      permission: "secretsmanager:GetSecretValue",
    });
  } finally {
    client.destroy();
  }
  throw new UserError("SECRET_INVALID", `The secret ${JSON.stringify(reference)} is binary, not a JSON object`, {
    hint: 'Store it as text: {"username": "...", "password": "..."}',
    exitCode: ExitCode.configuration,
  });
}
