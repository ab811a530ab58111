import { ExitCode, UserError } from "../errors.js";
import type { PostgresConnection } from "../postgres/connection.js";
import { isLoopback, type PostgresTls, parseTls } from "../postgres/tls.js";
import type { PostgresSettings, Secrets } from "./context.js";
import { credentials } from "./secrets.js";

/** The host that stands for the PostgreSQL which the runtime starts on this machine. */
export const EMBEDDED_HOST = "embedded";
const DEFAULT_PORT = 5432;

/**
 * Starts the local PostgreSQL, or finds the one that is up.
 *
 * @param options `create`: whether a database that isn't there is made; default: yes.
 */
export type EmbeddedPostgres = (
  database: string | undefined,
  options?: { readonly create: boolean },
) => Promise<PostgresConnection>;

/** Where connections can come from, besides the configuration. */
export interface PostgresSources {
  /** `--postgres-url`. */
  readonly url: string | undefined;
  readonly embedded: EmbeddedPostgres | undefined;
  readonly secrets: Secrets;
}

/**
 * The connection that a configuration means: the URL of the command line, else the local server for host `embedded`, else
 * the configured host with the credentials of its secret.
 *
 * @throws UserError `POSTGRES_URL_INVALID`, `POSTGRES_SETTINGS_INVALID`, and what reading a secret throws.
 */
export async function resolvePostgres(
  settings: PostgresSettings,
  sources: PostgresSources,
): Promise<PostgresConnection> {
  if (sources.url !== undefined) return fromUrl(sources.url, settings, sources.secrets);
  if (settings.host === EMBEDDED_HOST) {
    if (sources.embedded === undefined) {
      throw new UserError(
        "POSTGRES_EMBEDDED_UNAVAILABLE",
        'The host is "embedded", but no local server can be started here',
        {
          hint: "Name a real host in the configuration, or give --postgres-url",
          exitCode: ExitCode.configuration,
        },
      );
    }
    return sources.embedded(settings.database, { create: settings.mustExist !== true });
  }
  const { database, secret, login: given } = settings;
  const { tls, problems } = configuredTls(settings);
  if (database === undefined || (secret === undefined && given === undefined) || problems.length > 0) {
    throw new UserError(
      "POSTGRES_SETTINGS_INVALID",
      `The configuration of PostgreSQL at ${settings.host} can't be used`,
      {
        problems: [
          ...(database === undefined ? ["the name of the database is missing"] : []),
          ...(secret === undefined && given === undefined
            ? ["the name of the secret with username and password is missing"]
            : []),
          ...problems,
        ],
        exitCode: ExitCode.configuration,
      },
    );
  }
  const login = given ?? credentials(await sources.secrets.get(secret ?? ""), secret ?? "");
  return {
    host: settings.host,
    port: settings.port ?? DEFAULT_PORT,
    database,
    user: login.username,
    password: login.password,
    ...(tls === undefined ? {} : { tls }),
  };
}

function configuredTls(settings: PostgresSettings): ReturnType<typeof parseTls> {
  return parseTls(settings.sslMode, settings.sslRootCertificate, {
    mode: "the SSL mode",
    rootCertificate: "the SSL root certificate",
  });
}

async function fromUrl(text: string, settings: PostgresSettings, secrets: Secrets): Promise<PostgresConnection> {
  const given = parsePostgresUrl(text);
  const database = given.database ?? settings.database;
  if (database === undefined) throw invalidUrl(["it names no database, and the configuration doesn't either"]);
  let { user, password } = given;
  if (user === undefined && settings.secret !== undefined) {
    const login = credentials(await secrets.get(settings.secret), settings.secret);
    user = login.username;
    password = login.password;
  }
  if (user === undefined) throw invalidUrl(["it names no user, and the configuration has no secret"]);
  const tls = given.tls ?? tlsFromConfiguration(given.host, settings);
  return { host: given.host, port: given.port, database, user, password, ...(tls === undefined ? {} : { tls }) };
}

/** For a server of this machine (a tunnel, a test) the configuration's demands on Aurora aren't meant. */
function tlsFromConfiguration(host: string, settings: PostgresSettings): PostgresTls | undefined {
  if (isLoopback(host)) return undefined;
  const { tls, problems } = configuredTls(settings);
  if (problems.length === 0) return tls;
  throw new UserError("POSTGRES_SETTINGS_INVALID", "The configuration of PostgreSQL can't be used", {
    problems,
    hint: "Mend it, or give sslmode in --postgres-url",
    exitCode: ExitCode.configuration,
  });
}

/** What a `postgres://` URL says. */
export interface PostgresUrl {
  readonly host: string;
  readonly port: number;
  readonly database: string | undefined;
  readonly user: string | undefined;
  readonly password: string | undefined;
  /** `sslmode` and `sslrootcert`; `undefined` when it has neither. */
  readonly tls: PostgresTls | undefined;
}

const PARAMETERS = ["sslmode", "sslrootcert"];

/**
 * Reads `postgresql://user:password@host:port/database?sslmode=verify-full&sslrootcert=/etc/rds.pem`.
 *
 * @throws UserError `POSTGRES_URL_INVALID` (exit 64); never quotes the URL, which may hold a password.
 */
export function parsePostgresUrl(text: string): PostgresUrl {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw invalidUrl(["it is no URL"]);
  }
  const problems: string[] = [];
  if (url.protocol !== "postgres:" && url.protocol !== "postgresql:")
    problems.push("it doesn't begin with postgresql://");
  if (url.hostname === "") problems.push("it names no host");
  // A parameter that is ignored may be the one that asks for encryption.
  for (const name of new Set(url.searchParams.keys())) {
    if (!PARAMETERS.includes(name)) problems.push(`the parameter ${name} is not supported`);
    else if (url.searchParams.getAll(name).length > 1) problems.push(`the parameter ${name} is there more than once`);
  }
  const { tls, problems: tlsProblems } = parseTls(
    url.searchParams.get("sslmode") ?? undefined,
    url.searchParams.get("sslrootcert") ?? undefined,
    { mode: "the parameter sslmode", rootCertificate: "the parameter sslrootcert" },
  );
  problems.push(...tlsProblems);
  const decode = (part: string, what: string): string | undefined => {
    try {
      return part === "" ? undefined : decodeURIComponent(part);
    } catch {
      problems.push(`the percent signs in its ${what} are no encoding`);
      return undefined;
    }
  };
  const parsed: PostgresUrl = {
    host: url.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: url.port === "" ? DEFAULT_PORT : Number(url.port),
    database: decode(url.pathname.replace(/^\//, ""), "database"),
    user: decode(url.username, "user"),
    password: decode(url.password, "password"),
    tls,
  };
  if (problems.length > 0) throw invalidUrl(problems);
  return parsed;
}

function invalidUrl(problems: readonly string[]): UserError {
  return new UserError("POSTGRES_URL_INVALID", "The value of --postgres-url can't be used", {
    problems,
    hint: "Write postgresql://user:password@host:5432/database, with ?sslmode=... if need be",
    exitCode: ExitCode.usage,
  });
}
