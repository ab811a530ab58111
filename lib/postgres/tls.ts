import { readFileSync } from "node:fs";
import { isAbsolute } from "node:path";
import type { ConnectionOptions } from "node:tls";
import { ExitCode, UserError } from "../errors.js";

/** libpq's `sslmode`s but for `allow`, which asks for no encryption first. */
export const TLS_MODES = ["disable", "prefer", "require", "verify-ca", "verify-full"] as const;

export type TlsMode = (typeof TLS_MODES)[number];

/**
 * How a connection is encrypted, and what the server must prove, with libpq's names and meaning.
 *
 * @see https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION
 */
export interface PostgresTls {
  readonly mode: TlsMode;
  /**
   * Absolute path of a PEM file with the authorities to trust, for `verify-ca` and `verify-full`. It must lie at this path on
   * the driver's machine and on every executor's. Default: the authorities that Node and the executors' JVM trust.
   */
  readonly rootCertificate?: string;
}

/** Is this host the machine itself, by way of TCP or of a socket file? */
export function isLoopback(host: string): boolean {
  return /^(localhost|::1|127(\.\d{1,3}){3}|\/.*)$/i.test(host);
}

/**
 * What is given, else `disable` on this machine and `require` for every other host. As with libpq, `require` with an
 * authority is `verify-ca`.
 */
export function tlsOf(connection: { readonly host: string; readonly tls?: PostgresTls | undefined }): PostgresTls {
  const { tls } = connection;
  if (tls === undefined) return { mode: isLoopback(connection.host) ? "disable" : "require" };
  return tls.mode === "require" && tls.rootCertificate !== undefined ? { ...tls, mode: "verify-ca" } : tls;
}

/**
 * Reads the two settings as people write them.
 *
 * @returns `tls` is `undefined` when neither is given. An authority without a mode means `verify-full`: it is there to be
 *   used. `problems` say what is wrong with which of them.
 */
export function parseTls(
  mode: string | undefined,
  rootCertificate: string | undefined,
  names: { readonly mode: string; readonly rootCertificate: string },
): { readonly tls: PostgresTls | undefined; readonly problems: readonly string[] } {
  const problems: string[] = [];
  const known = TLS_MODES.find((name) => name === mode);
  if (mode !== undefined && known === undefined) problems.push(`${names.mode} is none of ${TLS_MODES.join(", ")}`);
  if (rootCertificate !== undefined && !isAbsolute(rootCertificate)) {
    problems.push(`${names.rootCertificate} is no absolute path, which the executors need as well as the driver`);
  }
  if (rootCertificate !== undefined && (known === "disable" || known === "prefer")) {
    problems.push(`${names.rootCertificate} is of no use with ${names.mode} ${known}, which checks nothing`);
  }
  if (problems.length > 0 || (mode === undefined && rootCertificate === undefined)) return { tls: undefined, problems };
  return {
    tls: { mode: known ?? "verify-full", ...(rootCertificate === undefined ? {} : { rootCertificate }) },
    problems,
  };
}

/**
 * The driver's side.
 *
 * @throws UserError `POSTGRES_ROOT_CERTIFICATE_UNUSABLE` when the file can't be read or holds no certificate.
 */
export function nodeTls(tls: PostgresTls): ConnectionOptions | false {
  switch (tls.mode) {
    case "disable":
      return false;
    case "prefer":
    case "require":
      return { rejectUnauthorized: false };
    case "verify-ca":
      return { ...authorities(tls), rejectUnauthorized: true, checkServerIdentity: () => undefined };
    case "verify-full":
      return { ...authorities(tls), rejectUnauthorized: true };
  }
}

/**
 * The executors' side: parameters of a JDBC URL.
 *
 * @see https://jdbc.postgresql.org/documentation/ssl/
 */
export function jdbcTls(tls: PostgresTls): Record<string, string> {
  const verifies = tls.mode === "verify-ca" || tls.mode === "verify-full";
  if (!verifies) return { sslmode: tls.mode };
  return {
    sslmode: tls.mode,
    ...(tls.rootCertificate === undefined
      ? // Without it the driver insists on a file in the home folder of whoever runs the executor.
        { sslfactory: "org.postgresql.ssl.DefaultJavaSSLFactory" }
      : { sslrootcert: tls.rootCertificate }),
  };
}

function authorities({ rootCertificate }: PostgresTls): ConnectionOptions {
  if (rootCertificate === undefined) return {};
  let ca: string;
  try {
    ca = readFileSync(rootCertificate, "utf8");
  } catch (error) {
    throw unusable(rootCertificate, error instanceof Error ? error.message : String(error));
  }
  // Node takes a file without certificates for a list without authorities, and then blames the server.
  if (!ca.includes("-----BEGIN CERTIFICATE-----"))
    throw unusable(rootCertificate, "it holds no certificate in PEM form");
  return { ca };
}

function unusable(path: string, why: string): UserError {
  return new UserError("POSTGRES_ROOT_CERTIFICATE_UNUSABLE", `The root certificate ${path} can't be used: ${why}`, {
    hint: "Name a PEM file that lies at this path here and on every Spark executor",
    exitCode: ExitCode.configuration,
  });
}
