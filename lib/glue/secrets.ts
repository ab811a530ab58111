import { readFile } from "node:fs/promises";
import type { AwsOptions } from "../aws.js";
import { ExitCode, UserError } from "../errors.js";
import { isFileUri, pathOfFileUri } from "../storage/uri.js";
import { isMap } from "./configuration-value.js";
import type { Secrets } from "./context.js";

/**
 * Secrets by reference: a name or ARN of AWS Secrets Manager, `file:<path>`, or `env:<NAME>`. Each holds a JSON object.
 * A secret is read once; later calls get the same fields.
 */
export function createSecrets(aws: AwsOptions = {}): Secrets {
  const known = new Map<string, Promise<Readonly<Record<string, unknown>>>>();
  return {
    get(reference) {
      let secret = known.get(reference);
      if (secret === undefined) {
        secret = readSecret(reference, aws).then((text) => parseSecret(text, reference));
        // A failure isn't kept: the next call may find what was put right meanwhile.
        secret.catch(() => known.delete(reference));
        known.set(reference, secret);
      }
      return secret;
    },
  };
}

async function readSecret(reference: string, aws: AwsOptions): Promise<string> {
  if (reference === "") throw notFound(reference, "The reference to the secret is empty");
  if (isFileUri(reference)) return readSecretFile(reference);
  if (reference.startsWith("env:")) {
    const value = process.env[reference.slice("env:".length)];
    if (value === undefined)
      throw notFound(reference, `The environment has no variable ${reference.slice("env:".length)}`);
    return value;
  }
  const { readSecretsManager } = await import("./secrets-manager.js");
  return readSecretsManager(reference, aws);
}

async function readSecretFile(reference: string): Promise<string> {
  const file = pathOfFileUri(reference);
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") throw notFound(reference, `There is no file ${file}`);
    throw new UserError("SECRET_ACCESS_DENIED", `The secret in ${file} can't be read: ${(error as Error).message}`, {
      exitCode: ExitCode.configuration,
    });
  }
}

function notFound(reference: string, message: string): UserError {
  return new UserError("SECRET_NOT_FOUND", message, {
    hint: `Check aurora_secret (${JSON.stringify(reference)}): a name in Secrets Manager, file:<path>, or env:<NAME>`,
    exitCode: ExitCode.configuration,
  });
}

/** The parser's own message quotes what it stumbled on, so it is not passed on: that would be the secret. */
function parseSecret(text: string, reference: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  if (isMap(value)) return value;
  throw new UserError("SECRET_INVALID", `The secret ${JSON.stringify(reference)} is not a JSON object`, {
    hint: 'Store it as {"username": "...", "password": "..."}',
    exitCode: ExitCode.configuration,
  });
}

/** Who logs in. */
export interface Credentials {
  readonly username: string;
  readonly password: string;
}

/**
 * User name and password out of a secret. `username` is what Secrets Manager writes, `user` what people write.
 *
 * @param reference how messages call the secret; never its value.
 * @throws UserError `SECRET_INVALID` that names the missing fields.
 */
export function credentials(secret: Readonly<Record<string, unknown>>, reference: string): Credentials {
  const username = secret.username ?? secret.user;
  const { password } = secret;
  const problems = [
    ...(typeof username === "string" && username !== "" ? [] : ['no text under "username"']),
    ...(typeof password === "string" && password !== "" ? [] : ['no text under "password"']),
  ];
  if (typeof username === "string" && typeof password === "string" && problems.length === 0)
    return { username, password };
  throw new UserError("SECRET_INVALID", `The secret ${JSON.stringify(reference)} lacks what a login needs`, {
    problems,
    hint: 'Store it as {"username": "...", "password": "..."}',
    exitCode: ExitCode.configuration,
  });
}
