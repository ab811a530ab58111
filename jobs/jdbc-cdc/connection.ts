import { ExitCode, UserError } from "../../lib/errors.js";
import { type CatalogConnection, isMap, type JobContext, type PostgresSettings } from "../../lib/glue/index.js";
import { isFileUri } from "../../lib/storage/uri.js";

/** Reads a connection that is given by name or as a file. */
export async function findConnection(
  context: Pick<JobContext<unknown>, "catalog" | "storage">,
  reference: string,
  database: string,
): Promise<CatalogConnection> {
  if (!isFileUri(reference)) return await context.catalog.connection(reference);
  const object = await context.storage.get(reference);
  if (object === undefined) throw invalid(reference, "there is no such file");
  let content: unknown;
  try {
    content = JSON.parse(Buffer.from(object.body).toString("utf8"));
  } catch {
    // The parser's message quotes the text, which may hold a password.
    throw invalid(reference, "it is no JSON");
  }
  const entries = Array.isArray(content) ? content : [isMap(content) ? (content.Connection ?? content) : content];
  const named = entries.filter((entry) => isMap(entry) && entry.Name === database);
  const entry = named[0] ?? (entries.length === 1 ? entries[0] : undefined);
  const properties = isMap(entry) ? entry.ConnectionProperties : undefined;
  if (!isMap(entry) || !isMap(properties)) {
    throw invalid(
      reference,
      `expected {"Name": ${JSON.stringify(database)}, "ConnectionType": "JDBC", "ConnectionProperties": {"JDBC_CONNECTION_URL": ..., "SECRET_ID": ...}}, or a list of them`,
    );
  }
  return {
    name: typeof entry.Name === "string" ? entry.Name : reference,
    type: typeof entry.ConnectionType === "string" ? entry.ConnectionType : "JDBC",
    properties: Object.fromEntries(
      Object.entries(properties).flatMap(([name, value]) => (typeof value === "string" ? [[name, value]] : [])),
    ),
  };
}

/**
 * What a Glue connection says of a PostgreSQL database.
 *
 * @param database its name, when the URL has none.
 * @throws UserError `CONNECTION_INVALID` with everything that is wrong; never quotes a value, which may be a secret.
 */
export function postgresSettings({ name, properties }: CatalogConnection, database?: string): PostgresSettings {
  const { JDBC_CONNECTION_URL = "", SECRET_ID, USERNAME, PASSWORD, JDBC_ENFORCE_SSL } = properties;
  const problems: string[] = [];
  const match = /^jdbc:postgresql:\/\/(\[[^\]]+\]|[^:/?,]+)(?::(\d+))?(?:\/([^?]*))?(?:\?(.*))?$/.exec(
    JDBC_CONNECTION_URL,
  );
  if (match === null) problems.push("JDBC_CONNECTION_URL is not like jdbc:postgresql://host:5432/database");
  const parameters = new URLSearchParams(match?.[4] ?? "");
  for (const parameter of parameters.keys()) {
    if (!["sslmode", "sslrootcert", "ssl"].includes(parameter)) {
      problems.push(`JDBC_CONNECTION_URL: the parameter ${parameter} is not supported`);
    }
  }
  const encrypted = JDBC_ENFORCE_SSL?.toLowerCase() === "true" || parameters.get("ssl") === "true";
  const mode = parameters.get("sslmode");
  if (encrypted && mode !== null && ["disable", "allow", "prefer"].includes(mode)) {
    const which = parameters.get("ssl") === "true" ? "its ssl=true" : "JDBC_ENFORCE_SSL";
    problems.push(`JDBC_CONNECTION_URL: sslmode=${mode} lets the connection go unencrypted, and ${which} forbids it`);
  }
  const path = decoded(match?.[3] ?? "");
  if (path === undefined) problems.push("JDBC_CONNECTION_URL: a % in the database's name is written %25");
  if (SECRET_ID === undefined && (USERNAME === undefined || PASSWORD === undefined)) {
    problems.push("SECRET_ID is missing, and USERNAME with PASSWORD is not there either");
  }
  if (problems.length > 0) {
    throw new UserError("CONNECTION_INVALID", `Connection ${JSON.stringify(name)} can't be used`, {
      problems,
      hint: "Mend the connection's properties; --postgres-url goes over it for a trial",
      exitCode: ExitCode.configuration,
    });
  }
  return {
    host: (match?.[1] ?? "").replace(/^\[(.*)\]$/, "$1"),
    port: match?.[2] === undefined ? undefined : Number(match[2]),
    database: path || database || undefined,
    secret: SECRET_ID,
    ...(SECRET_ID === undefined && USERNAME !== undefined && PASSWORD !== undefined
      ? { login: { username: USERNAME, password: PASSWORD } }
      : {}),
    sslMode: mode ?? (encrypted ? "require" : undefined),
    sslRootCertificate: parameters.get("sslrootcert") ?? undefined,
  };
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

function invalid(reference: string, why: string): UserError {
  return new UserError("CONNECTION_INVALID", `The connection ${reference} can't be used: ${why}`, {
    exitCode: ExitCode.configuration,
  });
}
